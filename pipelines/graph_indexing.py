"""The knowledge graph of a workspace: built from its chunks, and updated when they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ragloom.errors import InputError
from ragloom.graph.extracting import ExtractionReport, extract, stored_extractions
from ragloom.graph.extraction import Extraction, Extractor
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.store import Store
from ragloom.types import Chunk

if TYPE_CHECKING:
    from ragloom.graph.building import KnowledgeGraph

RULES = RuleExtractor().identity


def read_chunks(
    store: Store, extractor: Extractor, *, workers: int = 8, progress: bool = True, retry_failed: bool = False
) -> ExtractionReport:
    """Have the extractor read the chunks of the workspace that it has not read, for `open_graph` to build on.

    Arguments, errors and what is kept of a stopped call as in `ragloom.graph.extracting.extract`. The rules read
    quicker than their extractions could be stored, and need no such call.
    """
    return extract(store.chunks(), extractor, store, workers=workers, progress=progress, retry_failed=retry_failed)


def open_graph(store: Store, extractor: str = RULES, *, progress: bool = True) -> KnowledgeGraph:
    """The knowledge graph of the store's chunks, built now unless it was built before.

    Where chunks were added, changed or removed since, the last graph is updated.

    Args:
        store: opened for reading only, it keeps no new graph.
        extractor: identity of what read the chunks: the rules, which read them now, or one whose extractions are
            stored. Chunks that it has not read, or failed for, are there by their names and by mentions of names.
        progress: show a bar, where there is a terminal.

    Raises:
        InputError: nothing of that extractor is stored.
    """
    from ragloom.graph.building import VERSION, KnowledgeGraph

    def build(folder: Path) -> None:
        _up_to_date(KnowledgeGraph.empty(extractor), store, progress=progress).save(folder)

    def update(folder: Path, last: Path) -> None:
        _up_to_date(KnowledgeGraph.load(last), store, progress=progress).save(folder)

    parameters = {"extractor": extractor, "version": VERSION}
    made_from = "" if extractor == RULES else store.extraction_id(extractor)
    return KnowledgeGraph.load(store.derived("graph", parameters, build, update=update, made_from=made_from))


def _up_to_date(graph: KnowledgeGraph, store: Store, *, progress: bool) -> KnowledgeGraph:
    chunks = store.chunks()
    known = set(graph.chunk_ids) - graph.unread
    waiting = [chunk.id for chunk in chunks if chunk.id not in known]
    read = RuleExtractor() if graph.extractor == RULES else _read_before(store, graph.extractor, chunks, waiting)
    with tqdm(total=len(waiting), desc="graph", unit="chunk", disable=None if progress else True) as bar:

        def counted(chunk: Chunk) -> Extraction | None:
            bar.update()
            return read(chunk)

        return graph.updated(chunks, counted)


def _read_before(
    store: Store, extractor: str, chunks: Sequence[Chunk], waiting: Sequence[str]
) -> Callable[[Chunk], Extraction | None]:
    """What the extractor found in chunks whose ids are waiting."""
    if chunks and store.extracted(extractor).isdisjoint(chunk.id for chunk in chunks):
        raise InputError(
            f"{store.folder} holds nothing that the extractor {extractor!r} found",
            "run `ragloom graph build` with it first",
        )
    found = stored_extractions(store, extractor, waiting)
    return lambda chunk: found.get(chunk.id)
