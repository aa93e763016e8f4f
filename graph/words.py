"""The words of many texts as numbers, compact enough to look for new names in all of a large corpus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Self, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ragloom.graph.counting import Rows, joined

_BLOCK = 1 << 18  # words looked at together: they fit into the processor's cache

Number = TypeVar("Number", int, NDArray[np.uint64])


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
        starts, codes = joined((self.starts, self.codes), (more.starts, more.codes), rows)
        return type(self)(codes, starts)

    def texts_with(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Texts that hold one of the names, ascending. Where words share codes, others can be among them."""
        code = WordCodes()
        wanted = [list(accumulate(map(code.__getitem__, name.split()), _chained)) for name in names]
        blocks = range(0, len(self.codes), _BLOCK)
        found = [self._texts_where(start, start + _BLOCK, wanted) for start in blocks]
        return np.unique(np.concatenate([np.empty(0, np.int64), *found]))

    def save(self, folder: Path) -> None:
        """Write the words to a folder."""
        np.save(folder / "word-codes.npy", self.codes, allow_pickle=False)
        np.save(folder / "word-starts.npy", self.starts, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The words that were saved in a folder."""
        codes, starts = (np.load(folder / f"word-{part}.npy", allow_pickle=False) for part in ("codes", "starts"))
        return cls(codes, starts)

    def _texts_where(self, start: int, end: int, wanted: list[list[int]]) -> NDArray[np.int64]:
        """Texts with a sequence of words that begins at one of those places.

        Args:
            start: the first place.
            end: the one behind the last.
            wanted: of each sequence the hashes of its first word, its first two words, and so on.
        """
        places = start + np.flatnonzero(_may_be(self.codes[start:end], [hashes[0] for hashes in wanted]))
        here = self.codes[places].astype(np.uint64)  # hashes of as many words from those places on
        found, length = [places[:0]], 1
        while len(places):
            whole = [hashes[-1] for hashes in wanted if len(hashes) == length]
            ended = np.flatnonzero(_may_be(here, whole))
            begins = places[ended[np.isin(here[ended], np.array(whole, np.uint64))]]
            texts = np.searchsorted(self.starts, begins, side="right") - 1
            found.append(texts[begins + length <= self.starts[texts + 1]])
            wanted = [hashes for hashes in wanted if len(hashes) > length]
            behind = np.minimum(places + length, len(self.codes) - 1)  # what goes on behind all texts is in none
            here = _chained(here, self.codes[behind].astype(np.uint64))
            begun = _may_be(here, [hashes[length] for hashes in wanted])
            places, here = places[begun], here[begun]
            length += 1
        return np.concatenate(found)


def _chained(hashes: Number, codes: Number) -> Number:
    """The hash of one word more; two sequences of equal hashes are as good as equal."""
    return (hashes * 0x9E3779B97F4A7C15 + codes) & 0xFFFFFFFFFFFFFFFF  # type: ignore[return-value]  # a Number it is


def _may_be(values: NDArray[np.unsignedinteger[Any]], wanted: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each value ends in the same 16 bits as one that is wanted, which rules out nearly all others."""
    ends = np.zeros(1 << 16, bool)
    ends[np.array(wanted, np.uint64).astype(np.uint16)] = True
    return ends[values.astype(np.uint16)]
