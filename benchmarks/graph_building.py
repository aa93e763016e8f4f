"""What the graph costs: building it with the rules, adding 100 passages, files and memory.

    python benchmarks/graph_building.py [--write] [--data FOLDER] [--passages 6119 100000] [--rounds 3]

The folder holds `2wikimultihopqa/corpus.json`. Beyond its 6,119 passages come copies of them in which the words of
titles are replaced by made-up ones, other ones in each copy, so that passages mention each other as often as in the
original, and the vocabulary grows. Times are CPU time of all threads, the least of several rounds, but of one through
the workspace. Memory is what is allocated at most beside the passages and, when passages are added, the graph. Through
the workspace means `open_graph`: passages are read from the database, and files written, hashed and read.
"""

import argparse
import random
import re
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from retrieval import ROOT, write_into_results

from ragloom.components.ingestion import read_documents
from ragloom.components.splitting import WholePassages
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.extraction import normalise
from ragloom.graph.name_matching import NameMatcher
from ragloom.graph.naming import COMMON_WORDS, names
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.pipelines.graph_indexing import open_graph
from ragloom.pipelines.report import Table
from ragloom.store import Store
from ragloom.types import Chunk, Document, document

ADDED = 100
RULES = RuleExtractor()
NAME = re.compile(r"\b[A-Z][a-z]{3,}\b")
SPACY_SAMPLE = 200

Entry = tuple[Document, list[Chunk]]


def corpus(file: Path, count: int) -> list[Entry]:
    """The file's documents, each with its one chunk, and as many renamed copies as are missing."""
    originals = list(read_documents(file))[:count]
    title_words = {word for each in originals for word in NAME.findall(each.title)}
    words = sorted(title_words - {word.capitalize() for word in COMMON_WORDS})
    draw = random.Random(0)
    found = list(originals)
    for copy in range(1, 1 + (count - 1) // len(originals)):
        ends = draw.sample(words, len(words))
        made_up = {
            word: word[: (len(word) + 1) // 2] + end[len(end) // 2 :] for word, end in zip(words, ends, strict=True)
        }
        found += (renamed(each, made_up, copy) for each in originals[: count - len(found)])
    return [(each, WholePassages(4096)(each)) for each in found]


def renamed(original: Document, made_up: dict[str, str], copy: int) -> Document:
    text, title = (
        NAME.sub(lambda word: made_up.get(word[0], word[0]), part) for part in (original.text, original.title)
    )
    return document(text, title=title, source=f"{original.source} {copy}")


def seconds(work: Callable[[], object], rounds: int = 1) -> float:
    """The least CPU time of several rounds."""
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def megabytes(work: Callable[[], object]) -> float:
    """What the work allocates at most."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def stages(chunks: Sequence[Chunk], rounds: int) -> dict[str, float]:
    """Seconds of what building consists of, but for putting it together."""
    texts = [normalise(chunk.text).split() for chunk in chunks]
    known = {name for chunk in chunks for name in names(chunk)}

    def match() -> None:
        matcher = NameMatcher(known)
        for words in texts:
            matcher(words)

    return {
        "names": seconds(lambda: [names(chunk) for chunk in chunks], rounds),
        "entities": seconds(lambda: [RULES(chunk) for chunk in chunks], rounds),
        "words": seconds(lambda: [normalise(chunk.text).split() for chunk in chunks], rounds),
        "names found in words": seconds(match, rounds),
    }


class Workspace(NamedTuple):
    """Seconds of `open_graph` and, as a part of it, of reading the passages; and bytes of the files."""

    building: float
    adding: float
    reading: float
    files: int


def through_a_workspace(kept: Sequence[Entry], added: Sequence[Entry]) -> Workspace:
    """Index the passages, build the graph; index those that are added, and update it."""
    with tempfile.TemporaryDirectory() as folder, Store.open(folder) as store:
        store.put_documents(kept, origin="corpus", splitting="whole")
        building = seconds(lambda: open_graph(store, progress=False))
        store.put_documents(added, origin="corpus", splitting="whole")
        adding = seconds(lambda: open_graph(store, progress=False))
        files = sum(file.stat().st_size for file in Path(folder, "derived").rglob("*") if file.is_file())
        return Workspace(building, adding, seconds(store.chunks), files)


def column(entries: Sequence[Entry], rounds: int) -> dict[str, str]:
    """The cells of one corpus."""
    chunks = [chunk for _, (chunk,) in entries]
    held_out = set(random.Random(1).sample(range(len(chunks)), ADDED))
    kept = [chunk for place, chunk in enumerate(chunks) if place not in held_out]

    def build() -> KnowledgeGraph:
        return KnowledgeGraph.build(kept, RULES, RULES.identity)

    building = seconds(build, rounds)
    parts = stages(kept, rounds)
    graph = build()

    def add() -> KnowledgeGraph:
        return graph.updated(chunks, RULES)

    adding = seconds(add, rounds)
    memory = megabytes(build), megabytes(add)
    workspace = through_a_workspace(
        [entry for place, entry in enumerate(entries) if place not in held_out],
        [entries[place] for place in sorted(held_out)],
    )
    return {
        "phrases / mentions of them": f"{len(graph.phrases):,} / {graph.mentions.nnz:,}",
        "building, CPU s": f"{building:.2f}",
        "passages a CPU-second": f"{len(kept) / building:,.0f}",
        **{f"of building: {name}": f"{part / building:.0%}" for name, part in parts.items()},
        "of building: counting, sorting and the rest": f"{1 - sum(parts.values()) / building:.0%}",
        "adding 100 passages, CPU s": f"{adding:.3f}",
        "adding, of building": f"{adding / building:.1%}",
        "through the workspace: building, CPU s": f"{workspace.building:.2f}",
        "through the workspace: adding, CPU s": f"{workspace.adding:.2f}",
        "through the workspace: adding, of building": f"{workspace.adding / workspace.building:.1%}",
        "reading the passages, part of both, CPU s": f"{workspace.reading:.2f}",
        "files, MB": f"{workspace.files / 1e6:.1f}",
        "memory at most, building / adding, MB": " / ".join(f"{each:,.0f}" for each in memory),
    }


def spacy_note(chunks: Sequence[Chunk]) -> tuple[str, ...]:
    """How quick the other extractor is that needs no LLM, where it is installed."""
    if not find_spec("spacy"):
        return ()
    from ragloom.graph.spacy_extraction import SpacyExtractor

    extractor = SpacyExtractor()
    extractor(chunks[0])
    taken = seconds(lambda: [extractor(chunk) for chunk in chunks])
    return (f"The spaCy extractor by itself reads {len(chunks) / taken:,.0f} passages a CPU-second, one at a time.",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    parser.add_argument("--passages", type=int, nargs="+", default=[6119, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    file = args.data / "2wikimultihopqa" / "corpus.json"
    if not file.is_file():
        sys.exit(f"there is no {file}; name the folder of the data sets with --data")
    RULES(Chunk("", "Loads what it needs."))
    columns = [column(corpus(file, count), args.rounds) for count in args.passages]
    rows = tuple((name, *(cells[name] for cells in columns)) for name in columns[0])
    sample = [chunk for _, (chunk,) in corpus(file, SPACY_SAMPLE)]
    table = Table(("", *(f"{count:,} passages" for count in args.passages)), rows, spacy_note(sample)).markdown()
    print(table)
    if args.write:
        write_into_results("benchmarks/graph_building.py", table)


if __name__ == "__main__":
    main()
