"""Phrases that mean nearly the same: synonymy edges between those whose embeddings are close.

HippoRAG, arXiv:2405.14831, section 2.3, joins a phrase to its nearest phrases from a cosine of 0.8 up, 100 at most.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ragloom.components.vector_cache import unit_vectors
from ragloom.errors import IndexMismatch
from ragloom.types import Embedder

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BLOCK = 1024  # phrases embedded and compared at a time
_PRODUCTS = 1 << 14  # pairs of vectors multiplied at a time
_PAIRS_IN_MEMORY = 1 << 20  # before those are dropped that no phrase asks for
_MARGIN = 1e-5  # more than the error of faiss's sums


@dataclass(frozen=True, eq=False)
class Synonyms:
    """Pairs of phrases with nearly the same meaning.

    Two phrases are a pair if their cosine reaches the threshold, and one of them is among the `most` nearest phrases of
    the other. Without that limit a thousand dates would make half a million pairs, since all dates look alike. Phrases
    of fewer than three letters and digits have none.

    Attributes:
        model: name of the model whose embeddings were compared.
        phrases: sorted; pairs are given by their places in here.
        pairs: (n, 2), the smaller place first, in ascending order.
        cosines: (n,), of the pairs.
        threshold: from 0 to 1.
        most: pairs that a phrase asks for; it can have more, where it is near to phrases that are far from all others.
    """

    model: str
    phrases: Sequence[str]
    pairs: NDArray[np.int32]
    cosines: NDArray[np.float32]
    threshold: float = 0.8
    most: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, got {self.threshold}")
        if self.most < 1:
            raise ValueError(f"most must be at least 1, got {self.most}")

    @classmethod
    def build(cls, phrases: Sequence[str], embedder: Embedder, *, threshold: float = 0.8, most: int = 100) -> Self:
        """The pairs among the phrases; arguments as in `updated` and above."""
        none = cls(embedder.model, [], np.empty((0, 2), np.int32), np.empty(0, np.float32), threshold, most)
        return none.updated(phrases, embedder)

    def updated(self, phrases: Sequence[str], embedder: Embedder) -> Self:
        """The pairs among other phrases, equal to those built anew.

        New phrases are compared with all. So are, where phrases are gone, those that had as many pairs as they ask for
        and lost one: the next nearest takes its place.

        Args:
            phrases: normalised, sorted, each once.
            embedder: asked for all phrases, some at a time; give it a memory (CachedEmbedder).

        Raises:
            BadReply: the embedder gave something else than vectors of length 1.
            IndexMismatch: the embedder's model is another one.
        """
        if embedder.model != self.model:
            raise IndexMismatch(
                f"the synonyms were found with {self.model}, got {embedder.model}",
                "build them again, or pass the model they were found with",
            )
        comparable = np.array([_is_comparable(phrase) for phrase in phrases], bool)
        kept, searched = self._kept(phrases, comparable)
        found = _gathered(kept, _near(phrases, comparable, searched, embedder, self.threshold), self.most)
        return type(self)(self.model, phrases, found.places.astype(np.int32), found.cosines, self.threshold, self.most)

    def weights(self) -> csr_array:
        """(phrases, phrases), symmetric: the cosine of each pair."""
        from scipy.sparse import csr_array

        first, second = self.pairs.T
        places = (np.concatenate([first, second]), np.concatenate([second, first]))
        return csr_array((np.tile(self.cosines, 2).astype(np.float64), places), shape=(len(self.phrases),) * 2)

    def save(self, folder: Path) -> None:
        """Write the pairs to a folder."""
        settings = {name: getattr(self, name) for name in ("model", "threshold", "most")}
        texts = json.dumps(settings | {"phrases": list(self.phrases)})
        (folder / "synonyms.json").write_text(texts, encoding="utf-8")
        np.save(folder / "pairs.npy", self.pairs, allow_pickle=False)
        np.save(folder / "cosines.npy", self.cosines, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The pairs that were saved in a folder whose files are trusted: take it from `Store.derived`."""
        texts = json.loads((folder / "synonyms.json").read_text(encoding="utf-8"))
        pairs, cosines = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("pairs", "cosines"))
        return cls(pairs=pairs, cosines=cosines, **texts)

    def _kept(self, phrases: Sequence[str], comparable: NDArray[np.bool_]) -> tuple[_Pairs, NDArray[np.bool_]]:
        """The pairs of phrases that need no search, by their new places; and which phrases need one."""
        place = {phrase: row for row, phrase in enumerate(phrases)}
        rows = np.array([place.get(phrase, -1) for phrase in self.phrases], np.int64)
        pairs = rows[self.pairs]
        gone = pairs < 0
        searched = comparable.copy()
        searched[rows[rows >= 0]] = False
        full = np.bincount(self.pairs.ravel(), minlength=len(self.phrases)) >= self.most
        searched[pairs[full[self.pairs] & ~gone & gone[:, ::-1]]] = True
        kept = np.flatnonzero(~gone.any(axis=1))
        kept = kept[~searched[pairs[kept]].any(axis=1)]
        return _Pairs(pairs[kept], self.cosines[kept]), searched


