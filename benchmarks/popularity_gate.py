"""What popularity alone is worth as a gate: PopQA with the embedded model, without and with one retrieved passage.

    python benchmarks/popularity_gate.py [--data FOLDER]

The folder holds `popqa/questions.json`, as prepared for Adapt-LLM (arXiv:2404.19705): each question with one passage
of the retriever Contriever and with the monthly page views of what it asks about. The protocol is that of Mallen et al.
(arXiv:2212.10511): bounds are taken from 75 % of the questions, at random, and judged on the others, 100 times. The
first run calls the model 1,200 times, about twenty minutes of two cores; replies are kept in `benchmarks/workspaces/`,
so it can be stopped and started again, and so are the outcomes, as `outcomes.jsonl`.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ragloom.components.datasets import Question, read_questions
from ragloom.components.gate_rules import Threshold
from ragloom.components.gating import Rule
from ragloom.components.llm import Cached
from ragloom.components.local_server import local_llm
from ragloom.components.popularity import Popularity, PopularityBounds, popularity_bound
from ragloom.components.reading import PromptReader
from ragloom.errors import BadReply
from ragloom.pipelines.evaluation import bootstrap, contains, paired_bootstrap
from ragloom.pipelines.outcomes import Outcome, right, write_outcomes
from ragloom.pipelines.report import Table, signed
from ragloom.store import Store
from ragloom.types import Chunk, Hit, Reader, content_id

ROOT = Path(__file__).resolve().parents[1]
SPLITS = 100
TRAINED = 0.75
FEATURE = "popularity_log"
SEED = 0

# How PopQA words its relations; what it asks about is not a field of its own here.
_WORDINGS = """
    Who is the author of _?
    Who is the father of _?
    Who is the mother of _?
    Who was the composer of _?
    Who was the director of _?
    Who was the producer of _?
    Who was the screenwriter for _?
    What color is _?
    What genre is _?
    What is _ the capital of?
    What is _'s occupation?
    What is the capital of _?
    What is the religion of _?
    What sport does _ play?
    In what city was _ born?
    In what country is _?
