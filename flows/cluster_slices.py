"""Work through a run on a cluster: slices go to its workers, what they did comes back, one budget holds for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from prefect import get_run_logger

from ragloom.errors import ConfigError, RagloomError
from ragloom.flows.slices import QUESTIONS_A_WORKER, SMALLEST_SLICE, cut
from ragloom.pipelines.answering_apart import Outcome, Part, version
from ragloom.pipelines.batch import BatchReport, open_batch_pipeline, spent
from ragloom.pipelines.budget_shares import BudgetShares
from ragloom.pipelines.settings import Settings
from ragloom.run import Budget, map_threads
from ragloom.store import Store
from ragloom.types import Usage
from ragloom.workspace import is_shared

AnswerPart = Callable[[Part], Outcome]  # by a worker of the cluster; waits for it


def work_on_cluster(
    answer_part: AnswerPart, run_id: str, settings: Settings, store: Store, *, slice_size: int, at_once: int
) -> BatchReport:
    """Answer the run's pending questions; those that begin after a stop stay pending.

    A slice gets a share of the budget. One that runs out of it leaves questions over, which share what is left when the
    slices beside it have ended, in the end one slice alone. So the budget holds as it does in one process.

    Args:
        answer_part: has a worker answer a slice.
        run_id: of the run.
        settings: what answers.
        store: open for writing; in a SQLite workspace what workers did is entered here.
        slice_size: questions a task; what a dead worker had not sent yet is asked again.
        at_once: slices under way.

    Raises:
        ConfigError: there is a retrieval rate, which is kept over a whole run, and workers see a part.
        RagloomError: what a worker could not go on from.
    """
    if settings.retrieval_rate is not None and not is_shared(settings.workspace):
        raise ConfigError(
            "a retrieval rate is kept over the whole run, and workers see their slice of a SQLite workspace",
            "answer in one process, or keep the workspace in Postgres (docs/scale.md)",
        )
    if settings.pipeline != "closed-book":
        open_batch_pipeline(run_id, settings, store, progress=False)  # indexes are built, and gates asked, once
    work = _Work(answer_part, run_id, settings, store)
    size = max(slice_size, SMALLEST_SLICE, QUESTIONS_A_WORKER * settings.questions_at_once)
    while True:
        answered = work.answered
        work.go_round(size, at_once)
        if work.error is not None:
            raise work.error
        if not work.out_of_budget or work.stopped or (at_once == 1 and work.answered == answered):
            return work.report()
        if work.answered == answered:
            at_once = 1  # what is left may still do for one


@dataclass
class _Work:
    """A run on a cluster; a thread for each slice that is under way."""

    answer_part: AnswerPart
    run_id: str
    settings: Settings
    store: Store
    answered: int = 0
    spent: Usage = field(default_factory=Usage)
    stopped: str = ""
    error: RagloomError | None = None
    out_of_budget: bool = False
    begun: float = field(default_factory=time.monotonic)

    def go_round(self, size: int, at_once: int) -> None:
        """Work on the pending questions, until they are through or a slice ends early."""
        self.out_of_budget = False
        pending = self.store.items(self.run_id, status={"pending"})
        slices = cut(pending, size) if pending else []
        get_run_logger().info("run %s: %d slices to work on, %d at a time", self.run_id, len(slices), at_once)
        left = self.settings.budget
        if left.seconds is not None:
            left = Budget(left.tokens, left.calls, left.cost, max(0.0, left.seconds - self._seconds()))
        shares = BudgetShares(left, spent(self.store, self.run_id), among=min(at_once, len(slices) or 1))
        corpus = "" if self.settings.pipeline == "closed-book" else self.store.corpus_id()

        def parts() -> Iterator[Part]:
            for items in slices:
                if self.out_of_budget or self.stopped or self.error:
                    return
                yield Part(self.run_id, items, shares.take(), corpus, version())

        def answer(part: Part) -> Outcome:
            outcome = self.answer_part(part)
            if outcome.done is not None:
                self.store.take_in(self.run_id, outcome.done)
            shares.settle(part.share, outcome.spent)
            return outcome

        for outcome in map_threads(answer, parts(), workers=at_once):
            self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        self.spent += outcome.spent
        self.error = self.error or outcome.error
        report = outcome.report
        if report is not None:
            self.answered += report.answered
            self.out_of_budget |= report.out_of_budget
            if not report.out_of_budget:
                self.stopped = self.stopped or report.stopped
            get_run_logger().info("slice: %d answered by %s", report.answered, outcome.worker)

    def _seconds(self) -> float:
        return time.monotonic() - self.begun

    def report(self) -> BatchReport:
        """How far the run is."""
        counts = self.store.run(self.run_id).counts
        stopped = self._limits() if self.out_of_budget and not self.stopped else self.stopped
        return BatchReport(
            self.run_id,
            self.answered,
            counts["done"],
            counts["failed"],
            counts["pending"],
            self.spent,
            self._seconds(),
            stopped,
            self.out_of_budget,
        )

    def _limits(self) -> str:
        budget, used = self.settings.budget, spent(self.store, self.run_id)
        amounts: Sequence[tuple[str, float | None, float | None]] = (
            ("tokens", used.tokens, budget.tokens),
            ("calls", used.calls, budget.calls),
            ("dollars", used.cost, budget.cost),
            ("seconds", self._seconds(), budget.seconds),
        )
        known = ((name, amount, limit) for name, amount, limit in amounts if limit is not None)
        told = ", ".join(
            f"{'an unknown number' if was is None else f'{was:.6g}'} of {of:g} {name}" for name, was, of in known
        )
        return f"the run's budget does not cover the next call: {told} are spent"
