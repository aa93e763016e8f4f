"""Prefect's server for the time of a command, as a process that ends with its parent, however that ends.

Prefect starts such a server by itself where it knows of none, and leaves it behind when its parent is killed. So here
the server reads its stdin, which ends when the parent does. `python -m ragloom.flows.embedded_server`
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from ragloom.errors import RagloomError

_ENDED_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_SECONDS_TO_END = 10  # for writing what the last flow run sent


@contextmanager
def embedded_server() -> Iterator[str]:
    """The URL of a server that Prefect uses inside the `with`, with the history in `PREFECT_HOME`.

    Raises:
        RagloomError: it did not start.
    """
    process = subprocess.Popen(  # noqa: S603 - this module
        [sys.executable, "-P", "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | get_current_settings().to_environment_variables(exclude_unset=True) | _AS_EMBEDDED,
        start_new_session=True,  # Ctrl-C is for the flow, which still has to tell the server how it ended
    )
    try:
        with temporary_settings({PREFECT_API_URL: (url := _url_of(process))}):
            yield url
    finally:
        for worker in (APILogWorker, EventsWorker):  # what they have yet to send, there would be nobody to take
            worker.drain_all(timeout=_SECONDS_TO_END)
        _end(process)


_AS_EMBEDDED = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


def _url_of(process: subprocess.Popen[str]) -> str:
    """What the server says once it listens."""
    seconds = get_current_settings().server.ephemeral.startup_timeout_seconds
    too_late = threading.Timer(seconds, process.kill)
    too_late.start()
    try:
        assert process.stdout is not None  # noqa: S101 - for mypy
        url = process.stdout.readline().strip()
    finally:
        too_late.cancel()
    if not url:
        raise RagloomError(
            f"Prefect's embedded server did not start within {seconds} s, or ended (code {process.wait()})",
            "raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, or use `ragloom batch`, which needs no server",
        )
    return url


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None  # noqa: S101 - for mypy
    assert process.stdout is not None  # noqa: S101 - the same
    process.stdin.close()
    try:
        process.wait(timeout=2 * _SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


# ---- In the process


def _run() -> None:
    """Serve until stdin ends."""
    import uvicorn

    if sys.platform == "linux":
        import ctypes
        import signal

        # stdin stays open where a fork of the parent lives on
        ctypes.CDLL(None).prctl(_ENDED_WITH_PARENT, signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as listener, os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)  # whatever else is printed belongs into the log
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"

        class Announcing(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                answer.write(url + "\n")
                answer.flush()

        app = "prefect.server.api.server:create_app"
        server = Announcing(uvicorn.Config(app, factory=True, log_level="error", lifespan="on"))
        threading.Thread(target=_end_with_input, args=[server], daemon=True).start()
        server.run(sockets=[listener])


def _end_with_input(server: object) -> None:
    os.read(0, 1)  # not sys.stdin: its lock would be held when the interpreter ends
    vars(server)["should_exit"] = True
    threading.Event().wait(_SECONDS_TO_END)
    os._exit(1)


if __name__ == "__main__":
    _run()
