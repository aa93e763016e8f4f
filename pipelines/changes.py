"""What changed from one run to another over the same questions: what went in, the answers, their quality and cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragloom.codec import answer_from_json
from ragloom.components.datasets import Question, question_from_json
from ragloom.pipelines.evaluation import ANSWER_METRICS, AnswerEvaluation, compare, evaluate_answers
from ragloom.pipelines.export import answer_row
from ragloom.pipelines.report import SEED, Table, one_line, signed
from ragloom.store import Item, Store
from ragloom.types import Answer

SHOWN = 50  # changed answers in the Markdown
_LONGEST = 300  # characters of a cell


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """A question that was answered otherwise before; an abstention or a failure is said in brackets."""

    question_id: str
    question: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a previous run.

    Attributes:
        run_id, previous_id: the runs; equal where nothing was new.
        compared: number of questions that both have settled, by id and wording. What follows is of these alone.
        added, removed: ids of the questions that only the run, or only the previous one has.
        settings: name, value before, value now of what differs; of the corpus, its fingerprints.
        answers: the changed ones, in the order of the questions.
        measures: quality and cost, before and now.
    """

    run_id: str
    previous_id: str
    compared: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    settings: tuple[tuple[str, str, str], ...]
    answers: tuple[ChangedAnswer, ...]
    measures: Table

    def markdown(self) -> str:
        """A section to read; of many changed answers the first 50."""
        if self.run_id == self.previous_id:
            return f"Run {self.run_id} as the last time: the same questions, documents and settings."
        new = f"{len(self.added)} questions are new, and {len(self.removed)} are gone."
        parts = [f"Run {self.run_id} against {self.previous_id}, on {self.compared} questions of both. {new}"]
        if self.settings:
            rows = tuple((name, _cell(before), _cell(now)) for name, before, now in self.settings)
            parts += ["## What went in", Table(("setting", "before", "now"), rows).markdown()]
        if self.compared:
            parts += ["## Quality and cost", self.measures.markdown()]
            parts += [f"## Answers\n\n{len(self.answers)} of {self.compared} changed."]
        if self.answers:
            rows = tuple((_cell(each.question), _cell(each.before), _cell(each.now)) for each in self.answers[:SHOWN])
            left = len(self.answers) - len(rows)
            notes = (f"And {left} others.",) if left else ()
            parts += [Table(("question", "before", "now"), rows, notes).markdown()]
        return "\n\n".join(parts)


def changes_since(store: Store, run_id: str, previous_id: str) -> Changes:
    """What changed from the previous run to the run.

    Questions are the same where id and wording are. Both runs are judged by the gold answers that the later one has.

    Raises:
        StoreError: there is no such run.
    """
    now, before = ({item.question_id: item for item in store.items(name)} for name in (run_id, previous_id))
    same = [name for name, item in now.items() if name in before and _text(item) == _text(before[name])]
    settled = [(now[name], before[name]) for name in same if "pending" not in (now[name].status, before[name].status)]
    answers = tuple(
        ChangedAnswer(item.question_id, _text(item), said, says)
        for item, old in settled
        if (says := _said(item)) != (said := _said(old))
    )
    questions = [question_from_json(item.question) for item, _ in settled]
    return Changes(
        run_id,
        previous_id,
        len(settled),
        tuple(name for name in now if name not in same),
        tuple(name for name in before if name not in same),
        _different(store.run(previous_id).config, store.run(run_id).config),
        answers,
        _measures(
            _evaluated(questions, [old for _, old in settled], previous_id),
            _evaluated(questions, [item for item, _ in settled], run_id),
        ),
    )


def _text(item: Item) -> str:
    return str(item.question["text"])


def _said(item: Item) -> str:
    row = answer_row(item)
    if item.status == "failed":
        return f"(failed: {row['error']})"
    return "(abstained)" if row["abstained"] else str(row["answer"])


def _different(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    names = sorted(before.keys() | now.keys())
    values = ((name, str(before.get(name, "")), str(now.get(name, ""))) for name in names)
    return tuple(each for each in values if each[1] != each[2])


def _evaluated(questions: list[Question], items: list[Item], system: str) -> AnswerEvaluation:
    answers: list[Answer | None] = [
        answer_from_json(item.result) if item.status == "done" and item.result is not None else None for item in items
    ]
    return evaluate_answers(list(zip(questions, answers, strict=True)), system=system)


def _measures(before: AnswerEvaluation, now: AnswerEvaluation) -> Table:
    both = (before, now)
    rows = []
    for name in ANSWER_METRICS if now.scores.questions else ():
        means = (f"{each.scores.mean(name):.3f}" for each in both)
        rows.append((name, *means, signed(compare(now.scores, before.scores, name, seed=SEED))))
    counts = {
        "abstained": (before.abstained, now.abstained),
        "failed": (before.failed, now.failed),
        "calls": (before.usage.calls, now.usage.calls),
        "tokens": (before.usage.tokens, now.usage.tokens),
    }
    rows += [(name, str(old), str(new), f"{new - old:+}") for name, (old, new) in counts.items()]
    rows.append(("cost $", *_costs(before.usage.cost, now.usage.cost)))
    seconds = [(each.latency_p50, each.latency_p95) for each in both]
    rows.append(("seconds p50 / p95", *(f"{half:.2f} / {most:.2f}" for half, most in seconds), ""))
    notes = (
        f"{len(now.scores.questions)} questions with gold answers; failed and abstained ones count 0.",
        "Differences of quality with their 95 % paired bootstrap interval.",
    )
    return Table(("", "before", "now", "change"), tuple(rows), notes)


def _costs(before: float | None, now: float | None) -> tuple[str, str, str]:
    known = tuple("unknown" if cost is None else f"{cost:.4f}" for cost in (before, now))
    return known[0], known[1], "" if before is None or now is None else f"{now - before:+.4f}"


def _cell(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
