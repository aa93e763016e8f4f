"""How many passages to show."""

from dataclasses import astuple
from math import inf, nan, sqrt
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.context_size import SIZES, ChosenSize, ScoreGapCut, Size, choose_k
from ragloom.types import Chunk, Hit

SCORES = st.lists(st.one_of(st.floats(), st.sampled_from([0.0, 1.0, 2.0, nan, inf, -inf])), max_size=12)


def hits(*scores: float) -> list[Hit]:
    return [Hit(Chunk(str(place), ""), score) for place, score in enumerate(scores)]


def kept(scores: list[float], least: int = 1, most: int = 20) -> list[int]:
    return [int(hit.chunk.id) for hit in ScoreGapCut(least, most)("", hits(*scores))]


# ---- Choice of k


def test_the_smallest_k_within_a_standard_error_of_the_best_is_chosen() -> None:
    outcomes = {
        1: [0.0] * 8 + [1.0] * 2,
        3: [1.0] * 7 + [0.0, 0.0, 1.0],
        5: [1.0] * 7 + [1.0, 0.0, 1.0],  # one question more than 3, which is a standard error
        8: [1.0] * 6 + [1.0, 0.0, 0.0, 1.0],
    }
    found = choose_k(outcomes)
    assert found.k == 3
    assert astuple(found.sizes[1]) == pytest.approx((3, 0.8, 0.1, 0.1))
    assert [size.k for size in found.sizes] == [1, 3, 5, 8]
    assert found.sizes[2].behind == found.sizes[2].standard_error == 0


def test_a_small_loss_that_is_the_same_for_every_question_counts() -> None:
    # The values scatter far more than a standard error of .05, their differences do not.
    hard = [0.1, 0.9, 0.3, 0.7, 0.2, 0.8]
    assert choose_k({1: hard, 2: [value + 0.05 for value in hard]}).k == 2


def test_of_equally_good_sizes_the_smallest_is_best() -> None:
    assert choose_k({k: [1.0, 0.0] for k in reversed(SIZES)}).k == 1


def test_one_question_has_no_error() -> None:
    assert choose_k({1: [0.5], 2: [0.75], 3: [0.75]}) == ChosenSize(
        2, (Size(1, 0.5, 0.25, 0.0), Size(2, 0.75, 0.0, 0.0), Size(3, 0.75, 0.0, 0.0))
    )


@given(st.integers(2, 8).flatmap(lambda n: st.dictionaries(
    st.integers(1, 40), st.lists(st.integers(0, 4), min_size=n, max_size=n), min_size=1, max_size=6)))  # fmt: skip
def test_the_choice_follows_the_rule(outcomes: dict[int, list[int]]) -> None:
    best = min(outcomes, key=lambda k: (-sum(outcomes[k]), k))
    differences = {k: [a - b for a, b in zip(outcomes[best], outcomes[k], strict=True)] for k in outcomes}
    fitting = [k for k, them in differences.items() if fmean(them) <= stdev(them) / sqrt(len(them)) + 1e-9]
    strictly = [k for k, them in differences.items() if fmean(them) <= stdev(them) / sqrt(len(them)) - 1e-9]
    assert choose_k(outcomes).k in fitting  # rounding decides between those that are on the bound
    assert choose_k(outcomes).k <= min([*strictly, best])


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ({}, r"got no k of them"),
        ({1: [], 2: []}, r"got \[0\] of them"),
        ({1: [1.0], 2: [1.0, 0.0]}, r"got \[1, 2\] of them"),
        ({0: [1.0]}, "at least 1, got 0"),
        ({1: [1.0], 2: [nan]}, "k = 2 must be finite"),
    ],
)
def test_outcomes_that_cannot_be_compared_are_refused(outcomes: dict[int, list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_k(outcomes)


# ---- Score gap


def test_the_largest_relative_drop_ends_the_list() -> None:
    assert kept([10.0, 9.0, 8.5, 3.0, 2.9]) == [0, 1, 2]
    assert kept([100.0, 80.0, 30.0, 5.0]) == [0, 1, 2]  # relative: 30 to 5 is less than 80 to 30, but a larger share


def test_least_and_most_are_kept_to() -> None:
    scores = [10.0, 1.0, 0.9, 0.8, 0.01]
    assert kept(scores) == [0, 1, 2, 3]
    assert kept(scores, most=3) == [0]
    assert kept(scores, least=2, most=3) == [0, 1, 2]  # .9 to .8 is more than 1 to .9
    assert kept(scores, least=9, most=9) == [0, 1, 2, 3, 4]


def test_of_equal_drops_the_first_counts_and_without_one_nothing_is_cut() -> None:
    assert kept([8.0, 4.0, 2.0, 1.0]) == [0]
    assert kept([3.0, 3.0, 3.0]) == [0, 1, 2]
    assert kept([0.0, 0.0, 0.0], most=2) == [0, 1]
    assert kept([]) == []


def test_hits_are_compared_best_first_and_stay_in_their_order() -> None:
    assert kept([1.0, 10.0, 0.9, 9.0]) == [1, 3]


def test_scores_that_are_no_numbers_stand_last() -> None:
    assert kept([nan, 10.0, inf, 9.0, 1.0]) == [1, 3]
    assert kept([nan, 10.0, inf], least=2) == [0, 1]
    assert kept([nan, nan], least=1) == [0]


@given(SCORES, st.integers(1, 6), st.integers(0, 6))
def test_what_is_kept_are_the_best_and_between_least_and_most(scores: list[float], least: int, more: int) -> None:
    most = least + more
    left = kept(scores, least, most)
    assert left == sorted(left)
    assert min(least, len(scores)) <= len(left) <= most
    finite = [score for score in scores if abs(score) < inf]
    theirs = [scores[place] for place in left]
    usable = [score for score in theirs if abs(score) < inf]
    assert sorted(usable, reverse=True) == sorted(finite, reverse=True)[: len(usable)]
    assert len(usable) == min(len(left), len(finite))


@given(st.lists(st.integers(1, 1000), max_size=10), st.sampled_from([0.125, 2.0, 1024.0]))
def test_scores_need_no_unit(scores: list[int], unit: float) -> None:
    assert kept([score * unit for score in scores]) == kept([float(score) for score in scores])


@pytest.mark.parametrize(("least", "most"), [(0, 3), (4, 3)])
def test_bounds_that_cannot_be_are_refused(least: int, most: int) -> None:
    with pytest.raises(ValueError, match=f"got {least} and {most}"):
        ScoreGapCut(least, most)
