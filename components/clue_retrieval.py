"""Retrieve by clues from a memory beside the question (MemoRAG, arXiv:2409.05591, section 2).

An implicit question shares no words with the passages that answer it; clues that were recalled from a memory do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import zip_longest
from typing import Literal, get_args

from ragloom.components.clue_reading import words
from ragloom.components.clues import Clue, ClueMaker, Clues
from ragloom.components.gate_rules import Threshold
from ragloom.components.gating import Gate, SignalGate
from ragloom.components.memory import Memory
from ragloom.components.reordering import document
from ragloom.components.retrieval_scores import RetrievalScores
from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.run import span
from ragloom.types import Chunk, Hit, Retriever

Fusion = Literal["union", "weighted"]
Order = Literal["score", "document"]

CLUE_WEIGHT = 0.5  # of a clue's list, where that of the question has 1
_RANK_CONSTANT = 60  # of reciprocal rank fusion
_tokens = Tokenizer()


def weak_retrieval(retriever: Retriever, *, k: int = 5, overlap: float = 0.8) -> Gate:
    """A Gate that is for several retrievals where the k best passages lack more of the question's content words.

    What a question describes but does not name leaves words that stand in no passage found. Asks no model.

    Args:
        retriever: that of the question itself.
        k: passages looked at.
        overlap: share of the question's content words, from 0 to 1, that is enough.
    """
    weak = Threshold("retrieval_overlap", overlap, side="below", mode="iterative")
    return SignalGate((RetrievalScores(retriever, k),), weak)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search with clues found.

    Attributes:
        hits: at most as many as were asked for.
        clues: those that were made; none where the gate was against them.
    """

    hits: list[Hit]
    clues: Clues


