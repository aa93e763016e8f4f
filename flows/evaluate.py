"""Measure retrieval, or the answers of runs, as a flow."""

from pathlib import Path
from typing import Any

from ragloom.codec import to_json
from ragloom.errors import InputError
from ragloom.flows.steps import job, show_table, step
from ragloom.pipelines.report import Table, answers_table, retrieval_table
from ragloom.pipelines.settings import Settings
from ragloom.store import Store


@job
def evaluate(settings: Settings, questions: list[str] | None = None, runs: list[str] | None = None) -> dict[str, Any]:
    """Measure retrieval on labelled questions, or the answers of runs where no questions are given.

    Args:
        settings: the workspace and the embedder.
        questions: files of labelled questions.
        runs: ids of the runs, the first of which the others are compared with; None for all of the workspace.

    Returns:
        The `Table` as JSON.
    """
    table = measure_retrieval(questions, settings) if questions else measure_answers(runs, settings)
    show_table("evaluate-retrieval" if questions else "evaluate-answers", table)
    result: dict[str, Any] = to_json(table)
    return result


@step
def measure_retrieval(questions: list[str], settings: Settings) -> Table:
    """Recall of BM25, dense and fused retrieval."""
    with Store.open(settings.workspace) as store:
        return retrieval_table(settings, store, [Path(file) for file in questions])


@step
def measure_answers(runs: list[str] | None, settings: Settings) -> Table:
    """Quality and cost of runs."""
    with Store.open(settings.workspace, write=False) as store:
        chosen = runs or [run.id for run in store.runs() if run.kind == "batch"]
        if not chosen:
            raise InputError(f"there are no runs in {settings.workspace}", "run `ragloom batch` first")
        return answers_table(store, chosen)
