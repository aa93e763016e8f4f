"""Work through a run slice by slice, a task each: a dead slice is tried again, and the others stay as they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from operator import add
from typing import ClassVar, TypeVar

from prefect import get_run_logger

from ragloom.errors import RagloomError
from ragloom.pipelines.batch import FAILURES_IN_A_ROW, BatchReport
from ragloom.pipelines.settings import Settings

# A slice has to be large enough to tell a failing model from failing questions, and to keep all workers at work.
SMALLEST_SLICE = 2 * FAILURES_IN_A_ROW
QUESTIONS_A_WORKER = 3
# One after the other, each slice waits for its last questions, where replies take different times, and for Prefect. So
# slices are long, and leave no worker without a last question: 125 by 8 workers take 16 replies' time, as 128 do.
_IN_A_ROW = 16

T = TypeVar("T")

Work = Callable[[list[str], Settings], BatchReport]  # on the questions of these ids, with what may still be spent


class BatchStopped(RagloomError):
    """A batch ended early: its budget is spent, or the model fails. Running it again goes on from there."""

    exit_code: ClassVar[int] = 75


def work_in_slices(work: Work, run_id: str, pending: Sequence[str], settings: Settings, slice_size: int) -> BatchReport:
    """Work through the pending questions until a slice stops; the report is that of all of them.

    Args:
        work: a task.
        run_id: for the log.
        pending: ids of the questions.
        settings: given to the task, less the seconds that are over, since it counts from its own start.
        slice_size: questions a task; raised where a slice would be too small to judge by or leave workers idle.
    """
    begun = time.monotonic()
    at_once = settings.questions_at_once
    size = max(slice_size, SMALLEST_SLICE, _IN_A_ROW * at_once)
    slices = cut(pending, -(-size // at_once) * at_once, by=at_once)
    get_run_logger().info("run %s: %d questions to answer, slices: %d", run_id, len(pending), len(slices))
    return _total(list(_worked(work, slices, settings)), time.monotonic() - begun)


def check_finished(report: BatchReport) -> None:
    """See that the run was gone through.

    Raises:
        BatchStopped: it ended early.
    """
    if report.stopped:
        raise BatchStopped(
            f"run {report.run_id} has {report.done} answered, {report.failed} failed, {report.pending} pending: "
            f"{report.stopped}",
            "run the flow again to go on from here",
        )


def cut(items: Sequence[T], size: int, *, by: int = 1) -> list[list[T]]:
    """The items in slices of about equal length; at least one slice, which reports how far the run is.

    Args:
        items: in the order they are worked on.
        size: the most items a slice, a multiple of `by`.
        by: each slice but the last has a multiple of so many items.
    """
    groups = -(-len(items) // by)
    count = max(1, -(-groups * by // size))
    ends = [groups * number // count * by for number in range(count + 1)]
    return [list(items[begin:end]) for begin, end in pairwise(ends)]


def _worked(work: Work, slices: Sequence[list[str]], settings: Settings) -> Iterator[BatchReport]:
    begun = time.monotonic()
    for number, ids in enumerate(slices, start=1):
        report = work(ids, _with_time_left(settings, time.monotonic() - begun))
        get_run_logger().info("slice %d of %d: %d answered", number, len(slices), report.answered)
        yield report
        if report.stopped:
            return


def _with_time_left(settings: Settings, seconds: float) -> Settings:
    if settings.max_seconds is None:
        return settings
    return settings.model_copy(update={"max_seconds": max(0.0, settings.max_seconds - seconds)})


def _total(reports: list[BatchReport], seconds: float) -> BatchReport:
    """One report for all slices: the last one knows how far the run is, and why it stopped if it did."""
    answered = sum(each.answered for each in reports)
    return replace(reports[-1], answered=answered, usage=reduce(add, (each.usage for each in reports)), seconds=seconds)
