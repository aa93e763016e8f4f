"""What came out of a comparison: each variant's answer to each question, judged, with what it took alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from typing import Any, Literal

from ragloom.codec import answer_from_json
from ragloom.components.datasets import Question, gold_chunks
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.comparing import Plan, QuestionSet, VariantRun
from ragloom.pipelines.evaluation import ANSWER_METRICS
from ragloom.pipelines.run_identity import batch_id
from ragloom.store import Item, Store
from ragloom.types import Answer, Chunk, Citation, RunRecord, Span, Usage

Metric = Literal["em", "f1", "contains"]
METRICS: tuple[Metric, ...] = ("em", "f1", "contains")
Key = tuple[str, str]  # name of the set, id of the question

_EXCERPT = 400  # characters of a passage, for people to look at
_VALUE = 300  # of an attribute in a trace
_ID = re.compile(r"[0-9a-f]{32}")  # of a chunk


@dataclass(frozen=True, slots=True)
class Passage:
    """The beginning of a passage, to look at."""

    title: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A variant's answer to a question.

    Attributes:
        set, question_id, question, gold_answers: what was asked.
        gold_passages: how many are needed for the answer; None where that is not known.
        variant: what answered.
        status: `done` or `failed`.
        answer: its text; empty where it failed.
        abstained: the reader said that the passages do not hold the answer.
        em, f1, contains: as in `evaluate_answers`; None without gold answers.
        recall: part of the gold passages among those that the reader was given; None where `gold_passages` is.
        passages: ids of the chunks that the reader was given, in the prompt's order.
        gate, gate_score: the mode that a gate decided on, and by what score.
        spent: what the answer took in its run.
        saved: what the replies that it took from ragloom's cache took when they were made.
        seconds: wall time of the answer in its run.
        saved_known: False where replies came from the cache and what they took was not kept with the answer: then
            `saved` is too little.
        citations, spans: what the answer rests on, and the steps that led to it.
        error: why it failed.
    """

    set: str
    question_id: str
    question: str
    gold_answers: tuple[str, ...]
    gold_passages: int | None
    variant: str
    status: str
    answer: str = ""
    abstained: bool = False
    em: float | None = None
    f1: float | None = None
    contains: float | None = None
    recall: float | None = None
    passages: tuple[str, ...] = ()
    gate: str = ""
    gate_score: float | None = None
    spent: Usage = field(default_factory=Usage)
    saved: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    saved_known: bool = True
    citations: tuple[Citation, ...] = ()
    spans: tuple[Span, ...] = ()
    error: str = ""

    @property
    def key(self) -> Key:
        """What was asked, the same for all variants."""
        return self.set, self.question_id

    @property
    def alone(self) -> Usage:
        """What the answer would have taken if no other had asked before: what was spent, and what the cache saved."""
        return replace(self.spent + self.saved, cache_hits=0)

    @property
    def seconds_alone(self) -> float:
        """The same of its time."""
        return self.seconds + self.saved.seconds

    def value(self, metric: Metric) -> float | None:
        """How good it is by a metric."""
        return {"em": self.em, "f1": self.f1, "contains": self.contains}[metric]


