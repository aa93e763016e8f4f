"""Search by meaning: the chunks whose vectors are nearest to that of the query."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from ragloom.components.vector_cache import unit_vectors
from ragloom.errors import IndexMismatch
from ragloom.types import Chunk, Embedder, Hit, content_id


class Dense:
    """A Retriever by the cosine between the vectors of query and chunk; ties are in the order of the chunks.

    Args:
        chunks: what is searched.
        vectors: (n, d), one of length 1 for each chunk, by the embedder's model.
        embedder: for queries.
        exact_up_to: so many chunks are all compared with the query. With more, an HNSW graph leads to the nearest
            ones: queries take a hundredth of the time and miss a few of the best, and building takes minutes.
    """

    def __init__(
        self,
        chunks: Sequence[Chunk],
        vectors: NDArray[np.float32],
        embedder: Embedder,
        *,
        exact_up_to: int = 100_000,
    ) -> None:
        self._chunks = list(chunks)
        self._embedder = embedder
        vectors = unit_vectors(vectors, len(self._chunks), embedder.model)
        self._index = (_flat if len(self._chunks) <= exact_up_to else _hnsw)(vectors)

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first; none for a blank query.

        Raises:
            BadReply: the embedder gave something else than a vector of length 1.
            IndexMismatch: the query's vector has another dimension than the chunks'.
            ValueError: k below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if not self._chunks or not query.strip():
            return []
        vector = unit_vectors(self._embedder([query]), 1, self._embedder.model)[0]
        if len(vector) != self._index.d:
            raise IndexMismatch(
                f"the index was built with vectors of {self._index.d} dimensions, and {self._embedder.model} gave "
                f"{len(vector)} for the query",
                "build it again, or pass the model it was built with",
            )
        scores, places = _nearest(self._index, vector, min(k, len(self._chunks)))
        return [Hit(self._chunks[place], score) for place, score in zip(places.tolist(), scores.tolist(), strict=True)]

    def save(self, folder: Path) -> None:
        """Write the index to a folder; the chunks are not written."""
        faiss.write_index(self._index, str(folder / "vectors.faiss"))
        settings = {"chunks": _identity(self._chunks), "model": self._embedder.model}
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, chunks: Sequence[Chunk], embedder: Embedder) -> Self:
        """The index that was saved in a folder.

        Args:
            folder: its files are trusted: take it from `Store.derived`, which has verified them.
            chunks: those that it was built from, in the same order.
            embedder: of the model it was built with.

        Raises:
            IndexMismatch: it was built with another model or from other chunks.
        """
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        if settings["model"] != embedder.model:
            raise IndexMismatch(
                f"the index in {folder} was built with {settings['model']}, got {embedder.model}",
                "build it again, or pass the model it was built with",
            )
        if settings["chunks"] != _identity(chunks):
            raise IndexMismatch(f"the index in {folder} was built from other chunks", "build it again")
        dense = cls((), np.empty((0, 0), np.float32), embedder)
        dense._chunks = list(chunks)
        dense._index = faiss.read_index(str(folder / "vectors.faiss"))
        return dense


_Index = Any  # faiss has no types


def _flat(vectors: NDArray[np.float32]) -> _Index:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _hnsw(vectors: NDArray[np.float32]) -> _Index:
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 80
    index.hnsw.efSearch = 200
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # several would link the graph in the order they happen to run
    try:
        index.add(vectors)
    finally:
        faiss.omp_set_num_threads(threads)
    return index


def _nearest(index: _Index, vector: NDArray[np.float32], k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores and places of the k nearest vectors, nearest first, ties in order of place."""
    fetch = k
    while True:
        # faiss leaves open which of several equal vectors come in and in which order, and its sums differ in the last
        # digits from place to place: fetch all that tie with the kth, and put them in order here.
        fetch = min(fetch + 16, index.ntotal)
        scores, places = index.search(vector[None], fetch)
        if fetch == index.ntotal or places[0, -1] < 0 or scores[0, -1] < scores[0, k - 1] - 1e-5:
            break
        fetch *= 4
    found = places[0][places[0] >= 0]  # -1 stands where HNSW found no more
    exact = (index.reconstruct_batch(found) * vector.astype(np.float64)).sum(axis=1)
    order = np.lexsort((found, -exact))[:k]
    return exact[order], found[order]


def _identity(chunks: Sequence[Chunk]) -> str:
    return content_id(*(chunk.id for chunk in chunks))
