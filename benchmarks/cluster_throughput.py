"""How much faster four Dask workers answer a batch than one, with an endpoint that takes 500 ms a reply.

    python benchmarks/cluster_throughput.py --questions 500 --delay-ms 500 --threads 1

The scheduler, its workers and the endpoint are processes of this machine, started before the clock; a small batch first
has each worker import what it needs. The flow reports to a Prefect server as in use. The time is that of the run: from
when the slices are cut until the last answer is in the workspace.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from distributed import Client

from ragloom.flows.batch_qa import batch_qa
from ragloom.flows.clusters import Cluster
from ragloom.flows.connecting import connected
from ragloom.pipelines.settings import Settings

ENDPOINT = Path(__file__).parents[1] / "tests" / "support" / "scripted_endpoint.py"


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@contextlib.contextmanager
def dask(workers: int) -> Iterator[str]:
    """Address of a scheduler with so many workers of one thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    worker = ["-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard", "--nthreads", "1"]
    with contextlib.ExitStack() as started:
        started.enter_context(process(*scheduler))
        for _ in range(workers):
            started.enter_context(process(*worker))
        with Client(address, timeout=120, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=120)
        yield address


def seconds(workers: int, arguments: argparse.Namespace, base_url: str, folder: Path) -> float:
    settings = Settings(
        pipeline="closed-book",
        model="scripted",
        base_url=base_url,
        api_key_env="RAGLOOM_TEST_KEY",
        workers=arguments.threads,
    )
    with dask(workers) as address:
        for name, count in (("warm", 12 * workers), ("batch", arguments.questions)):
            questions = folder / f"{name}-{workers}.jsonl"
            lines = [json.dumps({"id": str(n), "question": f"What is {n}?"}) for n in range(count)]
            questions.write_text("\n".join(lines), encoding="utf-8")
            result = batch_qa(
                str(questions),
                settings.model_copy(update={"workspace": folder / f"{name}-{workers}"}),
                slice_size=12 if name == "warm" else arguments.slice_size,
                cluster=Cluster("dask", address, workers),
            )
            assert result["done"] == count, result
    return float(result["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--delay-ms", type=float, default=500.0)
    parser.add_argument("--threads", type=int, default=1, help="questions under way on a worker")
    parser.add_argument("--slice-size", type=int, default=25)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    os.environ["RAGLOOM_TEST_KEY"] = "key"
    with (
        tempfile.TemporaryDirectory() as folder,
        process(str(ENDPOINT), "--delay-ms", str(arguments.delay_ms)) as server,
    ):
        assert server.stdout is not None
        base_url = server.stdout.readline().decode().strip()
        with connected():
            taken = [seconds(count, arguments, base_url, Path(folder)) for count in arguments.workers]
    print(
        f"{arguments.questions} questions, {arguments.delay_ms:g} ms a call, {arguments.threads} at a time on a worker"
    )
    for count, time in zip(arguments.workers, taken, strict=True):
        ideal = arguments.questions * arguments.delay_ms / 1000 / count / arguments.threads
        print(f"{count} workers: {time:.1f} s, ideal {ideal:.1f} s; {taken[0] / time:.2f} times {arguments.workers[0]}")
    print(f"load of the machine: {os.getloadavg()[1]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
