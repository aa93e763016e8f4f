"""Rows of counted items: what chunks add to a graph, as sparse matrices whose columns are sorted items."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    Counts: TypeAlias = csr_array[np.int32, tuple[int, int]]

_PARTS = ("data", "indices", "indptr")

Item = TypeVar("Item", str, tuple[str, str, str])


class Numbering(dict[Item, int], Generic[Item]):
    """Numbers of items: of those in a sorted list their places, of others the numbers behind it, as they come.

    As a dict it holds the items that were asked for; `added` are those behind the list.
    """

    def __init__(self, known: list[Item]) -> None:
        super().__init__()
        self._known: list[Item] = known
        self.added: list[Item] = []

    def __missing__(self, item: Item) -> int:
        place = bisect_left(self._known, item)
        if place == len(self._known) or self._known[place] != item:
            place = self.size
            self.added.append(item)
        self[item] = place
        return place

    @property
    def size(self) -> int:
        """One more than the highest number."""
        return len(self._known) + len(self.added)

    def sorted(self, used: NDArray[np.bool_]) -> tuple[list[Item], NDArray[np.int32]]:
        """The items of the used numbers, sorted; and (size,) the place of each number there, -1 for those not used.

        Args:
            used: (size,).
        """
        split = len(self._known)
        known = self._known if used[:split].all() else list(compress(self._known, used))
        numbers = sorted((used[split:].nonzero()[0]).tolist(), key=self.added.__getitem__)
        added = [self.added[number] for number in numbers]
        known_before = np.array([bisect_left(known, item) for item in added], np.int32)
        places = np.full(self.size, -1, np.int32)
        added_before = np.bincount(known_before, minlength=len(known) + 1).cumsum()[:-1]
        places[:split][used[:split]] = np.arange(len(known)) + added_before
        places[split:][numbers] = known_before + np.arange(len(added))
        return _inserted(known, added, known_before.tolist()), places


def _inserted(items: list[Item], more: list[Item], places: list[int]) -> list[Item]:
    """The items, and before those at the places the others."""
    found: list[Item] = []
    for start, end, item in zip([0, *places], places, more, strict=False):
        found += items[start:end]
        found.append(item)
    return found + items[places[-1] if places else 0 :]


class Rows(Generic[Item]):
    """Rows of items, as numbers.

    Args:
        numbers: of all items that come.
    """

    def __init__(self, numbers: Mapping[Item, int]) -> None:
        self._numbers: Mapping[Item, int] = numbers
        self.flat = array("I")
        self.starts = array("q", [0])

    def append(self, items: Iterable[Item]) -> None:
        """Add a row."""
        self.flat.extend(map(self._numbers.__getitem__, items))
        self.starts.append(len(self.flat))

    def counts(self, width: int) -> Counts:
        """(rows, width), how often each number is in each row."""
        from scipy.sparse import csr_array

        indices, starts = np.array(self.flat, np.int32), np.array(self.starts, np.int32)
        matrix = csr_array((np.ones(len(indices), np.int32), indices, starts), shape=(len(starts) - 1, width))
        matrix.sum_duplicates()
        return matrix


def rearranged(matrix: Counts, more: Counts, rows: NDArray[np.int64]) -> Counts:
    """The rows of those numbers, where the rows of `more` come behind those of the matrix, which may be narrower."""
    from scipy.sparse import csr_array

    starts, data, indices = joined(
        (matrix.indptr, matrix.data, matrix.indices), (more.indptr, more.data, more.indices), rows
    )
    return csr_array((data, indices, starts), shape=(len(rows), more.shape[1]))


def joined(own: Sequence[NDArray[Any]], more: Sequence[NDArray[Any]], rows: NDArray[np.int64]) -> list[NDArray[Any]]:
    """Rows of those numbers, where the rows of `more` come behind the own ones; those that stay together are copied so.

    Args:
        own: where each row starts and the last one ends, and then arrays of what is in the rows.
        more: the same of other rows.
        rows: in the order in which they are wanted, each once.

    Returns:
        The same of the rows that are wanted.
    """
    count = len(own[0]) - 1
    breaks = np.flatnonzero((np.diff(rows) != 1) | (rows[1:] == count)) + 1
    parts = [[array[:0] for array in own]]
    for run in np.split(rows, breaks):
        if len(run):
            source, first = (own, run[0]) if run[0] < count else (more, run[0] - count)
            starts = source[0][first : first + len(run) + 1]
            parts.append([np.diff(starts), *(array[starts[0] : starts[-1]] for array in source[1:])])
    lengths, *arrays = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    return [np.concatenate([own[0][:1], np.cumsum(lengths, dtype=lengths.dtype)]), *arrays]


def renumbered(matrix: Counts, places: NDArray[np.int32], width: int) -> Counts:
    """The matrix with its columns at those places, among as many as `width`."""
    from scipy.sparse import csr_array

    moved = csr_array((matrix.data, places[matrix.indices], matrix.indptr), shape=(matrix.shape[0], width))
    moved.sort_indices()
    return moved


def used_columns(width: int, *matrices: Counts) -> NDArray[np.bool_]:
    """(width,), whether a column has an entry in any of the matrices."""
    used = np.zeros(width, bool)
    for matrix in matrices:
        used[matrix.indices] = True
    return used


def save_counts(matrix: Counts, folder: Path, name: str) -> None:
    """Write the matrix to a folder, as three numpy arrays."""
    for part in _PARTS:
        np.save(folder / f"{name}-{part}.npy", getattr(matrix, part), allow_pickle=False)


def load_counts(folder: Path, name: str, width: int) -> Counts:
    """The matrix that was saved in a folder; `width`: how many columns it has."""
    from scipy.sparse import csr_array

    data, indices, indptr = (np.load(folder / f"{name}-{part}.npy", allow_pickle=False) for part in _PARTS)
    return csr_array((data, indices, indptr), shape=(len(indptr) - 1, width))
