"""Speed of BM25 beside its peers: bare bm25s and rank_bm25, and the frameworks' retrievers where they are installed.

    python benchmarks/bm25_speed.py [--data FOLDER] [--passages 6119 100000] [--repeats 7]

The passages are those of 2WikiMultiHopQA, and beyond their number copies of them with the words shuffled; the queries
are the questions of three sets. Every peer has the same tokens (`\\w+`, the same stop words and stemmer), its own way
from text to tokens included, and finds 5 passages. Times are the least of several rounds in which the quick
peers take turns; the slow ones get one round, and a tenth of the queries.
"""

import argparse
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import bm25s  # type: ignore[import-untyped]
from rank_bm25 import BM25Okapi  # type: ignore[import-untyped]
from Stemmer import Stemmer  # type: ignore[import-not-found]

from ragloom.components.bm25 import BM25
from ragloom.components.datasets import read_questions
from ragloom.components.ingestion import read_documents
from ragloom.components.tokenizing import STOP_WORDS, Tokenizer, searchable
from ragloom.types import Chunk

ROOT = Path(__file__).resolve().parents[1]
K = 5
STEMMER = Stemmer("english")

Search = Callable[[str], Any]


class Peer(NamedTuple):
    """A way to build an index and to search it."""

    name: str
    build: Callable[[list[Chunk]], Search]
    slow: bool = False


class Times(NamedTuple):
    """CPU and wall seconds."""

    cpu: float
    wall: float


def ragloom(variant: str) -> Callable[[list[Chunk]], Search]:
    def build(chunks: list[Chunk]) -> Search:
        retriever = BM25(chunks, variant=variant)  # type: ignore[arg-type]
        return lambda query: retriever(query, K)

    return build


def bare_bm25s(backend: str) -> Callable[[list[Chunk]], Search]:
    def tokens(texts: Sequence[str] | str) -> Any:
        return bm25s.tokenize(
            texts, token_pattern=r"\w+", stopwords=sorted(STOP_WORDS), stemmer=STEMMER, show_progress=False
        )

    def build(chunks: list[Chunk]) -> Search:
        index = bm25s.BM25(method="lucene", backend=backend)
        index.index(tokens([searchable(chunk) for chunk in chunks]), show_progress=False)
        return lambda query: index.retrieve(tokens(query), k=K, show_progress=False)

    return build


def bare_rank_bm25(chunks: list[Chunk]) -> Search:
    tokenizer = Tokenizer()
    index = BM25Okapi([tokenizer(searchable(chunk)) for chunk in chunks])
    return lambda query: index.get_top_n(tokenizer(query), chunks, K)


def haystack(chunks: list[Chunk]) -> Search:
    from haystack import Document
    from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    store = InMemoryDocumentStore(bm25_tokenization_regex=r"\w+")
    store.write_documents([Document(id=chunk.id, content=searchable(chunk)) for chunk in chunks])
    retriever = InMemoryBM25Retriever(store, top_k=K)
    return lambda query: retriever.run(query=query)


def langchain(chunks: list[Chunk]) -> Search:
    from langchain_community.retrievers import BM25Retriever

    retriever = BM25Retriever.from_texts([searchable(chunk) for chunk in chunks], preprocess_func=Tokenizer(), k=K)
    return retriever.invoke


def llama_index(chunks: list[Chunk]) -> Search:
    from llama_index.core.schema import TextNode
    from llama_index.retrievers.bm25 import BM25Retriever

    nodes = [TextNode(id_=chunk.id, text=searchable(chunk)) for chunk in chunks]
    retriever = BM25Retriever(nodes=nodes, stemmer=STEMMER, similarity_top_k=K, token_pattern=r"\w+")
    return retriever.retrieve


