"""How well scores rank and predict: against counting by hand, and against scikit-learn's own numbers."""

from itertools import permutations, product
from math import inf, nan
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragloom.pipelines.gate_metrics import (
    accuracy_curve,
    auroc,
    average_precision,
    brier,
    calibration_error,
    curve_area,
    risk_curve,
)

SCORES = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 3.0, inf, -inf, nan])  # few, so that many are tied
RIGHTS = st.sampled_from([0.0, 1.0])
LABELLED = st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=12)
ROWS = st.lists(st.tuples(SCORES, RIGHTS, RIGHTS), min_size=1, max_size=12)


def floats(*numbers: float) -> NDArray[np.float64]:
    return np.array(numbers, dtype=np.float64)


def labels(*flags: int) -> NDArray[np.bool_]:
    return np.array(flags, dtype=np.bool_)


def columns(rows: list[tuple[float, float, float]]) -> list[NDArray[np.float64]]:
    return [floats(*column) for column in zip(*rows, strict=True)]


def over_all_orders(scores: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over all orders with falling scores of the running sums of the values."""
    known = np.where(np.isnan(scores), inf, scores)
    falling = sorted(known, reverse=True)
    orders = [order for order in permutations(range(len(scores))) if known[list(order)].tolist() == falling]
    return np.mean([np.cumsum(values[list(order)]) for order in orders], axis=0)


# ---- AUROC


@given(LABELLED)
def test_auroc_counts_the_pairs_in_the_right_order(rows: list[tuple[float, bool]]) -> None:
    ups = [inf if np.isnan(score) else score for score, positive in rows if positive]
    downs = [inf if np.isnan(score) else score for score, positive in rows if not positive]
    found = auroc(floats(*(score for score, _ in rows)), labels(*(positive for _, positive in rows)))
    if not ups or not downs:
        assert found is None
    else:
        assert found == pytest.approx(np.mean([(up > down) + (up == down) / 2 for up, down in product(ups, downs)]))


def test_tied_scores_have_an_auroc_of_a_half() -> None:
    assert auroc(floats(2, 2, 2, 2), labels(1, 0, 1, 1)) == 0.5


def test_an_unknown_score_is_the_highest() -> None:
    assert auroc(floats(nan, 7), labels(1, 0)) == 1
    assert auroc(floats(nan, 7), labels(0, 1)) == 0


@pytest.mark.parametrize("flag", [0, 1])
def test_of_one_class_nothing_can_be_ranked(flag: int) -> None:
    assert auroc(floats(1, 2), labels(flag, flag)) is None
    assert average_precision(floats(1, 2), labels(flag, flag)) is None
    assert auroc(floats(), labels()) is None
    assert average_precision(floats(), labels()) is None


# ---- Average precision


def test_average_precision_of_three_questions() -> None:
    # The first is positive: precision 1 at recall 1/2. The last is: 2/3 at recall 1.
    assert average_precision(floats(3, 2, 1), labels(1, 0, 1)) == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_without_skill_is_the_share_of_positives() -> None:
    assert average_precision(floats(5, 5, 5, 5), labels(1, 0, 0, 0)) == 0.25


@pytest.fixture(scope="module")
def metrics() -> Any:  # a module; loading it takes longer than Hypothesis gives an example
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn, of the extra `calibration`, is the oracle")


@given(rows=LABELLED)
def test_ranking_and_calibration_agree_with_scikit_learn(metrics: Any, rows: list[tuple[float, bool]]) -> None:
    finite = [(score, flag) for score, flag in rows if np.isfinite(score)]
    if len({flag for _, flag in finite}) < 2:
        return
    scores, truth = floats(*(score for score, _ in finite)), labels(*(flag for _, flag in finite))
    assert auroc(scores, truth) == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert average_precision(scores, truth) == pytest.approx(metrics.average_precision_score(truth, scores))
    if scores.min() >= 0 and scores.max() <= 1:
        assert brier(scores, truth) == pytest.approx(metrics.brier_score_loss(truth, scores))


# ---- Probabilities


def test_probabilities_that_come_true_as_often_as_they_say_are_calibrated() -> None:
    assert calibration_error(floats(0.25, 0.25, 0.25, 0.25, 1), labels(1, 0, 0, 0, 1)) == 0


def test_calibration_error_weighs_bins_by_their_size() -> None:
    # .9 and .9, of which half come true, are .4 off; .2, which does not, is .2 off.
    assert calibration_error(floats(0.9, 0.9, 0.2), labels(1, 0, 0)) == pytest.approx((2 * 0.4 + 0.2) / 3)
    assert brier(floats(0.9, 0.9, 0.2), labels(1, 0, 0)) == pytest.approx((0.01 + 0.81 + 0.04) / 3)


def test_unknown_probabilities_are_left_out() -> None:
    assert brier(floats(nan, 1.0), labels(1, 1)) == 0
    assert calibration_error(floats(nan, 0.5), labels(1, 1)) == 0.5


@pytest.mark.parametrize("score", [-0.1, 1.1, inf, nan])
def test_numbers_that_are_no_probabilities_are_not_judged_as_such(score: float) -> None:
    scores = floats(score, score)
    assert brier(scores, labels(1, 0)) is None
    assert calibration_error(scores, labels(1, 0)) is None


# ---- Curves


def test_the_curve_of_four_questions() -> None:
    curve = accuracy_curve(floats(4, 3, 2, 1), floats(0, 0, 1, 1), floats(1, 0, 1, 0))
    assert curve.tolist() == [0.5, 0.75, 0.75, 0.75, 0.5]
    assert curve_area(curve) == pytest.approx((0.625 + 0.75 + 0.75 + 0.625) / 4)


@given(ROWS.filter(lambda rows: len(rows) <= 6))
def test_curves_are_expectations_over_the_orders_of_tied_questions(rows: list[tuple[float, float, float]]) -> None:
    scores, without, after = columns(rows)
    curve = accuracy_curve(scores, without, after)
    assert curve[1:] == pytest.approx(without.mean() + over_all_orders(scores, after - without) / len(rows))
    known = np.where(np.isnan(scores), inf, scores)
    expected = over_all_orders(-known, 1 - after) / np.arange(1, len(rows) + 1)
    assert risk_curve(scores, after) == pytest.approx(expected)


@given(ROWS)
def test_curves_run_from_never_to_always_whatever_the_scores(rows: list[tuple[float, float, float]]) -> None:
    scores, without, after = columns(rows)
    curve = accuracy_curve(scores, without, after)
    assert len(curve) == len(rows) + 1
    assert (curve[0], curve[-1]) == pytest.approx((without.mean(), after.mean()))
    assert risk_curve(scores, after)[-1] == pytest.approx(1 - after.mean())


@given(ROWS)
def test_a_constant_score_draws_the_line_of_a_random_gate(rows: list[tuple[float, float, float]]) -> None:
    _, without, after = columns(rows)
    curve = accuracy_curve(np.zeros(len(rows)), without, after)
    assert curve == pytest.approx(np.linspace(without.mean(), after.mean(), len(rows) + 1))
    assert curve_area(curve) == pytest.approx((without.mean() + after.mean()) / 2)
    assert risk_curve(np.zeros(len(rows)), after) == pytest.approx(np.full(len(rows), 1 - after.mean()))


@given(ROWS, st.randoms(use_true_random=False))
def test_curves_do_not_depend_on_the_order_of_the_questions(
    rows: list[tuple[float, float, float]], random: Random
) -> None:
    shuffled = random.sample(rows, len(rows))
    assert accuracy_curve(*columns(rows)) == pytest.approx(accuracy_curve(*columns(shuffled)))


def test_the_risk_of_those_answered_first() -> None:
    assert risk_curve(floats(0.1, 0.9, 0.5), floats(1, 0, 1)) == pytest.approx([0, 0, 1 / 3])
