"""Passages found for multi-hop questions by walks over a graph, beside search without one.

    python benchmarks/graph_retrieval.py [--write] [--data FOLDER]

The folder holds `musique/`, `hotpotqa/` and `2wikimultihopqa/`, each a published `corpus.json` and `questions.json`;
MuSiQue's also holds the entities and triples that GPT-3.5 found (`openie_gpt-3.5-turbo.json`), and 2Wiki's a smaller
`corpus_780.json`. Every row embeds with the local MiniLM. HippoRAG without an LLM takes its triples from spaCy, and is
left out where the extra `spacy` is not installed.

The first run reads 9,003 passages with spaCy and embeds some 170,000 phrases and facts, about an hour on two cores.
Extractions and vectors are kept in `benchmarks/workspaces/`, so it can be stopped and started again; then it takes a
few minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval import ROOT, arguments, write_into_results
from scipy.sparse import csr_array
from tqdm import tqdm

from ragloom.components.bm25 import BM25
from ragloom.components.corpora import read_passages
from ragloom.components.datasets import Question, read_questions
from ragloom.components.dense import Dense
from ragloom.components.fusion import WeightedFusion
from ragloom.components.minilm import LocalEmbedder
from ragloom.components.tokenizing import searchable
from ragloom.components.vector_cache import CachedEmbedder
from ragloom.errors import ConfigError
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.extracting import extract, stored_extractions
from ragloom.graph.extraction import Extraction
from ragloom.graph.facts import FactGraph
from ragloom.graph.hipporag import HippoRAG, HippoRAG2
from ragloom.graph.index import GraphIndex
from ragloom.graph.linking import QuestionLinker
from ragloom.graph.openie_file import import_openie
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.graph.spacy_extraction import SpacyExtractor
from ragloom.graph.synonyms import Synonyms
from ragloom.pipelines.evaluation import Scores, compare, evaluate_retrieval
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.report import Table, signed
from ragloom.store import Store
from ragloom.types import Chunk, Retriever, content_id

MEASURES = ("recall@2", "recall@5", "recall@10", "all-gold@5")
RULES, SPACY, GPT, NOTHING = "rules", "spaCy", "GPT-3.5", "names only"

Make = Callable[[], Retriever]


@dataclass(frozen=True)
class Facts:
    """What HippoRAG is made of."""

    graph: FactGraph
    synonyms: Synonyms
    phrases: NDArray[np.float32]
    facts: NDArray[np.float32]


@dataclass
class Corpus:
    """A set of questions and passages, and what is made of the passages, each when it is first asked for.

    Attributes:
        passages: with their titles, long ones in several chunks. Without their titles they keep their ids, by which
            gold passages are known.
        openie: file with GPT-3.5's triples, if there is one.
        titles: whether retrievers see the titles.
    """

    name: str
    store: Store
    questions: list[Question]
    passages: list[Chunk]
    openie: Path | None
    titles: bool = True
    _graphs: dict[str, KnowledgeGraph] = field(default_factory=dict)
    _facts: dict[str, Facts] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of passages."""
        return len({chunk.document_id for chunk in self.passages})

    @property
    def label(self) -> str:
        """For the table."""
        return f"{self.name}: {len(self.questions)} questions, {self.size:,} passages"

    def untitled(self) -> Corpus:
        """The same without titles; of the triples nothing changes."""
        return replace(self, titles=False, _graphs={})

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The passages as retrievers see them."""
        return self.passages if self.titles else [replace(chunk, title="") for chunk in self.passages]

    @cached_property
    def embedder(self) -> CachedEmbedder:
        """Embeds passages, phrases, facts and questions, each once and for all."""
        return CachedEmbedder(LocalEmbedder(), self.store)

    @cached_property
    def bm25(self) -> Retriever:
        """Search by keywords."""
        return BM25(self.chunks)

    @cached_property
    def dense(self) -> Retriever:
        """Search by meaning."""
        return Dense(self.chunks, self.embed("passages", map(searchable, self.chunks)), self.embedder)

    @cached_property
    def fused(self) -> Retriever:
        """Both, by score."""
        return WeightedFusion([self.bm25, self.dense], [0.5, 0.5])

    def embed(self, what: str, texts: Iterable[str]) -> NDArray[np.float32]:
        """Vectors of texts, with a bar where there is a terminal."""
        everything = list(texts)
        with tqdm(total=len(everything), desc=f"{self.name}: embedding {what}", disable=None) as bar:
            return CachedEmbedder(LocalEmbedder(), self.store, on_progress=bar.update)(everything)

    def graph(self, source: str) -> KnowledgeGraph:
        """The knowledge graph of what was found by rules, spaCy or GPT-3.5."""
        if source not in self._graphs:
            found = self.extractions(source)
            self._graphs[source] = KnowledgeGraph.build(self.chunks, lambda chunk: found.get(chunk.id), source)
        return self._graphs[source]

    def extractions(self, source: str) -> Mapping[str, Extraction]:
        """What was found in each passage, by its id."""
        if source == NOTHING:
            return {chunk.id: Extraction() for chunk in self.passages}
        if source == RULES:
            return {chunk.id: RuleExtractor()(chunk) for chunk in self.passages}
        if source == SPACY:
            identity = SpacyExtractor().identity
            extract(self.passages, SpacyExtractor(), self.store, workers=1)
        elif self.openie is None:
            raise ValueError(f"there are no triples by GPT-3.5 for {self.name}")
        else:
            identity = import_openie(self.openie, self.passages, self.store).extractor
        return stored_extractions(self.store, identity, [chunk.id for chunk in self.passages])

    def facts(self, source: str) -> Facts:
        """The facts of a graph, the synonyms among their phrases, and the vectors of both."""
        if source not in self._facts:
            facts = FactGraph.of(self.graph(source))
            vectors = self.embed("phrases", facts.phrases), self.embed("facts", facts.texts)
            self._facts[source] = Facts(facts, self.synonyms(facts.phrases), *vectors)
        return self._facts[source]

    def synonyms(self, phrases: list[str]) -> Synonyms:
        """The synonyms among phrases, kept in the workspace."""

        def build(folder: Path) -> None:
            Synonyms.build(phrases, self.embedder).save(folder)

        of_what = {"phrases": content_id(*phrases), "model": self.embedder.model}
        return Synonyms.load(self.store.derived("synonyms", of_what, build))

    def version_1(self, source: str, *, edges: bool = True, synonyms: bool = True, **options: Any) -> Make:
        """HippoRAG, over dense search; `options` are its own. Without edges no phrase leads to another."""

        def make() -> Retriever:
            made = self.facts(source)
            graph = made.graph if edges else replace(made.graph, relations=emptied(made.graph.relations))
            near = made.synonyms if edges and synonyms else None
            return HippoRAG(graph, self.chunks, self.dense, self.embedder, made.phrases, synonyms=near, **options)

        return make

    def version_2(self, source: str, *, synonyms: bool = True, **options: Any) -> Make:
        """HippoRAG 2 without its filter, for which it takes an LLM, over dense search; `options` are its own."""

        def make() -> Retriever:
            made = self.facts(source)
            near = made.synonyms if synonyms else None
            return HippoRAG2(made.graph, self.chunks, self.dense, self.embedder, made.facts, synonyms=near, **options)

        return make


def open_corpora(data: Path, workspaces: Path) -> Iterator[Corpus]:
    """The sets, with titles; a workspace is open while its sets are looked at."""
    for name, folder in (("MuSiQue", "musique"), ("HotpotQA", "hotpotqa"), ("2Wiki", "2wikimultihopqa")):
        with Store.open(workspaces / folder) as store:
            index_corpus([data / folder / "corpus.json"], store)
            passages, questions = store.chunks(), read_questions(data / folder / "questions.json")
            openie = data / folder / "openie_gpt-3.5-turbo.json"
            yield Corpus(name, store, questions, passages, openie if openie.exists() else None)
            if (fewer := data / folder / "corpus_780.json").exists():
                kept = {(passage.title, passage.text) for passage in read_passages(fewer)}
                ids = {document.id for document in store.documents() if (document.title, document.text) in kept}
                some = [chunk for chunk in passages if chunk.document_id in ids]
                yield Corpus(name, store, questions, some, None)


def sources(corpus: Corpus) -> list[tuple[str, str]]:
    """Where triples come from, and what that is called."""
    found = []
    try:
        SpacyExtractor().identity  # noqa: B018 - it says whether there is a spaCy
        found.append((SPACY, "no LLM, spaCy's triples"))
    except ConfigError as error:
        print(error, file=sys.stderr)
    return [*found, (GPT, "GPT-3.5's triples")] if corpus.openie else found


def systems(corpus: Corpus) -> dict[str, Make]:
    """The rows of the first table."""
    rows: dict[str, Make] = {
        "BM25": lambda: corpus.bm25,
        "dense": lambda: corpus.dense,
        "fused": lambda: corpus.fused,
    }
    for source, name in sources(corpus):
        rows[f"HippoRAG, {name}"] = corpus.version_1(source)
        rows[f"HippoRAG with its ensemble, {name}"] = corpus.version_1(source, ensemble_at=0.9)
        rows[f"HippoRAG 2, {name}"] = corpus.version_2(source)
    rows["GraphIndex over BM25, no LLM"] = lambda: GraphIndex(corpus.graph(RULES), corpus.chunks, corpus.bm25)
    rows["GraphIndex over fused, no LLM"] = ours(corpus)
    if corpus.openie:
        rows["GraphIndex over fused, GPT-3.5's triples"] = ours(corpus, GPT)
    return rows


def ours(corpus: Corpus, source: str = RULES, **options: Any) -> Make:
    """The graph index over fused search; `options` are its own."""
    return lambda: GraphIndex(corpus.graph(source), corpus.chunks, corpus.fused, **options)


class QuestionPhrasesIgnored(GraphIndex):
    """Starts from passages only."""

    def __init__(self, graph: KnowledgeGraph, chunks: Sequence[Chunk], retriever: Retriever) -> None:
        super().__init__(graph, chunks, retriever)
        self._linker = QuestionLinker([])


def emptied(matrix: csr_array[Any, tuple[int, int]]) -> csr_array[Any, tuple[int, int]]:
    """A matrix of the same shape, of nothing."""
    empty = matrix.copy()
    empty.data[:] = 0
    empty.eliminate_zeros()
    return empty


def unlinked(graph: KnowledgeGraph) -> KnowledgeGraph:
    """The graph without links."""
    return replace(graph, links=emptied(graph.links))


def unnamed(graph: KnowledgeGraph) -> KnowledgeGraph:
    """The graph of passages that are about nothing, and without links."""
    return replace(unlinked(graph), names=emptied(graph.names))


def variants(corpus: Corpus) -> dict[str, Make]:
    """What the graph index is without each of its parts, and with other ones."""

    def on(graph: Callable[[], KnowledgeGraph], retriever: Callable[[], Retriever] = lambda: corpus.fused) -> Make:
        return lambda: GraphIndex(graph(), corpus.chunks, retriever())

    def rules() -> KnowledgeGraph:
        return corpus.graph(RULES)

    extractors = [source for source, _ in sources(corpus)]
    return {
        "as it is": ours(corpus),
        "no walk: the retriever alone": lambda: corpus.fused,
        "one step of the walk: damping 0.001": ours(corpus, damping=0.001),
        "question's phrases not used": lambda: QuestionPhrasesIgnored(rules(), corpus.chunks, corpus.fused),
        "no links: names not looked for in texts": on(lambda: unlinked(rules())),
        "no names: passages are about nothing": on(lambda: unnamed(rules())),
        "links and names only, no entities": on(lambda: corpus.graph(NOTHING)),
        "links no stronger than mentions": ours(corpus, link=1.0),
        "passages about a phrase no stronger than those that mention it": ours(corpus, about=1.0),
        **{f"entities and triples of {source}": on(lambda name=source: corpus.graph(name)) for source in extractors},  # type: ignore[misc]  # the lambda's default
        "over dense": on(rules, lambda: corpus.dense),
        "over BM25": on(rules, lambda: corpus.bm25),
        **{f"damping {damping}": ours(corpus, damping=damping) for damping in (0.3, 0.5, 0.7, 0.8, 0.95)},
        **{f"depth {depth}": ours(corpus, depth=depth) for depth in (50, 100, 400)},
    }


def published(corpus: Corpus) -> dict[str, Make]:
    """What HippoRAG is without each of its parts, as in the ablations of its papers."""
    one, two = corpus.version_1, corpus.version_2
    return {
        "HippoRAG": one(GPT),
        "query nodes only, no PageRank": one(GPT, edges=False),
        "no node specificity": one(GPT, specificity=False),
        "no synonymy": one(GPT, synonyms=False),
        **{f"damping {damping}": one(GPT, damping=damping) for damping in (0.1, 0.3, 0.9)},
        "with its ensemble": one(GPT, ensemble_at=0.9),
        "with its ensemble, always": one(GPT, ensemble_at=float("inf")),
        "HippoRAG 2": two(GPT),
        "2 facts": two(GPT, facts=2),
        "20 facts": two(GPT, facts=20),
        "passages are nodes, but start nothing": two(GPT, passage_weight=0.0),
        "passages start with weight 0.5, not 0.05": two(GPT, passage_weight=0.5),
        "context edges of weight 1": two(GPT, context=1.0),
        "no synonymy edges": two(GPT, synonyms=False),
        "damping 0.8": two(GPT, damping=0.8),
    }


def evaluate(corpus: Corpus, rows: Mapping[str, Make]) -> dict[str, Scores]:
    """The scores of each row."""
    return {
        name: evaluate_retrieval(corpus.questions, corpus.passages, {name: make()})[0]
        for name, make in tqdm(rows.items(), desc=corpus.label, disable=None)
    }


def both(titled: Scores, untitled: Scores, measure: str) -> str:
    """A cell: with titles / without."""
    return f"{titled.mean(measure):.3f} / {untitled.mean(measure):.3f}"


def compared(corpus: Corpus) -> Iterator[tuple[str, ...]]:
    """The rows of the first table for a set."""
    titled, untitled = (evaluate(each, systems(each)) for each in (corpus, corpus.untitled()))
    for name, scores in titled.items():
        differences = [
            "" if name == "fused" else signed(compare(found[name], found["fused"], "recall@5", seed=0))
            for found in (titled, untitled)
        ]
        label = corpus.label if name == "BM25" else ""
        yield label, name, *(both(scores, untitled[name], measure) for measure in MEASURES), *differences


def ablated(corpus: Corpus) -> dict[str, str]:
    """Recall@5 of the variants of the graph index on a set."""
    titled, untitled = (evaluate(each, variants(each)) for each in (corpus, corpus.untitled()))
    return {name: both(scores, untitled[name], "recall@5") for name, scores in titled.items()}


def main() -> None:
    """Measure, print, and with `--write` put the tables into the results."""
    args = arguments(__doc__)
    rows: list[tuple[str, ...]] = []
    columns: dict[str, dict[str, str]] = {}
    parts: list[tuple[str, ...]] = []
    for corpus in open_corpora(args.data, ROOT / "benchmarks" / "workspaces"):
        rows += compared(corpus)
        columns[f"{corpus.name}, {corpus.size:,}"] = ablated(corpus)
        if corpus.openie:
            found = evaluate(corpus, published(corpus))
            parts += [
                (name, *(f"{scores.mean(measure):.3f}" for measure in MEASURES)) for name, scores in found.items()
            ]
    against = ("recall@5 against fused", "the same without titles")
    names = dict.fromkeys(name for column in columns.values() for name in column)
    tables = (
        Table(("set", "retriever", *MEASURES, *against), tuple(rows), ("Cells: with titles / without titles.",)),
        Table(
            ("GraphIndex, recall@5", *columns),
            tuple((name, *(column.get(name, "") for column in columns.values())) for name in names),
            ("Cells: with titles / without titles.",),
        ),
        Table(("HippoRAG, MuSiQue with GPT-3.5's triples", *MEASURES), tuple(parts)),
    )
    text = "\n\n".join(table.markdown() for table in tables)
    print(text)
    if args.write:
        write_into_results("benchmarks/graph_retrieval.py", text)


if __name__ == "__main__":
    main()