class _Pairs(NamedTuple):
    """Places of phrases, (n, 2) with the smaller one first, and their cosines."""

    places: NDArray[np.int64]
    cosines: NDArray[np.float32]


def _is_comparable(phrase: str) -> bool:
    return len(phrase) > 2 and sum(map(str.isalnum, phrase)) > 2


def _near(
    phrases: Sequence[str],
    comparable: NDArray[np.bool_],
    searched: NDArray[np.bool_],
    embedder: Embedder,
    threshold: float,
) -> Iterator[_Pairs]:
    """All pairs from the threshold up of a searched phrase and a comparable one, each pair once."""
    import faiss

    def embed(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return unit_vectors(embedder([phrases[row] for row in rows]), len(rows), embedder.model)

    index = None
    sought = np.flatnonzero(searched)
    for start in range(0, len(sought), _BLOCK):
        rows = sought[start : start + _BLOCK]
        vectors = embed(rows)
        index = index or faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        pairs = _above(index, sought, rows, vectors, threshold)
        once = pairs.places[:, 0] < pairs.places[:, 1]
        yield _Pairs(pairs.places[once], pairs.cosines[once])
    if index is None:
        return
    others = np.flatnonzero(comparable & ~searched)
    for start in range(0, len(others), _BLOCK):
        rows = others[start : start + _BLOCK]
        pairs = _above(index, sought, rows, embed(rows), threshold)
        yield _Pairs(np.sort(pairs.places, axis=1), pairs.cosines)


def _above(
    index: Any, sought: NDArray[np.int64], rows: NDArray[np.int64], vectors: NDArray[np.float32], threshold: float
) -> _Pairs:
    """Pairs of a row in the index and one of `rows`, from the threshold up. `Any`: faiss has no types."""
    ends, _, places = index.range_search(vectors, threshold - _MARGIN)
    queries = np.repeat(np.arange(len(rows)), np.diff(ends.astype(np.int64)))
    cosines = np.empty(len(places), np.float32)
    for start in range(0, len(places), _PRODUCTS):
        # Sums of faiss depend on what else is in its block; these do not, and are the same for both orders of a pair.
        part = slice(start, start + _PRODUCTS)
        products = index.reconstruct_batch(places[part]).astype(np.float64) * vectors[queries[part]]
        cosines[part] = products.sum(axis=1)
    kept = cosines >= threshold
    return _Pairs(np.stack([sought[places[kept]], rows[queries[kept]]], axis=1), cosines[kept])


def _gathered(kept: _Pairs, found: Iterator[_Pairs], most: int) -> _Pairs:
    """The strongest of all, without ever holding more than about twice as many."""
    parts, limit = [kept], _PAIRS_IN_MEMORY
    for more in found:
        parts.append(more)
        if sum(len(part.cosines) for part in parts) > limit:
            parts = [_strongest(parts, most)]
            limit = 2 * len(parts[0].cosines) + _PAIRS_IN_MEMORY
    return _strongest(parts, most)


def _strongest(parts: Sequence[_Pairs], most: int) -> _Pairs:
    """The pairs, in ascending order, that are among the `most` highest of one of their phrases; ties by place."""
    places = np.concatenate([part.places for part in parts])
    cosines = np.concatenate([part.cosines for part in parts])
    ends, others = places.T.ravel(), places[:, ::-1].T.ravel()
    order = np.lexsort((others, -np.tile(cosines, 2), ends))
    in_order = ends[order]
    rank = np.arange(len(order)) - np.searchsorted(in_order, in_order)
    chosen = np.empty(len(order), bool)
    chosen[order] = rank < most
    kept = np.flatnonzero(chosen.reshape(2, -1).any(axis=0))
    kept = kept[np.lexsort(places[kept].T[::-1])]
    return _Pairs(places[kept], cosines[kept])
