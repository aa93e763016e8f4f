"""Gates are judged by what became of the questions, beside gates that know nothing and one that knows all."""

from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.gate_rules import AtRandom, Fixed, Threshold
from ragloom.components.gating import MODES, Decision, Mode
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.gate_evaluation import (
    Effects,
    Spent,
    at_random,
    decided_values,
    evaluate_gate,
    mix_of,
    oracle,
    replay,
)
from ragloom.pipelines.outcomes import Outcome
from ragloom.types import Usage

RIGHTS = st.tuples(st.booleans(), st.booleans(), st.booleans())
DECISIONS = st.builds(Decision, st.sampled_from(MODES), st.floats(-1, 1) | st.just(nan))
JUDGED = st.lists(st.tuples(RIGHTS, DECISIONS), min_size=1, max_size=20)


def outcome(*rights: bool | int, feature: float = 0.0) -> Outcome:
    """A question that is answered right, or not, under each mode."""
    answers: dict[Mode, str] = {
        mode: "right" if is_right else "wrong" for mode, is_right in zip(MODES, rights, strict=False)
    }
    return Outcome("1", "what?", ("right",), answers, {"unsure": feature})


def split(judged: list[tuple[tuple[bool, bool, bool], Decision]]) -> tuple[list[Outcome], list[Decision]]:
    return [outcome(*rights) for rights, _ in judged], [decision for _, decision in judged]


FIVE = [
    outcome(0, 1, 1, feature=0.9),  # retrieval helps
    outcome(0, 1, 0, feature=0.8),  # so it does, once
    outcome(0, 0, 1, feature=0.4),  # it takes several
    outcome(1, 0, 0, feature=0.3),  # it hurts
    outcome(1, 1, 1, feature=nan),  # it is no matter
]


# ---- Replay


def test_a_rule_is_replayed_on_stored_features() -> None:
    decisions = replay(Threshold("unsure", 0.5), FIVE)
    assert [decision.mode for decision in decisions] == ["single", "single", "none", "none", "single"]
    assert [decision.score for decision in decisions] == pytest.approx([0.9, 0.8, 0.4, 0.3, nan], nan_ok=True)


# ---- One gate


def test_a_gate_on_five_questions() -> None:
    found = evaluate_gate(FIVE, replay(Threshold("unsure", 0.5), FIVE))
    assert found.values == (1, 1, 0, 1, 1)
    assert found.accuracy == pytest.approx(0.8)
    assert found.mix == {"none": 0.4, "single": 0.6, "iterative": 0}
    assert found.retrieval_rate == pytest.approx(0.6)
    assert found.cost == pytest.approx(0.6)
    assert found.retrieved == Effects(helped=2, unchanged=1, hurt=0)
    assert found.skipped == Effects(helped=0, unchanged=1, hurt=1)
    assert found.distraction == pytest.approx(1 / 2)
    assert found.rescue == pytest.approx(2 / 3)


def test_the_scores_of_a_gate_on_five_questions() -> None:
    ranking = evaluate_gate(FIVE, replay(Threshold("unsure", 0.5), FIVE)).ranking
    # Failures score .9, .8 and .4, the others .3 and unknown, which is above all: three pairs of six are in order.
    assert ranking.failure_auroc == pytest.approx(3 / 6)
    assert ranking.benefit_auroc == 1
    # In the order unknown, .9, .8, .4, .3 retrieval gains 0, 1, 1, 0, -1 right answers over two of five.
    assert ranking.curve == pytest.approx((0.4, 0.4, 0.6, 0.8, 0.8, 0.6))
    assert ranking.area == pytest.approx((0.4 + 0.5 + 0.7 + 0.8 + 0.7) / 5)
    # From the lowest score on, the gate's answers are right, wrong, right, right, right.
    assert ranking.risks == pytest.approx((0, 1 / 2, 1 / 3, 1 / 4, 1 / 5))
    assert ranking.risk_area == pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5)
    # Of .9, .8, .4 (wrong) and .3 (right); the unknown one is left out.
    assert ranking.brier == pytest.approx((0.01 + 0.04 + 0.36 + 0.09) / 4)
    assert ranking.calibration_error == pytest.approx((0.1 + 0.2 + 0.6 + 0.3) / 4)


def test_what_retrieving_means_can_be_said() -> None:
    found = evaluate_gate(FIVE, replay(Fixed("none"), FIVE), retrieval="iterative")
    assert found.skipped == Effects(helped=2, unchanged=2, hurt=1)
    assert found.ranking.curve[-1] == pytest.approx(3 / 5)


