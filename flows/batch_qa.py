"""Answer a file of questions as a flow: `answer_batch`, a slice of the questions to a task."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, ClassVar

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from ragloom.codec import to_json
from ragloom.components.datasets import read_questions
from ragloom.errors import RagloomError
from ragloom.flows.steps import show_table, step
from ragloom.pipelines.batch import FAILURES_IN_A_ROW, BatchReport, answer_batch, begin_batch
from ragloom.pipelines.export import export_run
from ragloom.pipelines.report import answers_table, write_report
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_pipeline
from ragloom.store import Store

# A slice has to be large enough to tell a failing model from failing questions, and to keep all workers at work.
SMALLEST_SLICE = 2 * FAILURES_IN_A_ROW
QUESTIONS_A_WORKER = 3


class BatchStopped(RagloomError):
    """A batch ended early: its budget is spent, or the model fails. Running it again goes on from there."""

    exit_code: ClassVar[int] = 75


@flow(persist_result=False)
def batch_qa(
    questions: str,
    settings: Settings,
    out: str | None = None,
    report: str | None = None,
    slice_size: int = 25,
) -> dict[str, Any]:
    """Answer a file of questions, each once; the same parameters go on with what an earlier run of the flow left.

    Args:
        questions: JSONL with id, question and answers, or the file of a public dataset.
        settings: what answers them, in which workspace, and what it may spend.
        out: file for the answers, `.jsonl` or `.parquet`.
        report: file for the report, in Markdown.
        slice_size: questions a task; raised where a slice would be too small to judge by or leave workers idle.

    Returns:
        The `BatchReport` as JSON.

    Raises:
        BatchStopped: the budget is spent or the model fails; artifacts and files show what there is.
    """
    begun = time.monotonic()
    run_id, pending = _begin(settings, Path(questions))
    slices = _slices(pending, max(slice_size, SMALLEST_SLICE, QUESTIONS_A_WORKER * settings.questions_at_once))
    get_run_logger().info("run %s: %d questions to answer, slices: %d", run_id, len(pending), len(slices))
    try:
        reports = list(_answer(run_id, slices, settings))
    finally:
        _publish(run_id, settings.workspace, out, report)
    total = _total(reports, time.monotonic() - begun)
    if total.stopped:
        raise BatchStopped(
            f"run {run_id} has {total.done} answered, {total.failed} failed, {total.pending} pending: {total.stopped}",
            "run the flow again to go on from here",
        )
    result: dict[str, Any] = to_json(total)
    return result


@step
def answer_slice(run_id: str, question_ids: list[str], settings: Settings) -> BatchReport:
    """Answer those of the questions that are still pending."""
    with Store.open(settings.workspace) as store:
        return answer_batch(
            run_id,
            open_pipeline(settings, store),
            store,
            workers=settings.questions_at_once,
            budget=settings.budget,
            only=set(question_ids),
        )


def _begin(settings: Settings, questions: Path) -> tuple[str, list[str]]:
    """The run and the ids of its pending questions."""
    with Store.open(settings.workspace) as store:
        run_id = begin_batch(settings, read_questions(questions), store)
        return run_id, [item.question_id for item in store.items(run_id, status={"pending"})]


def _slices(ids: list[str], size: int) -> list[list[str]]:
    """The ids in slices of equal length, at most `size`; at least one slice, which reports how far the run is."""
    count = max(1, -(-len(ids) // size))
    return [ids[len(ids) * number // count : len(ids) * (number + 1) // count] for number in range(count)]


def _answer(run_id: str, slices: list[list[str]], settings: Settings) -> Iterator[BatchReport]:
    """Answer slice after slice until one stops."""
    begun = time.monotonic()
    for number, ids in enumerate(slices, start=1):
        report = answer_slice(run_id, ids, _with_time_left(settings, time.monotonic() - begun))
        get_run_logger().info("slice %d of %d: %d answered", number, len(slices), report.answered)
        yield report
        if report.stopped:
            return


def _with_time_left(settings: Settings, seconds: float) -> Settings:
    """The settings less the seconds that are over, since `answer_batch` counts from its own start."""
    if settings.max_seconds is None:
        return settings
    return settings.model_copy(update={"max_seconds": max(0.0, settings.max_seconds - seconds)})


def _total(reports: list[BatchReport], seconds: float) -> BatchReport:
    """One report for all slices: the last one knows how far the run is, and why it stopped if it did."""
    answered = sum(each.answered for each in reports)
    return replace(reports[-1], answered=answered, usage=reduce(add, (each.usage for each in reports)), seconds=seconds)


def _publish(run_id: str, workspace: Path, out: str | None, report: str | None) -> None:
    with Store.open(workspace, write=False) as store, tempfile.TemporaryDirectory() as folder:
        show_table("batch-qa-quality", answers_table(store, [run_id]))
        file = Path(report) if report is not None else Path(folder) / "report.md"
        write_report(store, run_id, file)
        create_markdown_artifact(file.read_text(encoding="utf-8"), key="batch-qa-report")
        if out is not None:
            export_run(store, run_id, Path(out))
