"""From files to searchable chunks: the workspace follows the files, and the indexes follow the workspace."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from ragloom.components.bm25 import BM25, Variant
from ragloom.components.ingestion import InputFile, OnError, Skipped, find_files, read_file, rejecting
from ragloom.components.splitting import Splitter, WholePassages
from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.components.vector_cache import CachedEmbedder
from ragloom.errors import InputError
from ragloom.store import Store
from ragloom.types import Document, Embedder, content_id

if TYPE_CHECKING:
    from ragloom.components.dense import Dense

_PAGE = 256  # documents put in one transaction; what is lost at most when the process is killed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What indexing did, in documents.

    Attributes:
        added, changed, unchanged, removed: documents by what happened to them.
        skipped: files and records that were left out.
        chunks: in the workspace now, of whatever was indexed before too.
    """

    added: int
    changed: int
    unchanged: int
    removed: int
    skipped: list[Skipped]
    chunks: int


def index_corpus(
    inputs: Sequence[str | Path],
    store: Store,
    *,
    splitter: Splitter = WholePassages(),  # noqa: B008 - immutable
    text_field: str = "text",
    on_error: OnError = "stop",
    progress: bool = True,
) -> IndexReport:
    """Make the workspace hold what the inputs hold.

    Each input is kept in step by itself: its new and changed documents are put, unchanged ones left as they are,
    vanished ones removed. A killed or stopped run keeps what it had committed; running it again does the rest.

    Args:
        inputs: folders, globs and files, see `read_documents`.
        store: opened for writing.
        splitter: makes the chunks; documents that another splitter has split before are split anew.
        text_field: the field or column of records that holds the text.
        on_error: `stop` raises at the first file that cannot be used, and stores nothing of it. `skip` goes on behind
            a file or record; what was indexed of such a file before stays, unless it is replaced.
        progress: show bars, where there is a terminal.

    Raises:
        InputError: a file cannot be used; or one of its documents has the source of another one, from another input.
    """
    counts: Counter[str] = Counter()
    skipped: list[Skipped] = []
    for path in inputs:
        files, others = find_files(path)
        skipped += others
        synchronisation = _Synchronisation(store, str(Path(path).resolve()), splitter)
        for file in _bar(files, "file", shown=progress and len(files) > 1):
            notes: list[Skipped] = []
            synchronisation.add(file, text_field, on_error, notes, progress=progress and len(files) == 1)
            skipped += notes
        counts += synchronisation.finish()
    return IndexReport(
        counts["added"], counts["changed"], counts["unchanged"], counts["removed"], skipped, store.chunk_count()
    )


def remove_sources(sources: Iterable[str], store: Store) -> int:
    """Remove documents by source, all records of a file by its name, or all below a folder; returns how many.

    Raises:
        InputError: a name stands for nothing in the workspace; nothing is removed then.
    """
    known = [document.source for document in store.documents()]
    chosen: set[str] = set()
    for name in sources:
        found = {source for source in known if source == name or source.startswith((f"{name}#", f"{name}/"))}
        if not found:
            raise InputError(
                f"nothing in {store.folder} has the source {name}", "name a file as below the folder that was indexed"
            )
        chosen |= found
    return store.remove_documents(sorted(chosen))


def open_bm25(
    store: Store,
    *,
    variant: Variant = "lucene",
    k1: float = 1.5,
    b: float = 0.75,
    tokenizer: Tokenizer = Tokenizer(),  # noqa: B008 - immutable
) -> BM25:
    """Keyword search over the store's chunks, built now unless it was built before. Arguments as in BM25."""
    chunks = store.chunks()
    parameters = {"variant": variant, "k1": k1, "b": b, "tokenizer": asdict(tokenizer)}

    def build(folder: Path) -> None:
        BM25(chunks, variant=variant, k1=k1, b=b, tokenizer=tokenizer).save(folder)

    return BM25.load(store.derived("bm25", parameters, build), chunks)


