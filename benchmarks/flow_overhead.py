"""What Prefect adds to a batch of 100 questions: `ragloom batch` against `ragloom flow batch`, each a process.

The model answers at once. `python benchmarks/flow_overhead.py`
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from scripted_endpoint import ScriptedEndpoint

QUESTIONS, ROUNDS = 100, 5


def run(command: list[str], folder: Path, workspace: str, base_url: str) -> tuple[float, float]:
    """Seconds of the process, and of the batch within it."""
    options = ["--pipeline", "closed-book", "--model", "scripted", "--base-url", base_url, "--workspace", workspace]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ragloom", *command, "questions.jsonl", "--json", *options],
        cwd=folder,
        env=os.environ | {"PREFECT_HOME": str(folder / "prefect")},
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - begun, json.loads(done.stdout)["seconds"]


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ScriptedEndpoint() as endpoint:
        folder = Path(name)
        lines = [json.dumps({"question": f"What is {number}?"}) for number in range(QUESTIONS)]
        (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")
        first, _ = run(["flow", "batch"], folder, "first", endpoint.base_url)
        print(f"{QUESTIONS} questions, seconds: process / batch (median of {ROUNDS})")
        print(f"{'ragloom flow, first':22} {first:6.1f}")
        for command in (["batch"], ["flow", "batch"]):
            rounds = [run(command, folder, f"{command[0]}{number}", endpoint.base_url) for number in range(ROUNDS)]
            process, batch = (median(column) for column in zip(*rounds, strict=True))
            print(f"{'ragloom ' + command[0]:22} {process:6.1f} / {batch:.1f}")


if __name__ == "__main__":
    main()
