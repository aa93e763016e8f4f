"""What a passage costs on the disk, in memory and in processor time, by the size of the corpus.

    python benchmarks/corpus_cost.py --passages 6119 50000 [--corpus FILE]

Beyond their number the passages are copies with the words shuffled. Vectors are random: what a model takes to make them
is not part of it. Memory is the most that a process held which opened the index and searched, less that of one which
only imported the same.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from ragloom.pipelines.indexing import index_corpus, open_bm25, open_dense
from ragloom.store import Store
from ragloom.types import Retriever, content_id

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "datasets" / "2wikimultihopqa" / "corpus.json"
DIMENSIONS = 384
QUERIES = ["Which film was directed in Paris?", "Who is the mother of the king?", "Where was the singer born?"] * 20


class RandomEmbedder:
    """Vectors of the usual size at no cost."""

    model = "random"

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Others for other texts: equal ones would be stored once."""
        seed = int.from_bytes(content_id(*texts).encode())
        vectors = np.random.default_rng(seed).normal(size=(len(texts), DIMENSIONS)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


OPEN: dict[str, Callable[[Store], Retriever]] = {
    "BM25": open_bm25,
    "vectors": lambda store: open_dense(store, RandomEmbedder(), progress=False),
}


def write_passages(corpus: Path, count: int, file: Path) -> None:
    passages = json.loads(corpus.read_text(encoding="utf-8"))
    shuffle = random.Random(0)
    with file.open("w", encoding="utf-8") as lines:
        for number in range(count):
            passage = passages[number % len(passages)]
            words = passage["text"].split()
            if number >= len(passages):
                shuffle.shuffle(words)
            entry = {"id": str(number), "title": f"{passage['title']} {number}", "text": " ".join(words)}
            lines.write(json.dumps(entry) + "\n")


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def most_held() -> int:
    """Bytes of memory at most so far; not by getrusage, where a process begins with what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", status)[1])


def searched(workspace: Path, name: str) -> None:
    """In a process of its own: print the bytes that it held, the milliseconds of a query and the seconds of opening."""
    before = most_held()
    with Store.open(workspace, write=False) as store:
        begun = time.process_time()
        retriever = OPEN[name](store)
        opened = time.process_time() - begun
        taken = []
        for query in QUERIES:
            begun = time.process_time()
            retriever(query, 5)
            taken.append(time.process_time() - begun)
    print(json.dumps([most_held() - before, median(taken) * 1000, opened]))


def measure(corpus: Path, count: int, folder: Path) -> None:
    write_passages(corpus, count, folder / "passages.jsonl")
    workspace = folder / "workspace"
    print(f"\n{count:,} passages, {size(folder / 'passages.jsonl') / count:.0f} bytes of JSON each")
    begun = time.process_time()
    with Store.open(workspace) as store:
        index_corpus([folder / "passages.jsonl"], store, progress=False)
    print(f"  documents: {(time.process_time() - begun) / count * 1e6:.0f} CPU-s a million", end=", ")
    print(f"{size(workspace / 'ragloom.sqlite') / count:.0f} bytes of SQLite each")
    for name, opens in OPEN.items():
        kept, built = size(workspace / "ragloom.sqlite"), size(workspace / "derived")
        begun = time.process_time()
        with Store.open(workspace) as store:
            opens(store)
        seconds = (time.process_time() - begun) / count * 1e6
        command = [sys.executable, __file__, "--search", name, str(workspace)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        held, milliseconds, opened = json.loads(done.stdout)
        print(
            f"  {name}: {seconds:.0f} CPU-s a million to build, {opened / count * 1e6:.0f} to open; bytes each: "
            f"{(size(workspace / 'ragloom.sqlite') - kept) / count:.0f} of SQLite, "
            f"{(size(workspace / 'derived') - built) / count:.0f} of files, {held / count:.0f} of memory; "
            f"{milliseconds:.1f} ms a query"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="JSON list of passages with title and text")
    parser.add_argument("--passages", type=int, nargs="+", default=[6119, 50000])
    parser.add_argument("--search", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.search:
        searched(Path(arguments.search[1]), arguments.search[0])
        return
    for count in arguments.passages:
        with tempfile.TemporaryDirectory() as folder:
            measure(arguments.corpus, count, Path(folder))


if __name__ == "__main__":
    main()
