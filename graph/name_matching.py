"""Names of passages found in texts word by word: the links between passages that nobody marked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ragloom.graph.extraction import normalise
from ragloom.graph.naming import is_name


class NameMatcher:
    """Finds names in a sequence of words.

    At each word the longest name that starts there is taken, and the search goes on behind it: "North Dakota" does not
    also mention Dakota.

    Args:
        names: normalised; those that cannot name something alone are passed over.
    """

    def __init__(self, names: Iterable[str]) -> None:
        lengths: defaultdict[str, set[int]] = defaultdict(set)
        self._names = {name for name in names if is_name(name)}
        for name in self._names:
            words = name.split()
            lengths[words[0]].add(len(words))
        self._lengths = {word: sorted(found, reverse=True) for word, found in lengths.items()}

    def __call__(self, words: Sequence[str]) -> list[str]:
        """The names in the order of the words, repeated where they are."""
        return [" ".join(words[start:end]) for start, end in self.spans(words)]

    def spans(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """Where names stand: their first word, and the one behind their last."""
        found = []
        start, number = 0, len(words)
        while start < number:
            for length in self._lengths.get(words[start], ()):
                end = start + length
                if end <= number and " ".join(words[start:end]) in self._names:
                    found.append((start, end))
                    start = end - 1
                    break
            start += 1
        return found


@dataclass(frozen=True, eq=False)
class Words:
    """The normalised words of texts as numbers, compact enough to look for new names in all of a large corpus.

    Attributes:
        vocabulary: number to word; words stay in it when their texts are gone.
        numbers: of all texts, one behind the other.
        starts: where each text begins in `numbers`, and where the last one ends.
    """

    vocabulary: list[str]
    numbers: NDArray[np.int32]
    starts: NDArray[np.int64]

    @classmethod
    def empty(cls) -> Self:
        """No texts."""
        return cls([], np.empty(0, np.int32), np.zeros(1, np.int64))

    def rearranged(self, old_rows: NDArray[np.int64], texts: Iterable[str]) -> Self:
        """The texts in another order: row i is the old row `old_rows[i]`, or where that is -1 the next of the texts."""
        vocabulary = list(self.vocabulary)
        known = {word: number for number, word in enumerate(vocabulary)}
        fresh = []
        for text in texts:
            row = []
            for word in normalise(text).split():
                if (number := known.get(word)) is None:
                    number = known[word] = len(vocabulary)
                    vocabulary.append(word)
                row.append(number)
            fresh.append(row)
        sources = np.where(old_rows >= 0, old_rows, len(self.starts) - 1 + np.cumsum(old_rows < 0) - 1)
        flat = np.concatenate([self.numbers, np.array([number for row in fresh for number in row], np.int32)])
        lengths = np.concatenate([np.diff(self.starts), np.array([len(row) for row in fresh], np.int64)])
        begins = np.cumsum(lengths) - lengths
        starts = np.concatenate([[0], np.cumsum(lengths[sources])])
        places = np.repeat(begins[sources] - starts[:-1], lengths[sources]) + np.arange(starts[-1])
        return type(self)(vocabulary, flat[places], starts)

    def of(self, row: int) -> list[str]:
        """The words of one text."""
        numbers = self.numbers[self.starts[row] : self.starts[row + 1]].tolist()
        return [self.vocabulary[number] for number in numbers]

    def rows_with(self, names: Iterable[str], *, among: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the rows whose text may hold one of the names: it has their first two words one behind the other."""
        wanted = [name.split()[:2] for name in names if is_name(name)]
        if not wanted or not len(among):
            return np.empty(0, np.int64)
        needed = {word for words in wanted for word in words}
        number = {word: place for place, word in enumerate(self.vocabulary) if word in needed}
        size = len(self.vocabulary)
        singles = np.zeros(size, bool)
        singles[[number[first] for first, *rest in wanted if not rest and first in number]] = True
        pairs = {
            tuple(number[word] for word in words) for words in wanted if len(words) == 2 and number.keys() >= set(words)
        }
        firsts = np.zeros(size, bool)
        firsts[[first for first, _ in pairs]] = True
        places = np.flatnonzero(firsts[self.numbers[:-1]])
        codes = self.numbers[places].astype(np.int64) * size + self.numbers[places + 1]
        hits = places[np.isin(codes, np.array([first * size + second for first, second in pairs], np.int64))]
        hits = np.concatenate([hits, np.flatnonzero(singles[self.numbers])])
        rows = np.unique(np.searchsorted(self.starts, hits, side="right") - 1)
        return np.intersect1d(rows, among)

    def save(self, folder: Path) -> None:
        """Write the words to a folder."""
        (folder / "vocabulary.json").write_text(json.dumps(self.vocabulary), encoding="utf-8")
        np.save(folder / "words.npy", self.numbers, allow_pickle=False)
        np.save(folder / "word-starts.npy", self.starts, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The words that were saved in a folder."""
        vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        return cls(
            vocabulary,
            np.load(folder / "words.npy", allow_pickle=False),
            np.load(folder / "word-starts.npy", allow_pickle=False),
        )
