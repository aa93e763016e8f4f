"""Tables that notice damage: every row carries a hash of its key and values, every table a tally of its rows.

A flipped bit in a SQLite file mostly reads back as a wrong value: of 191 such files SQLite's own integrity check
noticed 1, a hash over key and value all. The hash cannot see a row that is gone; the tally (how many rows, and
the sum of their hashes) shows that wherever a whole table is read.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import Any, Self

from ragloom.errors import InputError, StoreCorrupt, StoreError

Row = tuple[Any, ...]  # what a database holds: str, int, float, bytes, None


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its key columns, which order it, and the others."""

    name: str
    key: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Key, then values: the order of a row."""
        return self.key + self.values


TALLY = Table("tally", ("name",), ("count", "sum"))

REPAIR = "`ragloom doctor --salvage FOLDER` copies what is whole into a new workspace"
_MODULUS = 1 << 128


class Database(ABC):
    """Hashed rows in tables. One connection, which any thread may use; a forked child may not.

    Attributes:
        folder: of the workspace.
        place: what messages call the database.
        lacks: tables of a later layout than the database's: they read as empty.
    """

    _errors: tuple[type[Exception], ...]

    def __init__(self, folder: Path, place: str, *, write: bool) -> None:
        self.folder = folder
        self.place = place
        self.lacks: frozenset[Table] = frozenset()
        self._write = write
        self._pid = os.getpid()
        self._lock = RLock()
        self._in_transaction = False
        self._changes: dict[Table, tuple[int, int]] = {}

    # ---- What each kind of database does in its own way

    @abstractmethod
    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """All that the statement gives, with the database's errors told as ours. Question marks stand for values."""

    @abstractmethod
    def damage(self, *, quick: bool) -> list[str]:
        """What the database itself finds wrong, one line each."""

    @abstractmethod
    def _execute_many(self, sql: str, rows: Sequence[Row]) -> None: ...

    @abstractmethod
    def _each(self, sql: str) -> Iterator[Row]:
        """What the statement gives, as far as it can be read; `_errors` end it."""

    @abstractmethod
    def _create_sql(self, table: Table) -> str: ...

    @abstractmethod
    def _begin(self, *, durable: bool) -> None:
        """Begin to write; other writers wait."""

    @abstractmethod
    def _commit(self) -> None: ...

    @abstractmethod
    def _roll_back(self) -> None:
        """Undo what was written since `_begin`, which may have been undone already, or not have come to its end."""

    @abstractmethod
    def _close(self) -> None: ...

    def _snapshot(self) -> AbstractContextManager[None]:
        """What several statements read is of one moment; of itself where nobody else writes."""
        return nullcontext()

    def close(self) -> None:
        """Close the connection. In a forked child nothing is touched: it is the parent's."""
        if os.getpid() == self._pid:
            with self._lock:
                self._close()

    # ---- Reading

    def rows(self, table: Table, where: str = "", values: Sequence[Any] = ()) -> list[Row]:
        """Rows in the order of their keys, each checked against its hash.

        Args:
            table: what to read.
            where: SQL conditions written in the code, never text from outside.
            values: for their question marks.

        Raises:
            StoreCorrupt: a row is not what was written; the message names table and key.
        """
        return [row for _, row in self._checked(table, where, values)]

    def all_rows(self, table: Table) -> list[Row]:
        """All rows in the order of their keys; also notices a row that is gone."""
        with self._lock, self._snapshot():
            checked = self._checked(table)
            self._check_tally(table, [row_hash for row_hash, _ in checked])
        return [row for _, row in checked]

    def rows_among(self, table: Table, first: Any, seconds: Sequence[Any]) -> Iterator[Row]:
        """Rows, checked, whose key is the first value and one of the second ones; their order says nothing."""
        for start in range(0, len(seconds), 500):  # older SQLite takes 999 values in a statement
            page = seconds[start : start + 500]
            condition = f"{table.key[0]} = ? AND {table.key[1]} IN ({', '.join('?' * len(page))})"
            yield from self.rows(table, condition, (first, *page))

    def keys_among(self, table: Table, first: Any, where: str) -> list[Any]:
        """Second key values of the rows with that first one; unlike rows, they are not checked."""
        if table in self.lacks:
            return []
        sql = f"SELECT {table.key[1]} FROM {table.name} WHERE {table.key[0]} = ? AND {where}"  # noqa: S608 - ours
        return [key for (key,) in self.execute(sql, (first,))]

    def row_hashes(self, table: Table, where: str = "", values: Sequence[Any] = ()) -> list[bytes]:
        """The hashes of rows in the order of their keys: what to compare when only a change matters.

        Without a condition, also notices a row that is gone.
        """
        if table in self.lacks:
            return []
        with self._lock, self._snapshot():
            hashes = self._hashes(table, where, values)
            if not where:
                self._check_tally(table, hashes)
        return hashes

    def count(self, table: Table) -> int:
        """The number of rows, by the tally."""
        return self._tally(table)[0]

    def row(self, table: Table, *key: Any) -> Row | None:
        """The row of that key, checked, or None."""
        found = self.rows(table, " AND ".join(f"{column} = ?" for column in table.key), key)
        return found[0] if found else None

    def problems(self, table: Table) -> tuple[list[Row], list[str]]:
        """The good rows of a damaged table, as many as can be reached, and what is wrong with the others."""
        if table in self.lacks:
            return [], []
        good: dict[Row, Row] = {}
        wrong: list[str] = []
        order = ", ".join(table.key)
        backwards = ", ".join(f"{column} DESC" for column in table.key)
        for sql in (f"{_select_sql(table)} ORDER BY {order}", f"{_select_sql(table)} ORDER BY {backwards}"):
            found, problem = self._reachable(table, sql)
            good.update(found)
            wrong += problem
            if not any("unreadable" in line for line in problem):
                break  # everything was reached; after an unreadable page, what lies behind it is reached from the end
        wrong = list(dict.fromkeys(wrong))
        try:
            count, total = self._tally(table)
        except StoreCorrupt:
            return list(good.values()), [*wrong, f"table {table.name}: its tally is damaged"]
        if len(good) != count:
            wrong.append(f"table {table.name}: {len(good)} of {count} rows are left")
        elif not wrong and _sum(_row_hash(table, row) for row in good.values()) != total:
            wrong.append(f"table {table.name}: its rows are not those that were written")
        return list(good.values()), wrong

    # ---- Writing

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[Self]:
        """All of the block or nothing. Other threads wait.

        Args:
            durable: on the disk when the block ends. Otherwise a power cut may take the last transactions back, whole;
                a killed process never does.
        """
        self._check_process()
        if not self._write:
            raise StoreError(f"{self.folder} was opened for reading only", "open it with write=True")
        with self._lock:
            if self._in_transaction:
                raise RuntimeError("the workspace cannot be written while it is being written, in one thread")
            self._changes = {}
            try:
                self._begin(durable=durable)
                self._in_transaction = True
                yield self
                self._write_tallies()
                self._commit()
            except BaseException:
                with suppress(StoreError):  # what is told is what went wrong first
                    self._roll_back()
                raise
            finally:
                self._in_transaction = False

    def insert(self, table: Table, rows: Iterable[Row]) -> None:
        """Add rows whose keys are not there yet, inside a transaction."""
        with encodable():
            hashed = [hashed_row(table, row) for row in rows]
        self._execute_many(insert_sql(table), hashed)
        self._count(table, len(hashed), (row[0] for row in hashed))

    def replace(self, table: Table, row: Row) -> None:
        """Put a row in place of the one of its key, if there is one, inside a transaction."""
        self.delete(table, *row[: len(table.key)])
        self.insert(table, [row])

    def delete(self, table: Table, *key: Any) -> int:
        """Remove the rows whose key begins so, inside a transaction, and return how many."""
        where = " AND ".join(f"{column} = ?" for column in table.key[: len(key)])
        hashes = self._hashes(table, where, key)
        if hashes:
            self.execute(f"DELETE FROM {table.name} WHERE {where}", key)  # noqa: S608 - names are ours
            self._count(table, -len(hashes), hashes)
        return len(hashes)

    def add_table(self, table: Table) -> None:
        """Make a table, inside a transaction."""
        self.execute(self._create_sql(table))
        self._put_tally(table, 0, 0)

    def clear(self, table: Table) -> None:
        """Remove all rows, damaged ones too, inside a transaction."""
        self.execute(f"DELETE FROM {table.name}")  # noqa: S608 - names are ours
        self._put_tally(table, 0, 0)

    # ---- Hashes and tallies

    def _checked(self, table: Table, where: str = "", values: Sequence[Any] = ()) -> list[tuple[bytes, Row]]:
        if table in self.lacks:
            return []
        condition = f"WHERE {where}" if where else ""
        found = self.execute(f"{_select_sql(table)} {condition} ORDER BY {', '.join(table.key)}", values)
        checked = [(row[0], row[1:]) for row in found]
        for row_hash, row in checked:
            if _row_hash(table, row) != row_hash:
                raise StoreCorrupt(f"{self.place}: {_damaged(table, row)}", REPAIR)
        return checked

    def _hashes(self, table: Table, where: str, values: Sequence[Any]) -> list[bytes]:
        condition = f"WHERE {where}" if where else ""
        sql = f"SELECT hash FROM {table.name} {condition} ORDER BY {', '.join(table.key)}"  # noqa: S608 - names are ours
        hashes = [row[0] for row in self.execute(sql, values)]
        if not all(isinstance(row_hash, bytes) for row_hash in hashes):
            raise StoreCorrupt(f"{self.place}: table {table.name} has a damaged hash", REPAIR)
        return hashes

    def _reachable(self, table: Table, sql: str) -> tuple[dict[Row, Row], list[str]]:
        good: dict[Row, Row] = {}
        wrong: list[str] = []
        unreadable: tuple[type[Exception], ...] = (*self._errors, MemoryError, UnicodeDecodeError)
        with self._lock:
            try:
                for row_hash, *values in self._each(sql):
                    row = tuple(values)
                    if _row_hash(table, row) == row_hash:
                        good[row[: len(table.key)]] = row
                    else:
                        wrong.append(_damaged(table, row))
            except unreadable as error:
                wrong.append(f"table {table.name}: unreadable in part ({error})")
        return good, wrong

    def _tally(self, table: Table) -> tuple[int, int]:
        if table in self.lacks:
            return 0, 0
        tally = self.row(TALLY, table.name)
        if tally is None:
            raise StoreCorrupt(f"{self.place}: table {table.name} has no tally", REPAIR)
        return tally[1], int(tally[2], 16)

    def _check_tally(self, table: Table, hashes: list[bytes]) -> None:
        count, total = self._tally(table)
        if len(hashes) != count or _sum(hashes) != total:
            raise StoreCorrupt(
                f"{self.place}: table {table.name} has {len(hashes)} rows where {count} were written", REPAIR
            )

    def _count(self, table: Table, number: int, hashes: Iterable[bytes]) -> None:
        count, total = self._changes.get(table, (0, 0))
        change = _sum(hashes)
        self._changes[table] = (count + number, total + (change if number > 0 else -change))

    def _write_tallies(self) -> None:
        for table, (count, total) in self._changes.items():
            old_count, old_total = self._tally(table)
            self._put_tally(table, old_count + count, old_total + total)

    def _put_tally(self, table: Table, count: int, total: int) -> None:
        row = (table.name, count, f"{total % _MODULUS:032x}")
        self.execute("DELETE FROM tally WHERE name = ?", (table.name,))
        self.execute(insert_sql(TALLY), hashed_row(TALLY, row))

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise StoreError(
                f"{self.folder} was opened by process {self._pid} and is used in its forked child {os.getpid()}",
                "open the workspace in the process that uses it",
            )


