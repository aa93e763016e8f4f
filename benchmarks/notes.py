"""Gold passages among those collected with notes, beside one retrieval and IRCoT, at the same number of passages.

    python benchmarks/notes.py [--write] [--data FOLDER]
    python benchmarks/notes.py --model smollm2 [--retriever fused] [--questions 30] [--write] [--data FOLDER]

The first form calls no model: rules write the notes, so that what the loop is worth shows by itself. It takes
one to three minutes.
`one retrieval, reordered` has the order of the collected passages without the loop: what the order alone is worth.
Fewer than 15 passages may be collected; the last difference is to one retrieval of as many, question by question.
The rules were tuned on MuSiQue and HotpotQA; 2WikiMultiHopQA was looked at once they were done.

In the second form the model writes notes and, for IRCoT, thoughts: with SmolLM2 about half a minute of two cores
a question. Replies are kept in `benchmarks/workspaces/`, so it can be stopped, started again, and given more questions.
The folder holds `musique/`, `hotpotqa/` and `2wikimultihopqa/`, each a published `corpus.json` and `questions.json`.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import get_args

from interleaving import SETS as THOUGHTS
from interleaving import Metered
from retrieval import ROOT, SETS, write_into_results

from ragloom.components.collected import Notes
from ragloom.components.datasets import Question, read_questions
from ragloom.components.extractive_notes import ExtractiveNoteTaker
from ragloom.components.interleaving import InterleavedRetriever
from ragloom.components.local_server import local_llm
from ragloom.components.minilm import LocalEmbedder
from ragloom.components.note_claims import NoteTaker
from ragloom.components.note_taking import LLMNoteTaker
from ragloom.components.notes import NoteCollector
from ragloom.pipelines.collecting import CollectedPassages, entities_by_rules, named_earlier
from ragloom.pipelines.evaluation import Scores, compare, evaluate_retrieval
from ragloom.pipelines.indexing import index_corpus, open_dense
from ragloom.pipelines.report import Table, signed
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import RetrieverName, open_retriever
from ragloom.store import Store
from ragloom.types import Hit, Retriever

K, MOST = 5, 15  # passages of a step, and in all, as published
KS = (5, 10, 15)
SEED = 0
RULES = ExtractiveNoteTaker(entities_by_rules)


@dataclass
class Watched:
    """A collector that counts its steps, the passages of each question, and why it stopped."""

    collector: Callable[[str], Notes]
    steps: int = 0
    passages: dict[str, int] = field(default_factory=dict)
    stops: Counter[str] = field(default_factory=Counter)

    def __call__(self, question: str, /) -> Notes:
        """Its notes."""
        notes = self.collector(question)
        self.steps += sum(bool(step.queries) for step in notes.steps[1:])
        self.passages[question] = len(notes.hits)
        self.stops[notes.stop] += 1
        return notes


@dataclass(frozen=True)
class NamedEarlier:
    """One retrieval in the order of collected passages, of as many as can be collected."""

    retriever: Retriever

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """The first k of them."""
        hits = self.retriever(query, max(k, MOST))
        return named_earlier(query, RULES.begin(query, hits).note, hits)[:k]


@dataclass(frozen=True)
class AsMany:
    """One retrieval of as many passages as were collected for the same question."""

    retriever: Retriever
    passages: Mapping[str, int]

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """They, whatever k is; none where none were collected."""
        found = self.passages[query]
        return self.retriever(query, found) if found else []


@dataclass(frozen=True)
class System:
    """What is measured: a retriever, the collector in it, and the model that it asks."""

    name: str
    retriever: Retriever
    _: KW_ONLY
    watched: Watched | None = None
    metered: Metered | None = None

    def spent(self, questions: int) -> tuple[str, ...]:
        """Passages, steps, calls and tokens a question, and reasons to stop."""
        passages = steps = stops = calls = tokens = ""
        if self.watched is not None:
            passages = f"{sum(self.watched.passages.values()) / questions:.1f}"
            steps = f"{self.watched.steps / questions:.2f}"
            stops = ", ".join(f"{stop} {times}" for stop, times in self.watched.stops.most_common())
        if self.metered is not None:
            calls, tokens = f"{self.metered.calls / questions:.2f}", f"{self.metered.usage.tokens / questions:.0f}"
        return passages, steps, calls, tokens, stops


def collected(name: str, taker: NoteTaker, retriever: Retriever, *, metered: Metered | None = None) -> System:
    """A system that collects with notes of the taker."""
    watched = Watched(NoteCollector(taker, retriever, k=K, most_passages=MOST))
    return System(f"collected, notes by {name}", CollectedPassages(watched), watched=watched, metered=metered)


def without_model(retriever: Retriever) -> list[System]:
    """One retrieval, its order improved, and the loop with notes by rules."""
    return [
        System("one retrieval", retriever),
        System("one retrieval, reordered", NamedEarlier(retriever)),
        collected("rules", RULES, retriever),
    ]


def with_model(folder: Path, retriever: Retriever, model: str, store: Store) -> list[System]:
    """One retrieval, IRCoT, and the loop with notes by rules and by the model."""
    llm, steps = local_llm(model), THOUGHTS[folder.name][1]
    thoughts, notes = Metered(llm, store), Metered(llm, store)
    interleaved = InterleavedRetriever(thoughts, retriever, steps=steps, per_step=K)
    return [
        System("one retrieval", retriever),
        System(f"IRCoT, at most {steps} retrievals", interleaved, metered=thoughts),
        collected("rules", RULES, retriever),
        collected(model, LLMNoteTaker(notes), retriever, metered=notes),
    ]


def rows(questions: Sequence[Question], store: Store, systems: Sequence[System]) -> Iterator[tuple[str, ...]]:
    """A row for each system; differences are to the first, and to as many passages of it as were collected."""
    chunks, one = store.chunks(), systems[0].retriever
    retrievers = {system.name: system.retriever for system in systems}
    found = evaluate_retrieval(questions, chunks, retrievers, ks=KS)
    for system, scores in zip(systems, found, strict=True):
        difference = ""
        if system.watched is not None:
            as_many = {"as many": AsMany(one, system.watched.passages)}
            (fair,) = evaluate_retrieval(questions, chunks, as_many, ks=KS)
            difference = signed(compare(scores, fair, f"recall@{MOST}", seed=SEED))
        yield system.name, *measured(scores, found[0]), difference, *system.spent(len(questions))


def measured(scores: Scores, alone: Scores) -> Iterator[str]:
    """Recall at each number of passages, and its difference to one retrieval."""
    for k in KS:
        yield f"{scores.mean(f'recall@{k}'):.3f}"
        yield "" if scores is alone else signed(compare(scores, alone, f"recall@{k}", seed=SEED))


def rows_of_set(
    folder: Path, retrievers: Sequence[RetrieverName], args: argparse.Namespace
) -> Iterator[tuple[str, ...]]:
    """The rows of one set, the systems of each retriever one after another."""
    workspace = ROOT / "benchmarks" / "workspaces" / folder.name
    questions = read_questions(folder / "questions.json")[: args.questions]
    settings = Settings(workspace=workspace)
    title = f"{SETS[folder.name]}: {len(questions)} questions"
    with Store.open(workspace) as store:
        index_corpus([folder / "corpus.json"], store)
        open_dense(store, LocalEmbedder())  # embeds what is new
        for name in retrievers:
            alone = open_retriever(name, settings, store)
            systems = with_model(folder, alone, args.model, store) if args.model else without_model(alone)
            for place, row in enumerate(rows(questions, store, systems)):
                yield title, "" if place else name, *row
                title = ""


def main() -> None:
    """Measure, print, and with `--write` put the table into the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices: tuple[RetrieverName, ...] = get_args(Settings.model_fields["retriever"].annotation)
    parser.add_argument("--model", help="a local model that writes notes and thoughts; without it none is called")
    parser.add_argument("--retriever", choices=choices, default="fused", help="with a model (default: fused)")
    parser.add_argument("--questions", type=int, help="of each set (default: all)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"there are no data sets in {args.data}; name their folder with --data")
    retrievers: tuple[RetrieverName, ...] = (args.retriever,) if args.model else ("bm25", "fused", "graph")
    sets = THOUGHTS if args.model else SETS
    found = [row for name in sets for row in rows_of_set(args.data / name, retrievers, args)]
    measures = [column for k in KS for column in (f"recall@{k}", "against one")]
    columns = (
        "set",
        "with",
        "found by",
        *measures,
        "all against as many of one",
        "passages",
        "steps",
        "calls",
        "tokens",
        "stopped by",
    )
    shown = [place for place, name in enumerate(columns) if args.model or name not in ("calls", "tokens")]
    table = Table(
        tuple(columns[place] for place in shown), tuple(tuple(row[place] for place in shown) for row in found)
    )
    print(table.markdown())
    if args.write:
        write_into_results("benchmarks/notes.py" + (" --model" if args.model else ""), table.markdown())


if __name__ == "__main__":
    main()
