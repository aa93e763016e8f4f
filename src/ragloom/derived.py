"""Files built from the stored rows, such as search indexes: hashed, verified before use, rebuilt when in doubt."""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from hashlib import blake2b, file_digest
from pathlib import Path
from threading import RLock
from typing import Any
from uuid import uuid4

from ragloom import schema
from ragloom.errors import StoreCorrupt, StoreFull, StoreLocked
from ragloom.lease import Lease
from ragloom.sqlite import sync
from ragloom.tables import Database, Row

Build = Callable[[Path], None]
Update = Callable[[Path, Path], None]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LONGEST_BUILD_S = 24 * 3600.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DerivedFiles:
    """The folder `derived` of a workspace and the table that vouches for it.

    A build is made in a folder of its own, brought to the disk, renamed, and only then entered in the table. Whatever
    the table does not vouch for is a leftover of a process that died, or of damage, and is never read.

    Args:
        folder: `derived`.
        database: holds the table.
        writable: else they are built in a temporary folder.
        lock: a file to hold while building, where several processes build in the folder.
    """

    def __init__(self, folder: Path, database: Database, *, writable: bool, lock: Path | None = None) -> None:
        self._folder = folder
        self._file_lock = lock
        self._database = database
        self._writable = writable
        self._lock = RLock()  # one build at a time; it may ask for another one that it needs
        self._session = ExitStack()
        self._temporary: dict[tuple[str, str, str], Path] = {}

    def get(
        self,
        name: str,
        parameters: Mapping[str, Any],
        corpus: str,
        build: Build,
        *,
        update: Update | None = None,
        made_from: str = "",
    ) -> Path:
        """The folder of that name, parameters and state of the data; see `Store.derived`."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"the name of derived files is lower-case letters, digits, - and _, got {name!r}")
        key = (name, json.dumps(parameters, sort_keys=True))
        state = (corpus, made_from)
        with self._lock:
            if (*key, made_from) in self._temporary:
                return self._temporary[*key, made_from]
            if self._file_lock is None or not self._writable:
                return self._current(key, state, build, update)
            row = self._row(key)
            if row is not None and row[2] == _stored(*state) and (found := self._verified(row)):
                return found
            with self._alone():  # another process may have built it when our turn comes
                return self._current(key, state, build, update)

    def _current(self, key: tuple[str, str], state: tuple[str, str], build: Build, update: Update | None) -> Path:
        row = self._row(key)
        if row is not None and row[2] == _stored(*state):
            return self._verified(row) or self._make(key, *state, build)
        if row is not None and update is not None and (previous := self._verified(row)):
            build = partial(_from_previous, update, previous)
        return self._make(key, *state, build)

    @contextmanager
    def _alone(self, *, timeout_s: float = _LONGEST_BUILD_S) -> Iterator[None]:
        """The only process that builds in the folder."""
        if self._file_lock is None:
            yield
            return
        lease = Lease.take(self._file_lock, timeout_s=timeout_s)
        try:
            yield
        finally:
            lease.release()

    def sweep(self) -> None:
        """Remove what no row vouches for; where processes share the folder, unless one of them is building now."""
        with suppress(StoreLocked), self._alone(timeout_s=0):
            self._sweep()

    def _sweep(self) -> None:
        try:
            known = {row[3] for row in self._database.all_rows(schema.DERIVED)}
        except StoreCorrupt as damage:
            _log.warning("%s; all derived files will be rebuilt", damage.problem)
            with self._database.transaction(durable=True) as database:
                database.clear(schema.DERIVED)
            known = set()
        if self._folder.exists():
            for leftover in self._folder.iterdir():
                if leftover.name not in known:
                    _remove(leftover)

    def problems(self) -> list[str]:
        """Rows whose files are not what was built."""
        return [
            f"derived files {name}: {self._folder / folder} is damaged; it is rebuilt when it is next used"
            for name, _, _, folder, files in self._database.all_rows(schema.DERIVED)
            if not _intact(self._folder / folder, files)
        ]

    def close(self) -> None:
        """Remove the folders made for a store that cannot be written, and close a database of the folder's own."""
        self._session.close()
        if self._file_lock is not None:
            self._database.close()

    def _row(self, key: tuple[str, str]) -> Row | None:
        """The row of that key, from whatever state of the data."""
        try:
            return self._database.row(schema.DERIVED, *key)
        except StoreCorrupt as damage:
            _log.warning("%s; rebuilding", damage.problem)
            return None

    def _verified(self, row: Row) -> Path | None:
        """The row's folder, if its files are what was built."""
        folder: Path = self._folder / row[3]
        if _intact(folder, row[4]):
            return folder
        _log.warning("the derived files %s are damaged; rebuilding", folder)
        return None

    def _make(self, key: tuple[str, str], corpus: str, made_from: str, build: Build) -> Path:
        name = key[0]
        if not self._writable:
            place = Path(self._session.enter_context(tempfile.TemporaryDirectory(prefix=f"ragloom-{name}-")))
            with _full_disk(place):
                build(place)
            self._temporary[*key, made_from] = place
            return place
        place = self._folder / f"{name}-{uuid4().hex}"
        unfinished = self._folder / f"unfinished-{uuid4().hex}"
        try:
            with _full_disk(self._folder):
                unfinished.mkdir(mode=0o700, parents=True)
                sync(self._folder.parent)
                build(unfinished)
                files = _settle(unfinished)
                unfinished.rename(place)
                sync(self._folder)
        finally:
            _remove(unfinished)
        self._enter((*key, _stored(corpus, made_from), place.name, files), corpus)
        return place

    def _enter(self, row: Row, corpus: str) -> None:
        """Vouch for a build, and then drop the one it replaces and those of that name from another corpus."""
        name, parameters, *_ = row
        with self._database.transaction(durable=True) as database:
            of_name = database.rows(schema.DERIVED, "name = ?", (name,))
            old = [other for other in of_name if other[1] == parameters or not other[2].startswith(corpus)]
            for superseded in old:
                database.delete(schema.DERIVED, *superseded[:2])
            database.insert(schema.DERIVED, [row])
        for superseded in old:
            _remove(self._folder / superseded[3])


def _stored(corpus: str, made_from: str) -> str:
    """The state of the data as its row has it."""
    return f"{corpus} {made_from}" if made_from else corpus


def _from_previous(update: Update, previous: Path, folder: Path) -> None:
    update(folder, previous)


@contextmanager
def _full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"the disk under {folder} is full ({error.strerror})", "make room and try again") from error
        raise


def _settle(folder: Path) -> str:
    """Bring all files to the disk; returns their hashes by relative path, as JSON."""
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        sync(path)
    sync(folder)
    return json.dumps(_hashes(folder))


def _hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            with path.open("rb") as file:
                hashes[path.relative_to(folder).as_posix()] = file_digest(
                    file, lambda: blake2b(digest_size=16)
                ).hexdigest()
    return hashes


def _intact(folder: Path, files: str) -> bool:
    try:
        return folder.is_dir() and _hashes(folder) == json.loads(files)
    except OSError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # what stays behind is swept the next time
    else:
        path.unlink(missing_ok=True)
