"""A process that writes to a workspace, as fast as it can, until it is killed or the disk is full.

python tests/support/store_writer.py FOLDER LOG SEED [LARGEST_FILE_IN_BYTES]
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import store_model

from ragloom.errors import StoreFull
from ragloom.store import Store
from ragloom.types import Reply, Usage

QUESTIONS = 1000
FULL = 28  # exit code: the disk is full


class Log:
    """Appends each line with one write, so that only a killed process can tear one."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def begin(self, **operation: object) -> None:
        os.write(self._file, json.dumps(operation).encode() + b"\n")

    def acknowledge(self) -> None:
        os.write(self._file, b"ok\n")


def write_forever(store: Store, log: Log, seed: int, done: int) -> None:
    rng = random.Random(seed)
    store.begin_run(store_model.RUN, kind="test", config={}, items=[(f"q{n}", {"n": n}) for n in range(QUESTIONS)])
    pending = [item.question_id for item in store.items(store_model.RUN, status={"pending"})]
    attempts = len(store.attempts())
    while True:
        done += 1
        match rng.choice(["put", "put", "remove", "extract", "call", "item", "derive"]):
            case "put":
                texts = {f"{rng.randrange(40):02}.txt": f"{done} " * rng.randrange(200) for _ in range(5)}
                log.begin(do="put", texts=texts)
                store.put_documents((store_model.entry(*pair) for pair in texts.items()), origin="o", splitting="s")
            case "remove":
                sources = [f"{rng.randrange(40):02}.txt" for _ in range(5)]
                log.begin(do="remove", sources=sources)
                store.remove_documents(sources)
            case "extract":
                found = {f"chunk {rng.randrange(100)}": {"entities": [f"name {done}"] * rng.randrange(9)}}
                log.begin(do="extract", found=found)
                store.put_extractions(store_model.EXTRACTOR, found)
            case "call":
                attempts, key, text = (
                    attempts + 1,
                    f"key {rng.randrange(100)}",
                    f"reply {done} " * rng.randrange(1, 200),
                )
                log.begin(do="begin", attempt=attempts)
                store.begin_attempt(key, model="m")
                log.acknowledge()
                log.begin(do="finish", attempt=attempts, key=key, text=text)
                store.finish_attempt(attempts, Reply(text, Usage(calls=1)))
            case "item":
                question, result = pending.pop(0), {"text": f"answer {done}"}
                log.begin(do="item", question=question, result=result)
                store.commit_item(store_model.RUN, question, status="done", result=result)
            case "derive":
                log.begin(do="derive")
                store_model.build_index(store)
        log.acknowledge()


def main(folder: str, log: str, seed: str, largest: str = "") -> int:
    if largest:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    _, _, done = store_model.read_log(Path(log)) if Path(log).exists() else (None, None, 0)
    try:
        with Store.open(folder) as store:
            write_forever(store, Log(Path(log)), int(seed), done)
    except StoreFull as full:
        sys.stdout.write(f"{full}\n")
        return FULL
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
