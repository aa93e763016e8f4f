"""Gold passages found for implicit questions: alone, by clues from a memory, by other queries, and by a walk.

    python benchmarks/implicit_questions.py [--show] [--write] [--data FOLDER]
    python benchmarks/implicit_questions.py --model smollm2 [--questions 20] [--write] [--data FOLDER]

The questions are those of the sets in which a name can be hidden behind what another passage says of it, by the rules
of `ragloom.pipelines.hidden_names`; `--show` prints them all. The first form calls no model and takes two minutes. The
clues were tuned on every other question of each set, where each setting that was tried gained 0.11 to 0.24 with the
default fusion, and on the questions as they were; `the other half` are the rest. A rule of the hiding was mended after
that, which added two questions and moved some from one half to the other.

In the second form the model makes queries without a memory (HyDE, decomposition), recalls clues from memories, and
writes two of them. Those are of a part of each corpus only, for the sake of time: the passages of the questions, and
the ten that fused search finds for each of them. What is searched is the whole corpus. With SmolLM2 it takes an hour of
two cores. Replies and entries are kept in `benchmarks/workspaces/`, so it can be stopped and started again.
The folder holds `musique/`, `hotpotqa/` and `2wikimultihopqa/`, each a published `corpus.json` and `questions.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from interleaving import Metered
from retrieval import ROOT, SETS, write_into_results

from ragloom.components.clue_making import LLMClueMaker
from ragloom.components.clue_phrases import PhraseClues
from ragloom.components.clue_retrieval import ClueRetriever, weak_retrieval
from ragloom.components.datasets import Question, gold_chunks, read_questions
from ragloom.components.local_server import local_llm
from ragloom.components.minilm import LocalEmbedder
from ragloom.components.query_expansion import Decomposition, HyDE
from ragloom.pipelines.evaluation import Scores, compare, evaluate_retrieval
from ragloom.pipelines.hidden_names import ImplicitQuestion, NameHider
from ragloom.pipelines.indexing import index_corpus, open_dense
from ragloom.pipelines.memory_building import build_memory, open_memory
from ragloom.pipelines.report import Table, signed
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import RetrieverName, open_retriever
from ragloom.store import Store
from ragloom.types import Retriever

WORKSPACES = ROOT / "benchmarks" / "workspaces"
KS = (5, 10)
SEED = 0
MEMORY_TOKENS = 1024  # of a prompt; small models lose themselves in more
NEAR = 10  # passages of a question's neighbourhood, in the part of a corpus that a model writes of

Kind = Literal["extractive", "glossary", "gists", "tree"]
KINDS: Mapping[Kind, str] = {
    "extractive": "M4, sentences",
    "gists": "M1, gists",
    "tree": "M2, tree",
    "glossary": "M3, glossary",
}
WITHOUT_MODEL: tuple[Kind, ...] = ("extractive", "glossary")


@dataclass
class Corpus:
    """A set with its implicit questions; its workspace is open.

    Attributes:
        implicit: those of the set whose names could be hidden.
    """

    name: str
    store: Store
    settings: Settings
    implicit: Sequence[ImplicitQuestion]

    @property
    def questions(self) -> list[Question]:
        """As they are asked."""
        return [made.question for made in self.implicit]

    @property
    def originals(self) -> list[Question]:
        """With their names."""
        return [replace(made.question, text=made.original) for made in self.implicit]

    def search(self, name: RetrieverName) -> Retriever:
        """A retriever over the whole corpus."""
        return open_retriever(name, self.settings, self.store)

    @cached_property
    def fused(self) -> Retriever:
        """What clues are added to."""
        return self.search("fused")

    def with_phrases(self, kind: Kind, retriever: Retriever, *, gated: bool = False) -> ClueRetriever:
        """Search with clues that no model makes."""
        memory = open_memory(self.settings.model_copy(update={"memory": kind}), self.store)
        gate = weak_retrieval(retriever) if gated else None
        return ClueRetriever(memory, retriever, PhraseClues(), gate=gate)


@dataclass
class Row:
    """A system's scores, one set after another, and what its model calls took."""

    name: str
    scores: list[Scores] = field(default_factory=list)
    metered: list[Metered] = field(default_factory=list)

    @property
    def pooled(self) -> Scores:
        """Those of all sets as one."""
        values = {measure: sum((part.values[measure] for part in self.scores), ()) for measure in self.scores[0].values}
        return Scores(self.name, sum((part.questions for part in self.scores), ()), values)

    @property
    def unseen(self) -> Scores:
        """Those of the questions on which nothing was tuned."""
        halves = [
            replace(
                part,
                questions=part.questions[1::2],
                values={measure: values[1::2] for measure, values in part.values.items()},
            )
            for part in self.scores
        ]
        return Row(self.name, halves).pooled

    def cells(self, alone: Row) -> Iterator[str]:
        """Recall in each set and in all, with differences to the question alone."""
        yield from (f"{part.mean('recall@5'):.3f}" for part in self.scores)
        for k in KS:
            yield f"{self.pooled.mean(f'recall@{k}'):.3f}"
            yield "" if self is alone else signed(compare(self.pooled, alone.pooled, f"recall@{k}", seed=SEED))
        yield "" if self is alone else signed(compare(self.unseen, alone.unseen, "recall@5", seed=SEED))

    def spent(self) -> tuple[str, str]:
        """Calls and tokens a question."""
        questions = len(self.pooled.questions)
        calls, tokens = (sum(model.calls for model in self.metered), sum(m.usage.tokens for m in self.metered))
        return f"{calls / questions:.1f}", f"{tokens / questions:.0f}"


