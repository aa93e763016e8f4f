"""Pipelines that answer a question: with what the model knows, from retrieved passages, or as a gate decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isnan

from ragloom.components.gating import Decision, Gate, Mode, traced
from ragloom.components.reading import check_question
from ragloom.errors import ConfigError
from ragloom.run import Run, span
from ragloom.types import Answer, Pipeline, Reader, Refiner, Retriever

NOTHING_FOUND = "no passage matches the question"
NOTHING_KEPT = "none of the {} passages found was kept"


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

    A question for which nothing is retrieved, or whose passages are all refined away, is abstained from without asking
    the model, so that an answer never rests on what the model happens to know; the answer says which of the two it was.

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
        """The answer, with its run record: spans `retrieve`, one `refine` for each refiner, and the reader's.

        Raises:
            ConfigError: no passage fits the budget of a selector.
        """
        check_question(question)
        with Run() as run:
            with span("retrieve", k=self.k) as attributes:
                hits = self.retriever(question, self.k)
                attributes["found"] = found = len(hits)
            for refiner in self.refiners:
                with span("refine", refiner=_name(refiner), given=len(hits)) as attributes:
                    hits = refiner(question, hits)
                    attributes["kept"] = len(hits)
            if hits:
                answer = self.reader(question, hits)
            else:
                answer = Answer(NOTHING_KEPT.format(found) if found else NOTHING_FOUND, abstained=True)
        return replace(answer, run=run.record())


@dataclass(frozen=True)
class Adaptive:
    """Asks a gate how to answer a question, and answers it so: without passages, with one retrieval, or with several.

    An answer that the gate made on its way, such as a draft, is not made again. Where retrieval was decided on and
    finds nothing, the question is answered without passages, and the span `answer` says `retrieval_empty`.

    Args:
        gate: decides on a mode.
        modes: the pipeline of each mode that the gate may decide on; `none` always, for retrieval that finds nothing.
    """

    gate: Gate
    modes: Mapping[Mode, Pipeline]

    def __post_init__(self) -> None:
        if "none" not in self.modes:
            raise ConfigError("the modes have no pipeline for 'none'", "add one that needs no passages: ClosedBook")

    def __call__(self, question: str, /) -> Answer:
        """The answer, with its run record: spans `gate`, with the decision and what it rests on, and `answer`.

        Raises:
            ConfigError: the gate decided on a mode that there is no pipeline for.
        """
        check_question(question)
        with Run() as run:
            with span("gate") as attributes:
                decision = self.gate(question)
                attributes.update(_described(decision))
            answer = self._answer(decision, decision.mode, question, run)
            if decision.mode != "none" and not answer.hits:
                answer = self._answer(decision, "none", question, run, retrieval_empty=True)
        return replace(answer, run=run.record())

    def _answer(self, decision: Decision, mode: Mode, question: str, run: Run, **attributes: bool) -> Answer:
        with span("answer", mode=mode, **attributes) as described:
            if mode in decision.answers:
                described["made_by_gate"] = True
                return decision.answers[mode]
            if mode not in self.modes:
                raise ConfigError(
                    f"the gate decided on {mode!r}, and there is no pipeline for it",
                    f"add one; there are some for {', '.join(self.modes)}",
                )
            answer = self.modes[mode](question)
            run.include(answer.run)
            return answer


def _described(decision: Decision) -> dict[str, object]:
    """The decision as attributes of a span, which are JSON: what is unknown is None."""
    described: dict[str, object] = {
        "mode": decision.mode,
        "score": None if isnan(decision.score) else decision.score,
        "reason": decision.reason,
        "features": traced(decision.features),
    }
    return described | ({"utilities": dict(decision.utilities)} if decision.utilities else {})


def _name(part: object) -> str:
    """Name of a function or of a component's class."""
    return getattr(part, "__name__", type(part).__name__)
