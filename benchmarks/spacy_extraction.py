"""What spaCy extracts from MuSiQue's passages, held against GPT-3.5's entities and triples, and how fast.

    python benchmarks/spacy_extraction.py [--data FOLDER] [--passages 1890]

The folder holds `musique/` with `openie_gpt-3.5-turbo.json`. The first part counts how often GPT-3.5 names what has a
label of spaCy's, and how the entities agree with other labels left out. The second measures spaCy's pipeline as the
extractor calls it, in batches, and in two threads that share one or have one each.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock, local
from typing import Any

import spacy
from extraction_quality import agreement, amounts, entities, pairs, triples
from tqdm import tqdm

from ragloom.components.local_models import model_file
from ragloom.graph.extraction import Extraction, extraction_of, normalise
from ragloom.graph.spacy_extraction import NUMBERS, SpacyExtractor
from ragloom.types import Chunk

ROOT = Path(__file__).resolve().parents[1]
TIMED = 500  # passages of each measurement of speed


def load() -> Any:
    """A pipeline of its own, as the extractor has one."""
    return spacy.load(model_file("en_core_web_sm").parent, exclude=["lemmatizer", "senter"])


def labels(texts: Iterable[str], wanted: Iterable[Extraction]) -> str:
    """The share of each label's entities that GPT-3.5 names too."""
    pipeline, met, shared = load(), Counter[str](), Counter[str]()
    for doc, extraction in zip(pipeline.pipe(texts), wanted, strict=True):
        theirs = entities(extraction)
        for entity in doc.ents:
            met[entity.label_] += 1
            shared[entity.label_] += normalise(entity.text.removeprefix("the ")) in theirs
    return ", ".join(f"{label} {shared[label] / met[label]:.2f} of {met[label]}" for label in sorted(met))


def quality(chunks: Sequence[Chunk], wanted: Sequence[Extraction]) -> None:
    """Print how the extractor agrees with GPT-3.5."""
    print(f"GPT-3.5: {amounts(wanted)}")
    print("named by GPT-3.5 too:", labels([chunk.text for chunk in chunks], wanted))
    for name, ignored in (("nothing", frozenset()), ("numbers", NUMBERS), ("numbers and dates", NUMBERS | {"DATE"})):
        extract = SpacyExtractor(ignored=frozenset(ignored))
        began = time.process_time()
        found = [extract(chunk) for chunk in tqdm(chunks, desc=name, leave=False, disable=None)]
        rate = len(chunks) / (time.process_time() - began)
        print(f"without {name}: {amounts(found)}, {rate:.0f} passages a CPU-second")
        for what, phrases in (("entities", entities), ("pairs that triples connect", pairs), ("triples", triples)):
            print(f"    {what}: {agreement(found, wanted, phrases)}")


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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--passages", type=int, default=1890)
    arguments = parser.parse_args()
    released = json.loads((arguments.data / "musique" / "openie_gpt-3.5-turbo.json").read_text(encoding="utf-8"))
    passages = released["docs"][: arguments.passages]
    chunks = [Chunk("", passage["text"], title=passage["title"]) for passage in passages]
    quality(
        chunks, [extraction_of(passage["extracted_entities"], passage["extracted_triples"]) for passage in passages]
    )
    speed([chunk.text for chunk in chunks[:TIMED]])


if __name__ == "__main__":
    main()
