"""What a gate is worth, judged by stored outcomes: no model is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragloom.components.gating import MODES, Decision, Mode, Rule
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.gate_metrics import (
    accuracy_curve,
    auroc,
    average_precision,
    brier,
    calibration_error,
    curve_area,
    risk_curve,
)
from ragloom.pipelines.gate_objectives import COSTS
from ragloom.pipelines.outcomes import Outcome, right

if TYPE_CHECKING:
    from numpy.typing import NDArray


def replay(rule: Rule, outcomes: Sequence[Outcome]) -> list[Decision]:
    """What the rule decides on stored features, in the order of the outcomes."""
    return [rule(outcome.question, outcome.features) for outcome in outcomes]


@dataclass(frozen=True, slots=True)
class Effects:
    """Numbers of questions that retrieval helped, left as they were, and hurt, beside the answer without passages."""

    helped: int
    unchanged: int
    hurt: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well a gate's scores tell questions apart; see `ragloom.pipelines.gate_metrics`.

    Attributes:
        failure_auroc: for the closed-book answer being wrong; None where all are right, or all wrong.
        failure_precision: average precision of the same.
        benefit_auroc: for retrieval making the answer better and not worse; other questions are left out.
        benefit_precision: average precision of the same.
        brier: of the scores as chances that the closed-book answer is wrong; None where they are no probabilities.
        calibration_error: likewise.
        curve: accuracy when 0, 1, ..., n questions are retrieved for, those with the highest scores first.
        area: under the curve.
        risks: error of the gate's answers when the 1, ..., n questions with the lowest scores are answered.
        risk_area: mean of the risks (AURC).
    """

    failure_auroc: float | None
    failure_precision: float | None
    benefit_auroc: float | None
    benefit_precision: float | None
    brier: float | None
    calibration_error: float | None
    curve: tuple[float, ...]
    area: float
    risks: tuple[float, ...]
    risk_area: float


@dataclass(frozen=True, slots=True)
class Spent:
    """What a question took on average, without what the gate's own signals took."""

    calls: float
    tokens: float
    seconds_p50: float
    seconds_p95: float


@dataclass(frozen=True, slots=True)
class GateEvaluation:
    """A gate's decisions, judged.

    Attributes:
        values: how right the answers of the decided modes are, a question each.
        mix: share of the questions for each mode.
        cost: mean price of the decided modes.
        spent: None unless every row has the usage of the decided mode.
        ranking: of the scores.
        retrieved: what retrieval did to the questions that it was decided on for; helped - hurt is the gain over never
            retrieving, in right answers (with the metrics `em` and `contains`).
        skipped: what it would have done to the others.
        distraction: share of the right closed-book answers that retrieval makes wrong; None where none is right.
        rescue: share of the wrong closed-book answers that retrieval makes right; None where none is wrong.
    """

    values: tuple[float, ...]
    mix: Mapping[Mode, float]
    cost: float
    spent: Spent | None
    ranking: Ranking
    retrieved: Effects
    skipped: Effects
    distraction: float | None
    rescue: float | None

    @property
    def accuracy(self) -> float:
        """Mean of the values."""
        return float(np.mean(self.values))

    @property
    def retrieval_rate(self) -> float:
        """Share of the questions that were retrieved for, once or more."""
        return 1 - self.mix["none"]


def evaluate_gate(
    outcomes: Sequence[Outcome],
    decisions: Sequence[Decision],
    *,
    metric: str = "contains",
    costs: Mapping[Mode, float] = COSTS,
    retrieval: Mode = "single",
) -> GateEvaluation:
    """Judge a gate's decisions by what became of the same questions.

    Where only right or wrong counts, an answer with an F1 of .5 or more is right.

    Args:
        outcomes: answered without passages, under `retrieval`, and under the mode decided on.
        decisions: in the order of the outcomes.
        metric: how right answers are, see `ragloom.pipelines.outcomes.right`.
        costs: price of a question under each mode, by default in retrievals.
        retrieval: what retrieving means for the curve, for benefit, and for questions that were not retrieved for.

    Raises:
        InputError: there are no outcomes, or a question lacks an answer.
        ConfigError: no such metric, or no price for a mode that was decided on.
        ValueError: other questions than decisions.
    """
    if not outcomes:
        raise InputError("there are no outcomes to judge a gate on", "collect some")
    without = np.array([right(outcome, "none", metric) for outcome in outcomes])
    after = np.array([right(outcome, retrieval, metric) for outcome in outcomes])
    values = np.array(decided_values(outcomes, decisions, metric=metric))
    fetched = np.array([decision.mode != "none" for decision in decisions])
    mix = mix_of(decisions)
    return GateEvaluation(
        tuple(values.tolist()),
        mix,
        mean_cost(mix, costs),
        _spent(outcomes, decisions),
        _ranking(np.array([decision.score for decision in decisions]), without, after, values),
        _effects((values - without)[fetched]),
        _effects((after - without)[~fetched]),
        _share(after < 0.5, among=without >= 0.5),
        _share(after >= 0.5, among=without < 0.5),
    )