@contextmanager
def encodable() -> Iterator[None]:
    """Tell of text that no database can hold."""
    try:
        yield
    except UnicodeEncodeError as error:
        problem = f"{error.object[:80]!r} has half a character (a lone surrogate) at {error.start}"
        raise InputError(problem, "mend its encoding") from error


def _select_sql(table: Table) -> str:
    return f"SELECT hash, {', '.join(table.columns)} FROM {table.name}"  # noqa: S608 - names are ours


def insert_sql(table: Table) -> str:
    """The statement that adds a row with its hash in front."""
    marks = ", ".join("?" for _ in table.columns)
    return f"INSERT INTO {table.name} (hash, {', '.join(table.columns)}) VALUES (?, {marks})"  # noqa: S608 - names are ours


def hashed_row(table: Table, row: Row) -> Row:
    """The row with its hash in front."""
    return (_row_hash(table, row), *row)


def tally_row(table: Table, hashed: Sequence[Row]) -> Row:
    """The row, hashed, that tells how many hashed rows the table has, and their sum."""
    return hashed_row(TALLY, (table.name, len(hashed), f"{_sum(row[0] for row in hashed):032x}"))


def _row_hash(table: Table, row: Row) -> bytes:
    digest = blake2b(table.name.encode(), digest_size=16)
    for value in row:
        if isinstance(value, str):
            kind, data = b"s", value.encode()
        elif isinstance(value, bytes):
            kind, data = b"b", value
        else:
            kind, data = b"n", repr(value).encode()  # a number or None; tells 1 and 1.0 apart
        digest.update(b"%b%d:" % (kind, len(data)))
        digest.update(data)
    return digest.digest()


def _sum(hashes: Iterable[bytes]) -> int:
    return sum(int.from_bytes(row_hash) for row_hash in hashes) % _MODULUS


def _damaged(table: Table, row: Row) -> str:
    return f"table {table.name}: the row of {', '.join(repr(part)[:80] for part in row[: len(table.key)])} is damaged"