def open_corpora(data: Path, names: Sequence[str], most: int | None) -> Iterator[Corpus]:
    """The sets, each with at most so many questions."""
    for name in names:
        settings = Settings(workspace=WORKSPACES / name)
        with Store.open(settings.workspace) as store:
            index_corpus([data / name / "corpus.json"], store)
            open_dense(store, LocalEmbedder())  # embeds what is new
            for kind in WITHOUT_MODEL:
                build_memory(settings.model_copy(update={"memory": kind}), store)
        store = Store.open(settings.workspace, write=False)
        hide = NameHider(store.chunks())
        made = [hidden for question in read_questions(data / name / "questions.json") if (hidden := hide(question))]
        yield Corpus(SETS[name], store, settings, made[:most])


# ---- Without a model


def without_model(corpus: Corpus) -> dict[str, Retriever]:
    """The rows of the first table."""
    walk = corpus.search("graph")
    return {
        "fused": corpus.fused,
        "BM25": corpus.search("bm25"),
        "dense": corpus.search("dense"),
        "fused, clues of M4": corpus.with_phrases("extractive", corpus.fused),
        "fused, clues of M3": corpus.with_phrases("glossary", corpus.fused),
        "fused, clues of M3 where it is weak": corpus.with_phrases("glossary", corpus.fused, gated=True),
        "graph": walk,
        "graph, clues of M3": corpus.with_phrases("glossary", walk),
    }


def first_table(corpora: Sequence[Corpus]) -> Table:
    """Search without a model."""
    rows: dict[str, Row] = {}
    for corpus in corpora:
        measured = evaluate_retrieval(corpus.questions, corpus.store.chunks(), without_model(corpus), ks=KS)
        named = evaluate_retrieval(corpus.originals, corpus.store.chunks(), {"fused": corpus.fused}, ks=KS)
        for name, scores in [*((each.system, each) for each in measured), ("fused, names not hidden", named[0])]:
            rows.setdefault(name, Row(name)).scores.append(scores)
    columns = ("found by", *set_columns(corpora), *differences(corpora))
    return Table(columns, tuple((row.name, *row.cells(rows["fused"])) for row in rows.values()))


def set_columns(corpora: Sequence[Corpus]) -> list[str]:
    """Names of the columns for recall@5 in each set."""
    return [f"{corpus.name}: {len(corpus.questions)}" for corpus in corpora]


def differences(corpora: Sequence[Corpus]) -> list[str]:
    """Names of the columns for all sets together."""
    questions = sum(len(corpus.questions) for corpus in corpora)
    measures = [column for k in KS for column in (f"all {questions}, recall@{k}", "against fused")]
    return [*measures, "the other half, recall@5 against fused"]


# ---- With a model


