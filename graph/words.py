"""The words of many texts as numbers, compact enough to look for new names in all of a large corpus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ragloom.graph.counting import Rows

_HIGH = np.uint64(32)


class WordCodes(dict[str, int]):
    """The 32-bit code of each word, the same on every machine. Different words may share one."""

    def __missing__(self, word: str) -> int:
        self[word] = code = crc32(word.encode())
        return code


@dataclass(frozen=True, eq=False)
class Words:
    """The normalised words of texts, as codes.

    Attributes:
        codes: of all texts, one behind the other.
        starts: (texts + 1,), where each text begins in `codes`, and where the last one ends.
    """

    codes: NDArray[np.uint32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Rows[str]) -> Self:
        """The words of rows whose numbers are `WordCodes`."""
        return cls(np.array(rows.flat, np.uint32), np.array(rows.starts, np.int64))

    def rearranged(self, more: Words, rows: NDArray[np.int64]) -> Self:
        """The texts of those numbers, where the texts of `more` come behind these."""
        codes = np.concatenate([self.codes, more.codes])
        starts = np.concatenate([self.starts, self.starts[-1] + more.starts[1:]])
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1  # in runs, since most texts stay together
        runs = [run for run in np.split(rows, breaks) if len(run)]
        parts = [codes[starts[run[0]] : starts[run[-1] + 1]] for run in runs]
        lengths = np.diff(starts)[rows]
        return type(self)(np.concatenate([codes[:0], *parts]), np.concatenate([starts[:1], np.cumsum(lengths)]))

    def texts_with(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Texts that may hold one of the names, ascending: they have its first two words one behind the other."""
        code = WordCodes()
        heads = [[code[word] for word in name.split()[:2]] for name in names]
        singles = np.array([head[0] for head in heads if len(head) == 1], np.uint64)
        pairs = np.array([head for head in heads if len(head) == 2], np.uint64).reshape(-1, 2)
        places = self._places_of(np.concatenate([singles, pairs[:, 0]]))
        here = self.codes[places].astype(np.uint64)
        next_ = self.codes[np.minimum(places + 1, len(self.codes) - 1)]  # of the next text at a text's end: no harm
        found = np.isin(here, singles) | np.isin(here << _HIGH | next_, pairs[:, 0] << _HIGH | pairs[:, 1])
        return np.unique(np.searchsorted(self.starts, places[found], side="right") - 1)

    def save(self, folder: Path) -> None:
        """Write the words to a folder."""
        np.save(folder / "word-codes.npy", self.codes, allow_pickle=False)
        np.save(folder / "word-starts.npy", self.starts, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The words that were saved in a folder."""
        codes, starts = (np.load(folder / f"word-{part}.npy", allow_pickle=False) for part in ("codes", "starts"))
        return cls(codes, starts)

    def _places_of(self, codes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where the codes stand; nearly all words are ruled out by their last 16 bits, by a look into a table."""
        table = np.zeros(1 << 16, bool)
        table[codes.astype(np.uint16)] = True
        places = np.flatnonzero(table[self.codes.astype(np.uint16)])
        return places[np.isin(self.codes[places], codes)]
