"""Prefect for tests: a home folder of its own, and one embedded server for the whole session.

To be imported before Prefect is, which reads its settings then: from the home and environment of the user, if not told
otherwise.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_home = tempfile.TemporaryDirectory(prefix="ragloom-prefect-")
for name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[name]
os.environ["PREFECT_HOME"] = _home.name

from prefect.logging.configuration import setup_logging  # noqa: E402
from prefect.testing.utilities import prefect_test_harness  # noqa: E402


@contextmanager
def prefect_server() -> Iterator[None]:
    """Prefect uses an embedded server inside the `with`."""
    with prefect_test_harness(server_startup_timeout=120):
        setup_logging()  # its console keeps the stderr of now: that of a test with capsys would be closed for the next
        yield
