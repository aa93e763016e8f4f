"""What thoughts between retrievals find that one retrieval does not, with the embedded model, on two public sets.

    python benchmarks/interleaving.py [--retriever fused] [--questions 30] [--data FOLDER]

The folder holds `musique/` and `hotpotqa/`, each a published `corpus.json` and `questions.json`. The retriever alone is
compared with itself interleaved, at equal k. For MuSiQue a third row has thoughts that are always right, put together
from the published steps of each question: what the technique can be worth, with a model that errs nowhere. The first
run calls the model about 95 times, a quarter of an hour of two cores; replies are kept in `benchmarks/workspaces/`, so
it can be stopped and started again.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack, get_args

from ragloom.components.datasets import Question, read_questions
from ragloom.components.interleaving import InterleavedRetriever
from ragloom.components.llm import Cached, IdentifiedLLM, ScriptedLLM, request_key
from ragloom.components.local_server import local_llm
from ragloom.pipelines.evaluation import Scores, compare, evaluate_retrieval
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.report import Table, signed
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_retriever
from ragloom.run import Run
from ragloom.store import Store
from ragloom.types import Hit, Message, Options, Reply, Retriever, Usage, content_id

ROOT = Path(__file__).resolve().parents[1]
SETS = {"musique": ("MuSiQue", 4), "hotpotqa": ("HotpotQA", 2)}  # the steps of the publication
MEASURES = ("recall@5", "recall@10")
SEED = 0


@dataclass
class Metered:
    """An LLM that adds up what the replies took when they were made, whether they are kept ones or not."""

    llm: IdentifiedLLM
    store: Store
    calls: int = 0
    usage: Usage = field(default_factory=Usage)

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The reply, kept or new."""
        self.calls += 1
        reply = Cached(self.llm, self.store)(messages, **options)
        kept = self.store.reply(content_id(self.llm.identity, request_key(messages, options)))
        self.usage += reply.usage if kept is None else kept.usage
        return reply


@dataclass
class Watched:
    """An interleaved retriever that counts why it stopped."""

    retriever: InterleavedRetriever
    stops: Counter[str] = field(default_factory=Counter)

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """Its hits."""
        with Run() as run:
            hits = self.retriever(query, k)
        self.stops.update(step.attributes["stop"] for step in run.record().spans if "stop" in step.attributes)
        return hits


@dataclass(frozen=True)
class RightThoughts:
    """An interleaved retriever whose thoughts are the steps that MuSiQue publishes for each question."""

    thoughts: Mapping[str, Sequence[str]]
    retriever: Retriever
    steps: int

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """Its hits."""
        return InterleavedRetriever(ScriptedLLM(self.thoughts[query]), self.retriever, steps=self.steps)(query, k)


def right_thoughts(question: Question) -> Iterator[str]:
    """Each step's question, with earlier answers in the place of their numbers, and its answer; then the end."""
    answers: list[str] = []
    for step in question.meta["question_decomposition"]:
        asked = re.sub(r"#(\d)", lambda number: answers[int(number[1]) - 1], step["question"])
        answers.append(step["answer"])
        yield f"{asked.replace('?', '')}: {step['answer']}"
    yield "So the answer is: known"


def rows(folder: Path, workspace: Path, retriever: str, count: int) -> Iterator[tuple[str, ...]]:
    """A row for the retriever alone, and one for each kind of thought between retrievals."""
    name, steps = SETS[folder.name]
    settings = Settings(workspace=workspace, retriever=retriever)
    questions = read_questions(folder / "questions.json")[:count]
    with Store.open(workspace) as store:
        index_corpus([folder / "corpus.json"], store)
        alone = open_retriever(settings.retriever, settings, store)
        llm = Metered(local_llm(), store)
        watched = Watched(InterleavedRetriever(llm, alone, steps=steps))
        systems: dict[str, Retriever] = {retriever: alone, f"interleaved, at most {steps} retrievals": watched}
        if folder.name == "musique":
            thoughts = {question.text: list(right_thoughts(question)) for question in questions}
            systems["interleaved, right thoughts"] = RightThoughts(thoughts, alone, steps)
        measured = evaluate_retrieval(questions, store.chunks(), systems)
    stops = ", ".join(f"{stop} {times}" for stop, times in watched.stops.most_common())
    cost = (f"{llm.calls / count:.2f}", f"{llm.usage.tokens / count:.0f}", stops)
    sizes = (f"{name}: {len(measured[0].questions)} questions", *[""] * (len(measured) - 1))
    costs = (("", "", ""), cost, ("", "", ""))
    for size, scores, spent in zip(sizes, measured, costs, strict=False):
        yield size, scores.system, *cells(scores, measured[0]), *spent


def cells(scores: Scores, alone: Scores) -> Iterator[str]:
    """Each measure, and its difference to the retriever alone."""
    for measure in MEASURES:
        yield f"{scores.mean(measure):.3f}"
        yield "" if scores is alone else signed(compare(scores, alone, measure, seed=SEED))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = get_args(Settings.model_fields["retriever"].annotation)
    parser.add_argument("--retriever", choices=names, default="fused")
    parser.add_argument("--questions", type=int, default=30, help="of each set (default: 30)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"there are no data sets in {args.data}; name their folder with --data")
    workspaces = ROOT / "benchmarks" / "workspaces"
    found = [row for name in SETS for row in rows(args.data / name, workspaces / name, args.retriever, args.questions)]
    measures = [column for measure in MEASURES for column in (measure, "against alone")]
    columns = ("set", "retriever", *measures, "calls a question", "tokens a question", "stopped by")
    print(Table(columns, tuple(found)).markdown())


if __name__ == "__main__":
    main()