def at_random(outcomes: Sequence[Outcome], mix: Mapping[Mode, float], *, metric: str = "contains") -> tuple[float, ...]:
    """What a gate expects that draws the mode of each question with these chances: a value a question, not a draw.

    Raises:
        InputError: a question lacks the answer of a mode that can be drawn.
    """
    return tuple(
        sum(chance * right(outcome, mode, metric) for mode, chance in mix.items() if chance) for outcome in outcomes
    )


def oracle(outcomes: Sequence[Outcome], modes: Sequence[Mode], *, metric: str = "contains") -> list[Decision]:
    """The cheapest of the modes whose answer is best, for each question: what no gate can exceed."""
    ordered = [mode for mode in MODES if mode in modes]
    return [
        Decision(max(ordered, key=lambda mode: right(outcome, mode, metric)), reason="oracle") for outcome in outcomes
    ]


def decided_values(
    outcomes: Sequence[Outcome], decisions: Sequence[Decision], *, metric: str = "contains"
) -> tuple[float, ...]:
    """How right the answer of the mode decided on is, a question each.

    Raises:
        InputError: a question was not answered under the mode that was decided on.
        ValueError: other questions than decisions.
    """
    if len(outcomes) != len(decisions):
        raise ValueError(f"there must be a decision for each of {len(outcomes)} outcomes, got {len(decisions)}")
    return tuple(right(outcome, decision.mode, metric) for outcome, decision in zip(outcomes, decisions, strict=True))


def mix_of(decisions: Sequence[Decision]) -> dict[Mode, float]:
    """The share of each mode."""
    return {mode: sum(decision.mode == mode for decision in decisions) / len(decisions) for mode in MODES}


def mean_cost(mix: Mapping[Mode, float], costs: Mapping[Mode, float]) -> float:
    """The price of a question on average.

    Raises:
        ConfigError: a mode of the mix has no price.
    """
    used = {mode: share for mode, share in mix.items() if share}
    if missing := [mode for mode in used if mode not in costs]:
        raise ConfigError(f"mode {missing[0]} has no cost", f"give one beside those of {', '.join(costs) or 'none'}")
    return sum(share * costs[mode] for mode, share in used.items())


def _ranking(
    scores: NDArray[np.float64],
    without: NDArray[np.float64],
    after: NDArray[np.float64],
    values: NDArray[np.float64],
) -> Ranking:
    failed, changed = without < 0.5, after != without
    changed_scores, better = scores[changed], (after > without)[changed]
    curve, risks = accuracy_curve(scores, without, after), risk_curve(scores, values)
    return Ranking(
        auroc(scores, failed),
        average_precision(scores, failed),
        auroc(changed_scores, better),
        average_precision(changed_scores, better),
        brier(scores, failed),
        calibration_error(scores, failed),
        tuple(curve.tolist()),
        curve_area(curve),
        tuple(risks.tolist()),
        float(risks.mean()),
    )


def _spent(outcomes: Sequence[Outcome], decisions: Sequence[Decision]) -> Spent | None:
    usages = [outcome.usage.get(decision.mode) for outcome, decision in zip(outcomes, decisions, strict=True)]
    known = [usage for usage in usages if usage is not None]
    if len(known) < len(usages):
        return None
    seconds = [usage.seconds for usage in known]
    return Spent(
        float(np.mean([usage.calls for usage in known])),
        float(np.mean([usage.tokens for usage in known])),
        float(np.percentile(seconds, 50)),
        float(np.percentile(seconds, 95)),
    )


def _effects(gains: NDArray[np.float64]) -> Effects:
    return Effects(int((gains > 0).sum()), int((gains == 0).sum()), int((gains < 0).sum()))


def _share(happened: NDArray[np.bool_], *, among: NDArray[np.bool_]) -> float | None:
    return float(happened[among].mean()) if among.any() else None
