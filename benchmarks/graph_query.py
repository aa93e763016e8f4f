"""CPU time of a question over the knowledge graph of 6,119 passages, from BM25's passages, the whole way to the hits.

    python benchmarks/graph_query.py [--write] [--data FOLDER]

The folder holds `2wikimultihopqa/` with its `corpus.json` and `questions.json`. One thread; each question is asked
several times, and its fastest time counts. Without the extra `compiled` its row is left out.
"""

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

from statistics import median

from retrieval import arguments, write_into_results

from ragloom.components.datasets import read_questions
from ragloom.graph import local_push
from ragloom.graph.index import GraphIndex
from ragloom.pipelines.graph_indexing import open_graph
from ragloom.pipelines.indexing import index_corpus, open_bm25
from ragloom.pipelines.report import Table
from ragloom.store import Store
from ragloom.types import Retriever

REPEATS = 7


def milliseconds(retriever: Retriever, questions: list[str]) -> tuple[str, str]:
    """Median and highest CPU time of the questions."""
    fastest = [min(_seconds(lambda text=text: retriever(text, 10)) for _ in range(REPEATS)) for text in questions]
    return f"{1000 * median(fastest):.2f}", f"{1000 * max(fastest):.2f}"


def _seconds(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def main() -> None:
    """Measure, print, and with `--write` put the table into the results."""
    args = arguments(__doc__)
    data = args.data / "2wikimultihopqa"
    questions = [question.text for question in read_questions(data / "questions.json")]
    with tempfile.TemporaryDirectory() as folder, Store.open(folder) as store:
        index_corpus([data / "corpus.json"], store)
        bm25 = open_bm25(store)
        graph = GraphIndex(open_graph(store), store.chunks(), bm25)
    rows = [("BM25 alone", *milliseconds(bm25, questions))]
    if importlib.util.find_spec("numba"):
        graph(questions[0], 1)  # compiles
        rows.append(("graph, compiled", *milliseconds(graph, questions)))
    local_push._compiled.cache_clear()
    sys.modules["numba"] = None  # type: ignore[assignment]  # as if it were not installed
    rows.append(("graph, without numba", *milliseconds(graph, questions)))
    table = Table(("10 hits of 6,119 passages", "median ms", "highest ms"), tuple(rows)).markdown()
    print(table)
    if args.write:
        write_into_results("benchmarks/graph_query.py", table)


if __name__ == "__main__":
    main()
