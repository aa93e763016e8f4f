"""What became of labelled questions under each mode: the rows that gates are calibrated on, replayed on and judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ragloom.components.gating import MODES, Mode
from ragloom.types import Usage


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
    """

    question_id: str
    question: str
    golds: tuple[str, ...]
    answers: Mapping[Mode, str]
    features: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[Mode, Usage] = field(default_factory=dict)
    group: str = ""


def modes_of(outcomes: Sequence[Outcome]) -> tuple[Mode, ...]:
    """The modes that every question was answered under, from the cheapest."""
    return tuple(mode for mode in MODES if all(mode in outcome.answers for outcome in outcomes))
