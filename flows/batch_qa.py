"""Answer a file of questions as a flow: `answer_batch`, a slice of the questions to a task."""

import tempfile
from base64 import b64encode
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from ragloom.codec import to_json
from ragloom.components.datasets import read_questions
from ragloom.flows.cluster_slices import work_on_cluster
from ragloom.flows.clusters import Cluster, result_of, workers_of
from ragloom.flows.history import runs_before
from ragloom.flows.slices import check_finished, work_in_slices
from ragloom.flows.steps import job, show_table, step
from ragloom.pipelines.answering_apart import Outcome, Part, answer_part
from ragloom.pipelines.batch import BatchReport, answer_run
from ragloom.pipelines.changes import changes_since
from ragloom.pipelines.export import check_export, check_files, export_run
from ragloom.pipelines.gate_watch import gate_warnings
from ragloom.pipelines.report import answers_table, write_report
from ragloom.pipelines.run_history import history_plot
from ragloom.pipelines.run_identity import begin_batch
from ragloom.pipelines.settings import Settings
from ragloom.store import Store


@job
def batch_qa(
    questions: str,
    settings: Settings,
    out: str | None = None,
    report: str | None = None,
    slice_size: int = 25,
    *,
    retry_failed: bool = False,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Answer a file of questions, each once; the same parameters go on with what an earlier run of the flow left.

    Args:
        questions: JSONL with id, question and answers, or the file of a public dataset.
        settings: what answers them, in which workspace, and what it may spend.
        out: file for the answers, `.jsonl` or `.parquet`.
        report: file for the report, in Markdown.
        slice_size: questions a task; raised where a slice would be too small to judge by or leave workers idle.
        retry_failed: answer questions again that failed before.
        cluster: whose workers answer the slices, several at a time; None for one after the other in this process.

    Returns:
        The `BatchReport` as JSON.

    Raises:
        ConfigError: a file would be written that is read, or twice; or a cluster that cannot be used.
        BatchStopped: the budget is spent or the model fails; artifacts and files show what there is.
    """
    if out is not None:
        check_export(Path(out), Path(questions))
    check_files([Path(file) for file in (out, report) if file is not None], [Path(questions)])
    run_id, pending = _begin(settings, Path(questions), retry_failed=retry_failed)
    try:
        if cluster is None:
            total = work_in_slices(partial(answer_slice, run_id), run_id, pending, settings, slice_size)
        else:
            total = _work_on(cluster, run_id, settings, slice_size)
    finally:
        _publish(run_id, settings.workspace, out, report)
    total = replace(total, warnings=_warnings(run_id, settings))
    check_finished(total)
    result: dict[str, Any] = to_json(total)
    return result


@step
def answer_slice(run_id: str, question_ids: list[str], settings: Settings) -> BatchReport:
    """Answer those of the questions that are still pending."""
    with Store.open(settings.workspace) as store:
        return answer_run(run_id, settings, store, only=set(question_ids))


@step
def answer_apart(part: Part, settings: Settings) -> Outcome:
    """Answer the questions of the part, as a worker of a cluster."""
    return answer_part(part, settings)


def _work_on(cluster: Cluster, run_id: str, settings: Settings, slice_size: int) -> BatchReport:
    with Store.open(settings.workspace) as store, workers_of(cluster) as workers:

        def answer(part: Part) -> Outcome:
            outcome: Outcome = result_of(workers.submit(answer_apart, {"part": part, "settings": settings}))
            return outcome

        return work_on_cluster(answer, run_id, settings, store, slice_size=slice_size, at_once=cluster.workers)


def _begin(settings: Settings, questions: Path, *, retry_failed: bool) -> tuple[str, list[str]]:
    """The run and the ids of its pending questions."""
    with Store.open(settings.workspace) as store:
        run_id = begin_batch(settings, read_questions(questions), store)
        if retry_failed:
            store.reset_failed(run_id)
        return run_id, [item.question_id for item in store.items(run_id, status={"pending"})]


def _warnings(run_id: str, settings: Settings) -> tuple[str, ...]:
    with Store.open(settings.workspace, write=False) as store:
        warnings = gate_warnings(run_id, settings, store)
    for warning in warnings:
        get_run_logger().warning(warning)
    return warnings


def _publish(run_id: str, workspace: Path, out: str | None, report: str | None) -> None:
    """Write the files, and then the artifacts, for which Prefect's server has to be there."""
    with Store.open(workspace, write=False) as store, tempfile.TemporaryDirectory() as folder:
        file = Path(report) if report is not None else Path(folder) / "report.md"
        write_report(store, run_id, file)
        if out is not None:
            export_run(store, run_id, Path(out))
        show_table("batch-qa-quality", answers_table(store, [run_id]))
        create_markdown_artifact(_history(store, run_id, runs_before(run_id)), key="batch-qa-history")
        create_markdown_artifact(file.read_text(encoding="utf-8"), key="batch-qa-report")


def _history(store: Store, run_id: str, before: list[str]) -> str:
    """How the runs of this deployment went, and what changed since the last one."""
    known = {run.id for run in store.runs()}
    earlier = [name for name in before if name in known]
    plot = history_plot(store, [*reversed(list(dict.fromkeys(name for name in earlier if name != run_id))), run_id])
    picture = f"![F1 and share of answers by run](data:image/svg+xml;base64,{b64encode(plot.encode()).decode()})"
    changes = changes_since(store, run_id, earlier[0]).markdown() if earlier else "There is no run before this one."
    return f"{picture}\n\n{changes}"
