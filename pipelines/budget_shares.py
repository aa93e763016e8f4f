"""A run's budget, handed out in shares to those who work on it at the same time."""

from __future__ import annotations

import time
from threading import Lock

from ragloom.run import Budget
from ragloom.types import Usage


class BudgetShares:
    """What is left of a budget, split evenly among those at work. No sum of shares is ever more than what is left.

    The seconds are not split: all work at the same time.

    >>> shares = BudgetShares(Budget(calls=10), Usage(calls=2), among=2)
    >>> first, second = shares.take(), shares.take()
    >>> first.calls, second.calls
    (4, 4)
    >>> shares.settle(first, Usage(calls=1))
    >>> shares.take().calls
    3

    Args:
        budget: of the run.
        spent: by the run so far.
        among: shares that are out at a time.
    """

    def __init__(self, budget: Budget, spent: Usage, *, among: int) -> None:
        self._budget = budget
        self._left = _amounts(budget)
        self._among = among
        self._out = 0
        self._begun = time.monotonic()
        self._lock = Lock()
        self._take(_spent(spent))

    def take(self) -> Budget:
        """An equal share of what is not handed out, for one who is idle."""
        with self._lock:
            idle = self._among - self._out
            self._out += 1
            free = {name: max(0.0, left) for name, left in self._left.items()}
            share = {name: left / idle if name == "cost" else left // idle for name, left in free.items()}
            self._take(share)
        seconds = self._budget.seconds
        seconds_left = None if seconds is None else max(0.0, seconds - (time.monotonic() - self._begun))
        tokens, calls = (None if name not in share else int(share[name]) for name in ("tokens", "calls"))
        return Budget(tokens, calls, share.get("cost"), seconds_left)

    def settle(self, share: Budget, spent: Usage) -> None:
        """Give back a share, less what was spent of it."""
        with self._lock:
            self._out -= 1
            self._take({name: -amount for name, amount in _amounts(share).items()})
            self._take(_spent(spent))

    def _take(self, amounts: dict[str, float]) -> None:
        for name in self._left:
            self._left[name] -= amounts[name]  # below 0 where more was spent than shared: others' shares make up for it


def _amounts(budget: Budget) -> dict[str, float]:
    limits = {"tokens": budget.tokens, "calls": budget.calls, "cost": budget.cost}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _spent(usage: Usage) -> dict[str, float]:
    return {"tokens": usage.tokens, "calls": usage.calls, "cost": usage.cost or 0.0}
