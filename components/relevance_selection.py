"""Baselines of selection that go by the hits' own scores and score no combination.

Top-k, greedy fill, ratio greedy, knapsack and MMR with a price, as in "When Knowledge Is Not Free" (arXiv:2606.02245).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import fsum, inf, isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragloom.components.branch_and_bound import best_subset
from ragloom.components.candidates import Candidates, candidates, traced
from ragloom.components.combinations import Cost, Selection, relevance, selected
from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.run import span
from ragloom.types import Embedder, Hit

# How alike the chunks of hits are: (n, n), symmetric, from 0 to 1.
Similarity = Callable[[Sequence[Hit]], NDArray[np.float64]]

_tokens = Tokenizer()


def word_overlap(hits: Sequence[Hit]) -> NDArray[np.float64]:
    """Jaccard overlap of the stemmed words of titles and texts; a chunk without words is like no other."""
    words = [frozenset(_tokens(searchable(hit.chunk))) for hit in hits]
    overlap = np.eye(len(words))
    for at, own in enumerate(words):
        for other in range(at):
            union = len(own | words[other])
            overlap[at, other] = overlap[other, at] = len(own & words[other]) / union if union else 0.0
    return overlap


@dataclass(frozen=True, slots=True)
class EmbeddingSimilarity:
    """Cosine of the embeddings of titles and texts; 0 where it is negative."""

    embedder: Embedder

    def __call__(self, hits: Sequence[Hit], /) -> NDArray[np.float64]:
        """(n, n), from 0 to 1."""
        vectors = self.embedder([searchable(hit.chunk) for hit in hits]).astype(np.float64)
        return np.clip(vectors @ vectors.T, 0.0, 1.0)


class _Choice(NamedTuple):
    places: Sequence[int]
    reason: str


@dataclass(frozen=True, slots=True)
class _ByRelevance:
    """A selector that goes by the hits' own scores. The reward is the sum of their relevance, from 0 to 1 each.

    Args:
        context_tokens: most that a selection may cost.
        cost: of a chunk.
    """

    context_tokens: float
    _: KW_ONLY
    cost: Cost = field(default_factory=Cost)

    def select(self, query: str, hits: Sequence[Hit], /) -> Selection:
        """The selection; it scores no combination."""
        pool = candidates(hits, self.context_tokens, self.cost)
        name = type(self).__name__
        with span("select", selector=name, budget=pool.budget, candidates=len(pool.hits)) as attributes:
            places, reason = self._choose(pool) if pool.hits else _Choice((), pool.reason)
            chosen, cost = pool.chosen(places)
            worth = relevance(pool.hits)
            reward = fsum(worth[place] for place in places)
            selection = Selection(chosen, cost, reward, ((cost, reward),) if places else (), reason=reason)
            attributes.update(traced(selection))
        return selection

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits of the selection; see `selected`."""
        return selected(self, query, hits)

    def _choose(self, pool: Candidates) -> _Choice:
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK(_ByRelevance):
    """The first k hits, or as many of the first as fit together.

    Args:
        k: from 1.
    """

    k: int = 5

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

    def _choose(self, pool: Candidates) -> _Choice:
        for size in range(1, len(pool.hits) + 1):
            if size > self.k:
                return _Choice(range(self.k), f"{self.k} chunks are selected")
            if not pool.fits(range(size)):
                return _Choice(range(size - 1), "the next chunk does not fit")
        return _Choice(range(len(pool.hits)), "all chunks fit")


@dataclass(frozen=True, slots=True)
class GreedyFill(_ByRelevance):
    """Every hit that still fits, in their order."""

    def _choose(self, pool: Candidates) -> _Choice:
        return _Choice(pool.filled(), "no further chunk fits")


@dataclass(frozen=True, slots=True)
class RatioGreedy(_ByRelevance):
    """Every hit that still fits, from the most relevance for its cost; given in the order of the hits."""

    def _choose(self, pool: Candidates) -> _Choice:
        worth = relevance(pool.hits)
        ratios = [value / cost if cost else inf for value, cost in zip(worth, pool.costs, strict=True)]
        order = sorted(range(len(ratios)), key=lambda place: (-ratios[place], -worth[place]))
        return _Choice(sorted(pool.filled(order)), "no further chunk fits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knapsack(_ByRelevance):
    """The largest sum of relevance that fits, less what is said twice; given in the order of the hits.

    The lowest score is worth nothing, so that its chunk is left out. Where no score is a finite number, every hit that
    still fits is selected, in their order.

    Args:
        redundancy: what a pair of chunks takes off for its similarity; the publication has .2. From 0, for none.
        similarity: of chunks.
    """

    redundancy: float = 0.0
    similarity: Similarity = word_overlap

    def __post_init__(self) -> None:
        _check_weights(redundancy=self.redundancy)

    def _choose(self, pool: Candidates) -> _Choice:
        penalties = self.redundancy * self.similarity(pool.hits) if self.redundancy else None
        best = best_subset(relevance(pool.hits), pool.costs, pool.budget, penalties=penalties)
        if not best.places:
            return _Choice(pool.filled(), "no hit has a usable score")
        return _Choice(best.places, "the best sum" if best.proven else "the best sum found, not proven the best")


@dataclass(frozen=True, slots=True, kw_only=True)
class MMR(_ByRelevance):
    """Fills the budget by maximal marginal relevance with a price (Carbonell and Goldstein, SIGIR 1998).

    Next comes what has most of relevance * `relevance_weight` - largest similarity to what is selected *
    (1 - `relevance_weight`) - share of the budget * `price`. Of equals the first hit.

    Args:
        relevance_weight: from 0 to 1.
        price: from 0.
        similarity: of chunks.
    """

    relevance_weight: float = 0.7
    price: float = 0.1
    similarity: Similarity = word_overlap

    def __post_init__(self) -> None:
        _check_weights(price=self.price)
        if not 0 <= self.relevance_weight <= 1:
            raise ValueError(f"relevance_weight must be from 0 to 1, got {self.relevance_weight}")

    def _choose(self, pool: Candidates) -> _Choice:
        shares = np.array(pool.costs) / (pool.budget or 1.0)
        own = self.relevance_weight * np.array(relevance(pool.hits)) - self.price * shares
        alike = self.similarity(pool.hits)
        nearest = np.zeros(len(own))  # similarity to the nearest that is selected
        chosen: list[int] = []
        while fitting := [place for place in range(len(own)) if place not in chosen and pool.fits([*chosen, place])]:
            scores = own - (1 - self.relevance_weight) * nearest
            chosen.append(max(fitting, key=lambda place: float(scores[place])))
            nearest = np.maximum(nearest, alike[chosen[-1]])
        return _Choice(chosen, "no further chunk fits")


def _check_weights(**weights: float) -> None:
    for name, weight in weights.items():
        if not (isfinite(weight) and weight >= 0):
            raise ValueError(f"{name} must be a number from 0, got {weight}")
