"""A workspace's tables in a SQLite file, the truth of a workspace on one machine."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ragloom.errors import StoreCorrupt, StoreError, StoreFull, StoreLocked
from ragloom.tables import REPAIR, TALLY, Database, Row, Table, encodable, hashed_row, insert_sql, tally_row

# Without the first two of these SQLite reads a damaged or hostile schema as it stands.
_PRAGMAS = ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0")


class SQLiteDatabase(Database):
    """A SQLite file of hashed rows.

    Args:
        path: the file, made by `create`.
        write: open for writing; else everything is read from one snapshot, taken now, next to an active writer.
        frozen: nobody can write it, so that SQLite may do without the files it makes next to one in WAL mode.
    """

    _errors = (sqlite3.Error,)

    def __init__(self, path: Path, *, write: bool, frozen: bool = False) -> None:
        super().__init__(path.parent, str(path), write=write)
        self._path = path
        self._durable: bool | None = None
        uri = f"{path.absolute().as_uri()}?mode={'rw' if write else 'ro'}{'&immutable=1' if frozen else ''}"
        with _translated(path):
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
            try:
                for pragma in _PRAGMAS:
                    self._connection.execute(f"PRAGMA {pragma}")
                self._connection.execute("PRAGMA journal_mode = WAL" if write else "BEGIN")
            except BaseException:
                self._connection.close()
                raise

    @classmethod
    def create(cls, path: Path, contents: Mapping[Table, Sequence[Row]], indexes: Iterable[str] = ()) -> None:
        """Make the file with these tables and rows: whole, or after a crash not at all."""
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # its WAL files get the same mode
        with _translated(path):
            connection = sqlite3.connect(new, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = OFF")  # until it is renamed, nobody needs it after a crash
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("BEGIN")
                connection.execute(_create_sql(TALLY))
                for table, rows in contents.items():
                    connection.execute(_create_sql(table))
                    hashed = [hashed_row(table, row) for row in rows]
                    connection.executemany(insert_sql(table), hashed)
                    connection.execute(insert_sql(TALLY), tally_row(table, hashed))
                for index in indexes:
                    connection.execute(index)
                connection.execute("COMMIT")
            finally:
                connection.close()
        sync(new)
        new.rename(path)
        sync(path.parent)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Database`."""
        self._check_process()
        with self._lock, _translated(self._path):
            return self._connection.execute(sql, values).fetchall()

    def damage(self, *, quick: bool) -> list[str]:
        """See `Database`; the slow half of SQLite's own check finds more."""
        try:
            found = self.execute(f"PRAGMA {'quick_check' if quick else 'integrity_check'}(20)")
        except StoreCorrupt as damage:
            return [damage.problem]
        return [line for (line,) in found if line != "ok"]

    def _execute_many(self, sql: str, rows: Sequence[Row]) -> None:
        with _translated(self._path):
            self._connection.executemany(sql, rows)

    def _each(self, sql: str) -> Iterator[Row]:
        yield from self._connection.execute(sql)

    def _create_sql(self, table: Table) -> str:
        return _create_sql(table)

    def _begin(self, *, durable: bool) -> None:
        if durable is not self._durable:
            self.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        self.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        self.execute("COMMIT")

    def _roll_back(self) -> None:
        with _translated(self._path):
            begun = self._connection.in_transaction  # SQLite may have rolled back by itself
        if begun:
            self.execute("ROLLBACK")

    def _close(self) -> None:
        self._connection.close()


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle to sync a folder by
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create_sql(table: Table) -> str:
    columns = (*table.key, "hash", *table.values)  # no types: SQLite then keeps every value as it is given
    return f"CREATE TABLE {table.name} ({', '.join(columns)}, PRIMARY KEY ({', '.join(table.key)})) WITHOUT ROWID"


_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNREADABLE = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        with encodable():
            yield
    except UnicodeDecodeError as error:  # SQLite's message quotes a damaged schema
        raise StoreCorrupt(f"{path} is damaged ({error})", REPAIR) from error
    except sqlite3.ProgrammingError as error:
        raise StoreError(f"{path.parent}: {str(error).rstrip('.')}", "open the workspace again") from error
    except sqlite3.Error as error:
        raise _store_error(path, error) from error


def _store_error(path: Path, error: sqlite3.Error) -> StoreError:
    # SQLite gives no code where text is not UTF-8. Our statements are fixed, so that "no such table" is damage too.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if code in _FULL:
        return StoreFull(f"the disk under {path} is full ({error})", "make room and try again; what was saved is safe")
    if code & 0xFF in _LOCKED:
        return StoreLocked(f"{path} is locked by another program ({error})", "close it there and try again")
    if code & 0xFF in _UNREADABLE:
        return StoreError(f"{path} cannot be read or written ({error})", "check the disk and the file's permissions")
    return StoreCorrupt(f"{path} is damaged ({error})", REPAIR)
