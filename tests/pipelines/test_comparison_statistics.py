"""Tests, corrections and curves against brute force on small inputs."""

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragloom.pipelines.comparison_statistics import (
    capped_curve,
    cumulative_curve,
    holm,
    pareto_front,
    sign_test,
)

VALUES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=12)
PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), max_size=12)
CHANCES = st.lists(st.floats(0, 1), max_size=8)


@given(PAIRS)
@settings(deadline=None)  # the first call imports scipy
def test_the_sign_test_is_the_share_of_all_signs_that_are_at_least_as_lopsided(pairs: list[tuple[float, float]]):
    found = sign_test([a for a, _ in pairs], [b for _, b in pairs])
    better, worse = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    assert (found.better, found.worse) == (better, worse)
    outcomes = [sum(signs) for signs in product((0, 1), repeat=better + worse)]
    lopsided = sum(abs(2 * wins - better - worse) >= abs(better - worse) for wins in outcomes)
    assert found.p == pytest.approx(lopsided / len(outcomes))


def test_mcnemars_example_by_hand():
    found = sign_test([1.0] * 8 + [0.0] * 2 + [1.0] * 5, [0.0] * 8 + [1.0] * 2 + [1.0] * 5)
    tail = sum(comb(10, wins) for wins in (8, 9, 10))
    assert (found.better, found.worse) == (8, 2)
    assert found.p == pytest.approx(float(2 * Fraction(tail, 2**10)))


def test_a_sign_test_of_different_questions_is_refused():
    with pytest.raises(ValueError, match="got 1 and 2 values"):
        sign_test([1.0], [1.0, 0.0])


@given(CHANCES)
def test_holm_is_the_step_down_procedure(ps: list[float]):
    """A hypothesis is rejected at a level just when the step-down procedure of the definition rejects it there."""
    adjusted = holm(ps)
    for level in (0.01, 0.05, 0.3, 0.9):
        rejected: set[int] = set()
        for step, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
            if ps[place] * (len(ps) - step) > level:
                break
            rejected.add(place)
        assert {place for place, p in enumerate(adjusted) if p <= level} == rejected


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.8, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(0, 4))), max_size=8))
def test_the_front_holds_what_no_other_dominates(points: list[tuple[int, int | None]]):
    on_it = pareto_front([quality for quality, _ in points], [cost for _, cost in points])
    for (quality, cost), found in zip(points, on_it, strict=True):
        dominated = cost is not None and any(
            other is not None and better >= quality and other <= cost and (better, other) != (quality, cost)
            for better, other in points
        )
        assert found == (cost is not None and not dominated)


@given(VALUES, st.data())
def test_a_capped_curve_counts_what_stays_within_the_cap(values: list[float], data: st.DataObject):
    tokens = data.draw(st.lists(st.integers(1, 9), min_size=len(values), max_size=len(values)))
    curve = capped_curve(values, tokens)
    assert np.all(np.diff(curve.x) > 0)
    for cap in range(11):
        within = [value for value, count in zip(values, tokens, strict=True) if count <= cap]
        assert curve.at(cap) == pytest.approx(sum(within) / len(values))


@given(VALUES, st.data())
def test_a_cumulative_curve_stops_when_the_tokens_are_spent(values: list[float], data: st.DataObject):
    n = len(values)
    tokens = data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    curve = cumulative_curve(values, [float(count) for count in tokens])
    for answered in range(n + 1):
        assert curve.at(sum(tokens[:answered]) / n + 1e-9) == pytest.approx(sum(values[:answered]) / n)
