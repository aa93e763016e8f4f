"""What became of labelled questions under each mode: rows to calibrate, replay and judge gates on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isnan, nan
from pathlib import Path
from typing import Any

from ragloom.codec import to_json
from ragloom.components.answer_words import normalise
from ragloom.components.gating import MODES, Mode, Signal, observe
from ragloom.components.records import Record, read_records
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.evaluation import ANSWER_METRICS, exact_match
from ragloom.types import Usage
from ragloom.writing import write_aside

_YES_OR_NO = {"yes", "no"}
_LARGEST = 1e100  # of a feature, so that sums of squares stay finite


@dataclass(frozen=True, slots=True)
class Outcome:
    """One labelled question.

    Attributes:
        question_id: unique among the rows.
        question: its text.
        golds: right answers; at least one.
        answers: what was answered under each mode that was tried.
        features: what the signals measured, by name; NaN where unknown. Stored once, so that rules need no model.
        usage: what each mode took, where it was measured.
        group: e.g. the dataset it is from; empty for none. Never an input of a gate.
        made_with: what the answers and features hold for, by name: the model, its prompts, each signal; empty where
            that is not known.
    """

    question_id: str
    question: str
    golds: tuple[str, ...]
    answers: Mapping[Mode, str]
    features: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[Mode, Usage] = field(default_factory=dict)
    group: str = ""
    made_with: Mapping[str, str] = field(default_factory=dict)


def modes_of(outcomes: Sequence[Outcome]) -> tuple[Mode, ...]:
    """The modes that every question was answered under, from the cheapest."""
    return tuple(mode for mode in MODES if all(mode in outcome.answers for outcome in outcomes))


def right(outcome: Outcome, mode: Mode, metric: str = "contains") -> float:
    """How right the mode's answer is, from 0 to 1; an empty one is wrong.

    Where a gold answer is yes or no, `contains` asks for the same answer: those words stand in too many wrong ones.

    Args:
        outcome: answered under the mode.
        mode: whose answer.
        metric: a name in `ANSWER_METRICS`.

    Raises:
        ConfigError: there is no such metric.
        InputError: the question was not answered under the mode.
    """
    if metric not in ANSWER_METRICS:
        raise ConfigError(f"there is no metric {metric!r}", f"use one of {', '.join(ANSWER_METRICS)}")
    if mode not in outcome.answers:
        raise InputError(f"question {outcome.question_id} has no answer of mode {mode}", "collect it, or leave it out")
    answer = outcome.answers[mode]
    if not answer.strip():
        return 0.0
    if metric == "contains" and any(normalise(gold) in _YES_OR_NO for gold in outcome.golds):
        return exact_match(answer, outcome.golds)
    return ANSWER_METRICS[metric](answer, outcome.golds)


def with_features(outcomes: Sequence[Outcome], signals: Sequence[Signal]) -> tuple[Outcome, ...]:
    """The outcomes with what the signals measure of their questions added; for signals that ask no model."""
    return tuple(
        replace(outcome, features={**outcome.features, **_measured(outcome.question, signals)}) for outcome in outcomes
    )


def _measured(question: str, signals: Sequence[Signal]) -> dict[str, float]:
    return {name: value for signal in signals for name, value in observe(signal, question).features.items()}


# ---- Files


def write_outcomes(outcomes: Iterable[Outcome], path: str | Path) -> None:
    """Write a JSONL file of a line for each; aside, and moved into place.

    Raises:
        InputError: it cannot be written there.
    """
    write_aside(Path(path), lambda aside: _write(outcomes, aside))


def read_outcomes(path: str | Path) -> tuple[Outcome, ...]:
    """The outcomes of a file of `write_outcomes`, or of another one with the fields that have no default.

    Fields of a line: `id`, `question`, `gold_answers` (list), `answers` (object, by mode), and, each with a default,
    `features` (object of numbers, null where unknown), `usage` (object, by mode), `dataset` (the group), `made_with`
    (object of texts).

    Raises:
        InputError: the file cannot be read, holds no outcome, or has a line that cannot be used; names the line.
    """
    outcomes: dict[str, Outcome] = {}
    for record in read_records(Path(path)):
        outcome = _outcome(record)
        if outcome.question_id in outcomes:
            raise record.error(f"the id {outcome.question_id!r} appears twice", "give each question its own id")
        outcomes[outcome.question_id] = outcome
    return tuple(outcomes.values())


def _write(outcomes: Iterable[Outcome], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for outcome in outcomes:
            file.write(json.dumps(_row(outcome), ensure_ascii=False, allow_nan=False) + "\n")


def _row(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.question_id,
        "dataset": outcome.group,
        "question": outcome.question,
        "gold_answers": list(outcome.golds),
        "answers": dict(outcome.answers),
        "features": {name: None if isnan(value) else value for name, value in outcome.features.items()},
        "usage": to_json(outcome.usage),
        "made_with": dict(outcome.made_with),
    }


def _outcome(record: Record) -> Outcome:
    question_id = record.id()
    if question_id is None:
        raise record.error("there is no field 'id'", "give each question its own id")
    golds = tuple(gold for gold in record.strings("gold_answers") if gold.strip())
    if not golds:
        raise record.error("no gold answer: there is nothing to compare answers with", "label it, or leave it out")
    question = record.string("question")
    if not question.strip():
        raise record.error("the field 'question' must not be blank")
    return Outcome(
        question_id,
        question,
        golds,
        _answers(record),
        {name: nan if value is None else _number(record, name, value) for name, value in _object(record, "features")},
        {_mode(record, mode): _usage(record, value) for mode, value in _object(record, "usage")},
        record.string("dataset", ""),
        dict(_texts(record, "made_with")),
    )


def _answers(record: Record) -> dict[Mode, str]:
    answers = {_mode(record, mode): answer for mode, answer in _object(record, "answers")}
    for mode, answer in answers.items():
        if not isinstance(answer, str):
            raise record.error(f"the answer of mode {mode} must be a string")
    if not answers:
        raise record.error("the field 'answers' must hold the answer of at least one mode")
    return answers


def _object(record: Record, name: str) -> Iterable[tuple[str, Any]]:
    value = record.fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise record.error(f"the field {name!r} must be an object")
    return (value or {}).items()


def _texts(record: Record, name: str) -> Iterable[tuple[str, str]]:
    for key, value in _object(record, name):
        if not isinstance(value, str):
            raise record.error(f"the field {name!r} must hold texts")
        yield key, value


def _mode(record: Record, name: str) -> Mode:
    if name not in MODES:
        raise record.error(f"there is no mode {name!r}", f"use {', '.join(MODES)}")
    return name


def _number(record: Record, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise record.error(f"the feature {name!r} must be a number, or null where it is unknown")
    if not abs(value) <= _LARGEST:  # NaN is not, either
        raise record.error(f"the feature {name!r} must lie between -{_LARGEST:g} and {_LARGEST:g}")
    return float(value)


def _usage(record: Record, value: object) -> Usage:
    known = {entry.name for entry in fields(Usage)}
    if not isinstance(value, dict) or not value.keys() <= known:
        raise record.error(
            "the field 'usage' must hold an object for each mode", f"with fields of {', '.join(sorted(known))}"
        )
    if not all(
        isinstance(number, int | float) or (number is None and name == "cost") for name, number in value.items()
    ):
        raise record.error("the field 'usage' must hold numbers")
    return Usage(**value)
