from itertools import combinations
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.branch_and_bound import best_subset

Items = list[tuple[int, int]]  # value and cost of each

items = st.lists(st.tuples(st.integers(-3, 30), st.integers(0, 12)), max_size=9)
quarters = st.lists(st.tuples(st.integers(-3, 30), st.integers(0, 50).map(lambda n: n / 4)), max_size=9)


def brute_force(
    values: list[int], costs: list[float], budget: float, penalties: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> float:
    """The largest value of all subsets that fit."""
    return max(
        fsum(values[at] for at in subset) - fsum(float(penalties[a, b]) for a, b in combinations(subset, 2))
        for size in range(len(values) + 1)
        for subset in combinations(range(len(values)), size)
        if fsum(costs[at] for at in subset) <= budget
    )


def by_tokens(values: list[int], costs: list[int], budget: int) -> int:
    """The textbook's 0/1 knapsack: dynamic programming over whole costs."""
    best = [0] * (budget + 1)
    for value, cost in zip(values, costs, strict=True):
        for room in range(budget, cost - 1, -1):
            best[room] = max(best[room], best[room - cost] + value)
    return best[budget]


@given(items, st.integers(0, 40))
def test_whole_costs_give_what_dynamic_programming_gives(found: Items, budget: int) -> None:
    values, costs = [value for value, _ in found], [cost for _, cost in found]
    best = best_subset(values, costs, budget)
    assert best.proven
    assert best.value == by_tokens(values, costs, budget) == sum(values[at] for at in best.places)
    assert sum(costs[at] for at in best.places) <= budget


@given(quarters, st.integers(0, 120))
def test_broken_costs_give_what_trying_everything_gives(found: list[tuple[int, float]], budget: int) -> None:
    values, costs = [value for value, _ in found], [cost for _, cost in found]
    best = best_subset(values, costs, budget / 4)
    assert best.value == brute_force(values, costs, budget / 4, np.zeros((len(values), len(values))))
    assert sum(costs[at] for at in best.places) <= budget / 4


@given(items.filter(lambda found: len(found) <= 7), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_penalties_give_what_trying_everything_gives(found: Items, budget: int, seed: int) -> None:
    values, costs = [value for value, _ in found], [float(cost) for _, cost in found]
    half = np.triu(np.random.default_rng(seed).integers(0, 10, (len(values), len(values))), 1).astype(np.float64)
    penalties = half + half.T
    best = best_subset(values, costs, budget, penalties=penalties)
    assert best.proven
    assert best.value == brute_force(values, costs, budget, penalties)
    assert sum(costs[at] for at in best.places) <= budget


@given(items, st.integers(0, 40), st.randoms(use_true_random=False))
def test_the_value_does_not_depend_on_the_order_of_the_items(found: Items, budget: int, random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis names no public type
    assert best_subset(*_split(found), budget).value == best_subset(*_split(shuffled), budget).value


@pytest.mark.parametrize("value", [lambda cost: 1.0, lambda cost: cost, lambda cost: cost + 10])
def test_sixty_items_with_values_tied_to_whole_costs_are_solved(value: object) -> None:
    costs = np.random.default_rng(0).integers(60, 257, 60).tolist()
    values = [int(value(cost)) for cost in costs]  # type: ignore[operator]  # one of those above
    best = best_subset(values, costs, 1024)
    assert best.proven
    assert best.value == by_tokens(values, costs, 1024)


def test_a_budget_may_be_exactly_met() -> None:
    assert best_subset([1, 1, 5], [2, 3, 4], 5).places == (2,)
    assert best_subset([3, 3, 5], [2, 3, 4], 5).places == (0, 1)


def test_what_costs_nothing_is_taken_if_it_is_worth_something() -> None:
    assert best_subset([0, 1, -1, 2], [0, 0, 0, 0], 0).places == (1, 3)


def test_nothing_is_taken_where_nothing_fits_or_there_is_nothing() -> None:
    assert best_subset([5, 6], [10, 11], 9).places == ()
    assert best_subset([], [], 9).places == ()


def test_where_the_nodes_are_used_up_the_best_found_is_not_proven() -> None:
    best = best_subset([6, 10, 12], [1, 2, 3], 5, nodes=3)
    assert not best.proven
    assert best.value < 22


@pytest.mark.parametrize(
    ("values", "costs", "budget", "problem"),
    [
        ([1.0], [], 1.0, "1 values need as many costs, got 0"),
        ([float("nan")], [1.0], 1.0, "values must be finite"),
        ([1.0], [-1.0], 1.0, "from 0, got .-1.0"),
        ([1.0], [1.0], float("inf"), "and inf"),
    ],
)
def test_numbers_out_of_range_are_refused(values: list[float], costs: list[float], budget: float, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        best_subset(values, costs, budget)


@pytest.mark.parametrize("penalties", [[[0.0]], [[0.0, 1.0], [2.0, 0.0]], [[0.0, -1.0], [-1.0, 0.0]]])
def test_penalties_of_the_wrong_kind_are_refused(penalties: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="penalties must be"):
        best_subset([1, 1], [1, 1], 2, penalties=np.array(penalties))


def _split(found: Items) -> tuple[list[int], list[int]]:
    return [value for value, _ in found], [cost for _, cost in found]
