"""From a calibration to the gate that is saved, with what tells later whether it still sees such questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from ragloom.components.gate_file import SavedGate
from ragloom.components.gate_rules import Fixed
from ragloom.components.question_features import question_words
from ragloom.pipelines.calibration import Calibration
from ragloom.pipelines.outcomes import Outcome
from ragloom.types import content_id

SAMPLE = 201  # quantiles that are kept of a sample


def saved_gate(
    calibration: Calibration,
    outcomes: Sequence[Outcome],
    *,
    signals: Sequence[str] = (),
    bound_to: Mapping[str, str] | None = None,
) -> SavedGate:
    """The gate to save, with what tells later whether questions are still of the kind it was calibrated on.

    Args:
        calibration: of these outcomes.
        outcomes: the rows.
        signals: names of those that measure what the rule looks at.
        bound_to: what its numbers hold for: model, prompts.
    """
    words = [set(question_words(outcome.question)) for outcome in outcomes]
    frequency = Counter(word for known in words for word in known)
    return SavedGate(
        calibration.rule,
        tuple(signals),
        bound_to or {},
        str(calibration.objective),
        calibration.metric,
        content_id(*(f"{outcome.question_id} {sorted(outcome.answers.items())}" for outcome in outcomes)),
        _results(calibration, outcomes),
        _sample([calibration.rule(outcome.question, outcome.features).score for outcome in outcomes]),
        tuple(sorted(frequency)),
        _sample([sum(frequency[word] == 1 for word in known) / max(1, len(known)) for known in words]),
    )


def _results(calibration: Calibration, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """What the rule reached; where it is a fixed mode, that one's."""
    accuracy, cost = calibration.accuracy, calibration.cost
    if isinstance(calibration.rule, Fixed):
        accuracy, cost = calibration.fixed[calibration.rule.mode]
    return {"accuracy": accuracy, "cost": cost, "questions": len(outcomes)}


def _sample(values: Sequence[float]) -> tuple[float, ...]:
    """Their quantiles; unknown ones are left out."""
    known = [value for value in values if isfinite(value)]
    return tuple(np.quantile(known, np.linspace(0, 1, SAMPLE)).tolist()) if known else ()
