"""HippoRAG as it was published: passages ranked by personalised PageRank over the triples that a model found in them.

Version 1 is arXiv:2405.14831 (NeurIPS 2024), version 2 arXiv:2502.14802 (ICML 2025). `ragloom.graph.index` is what this
library recommends; these are here to compare with, and where there are good triples. They follow the published code
except where it goes wrong: there synonymy edges replace the relations between the same phrases (here both count),
scores that are all equal become NaN, a reply of the filter that cannot be read makes the search ignore the graph, and
facts that the model made up are taken for the most similar candidate, however little similar it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ragloom.components.fusion import min_max
from ragloom.components.vector_cache import unit_vectors
from ragloom.errors import BadReply, IndexMismatch
from ragloom.graph.extraction import normalise
from ragloom.graph.facts import FactGraph
from ragloom.graph.ranking import Transition, personalised_pagerank
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.graph.shares import Fact
from ragloom.graph.synonyms import Synonyms
from ragloom.run import span
from ragloom.types import Chunk, Embedder, Hit, Retriever

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Scores = NDArray[np.float64]


class FactFilter(Protocol):
    """Says which facts bear on a question: some, all or none of them, in any order."""

    def __call__(self, query: str, facts: Sequence[Fact], /) -> Sequence[Fact]:
        """Those of the facts that are kept; any others are passed over."""
        ...


@dataclass(frozen=True, slots=True)
class Linking:
    """Where a question enters the graph.

    Attributes:
        seeds: phrases and how much the walk prefers to start at them.
        weakest: version 1: the lowest cosine between an entity of the question and the phrase it was linked to.
        fallback: why there is no walk, so that the retriever's hits stand; empty if there is one.
    """

    seeds: tuple[tuple[str, float], ...] = ()
    weakest: float = 1.0
    fallback: str = ""


def question_entities(question: str) -> tuple[str, ...]:
    """Runs of capitalised words: the entities of a question, found without a model."""
    return RuleExtractor()(Chunk("", question)).entities


class HippoRAG:
    """A Retriever by version 1: from the phrases nearest to the question's entities, over relations and synonyms.

    A phrase in many passages starts with less, by the number of passages with a fact about it (node specificity). A
    passage's score adds up what its phrases got, each as often as the passage has facts about it, and is brought to 0
    for the lowest and 1 for the highest. Ties are in the order of the chunks; passages that got nothing are no hits.

    Args:
        graph: the facts of the chunks.
        chunks: in the graph's order.
        retriever: answers where the question names no entity, and takes part where `ensemble_at` says so.
        embedder: for entities.
        vectors: (phrases, d), of the graph's phrases.
        synonyms: among the graph's phrases; None for no synonymy edges.
        entities: the entities of a question; a model finds better ones.
        damping: the chance to follow an edge. The paper calls 0.5 the chance to start again, which is the same; the
            code passes 0.1 to igraph, as the chance to follow an edge.
        specificity: whether rare phrases start with more.
        ensemble_at: where the cosine of the weakest link is at most this, half of the score is the retriever's (the
            paper's uncertainty-based ensembling, at 0.9); None for never.
    """

    def __init__(
        self,
        graph: FactGraph,
        chunks: Sequence[Chunk],
        retriever: Retriever,
        embedder: Embedder,
        vectors: NDArray[np.float32],
        *,
        synonyms: Synonyms | None = None,
        entities: Callable[[str], Sequence[str]] = question_entities,
        damping: float = 0.5,
        specificity: bool = True,
        ensemble_at: float | None = None,
    ) -> None:
        self._passages = _Passages(graph, chunks, retriever)
        self._graph, self._embedder, self._entities = graph, embedder, entities
        self._vectors = unit_vectors(vectors, len(graph.phrases), embedder.model)
        self._transition = Transition.from_weights(_phrase_weights(graph, synonyms))
        self._damping, self._ensemble_at = damping, ensemble_at
        frequency = graph.frequency()
        self._weights = 1 / frequency if specificity else np.ones(len(frequency))
        self._place = {phrase: row for row, phrase in enumerate(graph.phrases)}

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first; the retriever's own where there is no walk, as the trace says.

        Raises:
            ValueError: k below 1, or the retriever takes part and gives a score that is no finite number.
        """
        _check(k)
        with span("graph", retriever="HippoRAG", k=k) as attributes:
            linking = self.link(query)
            attributes |= {"seeds": len(linking.seeds), "weakest": linking.weakest}
            if linking.fallback:
                attributes["fallback"] = linking.fallback
                return self._passages.retriever(query, k)
            mass = self._graph.contents @ self._visits(linking)
            scores, found = _min_max(mass), mass > 0
            if self._ensemble_at is not None and linking.weakest <= self._ensemble_at:
                others = self._passages.scores(query)
                scores, found = (scores + others) / 2, found | (others > 0)
            return self._passages.best(scores, found, k)

    def link(self, query: str) -> Linking:
        """The phrases nearest to the question's entities."""
        if not self._graph.phrases:
            return Linking(fallback="the graph has no facts")
        entities = list(dict.fromkeys(filter(None, map(normalise, self._entities(query)))))
        if not entities:
            return Linking(fallback="no entity was found in the question")
        try:
            cosines = _cosines(self._embedder, entities, self._vectors)
        except BadReply as error:
            return Linking(fallback=f"the entities could not be embedded: {error.problem}")
        nearest = cosines.argmax(axis=1)
        seeds = {self._graph.phrases[row]: float(self._weights[row]) for row in nearest.tolist()}
        return Linking(tuple(seeds.items()), float(cosines.max(axis=1).min()))

    def _visits(self, linking: Linking) -> Scores:
        reset = np.zeros(len(self._graph.phrases))
        for phrase, weight in linking.seeds:
            reset[self._place[phrase]] = weight
        return personalised_pagerank(self._transition, reset, damping=self._damping)


