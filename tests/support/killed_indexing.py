"""Kill indexing at random moments, resume it, and print what became of each workspace, as JSON.

    python killed_indexing.py FOLDER --kills 20 --seed 0

A process of its own, warm and without threads, so that each indexing is a fork of it and starts within milliseconds.
Every other workspace starts from an earlier state of the corpus, so that kills also hit changes and removals.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bm25s  # noqa: F401 - loaded here, so that no fork has to
from forking import fork
from hash_embedder import HashEmbedder

from ragloom.components import dense  # noqa: F401 - likewise
from ragloom.components.splitting import SentenceSplitting
from ragloom.components.tokenizing import searchable
from ragloom.pipelines.indexing import index_corpus, open_bm25, open_dense
from ragloom.store import Store
from ragloom.types import content_id, document

PASSAGES = 400
SPLITTER = SentenceSplitting(64, 8)
WORDS = [f"word{number}" for number in range(300)]


def passage(number: int, version: str) -> dict[str, str]:
    words = random.Random(f"{number} {version}").choices(WORDS, k=60)
    return {"id": str(number), "title": f"Passage {number}", "text": " ".join(words) + "."}


def write_corpus(folder: Path, version: str) -> None:
    """The version `new` has other texts for a quarter of the passages, and other passages at both ends."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    first = 0 if version == "old" else 40
    passages = [passage(number, version if number % 4 == 0 else "same") for number in range(first, first + PASSAGES)]
    lines = "".join(json.dumps(each) + "\n" for each in passages[: PASSAGES // 2])
    (folder / "corpus.jsonl").write_text(lines, encoding="utf-8")
    for each in passages[PASSAGES // 2 :]:
        (folder / f"{each['id']}.txt").write_text(each["text"], encoding="utf-8")


def index(corpus: Path, workspace: Path) -> None:
    with Store.open(workspace) as store:
        index_corpus([corpus], store, splitter=SPLITTER, progress=False)
        open_bm25(store)
        open_dense(store, HashEmbedder(), progress=False)


def state(workspace: Path) -> dict[str, object]:
    """Everything that a workspace gives."""
    with Store.open(workspace) as store:
        chunks = store.chunks()
        vectors = store.vectors(HashEmbedder().model, [content_id(searchable(chunk)) for chunk in chunks])
        retrievers = (open_bm25(store), open_dense(store, HashEmbedder(), progress=False))
        queries = [" ".join(WORDS[start : start + 3]) for start in range(0, 60, 3)]
        return {
            "documents": [(each.source, each.id) for each in store.documents()],
            "chunks": [each.id for each in chunks],
            "corpus": store.corpus_id(),
            "vectors": sorted((key, vector.tobytes().hex()) for key, vector in vectors.items()),
            "hits": [
                [(hit.chunk.id, hit.score) for hit in retriever(query, 5)]
                for retriever in retrievers
                for query in queries
            ],
            "problems": store.check(),
        }


def finish(work: Callable[[], object]) -> None:
    if os.waitpid(fork(work), 0)[1] != 0:
        raise SystemExit("an indexing that nobody killed failed")


def state_in_fork(workspace: Path) -> dict[str, object]:
    """Searching starts the threads of faiss, after which a process must not fork."""
    report = workspace.with_suffix(".json")
    finish(lambda: report.write_text(json.dumps(state(workspace)), encoding="utf-8"))
    read: dict[str, object] = json.loads(report.read_text(encoding="utf-8"))
    return read


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    corpus, earlier, whole = (arguments.folder / name for name in ("corpus", "earlier", "whole"))
    SPLITTER(document("Loads what it needs. " * 50))
    write_corpus(corpus, "old")
    finish(lambda: index(corpus, earlier))
    write_corpus(corpus, "new")
    started = time.monotonic()
    finish(lambda: index(corpus, whole))
    seconds = time.monotonic() - started
    expected = state_in_fork(whole)

    moments = random.Random(arguments.seed)
    landed = trials = 0
    while landed < arguments.kills and trials < 4 * arguments.kills:
        workspace = arguments.folder / f"trial{trials}"
        if trials % 2:
            shutil.copytree(earlier, workspace)
        pid = fork(lambda workspace=workspace: index(corpus, workspace))
        time.sleep(moments.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        landed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        trials += 1
        finish(lambda workspace=workspace: index(corpus, workspace))
        resumed = state_in_fork(workspace)
        if resumed != expected:
            wrong = [name for name in expected if resumed[name] != expected[name]]
            raise SystemExit(f"trial {trials - 1} after a kill differs in: {', '.join(wrong)}")
    sizes = {name: len(value) for name, value in expected.items() if isinstance(value, list)}
    json.dump({"landed": landed, "trials": trials, "seconds": seconds, "sizes": sizes}, sys.stdout)


if __name__ == "__main__":
    main()
