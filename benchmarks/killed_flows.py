"""Kill the flow, its worker or Prefect's server in the middle of a batch, again and again, and count what became of it.

    python benchmarks/killed_flows.py --kills 5

Nothing may be lost or doubled: after the same command or deployment has run again, each question has one answer. What
is asked a second time are calls that were under way, and they stand in the ledger. The endpoint counts the requests.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings
from scripted_endpoint import ScriptedEndpoint

from ragloom.store import Store

QUESTIONS, WORKERS = 60, 4
PYTHON = (sys.executable, "-m")


class Scene:
    """A folder with questions, an endpoint, and a Prefect server of its own."""

    def __init__(self, folder: Path, endpoint: ScriptedEndpoint) -> None:
        self.folder, self.endpoint = folder, endpoint
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = os.environ | {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "DO_NOT_TRACK": "1",
        }
        lines = [json.dumps({"id": f"q{number}", "question": f"What is {number}?"}) for number in range(QUESTIONS)]
        (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")
        self.settings = {
            "pipeline": "closed-book",
            "model": "scripted",
            "base_url": endpoint.base_url,
            "workers": WORKERS,
        }

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """A Python module as a process, its output in the log."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen([*PYTHON, *command], cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def run(self, *command: str) -> None:
        """A Python module that has to succeed."""
        done = self.start(*command).wait()
        assert done == 0, f"{command} ended with {done}:\n{(self.folder / 'log').read_text()[-3000:]}"

    def server(self) -> subprocess.Popen[bytes]:
        """Prefect's server, once it listens."""
        process = self.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port), "--no-ui")
        until(lambda: listens(self.port))
        return process

    def flow(self) -> subprocess.Popen[bytes]:
        """`ragloom flow batch` on the present workspace."""
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self.settings.items()]
        return self.start("ragloom", "flow", "batch", "questions.jsonl", f"--workspace={self.workspace}", *options)

    def deploy(self) -> None:
        """Deploy the flow on the present workspace, for the work pool."""
        deployment = {
            "name": "killed",
            "entrypoint": "ragloom.flows.batch_qa:batch_qa",
            "parameters": {
                "questions": "questions.jsonl",
                "settings": self.settings | {"workspace": self.workspace},
            },
            "work_pool": {"name": "killed"},
        }
        (self.folder / "prefect.yaml").write_text(json.dumps({"deployments": [deployment]}), encoding="utf-8")
        self.run("prefect", "--no-prompt", "deploy", "--all")

    def begin(self, workspace: str) -> None:
        """Let the endpoint begin to count for a workspace of its own."""
        self.workspace = workspace
        self.endpoint.requests.clear()

    def asked(self, more_than: int) -> None:
        """Wait until the endpoint has been asked that often."""
        until(lambda: self.endpoint.count > more_than)

    def outcome(self) -> dict[str, Any]:
        """What the workspace and the endpoint say once the batch is done."""
        with Store.open(self.folder / self.workspace, write=False) as store:
            (run,) = store.runs()
            ledger = Counter(attempt.status for attempt in store.attempts(run_id=run.id))
            problems = store.check()
        requests = Counter(request.prompt for request in self.endpoint.requests)
        return {
            "done": run.counts["done"],
            "lost": QUESTIONS - len(requests),
            "asked again": sum(requests.values()) - len(requests),
            "open in the ledger": ledger["open"],
            "problems": problems,
        }

    def states(self) -> list[str]:
        """The states of the flow runs on the present workspace, the first first."""
        with temporary_settings({PREFECT_API_URL: self.url}), get_client(sync_client=True) as client:
            runs = client.read_flow_runs(sort=FlowRunSort.START_TIME_ASC, limit=200)
        return [str(run.state_name) for run in runs if run.parameters["settings"]["workspace"] == self.workspace]

    def unfinished(self) -> set[str]:
        """States of flow runs that may still change."""
        return set(self.states()) - {"Completed", "Crashed", "Failed"}

    def flow_pid(self) -> int:
        """The process of the flow run, as the workspace knows it."""
        (file,) = (self.folder / self.workspace / "flow-runs").iterdir()
        return int(json.loads(file.read_text(encoding="utf-8"))["pid"])

    def is_done(self) -> bool:
        """Whether all questions are answered."""
        with Store.open(self.folder / self.workspace, write=False) as store:
            return [run.counts["done"] for run in store.runs()] == [QUESTIONS]


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def until(true: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@contextmanager
def serving(scene: Scene) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    running = {"server": scene.server()}
    try:
        yield running
    finally:
        for process in running.values():
            kill(process)


# ---- What is killed


def kill_flow(scene: Scene, running: dict[str, subprocess.Popen[bytes]], moment: int) -> str:
    """The process of `ragloom flow batch`; the same command again."""
    flow = scene.flow()
    scene.asked(moment)
    kill(flow)
    again = scene.flow()
    assert again.wait() == 0
    return ", ".join(scene.states())


def kill_server(scene: Scene, running: dict[str, subprocess.Popen[bytes]], moment: int) -> str:
    """Prefect's server; it is started again, and the same command, if the flow did not get through."""
    flow = scene.flow()
    scene.asked(moment)
    kill(running["server"])
    time.sleep(random.uniform(0, 5))
    running["server"] = scene.server()
    code = flow.wait()
    if code != 0:
        assert scene.flow().wait() == 0
    return ", ".join(scene.states())


def kill_worker(scene: Scene, running: dict[str, subprocess.Popen[bytes]], moment: int) -> str:
    """The process of `prefect worker start` alone; a new worker, and the deployment again."""
    return by_worker(scene, moment, lambda worker: [worker])


def kill_both(scene: Scene, running: dict[str, subprocess.Popen[bytes]], moment: int) -> str:
    """The worker and the flow that it started, as when a machine goes down."""
    return by_worker(scene, moment, lambda worker: [worker, scene.flow_pid()])


def by_worker(scene: Scene, moment: int, victims: Callable[[int], list[int]]) -> str:
    """Kill while a worker runs the deployment, then have a new worker run it again."""
    scene.deploy()
    worker = scene.start("prefect", "worker", "start", "--pool", "killed")
    scene.run("prefect", "deployment", "run", "batch-qa/killed")
    scene.asked(moment)
    for pid in victims(worker.pid):
        os.kill(pid, signal.SIGKILL)
    worker.wait()
    new = scene.start("prefect", "worker", "start", "--pool", "killed")
    scene.run("prefect", "deployment", "run", "batch-qa/killed")
    until(scene.is_done)
    until(lambda: not scene.unfinished())
    kill(new)
    return ", ".join(scene.states())


KINDS = {"flow": kill_flow, "server": kill_server, "worker": kill_worker, "worker and flow": kill_both}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=5, help="of each kind")
    parser.add_argument("--kind", choices=KINDS, action="append")
    arguments = parser.parse_args()
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as name, ScriptedEndpoint(delay_s=0.3) as endpoint:
        scene = Scene(Path(name), endpoint)
        with serving(scene) as running:
            scene.run("prefect", "work-pool", "create", "--type", "process", "killed")
            for kind in arguments.kind or KINDS:
                for number in range(arguments.kills):
                    scene.begin(f"{kind}{number}")
                    moment = moments.randrange(1, QUESTIONS - WORKERS)
                    remark = KINDS[kind](scene, running, moment)
                    print(kind, number, f"killed after {moment} requests:", scene.outcome(), remark, flush=True)


if __name__ == "__main__":
    main()
