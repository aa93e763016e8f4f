"""Build the memory of a workspace, as a flow."""

from typing import Any

from prefect.artifacts import create_markdown_artifact

from ragloom.codec import to_json
from ragloom.flows.steps import job, show_table, step
from ragloom.pipelines import memory_building
from ragloom.pipelines.report import Table
from ragloom.pipelines.settings import Settings
from ragloom.run import Run
from ragloom.store import Store


@job
def build_memory(settings: Settings, retry_failed: bool = False) -> dict[str, Any]:
    """Bring the memory of a workspace up to date; what was written before costs nothing.

    Args:
        settings: the workspace, the kind of memory and its model, and what it may spend.
        retry_failed: ask the model again about passages that it failed for before.

    Returns:
        The `MemoryReport` as JSON.
    """
    report = write_memory(settings, retry_failed)
    counts = ("entries", "written", "reused", "tokens")
    cells = tuple(str(getattr(report, name)) for name in counts)
    notes = (f"Workspace {settings.workspace}, memory {report.kind} by {report.made_by}, key {report.key}.",)
    show_table("build-memory", Table((*counts, "failed"), ((*cells, str(len(report.failed))),), notes))
    if report.failed:
        lines = Table(("passages", "error"), tuple((each.titles, each.error) for each in report.failed))
        create_markdown_artifact(lines.markdown(), key="build-memory-failed")
    result: dict[str, Any] = to_json(report)
    return result


@step
def write_memory(settings: Settings, retry_failed: bool) -> memory_building.MemoryReport:
    """Have written what the memory lacks, and put it together."""
    with Store.open(settings.workspace) as store, Run(settings.budget):
        return memory_building.build_memory(settings, store, retry_failed=retry_failed)
