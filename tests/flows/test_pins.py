"""The caps on fastapi and sqlalchemy in pyproject.toml: needed as long as these tests pass, and enough."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import requires, version
from pathlib import Path
from typing import TypeVar

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterStartTime
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings
from scripted_endpoint import ScriptedEndpoint

from ragloom.pipelines.settings import Settings

T = TypeVar("T")


def test_prefect_still_allows_a_fastapi_that_its_server_does_not_start_with():
    (fastapi,) = (found for found in map(Requirement, requires("prefect") or ()) if found.name == "fastapi")
    assert fastapi.specifier.contains("0.151"), "prefect caps fastapi itself: take the pin out of pyproject.toml"


def test_prefect_still_allows_a_sqlalchemy_that_it_schedules_nothing_with():
    assert Version(version("prefect")) < Version("3.9"), (
        "prefect 3.9 schedules with sqlalchemy 2.1: require it and take the pin out of pyproject.toml"
    )


@pytest.mark.slow  # a real server, the command line and scheduled runs, each a process that imports prefect
@pytest.mark.timeout(400)
def test_flows_are_killed_run_and_scheduled_with_a_real_server(
    tmp_path: Path, settings: Settings, endpoint: ScriptedEndpoint, questions: Path
):
    with server(tmp_path / "prefect") as (url, environment), temporary_settings({PREFECT_API_URL: url}):
        command = [
            *(sys.executable, "-m", "ragloom", "flow", "batch", questions.name, "--workspace", "workspace"),
            *("--pipeline", settings.pipeline, "--model", settings.model, "--base-url", str(settings.base_url)),
            *("--workers", "1", "--out", "answers.jsonl"),
        ]
        endpoint.script = ["ok", "hang"]
        with running(command, environment, cwd=tmp_path) as killed:
            wait(lambda: endpoint.count == 2 or killed.poll() is not None, "the second question")
        assert flow_states() == ["Running"]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        assert "3 answered (2 now)" in ran.stdout
        assert flow_states() == ["Crashed", "Completed"]
        assert endpoint.count == 4  # the one under way was asked again
        answers = tmp_path / "answers.jsonl"
        answers.unlink()
        # The sixth field of an expression are seconds, which nobody needs but a test.
        with running([*command, "--cron", "* * * * * */5"], environment, cwd=tmp_path) as serving:
            wait(lambda: flow_states()[2:] == ["Completed"] * 2, "two scheduled runs", poll_s=1)
            serving.terminate()
            assert serving.wait(timeout=60) == 0
        assert answers.read_text(encoding="utf-8").count('"done"') == 3
        assert endpoint.count == 4
    with pytest.raises(ConnectionRefusedError):  # no server is left behind
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2].removesuffix("/api"))))


def flow_states() -> list[str | None]:
    """States of the flow runs that have begun, the first first."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(start_time=FlowRunFilterStartTime(is_null_=False)),
            sort=FlowRunSort.START_TIME_ASC,
        )
    return [run.state_name for run in runs]


@contextmanager
def server(home: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A Prefect server with its own home: its URL and the environment of its clients."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    start = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with running(start, environment, cwd=home.parent), temporary_settings({PREFECT_API_URL: url}):
        with get_client(sync_client=True) as client:
            wait(lambda: client.api_healthcheck() is None, "the server")
        yield url, environment


@contextmanager
def running(command: list[str], environment: dict[str, str], *, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended at the end, with all that it started."""
    with (cwd / f"{command[3]}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait(look: Callable[[], T], what: str, *, seconds: float = 120, poll_s: float = 0.25) -> T:
    """What is found, once it is something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"{what} did not come within {seconds:.0f} s"
        time.sleep(poll_s)
    return found
