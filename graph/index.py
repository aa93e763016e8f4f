"""Passages ranked by a walk over the knowledge graph of their corpus: a hippocampal index that needs no language model.

The search step is HippoRAG's (arXiv:2405.14831, arXiv:2502.14802): personalised PageRank from what the question names
and from the passages that match it best. Three things differ. Edges lead from a passage to the phrases it mentions and
from a phrase to the passages about it, so that no triples are needed. Phrases of the question are linked by their
words. And the walk is drawn to passages that match what the best passage leaves open of the question: to "When was the
country that produced Fist Power taken by the British?" the passage on Fist Power leaves open what the British took.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ragloom.components.fusion import min_max
from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.errors import IndexMismatch
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.edges import edge_weights
from ragloom.graph.linking import QuestionLinker
from ragloom.graph.local_push import local_push
from ragloom.graph.ranking import Transition, personalised_pagerank, pulled
from ragloom.run import span
from ragloom.types import Chunk, Hit, Retriever

_EPSILON = 1e-4  # of the push; with less, recall is the same
_FLOOR = 0.2  # how strongly passages draw the walk that do not match at all

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Seed:
    """Where a walk starts: a node, its share, and why."""

    node: int
    weight: float
    reason: str


@dataclass(frozen=True, eq=False)
class Walk:
    """One query's walk.

    Attributes:
        query: the question.
        seeds: their weights sum to 1; empty if there was no walk.
        transition: as walked for this query.
        damping: the chance to go on.
        scores: (nodes,), the share of its time that the walk spends at each node; empty if there was none.
        hits: what the index found.
        fallback: why these are the retriever's; empty if they are the walk's.
    """

    query: str
    seeds: tuple[Seed, ...]
    transition: Transition
    damping: float
    scores: NDArray[np.float64]
    hits: tuple[Hit, ...]
    fallback: str = ""


class GraphIndex:
    """A Retriever that ranks passages by a walk over the knowledge graph.

    Half of the walk starts at the phrases that the question names, rare ones more often. The other half starts at two
    passages, by the squares of how well they match: the best one, and the one that best matches both the question and
    what the first leaves open of it. A passage's score is the share of its time that the walk spends there, times the
    square root of how well the passage matches the question or what is open of it. Ties are in the order of the chunks;
    hits of the retriever that the walk does not reach come last, with a score of 0.

    The defaults were chosen on 351 questions of three sets (`benchmarks/graph_retrieval.py`), where recall is flat
    around each of them.

    Args:
        graph: of the chunks.
        chunks: in the graph's order.
        retriever: finds the passages that the walk starts from and is drawn to: keyword search, search by meaning, or
            better both, fused. It is asked twice for each query.
        depth: hits asked of the retriever.
        damping: the chance to follow an edge rather than to start again.
        link: by how much the walk prefers mentions that name another passage.
        about: by how much it prefers, from a phrase, the passage about it to one that mentions it only rarely.
    """

    def __init__(
        self,
        graph: KnowledgeGraph,
        chunks: Sequence[Chunk],
        retriever: Retriever,
        *,
        depth: int = 200,
        damping: float = 0.9,
        link: float = 10.0,
        about: float = 4.0,
    ) -> None:
        if [chunk.id for chunk in chunks] != graph.chunk_ids:
            raise IndexMismatch("the graph was built from other chunks", "build it again")
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.graph, self.chunks = graph, list(chunks)
        self._retriever, self._depth, self._damping = retriever, depth, damping
        weights, frequency = edge_weights(graph, link=link, about=about)
        self._transition = Transition.from_weights(weights)
        self._rarity = 1 / np.maximum(frequency, 1)
        self._linker = QuestionLinker(graph.phrases)
        self._column = {phrase: column for column, phrase in enumerate(graph.phrases)}
        self._place = {id_: place for place, id_ in enumerate(graph.chunk_ids)}
        self._stems = lru_cache(maxsize=10_000)(lambda place: frozenset(_stem(searchable(self.chunks[place]))))

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first; the retriever's own where there is nothing to walk from, as the trace says.

        Raises:
            ValueError: k below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        with span("graph", k=k) as attributes:
            start = self._start(query, k)
            attributes["seeds"] = len(start.seeds)
            if start.fallback:
                attributes["fallback"] = start.fallback
                return list(start.found[:k])
            return self._hits(start, k)

    def walk(self, query: str, k: int = 10) -> Walk:
        """The walk of a query, for a look at why passages are found: a call's hits, and exact scores of all nodes."""
        start = self._start(query, k)
        if start.fallback:
            found = tuple(start.found[:k])
            return Walk(query, (), self._transition, self._damping, np.empty(0), found, start.fallback)
        transition = pulled(self._transition, self._pull(start))
        reset = np.zeros(transition.nodes)
        for seed in start.seeds:
            reset[seed.node] += seed.weight
        scores = personalised_pagerank(transition, reset, damping=self._damping)
        return Walk(query, start.seeds, transition, self._damping, scores, tuple(self._hits(start, k)))

    def _start(self, query: str, k: int) -> _Start:
        found = self._retriever(query, max(k, self._depth))
        passages = [self._place[found[0].chunk.id]] if found else []
        rest = self._open(query, passages[0]) if found else ""
        more = self._retriever(rest, self._depth) if rest else ()
        try:
            match = self._matches(found)
            remaining = self._matches(more) if more else match
        except ValueError as error:  # scores that are no finite numbers
            return _Start(found, fallback=str(error))
        phrases = [self._column[phrase] for phrase in self._linker(query)]
        if not found and not phrases:
            return _Start(found, fallback="the question names nothing in the graph, and no passage matches it")
        both = match * remaining
        both[passages] = 0
        if both.any():
            passages.append(int(both.argmax()))
        seeds = self._shared_out(passages, match[passages] ** 2, phrases, self._rarity[phrases])
        return _Start(found, seeds, match, remaining)

    def _matches(self, hits: Sequence[Hit]) -> NDArray[np.float64]:
        """(passages,): how well each matches, from 0 to 1."""
        matches = np.zeros(len(self.chunks))
        matches[[self._place[hit.chunk.id] for hit in hits]] = min_max(hits)
        return matches

    def _shared_out(
        self, passages: list[int], matches: NDArray[np.float64], phrases: list[int], rarities: NDArray[np.float64]
    ) -> tuple[Seed, ...]:
        """Half of the walk starts at passages and half at phrases, or all where there is but one kind."""
        kinds = [
            ([len(self.graph.phrases) + place for place in passages], matches, "matches the question"),
            (phrases, rarities, "is named in the question"),
        ]
        kinds = [kind for kind in kinds if kind[1].sum() > 0]
        return tuple(
            Seed(node, weight, reason)
            for nodes, weights, reason in kinds
            for node, weight in zip(nodes, (weights / weights.sum() / len(kinds)).tolist(), strict=True)
            if weight > 0
        )

    def _open(self, query: str, place: int) -> str:
        """The question without the words that the passage has."""
        seen = self._stems(place)
        words = ((word, _stem(word)) for word in _WORD.findall(query))
        return " ".join(word for word, stems in words if not stems or not seen.issuperset(stems))

    def _pull(self, start: _Start) -> NDArray[np.float64]:
        """(nodes,): how strongly each node draws the walk."""
        pull = np.ones(self._transition.nodes)
        pull[len(self.graph.phrases) :] = start.remaining + _FLOOR
        return pull

    def _hits(self, start: _Start, k: int) -> list[Hit]:
        """The best passages of the walk."""
        seeds, weights = [seed.node for seed in start.seeds], [seed.weight for seed in start.seeds]
        nodes, visits = local_push(
            self._transition, seeds, weights, damping=self._damping, epsilon=_EPSILON, pull=self._pull(start)
        )
        first = len(self.graph.phrases)
        visited = nodes >= first
        places = nodes[visited] - first
        levels = np.sqrt(np.maximum(start.match[places], start.remaining[places]) + _FLOOR)
        scores = visits[visited] * levels
        best = np.lexsort((places, -scores))[:k]
        hits = [Hit(self.chunks[places[each]], score) for each, score in zip(best, scores[best].tolist(), strict=True)]
        if len(hits) < k:  # the walk went not so far; the retriever's next ones can still be of use
            there = {hit.chunk.id for hit in hits}
            hits += [Hit(hit.chunk, 0.0) for hit in start.found if hit.chunk.id not in there][: k - len(hits)]
        return hits


@dataclass(frozen=True, slots=True, eq=False)
class _Start:
    """What is known before the walk.

    Attributes:
        found: the retriever's hits.
        seeds: none where there is nothing to walk from.
        match: (passages,), how well each matches the question.
        remaining: (passages,), how well each matches what the best one leaves open of it.
        fallback: why there is no walk.
    """

    found: Sequence[Hit]
    seeds: tuple[Seed, ...] = ()
    match: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    remaining: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    fallback: str = ""


def _stem(text: str) -> list[str]:
    return Tokenizer()(text)
