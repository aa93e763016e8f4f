"""What rules and spaCy extract from MuSiQue's passages, held against GPT-3.5's entities and triples.

    python benchmarks/spacy_extraction.py [--write] [--data FOLDER]

The folder holds `musique/` with `openie_gpt-3.5-turbo.json`. *Exact* and *overlap* are as in `extraction_quality.py`.
Below the table stand how often GPT-3.5 names what has a label of spaCy's, and the speed of spaCy's pipeline as the
extractor calls it, in batches, and in two threads that share one or have one each.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, local
from typing import Any

import spacy
from extraction_quality import Phrases, entities, overlap, pairs, same, share
from retrieval import arguments, write_into_results
from tqdm import tqdm

from ragloom.components.local_models import model_file
from ragloom.graph.extraction import Extraction, Extractor, extraction_of, normalise
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.graph.spacy_extraction import NUMBERS, SpacyExtractor
from ragloom.pipelines.report import Table
from ragloom.types import Chunk

TIMED = 500  # passages of each measurement of threads and batches
EXTRACTORS: dict[str, Extractor] = {
    "rules": RuleExtractor(),
    "spaCy, every label": SpacyExtractor(ignored=frozenset()),
    "spaCy": SpacyExtractor(),
    "spaCy, no dates either": SpacyExtractor(ignored=NUMBERS | {"DATE"}),
}
COLUMNS = (
    "extractor",
    "entities a passage",
    "exact P / R",
    "overlap P / R",
    "triples a passage",
    "pairs, exact P / R",
    "pairs, overlap P / R",
    "passages a CPU-second",
)


def row(name: str, extract: Extractor, chunks: Sequence[Chunk], wanted: Sequence[Extraction]) -> tuple[str, ...]:
    """How an extractor agrees with GPT-3.5, and its speed."""
    extract(chunks[0])  # loads the model
    began = time.process_time()
    found = [extract(chunk) for chunk in tqdm(chunks, desc=name, leave=False, disable=None)]
    rate = len(chunks) / (time.process_time() - began)
    amount = [sum(len(getattr(one, what)) for one in found) / len(found) for what in ("entities", "triples")]
    named, connected = (agreement(found, wanted, phrases) for phrases in (entities, pairs))
    return name, f"{amount[0]:.1f}", *named, f"{amount[1]:.1f}", *connected, f"{float(f'{rate:.2g}'):,.0f}"


def agreement(found: Sequence[Extraction], wanted: Sequence[Extraction], phrases: Phrases) -> tuple[str, str]:
    """Precision and recall, exact and by overlap."""
    there = [(phrases(one), phrases(other)) for one, other in zip(found, wanted, strict=True)]
    back = [(right, left) for left, right in there]
    exact, soft = (f"{share(there, score):.3f} / {share(back, score):.3f}" for score in (same, overlap))
    return exact, soft


def load() -> Any:
    """A pipeline of its own, as the extractor has one."""
    return spacy.load(model_file("en_core_web_sm").parent, exclude=["lemmatizer", "senter"])


def labels(texts: Iterable[str], wanted: Iterable[Extraction]) -> str:
    """The share of each label's entities that GPT-3.5 names too."""
    met, shared = Counter[str](), Counter[str]()
    for doc, extraction in zip(load().pipe(texts), wanted, strict=True):
        theirs = entities(extraction)
        for entity in doc.ents:
            met[entity.label_] += 1
            shared[entity.label_] += normalise(entity.text.removeprefix("the ")) in theirs
    return ", ".join(f"{label} {shared[label] / met[label]:.2f} of {met[label]:,}" for label in sorted(met))


def speed(texts: Sequence[str]) -> None:
    """Print CPU and wall seconds for the texts."""
    shared, lock, own, pipelines = load(), Lock(), local(), [load(), load()]

    def locked(text: str) -> None:
        with lock:
            shared(text)

    def apart(text: str) -> None:
        if not hasattr(own, "pipeline"):
            own.pipeline = pipelines.pop()
        own.pipeline(text)

    def threads(read: Callable[[str], None]) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(read, texts))

    ways: dict[str, Callable[[], object]] = {
        "one by one": lambda: [shared(text) for text in texts],
        "batches of 64": lambda: list(shared.pipe(texts, batch_size=64)),
        "two threads, one pipeline": lambda: threads(locked),
        "two threads, a pipeline each": lambda: threads(apart),
    }
    for name, read in ways.items():
        cpu, wall = time.process_time(), time.perf_counter()
        read()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(f"{name}: {len(texts)} passages in {cpu:.1f} CPU-seconds, {wall:.1f} s")


def main() -> None:
    """Measure, print, and with `--write` put the table into the results."""
    args = arguments(__doc__)
    passages = json.loads((args.data / "musique" / "openie_gpt-3.5-turbo.json").read_text(encoding="utf-8"))["docs"]
    chunks = [Chunk("", passage["text"], title=passage["title"]) for passage in passages]
    wanted = [extraction_of(passage["extracted_entities"], passage["extracted_triples"]) for passage in passages]
    rows = tuple(row(name, extract, chunks, wanted) for name, extract in EXTRACTORS.items())
    note = f"{len(chunks):,} MuSiQue passages against GPT-3.5's entities, and the pairs that its triples connect."
    table = Table(COLUMNS, rows, (note,)).markdown()
    print(table)
    if args.write:
        write_into_results("benchmarks/spacy_extraction.py", table)
    texts = [chunk.text for chunk in chunks]
    print("\nnamed by GPT-3.5 too:", labels(texts, wanted))
    speed(texts[:TIMED])


if __name__ == "__main__":
    main()