"""
_WORDED = [re.compile(re.escape(line.strip()).replace("_", "(.+)")) for line in _WORDINGS.strip().splitlines()]


# ---- Answers


def answered(questions: Sequence[Question], reader: Reader) -> list[Outcome]:
    """Both answers to every question, and how well known is what it asks about.

    All without a passage come first: the model keeps what it has read of a prompt that is always the same.
    """
    none = [said(reader, question, []) for question in tqdm(questions, desc="without", leave=False)]
    single = [said(reader, question, [passage(question)]) for question in tqdm(questions, desc="with", leave=False)]
    return [
        Outcome(
            question.id,
            question.text,
            question.answers,
            {"none": without, "single": given},
            known(question),
            group="popqa",
        )
        for question, without, given in zip(questions, none, single, strict=True)
    ]


def passage(question: Question) -> Hit:
    """What Contriever found."""
    text = question.meta["contriever_passage"]
    return Hit(Chunk(content_id(text), text), float(question.meta["contriever_score"]))


def known(question: Question) -> dict[str, float]:
    """The features."""
    return {FEATURE: log10(1 + question.meta["s_pop"])}


def said(reader: Reader, question: Question, hits: Sequence[Hit]) -> str:
    """The answer; nothing where the model says that it does not know, or what it says cannot be used."""
    try:
        answer = reader(question.text, hits)
    except BadReply:
        return ""
    return "" if answer.abstained else answer.text


def linking(questions: Sequence[Question]) -> Popularity:
    """The page views of what the questions ask about, as a table."""
    table: dict[str, float] = {}
    for question in questions:
        (name,) = (found[1] for pattern in _WORDED if (found := pattern.fullmatch(question.text)))
        table[name] = min(question.meta["s_pop"], table.get(name, question.meta["s_pop"]))
    return Popularity(table)


# ---- Gates


@dataclass(frozen=True)
class Labelled:
    """Questions as columns: (n,) each.

    Attributes:
        texts: of the questions.
        popularity: log10(1 + views).
        none: whether the answer without a passage is right.
        single: whether that with one is.
    """

    texts: NDArray[np.str_]
    popularity: NDArray[np.float64]
    none: NDArray[np.float64]
    single: NDArray[np.float64]

    def __getitem__(self, rows: NDArray[np.int64]) -> "Labelled":
        return Labelled(self.texts[rows], self.popularity[rows], self.none[rows], self.single[rows])

    def retrieved(self, rule: Rule) -> NDArray[np.bool_]:
        """For which questions the rule retrieves."""
        found = zip(self.texts.tolist(), self.popularity.tolist(), strict=True)
        return np.array([rule(text, {FEATURE: value}).mode != "none" for text, value in found])


def trained(rows: Labelled, popularity: Popularity) -> dict[str, Rule]:
    """The rules, with their bounds from labelled questions."""
    columns = (rows.popularity.tolist(), rows.none.tolist(), rows.single.tolist())
    return {
        "popularity": Threshold(FEATURE, popularity_bound(*columns), side="below"),
        "popularity, by relation": PopularityBounds.fit(popularity.relation, rows.texts.tolist(), *columns),
    }


@dataclass
class Tally:
    """How a system does on the questions that no bound was taken from: a mean for each question over its splits."""

    right: NDArray[np.float64]
    retrieved: NDArray[np.float64]
    times: NDArray[np.float64]

    @classmethod
    def empty(cls, count: int) -> "Tally":
        """Of that many questions."""
        return cls(*np.zeros((3, count)))

    def add(self, rows: NDArray[np.int64], right: NDArray[np.float64], retrieved: NDArray[np.float64]) -> None:
        """The questions of a split."""
        self.right[rows] += right
        self.retrieved[rows] += retrieved
        self.times[rows] += 1


def judged(data: Labelled, popularity: Popularity) -> dict[str, Tally]:
    """Every system on the other quarter of each split."""
    count = len(data.texts)
    generator = np.random.default_rng(SEED)
    tallies: dict[str, Tally] = {}
    for _ in tqdm(range(SPLITS), desc="splits", leave=False):
        order = generator.permutation(count)
        cut = round(TRAINED * count)
        rows, held_out = order[cut:], data[order[cut:]]
        for name, (right_there, retrieved) in systems(held_out, trained(data[order[:cut]], popularity)).items():
            tallies.setdefault(name, Tally.empty(count)).add(rows, right_there, retrieved)
    return tallies


def systems(rows: Labelled, rules: dict[str, Rule]) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """By name: how right each question is answered, and whether with its passage. Random gates are expectations."""
    nothing, all_of_them = np.zeros(len(rows.texts)), np.ones(len(rows.texts))
    found = {"never": (rows.none, nothing), "always": (rows.single, all_of_them)}
    for name, rule in rules.items():
        retrieved = rows.retrieved(rule)
        rate = retrieved.mean()
        found[name] = np.where(retrieved, rows.single, rows.none), retrieved.astype(np.float64)
        found[f"{name}: random, same rate"] = rate * rows.single + (1 - rate) * rows.none, rate * all_of_them
    found["oracle"] = np.maximum(rows.none, rows.single), (rows.single > rows.none).astype(np.float64)
    return found


# ---- Tables


def gate_table(tallies: dict[str, Tally]) -> Table:
    """A row for each system, compared with never and always on the same questions."""
    means = {name: tally.right / tally.times for name, tally in tallies.items()}

    def row(name: str, tally: Tally) -> tuple[str, ...]:
        found = bootstrap(means[name].tolist(), seed=SEED)
        against = (
            "" if other == name else signed(paired_bootstrap(means[name].tolist(), means[other].tolist(), seed=SEED))
            for other in ("never", "always")
        )
        rate = (tally.retrieved / tally.times).mean()
        return name, f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]", f"{rate:.1%}", *against

    rows = tuple(row(name, tally) for name, tally in tallies.items())
    return Table(("gate", "contains", "retrieved", "against never", "against always"), rows)


def decile_table(data: Labelled) -> Table:
    """How right the answers are, from the least popular tenth of the questions to the most popular one."""
    order = np.argsort(data.popularity, kind="stable")
    return Table(
        ("popularity, log10", "without", "with its passage", "rescued", "spoilt"),
        tuple(decile(data[rows]) for rows in np.array_split(order, 10)),
    )


def decile(rows: Labelled) -> tuple[str, ...]:
    """One row."""
    rescued = (rows.single > rows.none).mean()
    spoilt = (rows.single < rows.none).mean()
    span = f"{rows.popularity.min():.2f} to {rows.popularity.max():.2f}"
    return span, *(f"{value:.3f}" for value in (rows.none.mean(), rows.single.mean(), rescued, spoilt))


def facts(data: Labelled, questions: Sequence[Question], popularity: Popularity) -> Iterator[str]:
    """What bounds any gate here."""
    held = [contains(question.meta["contriever_passage"], question.answers) for question in questions]
    linked = [popularity(text).features[FEATURE] for text in data.texts.tolist()]
    yield f"{np.mean(held):.1%} of the passages hold a right answer"
    yield f"{np.mean(np.isclose(linked, data.popularity)):.1%} of the questions are linked to their own page views"
    yield f"rescued: {data.single[data.none == 0].mean():.1%} of those answered wrong without a passage"
    if data.none.any():
        yield f"spoilt: {1 - data.single[data.none == 1].mean():.1%} of those answered right without a passage"


def columns(outcomes: Sequence[Outcome]) -> Labelled:
    """The outcomes as columns."""
    return Labelled(
        np.array([each.question for each in outcomes]),
        np.array([each.features[FEATURE] for each in outcomes]),
        np.array([right(each, "none") for each in outcomes]),
        np.array([right(each, "single") for each in outcomes]),
    )


def main() -> None:
    """Answer what is not answered yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"there are no data sets in {args.data}; name their folder with --data")
    questions = read_questions(args.data / "popqa" / "questions.json")
    workspace = ROOT / "benchmarks" / "workspaces" / "popqa"
    with Store.open(workspace) as store:
        reader = PromptReader(Cached(local_llm(), store))
        outcomes = answered(questions, reader)
    write_outcomes(outcomes, workspace / "outcomes.jsonl")
    popularity = linking(questions)
    data = columns(outcomes)
    print(gate_table(judged(data, popularity)).markdown(), end="\n\n")
    print(decile_table(data).markdown(), end="\n\n")
    print(*facts(data, questions, popularity), sep="\n")


if __name__ == "__main__":
    main()
