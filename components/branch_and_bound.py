"""The subset of most value under a budget, where values add up: 0/1 knapsack by branch and bound.

Rather than dynamic programming over tokens, because costs are no whole numbers once access has its price. Candidate
lists take a fraction of a millisecond either way (`benchmarks/branch_and_bound.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

NODES = 100_000  # about a tenth of a second


@dataclass(frozen=True, slots=True)
class Optimum:
    """A subset and its value.

    Attributes:
        places: of what is in it, ascending.
        value: of all of it, less the penalties.
        proven: False where the nodes were used up, and some other subset might be worth more.
    """

    places: tuple[int, ...]
    value: float
    proven: bool


def best_subset(
    values: Sequence[float],
    costs: Sequence[float],
    budget: float,
    *,
    penalties: NDArray[np.float64] | None = None,
    nodes: int = NODES,
) -> Optimum:
    """The subset of the largest summed value that costs no more than the budget.

    Depth first, what has most value for its cost first, bounded by the fractional knapsack (Dantzig 1957; Horowitz and
    Sahni 1974). Without penalties a subset is left as soon as one of the same depth and cost is worth as much, or
    where it takes something and leaves what is worth no less and costs no more; this keeps equal values and whole
    costs from taking exponential time, and other inputs still can. What is worth nothing is never taken.

    Args:
        values: finite.
        costs: finite, from 0.
        budget: from 0.
        penalties: (n, n), symmetric, from 0; what each pair takes off the value where both are taken. The bound leaves
            them out, so that proofs take longer the larger they are.
        nodes: most partial subsets that are looked at.

    Raises:
        ValueError: lengths differ, or a number is out of its range.

    >>> best_subset([6, 10, 12], [1, 2, 3], 5)
    Optimum(places=(1, 2), value=22.0, proven=True)
    """
    _check(values, costs, budget, penalties)
    order = [place for place, value in enumerate(values) if value > 0 and costs[place] <= budget]
    order.sort(key=lambda place: (-values[place] / costs[place] if costs[place] else -inf, -values[place]))
    ordered = _Ordered([float(values[place]) for place in order], [float(costs[place]) for place in order], budget)
    pairs = None if penalties is None else penalties[np.ix_(order, order)].tolist()
    taken, value, proven = _search(ordered, pairs, nodes)
    return Optimum(tuple(sorted(order[at] for at in _bits(taken))), value, proven)


class _Ordered:
    """What can be taken, by value for cost, and the bound of what the rest of it can add."""

    def __init__(self, values: list[float], costs: list[float], budget: float) -> None:
        self.values, self.costs, self.budget = values, costs, budget
        self._value_before = [0.0, *accumulate(values)]
        self._cost_before = [0.0, *accumulate(costs)]

    def most(self, at: int, cost: float) -> float:
        """What those from `at` on can add if all but the last are taken whole, and the last as far as there is room."""
        end = self.budget - cost + self._cost_before[at]  # of the room, on the scale of the summed costs
        stop = bisect_right(self._cost_before, end) - 1
        most = self._value_before[stop] - self._value_before[at]
        if stop < len(self.costs):
            most += (end - self._cost_before[stop]) * self.values[stop] / self.costs[stop]
        return most

    def no_worse_before(self) -> list[int]:
        """For each, those before it that are worth no less and cost no more, as bits."""
        pairs = list(zip(self.values, self.costs, strict=True))
        return [
            sum(1 << other for other in range(at) if pairs[other][0] >= value and pairs[other][1] <= cost)
            for at, (value, cost) in enumerate(pairs)
        ]


def _search(items: _Ordered, penalties: list[list[float]] | None, nodes: int) -> tuple[int, float, bool]:
    """What is taken, as bits, its value, and whether everything was looked at or bounded."""
    best, best_value = 0, 0.0
    first = items.no_worse_before() if penalties is None else [0] * len(items.costs)
    seen: dict[tuple[int, float], float] = {}  # the value reached at each depth and cost
    stack = [(0, 0.0, 0.0, 0)]
    for _ in range(nodes):
        if not stack:
            break
        at, cost, value, taken = stack.pop()
        if value > best_value:
            best, best_value = taken, value
        if at == len(items.costs) or value + items.most(at, cost) <= best_value:
            continue
        if penalties is None:
            if seen.get((at, cost), -1.0) >= value:
                continue
            seen[at, cost] = value
        gain = items.values[at] - (sum(penalties[at][other] for other in _bits(taken)) if penalties else 0.0)
        stack.append((at + 1, cost, value, taken))
        # With penalties from 0, what gains nothing now gains nothing beside more.
        if cost + items.costs[at] <= items.budget and gain > 0 and not first[at] & ~taken:
            stack.append((at + 1, cost + items.costs[at], value + gain, taken | 1 << at))
    return best, best_value, not stack


def _bits(number: int) -> list[int]:
    return [bit for bit in range(number.bit_length()) if number >> bit & 1]


def _check(
    values: Sequence[float], costs: Sequence[float], budget: float, penalties: NDArray[np.float64] | None
) -> None:
    if len(values) != len(costs):
        raise ValueError(f"{len(values)} values need as many costs, got {len(costs)}")
    if not all(map(isfinite, values)):
        raise ValueError(f"values must be finite, got {list(values)}")
    if not all(isfinite(cost) and cost >= 0 for cost in (*costs, budget)):
        raise ValueError(f"costs and the budget must be numbers from 0, got {list(costs)} and {budget}")
    if penalties is not None:
        if penalties.shape != (len(values), len(values)):
            raise ValueError(f"penalties must be ({len(values)}, {len(values)}), got {penalties.shape}")
        if not (np.isfinite(penalties).all() and (penalties >= 0).all() and np.array_equal(penalties, penalties.T)):
            raise ValueError("penalties must be symmetric numbers from 0")
