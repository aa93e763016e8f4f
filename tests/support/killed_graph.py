"""Kill the building and the updating of a graph at random points, and print what became of the workspaces, as JSON.

    python killed_graph.py FOLDER --kills 50 --seed 0

A process of its own, warm and without threads, so that each trial is a fork of it. The points are calls of functions,
counted, so that the same seed kills at the same places. What is left must answer as before the work or as after it,
and the work must end as if nobody had killed it when it is done again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from forking import fork

from ragloom.components.bm25 import BM25
from ragloom.graph.index import GraphIndex
from ragloom.pipelines.graph_indexing import open_graph
from ragloom.store import Store
from ragloom.types import Chunk, Document, content_id, document

PASSAGES = 40
TOWNS = [
    f"{first}{second}" for first in ("Ald", "Bor", "Cam", "Dun", "Esk", "Fal") for second in ("bury", "ford", "wick")
]


def passage(number: int, version: str) -> tuple[Document, list[Chunk]]:
    draw = random.Random(f"{number} {version}")
    title = (
        TOWNS[number] if number < len(TOWNS) else f"{draw.choice(TOWNS)} {draw.choice(['Castle', 'Bridge', 'Mill'])}"
    )
    places = " and ".join(draw.sample(TOWNS, 3))
    whole = document(
        f"{title} lies between {places}. It is {draw.randrange(900)} years old.", title=title, source=f"{number}"
    )
    return whole, [Chunk(content_id(whole.id, "0"), whole.text, whole.title, whole.id)]


def work(workspace: Path) -> None:
    """Store the new passages, other texts and titles among them, all at once; then build or update the graph."""
    with Store.open(workspace) as store:
        new = [passage(number, "new" if number % 4 == 0 else "old") for number in range(PASSAGES + 10)]
        store.put_documents(new, origin="o", splitting="s")
        open_graph(store, progress=False)


def begin(workspace: Path) -> None:
    """What is there before an update."""
    with Store.open(workspace) as store:
        store.put_documents([passage(number, "old") for number in range(PASSAGES)], origin="o", splitting="s")
        open_graph(store, progress=False)


def answers(workspace: Path) -> Any:
    """What the workspace answers, to the last digit, and what is wrong with it."""
    with Store.open(workspace, lock_timeout_s=0) as store:
        chunks, problems = store.chunks(), store.check()
        index = GraphIndex(open_graph(store, progress=False), chunks, BM25(chunks))
        questions = [f"What lies between {town} and {other}?" for town in TOWNS[::4] for other in TOWNS[1::8]]
        found = [[(hit.chunk.id, hit.score) for hit in index(question, 5)] for question in questions]
        unvouched = len(list((workspace / "derived").iterdir())) - 1
        return {"answers": found, "phrases": index.graph.phrases, "problems": problems, "unvouched": unvouched}


def finished(workspace: Path) -> Any:
    """What the workspace answers when the work is done again."""
    work(workspace)
    return answers(workspace)


class CallCounter:
    """Counts calls, and kills the process at the one that is asked for."""

    def __init__(self, fatal: int | None = None) -> None:
        self.calls = 0
        self._fatal = fatal

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        if event in {"call", "c_call"}:
            if self.calls == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            self.calls += 1


def ended(work: Callable[[], object]) -> int:
    """The exit code of the work in a fork, or the signal that ended it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])


def told(work: Callable[[], object], file: Path) -> Any:
    """What the work returns in a fork."""
    if ended(lambda: file.write_text(json.dumps(work()), encoding="utf-8")) != 0:
        raise SystemExit("work that nobody killed failed")
    return json.loads(file.read_text(encoding="utf-8"))


def counted(workspace: Path) -> int:
    counter = CallCounter()
    sys.setprofile(counter)
    work(workspace)
    sys.setprofile(None)
    return counter.calls


def killed(workspace: Path, point: int) -> None:
    sys.setprofile(CallCounter(point))
    work(workspace)


def trials(folder: Path, start: Path, kills: int, points: random.Random) -> dict[str, int]:
    report = folder / "report.json"
    whole, untouched = (shutil.copytree(start, folder / f"{start.name}-{name}") for name in ("whole", "untouched"))
    calls = told(partial(counted, whole), report)
    before, after = (told(partial(answers, place), report) for place in (untouched, whole))
    seen = {"calls": calls, "killed": 0, "as before": 0, "as after": 0}
    for trial in range(kills):
        workspace, point = shutil.copytree(start, folder / f"{start.name}-{trial}"), points.randrange(calls)
        seen["killed"] += ended(partial(killed, workspace, point)) == -signal.SIGKILL
        left = told(partial(answers, workspace), report)
        if left not in (before, after):
            raise SystemExit(f"trial {trial} from {start.name}: what is left is neither the old state nor the new")
        seen["as after" if left == after else "as before"] += 1
        if told(partial(finished, workspace), report) != after:
            raise SystemExit(f"trial {trial} from {start.name}: work done again ends in another state")
        shutil.rmtree(workspace)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    nothing, old, warm = (arguments.folder / name for name in ("nothing", "old", "warm"))
    begin(warm)
    work(warm)
    answers(warm)
    Store.open(nothing).close()
    begin(old)
    points = random.Random(arguments.seed)
    seen = {start.name: trials(arguments.folder, start, arguments.kills, points) for start in (nothing, old)}
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
