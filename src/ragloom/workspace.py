"""The files of a workspace: made, locked for one writer, and refused where they are something else.

A workspace that several machines share has its tables in a Postgres server, and on each machine a folder that says
where (`database.json`) and holds the files derived from them.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

from ragloom import schema
from ragloom.derived import DerivedFiles
from ragloom.errors import ConfigError, StoreCorrupt, StoreError, StoreFull
from ragloom.lease import Lease
from ragloom.sqlite import SQLiteDatabase
from ragloom.tables import Database, Row, Table
from ragloom.writing import write_aside

FILE = "ragloom.sqlite"
SHARED = "database.json"
URL = "RAGLOOM_DATABASE_URL"  # environment variable: where workspaces are kept that several machines share
NAME = "RAGLOOM_DATABASE_SCHEMA"  # environment variable: the schema of one
DERIVED = "derived.sqlite"

_RESTORE = "bring it back from a copy, or move it away"


def open_for_writing(folder: Path, lock_timeout_s: float) -> tuple[Database, Lease | None]:
    """The database of the folder, both made where they are missing, and the lease of its one writer.

    There is none where the database is a server's, which any number of processes write in turns.
    """
    with file_errors(folder), ExitStack() as on_failure:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_shared(folder):
            return _open_shared(folder, write=True), None
        lease = Lease.take(folder / "lock", timeout_s=lock_timeout_s)
        on_failure.callback(lease.release)
        path = folder / FILE
        if not path.exists():
            _create(path)
        database = _open(path, write=True)
        on_failure.pop_all()
    return database, lease


def open_for_reading(folder: Path) -> Database:
    """The database of the folder, which must be there."""
    with file_errors(folder):
        if (folder / SHARED).exists():
            return _open_shared(folder, write=False)
        path = folder / FILE
        if not path.exists():
            raise StoreError(f"no workspace at {folder}", "run `ragloom index` first")
        if not _readable_in_place(path):
            raise StoreError(
                f"the last changes to {path} are still in its log, which cannot be read on a read-only disk",
                "copy the folder to where it can be written, and open it there",
            )
        return _open(path, write=False)


def open_damaged(folder: Path) -> Database:
    """The database of the folder, of which anything may be unreadable."""
    with file_errors(folder):
        if (folder / SHARED).exists():
            return _open_shared(folder, write=False)
        path = folder / FILE
        if not path.exists():
            raise StoreError(f"no workspace at {folder}", "name the folder that holds the damaged one")
        database = SQLiteDatabase(path, write=False)
    try:
        with suppress(StoreCorrupt):
            database.lacks = schema.added_since(_version(database))
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def file_errors(folder: Path) -> Iterator[None]:
    """Tell errors of the operating system as ours: none of them means that the workspace is empty."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"the disk under {folder} is full ({error.strerror})", "make room and try again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reading = error.errno != errno.EROFS and not os.access(folder, os.R_OK)
            raise StoreError(
                f"no permission to {'read' if reading else 'write in'} {folder} ({error.strerror})",
                "change its permissions, or use another folder",
            ) from error
        raise StoreError(f"{folder} cannot be used as a workspace ({error})", "use another folder") from error


def is_shared(folder: Path) -> bool:
    """Whether the folder's tables are, or will be when it is first written, in a Postgres server."""
    return (folder / SHARED).exists() or (bool(os.environ.get(URL)) and not (folder / FILE).exists())


def _open_shared(folder: Path, *, write: bool) -> Database:
    from ragloom.postgres import PostgresDatabase

    url = os.environ.get(URL)
    if not url:
        raise ConfigError(
            f"the workspace {folder} is in a Postgres server, and {URL} is not set", "set it to its address"
        )
    path = folder / SHARED
    if not path.exists():
        lease = Lease.take(folder / "lock", timeout_s=60)  # else two processes would make two, and one be forgotten
        try:
            if not path.exists():
                name = os.environ.get(NAME) or f"ragloom_{uuid4().hex[:12]}"
                PostgresDatabase.create(url, name, _empty(str(schema.VERSION)), schema.INDEXES)
                write_aside(path, partial(_write_name, name))
        finally:
            lease.release()
    return _of_known_version(PostgresDatabase(folder, url, _schema_name(path), write=write), write=write)