@given(JUDGED)
def test_helped_less_hurt_is_the_gain_over_never(judged: list[tuple[tuple[bool, bool, bool], Decision]]) -> None:
    outcomes, decisions = split(judged)
    found = evaluate_gate(outcomes, decisions)
    never = evaluate_gate(outcomes, replay(Fixed("none"), outcomes))
    gain = (found.accuracy - never.accuracy) * len(outcomes)
    assert found.retrieved.helped - found.retrieved.hurt == pytest.approx(gain)
    parts = (found.retrieved, found.skipped)
    assert sum(part.helped + part.unchanged + part.hurt for part in parts) == len(outcomes)


@given(st.lists(RIGHTS, min_size=1, max_size=20), st.floats(0, 1))
def test_random_expects_the_line_from_never_to_always(rights: list[tuple[bool, bool, bool]], rate: float) -> None:
    outcomes = [outcome(*each) for each in rights]
    never, always = (np.mean(decided_values(outcomes, replay(Fixed(mode), outcomes))) for mode in ("none", "single"))
    expected = np.mean(at_random(outcomes, {"none": 1 - rate, "single": rate}))
    assert expected == pytest.approx(never + rate * (always - never))


def test_draws_of_the_random_gate_come_to_its_expectation() -> None:
    drawn = [
        decided_values(FIVE, replay(AtRandom(0.6, seed=seed), [_named(each, seed) for each in FIVE]))
        for seed in range(2000)
    ]
    expected = at_random(FIVE, {"none": 0.4, "single": 0.6})
    assert np.mean(drawn) == pytest.approx(np.mean(expected), abs=0.04)


def _named(each: Outcome, number: int) -> Outcome:
    return Outcome(each.question_id, f"{each.features} {number}?", each.golds, each.answers)


@given(JUDGED)
def test_nothing_exceeds_the_oracle(judged: list[tuple[tuple[bool, bool, bool], Decision]]) -> None:
    outcomes, decisions = split(judged)
    best = evaluate_gate(outcomes, oracle(outcomes, MODES))
    assert best.accuracy >= evaluate_gate(outcomes, decisions).accuracy
    assert best.accuracy == np.mean([max(rights) for rights, _ in judged])
    assert best.accuracy >= np.mean(at_random(outcomes, mix_of(decisions))) - 1e-9


def test_the_oracle_takes_the_cheapest_of_the_best() -> None:
    assert [decision.mode for decision in oracle(FIVE, MODES)] == ["single", "single", "iterative", "none", "none"]
    assert [decision.mode for decision in oracle(FIVE, ["single", "none"])][2] == "none"


def test_what_questions_took_is_that_of_the_modes_decided_on() -> None:
    usage: dict[Mode, Usage] = {
        "none": Usage(prompt_tokens=10, completion_tokens=5, calls=1, seconds=1),
        "single": Usage(prompt_tokens=100, completion_tokens=5, calls=2, seconds=3),
    }
    row = Outcome("1", "what?", ("right",), {"none": "right", "single": "right"}, usage=usage)
    decisions = [Decision("none"), Decision("single"), Decision("single")]
    found = evaluate_gate([row] * 3, decisions)
    assert found.spent == Spent(pytest.approx(5 / 3), pytest.approx(75), 3, pytest.approx(3))
    assert evaluate_gate([row, outcome(1, 1)], decisions[:2]).spent is None


def test_an_f1_counts_as_right_from_a_half_on() -> None:
    half = Outcome("1", "what?", ("low tide",), {"none": "low", "single": "low tide"})
    found = evaluate_gate([half], [Decision("none", 0.2)], metric="f1")
    assert found.accuracy == pytest.approx(2 / 3)
    assert (found.distraction, found.rescue) == (0, None)
    assert found.skipped == Effects(helped=1, unchanged=0, hurt=0)


def test_where_all_closed_book_answers_are_alike_nothing_is_said_of_failure() -> None:
    found = evaluate_gate([outcome(1, 1), outcome(1, 1)], [Decision("none", 0.1), Decision("single", 0.2)])
    assert (found.ranking.failure_auroc, found.ranking.failure_precision) == (None, None)
    assert (found.ranking.benefit_auroc, found.ranking.benefit_precision) == (None, None)
    assert found.rescue is None


# ---- Bad input


def test_without_outcomes_there_is_nothing_to_judge() -> None:
    with pytest.raises(InputError, match="there are no outcomes"):
        evaluate_gate([], [])


def test_each_outcome_needs_its_decision() -> None:
    with pytest.raises(ValueError, match="a decision for each of 5 outcomes, got 1"):
        evaluate_gate(FIVE, [Decision("none")])


def test_a_mode_that_was_not_tried_cannot_be_judged() -> None:
    with pytest.raises(InputError, match="question 1 has no answer of mode iterative"):
        evaluate_gate([outcome(1, 1)], [Decision("iterative")])


def test_a_mode_without_a_cost_is_named() -> None:
    with pytest.raises(ConfigError, match="mode single has no cost; give one beside those of none"):
        evaluate_gate(FIVE, replay(Fixed("single"), FIVE), costs={"none": 1})
