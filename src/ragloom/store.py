"""The workspace: documents, chunks, vectors, extractions, replies, what was paid, and batch runs, in one SQLite file.

The file is the only truth. What is made from it (search indexes) lies beside it, and is verified or rebuilt.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from ragloom import repair, schema
from ragloom.codec import reply_from_json, to_json
from ragloom.errors import IndexMismatch, InputError, StoreCorrupt, StoreError
from ragloom.extractions import Extractions
from ragloom.lease import Lease
from ragloom.tables import Database, Row
from ragloom.types import Chunk, Document, Reply, Usage, content_id
from ragloom.workspace import FILE, SHARED, open_damaged, open_derived, open_for_reading, open_for_writing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Status = Literal["pending", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call to a model.

    Attributes:
        id: 1 for the workspace's first, and so on.
        key: what was asked, as in `Store.reply`.
        model: who was asked.
        run_id: for which run; may be empty.
        status: `open` from before the call until it is settled. One that stays open belongs to a process that died
            during the call, which may have been paid for.
        started: UTC, ISO 8601.
        usage: what it took, as far as is known.
        error: empty where status is not `error`.
    """

    id: int
    key: str
    model: str
    run_id: str
    status: Literal["open", "ok", "error"]
    started: str
    usage: Usage
    error: str


@dataclass(frozen=True, slots=True)
class Item:
    """A question of a run: its JSON and, unless it is pending, the JSON of what came out."""

    question_id: str
    position: int
    status: Status
    question: Mapping[str, Any]
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker did for a run, to be entered with `Store.take_in`: settled calls, replies by key, and answers."""

    attempts: Sequence[Attempt]
    replies: Mapping[str, Reply]
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A batch run: its kind and configuration, when it was begun (UTC, ISO 8601), and its number of items by status."""

    id: str
    kind: str
    config: Mapping[str, Any]
    created: str
    counts: Mapping[Status, int]


