"""One writer per workspace: a lock that the operating system takes back when its holder dies, however it dies."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from ragloom.errors import StoreError, StoreLocked

POLL_S = 0.05
_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # a byte past the text, so that others can read who holds it
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class Lease:
    """An exclusive lock on a file, held from construction by `take` until `release`, or until the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pid = os.getpid()

    @classmethod
    def take(cls, path: Path, *, timeout_s: float) -> Lease:
        """The lock on the file, waiting for it up to the timeout.

        Raises:
            StoreLocked: another holder kept it; the message names process, host and time.
            StoreError: the file system has no locks.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _wait(descriptor, path, time.monotonic() + timeout_s)
            holder = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": datetime.now(UTC).isoformat("T", "seconds"),
            }
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps(holder).encode())
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Give the lock back. In a forked child it stays with the parent."""
        if self._pid == os.getpid():
            _unlock(self._descriptor)
        os.close(self._descriptor)


def _wait(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            return _lock(descriptor)
        except OSError as error:
            if error.errno not in _HELD:
                raise StoreError(
                    f"the file system under {path} cannot lock files ({error.strerror})",
                    "keep the workspace on a local disk",
                ) from error
        if time.monotonic() >= deadline:
            raise StoreLocked(
                f"the workspace {path.parent} is being written by {_holder(path)}",
                "wait until it has finished, or stop it",
            )
        time.sleep(POLL_S)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it has the lock and is about to write who it is