def peers() -> Iterator[Peer]:
    yield Peer("bm25s", bare_bm25s("numpy"))
    yield Peer("ragloom, lucene", ragloom("lucene"))
    yield Peer("ragloom, okapi", ragloom("okapi"))
    if find_spec("numba"):
        yield Peer("bm25s with numba", bare_bm25s("numba"))
    if find_spec("llama_index.retrievers"):
        yield Peer("llama-index BM25Retriever", llama_index)
    yield Peer("rank_bm25", bare_rank_bm25, slow=True)
    if find_spec("langchain_community"):
        yield Peer("langchain BM25Retriever", langchain, slow=True)
    if find_spec("haystack"):
        yield Peer("haystack InMemoryBM25Retriever", haystack, slow=True)


def shuffled_copies(chunks: list[Chunk], count: int) -> list[Chunk]:
    """The first `count` chunks, and as many word-shuffled copies as are missing."""
    generator = random.Random(0)
    copies = chunks[:count]
    while len(copies) < count:
        words = chunks[len(copies) % len(chunks)].text.split()
        generator.shuffle(words)
        copies.append(Chunk(str(len(copies)), " ".join(words), chunks[len(copies) % len(chunks)].title))
    return copies


def timed(work: Callable[[], object]) -> Times:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Times(time.process_time() - cpu, time.perf_counter() - wall)


def least_of_turns(work: Sequence[Callable[[], object]], slow: Sequence[bool], repeats: int) -> list[Times]:
    """The least times of each piece of work; they take turns, so that all meet the same load, the slow ones once."""
    times: list[list[Times]] = [[] for _ in work]
    for turn in range(repeats):
        for place, piece in enumerate(work):
            if turn == 0 or not slow[place]:
                times[place].append(timed(piece))
    return [Times(min(one.cpu for one in each), min(one.wall for one in each)) for each in times]


def measure(chunks: list[Chunk], queries: list[str], repeats: int) -> Iterator[tuple[str, Times, Times]]:
    """Name, seconds to build and seconds a query of each peer."""
    everyone = list(peers())
    slow = [peer.slow for peer in everyone]
    builds = least_of_turns([partial(peer.build, chunks) for peer in everyone], slow, min(repeats, 3))
    asked = [queries[:: 10 if peer.slow else 1] for peer in everyone]
    searches = [partial(ask, peer.build(chunks), each) for peer, each in zip(everyone, asked, strict=True)]
    totals = least_of_turns(searches, slow, repeats)
    for peer, build, total, each in zip(everyone, builds, totals, asked, strict=True):
        yield peer.name, build, Times(total.cpu / len(each), total.wall / len(each))


def ask(search: Search, queries: Sequence[str]) -> None:
    for query in queries:
        search(query)


def print_table(passages: int, rows: Sequence[tuple[str, Times, Times]]) -> None:
    _, bare_build, bare_query = rows[0]
    print(f"\n| {passages:,} passages | built in CPU s | x bm25s | CPU ms/query | wall ms/query | x bm25s |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, build, query in rows:
        print(
            f"| {name} | {build.cpu:.2f} | {build.cpu / bare_build.cpu:.2f} | {1e3 * query.cpu:.3f} "
            f"| {1e3 * query.wall:.3f} | {query.cpu / bare_query.cpu:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--passages", type=int, nargs="+", default=[6119, 100_000])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"there are no data sets in {arguments.data}; name their folder with --data")
    corpus = read_documents(arguments.data / "2wikimultihopqa" / "corpus.json")
    chunks = [Chunk(document.id, document.text, document.title) for document in corpus]
    sets = ("musique", "hotpotqa", "2wikimultihopqa")
    queries = [question.text for name in sets for question in read_questions(arguments.data / name / "questions.json")]
    print(f"Python {platform.python_version()}, numpy {version('numpy')}, bm25s {version('bm25s')}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {len(queries)} queries for {K} passages each")
    for passages in arguments.passages:
        print_table(passages, list(measure(shuffled_copies(chunks, passages), queries, arguments.repeats)))


if __name__ == "__main__":
    main()
