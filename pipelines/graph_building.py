"""Building the knowledge graph of a workspace on purpose, with a report; what is used builds itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ragloom.errors import InputError
from ragloom.graph.openie_file import import_openie
from ragloom.pipelines.graph_indexing import RULES, open_graph, read_chunks
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_extractor, require_chunks
from ragloom.store import Store


@dataclass(frozen=True, slots=True)
class Failure:
    """A passage that the extractor failed for, and why."""

    chunk_id: str
    title: str
    error: str


@dataclass(frozen=True, slots=True)
class GraphReport:
    """What became of a workspace's graph.

    Attributes:
        extractor: identity of what read the passages.
        passages, phrases, facts: in the graph now.
        edges: pairs of a passage and what it names, mentions, links to or states.
        extracted: passages read or imported now; None for the rules, which keep no extractions.
        reused: passages read before; None for the rules.
        failed: passages that the extractor failed for, now or before, or that the imported file does not have.
        dropped: malformed entities and triples left out of those read now.
        unmatched: records of the imported file that are no passage of the workspace.
    """

    extractor: str
    passages: int
    phrases: int
    facts: int
    edges: int
    extracted: int | None
    reused: int | None
    failed: list[Failure]
    dropped: int
    unmatched: int


def build_graph(
    settings: Settings, store: Store, *, openie: Path | None = None, retry_failed: bool = False
) -> GraphReport:
    """Build the graph of the store's chunks, or bring it up to date; what was read is kept even if it is stopped.

    Args:
        settings: the extractor, and the model where it is one.
        store: opened for writing.
        openie: a file in HippoRAG's format to take the extractions from, in place of the extractor.
        retry_failed: read passages again that the extractor failed for before.

    Raises:
        InputError: there are no chunks, or the file cannot be used.
        LLMError: the model cannot be asked.
        BudgetExceeded: before all passages were read.
    """
    require_chunks(store)
    if openie is not None:
        read = _imported(openie, store)
    elif settings.extractor == "rules":
        read = _Read(RULES, None, None)
    else:
        read = _extracted(settings, store, retry_failed)
    graph = open_graph(store, read.extractor)
    edges = sum(int(matrix.nnz) for matrix in (graph.names, graph.entities, graph.links, graph.statements))
    sizes = (len(graph.chunk_ids), len(graph.phrases), len(graph.facts), edges)
    return GraphReport(read.extractor, *sizes, read.extracted, read.reused, read.failed, read.dropped, read.unmatched)


@dataclass(frozen=True, slots=True)
class _Read:
    """What is known of the passages' extractions before the graph is built."""

    extractor: str
    extracted: int | None
    reused: int | None
    failed: list[Failure] = field(default_factory=list)
    dropped: int = 0
    unmatched: int = 0


def _extracted(settings: Settings, store: Store, retry_failed: bool) -> _Read:
    extractor = open_extractor(settings, store)
    report = read_chunks(store, extractor, workers=settings.questions_at_once, retry_failed=retry_failed)
    failed = [Failure(chunk.id, chunk.title, error) for chunk, error in report.failed]
    return _Read(extractor.identity, report.extracted, report.reused, failed, report.dropped)


def _imported(file: Path, store: Store) -> _Read:
    report = import_openie(file, store.chunks(), store)
    if not report.imported:
        raise InputError(
            f"{file} holds nothing of any passage in {store.folder}",
            "index the corpus that it was made of, with --chunk-tokens so high that no passage is split",
        )
    failed = [Failure(chunk.id, chunk.title, f"{file.name} holds nothing of it") for chunk in report.failed]
    failed += [Failure(chunk.id, chunk.title, f"{file.name} does not have it") for chunk in report.missing]
    return _Read(report.extractor, report.imported, 0, failed, report.dropped, len(report.unmatched))
