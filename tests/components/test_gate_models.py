"""Rules fitted to outcomes: what logistic models and prices decide."""

from math import log, nan, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.gate_models import FARTHEST, Failure, LinearModel, Router, logistic
from ragloom.components.gating import Mode


def constant(probability: float) -> LinearModel:
    return LinearModel((), (), (), (), log(probability / (1 - probability)))


LENGTH = LinearModel(("question_words",), (10.0,), (2.0,), (0.5,), -1.0)


def test_a_feature_moves_the_log_odds_by_its_standardised_value() -> None:
    assert LENGTH.probability("", {"question_words": 14.0}) == pytest.approx(logistic(-1 + 0.5 * 2))


@pytest.mark.parametrize("features", [{}, {"question_words": nan}])
def test_an_unknown_feature_counts_as_the_mean(features: dict[str, float]) -> None:
    assert LENGTH.probability("", features) == LENGTH.probability("", {"question_words": 10.0})


def test_a_feature_beyond_all_experience_counts_as_far_only() -> None:
    assert LENGTH.probability("", {"question_words": 1e9}) == pytest.approx(logistic(-1 + 0.5 * FARTHEST))


def test_terms_are_weighed_by_frequency_and_length() -> None:
    model = LinearModel((), (), (), (), 0.0, {"who": (1.0, 3.0), "king": (2.0, -1.0)})
    who, king = 1 + log(2), 2.0  # "who" stands in it twice
    odds = (3 * who - king) / sqrt(who * who + king * king)
    assert model.probability("Who, who was the king?", {}) == pytest.approx(logistic(odds))


def test_unknown_terms_say_nothing() -> None:
    assert LinearModel((), (), (), (), 0.0, {"who": (1.0, 3.0)}).probability("Καλημέρα", {}) == 0.5


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_probability_never_overflows(odds: float) -> None:
    assert 0 <= logistic(odds) <= 1


def test_numbers_of_features_must_agree() -> None:
    with pytest.raises(ValueError, match=r"one length, got \[0, 1\]"):
        LinearModel(("a",), (), (), (), 0.0)
    with pytest.raises(ValueError, match=r"scales must be above 0, got 0\.0"):
        LinearModel(("a",), (0.0,), (0.0,), (0.0,), 0.0)


@pytest.mark.parametrize(("right", "mode"), [(0.2, "single"), (0.5, "none"), (0.9, "none")])
def test_retrieves_where_failure_is_likelier_than_the_bound(right: float, mode: Mode) -> None:
    decision = Failure(constant(right), 0.5)("?", {})
    assert decision.mode == mode
    assert decision.score == pytest.approx(1 - right)


COSTS: dict[Mode, float] = {"none": 0, "single": 1, "iterative": 4}


@pytest.mark.parametrize(
    ("price", "mode"), [(0.0, "iterative"), (0.03, "iterative"), (0.04, "single"), (0.19, "single"), (0.21, "none")]
)
def test_a_higher_price_takes_cheaper_modes(price: float, mode: Mode) -> None:
    router = Router({"none": constant(0.3), "single": constant(0.5), "iterative": constant(0.6)}, COSTS, price)
    decision = router("?", {})
    assert decision.mode == mode
    assert decision.utilities["iterative"] == pytest.approx(0.6 - 4 * price)
    assert (decision.score > 0) == (mode != "none")


def test_a_tie_goes_to_the_cheaper_mode() -> None:
    assert Router({"single": constant(0.5), "none": constant(0.5)}, COSTS)("?", {}).mode == "none"


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0, 1))
def test_of_two_modes_it_is_the_uplift_rule(p0: float, p1: float, price: float) -> None:
    decision = Router({"none": constant(p0), "single": constant(p1)}, COSTS, price)("?", {})
    assert decision.score == pytest.approx(p1 - p0 - price, abs=1e-9)
    if abs(p1 - p0 - price) > 1e-9:
        assert (decision.mode == "single") == (p1 - p0 > price)


def test_a_router_needs_two_modes_and_their_costs() -> None:
    with pytest.raises(ValueError, match="at least two modes, got 1"):
        Router({"none": constant(0.5)}, COSTS)
    with pytest.raises(ValueError, match="costs must have single"):
        Router({"none": constant(0.5), "single": constant(0.5)}, {"none": 0})
