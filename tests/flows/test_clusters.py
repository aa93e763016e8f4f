"""Batches on real clusters of this machine: a Dask scheduler with two worker processes, and Ray with two.

Slow: every worker is a process that imports Prefect.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import psutil
import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.__main__ import main
from ragloom.components.splitting import WholePassages
from ragloom.errors import ConfigError
from ragloom.flows.batch_qa import batch_qa
from ragloom.flows.clusters import Cluster, check_cluster, workers_of
from ragloom.pipelines.batch import answer_file
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("prefect_server"),
]
COUNT = 36


@contextlib.contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Dask's, ended with the block."""
    running = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def dask_worker(address: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    options = ["--no-nanny", "--no-dashboard", "--nthreads", "1"]
    return process("distributed.cli.dask_worker", address, *options, RAGLOOM_TEST_KEY="key")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def dask(postgres: str) -> Iterator[str]:
    """Address of a scheduler with two workers."""
    from distributed import Client

    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    with pytest.MonkeyPatch.context() as environment, process(*scheduler):
        environment.setenv("RAGLOOM_DATABASE_URL", postgres)  # which only new workspaces heed
        with dask_worker(address), dask_worker(address):
            with Client(address, timeout=60, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)
            environment.undo()
            yield address


@pytest.fixture
def many(tmp_path: Path) -> Path:
    file = tmp_path / "many.jsonl"
    lines = [json.dumps({"id": f"q{n}", "question": f"What is the capital of Italy, asked {n}?"}) for n in range(COUNT)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def indexed(settings: Settings, corpus: Path, workspace: Path) -> Settings:
    """Settings for a workspace of its own with the documents in it."""
    with Store.open(workspace) as store:
        index_corpus([corpus], store, splitter=WholePassages(), progress=False)
    return settings.model_copy(update={"pipeline": "single", "workspace": workspace})


def answers(file: Path) -> list[str]:
    return [re.sub(r'"seconds": [\d.e-]+', "", line) for line in file.read_text("utf-8").splitlines()]


def workers_at_work(messages: Sequence[str]) -> set[int]:
    found = (re.fullmatch(r"slice: [1-9]\d* answered by .*:(\d+)", message) for message in messages)
    return {int(match[1]) for match in found if match}


def ledger(settings: Settings) -> Counter[str]:
    """Calls by what was asked; sees that the workspace is whole, and every question done."""
    with Store.open(settings.workspace, write=False) as store:
        assert store.check() == []
        (run,) = store.runs()
        assert run.counts == {"pending": 0, "done": COUNT, "failed": 0}
        return Counter(attempt.key for attempt in store.attempts() if attempt.status == "ok")


def test_dask_answers_byte_for_byte_as_one_process_and_asks_once(
    *,
    tmp_path: Path,
    settings: Settings,
    endpoint: ScriptedEndpoint,
    corpus: Path,
    many: Path,
    dask: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    alone = indexed(settings, corpus, tmp_path / "alone")
    answer_file(alone, many, tmp_path / "alone.jsonl", progress=False)
    shared = indexed(settings, corpus, tmp_path / "shared")
    result = batch_qa(
        str(many), shared, out=str(tmp_path / "dask.jsonl"), slice_size=12, cluster=Cluster("dask", dask, 2)
    )
    assert (result["answered"], result["usage"]["calls"], endpoint.count) == (COUNT, COUNT, 2 * COUNT)
    assert answers(tmp_path / "dask.jsonl") == answers(tmp_path / "alone.jsonl")
    assert set(ledger(shared).values()) == {1}
    pids = workers_at_work([record.getMessage() for record in caplog.records])
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_workers_write_a_workspace_in_postgres_themselves(
    *,
    settings: Settings,
    endpoint: ScriptedEndpoint,
    many: Path,
    dask: str,
    postgres: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("RAGLOOM_DATABASE_URL", postgres)
    tight = settings.model_copy(update={"max_calls": COUNT})
    result = batch_qa(str(many), tight, slice_size=12, cluster=Cluster("dask", dask, 2))
    assert (result["done"], result["stopped"], endpoint.count) == (COUNT, "", COUNT)
    assert set(ledger(settings).values()) == {1}
    assert len(workers_at_work([record.getMessage() for record in caplog.records])) == 2


def test_a_killed_worker_loses_and_doubles_nothing(
    settings: Settings, endpoint: ScriptedEndpoint, many: Path, dask: str, caplog: pytest.LogCaptureFixture
) -> None:
    from distributed import Client

    with dask_worker(dask) as victim:
        with Client(dask, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)

        def answer(prompt: str) -> str:
            with contextlib.suppress(psutil.NoSuchProcess):
                asked_by = psutil.Process(victim.pid).net_connections()
                if any(one.raddr and one.raddr.port == endpoint.port for one in asked_by):
                    victim.kill()
            return "Rome"

        endpoint.answer = answer
        result = batch_qa(str(many), settings, slice_size=12, cluster=Cluster("dask", dask, 3))
        assert victim.wait() != 0  # it did have a slice
    assert (result["answered"], result["done"]) == (COUNT, COUNT)
    assert set(ledger(settings).values()) == {1}
    assert COUNT < endpoint.count <= COUNT + 12  # the calls of the dead worker, of which nobody else knows
    assert victim.pid not in workers_at_work([record.getMessage() for record in caplog.records])


def test_ray_answers_byte_for_byte_as_one_process_and_asks_once(
    *,
    tmp_path: Path,
    settings: Settings,
    endpoint: ScriptedEndpoint,
    many: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)  # else it is written into the user's home
    alone = settings.model_copy(update={"workspace": tmp_path / "alone"})
    answer_file(alone, many, tmp_path / "alone.jsonl", progress=False)
    endpoint.delay_s = 0.2  # so that one worker is not through before the other has begun
    out = tmp_path / "ray.jsonl"
    result = batch_qa(str(many), settings, out=str(out), slice_size=12, cluster=Cluster("ray", workers=2))
    assert (result["answered"], endpoint.count) == (COUNT, 2 * COUNT)
    assert answers(out) == answers(tmp_path / "alone.jsonl")
    assert set(ledger(settings).values()) == {1}
    assert len(workers_at_work([record.getMessage() for record in caplog.records])) == 2
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_an_address_at_which_nothing_answers_is_named() -> None:
    port = free_port()
    with pytest.raises(ConfigError, match=rf"nothing answers at tcp://127.0.0.1:{port}"):
        check_cluster(Cluster("dask", f"tcp://127.0.0.1:{port}"))


def test_something_else_than_a_scheduler_is_named(endpoint: ScriptedEndpoint) -> None:
    address = f"tcp://127.0.0.1:{endpoint.port}"
    with (
        pytest.raises(ConfigError, match=rf"what answers at {address} is no scheduler"),
        workers_of(Cluster("dask", address)),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["batch", "--cluster", "tcp://127.0.0.1:1"], "a cluster needs its kind"),
        (["batch", "--on", "dask", "--cluster", "nowhere"], "'nowhere' is no address"),
        (["evaluate", "--on", "ray"], "evaluate runs on this machine only"),
    ],
)
def test_options_of_clusters_that_cannot_work_are_refused_before_prefect_starts(
    options: list[str], problem: str, many: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = options
    assert main(["flow", name, str(many), *rest]) == ConfigError.exit_code
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("address", ["nonsense", "tcp://host", "tcp://host:many"])
def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(ConfigError, match=f"'{address}' is no address of a cluster"):
        check_cluster(Cluster("ray", address))


def test_workers_elsewhere_need_a_prefect_server_that_they_reach() -> None:
    with pytest.raises(ConfigError, match="report to Prefect's server, and this one answers on this machine only"):
        check_cluster(Cluster("dask", "tcp://192.0.2.1:8786"))


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_an_extra_that_is_not_installed_is_named(name: Literal["dask", "ray"], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"prefect_{name}", None)  # which is how Python notes that there is none
    monkeypatch.delitem(sys.modules, f"prefect_{name}.task_runners", raising=False)
    with pytest.raises(ConfigError, match=re.escape(f"pip install 'ragloom[{name}]'")):
        check_cluster(Cluster(name))
