"""Names of passages found in texts word by word: the links between passages that nobody marked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from ragloom.graph.naming import is_name


class NameMatcher:
    """Finds names in a sequence of words.

    At each word the longest name that starts there is taken, and the search goes on behind it: "North Dakota" does not
    also mention Dakota. Safe to share between threads.

    Args:
        names: normalised; those that cannot name something alone are passed over.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._sorted = sorted(names)
        self._firsts = {name.partition(" ")[0] for name in self._sorted}
        self._lengths: dict[str, dict[str, int]] = {}  # of first words that were met: most are in no text
        self._met: set[str] = set()  # the names that begin with those

    def __call__(self, words: Sequence[str]) -> list[str]:
        """The names in the order of the words, repeated where they are."""
        return [" ".join(words[start:end]) for start, end in self.spans(words)]

    def spans(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """Where names stand: their first word, and the one behind their last."""
        found = []
        end = 0
        for start, word in enumerate(words):
            if word in self._firsts and start >= end and (length := self._longest(words, start)):
                end = start + length
                found.append((start, end))
        return found

    def _longest(self, words: Sequence[str], start: int) -> int:
        """How many words the longest name has that starts there; 0 for none."""
        lengths = self._lengths.get(words[start]) or self._meet(words[start])
        possible = lengths.get("", 0) | (lengths.get(words[start + 1], 0) if start + 1 < len(words) else 0)
        possible &= (2 << len(words) - start) - 1  # the others go beyond the end
        while possible:
            length = possible.bit_length() - 1
            name = " ".join(words[start : start + length])
            if name in self._met and is_name(name):
                return length
            possible ^= 1 << length
        return 0

    def _meet(self, first: str) -> dict[str, int]:
        """By second word, the lengths in words of the names that begin so, as bits; by "" that of the single word."""
        lengths: dict[str, int] = {}
        for place in places_beginning(first, self._sorted):
            name = self._sorted[place]
            second = name[len(first) + 1 :].partition(" ")[0]
            lengths[second] = lengths.get(second, 0) | 1 << name.count(" ") + 1
            self._met.add(name)
        self._lengths[first] = lengths  # when it is whole: other threads read it
        return lengths


def places_beginning(word: str, phrases: Sequence[str]) -> range:
    """Where the phrases stand that begin with the word, among normalised and sorted ones."""
    begin = bisect_left(phrases, word)
    return range(begin, bisect_left(phrases, f"{word}!", begin))  # "!" comes next to the space
