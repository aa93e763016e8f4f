"""What a language model extracts from 50 MuSiQue passages, held against the triples released for HippoRAG (GPT-3.5).

    python benchmarks/extraction_quality.py [--data FOLDER] [--passages 50] [--model smollm2]

The folder holds `musique/` with a `corpus.json` and `openie_gpt-3.5-turbo.json`. Each passage takes two calls to the
model; what is extracted is kept in `benchmarks/workspaces/extraction`, so that a run that was stopped goes on. The
rules, which need no model, are shown beside it.

Words are compared normalised. *Exact* counts phrases that are the same. *Overlap* is softer: for each phrase the F1 of
its words with the most similar phrase of the other side.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from ragloom.components.local_server import local_llm
from ragloom.graph.extracting import extract, stored_extractions
from ragloom.graph.extraction import Extraction, normalise
from ragloom.graph.llm_extraction import LLMExtractor
from ragloom.graph.openie_file import import_openie
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.pipelines.indexing import index_corpus
from ragloom.run import Run
from ragloom.store import Store
from ragloom.types import Chunk, Options

ROOT = Path(__file__).resolve().parents[1]
SEED = 0

Phrases = Callable[[Extraction], set[str]]


def entities(extraction: Extraction) -> set[str]:
    """The entities, normalised."""
    return {normalise(entity) for entity in extraction.entities}


def pairs(extraction: Extraction) -> set[str]:
    """What the triples connect, whatever the relation and its direction."""
    return {" ".join(sorted((normalise(triple.subject), normalise(triple.object)))) for triple in extraction.triples}


def triples(extraction: Extraction) -> set[str]:
    """The triples as sentences, normalised."""
    return {normalise(f"{triple.subject} {triple.relation} {triple.object}") for triple in extraction.triples}


def same(phrase: str, others: Collection[str]) -> float:
    """1 where the phrase is among the others, else 0."""
    return float(phrase in others)


def overlap(phrase: str, others: Collection[str]) -> float:
    """F1 of the phrase's words with those of the most similar other one."""
    words = Counter(phrase.split())
    counts = [Counter(other.split()) for other in others]
    return max((2 * (words & other).total() / (words.total() + other.total()) for other in counts), default=0.0)


def share(sides: Sequence[tuple[set[str], set[str]]], score: Callable[[str, Collection[str]], float]) -> float:
    """The mean score of all phrases on the left against those on the right of their passage; 0 without any."""
    scores = [score(phrase, right) for left, right in sides for phrase in left]
    return float(np.mean(scores)) if scores else 0.0


def agreement(found: Sequence[Extraction], wanted: Sequence[Extraction], phrases: Phrases) -> str:
    """Precision and recall of all phrases together, exact and by overlap."""
    there = [(phrases(one), phrases(other)) for one, other in zip(found, wanted, strict=True)]
    back = [(right, left) for left, right in there]
    return "; ".join(
        f"{name} precision {share(there, score):.3f}, recall {share(back, score):.3f}"
        for name, score in (("exact", same), ("overlap", overlap))
    )


def amounts(found: Sequence[Extraction]) -> str:
    """How much was extracted."""
    named, stated = (np.mean([len(getattr(one, what)) for one in found]) for what in ("entities", "triples"))
    return f"{named:.1f} entities and {stated:.1f} triples a passage"


def show(name: str, found: Sequence[Extraction], wanted: Sequence[Extraction]) -> None:
    """Print how much was extracted, and how it agrees."""
    print(f"{name}: {amounts(found)}; {sum(one.dropped for one in found)} left out, malformed or not from the passage")
    for what, phrases in (("entities", entities), ("pairs that triples connect", pairs), ("triples", triples)):
        if any(phrases(one) for one in found):
            print(f"    {what}: {agreement(found, wanted, phrases)}")


def sample(chunks: Sequence[Chunk], size: int) -> list[Chunk]:
    """The same passages every time."""
    places = np.random.default_rng(SEED).permutation(len(chunks))[:size]
    return [chunks[place] for place in sorted(places)]


def main() -> None:
    """Extract what is not extracted yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--passages", type=int, default=50)
    parser.add_argument("--model", default="smollm2", help="a local model")
    arguments = parser.parse_args()

    # Small models repeat themselves to the end of the reply without a penalty.
    options = Options(temperature=0.0, extra={"frequency_penalty": 0.5})
    extractor = LLMExtractor(local_llm(arguments.model), options=options)
    data = arguments.data / "musique"
    with Store.open(ROOT / "benchmarks" / "workspaces" / "extraction") as store, Run() as run:
        index_corpus([data / "corpus.json"], store)
        gpt = import_openie(data / "openie_gpt-3.5-turbo.json", store.chunks(), store).extractor
        chunks = sample(store.chunks(), arguments.passages)
        report = extract(chunks, extractor, store, workers=1)
        ids = [chunk.id for chunk in chunks]
        found, wanted = (stored_extractions(store, identity, ids) for identity in (extractor.identity, gpt))

    print(f"{arguments.model}, {len(chunks)} passages: {len(report.failed)} failed for malformed replies")
    for chunk, error in report.failed:
        print(f"    {chunk.title}: {error}")
    if report.extracted:
        again = run.spent.calls - 2 * report.extracted
        seconds = run.spent.seconds / report.extracted
        print(f"{report.extracted} read now: {seconds:.1f} s a passage, {again} further calls to mend replies")
    theirs = [wanted[id_] for id_ in ids]
    print(f"GPT-3.5: {amounts(theirs)}")
    show(arguments.model, [found.get(id_, Extraction()) for id_ in ids], theirs)
    show("rules", [RuleExtractor()(chunk) for chunk in chunks], theirs)


if __name__ == "__main__":
    main()