def open_dense(store: Store, embedder: Embedder, *, progress: bool = True) -> Dense:
    """Search by meaning over the store's chunks, built now unless it was built before.

    Vectors are stored as they come: a build that is killed goes on where it was, and changed chunks alone are embedded
    anew.

    Args:
        store: opened for reading only, it keeps no new vectors.
        embedder: for chunks and queries alike.
        progress: show a bar, where there is a terminal.
    """
    from ragloom.components.dense import Dense

    chunks = store.chunks()

    def build(folder: Path) -> None:
        with tqdm(total=len(chunks), desc="embedding", unit="chunk", disable=None if progress else True) as bar:
            vectors = CachedEmbedder(embedder, store, on_progress=bar.update)([searchable(chunk) for chunk in chunks])
        Dense(chunks, vectors, embedder).save(folder)

    return Dense.load(store.derived("dense", {"model": embedder.model}, build), chunks, embedder)


@dataclass
class _Synchronisation:
    """One input on its way into the store."""

    store: Store
    origin: str
    splitter: Splitter
    _before: dict[str, tuple[str, str]] = field(init=False)  # what the input held: id and splitting by source
    _contents: dict[str, str] = field(init=False)  # what the whole workspace held
    _seen: set[str] = field(default_factory=set)
    _incomplete: set[str] = field(default_factory=set)
    _waiting: list[Document] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._before = self.store.documents_of(self.origin)
        self._contents = {document.source: _content(document) for document in self.store.documents()}

    def add(self, file: InputFile, text_field: str, on_error: OnError, notes: list[Skipped], *, progress: bool) -> None:
        reject = rejecting(on_error, file.source, notes)
        documents = []
        for document in read_file(file, text_field=text_field, reject=reject):
            if self._is_elsewhere(document):
                reject(
                    InputError(
                        f"{file.path}: the workspace holds another document of the source {document.source}",
                        "index again what that one came from, remove it first, or index a folder that holds both",
                    )
                )
            else:
                documents.append(document)
        if notes:
            self._incomplete.add(file.source)
        for document in _bar(documents, "document", shown=progress):
            self._put(document)

    def finish(self) -> Counter[str]:
        """Commit what waits, remove what vanished, and say how many documents were what."""
        self._commit()
        vanished = [source for source in self._before if source not in self._seen and not self._is_kept(source)]
        if vanished:
            self._counts["removed"] = self.store.remove_documents(vanished)
        return self._counts

    def _is_elsewhere(self, document: Document) -> bool:
        if document.source in self._seen:  # a record and a file can be named alike: `a.jsonl#b.txt`
            return True
        stored = self._contents.get(document.source)
        return document.source not in self._before and stored is not None and stored != _content(document)

    def _put(self, document: Document) -> None:
        self._seen.add(document.source)
        before = self._before.get(document.source)
        same = self._contents.get(document.source) == _content(document)
        split = before is not None and before[1] == self.splitter.identity
        self._counts["unchanged" if same and (split or before is None) else "changed" if before else "added"] += 1
        if not (same and split):  # the same from another input comes over to this one
            self._waiting.append(document)
            if len(self._waiting) == _PAGE:
                self._commit()

    def _commit(self) -> None:
        entries = ((document, self.splitter(document)) for document in self._waiting)
        if self._waiting:
            self.store.put_documents(entries, origin=self.origin, splitting=self.splitter.identity)
        self._waiting = []

    def _is_kept(self, source: str) -> bool:
        return any(source == file or source.startswith(f"{file}#") for file in self._incomplete)


def _content(document: Document) -> str:
    return content_id(document.id, json.dumps(document.meta, sort_keys=True))


def _bar(items: Sequence[T], unit: str, *, shown: bool) -> Iterable[T]:
    return tqdm(items, desc="indexing", unit=unit, disable=None if shown else True)
