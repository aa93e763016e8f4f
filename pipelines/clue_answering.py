"""Pipelines over a memory: answers from what its clues find, answers from it alone, and summaries with their evidence.

MemoRAG (arXiv:2409.05591): a light model recalls, a strong one answers from the texts themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace

from ragloom.components.clue_retrieval import ClueRetriever
from ragloom.components.clues import ClueMaker
from ragloom.components.draft_reading import DraftReader
from ragloom.components.memory import Memory
from ragloom.components.reading import check_question
from ragloom.components.reordering import document
from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.pipelines.question_answering import NOTHING_FOUND
from ragloom.run import Run, span
from ragloom.types import Answer, Citation, Hit, Reader, Refiner, Retriever

NOTHING_RECALLED = "the memory holds no answer"
NO_POINTS = "the memory gave no point that a passage bears out"

_tokens = Tokenizer()


@dataclass(frozen=True)
class ClueAnswering:
    """Retrieves by clues, puts the passages in document order, and answers from them.

    A `DraftReader` is shown the memory's draft as well. As in `RetrieveThenRead`, nothing found means no call.

    Args:
        retriever: finds passages by clues.
        reader: answers from them; may be a stronger model than the one that makes the clues.
        k: how many passages are read.
        refiners: applied in order to the passages, which come best first.
        arrange: the order in the prompt, after all choosing.
    """

    retriever: ClueRetriever
    reader: Reader | DraftReader
    _: KW_ONLY
    k: int = 5
    refiners: tuple[Refiner, ...] = ()
    arrange: Refiner = document

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

    def __call__(self, question: str, /) -> Answer:
        """The answer, with its run record: spans `retrieve`, one `refine` for each refiner, and the reader's."""
        check_question(question)
        with Run() as run:
            with span("retrieve", k=self.k) as attributes:
                found = self.retriever.search(question, self.k)
                attributes["found"] = len(found.hits)
            hits = found.hits
            for refiner in (*self.refiners, self.arrange):
                with span("refine", refiner=getattr(refiner, "__name__", type(refiner).__name__), given=len(hits)):
                    hits = refiner(question, hits)
            if not hits:
                answer = Answer(NOTHING_FOUND, abstained=True)
            elif isinstance(self.reader, DraftReader):
                answer = self.reader(question, hits, found.clues.draft)
            else:
                answer = self.reader(question, hits)
        return replace(answer, run=run.record())


@dataclass(frozen=True)
class MemoryOnly:
    """Answers from the memory alone: the draft is the answer, and rests on no passage. The baseline of retrieval.

    Args:
        memory: what is answered from.
        clue_maker: gives the draft; one that makes nothing else costs one call.
    """

    memory: Memory
    clue_maker: ClueMaker

    def __call__(self, question: str, /) -> Answer:
        """The answer, with its run record; an abstention where the memory gave no draft."""
        check_question(question)
        with Run() as run:
            draft = self.clue_maker(question, self.memory).draft
        return Answer(draft or NOTHING_RECALLED, abstained=not draft, run=run.record())


@dataclass(frozen=True)
class Summarising:
    """Summarises: key points from the memory, for each its evidence, and what the evidence bears out is written up.

    A point is borne out by the best of its passages if that holds at least `support` of its content words, and if each
    of its numbers stands in one of its passages. Other points are left out, since a memory may be wrong. Each is a span
    `point` with the passages `found`, the `coverage`, and whether it was `kept`.

    Args:
        memory: what the points are from.
        points: of a question and a memory; `LLMClueMaker.points`.
        retriever: finds the evidence.
        writer: writes the summary from the passages of all points, which come in document order; its question is what
            was asked, with the points behind it. None puts the points one below the other, each citing its passage.
        per_point: passages of a point.
        support: share of its content words, from 0 to 1.
    """

    memory: Memory
    points: Callable[[str, Memory], Sequence[str]]
    retriever: Retriever
    writer: Reader | None = None
    _: KW_ONLY
    per_point: int = 2
    support: float = 0.5

    def __post_init__(self) -> None:
        if self.per_point < 1:
            raise ValueError(f"per_point must be at least 1, got {self.per_point}")
        if not 0 <= self.support <= 1:
            raise ValueError(f"support must be from 0 to 1, got {self.support}")

    def __call__(self, question: str, /) -> Answer:
        """The summary with its passages and citations; an abstention where no point is borne out."""
        check_question(question)
        with Run() as run:
            evidence: dict[str, list[Hit]] = {}
            for point in self.points(question, self.memory):
                if hits := self._evidence(point):
                    evidence.setdefault(point, hits)
            shown = document(question, list({hit.chunk.id: hit for hits in evidence.values() for hit in hits}.values()))
            answer = self._written(question, evidence, shown)
        return replace(answer, run=run.record())

    def _evidence(self, point: str) -> list[Hit]:
        """Its passages, that which covers most of it first; none where that is too little."""
        with span("point", text=point) as attributes:
            hits = sorted(self.retriever(point, self.per_point), key=lambda hit: -_coverage(point, hit))
            coverage = _coverage(point, hits[0]) if hits else 0.0
            kept = bool(hits) and coverage >= self.support and _states_numbers(point, hits)
            attributes |= {"found": [hit.chunk.id for hit in hits], "coverage": coverage, "kept": kept}
            return hits if kept else []

    def _written(self, question: str, evidence: dict[str, list[Hit]], shown: Sequence[Hit]) -> Answer:
        if not evidence:
            return Answer(NO_POINTS, abstained=True)
        if self.writer is not None:
            return self.writer("\n".join([question, *(f"- {point}" for point in evidence)]), shown)
        numbers = {hit.chunk.id: number for number, hit in enumerate(shown, 1)}
        cited = dict.fromkeys(_whole(numbers[hits[0].chunk.id], hits[0]) for hits in evidence.values())
        return Answer("\n".join(evidence), tuple(shown), tuple(cited))


def _coverage(point: str, hit: Hit) -> float:
    """The share of a point's content words that stand in a passage."""
    said = set(_tokens(point))
    return len(said & set(_tokens(searchable(hit.chunk)))) / len(said) if said else 0.0


def _states_numbers(point: str, hits: Sequence[Hit]) -> bool:
    """Whether each of a point's numbers stands in a passage: a wrong year hardly changes the share of words."""
    numbers = {word for word in _tokens(point) if any(map(str.isdigit, word))}
    return numbers <= {word for hit in hits for word in _tokens(searchable(hit.chunk))}


def _whole(number: int, hit: Hit) -> Citation:
    """A citation of the whole passage, found by the words that it shares with the point."""
    chunk = hit.chunk
    return Citation(number, chunk.id, chunk.document_id, chunk.start, chunk.start + len(chunk.text), "match")
