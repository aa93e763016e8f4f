"""Calibrate a gate on labelled questions, as a flow: their outcomes slice by slice, then the gate and a report."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from ragloom.codec import to_json
from ragloom.components.datasets import read_questions
from ragloom.components.gating import Mode
from ragloom.flows.slices import check_finished, work_in_slices
from ragloom.flows.steps import job, show_table, step
from ragloom.pipelines.batch import BatchReport
from ragloom.pipelines.export import check_files
from ragloom.pipelines.gate_building import GateBuilt, build_gate, read_objective
from ragloom.pipelines.gates import SignalName, gate_bindings, open_signals
from ragloom.pipelines.outcome_collection import begin_outcomes, chosen_modes, collect, outcomes_of, read_by
from ragloom.pipelines.outcomes import write_outcomes
from ragloom.pipelines.settings import Settings
from ragloom.store import Store


@job
def calibrate_gate(
    questions: str,
    settings: Settings,
    gate: str,
    *,
    signals: list[SignalName] = ["question"],  # noqa: B006 - Prefect shows the default, and nothing changes it
    modes: list[Mode] = ["none", "single"],  # noqa: B006
    objective: str = "accuracy",
    costs: str | None = None,
    outcomes: str | None = None,
    report: str | None = None,
    slice_size: int = 25,
) -> dict[str, Any]:
    """Collect the outcomes of labelled questions, each once, and save the gate that is best by them.

    Args:
        questions: JSONL with id, question and answers, or the file of a public dataset.
        settings: the model, the workspace, and what may be spent.
        gate: file for the gate, `.json`.
        signals: what is measured of each question.
        modes: what each is answered under.
        objective: what is wanted of the gate, as for `ragloom gate calibrate`.
        costs: of answering under each mode, such as `none=0,single=1`.
        outcomes: file for the outcomes, `.jsonl`.
        report: file for the report, in Markdown.
        slice_size: questions a task; raised where a slice would be too small to judge by or leave workers idle.

    Returns:
        The `GateBuilt` as JSON.

    Raises:
        ConfigError: a file would be written that is read, or twice.
        BatchStopped: the budget is spent or the model fails; the outcomes so far are kept.
    """
    read_objective(objective, costs)  # what cannot be is said before anything is paid for
    check_files(
        [Path(file) for file in (gate, outcomes, report) if file is not None], read_by(settings, Path(questions))
    )
    run_id, pending = _begin(questions, settings, signals, modes)
    collecting = partial(collect_slice, run_id, signals, modes)
    check_finished(work_in_slices(collecting, run_id, pending, settings, slice_size))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.md" if report is None else Path(report)
        built = build(run_id, settings, gate, objective=objective, costs=costs, outcomes=outcomes, report=str(file))
        create_markdown_artifact(file.read_text(encoding="utf-8"), key="calibrate-gate-report")
    for warning in built.warnings:
        get_run_logger().warning(warning)
    show_table("calibrate-gate", built.table)
    result: dict[str, Any] = to_json(built)
    return result


@step
def collect_slice(
    run_id: str, signals: list[SignalName], modes: list[Mode], question_ids: list[str], settings: Settings
) -> BatchReport:
    """Collect the outcomes of those of the questions that are still pending."""
    with Store.open(settings.workspace) as store:
        return collect(
            run_id,
            open_signals(signals, settings, store),
            chosen_modes(modes, settings, store),
            store,
            workers=settings.questions_at_once,
            budget=settings.budget,
            only=set(question_ids),
        )


@step
def build(
    run_id: str,
    settings: Settings,
    gate: str,
    *,
    objective: str,
    costs: str | None,
    outcomes: str | None,
    report: str,
) -> GateBuilt:
    """Calibrate the gate, and write what files were asked for."""
    with Store.open(settings.workspace) as store:
        collected = outcomes_of(store, run_id)
        if outcomes is not None:
            write_outcomes(collected, Path(outcomes))
        return build_gate(collected, Path(gate), objective=objective, costs=costs, report=Path(report))


def _begin(questions: str, settings: Settings, signals: list[SignalName], modes: list[Mode]) -> tuple[str, list[str]]:
    """The run and the ids of its pending questions."""
    asked = read_questions(Path(questions))
    with Store.open(settings.workspace) as store:
        opened = open_signals(signals, settings, store)
        made_with = gate_bindings(settings, store, opened)
        run_id = begin_outcomes(settings, asked, store, signals=opened, modes=modes, made_with=made_with)
        return run_id, [item.question_id for item in store.items(run_id, status={"pending"})]
