"""The memory of a workspace: built on purpose where a model writes it, and else when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ragloom.components.completions import estimate_tokens
from ragloom.components.memory import Entry, Kind, Memory
from ragloom.components.memory_building import MemoryBuilder, WriteAll, Written, glossary
from ragloom.components.memory_digests import LLMWriter
from ragloom.components.memory_groups import Group
from ragloom.errors import InputError
from ragloom.graph.entity_facts import entity_facts
from ragloom.pipelines.graph_indexing import RULES
from ragloom.pipelines.memory_writing import StoredWriting, kept_entries, stored_as
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_knowledge_graph, open_memory_llm, require_chunks
from ragloom.store import Store
from ragloom.types import Options

_VERSION = 2  # of the groups and of what is made of them without a model: another one makes kept memories stale
_FILE = "memory.json"
_TRIES, _TRIES_AGAIN = 2, 4  # for an entry, and for one that failed before
_BY_MODEL = frozenset({"gists", "tree"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Passages that the model failed for, by the titles of their documents, and why."""

    titles: str
    error: str


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What became of a workspace's memory.

    Attributes:
        kind, made_by, key: of the memory.
        entries: in it.
        written: entries written now, by the model, or by rules where no model takes part.
        reused: entries that were there before.
        failed: those that the model failed for, now or before; rules wrote their entries.
        tokens: of the whole memory, estimated.
    """

    kind: Kind
    made_by: str
    key: str
    entries: int
    written: int
    reused: int
    failed: list[Failure]
    tokens: int


class StaleMemory(InputError):
    """A memory by a model that lacks entries: it was not built, or documents came or changed since.

    Attributes:
        missing: how many.
    """

    def __init__(self, problem: str, kind: Kind, missing: int) -> None:
        super().__init__(problem, f"run `ragloom memory build --memory {kind}`")
        self.missing = missing


def build_memory(
    settings: Settings, store: Store, *, retry_failed: bool = False, progress: bool = True
) -> MemoryReport:
    """Build the memory of the store's chunks, or bring it up to date; what was written is kept even if it is stopped.

    Args:
        settings: the kind of memory, and the model where one writes it.
        store: opened for writing.
        retry_failed: ask again about passages that the model failed for before.
        progress: show a bar, where there is a terminal.

    Raises:
        InputError: there are no chunks.
        LLMError: the model cannot be asked.
        BudgetExceeded: before all entries were written.
    """
    require_chunks(store)
    if settings.memory not in _BY_MODEL:
        memory, built = _opened(_source(settings, store), store)
        count = len(memory.entries)
        return _report(memory, count if built else 0, 0 if built else count, [])
    writer = _writer(settings, store, tries=_TRIES_AGAIN if retry_failed else _TRIES)
    work = StoredWriting(writer, store, _workers(settings), progress=progress, retry_failed=retry_failed)
    _entries_by_model(settings.memory, store, work.all)
    failed = [Failure("; ".join(dict.fromkeys(title for title, _ in group)), error) for group, error in work.failed]
    memory, _ = _opened(_source(settings, store), store)
    return _report(memory, work.written, work.reused, failed)


def open_memory(settings: Settings, store: Store) -> Memory:
    """The memory of the store's chunks; one that no model writes is built or updated now where that is needed.

    Raises:
        StaleMemory: a model writes it, and has not written all of it.
        InputError: there are no chunks.
    """
    require_chunks(store)
    return _opened(_source(settings, store), store)[0]


@dataclass(frozen=True, slots=True)
class _Source:
    """What a memory is made of.

    Attributes:
        kind, made_by: of the memory.
        made_from: fingerprint of what besides the chunks it is made from.
        entries: makes them.
    """

    kind: Kind
    made_by: str
    made_from: str
    entries: Callable[[], tuple[Entry, ...]]


def _source(settings: Settings, store: Store) -> _Source:
    kind, builder = settings.memory, MemoryBuilder()
    if kind in _BY_MODEL:
        writer = _writer(settings, store, tries=_TRIES)
        kept = partial(_kept, kind, store, writer)
        return _Source(
            kind,
            writer.identity,
            store.extraction_id(stored_as(writer)),
            lambda: _entries_by_model(kind, store, kept),
        )
    if kind == "glossary":
        graph = open_knowledge_graph(settings, store)
        made_from = "" if graph.extractor == RULES else store.extraction_id(graph.extractor)
        return _Source(kind, graph.extractor, made_from, lambda: glossary(entity_facts(graph, store.chunks())))
    if kind == "full-text":
        return _Source(kind, "the documents", "", lambda: builder.full_text(store.chunks()))
    return _Source(kind, builder.rules.identity, "", lambda: builder.extractive(store.chunks()))


def _opened(source: _Source, store: Store) -> tuple[Memory, bool]:
    """The memory, and whether it was built just now."""
    built = []

    def build(folder: Path) -> None:
        built.append(True)
        Memory(source.kind, source.entries(), source.made_by, store.corpus_id()).save(folder / _FILE)

    parameters = {"kind": source.kind, "made_by": source.made_by, "version": _VERSION}
    folder = store.derived("memory", parameters, build, made_from=source.made_from)
    return Memory.load(folder / _FILE), bool(built)


def _report(memory: Memory, written: int, reused: int, failed: list[Failure]) -> MemoryReport:
    size, tokens = len(memory.entries), estimate_tokens(memory.text)
    return MemoryReport(memory.kind, memory.made_by, memory.key, size, written, reused, failed, tokens)


# ---- By a model


def _writer(settings: Settings, store: Store, *, tries: int) -> LLMWriter:
    options = Options(temperature=0.0)
    if settings.seed is not None:
        options["seed"] = settings.seed
    return LLMWriter(open_memory_llm(settings, store), MemoryBuilder.entry_tokens, tries=tries, options=options)


def _workers(settings: Settings) -> int:
    """As many as the settings have for questions, at the endpoint of the memory's model."""
    base_url = settings.memory_base_url or settings.base_url
    return settings.model_copy(update={"base_url": base_url}).questions_at_once


def _entries_by_model(kind: Kind, store: Store, write: WriteAll) -> tuple[Entry, ...]:
    builder = MemoryBuilder()
    return builder.tree(store.chunks(), write) if kind == "tree" else builder.gists(store.chunks(), write)


def _kept(kind: Kind, store: Store, writer: LLMWriter, groups: Sequence[Group]) -> list[Written]:
    """What the model wrote of each group, and what the rules take where it failed."""
    kept = kept_entries(store, writer, groups)
    if missing := sum(entry is None for entry in kept):
        there = f"lacks {missing} of {len(kept)} entries" if missing < len(kept) else "was not built"
        raise StaleMemory(f"the memory of {store.folder} by {writer.llm.identity} {there}", kind, missing)
    return [entry for entry in kept if entry is not None]
