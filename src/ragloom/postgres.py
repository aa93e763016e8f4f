"""A workspace's tables in a Postgres server: the truth of a workspace that several machines write.

Transactions that write take turns, so that the tallies add up, and are short: no model is called inside one. What is
read in several statements is read from one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ragloom.errors import ConfigError, InputError, StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreUnreachable
from ragloom.tables import TALLY, Database, Row, Table, encodable, hashed_row, insert_sql, tally_row

try:
    import psycopg
    from psycopg import sql
except ImportError as error:
    raise ConfigError(
        f"a workspace in Postgres needs the package psycopg ({error})", "pip install 'ragloom[postgres]'"
    ) from None

_INTEGERS = {
    *(("documents", "chunks"), ("chunks", "position"), ("chunks", "start"), ("models", "dimension")),
    *(("attempts", "id"), ("runs", "items"), ("items", "position"), ("tally", "count")),
}
_BYTES = {("vectors", "data")}
_FULL = (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory)


class PostgresDatabase(Database):
    """The hashed rows in a schema of a Postgres server.

    Args:
        folder: of the workspace on this machine.
        url: `postgresql://user:password@host:port/database`; never shown.
        name: of the schema, made by `create`.
        write: else everything is read from one snapshot, taken now.

    Raises:
        StoreUnreachable: the server does not answer, or does not let us in.
        StoreError: there is no such schema, or one of something else.
    """

    _errors = (StoreError,)

    def __init__(self, folder: Path, url: str, name: str, *, write: bool) -> None:
        super().__init__(folder, f"the Postgres schema {name}", write=write)
        self._connection = _connect(url, name)
        try:
            if not write:
                self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # The first statement takes the snapshot.
            if self.execute("SELECT to_regclass('tally')") == [(None,)]:
                raise StoreError(
                    f"the Postgres schema {name} holds no workspace, though {folder} says so",
                    "see that RAGLOOM_DATABASE_URL names the server and the database that it was made in",
                )
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def create(cls, url: str, name: str, contents: Mapping[Table, Sequence[Row]], indexes: Iterable[str] = ()) -> None:
        """Make the schema with these tables and rows, whole or not at all, unless it is there."""
        connection = _connect(url, name)
        try:
            with _translated(f"the Postgres schema {name}"), connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (name,))  # one maker at a time
                if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).fetchone():
                    return
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
                connection.execute(_create_sql(TALLY))
                for table, rows in contents.items():
                    connection.execute(_create_sql(table))
                    hashed = [hashed_row(table, row) for row in rows]
                    connection.cursor().executemany(_marked(insert_sql(table)), hashed)
                    connection.execute(_marked(insert_sql(TALLY)), tally_row(table, hashed))
                for index in indexes:
                    connection.execute(_marked(index))
        finally:
            connection.close()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Database`."""
        self._check_process()
        with self._lock, _translated(self.place):
            if self._connection.closed and not self._connection.broken:
                raise StoreError(f"{self.folder}: cannot operate on a closed database", "open the workspace again")
            cursor = self._connection.execute(_marked(statement), values or None)
            return cursor.fetchall() if cursor.description else []

    def damage(self, *, quick: bool) -> list[str]:
        """Nothing: a server checks its own pages."""
        return []

    def _execute_many(self, statement: str, rows: Sequence[Row]) -> None:
        with _translated(self.place):
            self._connection.cursor().executemany(_marked(statement), rows)

    def _each(self, statement: str) -> Iterator[Row]:
        yield from self.execute(statement)

    def _create_sql(self, table: Table) -> str:
        return _create_sql(table)

    def _begin(self, *, durable: bool) -> None:
        self.execute("BEGIN")
        self.execute(f"SET LOCAL synchronous_commit = {'on' if durable else 'off'}")
        self.execute("LOCK TABLE tally IN EXCLUSIVE MODE")  # readers go on

    def _commit(self) -> None:
        self.execute("COMMIT")

    def _roll_back(self) -> None:
        self.execute("ROLLBACK")

    def _snapshot(self) -> AbstractContextManager[None]:
        return self._of_one_moment()

    @contextmanager
    def _of_one_moment(self) -> Iterator[None]:
        if self._in_transaction or not self._write:
            yield
            return
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            self.execute("COMMIT")

    def _close(self) -> None:
        self._connection.close()


def _connect(url: str, name: str) -> psycopg.Connection[Row]:
    try:
        connection = psycopg.connect(url, autocommit=True, connect_timeout=10, application_name="ragloom")
    except psycopg.Error as error:
        raise StoreUnreachable(
            f"the Postgres server of the schema {name} cannot be used ({_first_line(error)})",
            "check the address in the environment, and that the server runs",
        ) from None  # the chain could show the address, which may hold a password
    connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(name)))
    return connection


def _create_sql(table: Table) -> str:
    columns = ", ".join(f"{column} {_type(table, column)}" for column in (*table.key, "hash", *table.values))
    return f"CREATE TABLE {table.name} ({columns}, PRIMARY KEY ({', '.join(table.key)}))"


def _type(table: Table, column: str) -> str:
    if column == "hash" or (table.name, column) in _BYTES:
        return "bytea"
    # By their code points, as SQLite orders text: order is part of what a corpus is known by.
    return "bigint" if (table.name, column) in _INTEGERS else 'text COLLATE "C"'


def _marked(statement: str) -> str:
    """The statement, one of our own, with Postgres's marks for values."""
    return statement.replace("?", "%s")


@contextmanager
def _translated(place: str) -> Iterator[None]:
    try:
        with encodable():
            yield
    except psycopg.DataError as error:
        raise InputError(
            f"{place} cannot hold a text ({_first_line(error)})", "take NUL characters out of it"
        ) from error
    except _FULL as error:
        raise StoreFull(f"{place}: the server is full ({_first_line(error)})", "make room and try again") from error
    except psycopg.errors.LockNotAvailable as error:  # the server or the address sets a limit; we wait
        raise StoreLocked(f"{place} is being written by others ({_first_line(error)})", "try again") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnreachable(
            f"{place} went away ({_first_line(error)})",
            "see that the server runs, and try again; what was saved is safe",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"{place}: the server does not allow it ({_first_line(error)})", "have the role of the address granted it"
        ) from error
    except psycopg.Error as error:
        raise StoreCorrupt(f"{place} is damaged ({_first_line(error)})", "bring it back from a backup") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
