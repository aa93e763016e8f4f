"""Gates live: PopQA questions through gate, retrieval and reader, with the embedded model, each decision traced.

    python benchmarks/live_gate.py [--questions 100] [--rate 0.5] [--data FOLDER]

The folder holds the published `questions.json`; the corpus are the passages that Contriever found for its questions.
Never and always retrieving are rows beside the gates; helped and hurt are counted against never. The bound of the
draft's margin is the one that would retrieve for `--rate` of 40 other questions, whose answers it does not look at. The
run checks that each answer's trace holds the decision and the features it rests on, and ends with an error where one
does not. Replies are kept in `benchmarks/workspaces/`, so it can be stopped and started again.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ragloom.components.asking import AskMarker
from ragloom.components.datasets import Question, read_questions
from ragloom.components.draft_uncertainty import DraftUncertainty
from ragloom.components.gate_rules import Fixed, Threshold
from ragloom.components.gating import Mode, SignalGate, observe
from ragloom.components.llm import Cached
from ragloom.components.local_server import local_llm
from ragloom.components.reading import PromptReader
from ragloom.errors import BadReply
from ragloom.pipelines.evaluation import ANSWER_METRICS, bootstrap
from ragloom.pipelines.indexing import index_corpus, open_bm25
from ragloom.pipelines.question_answering import Adaptive, ClosedBook, RetrieveThenRead
from ragloom.pipelines.report import Table
from ragloom.store import Store
from ragloom.types import Answer, Metadata, Pipeline

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
UNLABELLED = 40  # questions, from the end of the file, that the bound is taken from


@dataclass(frozen=True)
class Answered:
    """What became of the questions under one gate; None for an answer where the model gave no usable reply."""

    answers: list[Answer | None]
    right: list[float]

    @property
    def retrieved(self) -> float:
        """Share of the answers that the gate decided to retrieve for."""
        modes = [decision(answer).get("mode") for answer in self.answers if answer is not None]
        return sum(1 for mode in modes if mode != "none") / max(len(modes), 1)

    def untraced(self, gate: SignalGate) -> int:
        """The number of answers whose trace lacks the gate's decision, or a feature that it could rest on."""
        features = {name for signal in gate.signals for name in signal.features}
        traces = [decision(answer) for answer in self.answers if answer is not None]
        return sum(not (trace.keys() >= _SAID and features <= trace["features"].keys()) for trace in traces)


_SAID = {"mode", "score", "reason", "features"}


def decision(answer: Answer) -> Metadata:
    """What the answer's trace says of the gate's decision; empty if nothing."""
    return next((step.attributes for step in answer.run.spans if step.name == "gate"), {})


def answered(name: str, pipeline: Pipeline, questions: Sequence[Question]) -> Answered:
    """Answer the questions and judge them by whether a gold answer is contained."""
    answers: list[Answer | None] = []
    for question in tqdm(questions, desc=name, leave=False):
        try:
            answers.append(pipeline(question.text))
        except BadReply:
            answers.append(None)
    right = [
        0.0 if answer is None or answer.abstained else ANSWER_METRICS["contains"](answer.text, question.answers)
        for question, answer in zip(questions, answers, strict=True)
    ]
    return Answered(answers, right)


def row(name: str, mine: Answered, never: Answered) -> tuple[str, ...]:
    """A line of the table."""
    accuracy = bootstrap(mine.right, seed=SEED)
    changes = [now - then for now, then in zip(mine.right, never.right, strict=True)]
    usages = [answer.run.usage for answer in mine.answers if answer is not None]
    calls = sum(usage.calls + usage.cache_hits for usage in usages)  # a kept reply was a call once
    return (
        name,
        f"{accuracy.value:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}]",
        f"{mine.retrieved:.0%}",
        str(sum(change > 0 for change in changes)),
        str(sum(change < 0 for change in changes)),
        f"{calls / max(len(usages), 1):.2f}",
        str(mine.answers.count(None)),
    )


def bound_for(rate: float, draft: DraftUncertainty, questions: Sequence[Question]) -> float:
    """The draft margin that this share of the questions lies above."""
    drafts = (observe(draft, question.text) for question in tqdm(questions, desc="bound", leave=False))
    return float(np.nanquantile([observation.features["draft_margin"] for observation in drafts], 1 - rate))


def write_corpus(questions: Sequence[Question], file: Path) -> None:
    """The passages of the questions, each once."""
    passages = dict.fromkeys(question.meta["contriever_passage"] for question in questions)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in passages if text.strip()), encoding="utf-8")


def main() -> None:
    """Measure, print and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--k", type=int, default=1, help="passages (default: 1, as in Adapt-LLM)")
    parser.add_argument("--rate", type=float, default=0.5, help="share the draft's gate retrieves for (default: 0.5)")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets" / "popqa")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"there is no data set in {args.data}; name its folder with --data")
    everything = read_questions(args.data / "questions.json")
    questions = everything[: args.questions]
    workspace = ROOT / "benchmarks" / "workspaces" / "popqa-live"
    workspace.mkdir(parents=True, exist_ok=True)
    write_corpus(everything, workspace / "corpus.jsonl")
    with Store.open(workspace) as store:
        index_corpus([workspace / "corpus.jsonl"], store)
        llm = Cached(local_llm(args.model), store)
        reader = PromptReader(llm)
        retrieval = RetrieveThenRead(open_bm25(store), reader, k=args.k)
        modes: dict[Mode, Pipeline] = {"none": ClosedBook(reader), "single": retrieval}
        draft = DraftUncertainty(llm)
        bound = bound_for(args.rate, draft, everything[-UNLABELLED:])
        gates = {
            "never": SignalGate((), Fixed("none")),
            "always": SignalGate((), Fixed("single")),
            f"draft margin above {bound:.3f}": SignalGate((draft,), Threshold("draft_margin", bound)),
            "ask marker": SignalGate((AskMarker(llm),), Threshold("ask_marker", 0.5)),
        }
        runs = {name: answered(name, Adaptive(gate, modes), questions) for name, gate in gates.items()}
        passages = store.chunk_count()
    columns = ("gate", "contains", "retrieved", "helped", "hurt", "calls a question", "no usable reply")
    notes = (
        f"{args.model}, {len(questions)} questions of PopQA, the best {args.k} of {passages} passages by BM25.",
        "Contains with its 95 % bootstrap interval. Helped, hurt: questions right, or wrong, other than with never.",
    )
    print(Table(columns, tuple(row(name, run, runs["never"]) for name, run in runs.items()), notes).markdown())
    lacking = {name: run.untraced(gates[name]) for name, run in runs.items()}
    if any(lacking.values()):
        sys.exit(f"answers without the decision or its features in their trace: {lacking}")
    print(f"\nEach of the {sum(len(run.answers) for run in runs.values())} answers holds its decision and features.")


if __name__ == "__main__":
    main()
