"""Build the knowledge graph of a workspace, as a flow."""

from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from ragloom.codec import to_json
from ragloom.flows.steps import job, show_table, step
from ragloom.pipelines import graph_building
from ragloom.pipelines.report import Table
from ragloom.pipelines.settings import Settings
from ragloom.run import Run
from ragloom.store import Store


@job
def build_graph(settings: Settings, openie: str | None = None, retry_failed: bool = False) -> dict[str, Any]:
    """Bring the graph of a workspace up to date; passages that were read before cost nothing.

    Args:
        settings: the workspace, the extractor and its model, and what it may spend.
        openie: a file in HippoRAG's format to take the extractions from, in place of the extractor.
        retry_failed: read passages again that the extractor failed for before.

    Returns:
        The `GraphReport` as JSON.
    """
    report = read_and_build(settings, openie, retry_failed)
    counts = ("passages", "phrases", "facts", "edges", "extracted", "reused", "dropped")
    cells = tuple("" if (count := getattr(report, name)) is None else str(count) for name in counts)
    notes = (f"Workspace {settings.workspace}, extractor {report.extractor}.",)
    show_table("build-graph", Table((*counts, "failed"), ((*cells, str(len(report.failed))),), notes))
    if report.failed:
        lines = Table(("passage", "error"), tuple((each.title or each.chunk_id, each.error) for each in report.failed))
        create_markdown_artifact(lines.markdown(), key="build-graph-failed")
    result: dict[str, Any] = to_json(report)
    return result


@step
def read_and_build(settings: Settings, openie: str | None, retry_failed: bool) -> graph_building.GraphReport:
    """Have the extractor read the passages that are new, and build or update the graph."""
    file = None if openie is None else Path(openie)
    with Store.open(settings.workspace) as store, Run(settings.budget):
        return graph_building.build_graph(settings, store, openie=file, retry_failed=retry_failed)
