"""Pipelines that answer a question: with what the model knows, or from retrieved passages."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ragloom.components.reading import check_question
from ragloom.run import Run, span
from ragloom.types import Answer, Reader, Refiner, Retriever

NOTHING_FOUND = "no passage matches the question"


@dataclass(frozen=True)
class ClosedBook:
    """Answers without passages. The baseline: what retrieval is worth shows in the difference."""

    reader: Reader

    def __call__(self, question: str, /) -> Answer:
        """The answer, with its run record."""
        with Run() as run:
            answer = self.reader(question, ())
        return replace(answer, run=run.record())


@dataclass(frozen=True)
class RetrieveThenRead:
    """Retrieves k passages once, refines them, and answers from what is left.

    A question for which nothing is retrieved is abstained from without asking the model, so that an answer never rests
    on what the model happens to know.

    Args:
        retriever: finds the passages; a fusion makes the pipeline hybrid.
        reader: answers from them.
        k: how many are retrieved.
        refiners: applied in order; they may return fewer passages or others.
    """

    retriever: Retriever
    reader: Reader
    k: int = 5
    refiners: tuple[Refiner, ...] = ()

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

    def __call__(self, question: str, /) -> Answer:
        """The answer, with its run record: spans `retrieve`, one `refine` for each refiner, and the reader's."""
        check_question(question)
        with Run() as run:
            with span("retrieve", k=self.k) as attributes:
                hits = self.retriever(question, self.k)
                attributes["found"] = len(hits)
            for refiner in self.refiners:
                with span("refine", refiner=_name(refiner), given=len(hits)) as attributes:
                    hits = refiner(question, hits)
                    attributes["kept"] = len(hits)
            answer = self.reader(question, hits) if hits else Answer(NOTHING_FOUND, abstained=True)
        return replace(answer, run=run.record())


def _name(part: object) -> str:
    """Name of a function or of a component's class."""
    return getattr(part, "__name__", type(part).__name__)
