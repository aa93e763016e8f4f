"""What a gate is calibrated for, and which of several policies is best by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragloom.components.gating import MODES, Mode

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95  # of the bound on the risk, one-sided
COSTS: Mapping[Mode, float] = {"none": 0, "single": 1, "iterative": 4}  # retrievals


@dataclass(frozen=True, slots=True)
class Objective:
    """What is wanted of a gate: by default, as many right answers as possible. A tie goes to the lower cost.

    At most one of `cost_limit`, `match` and `risk`, and `price` with none of them.

    Attributes:
        price: accuracy that one unit of cost is worth; accuracy less the price of the mean cost is maximised.
        cost_limit: accuracy is maximised among gates of at most this mean cost.
        match: cost is minimised among gates at least as accurate as this mode for every question, less the margin.
        margin: see `match`.
        risk: cost is minimised among gates whose answers without passages are wrong at most this often; of that rate,
            the upper Clopper-Pearson bound of one-sided 95 % is compared. It holds for one gate: of the best of
            many it is a little optimistic, which is why the rate out of fold is reported.
    """

    price: float = 0.0
    cost_limit: float | None = None
    match: Mode | None = None
    margin: float = 0.0
    risk: float | None = None

    def __post_init__(self) -> None:
        kinds = [self.price != 0, self.cost_limit is not None, self.match is not None, self.risk is not None]
        if sum(kinds) > 1:
            raise ValueError("an objective is one of price, cost_limit, match and risk")
        if self.price < 0 or self.margin < 0 or (self.cost_limit is not None and self.cost_limit < 0):
            raise ValueError("price, margin and cost_limit must not be below 0")
        if self.match is not None and self.match not in MODES:
            raise ValueError(f"match must be one of {', '.join(MODES)}, got {self.match!r}")
        if self.risk is not None and not 0 < self.risk < 1:
            raise ValueError(f"risk must be between 0 and 1, got {self.risk}")

    @property
    def unconditional(self) -> bool:
        """Whether it is accuracy less a price, and nothing else."""
        return self.cost_limit is None and self.match is None and self.risk is None

    def __str__(self) -> str:
        if self.cost_limit is not None:
            return f"the most right answers at a mean cost of at most {self.cost_limit:g}"
        if self.match is not None:
            return f"the lowest cost at an accuracy of at least that of {self.match} less {self.margin:g}"
        if self.risk is not None:
            return f"the lowest cost with at most {self.risk:.1%} of the answers without passages wrong"
        return f"the most right answers less {self.price:g} for each unit of cost" if self.price else "right answers"


@dataclass(frozen=True)
class Labels:
    """What each mode was worth, as arrays.

    Args:
        modes: from the cheapest; m of them.
        costs: (m,).
        right: (n, m), how right each question's answer is under each mode.
    """

    modes: tuple[Mode, ...]
    costs: NDArray[np.float64]
    right: NDArray[np.float64]

    def of(self, rows: NDArray[np.intp]) -> Labels:
        """Of these rows only."""
        return Labels(self.modes, self.costs, self.right[rows])

    def accuracy(self, choices: NDArray[np.intp]) -> NDArray[np.float64]:
        """Mean over questions; choices are places in `modes`, (..., n)."""
        rows = np.arange(len(self.right))
        accuracy: NDArray[np.float64] = self.right[rows, np.atleast_2d(choices)].mean(axis=-1)
        return accuracy

    def cost(self, choices: NDArray[np.intp]) -> NDArray[np.float64]:
        """Mean over questions."""
        cost: NDArray[np.float64] = self.costs[np.atleast_2d(choices)].mean(axis=-1)
        return cost


def best_policy(objective: Objective, choices: NDArray[np.intp], labels: Labels) -> tuple[int, tuple[float, ...]]:
    """The place of the policy that fits the objective best, and its worth, which compares with others on these rows.

    A policy that keeps to the objective's condition is worth more than any that does not; of those that do not, the
    one that comes nearest.

    Args:
        objective: what is wanted.
        choices: (policies, n), places in the modes; the first of equals is taken.
        labels: of the n questions.
    """
    worths = _worths(objective, choices, labels, bounded=True)
    best = max(range(len(worths)), key=worths.__getitem__)
    return best, worths[best]


def beats(objective: Objective, ours: NDArray[np.intp], theirs: NDArray[np.intp], labels: Labels) -> bool:
    """Whether the first policy fits the objective better than the second, on questions neither was chosen on.

    There costs scatter about their limit, so two standard errors more are within it; and of the risk the rate itself
    is compared.
    """
    mine, other = _worths(objective, np.stack([ours, theirs]), labels, bounded=False)
    return mine > other


def _worths(
    objective: Objective, choices: NDArray[np.intp], labels: Labels, *, bounded: bool
) -> Sequence[tuple[float, ...]]:
    accuracy, cost = labels.accuracy(choices), labels.cost(choices)
    if objective.cost_limit is not None:
        slack = 0.0 if bounded else 2 * labels.costs[choices].std(axis=-1) / np.sqrt(choices.shape[-1])
        excess = np.maximum(cost - objective.cost_limit - slack, 0)
        aim = accuracy
    elif objective.match is not None:
        wanted = labels.right[:, labels.modes.index(objective.match)].mean() - objective.margin
        excess = np.maximum(wanted - accuracy, 0)
        aim = -cost
    elif objective.risk is not None:
        excess = np.maximum(_risk(choices, labels, bounded=bounded) - objective.risk, 0)
        aim = -cost
    else:
        excess = np.zeros(len(choices))
        aim = accuracy - objective.price * cost
    # rounded, since sums of the same numbers in another order differ in their last digits, and a tie is a tie
    return [tuple(worth) for worth in np.round([-excess, aim, -cost, accuracy], 12).T.tolist()]


def _risk(choices: NDArray[np.intp], labels: Labels, *, bounded: bool) -> NDArray[np.float64]:
    """How often answers without passages are wrong, or the upper bound of that; 0 where there are none."""
    from scipy import stats

    direct = choices == 0
    answered = direct.sum(axis=-1)
    wrong = (direct * (1 - labels.right[:, 0])).sum(axis=-1)
    if not bounded:
        rate: NDArray[np.float64] = wrong / np.maximum(answered, 1)
        return rate
    bound = stats.beta.ppf(CONFIDENCE, wrong + 1, np.maximum(answered - wrong, 1e-9))
    upper: NDArray[np.float64] = np.where(answered > 0, np.where(wrong >= answered, 1.0, bound), 0.0)
    return upper
