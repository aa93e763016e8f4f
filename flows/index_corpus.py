"""Read documents into a workspace and build its indexes, as a flow."""

from typing import Any, Literal

from prefect.artifacts import create_markdown_artifact

from ragloom.codec import to_json
from ragloom.components.splitting import WholePassages
from ragloom.flows.steps import job, show_table, step
from ragloom.pipelines import indexing
from ragloom.pipelines.report import Table
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_embedder
from ragloom.store import Store


@job
def index_corpus(
    inputs: list[str],
    settings: Settings,
    on_error: Literal["stop", "skip"] = "stop",
    dense: bool = True,
) -> dict[str, Any]:
    """Bring a workspace up to date with its documents; unchanged ones cost nothing.

    Args:
        inputs: files, folders and globs.
        settings: the workspace, the embedder, and how long a document is kept whole.
        on_error: at a document that cannot be read.
        dense: build the dense index too, which embeds every new chunk.

    Returns:
        The `IndexReport` as JSON.
    """
    report = read_corpus(inputs, settings, on_error)
    build_bm25(settings)
    if dense:
        build_dense(settings)
    counts = ("chunks", "added", "changed", "unchanged", "removed", "skipped")
    numbers = (report.chunks, report.added, report.changed, report.unchanged, report.removed, len(report.skipped))
    show_table("index-corpus", Table(counts, (tuple(map(str, numbers)),), (f"Workspace {settings.workspace}.",)))
    if report.skipped:
        lines = Table(("source", "reason"), tuple((each.source, each.reason) for each in report.skipped))
        create_markdown_artifact(lines.markdown(), key="index-corpus-skipped")
    result: dict[str, Any] = to_json(report)
    return result


@step
def read_corpus(inputs: list[str], settings: Settings, on_error: Literal["stop", "skip"]) -> indexing.IndexReport:
    """Read, split and commit the documents that are new or changed."""
    with Store.open(settings.workspace) as store:
        return indexing.index_corpus(
            inputs, store, splitter=WholePassages(settings.chunk_tokens), on_error=on_error, progress=False
        )


@step
def build_bm25(settings: Settings) -> None:
    """Build the BM25 index anew if the chunks changed."""
    with Store.open(settings.workspace) as store:
        indexing.open_bm25(store)


@step
def build_dense(settings: Settings) -> None:
    """Embed the chunks that have no vector yet, and build the dense index anew if the chunks changed."""
    with Store.open(settings.workspace) as store:
        indexing.open_dense(store, open_embedder(settings), progress=False)