class Store:
    """A workspace folder, opened with `Store.open` and closed by leaving its `with` block.

    One process writes, any number read; threads share a Store freely. A Store opened for reading shows the workspace
    as it was when it was opened.
    """

    def __init__(self, folder: Path, database: Database, *, writable: bool, lease: Lease | None = None) -> None:
        self.folder = folder
        self.writable = writable
        self._database = database
        self._extractions = Extractions(database)
        self._derived = open_derived(folder, database, write=writable)
        self._lease = lease
        self._pid = os.getpid()

    # ---- Opening and closing

    @classmethod
    def open(cls, folder: str | Path, *, write: bool = True, lock_timeout_s: float = 10.0) -> Store:
        """The workspace in that folder.

        Args:
            folder: made, with an empty workspace, where it is missing and `write` is set.
            write: be the one writer, waiting for another one up to the timeout. Otherwise nothing is changed and no
                writer is waited for.
            lock_timeout_s: seconds.

        Raises:
            StoreLocked: another process is writing.
            StoreCorrupt: there is a database, but not a readable one.
            StoreError: no such workspace, no permission, or one of a newer ragloom.
        """
        folder = Path(folder)
        if not write:
            return cls(folder, open_for_reading(folder), writable=False)
        database, lease = open_for_writing(folder, lock_timeout_s)
        store = cls(folder, database, writable=True, lease=lease)
        try:
            store._derived.sweep()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the files and let the next writer in. Closing twice, or in a forked child, does nothing."""
        if os.getpid() != self._pid:
            return
        self._derived.close()
        self._database.close()
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- Documents and chunks

    def documents_of(self, origin: str) -> dict[str, tuple[str, str]]:
        """Document id and splitting by source, of what was indexed from that origin."""
        return {row[0]: (row[1], row[3]) for row in self._database.all_rows(schema.DOCUMENTS) if row[2] == origin}

    def put_documents(
        self, entries: Iterable[tuple[Document, Sequence[Chunk]]], *, origin: str, splitting: str
    ) -> None:
        """Store documents with their chunks, all or none; a document replaces the one of the same source.

        Args:
            entries: may be a generator, which must not write to this store.
            origin: what was indexed, such as a folder.
            splitting: identity of the splitter that made the chunks.

        Raises:
            InputError: a document cannot be stored as it is; the message names its source.
            ValueError: chunks that are not the document's.
        """
        seen: set[str] = set()
        with self._database.transaction(durable=False) as database:
            for document, chunks in entries:
                if document.source in seen:
                    raise InputError(f"two documents have the source {document.source!r}", "give each its own")
                seen.add(document.source)
                rows = [schema.chunk_row(document, position, chunk) for position, chunk in enumerate(chunks)]
                database.replace(schema.DOCUMENTS, schema.document_row(document, origin, splitting, len(rows)))
                database.delete(schema.CHUNKS, document.source)
                database.insert(schema.CHUNKS, rows)

    def remove_documents(self, sources: Iterable[str]) -> int:
        """Remove documents and their chunks, and return how many documents were there to remove."""
        removed = 0
        with self._database.transaction(durable=False) as database:
            for source in sources:
                database.delete(schema.CHUNKS, source)
                removed += database.delete(schema.DOCUMENTS, source)
        return removed

    def documents(self) -> Iterator[Document]:
        """All documents by source."""
        return map(schema.document_of, self._database.all_rows(schema.DOCUMENTS))

    def document(self, document_id: str) -> Document:
        """The document with that id.

        Raises:
            StoreError: there is none.
        """
        for row in self._database.rows(schema.DOCUMENTS, "id = ?", (document_id,)):
            if row[1] == document_id:  # a damaged index can lead to another row, which is whole in itself
                return schema.document_of(row)
        raise StoreError(f"no document {document_id} in {self.folder}", "it was changed or removed since")

    def chunks(self) -> list[Chunk]:
        """All chunks by source and position, whatever the order they were stored in."""
        return [schema.chunk_of(row) for row in self._database.all_rows(schema.CHUNKS)]

    def chunk_count(self) -> int:
        """The number of all chunks."""
        return self._database.count(schema.CHUNKS)

    def corpus_id(self) -> str:
        """A fingerprint of all chunks in their order: equal chunks give equal ids, any change gives another."""
        return blake2b(b"".join(self._database.row_hashes(schema.CHUNKS)), digest_size=16).hexdigest()

    # ---- Vectors

    def vectors(self, model: str, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The stored vectors among those keys, read-only arrays (d,)."""
        import numpy as np

        return {
            key: np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)
            for _, key, data in self._database.rows_among(schema.VECTORS, model, keys)
        }

    def put_vectors(self, model: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Store vectors (d,) by key, replacing earlier ones; all or none.

        Raises:
            IndexMismatch: a vector has another dimension than the model's earlier ones.
            ValueError: a vector holds values that are not finite, or is not one.
        """
        rows = [(model, key, _vector_bytes(key, vector)) for key, vector in vectors.items()]
        with self._database.transaction(durable=False) as database:
            for dimension in dict.fromkeys(len(data) // 4 for _, _, data in rows):
                known = database.row(schema.MODELS, model)
                if known is None:
                    database.insert(schema.MODELS, [(model, dimension)])
                elif known[1] != dimension:
                    raise IndexMismatch(
                        f"{model} gave vectors of {known[1]} dimensions so far, and now of {dimension}",
                        "use the model that the workspace was built with, or give the other one its own name",
                    )
            for row in rows:
                database.replace(schema.VECTORS, row)

    # ---- Extractions

    def extractions(self, extractor: str, chunk_ids: Sequence[str]) -> dict[str, Any]:
        """JSON of what the extractor found, by chunk id; without the chunks it was not asked about or failed for."""
        return self._extractions.found(extractor, chunk_ids)

    def extracted(self, extractor: str) -> set[str]:
        """Ids of the chunks, in the workspace or not, that `extractions` has something of."""
        return self._extractions.read(extractor)

    def failed_extractions(self, extractor: str) -> dict[str, str]:
        """Errors by chunk id, of chunks in the workspace or not, where the extractor failed the last time."""
        return self._extractions.failed(extractor)

    def put_extractions(
        self, extractor: str, found: Mapping[str, Any], *, failed: Mapping[str, str] | None = None
    ) -> None:
        """Store JSON by chunk id where the extractor found something, and errors where it failed; all or none.

        Each replaces what was stored of its chunk.
        """
        self._extractions.put(extractor, found, failed or {})

    def extraction_id(self, extractor: str) -> str:
        """A fingerprint of all that the extractor found: any change, other than of failures, gives another."""
        return self._extractions.fingerprint(extractor)

    # ---- Replies and the ledger of attempts

    def reply(self, key: str) -> Reply | None:
        """The reply kept under that key, exactly as it came, or None."""
        row = self._database.row(schema.REPLIES, key)
        return None if row is None else reply_from_json(json.loads(row[1]))

    def begin_attempt(self, key: str, *, model: str, run_id: str = "") -> int:
        """Enter a call in the ledger, on the disk before it is made, and return the attempt's id."""
        with self._database.transaction(durable=True) as database:
            last = database.rows(schema.ATTEMPTS, "id = (SELECT max(id) FROM attempts)")
            attempt = last[0][0] + 1 if last else 1
            row = (attempt, key, model, run_id, "open", now(), json.dumps(to_json(Usage())), "")
            database.insert(schema.ATTEMPTS, [row])
        return attempt

    def finish_attempt(self, attempt: int, reply: Reply | None, *, error: str = "", keep: bool = True) -> None:
        """Settle an attempt and keep its reply, both or neither.

        Args:
            attempt: from `begin_attempt`.
            reply: None if there was none.
            error: why it failed; a bad reply has both, since it was paid for.
            keep: answer the same key with this reply from now on. Never so where there is an error.
        """
        if reply is None and not error:
            raise ValueError("an attempt without a reply needs an error that says why")
        usage = Usage() if reply is None else reply.usage
        error = error.encode(errors="backslashreplace").decode()  # whatever a server says, the ledger takes it
        with self._database.transaction(durable=True) as database:
            row = database.row(schema.ATTEMPTS, attempt)
            if row is None or row[4] != "open":
                raise StoreError(f"attempt {attempt} in {self.folder} is not open", "settle each attempt once")
            _, key, model, run_id, _, started, _, _ = row
            settled = "error" if error else "ok"
            usage_json = json.dumps(to_json(usage))
            database.replace(schema.ATTEMPTS, (attempt, key, model, run_id, settled, started, usage_json, error))
            if reply is not None and keep and not error:
                database.replace(schema.REPLIES, (key, json.dumps(to_json(reply))))

    def attempts(self, *, run_id: str | None = None) -> list[Attempt]:
        """All attempts, or those of one run, in the order they began."""
        return [
            Attempt(id_, key, model, run, status, started, Usage(**json.loads(usage)), error)
            for id_, key, model, run, status, started, usage, error in self._database.all_rows(schema.ATTEMPTS)
            if run_id is None or run == run_id
        ]

    # ---- Batch runs

    def begin_run(
        self, run_id: str, *, kind: str, config: Mapping[str, Any], items: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> None:
        """Enter a run with its questions, all pending; nothing happens if it is there already, the same.

        Args:
            run_id: name of the run.
            kind: what it does.
            config: JSON, everything that the results depend on.
            items: question ids, each once, and JSON questions.

        Raises:
            InputError: two questions have the same id.
            StoreError: there is another run of that name.
        """
        repeated = [question_id for question_id, count in Counter(id_ for id_, _ in items).items() if count > 1]
        if repeated:
            raise InputError(f"run {run_id!r}: several questions have the id {repeated[0]!r}", "give each its own")
        config_json = json.dumps(config, sort_keys=True)
        rows = [
            (run_id, question_id, position, "pending", json.dumps(question, sort_keys=True), None)
            for position, (question_id, question) in enumerate(items)
        ]
        content = content_id(kind, config_json, *(part for row in rows for part in (row[1], row[4])))
        with self._database.transaction(durable=True) as database:
            known = database.row(schema.RUNS, run_id)
            if known is None:
                database.insert(schema.RUNS, [(run_id, kind, config_json, now(), len(rows), content)])
            elif known[5] != content:
                raise StoreError(
                    f"the run {run_id!r} in {self.folder} has other settings or questions",
                    "give this one another name, or resume it as it was begun",
                )
            there = {row[1] for row in database.rows(schema.ITEMS, "run_id = ?", (run_id,))}
            database.insert(schema.ITEMS, [row for row in rows if row[1] not in there])  # a salvaged run may lack some

    def run(self, run_id: str) -> StoredRun:
        """The run of that name.

        Raises:
            StoreError: there is none.
        """
        return self._stored_run(self._run_row(run_id))

    def runs(self) -> list[StoredRun]:
        """All runs in the order they were begun."""
        rows = self._database.all_rows(schema.RUNS)
        return [self._stored_run(row) for row in sorted(rows, key=lambda row: (row[3], row[0]))]

    def items(self, run_id: str, *, status: Collection[str] | None = None) -> list[Item]:
        """The run's items in the order of its questions: all, or those with one of the statuses."""
        rows = sorted(self._item_rows(self._run_row(run_id)), key=lambda row: row[2])
        return [_item(row) for row in rows if status is None or row[3] in status]

    def commit_item(
        self, run_id: str, question_id: str, *, status: Literal["done", "failed"], result: Mapping[str, Any]
    ) -> None:
        """Enter what came out of a question.

        Raises:
            StoreError: no such question, or one that is done, with another result.
        """
        with self._database.transaction(durable=True) as database:
            row = database.row(schema.ITEMS, run_id, question_id)
            if row is None:
                raise StoreError(
                    f"the run {run_id!r} in {self.folder} has no question {question_id!r}", "begin it first"
                )
            committed = (*row[:3], status, row[4], json.dumps(result))
            if row[3] == "done" and row != committed:
                raise StoreError(f"question {question_id!r} of the run {run_id!r} is done and stays as it is")
            database.replace(schema.ITEMS, committed)

    def take_in(self, run_id: str, done: Done) -> None:
        """Enter what a worker of a cluster did, all or nothing; a question that is done already stays as it is."""
        with self._database.transaction(durable=True) as database:
            last = database.rows(schema.ATTEMPTS, "id = (SELECT max(id) FROM attempts)")
            for number, each in enumerate(done.attempts, start=last[0][0] + 1 if last else 1):
                error = each.error.encode(errors="backslashreplace").decode()
                usage = json.dumps(to_json(each.usage))
                row = (number, each.key, each.model, each.run_id, each.status, each.started, usage, error)
                database.insert(schema.ATTEMPTS, [row])
            for key, reply in done.replies.items():
                database.replace(schema.REPLIES, (key, json.dumps(to_json(reply))))
            for item in done.items:
                known = database.row(schema.ITEMS, run_id, item.question_id)
                if known is None:
                    raise StoreError(f"the run {run_id!r} in {self.folder} has no question {item.question_id!r}")
                if known[3] != "done":
                    result = json.dumps(item.result)
                    database.replace(schema.ITEMS, (*known[:3], item.status, known[4], result))

    def reset_failed(self, run_id: str) -> int:
        """Make failed items pending again, and return how many."""
        with self._database.transaction(durable=True) as database:
            failed = database.rows(schema.ITEMS, "run_id = ? AND status = 'failed'", (run_id,))
            for row in failed:
                database.replace(schema.ITEMS, (*row[:3], "pending", row[4], None))
        return len(failed)

    def _run_row(self, run_id: str) -> Row:
        row = self._database.row(schema.RUNS, run_id)
        if row is None:
            ids = ", ".join(run.id for run in self.runs()) or "none"
            raise StoreError(f"no run {run_id!r} in {self.folder}", f"its runs are: {ids}")
        return row

    def _stored_run(self, row: Row) -> StoredRun:
        run_id, kind, config, created, _, _ = row
        counts: dict[Status, int] = {"pending": 0, "done": 0, "failed": 0}
        counts.update(Counter(item[3] for item in self._item_rows(row)))
        return StoredRun(run_id, kind, json.loads(config), created, counts)

    def _item_rows(self, run: Row) -> list[Row]:
        run_id, number = run[0], run[4]
        rows = self._database.rows(schema.ITEMS, "run_id = ?", (run_id,))
        if len(rows) != number:
            raise StoreCorrupt(
                f"the run {run_id!r} in {self.folder} has {len(rows)} of its {number} questions",
                "begin it again to add the others",
            )
        return rows

    # ---- Derived files

    def derived(
        self,
        name: str,
        parameters: Mapping[str, Any],
        build: Callable[[Path], None],
        *,
        update: Callable[[Path, Path], None] | None = None,
        made_from: str = "",
    ) -> Path:
        """A folder of files that `build` made from the present chunks and those parameters, verified just now.

        It is built if it is missing, stale or damaged; a build that fails leaves nothing behind. Where the store is not
        writable, it is built in a temporary folder that goes when the store is closed.

        Args:
            name: lower-case letters, digits, - and _.
            parameters: JSON, everything besides the chunks that the files depend on.
            build: writes the files into the empty folder it is given.
            update: does the same, given as second argument the folder of the last build of that name and those
                parameters: stale, verified just now, gone once the new one is committed. Called instead of `build`
                where there is such a folder, so that an index is updated rather than built from nothing.
            made_from: fingerprint of what else in the store the files are made from; another one makes them stale.
        """
        return self._derived.get(name, parameters, self.corpus_id(), build, update=update, made_from=made_from)

    # ---- Health

    def check(self, *, quick: bool = False) -> list[str]:
        """What is wrong with the workspace, one line each; empty if it is healthy.

        Args:
            quick: leave out the derived files, which are verified before each use anyhow, and the slow half of
                SQLite's own check.
        """
        found = repair.problems(self._database, quick=quick)
        return found if quick or found else self._derived.problems()


def salvage(folder: str | Path, into: str | Path) -> list[str]:
    """Copy every good row of a workspace, which may be too damaged to be opened, into a new one.

    Returns:
        What was lost, one line each.

    Raises:
        StoreError: no workspace there, or one in the new folder already.
    """
    if Path(into, FILE).exists() or Path(into, SHARED).exists():
        raise StoreError(f"there is a workspace in {into} already", "give a new folder")
    database = open_damaged(Path(folder))
    try:
        with Store.open(into) as new:
            return repair.copy(database, new._database)
    finally:
        database.close()


# ---- Rows


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _vector_bytes(key: str, vector: NDArray[np.float32]) -> bytes:
    import numpy as np

    if vector.ndim != 1 or not np.isfinite(vector).all():
        raise ValueError(f"the vector of {key} must be one row of finite numbers, got shape {vector.shape}")
    return vector.astype("<f4").tobytes()


def _item(row: Row) -> Item:
    _, question_id, position, status, question, result = row
    return Item(question_id, position, status, json.loads(question), None if result is None else json.loads(result))
