"""Answer many questions: each exactly once, resumable after any stop, its cost known before and held to a budget.

The truth is the store: a run is a row with its questions, an answer is committed as it comes, and a run that is begun
again goes on with what is missing. Replies of the model are kept as well (`Cached`), so that a process that dies after
a reply and before its answer asks no second time; what is paid twice at most are the calls that were under way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from math import isnan
from pathlib import Path
from threading import Lock
from typing import Any

from tqdm import tqdm

from ragloom.codec import to_json
from ragloom.components.datasets import Question, question_from_json, read_questions
from ragloom.components.gating import Decision, SignalMissing
from ragloom.errors import BadReply, BudgetExceeded, ConfigError, InputError, LLMError, RagloomError
from ragloom.pipelines.export import check_export, export_run
from ragloom.pipelines.gate_watch import gate_warnings
from ragloom.pipelines.opening import open_pipeline, sent_on
from ragloom.pipelines.question_answering import Adaptive
from ragloom.pipelines.retrieval_budget import planned
from ragloom.pipelines.run_identity import begin_batch
from ragloom.pipelines.settings import Settings
from ragloom.run import Budget, Run, map_threads
from ragloom.store import Item, Store
from ragloom.types import Pipeline, Usage

FAILURES_IN_A_ROW = 5  # then the model is what fails, not the questions


@dataclass(frozen=True, slots=True)
class BatchReport:
    """How far a run is.

    Attributes:
        run_id: name of the run in its workspace.
        answered: questions answered by this call.
        done, failed, pending: questions of the run by state.
        usage: what this call spent.
        seconds: wall time of this call.
        stopped: why it ended early, empty if it did not.
        out_of_budget: it ended early because of its budget.
        warnings: what to know about the answers, such as that a gate was calibrated on other questions.
    """

    run_id: str
    answered: int
    done: int
    failed: int
    pending: int
    usage: Usage
    seconds: float
    stopped: str = ""
    out_of_budget: bool = False
    warnings: tuple[str, ...] = ()


def answer_batch(
    run_id: str,
    pipeline: Pipeline,
    store: Store,
    *,
    workers: int = 8,
    budget: Budget | None = None,
    only: Collection[str] | None = None,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> BatchReport:
    """Answer the run's pending questions: `work_through` with a pipeline."""
    return work_through(
        run_id,
        lambda question: pipeline(question.text),
        store,
        workers=workers,
        budget=budget,
        only=only,
        progress=progress,
        stop=stop,
    )


