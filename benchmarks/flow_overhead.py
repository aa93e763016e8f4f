"""What Prefect adds to a batch: `ragloom batch` against `ragloom flow batch` on a running server, each a process.

    python benchmarks/flow_overhead.py                        500 questions, half a second a reply, 16 at a time
    python benchmarks/flow_overhead.py --questions 100 --delay-ms 0 --embedded

The two take turns, since the machine may have other work. With `--embedded` each flow starts a server of its own.
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from scripted_endpoint import ScriptedEndpoint


def run(command: list[str], folder: Path, workspace: str, options: list[str], url: str | None) -> tuple[float, ...]:
    """Seconds of the process, of its processor time, and of the batch within it."""
    environment = os.environ | {"PREFECT_HOME": str(folder / "prefect")}
    environment |= {} if url is None else {"PREFECT_API_URL": url}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ragloom", *command, "questions.jsonl", "--json", f"--workspace={workspace}", *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, busy, json.loads(done.stdout)["seconds"]


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A Prefect server that stays for all rounds; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, "--no-ui"], env=environment, stdout=log, stderr=log)
    try:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--delay-ms", type=int, default=500)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embedded", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ScriptedEndpoint(delay_s=arguments.delay_ms / 1000) as endpoint:
        folder = Path(name)
        lines = [json.dumps({"question": f"What is {number}?"}) for number in range(arguments.questions)]
        (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")
        options = ["--pipeline=closed-book", "--model=scripted", f"--base-url={endpoint.base_url}"]
        options.append(f"--workers={arguments.workers}")
        if arguments.embedded:
            compare(arguments.rounds, folder, options, None)
        else:
            with server(folder) as url:
                compare(arguments.rounds, folder, options, url)


def compare(rounds: int, folder: Path, options: list[str], url: str | None) -> None:
    """Print the medians of each way, and what the flow adds."""
    measured: dict[str, list[tuple[float, ...]]] = {"batch": [], "flow batch": []}
    run(["flow", "batch"], folder, "warm", options, url)  # makes the database
    for number in range(rounds):
        for command, results in measured.items():
            results.append(run(command.split(), folder, f"{command[0]}{number}", options, url))
            print(f"ragloom {command}:", *(f"{value:.1f}" for value in results[-1]), flush=True)
    print(f"seconds: process, of which processor, batch within it (medians of {rounds})")
    medians = {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in measured.items()}
    for name, values in medians.items():
        print(f"ragloom {name:10}", *(f"{value:7.1f}" for value in values))
    plain, flow = medians["batch"], medians["flow batch"]
    print("added by Prefect  ", *(f"{100 * (b / a - 1):6.1f}%" for a, b in zip(plain, flow, strict=True)))


if __name__ == "__main__":
    main()
