"""Passages found for the questions of three public sets by BM25, embeddings and their fusion.

    python benchmarks/retrieval.py [--write] [--data FOLDER]

The folder holds `musique/`, `hotpotqa/` and `2wikimultihopqa/`, each a published `corpus.json` and `questions.json`.
The first run embeds 9,003 passages, about three minutes on two cores; vectors are kept in `benchmarks/workspaces/`.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ragloom.components.datasets import read_questions
from ragloom.components.fusion import ReciprocalRankFusion, WeightedFusion
from ragloom.components.minilm import LocalEmbedder
from ragloom.pipelines.evaluation import compare, evaluate_retrieval
from ragloom.pipelines.indexing import index_corpus, open_bm25, open_dense
from ragloom.pipelines.report import Table, signed
from ragloom.store import Store
from ragloom.types import Embedder

ROOT = Path(__file__).resolve().parents[1]
SETS = {"musique": "MuSiQue", "hotpotqa": "HotpotQA", "2wikimultihopqa": "2WikiMultiHopQA"}
MEASURES = ("recall@2", "recall@5", "recall@10", "all-gold@5")


def rows(folder: Path, name: str, embedder: Embedder) -> Iterator[tuple[str, ...]]:
    """A row for each retriever on one set; differences are to BM25, in recall@5."""
    with Store.open(ROOT / "benchmarks" / "workspaces" / folder.name) as store:
        index_corpus([folder / "corpus.json"], store)
        bm25, dense = open_bm25(store), open_dense(store, embedder)
        retrievers = {
            "BM25, Lucene": bm25,
            "BM25, Okapi": open_bm25(store, variant="okapi"),
            "dense, MiniLM": dense,
            "fused, by rank": ReciprocalRankFusion([bm25, dense]),
            "fused, by score": WeightedFusion([bm25, dense], [0.5, 0.5]),
        }
        chunks = store.chunks()
        passages = len({chunk.document_id for chunk in chunks})
        systems = evaluate_retrieval(read_questions(folder / "questions.json"), chunks, retrievers)
    first = systems[0]
    for scores in systems:
        sizes = f"{name}: {len(first.questions)} questions, {passages:,} passages" if scores is first else ""
        difference = "" if scores is first else signed(compare(scores, first, "recall@5", seed=0))
        yield sizes, scores.system, *(f"{scores.mean(measure):.3f}" for measure in MEASURES), difference


def arguments(description: str | None) -> argparse.Namespace:
    """The command line of a benchmark that reads data sets and writes a table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"there are no data sets in {args.data}; name their folder with --data")
    return args


def write_into_results(script: str, table: str) -> None:
    """Put the table between the results' marks of the script."""
    results = ROOT / "docs" / "results.md"
    place = re.compile(rf"(<!-- results: {re.escape(script)} -->\n).*?(<!-- end -->)", re.DOTALL)
    text = place.sub(lambda marks: f"{marks[1]}\n{table}\n\n{marks[2]}", results.read_text(encoding="utf-8"))
    results.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, print, and with `--write` put the table into the results."""
    args = arguments(__doc__)
    embedder = LocalEmbedder()
    found = [row for folder, name in SETS.items() for row in rows(args.data / folder, name, embedder)]
    table = Table(("set", "retriever", *MEASURES, "recall@5 against BM25"), tuple(found)).markdown()
    print(table)
    if args.write:
        write_into_results("benchmarks/retrieval.py", table)


if __name__ == "__main__":
    main()