@dataclass(frozen=True)
class Comparison:
    """What came out of a comparison.

    Attributes:
        variants: those with answers, in the plan's order.
        baseline: the one that the others are compared with.
        sets: names of the sets of questions.
        rows: an answer each; by set, then variant, then question.
        pipelines: of each variant, by name.
        failures: of variants, and why.
        pending: how many questions each variant has not answered yet, where there are some.
        texts: passages that readers were given, by the ids of their chunks.
        run_ids: of the runs, by variant and set.
        paths: of walks over the graph, by variant and question: the ways to the passages, in words.
        notes: what else a reader must know, a sentence each.
    """

    variants: tuple[str, ...]
    baseline: str
    sets: tuple[str, ...]
    rows: tuple[Judged, ...]
    pipelines: Mapping[str, str]
    failures: tuple[tuple[str, str], ...] = ()
    pending: Mapping[str, int] = field(default_factory=dict)
    texts: Mapping[str, Passage] = field(default_factory=dict)
    run_ids: Mapping[tuple[str, str], str] = field(default_factory=dict)
    paths: Mapping[tuple[str, Key], tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def by_variant(self) -> Mapping[str, Mapping[Key, Judged]]:
        """The answers of each variant."""
        found: dict[str, dict[Key, Judged]] = {variant: {} for variant in self.variants}
        for row in self.rows:
            found[row.variant][row.key] = row
        return found

    @cached_property
    def questions(self) -> tuple[Key, ...]:
        """All that any variant was asked, in their order."""
        return tuple(dict.fromkeys(row.key for row in self.rows))

    def of_set(self, name: str) -> Comparison:
        """The part of it that is about one set."""
        return replace(self, sets=(name,), rows=tuple(row for row in self.rows if row.set == name))

    def answers(self, variant: str) -> list[Judged]:
        """A variant's, in the questions' order."""
        found = self.by_variant[variant]
        return [found[key] for key in self.questions if key in found]

    def mean(self, variant: str, metric: Metric) -> float | None:
        """Mean over the questions with gold answers that the variant has gone through; None where there are none."""
        values = [value for row in self.answers(variant) if (value := row.value(metric)) is not None]
        return sum(values) / len(values) if values else None

    @cached_property
    def finished(self) -> tuple[str, ...]:
        """The variants that have gone through all of the questions; where there are none, all variants with answers."""
        some = tuple(name for name in self.variants if self.by_variant[name])
        return tuple(name for name in some if len(self.by_variant[name]) == len(self.questions)) or some

    def best(self, metric: Metric) -> str:
        """The finished variant with the highest mean; of equal ones the first."""
        return max(self.finished, key=lambda variant: self.mean(variant, metric) or 0.0)

    def paired(self, a: str, b: str, metric: Metric) -> tuple[list[float], list[float]]:
        """The values of two variants on the questions that both have gone through."""
        first, second = self.by_variant[a], self.by_variant[b]
        pairs = [
            (x, y)
            for key in self.questions
            if key in first and key in second
            if (x := first[key].value(metric)) is not None and (y := second[key].value(metric)) is not None
        ]
        return [x for x, _ in pairs], [y for _, y in pairs]


def compared(plan: Plan, *, runs: Sequence[VariantRun] = ()) -> Comparison:
    """Judge what the workspaces hold of a plan; asks no model and writes nothing.

    Args:
        plan: what is compared.
        runs: what `answer_plan` gave, for why there may be no answers.

    Raises:
        ConfigError: the baseline has no answers.
        InputError: nothing is answered yet.
    """
    failures = [(run.variant, f"{run.set}: {run.failure}") for run in runs if run.failure]
    failures += [(run.variant, f"{run.set}: {run.report.stopped}") for run in runs if run.report and run.report.stopped]
    reading = _Reading(plan)
    for each in plan.sets:
        reading.read(each)
    variants = tuple(name for name in plan.variants if any(row.variant == name for row in reading.rows))
    if not variants:
        why = f": {failures[0][0]} failed, {failures[0][1]}" if failures else ""
        raise InputError(f"there are no answers to compare{why}", "answer some: ragloom compare without --report-only")
    if plan.baseline is not None and plan.baseline not in variants:
        why = next((why for name, why in failures if name == plan.baseline), "nothing is answered yet")
        raise ConfigError(
            f"the baseline {plan.baseline!r} has no answers ({why})", f"name one of {', '.join(variants)}"
        )
    return Comparison(
        variants,
        plan.baseline or variants[0],
        tuple(each.name for each in plan.sets),
        tuple(reading.rows),
        {name: plan.variants[name].pipeline for name in variants},
        tuple(failures),
        dict(reading.pending),
        reading.texts,
        reading.run_ids,
    )


class _Reading:
    """Takes in the runs of a plan, workspace by workspace."""

    def __init__(self, plan: Plan) -> None:
        self.rows: list[Judged] = []
        self.pending: dict[str, int] = defaultdict(int)
        self.texts: dict[str, Passage] = {}
        self.run_ids: dict[tuple[str, str], str] = {}
        self._plan = plan

    def read(self, each: QuestionSet) -> None:
        asked = self._plan.asked(each)
        with Store.open(each.workspace, write=False) as store:
            gold = _gold(asked, store.chunks())
            known = {run.id for run in store.runs()}
            for variant, settings in self._plan.variants.items():
                run_id = batch_id(settings, asked, store)
                items = {item.question_id: item for item in store.items(run_id)} if run_id in known else {}
                if items:
                    self.run_ids[variant, each.name] = run_id
                for question in asked:
                    item = items.get(question.id)
                    if item is None or item.status == "pending":
                        self.pending[variant] += 1
                    else:
                        self._add(variant, each.name, question, item, gold[question.id])

    def _add(self, variant: str, name: str, question: Question, item: Item, gold: Sequence[frozenset[str]]) -> None:
        row = Judged(
            name,
            question.id,
            _text(question.text),
            tuple(map(_text, question.answers)),
            len(gold) or None,
            variant,
            item.status,
        )
        result = item.result or {}
        if item.status == "done":
            answer = answer_from_json(result)
            row = _with_answer(row, answer, gold)
            for hit in answer.hits:
                self.texts.setdefault(hit.chunk.id, Passage(_text(hit.chunk.title), _text(hit.chunk.text[:_EXCERPT])))
        else:
            row = replace(row, error=_text(f"{result.get('error', '')}: {result.get('problem', '')}"))
            row = replace(row, recall=0.0 if gold else None)
        said = "" if row.abstained else row.answer
        em, f1, contains = (_value(metric, said, question.answers) for metric in METRICS)
        self.rows.append(replace(row, em=em, f1=f1, contains=contains))


def _with_answer(row: Judged, answer: Answer, gold: Sequence[frozenset[str]]) -> Judged:
    given = [hit.chunk.id for hit in answer.hits]
    record = answer.run
    gate = next((step.attributes for step in record.spans if step.name == "gate"), {})
    score = gate.get("score")
    return replace(
        row,
        answer=_text(answer.text),
        abstained=answer.abstained,
        recall=sum(not passage.isdisjoint(given) for passage in gold) / len(gold) if gold else None,
        passages=tuple(given),
        gate=str(gate.get("mode", "")),
        gate_score=float(score) if isinstance(score, int | float) and isfinite(score) else None,
        spent=record.usage,
        saved=record.saved,
        seconds=record.seconds,
        saved_known=_saved_known(record),
        citations=answer.citations,
        spans=tuple(_shown(step) for step in record.spans),
    )


def _value(metric: Metric, answer: str, golds: Sequence[str]) -> float | None:
    """As `evaluate_answers`: no answer is worth nothing."""
    if not golds:
        return None
    return ANSWER_METRICS[metric](answer, golds) if answer else 0.0


def _saved_known(record: RunRecord) -> bool:
    return record.usage.cache_hits == 0 or record.saved.calls > 0 or record.saved.tokens > 0


def _gold(questions: Sequence[Question], chunks: Sequence[Chunk]) -> dict[str, list[frozenset[str]]]:
    """The chunks of each gold passage of each question, by its id."""
    titled: dict[str, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        titled[chunk.title].append(chunk)
    return {
        question.id: gold_chunks(
            question, [chunk for title in {gold.title for gold in question.gold} for chunk in titled.get(title, ())]
        )
        for question in questions
    }


def _shown(step: Span) -> Span:
    return replace(step, attributes=dict(_attributes(step.attributes)))


def _attributes(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a step says of itself, as short texts."""
    for name, value in attributes.items():
        if value is not None and (text := _attribute(value)):
            yield name, _text(text if len(text) <= _VALUE else text[: _VALUE - 1] + "…")


def _attribute(value: Any) -> str:
    """A value for people: ids of chunks, which say nothing to them, are counted."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() | tuple() if value and all(_ID.fullmatch(str(each)) for each in value):
            return f"{len(value)} passages"
        case list() | tuple():
            return "; ".join(map(_attribute, value))
        case dict():
            return "; ".join(f"{name} {_attribute(each)}" for name, each in value.items())
        case _:
            return str(value)


def _text(text: str) -> str:
    """The text as every file can hold it: lone surrogates are written out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