def _empty(version: str | int) -> dict[Table, list[Row]]:
    """The tables of a new workspace."""
    meta: list[Row] = [("schema_version", version), ("store_id", uuid4().hex)]
    return {table: meta if table is schema.META else [] for table in schema.TABLES}


def _write_name(name: str, path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps({"schema": name}), encoding="utf-8")


def _schema_name(path: Path) -> str:
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorrupt(f"{path} does not say which schema the workspace is ({error!r})", _RESTORE) from None
    if not isinstance(name, str) or not name:
        raise StoreCorrupt(f"{path} does not say which schema the workspace is", _RESTORE)
    return name


def open_derived(folder: Path, database: Database, *, write: bool) -> DerivedFiles:
    """The derived files of the folder.

    Of a workspace that machines share, each has its own files, entered in a SQLite file beside them.
    """
    files = folder / "derived"
    if not (folder / SHARED).exists():
        return DerivedFiles(files, database, writable=write)
    lock = folder / "lock"
    path = folder / DERIVED
    if write and not path.exists():
        lease = Lease.take(lock, timeout_s=60)
        try:
            if not path.exists():
                SQLiteDatabase.create(path, {schema.DERIVED: []})
        finally:
            lease.release()
    if not path.exists():  # of a reader: everything is built in a temporary folder
        return DerivedFiles(files, database, writable=False)
    return DerivedFiles(files, SQLiteDatabase(path, write=write), writable=write, lock=lock)


def _wal_has_content(path: Path) -> bool:
    wal = path.with_name(f"{FILE}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _readable_in_place(path: Path) -> bool:
    """SQLite reads changes from its log only with an index of it, which it makes where there is none."""
    index = path.with_name(f"{FILE}-shm")
    return not _wal_has_content(path) or index.exists() or os.access(path.parent, os.W_OK)


def _create(path: Path) -> None:
    if _wal_has_content(path):  # SQLite would throw it away
        raise StoreCorrupt(f"{path} is gone, but {FILE}-wal beside it is not", "bring it back, or use a new folder")
    SQLiteDatabase.create(path, _empty(schema.VERSION), schema.INDEXES)


def _open(path: Path, *, write: bool) -> Database:
    if path.stat().st_size == 0:
        raise StoreCorrupt(f"{path} is empty: its content was lost", _RESTORE)
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise StoreCorrupt(f"{path} is not a SQLite database", _RESTORE)
    frozen = not (write or _wal_has_content(path) or os.access(path.parent, os.W_OK))
    return _of_known_version(SQLiteDatabase(path, write=write, frozen=frozen), write=write)


def _of_known_version(database: Database, *, write: bool) -> Database:
    """The database, brought to this version's layout if it is opened for writing; it is closed where that fails."""
    try:
        version = _version(database)
        if not write:
            database.lacks = schema.added_since(version)
        elif version < schema.VERSION:
            _migrate(database, version)
    except BaseException:
        database.close()
        raise
    return database


def _version(database: Database) -> int:
    version = database.row(schema.META, "schema_version")
    if version is None:
        raise StoreCorrupt(f"{database.place} does not say which schema it has", _RESTORE)
    number = int(version[1])  # a server's column has one type: there it is text
    if number > schema.VERSION:
        raise StoreError(
            f"{database.place} was written by a newer ragloom (schema {number}, this one knows {schema.VERSION})",
            "upgrade ragloom",
        )
    return number


def _migrate(database: Database, version: int) -> None:
    """Bring a workspace of an earlier version to this one, whole or not at all."""
    with database.transaction(durable=True):
        for table in schema.added_since(version):
            database.add_table(table)
        kind = type(database.rows(schema.META, "name = ?", ("schema_version",))[0][1])
        database.replace(schema.META, ("schema_version", kind(schema.VERSION)))