@dataclass(frozen=True)
class ClueRetriever:
    """A Retriever that searches for the question and for each clue, and fuses what is found.

    The question counts with its first `per_query` hits, as each clue does; its further hits fill up what the clues
    leave. Where more is found than asked for, the fused score decides what is kept, and only then comes the order. So
    a question without clues gets its own hits, as they are.

    - `union`: a chunk counts by its best rank in any list; of equal ranks the question's comes first, then those of the
      clues in their order. The published way, cut to k.
    - `weighted`: reciprocal rank fusion, in which a clue's list weighs half of the question's. So of the chunks that
      one list has, those of the question come first, and clues that agree outweigh it.

    The order is best first unless told otherwise: that is what a Retriever promises, and a fusion, a refiner that
    chooses, or recall@k rely on. Document order, which MemoRAG shows its generator, belongs to the prompt:
    `pipelines.clue_answering` puts it there by `reordering.document`, which needs it to be told where hits go on.

    Each search is a span `clue` with its `text`, `kind`, how many chunks it `found`, the ids of those that were `new`,
    and whether it was `kept`. A span `clues` around them says how many there were, or what the gate decided.

    Args:
        memory: what clues are made from.
        retriever: finds chunks for the question and for each clue.
        clue_maker: makes the clues.
        per_query: hits of each search; the published `ret_hit`.
        fusion: how the lists become one.
        order: of the hits.
        keep_adding: keep only clues that add a chunk, or whose best hit holds a larger share of the clue's content
            words than the question's best hit holds of the question's. Scores of different queries do not compare.
        gate: clues are made where it decides for several retrievals (`iterative`); None for always.
    """

    memory: Memory
    retriever: Retriever
    clue_maker: ClueMaker
    _: KW_ONLY
    per_query: int = 3
    fusion: Fusion = "weighted"
    order: Order = "score"
    keep_adding: bool = False
    gate: Gate | None = None

    def __post_init__(self) -> None:
        if self.per_query < 1:
            raise ValueError(f"per_query must be at least 1, got {self.per_query}")
        for name, known in (("fusion", get_args(Fusion)), ("order", get_args(Order))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first or in document order. Raises what `search` raises."""
        return self.search(query, k).hits

    def search(self, query: str, k: int) -> Found:
        """The hits and the clues.

        Raises:
            ValueError: k below 1.
            InputError: the question leaves no room for the memory.
            BudgetExceeded: before a call that the run's budget does not cover.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        with span("clues") as attributes:
            clues = self._clues(query, attributes)
            attributes |= {"clues": len(clues.clues), "draft": bool(clues.draft)}
            hits = search_with_clues(
                self.retriever,
                query,
                clues.clues,
                k,
                per_query=self.per_query,
                fusion=self.fusion,
                keep_adding=self.keep_adding,
            )
        return Found(document(query, hits) if self.order == "document" else hits, clues)

    def _clues(self, query: str, attributes: dict[str, object]) -> Clues:
        if self.gate is not None:
            decision = self.gate(query)
            attributes |= {"gate": decision.mode, "reason": decision.reason}
            if decision.mode != "iterative":
                return Clues()
        return self.clue_maker(query, self.memory)


def search_with_clues(
    retriever: Retriever,
    query: str,
    clues: Sequence[Clue],
    k: int,
    *,
    per_query: int,
    fusion: Fusion,
    keep_adding: bool = False,
) -> list[Hit]:
    """At most k hits of the question and the clues, fused, best first; see `ClueRetriever`."""
    direct = _once(retriever(query, max(k, per_query)))
    lists = [direct[:per_query]]
    seen = {hit.chunk.id for hit in lists[0]}
    for clue in _different(clues, query):
        with span("clue", text=clue.text, kind=clue.kind) as attributes:
            hits = _once(retriever(clue.text, per_query))
            new = [hit.chunk.id for hit in hits if hit.chunk.id not in seen]
            kept = not keep_adding or bool(new) or _coverage(clue.text, hits) > _coverage(query, direct)
            attributes |= {"found": len(hits), "new": new, "kept": kept}
        if kept:
            lists.append(hits)
            seen.update(new)
    if len(lists) == 1:
        return direct[:k]
    fused = _fused(lists, fusion)
    return (fused + _filling(fused, direct))[:k]


def _different(clues: Iterable[Clue], query: str) -> list[Clue]:
    """The clues that have words, and others than the query and the clues before them."""
    first: dict[tuple[str, ...], Clue] = {}
    for clue in clues:
        first.setdefault(tuple(words(clue.text)), clue)
    return [clue for said, clue in first.items() if said and said != tuple(words(query))]


def _once(hits: Iterable[Hit]) -> list[Hit]:
    """The hits, each chunk once."""
    first: dict[str, Hit] = {}
    for hit in hits:
        first.setdefault(hit.chunk.id, hit)
    return list(first.values())


def _fused(lists: Sequence[Sequence[Hit]], fusion: Fusion) -> list[Hit]:
    """All hits of the lists, that of the question first; ties by rank, then in the order of the lists."""
    chunks: dict[str, Chunk] = {}
    scores: dict[str, float] = {}
    for rank, row in enumerate(zip_longest(*lists), 1):
        for place, hit in enumerate(row):
            if hit is None:
                continue
            chunks.setdefault(hit.chunk.id, hit.chunk)
            known = scores.get(hit.chunk.id, 0.0)
            if fusion == "union":
                scores[hit.chunk.id] = known or 1 / rank
            else:
                scores[hit.chunk.id] = known + (CLUE_WEIGHT if place else 1.0) / (_RANK_CONSTANT + rank)
    return [Hit(chunks[id_], scores[id_]) for id_ in sorted(scores, key=lambda id_: -scores[id_])]


def _filling(fused: Sequence[Hit], direct: Iterable[Hit]) -> list[Hit]:
    """The question's further hits in their order, with scores below those of the fused ones."""
    known = {hit.chunk.id for hit in fused}
    further = [hit.chunk for hit in direct if hit.chunk.id not in known]
    lowest = fused[-1].score if fused else 1.0
    return [Hit(chunk, lowest / (1 + rank)) for rank, chunk in enumerate(further, 1)]


def _coverage(query: str, hits: Sequence[Hit]) -> float:
    """The share of a query's content words that stand in its best hit."""
    asked = set(_tokens(query))
    found = set(_tokens(searchable(hits[0].chunk))) if hits else set()
    return len(asked & found) / len(asked) if asked else 0.0
