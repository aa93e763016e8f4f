"""How sure a difference is, and what is worth its price: from plain numbers, a value a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SignTest:
    """On how many questions one is better, on how many worse, and the chance of that if neither were.

    Attributes:
        better, worse: numbers of questions; ties say nothing, and are in neither.
        p: two-sided.
    """

    better: int
    worse: int
    p: float


def sign_test(a: Sequence[float], b: Sequence[float]) -> SignTest:
    """The exact sign test of a against b on the same questions; of values that are 0 or 1, McNemar's exact test.

    Raises:
        ValueError: a and b are of different lengths.
    """
    from scipy import stats

    if len(a) != len(b):
        raise ValueError(f"a and b must hold the same questions, got {len(a)} and {len(b)} values")
    differences = np.subtract(a, b)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    p = float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return SignTest(better, worse, p)


def holm(ps: Sequence[float]) -> list[float]:
    """The p values as they are when so many tests are made, in their order (Holm, 1979).

    Calling those significant that stay below 5 % errs in any of them in at most 5 % of the cases, whatever they have to
    do with each other.
    """
    order = np.argsort(ps, kind="stable")
    factors = np.arange(len(ps), 0, -1)
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(ps, np.float64)[order] * factors), 1.0)
    return [float(p) for p in adjusted]


def pareto_front(qualities: Sequence[float], costs: Sequence[float | None]) -> list[bool]:
    """For each, whether none of the others is at least as good and as cheap, and better in one of them.

    One whose cost is unknown is on no front, and off nobody else's.
    """
    points = [(quality, cost) for quality, cost in zip(qualities, costs, strict=True) if cost is not None]
    return [
        cost is not None
        and not any(
            better >= quality and cheaper <= cost and (better > quality or cheaper < cost) for better, cheaper in points
        )
        for quality, cost in zip(qualities, costs, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Curve:
    """A step function: y[i] from x[i] on, until x[i + 1].

    Attributes:
        x: rising, from 0.
        y: as long.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def at(self, x: float) -> float:
        """Its value; that of the largest known x beyond it."""
        return float(self.y[max(int(np.searchsorted(self.x, x, side="right")) - 1, 0)])


def capped_curve(values: Sequence[float], tokens: Sequence[float]) -> Curve:
    """Mean value if no question may take more than x tokens: one that takes more counts 0."""
    order = np.argsort(tokens, kind="stable")
    sums = np.cumsum(np.asarray(values, np.float64)[order]) / len(values)
    x, last = np.unique(np.asarray(tokens, np.float64)[order][::-1], return_index=True)
    return _from_nothing(x, sums[len(values) - 1 - last])


def cumulative_curve(values: Sequence[float], tokens: Sequence[float]) -> Curve:
    """Mean value when the questions are answered in their order until x tokens are spent, the others counting 0.

    x is per question: the tokens of all that are answered, divided by the number of all questions.
    """
    x = np.cumsum(np.asarray(tokens, np.float64)) / len(values)
    return _from_nothing(x, np.cumsum(np.asarray(values, np.float64)) / len(values))


def _from_nothing(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """The curve, with nothing answered at 0."""
    return Curve(np.concatenate([[0.0], x]), np.concatenate([[0.0], y]))
