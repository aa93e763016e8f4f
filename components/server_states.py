"""The folder through which a local server and its client hand over what the model made of a prompt.

It is private, since the native code believes what it reads there. It goes with its server, or where the client was
killed, when the next one is made.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from ragloom.errors import LLMError, StoreError
from ragloom.lease import Lease

_PREFIX = "ragloom-states-"
_LOCK = "lock"
_SETTLED_S = 60.0  # a younger folder without a lock may be about to get it


class StateFolder:
    """A folder in the system's temporary folder, of this process as long as it lives. Use `make`."""

    def __init__(self, path: Path, lease: Lease | None) -> None:
        self.path = path
        self._lease = lease

    @classmethod
    def make(cls) -> StateFolder:
        """A new folder; those that killed processes left behind are removed."""
        _sweep()
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lease = None
        with suppress(StoreError):  # a file system without locks: after a kill the folder stays
            lease = Lease.take(path / _LOCK, timeout_s=0)
        return cls(path, lease)

    def take(self, name: str, file: Path) -> None:
        """Move a state that the server wrote under that name into a file.

        Raises:
            LLMError: it cannot be moved there.
        """
        written = self.path / name
        try:
            shutil.move(written, file)
        except OSError as error:
            written.unlink(missing_ok=True)
            raise _not_handed_over(file, error) from error

    @contextmanager
    def hand(self, file: Path) -> Iterator[str]:
        """The name under which the server finds the file, within the context.

        Raises:
            LLMError: the file cannot be put there.
        """
        place = self.path / uuid4().hex
        try:
            try:
                place.symlink_to(file.absolute())
            except OSError:  # where only administrators may
                shutil.copyfile(file, place)
        except OSError as error:
            raise _not_handed_over(file, error) from error
        try:
            yield place.name
        finally:
            place.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lease is not None:
            self._lease.release()


def _sweep() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, StoreError):  # another user's, gone meanwhile, or in use
            if time.time() - folder.stat().st_mtime > _SETTLED_S:
                StateFolder(folder, Lease.take(folder / _LOCK, timeout_s=0)).remove()


def _not_handed_over(file: Path, error: OSError) -> LLMError:
    return LLMError(
        f"the state of the local model cannot be handed over by {file}: {error}",
        "check that the disk has room, and that nothing cleans the temporary folder of folders in use",
    )
