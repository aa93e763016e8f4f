"""Several retrievers as one.

Each retriever is asked for its best `depth` chunks, and a chunk's score adds up what it gets from each. Ties are in the
order of chunk ids. Where a retriever finds a chunk twice, its better place counts.
"""

from collections.abc import Callable, Sequence
from math import fsum, isfinite

from ragloom.run import span
from ragloom.types import Chunk, Hit, Retriever


def min_max(hits: Sequence[Hit]) -> list[float]:
    """The scores brought to 0 for the lowest and 1 for the highest; all 1 where they are equal.

    Raises:
        ValueError: a score is no finite number.
    """
    scores = [hit.score for hit in hits]
    if not all(map(isfinite, scores)):
        raise ValueError("a retriever gave a score that is no finite number, so its scores cannot be weighted")
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


class ReciprocalRankFusion:
    """A Retriever that gives a chunk 1 / (constant + rank) for each retriever that finds it, ranks from 1.

    Cormack, Clarke and Büttcher, SIGIR 2009, with their constant. The order of the retrievers makes no difference.

    Args:
        retrievers: what is fused.
        constant: from 0; the larger, the less the first ranks stand out.
        depth: hits asked of each retriever; never fewer than are asked of the fusion.
    """

    def __init__(self, retrievers: Sequence[Retriever], *, constant: float = 60, depth: int = 100) -> None:
        _check(retrievers, depth)
        if not 0 <= constant < float("inf"):
            raise ValueError(f"constant must be a number from 0, got {constant}")
        self._retrievers, self._constant, self._depth = tuple(retrievers), constant, depth

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first.

        Raises:
            ValueError: k below 1.
        """
        return _fused(self._retrievers, [self._points] * len(self._retrievers), query, k, self._depth)

    def _points(self, hits: Sequence[Hit]) -> list[float]:
        return [1 / (self._constant + rank) for rank in range(1, len(hits) + 1)]


class WeightedFusion:
    """A Retriever that adds up weighted scores, each retriever's brought to 0 for its last hit and 1 for its best.

    A chunk that a retriever does not find gets 0 from it. Where all hits of a retriever score the same, all get 1.

    Args:
        retrievers: what is fused.
        weights: one for each retriever, from 0, not all 0.
        depth: hits asked of each retriever; never fewer than are asked of the fusion.
    """

    def __init__(self, retrievers: Sequence[Retriever], weights: Sequence[float], *, depth: int = 100) -> None:
        _check(retrievers, depth)
        if len(weights) != len(retrievers):
            raise ValueError(f"{len(retrievers)} retrievers need as many weights, got {len(weights)}")
        if not any(weights) or not all(0 <= weight < float("inf") for weight in weights):
            raise ValueError(f"weights must be numbers from 0 and not all 0, got {list(weights)}")
        self._retrievers, self._weights, self._depth = tuple(retrievers), tuple(weights), depth

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first.

        Raises:
            ValueError: k below 1, or a retriever's score is no finite number.
        """
        return _fused(self._retrievers, [_scaled(weight) for weight in self._weights], query, k, self._depth)


_Points = Callable[[Sequence[Hit]], list[float]]  # what each hit of one retriever's list is given


def _scaled(weight: float) -> _Points:
    return lambda hits: [weight * score for score in min_max(hits)]


def _fused(retrievers: Sequence[Retriever], points: Sequence[_Points], query: str, k: int, depth: int) -> list[Hit]:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    chunks: dict[str, Chunk] = {}
    parts: dict[str, list[float]] = {}
    for retriever, points_of in zip(retrievers, points, strict=True):
        hits = _retrieve(retriever, query, max(k, depth))
        for hit, given in zip(hits, points_of(hits), strict=True):
            chunks.setdefault(hit.chunk.id, hit.chunk)
            parts.setdefault(hit.chunk.id, []).append(given)
    totals = {chunk_id: fsum(given) for chunk_id, given in parts.items()}  # fsum: the same in every order
    best = sorted(totals, key=lambda chunk_id: (-totals[chunk_id], chunk_id))[:k]
    return [Hit(chunks[chunk_id], totals[chunk_id]) for chunk_id in best]


def _retrieve(retriever: Retriever, query: str, k: int) -> list[Hit]:
    """Its hits, each chunk once."""
    with span("retrieve", retriever=getattr(retriever, "__name__", type(retriever).__name__), k=k) as attributes:
        hits = retriever(query, k)
        attributes["found"] = len(hits)
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(hit.chunk.id, hit)
    return list(first.values())


def _check(retrievers: Sequence[Retriever], depth: int) -> None:
    if not retrievers:
        raise ValueError("a fusion needs at least one retriever")
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
