"""The files of a workspace: made, locked for one writer, and refused where they are something else."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ragloom import schema
from ragloom.database import Database
from ragloom.errors import StoreCorrupt, StoreError, StoreFull
from ragloom.lease import Lease

FILE = "ragloom.sqlite"

_RESTORE = "bring it back from a copy, or move it away"


def open_for_writing(folder: Path, lock_timeout_s: float) -> tuple[Database, Lease]:
    """The database of the folder, both made where they are missing, and the lease of its one writer."""
    with file_errors(folder), ExitStack() as on_failure:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        path = folder / FILE
        if not path.exists():
            raise StoreError(f"no workspace at {folder}", "name the folder that holds the damaged one")
        database = Database(path, write=False)
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
    meta = [("schema_version", schema.VERSION), ("store_id", uuid4().hex)]
    Database.create(path, {table: meta if table is schema.META else [] for table in schema.TABLES}, schema.INDEXES)


def _open(path: Path, *, write: bool) -> Database:
    if path.stat().st_size == 0:
        raise StoreCorrupt(f"{path} is empty: its content was lost", _RESTORE)
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise StoreCorrupt(f"{path} is not a SQLite database", _RESTORE)
    frozen = not (write or _wal_has_content(path) or os.access(path.parent, os.W_OK))
    database = Database(path, write=write, frozen=frozen)
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
        raise StoreCorrupt(f"{database.path} does not say which schema it has", _RESTORE)
    if version[1] > schema.VERSION:
        raise StoreError(
            f"{database.path} was written by a newer ragloom (schema {version[1]}, this one knows {schema.VERSION})",
            "upgrade ragloom",
        )
    return int(version[1])


def _migrate(database: Database, version: int) -> None:
    """Bring a workspace of an earlier version to this one, whole or not at all."""
    with database.transaction(durable=True):
        for table in schema.added_since(version):
            database.add_table(table)
        database.replace(schema.META, ("schema_version", schema.VERSION))