def work_through(
    run_id: str,
    work: Callable[[Question], object],
    store: Store,
    *,
    workers: int = 8,
    budget: Budget | None = None,
    only: Collection[str] | None = None,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> BatchReport:
    """Do the work for the run's pending questions, and commit what comes out of each.

    A question that cannot be answered becomes a failed row with the reason, and the others go on. Where the model
    itself fails (5 questions in a row, or every one), the run stops and those questions stay pending.

    Args:
        run_id: from `begin`.
        work: gives what becomes an object with `to_json`; called from `workers` threads.
        store: opened for writing.
        workers: questions under way at a time.
        budget: for the whole run, earlier calls included; its seconds are those of this call.
        only: ids of the questions to answer; None for all.
        progress: show a bar with the time and the cost left.
        stop: asked before each question; once true, those under way are finished and no further one begins.

    Raises:
        LLMError: the model failed on every question; nothing was answered.
        SignalMissing: a signal cannot be measured with this model, whatever the question.
    """
    pending = [item for item in store.items(run_id, status={"pending"}) if only is None or item.question_id in only]
    workload = _Work(work, store, run_id)
    earlier = spent(store, run_id)
    with Run(budget, id=run_id, spent=earlier), Run() as run, _bar(len(pending), progress) as bar:
        taken = (item for item in pending if not (workload.stopped or _asked_to_stop(stop, workload)))
        for _ in map_threads(workload.answer, taken, workers=workers):
            bar.update()
            _show_cost(bar, run.spent, len(pending))
    workload.settle()
    counts = store.run(run_id).counts
    return BatchReport(
        run_id,
        workload.answered,
        counts.get("done", 0),
        counts.get("failed", 0),
        counts.get("pending", 0),
        run.spent,
        run.seconds,
        workload.stopped,
        workload.out_of_budget,
    )


@dataclass
class _Work:
    """One call of `work_through`: answers items, and tells a failing model from a failing question."""

    work: Callable[[Question], object]
    store: Store
    run_id: str
    answered: int = 0
    stopped: str = ""
    out_of_budget: bool = False
    _suspended: list[tuple[Item, LLMError]] = field(default_factory=list)  # failed since the last answer
    _lock: Lock = field(default_factory=Lock)

    def answer(self, item: Item) -> None:
        try:
            result = to_json(self.work(question_from_json(item.question)))
        except SignalMissing:  # no question would fare better
            raise
        except BudgetExceeded as error:
            self.stopped, self.out_of_budget = str(error), True
        except LLMError as error:
            self._suspend(item, error)
        except Exception as error:  # noqa: BLE001 - one question, whatever is wrong with it, must not end the others
            self._fail(item, error)
        else:
            self.store.commit_item(self.run_id, item.question_id, status="done", result=result)
            self._count_answer()

    def _count_answer(self) -> None:
        with self._lock:
            self.answered += 1
            failed, self._suspended = self._suspended, []
        for item, error in failed:  # the model answers, so it was the question
            self._fail(item, error)

    def _suspend(self, item: Item, error: LLMError) -> None:
        with self._lock:
            self._suspended.append((item, error))
            if len(self._suspended) >= FAILURES_IN_A_ROW:
                self.stopped = f"{FAILURES_IN_A_ROW} questions in a row failed: {error}"

    def _fail(self, item: Item, error: Exception) -> None:
        problem, remedy = (error.problem, error.remedy) if isinstance(error, RagloomError) else (repr(error), "")
        result = {"error": type(error).__name__, "problem": problem, "remedy": remedy}
        self.store.commit_item(self.run_id, item.question_id, status="failed", result=result)

    def settle(self) -> None:
        """Decide on the failures after the last answer: of single questions, or of the model."""
        unanswered = [error for _, error in self._suspended if not isinstance(error, BadReply)]
        if unanswered and not self.answered:
            raise unanswered[0]
        if not self.stopped:
            for item, error in self._suspended:
                self._fail(item, error)


def spent(store: Store, run_id: str) -> Usage:
    """What the run's calls took so far, by the ledger.

    A call that was under way when a process died counts as a call; what it cost, nobody said. One that failed counts
    nothing.
    """
    usages = (
        attempt.usage if attempt.status == "ok" else Usage(calls=1 if attempt.status == "open" else 0)
        for attempt in store.attempts(run_id=run_id)
    )
    return sum(usages, Usage())


def open_batch_pipeline(run_id: str, settings: Settings, store: Store, *, progress: bool = True) -> Pipeline:
    """The pipeline of the settings for a run, whose gate sees the whole run where a retrieval rate is set.

    The gate then decides on every question of the run before the first is answered; what it asked a model is kept, so
    that going on with the run later comes to the same plan without asking again.

    Raises:
        ConfigError: there is a retrieval rate, and the pipeline has no gate.
        LLMError: the model of the gate cannot be asked.
    """
    pipeline = open_pipeline(settings, store)
    if settings.retrieval_rate is None:
        return pipeline
    if not isinstance(pipeline, Adaptive):
        raise ConfigError(
            f"there is a retrieval rate, and the pipeline {settings.pipeline} has no gate to keep it",
            "set the pipeline to adaptive (--pipeline adaptive), or leave the retrieval rate out",
        )
    gate = pipeline.gate
    questions = {item.question_id: str(item.question["text"]) for item in store.items(run_id)}

    def decide(question_id: str) -> tuple[str, Decision]:
        try:
            return question_id, gate(questions[question_id])
        except InputError as error:  # it will fail as a question, and must not end the others
            return question_id, Decision("single", reason=error.problem)

    workers = settings.questions_at_once
    with (
        Run(settings.budget, id=run_id, spent=spent(store, run_id)),
        tqdm(total=len(questions), desc="deciding", unit="question", disable=None if progress else True) as bar,
    ):
        decisions: dict[str, Decision] = {}
        for question_id, decision in map_threads(decide, questions, workers=workers):
            decisions[question_id] = decision
            bar.update()
    if len(decisions) > 1 and all(isnan(decision.score) for decision in decisions.values()):
        raise ConfigError(
            f"the gate {settings.gate} gives no scores to rank the questions by",
            "use another gate, or leave the retrieval rate out",
        )
    gate = planned(questions, decisions, settings.retrieval_rate, otherwise=settings.when_needed)
    return replace(pipeline, gate=gate)


def answer_run(
    run_id: str,
    settings: Settings,
    store: Store,
    *,
    only: Collection[str] | None = None,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> BatchReport:
    """Answer the run's pending questions from settings: `answer_batch`, and what its gate took to plan."""
    with Run() as run:
        pipeline = sent_on(open_batch_pipeline(run_id, settings, store, progress=progress))
        opened = run.spent
    report = answer_batch(
        run_id,
        pipeline,
        store,
        workers=settings.questions_at_once,
        budget=settings.budget,
        only=only,
        progress=progress,
        stop=stop,
    )
    return replace(report, usage=opened + report.usage)


def answer_file(
    settings: Settings,
    questions: Path,
    out: Path | None = None,
    *,
    retry_failed: bool = False,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> BatchReport:
    """Answer a file of questions and write the answers: `answer_batch` from settings, resuming what was begun.

    Args:
        settings: the pipeline, its workspace and its budget.
        questions: JSONL, or one of the formats of `read_questions`.
        out: `.jsonl` or `.parquet`; None writes no file, the answers stay in the store.
        retry_failed: try failed questions again.
        progress: show a bar.
        stop: see `answer_batch`.
    """
    asked = read_questions(questions)
    if out is not None:
        check_export(out, questions)
    with Store.open(settings.workspace) as store:
        run_id = begin_batch(settings, asked, store)
        if retry_failed:
            store.reset_failed(run_id)
        report = answer_run(run_id, settings, store, progress=progress, stop=stop)
        if out is not None:
            export_run(store, run_id, out)
        return replace(report, warnings=gate_warnings(run_id, settings, store))


def _asked_to_stop(stop: Callable[[], bool], work: _Work) -> bool:
    if stop():
        work.stopped = "stopped on request"
    return bool(work.stopped)


def _bar(total: int, progress: bool) -> tqdm[Any]:
    return tqdm(total=total, desc="answering", unit="question", disable=None if progress else True)


def _show_cost(bar: tqdm[Any], spent: Usage, total: int) -> None:
    if bar.disable:  # it counts nothing then
        return
    if spent.cost is None:
        bar.set_postfix_str(f"{spent.tokens} tokens, price unknown", refresh=False)
    elif spent.cost > 0:
        left = spent.cost / bar.n * (total - bar.n)
        bar.set_postfix_str(f"${spent.cost:.4f} spent, about ${left:.4f} left", refresh=False)
    else:
        bar.set_postfix_str(f"{spent.tokens} tokens", refresh=False)
