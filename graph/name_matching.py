"""Names of passages found in texts word by word: the links between passages that nobody marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ragloom.graph.naming import is_name


class NameMatcher:
    """Finds names in a sequence of words.

    At each word the longest name that starts there is taken, and the search goes on behind it: "North Dakota" does not
    also mention Dakota.

    Args:
        names: normalised; those that cannot name something alone are passed over.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by_first: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            self._by_first[name.partition(" ")[0]].append(name)
        self._by_two: dict[str, _BySecond] = {}  # filled for first words that texts have: most names are in none

    def __call__(self, words: Sequence[str]) -> list[str]:
        """The names in the order of the words, repeated where they are."""
        return [" ".join(words[start:end]) for start, end in self.spans(words)]

    def spans(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """Where names stand: their first word, and the one behind their last."""
        found = []
        end = 0
        for start, word in enumerate(words):
            if start >= end and word in self._by_first and (length := self._longest(words, start)):
                end = start + length
                found.append((start, end))
        return found

    def _longest(self, words: Sequence[str], start: int) -> int:
        """How many words the longest name has that starts there; 0 for none."""
        by_second = self._by_two.get(words[start]) or self._sorted_by_second(words[start])
        for length, names in by_second.get(words[start + 1] if start + 1 < len(words) else "", ()):
            if " ".join(words[start : start + length]) in names:
                return length
        return 1 if "" in by_second else 0

    def _sorted_by_second(self, first: str) -> _BySecond:
        grouped: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for name in filter(is_name, self._by_first[first]):
            words = name.split()
            grouped["".join(words[1:2])][len(words)].add(name)
        self._by_two[first] = {second: sorted(names.items(), reverse=True) for second, names in grouped.items()}
        return self._by_two[first]


_BySecond = dict[str, list[tuple[int, set[str]]]]  # names by their second word, grouped by length, the longest first
