"""What quality depends on: how much may be spent, how often is retrieved, how many passages are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragloom.pipelines.comparison import Comparison, Metric
from ragloom.pipelines.comparison_statistics import Curve, capped_curve, cumulative_curve
from ragloom.pipelines.gate_metrics import accuracy_curve

# ---- Budgets


def budget_curves(comparison: Comparison, metric: Metric) -> dict[str, tuple[Curve, Curve]]:
    """Of each finished variant, quality if a question may take at most x tokens, and if all may take x on average."""
    found = {}
    for name in comparison.finished:
        judged = [
            (value, row.alone.tokens) for row in comparison.answers(name) if (value := row.value(metric)) is not None
        ]
        if judged:
            values, tokens = [value for value, _ in judged], [float(count) for _, count in judged]
            found[name] = capped_curve(values, tokens), cumulative_curve(values, tokens)
    return found


# ---- Gates


@dataclass(frozen=True, slots=True)
class GateCurve:
    """Quality by the share of questions that are retrieved for, those with the highest scores first.

    Attributes:
        without, with_retrieval: the variants whose answers are taken.
        quality: (n + 1,), of none, one, ..., all of n questions.
        rate, achieved: share that the gate did retrieve for, and the variant's own quality on these questions.
    """

    without: str
    with_retrieval: str
    quality: Sequence[float]
    rate: float
    achieved: float


def gate_curves(comparison: Comparison, metric: Metric) -> dict[str, GateCurve]:
    """Of each variant with scores of a gate in its traces; empty where no variant answers without passages, or with.

    The answers are those of the first closed-book variant, and of the best finished variant that retrieves and has no
    gate.
    """
    without = next((name for name in comparison.finished if comparison.pipelines[name] == "closed-book"), None)
    retrieving = [name for name in comparison.finished if comparison.pipelines[name] not in {"closed-book", "adaptive"}]
    if without is None or not retrieving:
        return {}
    best = max(retrieving, key=lambda name: comparison.mean(name, metric) or 0.0)
    gated = [name for name in comparison.variants if comparison.pipelines[name] == "adaptive"]
    return {name: curve for name in gated if (curve := _gate_curve(comparison, name, without, best, metric))}


def _gate_curve(comparison: Comparison, name: str, without: str, best: str, metric: Metric) -> GateCurve | None:
    points = []
    for row in comparison.answers(name):
        others = [comparison.by_variant[other].get(row.key) for other in (without, best)]
        values = [None if each is None else each.value(metric) for each in (*others, row)]
        if row.gate and None not in values:
            points.append((row.gate_score, *values, row.gate != "none"))
    if all(score is None for score, *_ in points):
        return None
    scores, closed, opened, own, retrieved = np.asarray(points, np.float64).T  # an unknown score becomes NaN
    quality = accuracy_curve(scores, closed, opened)
    return GateCurve(without, best, [float(y) for y in quality], float(retrieved.mean()), float(own.mean()))


# ---- Passages that are needed


@dataclass(frozen=True, slots=True)
class Means:
    """Mean recall of the gold passages and mean quality of n questions."""

    recall: float
    value: float
    n: int


def hop_means(comparison: Comparison, metric: Metric) -> dict[int, dict[str, Means]]:
    """By how many gold passages a question has, and by variant."""
    found: dict[int, dict[str, Means]] = {}
    for hop in sorted({row.gold_passages for row in comparison.rows if row.gold_passages is not None}):
        of_hop = found[hop] = {}
        for name in comparison.variants:
            some = [
                (row.recall, value)
                for row in comparison.answers(name)
                if row.gold_passages == hop and row.recall is not None and (value := row.value(metric)) is not None
            ]
            if some:
                recall, value = np.mean(some, axis=0)
                of_hop[name] = Means(float(recall), float(value), len(some))
    return {hop: by_name for hop, by_name in found.items() if by_name}
