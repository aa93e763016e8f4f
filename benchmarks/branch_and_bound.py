"""What the exact knapsack takes for candidates of a context of 1,024 tokens, beside dynamic programming over tokens.

    python benchmarks/branch_and_bound.py [--rounds 20]

Costs are 60 to 256 tokens, whole or with a part for access. Values are random, all equal, or tied to the cost: times
1 to 1.1, plus 10, or the cost itself, which is the hardest. Times are the median and the longest of the rounds, of
CPU time on one thread. Dynamic programming, of numpy rows, has whole costs only, and gives the value without the
subset. "Proven" is the share of rounds in which the nodes sufficed.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from ragloom.components.branch_and_bound import best_subset
from ragloom.pipelines.report import Table

BUDGET = 1024
SIZES = (20, 30, 60)
VALUES: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "random": lambda random, costs: random.random(len(costs)),
    "equal": lambda random, costs: np.ones(len(costs)),
    "cost times 1 to 1.1": lambda random, costs: costs * random.uniform(1, 1.1, len(costs)),
    "cost plus 10": lambda random, costs: costs + 10,
    "cost": lambda random, costs: costs,
}


def by_tokens(values: Sequence[float], costs: Sequence[float]) -> float:
    """The largest value, by dynamic programming over whole costs."""
    best = np.zeros(BUDGET + 1)
    for value, cost in zip(values, costs, strict=True):
        best[int(cost) :] = np.maximum(best[int(cost) :], best[: BUDGET + 1 - int(cost)] + value)
    return float(best[-1])


def main() -> int:
    """Print the table; 1 if branch and bound and dynamic programming disagree."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    header = ("chunks", "values", "costs", "median ms", "longest ms", "proven", "by tokens, ms", "agree")
    rows = tuple(_row(size, kind, whole, rounds) for size in SIZES for kind in VALUES for whole in (True, False))
    print(Table(header, rows).markdown())
    return int(any(row[-1] == "no" for row in rows))


def _row(size: int, kind: str, whole: bool, rounds: int) -> tuple[str, ...]:
    random = np.random.default_rng(0)
    own, table, proven, agree = [], [], 0, True
    for _ in range(rounds):
        costs = random.integers(60, 257, size) + (0 if whole else random.random(size))
        values = VALUES[kind](random, costs).tolist()
        start = time.process_time()
        best = best_subset(values, costs.tolist(), BUDGET)
        own.append(1000 * (time.process_time() - start))
        proven += best.proven
        if whole:
            start = time.process_time()
            value = by_tokens(values, costs.tolist())
            table.append(1000 * (time.process_time() - start))
            agree &= not best.proven or abs(best.value - value) <= 1e-9 * value
    return (
        str(size),
        kind,
        "whole" if whole else "broken",
        f"{median(own):.2f}",
        f"{max(own):.2f}",
        f"{proven / rounds:.0%}",
        f"{median(table):.2f}" if whole else "",
        ("yes" if agree else "no") if whole else "",
    )


if __name__ == "__main__":
    sys.exit(main())
