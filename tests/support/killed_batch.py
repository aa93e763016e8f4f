"""Kill a batch again and again and print what became of it, as JSON.

    python killed_batch.py FOLDER --questions 200 --kills 20 --seed 0

A process of its own, warm and without threads, so that each batch is a fork of it and starts within milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import bm25s  # noqa: F401 - imported here, the forks have it ready
import openai  # noqa: F401 - the same

from ragloom.components.splitting import WholePassages
from ragloom.pipelines.batch import answer_file
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

WORKERS = 4


def settings(folder: Path, base_url: str) -> Settings:
    return Settings(
        workspace=folder / "workspace",
        pipeline="single",
        base_url=base_url,
        model="scripted",
        api_key_env="RAGLOOM_TEST_KEY",
        workers=WORKERS,
    )


def prepare(folder: Path, base_url: str, questions: int) -> None:
    folder.mkdir(parents=True)
    lines = [
        json.dumps({"id": f"q{number}", "question": f"Which number follows {number}?"}) for number in range(questions)
    ]
    (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "corpus").mkdir()
    for number in range(10):
        (folder / "corpus" / f"{number}.txt").write_text(f"A number follows {number}: the next.", encoding="utf-8")
    with Store.open(settings(folder, base_url).workspace) as store:
        index_corpus([folder / "corpus"], store, splitter=WholePassages(), progress=False)


def batch(folder: Path, base_url: str) -> int:
    """Answer the questions in a fork and give its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            report = answer_file(
                settings(folder, base_url), folder / "questions.jsonl", folder / "answers.jsonl", progress=False
            )
            code = 0 if not (report.pending or report.failed) else 2
        finally:
            os._exit(code)
    return pid


def kill_and_resume(folder: Path, base_url: str, kills: int, seed: int) -> int:
    """Kill the batch after random times until so many kills landed or it is done, then let it finish; the kills."""
    moments = random.Random(seed)
    landed = 0
    while landed < kills:
        pid = batch(folder, base_url)
        time.sleep(moments.uniform(0.05, 1.0))
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if os.WIFEXITED(status):
            return landed
        landed += 1
    status = os.waitpid(batch(folder, base_url), 0)[1]
    if status != 0:
        raise SystemExit(f"the resumed batch ended with status {status}")
    return landed


def outcome(folder: Path, base_url: str) -> dict[str, object]:
    with Store.open(settings(folder, base_url).workspace) as store:
        (run,) = store.runs()
        attempts = Counter(attempt.status for attempt in store.attempts(run_id=run.id))
        rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
        return {
            "counts": dict(run.counts),
            "answers": [[row["id"], row["answer"]] for row in rows],
            "problems": store.check(),
            "attempts": dict(attempts),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--questions", type=int, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    landed = 0
    rounds = []
    while landed < arguments.kills:
        folder = arguments.folder / f"round{len(rounds)}"
        prepare(folder, arguments.base_url, arguments.questions)
        landed += kill_and_resume(folder, arguments.base_url, arguments.kills - landed, arguments.seed + len(rounds))
        rounds.append(outcome(folder, arguments.base_url))
    json.dump({"kills": landed, "workers": WORKERS, "rounds": rounds}, sys.stdout)


if __name__ == "__main__":
    main()
