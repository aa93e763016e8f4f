"""How near a batch comes to the ideal throughput of a slow endpoint, with everything on: budget, ledger, kept replies.

    python benchmarks/batch_throughput.py --workers 32 --delay-ms 500 --questions 640

The endpoint is the tests' loopback server in a process of its own; the ideal is questions x delay / workers.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ragloom.pipelines.batch import answer_file
from ragloom.pipelines.settings import Settings

ENDPOINT = Path(__file__).parents[1] / "tests" / "support" / "scripted_endpoint.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--delay-ms", type=float, default=500.0)
    parser.add_argument("--questions", type=int, default=640)
    arguments = parser.parse_args()
    ideal = arguments.questions * arguments.delay_ms / 1000 / arguments.workers
    server = subprocess.Popen(
        [sys.executable, str(ENDPOINT), "--delay-ms", str(arguments.delay_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    base_url = server.stdout.readline().decode().strip()
    os.environ["RAGLOOM_TEST_KEY"] = "key"
    try:
        with tempfile.TemporaryDirectory() as folder:
            questions = Path(folder) / "questions.jsonl"
            lines = [json.dumps({"id": str(n), "question": f"What is {n}?"}) for n in range(arguments.questions)]
            questions.write_text("\n".join(lines), encoding="utf-8")
            settings = Settings(
                workspace=Path(folder) / "workspace",
                pipeline="closed-book",
                model="scripted",
                base_url=base_url,
                api_key_env="RAGLOOM_TEST_KEY",
                workers=arguments.workers,
                max_calls=arguments.questions,
            )
            processor = time.process_time()
            report = answer_file(settings, questions, progress=False)
            processor = time.process_time() - processor
    finally:
        server.terminate()
        server.wait()
    assert report.done == arguments.questions, report
    print(f"{arguments.questions} questions, {arguments.workers} workers, {arguments.delay_ms:g} ms a call")
    print(f"ideal {ideal:.2f} s, took {report.seconds:.2f} s: {ideal / report.seconds:.1%} of the ideal throughput")
    print(f"{processor / arguments.questions * 1000:.1f} ms of processor time a question")


if __name__ == "__main__":
    main()