class HippoRAG2:
    """A Retriever by version 2: from the ends of the facts nearest to the question, and a little from every passage.

    Passages are nodes, joined to the phrases of their facts. A phrase starts with the mean score of its facts, divided
    by the number of passages with a fact about it, as in the published code. Ties are in the order of the chunks.

    Args:
        graph: the facts of the chunks.
        chunks: in the graph's order.
        retriever: scores the passages, and answers where no fact is kept.
        embedder: for queries.
        vectors: (facts, d), of the graph's `texts`.
        synonyms: among the graph's phrases; None for no synonymy edges.
        filter: keeps the facts that bear on the question; None for all. The paper's is a model's recognition memory.
        facts: so many of the nearest are put before the filter.
        phrases: so many of their ends the walk starts from, at most.
        passage_weight: how much the walk prefers to start at the passage that the retriever scores highest, where 1
            would be a phrase of the nearest fact that occurs in one passage only.
        context: weight of the edges between passages and phrases, where a relation stated once has 1. The published
            code says 1, but puts each relation and synonym into its undirected graph twice, once for each direction.
        damping: the chance to follow an edge.
    """

    def __init__(
        self,
        graph: FactGraph,
        chunks: Sequence[Chunk],
        retriever: Retriever,
        embedder: Embedder,
        vectors: NDArray[np.float32],
        *,
        synonyms: Synonyms | None = None,
        filter: FactFilter | None = None,  # noqa: A002 - the paper's word
        facts: int = 5,
        phrases: int = 5,
        passage_weight: float = 0.05,
        context: float = 0.5,
        damping: float = 0.5,
    ) -> None:
        from scipy.sparse import block_array

        self._passages = _Passages(graph, chunks, retriever)
        self._graph, self._embedder, self._filter = graph, embedder, filter
        self._vectors = unit_vectors(vectors, len(graph.facts), embedder.model)
        contexts = (graph.contents > 0) * context
        edges = block_array([[_phrase_weights(graph, synonyms), contexts.T], [contexts, None]], format="csr")
        self._transition = Transition.from_weights(edges)
        self._facts, self._phrases, self._passage_weight, self._damping = facts, phrases, passage_weight, damping
        self._frequency = graph.frequency()
        self._place = {phrase: row for row, phrase in enumerate(graph.phrases)}

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first; the retriever's own where there is no walk, as the trace says.

        Raises:
            LLMError: the filter's model could not be asked.
            ValueError: k below 1, or the retriever gives a score that is no finite number.
        """
        _check(k)
        with span("graph", retriever="HippoRAG2", k=k) as attributes:
            linking = self.link(query)
            attributes["seeds"] = len(linking.seeds)
            if linking.fallback:
                attributes["fallback"] = linking.fallback
                return self._passages.retriever(query, k)
            reset = np.zeros(self._transition.nodes)
            for phrase, weight in linking.seeds:
                reset[self._place[phrase]] = weight
            reset[len(self._place) :] = self._passage_weight * self._passages.scores(query)
            visits = personalised_pagerank(self._transition, reset, damping=self._damping)[len(self._place) :]
            return self._passages.best(visits, visits > 0, k)

    def link(self, query: str) -> Linking:
        """The ends of the facts nearest to the question."""
        if not self._graph.facts:
            return Linking(fallback="the graph has no facts")
        try:
            scores = _min_max(_cosines(self._embedder, [query], self._vectors)[0])
        except BadReply as error:
            return Linking(fallback=f"the question could not be embedded: {error.problem}")
        nearest = np.argsort(-scores, kind="stable")[: self._facts].tolist()
        candidates = {self._graph.facts[row]: float(scores[row]) for row in nearest}
        kept = candidates.keys() if self._filter is None else set(self._filter(query, list(candidates)))
        seeds = self._seeds({fact: score for fact, score in candidates.items() if fact in kept})
        return Linking(seeds, fallback="" if seeds else "no fact was found to bear on the question")

    def _seeds(self, facts: Mapping[Fact, float]) -> tuple[tuple[str, float], ...]:
        """The phrases of scored facts that weigh most, heaviest first."""
        scores: dict[str, list[float]] = {}
        for (subject, _, object_), score in facts.items():
            for phrase in {subject, object_}:
                scores.setdefault(phrase, []).append(score)
        weights = {
            phrase: float(np.mean(found)) / int(self._frequency[self._place[phrase]])
            for phrase, found in sorted(scores.items())
        }
        heaviest = sorted(weights.items(), key=lambda item: -item[1])[: self._phrases]
        return tuple((phrase, weight) for phrase, weight in heaviest if weight > 0)


class _Passages:
    """The passages of a graph, and a retriever that searches them too."""

    def __init__(self, graph: FactGraph, chunks: Sequence[Chunk], retriever: Retriever) -> None:
        if [chunk.id for chunk in chunks] != graph.chunk_ids:
            raise IndexMismatch("the graph was built from other chunks", "build it again")
        self._chunks = list(chunks)
        self._place = {id_: row for row, id_ in enumerate(graph.chunk_ids)}
        self.retriever = retriever

    def scores(self, query: str) -> Scores:
        """(passages,), from the retriever: 1 for its best hit, 0 for its last and for what it does not find."""
        hits = self.retriever(query, len(self._chunks))
        scores = np.zeros(len(self._chunks))
        scores[[self._place[hit.chunk.id] for hit in hits]] = min_max(hits)
        return scores

    def best(self, scores: Scores, found: NDArray[np.bool_], k: int) -> list[Hit]:
        """The k highest scores among the passages found."""
        rows = np.flatnonzero(found)
        rows = rows[np.argsort(-scores[rows], kind="stable")[:k]]
        return [Hit(self._chunks[row], score) for row, score in zip(rows.tolist(), scores[rows].tolist(), strict=True)]


def _check(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")


def _phrase_weights(graph: FactGraph, synonyms: Synonyms | None) -> csr_array:
    """(phrases, phrases): relations as often as stated, and the cosines of synonyms, added up."""
    if synonyms is None:
        return graph.relations
    if list(synonyms.phrases) != graph.phrases:
        raise IndexMismatch("the synonyms were found among other phrases than the graph's", "bring them up to date")
    both: csr_array = graph.relations + synonyms.weights()
    return both


def _cosines(embedder: Embedder, texts: Sequence[str], vectors: NDArray[np.float32]) -> Scores:
    """(texts, vectors).

    Raises:
        BadReply: the embedder gave something else than vectors of length 1.
        IndexMismatch: they have another dimension.
    """
    embedded = unit_vectors(embedder(texts), len(texts), embedder.model)
    if embedded.shape[1] != vectors.shape[1]:
        raise IndexMismatch(
            f"the index was built with vectors of {vectors.shape[1]} dimensions, and {embedder.model} gave "
            f"{embedded.shape[1]} for the question",
            "build it again, or pass the model it was built with",
        )
    # BLAS would start threads for what is over as soon as memory is read: 5.6 ms of processor time for 17,000, not 0.9.
    cosines: Scores = np.einsum("ij,kj->ik", embedded, vectors).astype(np.float64)
    return cosines


def _min_max(scores: Scores) -> Scores:
    """The scores brought to 0 for the lowest and 1 for the highest; all 1 where they are equal."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)