def part_of(corpus: Corpus, folder: Path) -> Store:
    """A workspace with the passages of the questions, and with those found for them."""
    chunks = corpus.store.chunks()
    wanted = {hidden.chunk_id for made in corpus.implicit for hidden in made.hidden}
    for question in (*corpus.questions, *corpus.originals):
        wanted |= {id_ for ids in gold_chunks(question, chunks) for id_ in ids}
        wanted |= {hit.chunk.id for hit in corpus.fused(question.text, NEAR)}
    folder.mkdir(parents=True, exist_ok=True)
    passages = [{"title": chunk.title, "text": chunk.text} for chunk in chunks if chunk.id in wanted]
    file = folder / "passages.json"
    file.write_text(json.dumps(passages), encoding="utf-8")
    store = Store.open(folder)
    index_corpus([file], store)
    return store


@dataclass
class Measuring:
    """Measures systems set by set, and says what it found as it goes."""

    rows: dict[str, Row] = field(default_factory=dict)

    def __call__(self, corpus: Corpus, name: str, retriever: Retriever, metered: Metered | None = None) -> None:
        """Add a system's scores on one set."""
        row = self.rows.setdefault(name, Row(name))
        row.scores += evaluate_retrieval(corpus.questions, corpus.store.chunks(), {name: retriever}, ks=KS)
        row.metered += [metered] if metered else []
        calls, tokens = row.spent()
        said = f"{corpus.name}, {name}: {row.scores[-1].mean('recall@5'):.3f}, {calls} calls, {tokens} tokens"
        print(said, file=sys.stderr, flush=True)


def without_memory(corpus: Corpus, part: Store, model: str, measure: Measuring) -> None:
    """The question alone, a walk, and queries that a model makes without a memory."""
    llm = local_llm(model)
    measure(corpus, "fused", corpus.fused)
    measure(corpus, "graph", corpus.search("graph"))
    for name, make in (("HyDE", HyDE), ("decomposition", Decomposition)):
        metered = Metered(llm, part)
        measure(corpus, name, make(metered, corpus.fused), metered)


def with_memory(corpus: Corpus, part: Store, kind: Kind, model: str, measure: Measuring) -> None:
    """Clues of a memory: phrases, and those that a model recalls."""
    settings = Settings(workspace=part.folder, memory=kind, model=model)
    report = build_memory(settings, part)
    print(f"{corpus.name}, {KINDS[kind]}: {report.entries} entries", file=sys.stderr, flush=True)
    memory, metered = open_memory(settings, part), Metered(local_llm(model), part)
    measure(corpus, f"{KINDS[kind]}: phrases", ClueRetriever(memory, corpus.fused, PhraseClues()))
    maker = LLMClueMaker(metered, memory_tokens=MEMORY_TOKENS)
    measure(corpus, f"{KINDS[kind]}: recalled", ClueRetriever(memory, corpus.fused, maker), metered)


def second_table(corpora: Sequence[Corpus], model: str) -> Table:
    """Search with a model."""
    measure = Measuring()
    parts = [part_of(corpus, WORKSPACES / f"implicit-{corpus.store.folder.name}") for corpus in corpora]
    for corpus, part in zip(corpora, parts, strict=True):
        without_memory(corpus, part, model, measure)
    for kind in KINDS:
        for corpus, part in zip(corpora, parts, strict=True):
            with_memory(corpus, part, kind, model, measure)
    columns = ("found by", *set_columns(corpora), *differences(corpora)[:-1], "calls", "tokens")
    alone = measure.rows["fused"]
    found = ((row.name, *list(row.cells(alone))[:-1], *row.spent()) for row in measure.rows.values())
    return Table(columns, tuple(found))


def main() -> None:
    """Measure, print, and with `--write` put the table among the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a local model that makes queries, clues and memories")
    parser.add_argument("--questions", type=int, default=20, help="of each set, with a model (default: 20)")
    parser.add_argument("--show", action="store_true", help="print the questions and what was hidden, and stop")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--write", action="store_true", help="write the table among the results")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"there are no data sets in {args.data}; name their folder with --data")
    names = list(SETS)[:2] if args.model else list(SETS)
    corpora = list(open_corpora(args.data, names, args.questions if args.model else None))
    if args.show:
        for made in (made for corpus in corpora for made in corpus.implicit):
            print(f"{made.original}\n  {made.question.text}\n  {', '.join(hidden.name for hidden in made.hidden)}")
        return
    table = second_table(corpora, args.model) if args.model else first_table(corpora)
    print(table.markdown())
    if args.write:
        write_into_results("benchmarks/implicit_questions.py" + (" --model" if args.model else ""), table.markdown())


if __name__ == "__main__":
    main()
