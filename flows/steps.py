"""What the flows have in common: the kind of flow and of task they are, and how they show a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, Task, flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, TaskRun

from ragloom.errors import RagloomError
from ragloom.flows.orphans import end_with_parent
from ragloom.flows.reconciling import forget_process, note_process
from ragloom.pipelines.report import Table

P = ParamSpec("P")
R = TypeVar("R")


def job(work: Callable[P, R]) -> Flow[P, R]:
    """A flow of which Prefect keeps no results, and which neither stays Running nor goes on when a process is killed.

    Its parameters have `settings` among them, whose workspace tells who lives, see `reconciling`.
    """
    as_flow = flow(
        persist_result=False,
        on_running=[note_process, _end_with_parent],
        on_completion=[forget_process],
        on_failure=[forget_process],
        on_cancellation=[forget_process],
        on_crashed=[forget_process],
    )
    return as_flow(work)


def _end_with_parent(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A hook for when a flow begins to run."""
    end_with_parent()


def step(work: Callable[P, R]) -> Task[P, R]:
    """A task that is tried once more when it dies, and of which Prefect keeps nothing.

    What is done stands in the workspace. Prefect would read a stored result with whatever serialiser its file names,
    pickle included.
    """
    as_task = task(
        retries=1,
        retry_delay_seconds=5,
        retry_condition_fn=_may_pass,
        persist_result=False,
        cache_policy=NO_CACHE,
    )
    return as_task(work)


def _may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether a second try may end otherwise than the first."""
    return not isinstance(state.data, RagloomError) or state.data.retryable


def show_table(key: str, table: Table) -> None:
    """Write the table as an artifact of the flow run."""
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    create_table_artifact(rows, key=key, description="\n\n".join(table.notes))
