"""Compare pipelines as a flow: each variant and set a run, a slice of its questions to a task, then one report."""

from functools import partial
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from ragloom.codec import to_json
from ragloom.errors import RagloomError, StoreLocked
from ragloom.flows.batch_qa import answer_slice
from ragloom.flows.slices import BatchStopped, work_in_slices
from ragloom.flows.steps import job, show_table
from ragloom.pipelines.comparing import Plan, QuestionSet, VariantRun, check_plan, plan_of
from ragloom.pipelines.comparison import Metric, compared
from ragloom.pipelines.comparison_files import check_folder, write_comparison
from ragloom.pipelines.comparison_paths import with_paths
from ragloom.pipelines.comparison_report import markdown
from ragloom.pipelines.run_identity import begin_batch
from ragloom.pipelines.settings import Settings
from ragloom.store import Store


@job
def compare_pipelines(
    settings: Settings,
    out: str,
    *,
    questions: list[str] | None = None,
    pipelines: list[str] | None = None,
    variants: str | None = None,
    baseline: str | None = None,
    limit: int | None = None,
    metric: Metric = "f1",
    retry_failed: bool = False,
    slice_size: int = 25,
) -> dict[str, Any]:
    """Answer the same questions with several pipelines, each once, and report what each is worth.

    Args:
        settings: what the variants have in common. Their workspace has the lock that tells a killed flow run from a
            live one (`reconciling`), whichever workspaces the questions are about.
        out: folder for the report, the page and the rows.
        questions: files of questions about the workspace; None where the variants' file has sets.
        pipelines: names of pipelines that differ in nothing else.
        variants: TOML file of variants instead; see `ragloom.pipelines.comparing.read_variants`.
        baseline: the variant that the others are compared with; by default the first.
        limit: only the first so many questions of each set.
        metric: of the Pareto front and the curves.
        retry_failed: try failed questions again.
        slice_size: questions a task; raised where a slice would be too small to judge by or leave workers idle.

    Returns:
        Names of the variants, the tables and the files.

    Raises:
        ConfigError, InputError: what is compared cannot be.
        BatchStopped: a variant is unfinished; the files report on what there is, and the same flow goes on from there.
    """
    plan = plan_of(
        settings,
        [Path(file) for file in questions or []],
        pipelines=pipelines or [],
        variants=None if variants is None else Path(variants),
        limit=limit,
        baseline=baseline,
    )
    check_folder(Path(out), [each.questions for each in plan.sets])
    check_plan(plan)
    runs = [
        _answered(plan, variant, each, changed, slice_size, retry_failed=retry_failed)
        for variant, each, changed in plan.runs()
    ]
    comparison = with_paths(compared(plan, runs=runs), plan)
    written = write_comparison(comparison, Path(out), metric=metric)
    show_table("compare-pipelines-quality", written.tables["Quality and cost"])
    create_markdown_artifact(markdown(comparison, written.tables), key="compare-pipelines-report")
    if comparison.pending:
        unfinished = ", ".join(f"{name} {count}" for name, count in comparison.pending.items())
        raise BatchStopped(
            f"questions that are not answered yet: {unfinished}", "run the flow again to go on from here"
        )
    return {
        "variants": list(comparison.variants),
        "failed": sum(row.status == "failed" for row in comparison.rows),
        "tables": to_json(written.tables),
        "files": [str(file) for file in written.files],
    }


def _answered(
    plan: Plan, variant: str, each: QuestionSet, settings: Settings, slice_size: int, *, retry_failed: bool
) -> VariantRun:
    """Work through a run, a task each slice; one that fails leaves the others be."""
    with Store.open(each.workspace) as store:
        run_id = begin_batch(settings, plan.asked(each), store)
        if retry_failed:
            store.reset_failed(run_id)
        pending = [item.question_id for item in store.items(run_id, status={"pending"})]
    try:
        report = work_in_slices(partial(answer_slice, run_id), run_id, pending, settings, slice_size)
    except StoreLocked:
        raise
    except RagloomError as error:
        get_run_logger().error("%s on %s: %s", variant, each.name, error)
        return VariantRun(variant, each.name, run_id, None, str(error))
    return VariantRun(variant, each.name, run_id, report)
