"""Kill a process at each of its calls to SQLite and to the operating system, and look at what it leaves behind.

    python tests/support/crash_points.py FOLDER [EVERY]

A scenario, begun in a new folder and in a workspace of version 1, is run once to count those calls. Then, for every one
of them (or every EVERYth), a forked child runs it anew and kills itself at that call; the workspace left must open,
be healthy and hold what was acknowledged. Prints how many points there were, how many children were really killed, and
what was wrong.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from store_model import EXTRACTOR, Expected, build_index, differences, entry
from version_1 import write_workspace

from ragloom.store import Store
from ragloom.types import Reply

# Each step is one operation; after it, what it did must survive anything.
STEPS: list[tuple[dict[str, Any], Callable[[Store], object]]] = []


def step(operation: dict[str, Any]) -> Callable[[Callable[[Store], object]], None]:
    return lambda function: STEPS.append((operation, function))


def put(store: Store, **texts: str) -> None:
    store.put_documents([entry(source, text) for source, text in texts.items()], origin="o", splitting="s")


step({"do": "open"})(lambda store: None)
step({"do": "put", "texts": {"a": "first " * 20, "b": "b" * 90}})(lambda store: put(store, a="first " * 20, b="b" * 90))
step({"do": "derive"})(build_index)
step({"do": "begin", "attempt": 1})(lambda store: store.begin_attempt("key", model="m"))
step({"do": "finish", "attempt": 1, "key": "key", "text": "x"})(lambda store: store.finish_attempt(1, Reply("x")))
step({"do": "put", "texts": {"a": "second " * 30}})(lambda store: put(store, a="second " * 30))
step({"do": "derive"})(build_index)
step({"do": "remove", "sources": ["b"]})(lambda store: store.remove_documents(["b"]))
step({"do": "extract", "found": {"1": {"entities": ["x"]}}})(
    lambda store: store.put_extractions(EXTRACTOR, {"1": {"entities": ["x"]}})
)
step({"do": "extract", "found": {"1": {"entities": ["y"]}, "2": {"entities": []}}})(
    lambda store: store.put_extractions(EXTRACTOR, {"1": {"entities": ["y"]}, "2": {"entities": []}})
)
step({"do": "run"})(lambda store: store.begin_run("r", kind="k", config={}, items=[("q", {})]))
step({"do": "item", "question": "q", "result": {"text": "y"}})(
    lambda store: store.commit_item("r", "q", status="done", result={"text": "y"})
)
step({"do": "derive"})(build_index)


def scenario(folder: Path, acknowledge: Callable[[], object]) -> None:
    with Store.open(folder) as store:
        for _, function in STEPS:
            function(store)
            acknowledge()


class CallCounter:
    """Counts calls that change a disk, and kills the process at the one that is asked for."""

    def __init__(self, fatal: int | None = None) -> None:
        self.calls = 0
        self._fatal = fatal

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or not (
            isinstance(getattr(called, "__self__", None), sqlite3.Connection) or called.__module__ == os.name
        ):
            return
        if self.calls == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        self.calls += 1


def crash(folder: Path, point: int) -> tuple[bool, int]:
    """Whether the child was killed, and how many steps it acknowledged before."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        sys.setprofile(CallCounter(point))
        scenario(folder, lambda: os.write(writing, b"."))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        acknowledged = len(pipe.read())
    return os.WIFSIGNALED(os.waitpid(child, 0)[1]), acknowledged


def aftermath(folder: Path, acknowledged: int) -> list[str]:
    """What is wrong with the workspace, where the step after the acknowledged ones may have happened or not."""
    with Store.open(folder, lock_timeout_s=0) as store:
        leftovers = [
            path.name for path in folder.rglob("*") if path.name.startswith("unfinished") or ".new" in path.name
        ]
        found: list[list[str]] = []
        for steps in (STEPS[:acknowledged], STEPS[: acknowledged + 1]):
            expected = Expected()
            for operation, _ in steps:
                expected.apply(operation)
            found.append(differences(store, expected))
        return leftovers + ([] if [] in found else found[0])


def count_calls(folder: Path) -> int:
    counter = CallCounter()
    sys.setprofile(counter)
    scenario(folder, os.getpid)
    sys.setprofile(None)
    return counter.calls - 1  # the last call it counts is setprofile's own


def main(folder: str, every: str = "1") -> None:
    scenario(Path(folder, "warm"), os.getpid)  # a late import calls the operating system too, but once only
    points, killed, wrong = 0, 0, []
    for start, prepare in (("new", Path.mkdir), ("version 1", write_workspace)):
        prepare(Path(folder, start))
        for point in range(0, count_calls(Path(folder, start)), int(every)):
            place = Path(folder, f"{start}, {point}")
            prepare(place)
            signaled, acknowledged = crash(place, point)
            points, killed = points + 1, killed + signaled
            wrong += [f"{place.name}, after step {acknowledged}: {line}" for line in aftermath(place, acknowledged)]
    sys.stdout.write(json.dumps({"points": points, "killed": killed, "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])
