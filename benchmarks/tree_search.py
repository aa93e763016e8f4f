"""What an iteration of tree search costs beside the reward, and how near its selections come to the optimum.

    python benchmarks/tree_search.py [--instances 40] [--rounds 7]

Speed: sets of up to 8 of 30 items, whose reward takes constant time; CPU time on one thread without the time inside the
reward, the least of several rounds. What the problem itself does (its actions, keys, prices) counts.

Nearness: synthetic problems, as in the tests, whose optimum is known: 30 chunks of 60 to 256 words of which 40 % are of
use and a budget of 1,024 words, and 12 chunks of which 75 % are of use and 700 words. What is covered is worth more
together, and the rest distracts. "Of the optimum" is the mean share of the highest reward there is. On such a reward
read the pattern, not the digits.
"""

import argparse
import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # before numpy loads

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from ragloom.components.combinations import Combination, Selector
from ragloom.components.relevance_selection import GreedyFill
from ragloom.components.selection import CORAGSelector, MCTSSelector
from ragloom.components.selection_baselines import Beam, GreedyMarginal
from ragloom.components.tree_search import tree_search
from ragloom.pipelines.report import Table

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from coverage_instances import WORDS, Instance, Sets, instance

ITEMS, LARGEST = 30, 8
ITERATIONS = (200, 1_000, 10_000)


class Items:
    """Sets of items as a problem of tree search; the time that goes into rewards is kept apart."""

    exhausted = False

    def __init__(self) -> None:
        self.seconds = 0.0

    def actions(self, chosen: tuple[int, ...], /) -> list[int]:
        """The items that are not chosen, as long as there is room."""
        return [item for item in range(ITEMS) if item not in chosen] if len(chosen) < LARGEST else []

    def apply(self, chosen: tuple[int, ...], item: int, /) -> tuple[int, ...]:
        """With the item."""
        return (*chosen, item)

    def key(self, chosen: tuple[int, ...], /) -> frozenset[int]:
        """Whatever the order."""
        return frozenset(chosen)

    def price(self, chosen: tuple[int, ...], /) -> float:
        """A hundredth an item."""
        return 0.01 * len(chosen)

    def evaluate(self, sets: Sequence[tuple[int, ...]], /) -> list[float]:
        """Something that looks random."""
        started = time.thread_time()
        rewards = [sum(item * 7919 % 97 for item in chosen) % 97 / 97 for chosen in sets]
        self.seconds += time.thread_time() - started
        return rewards


def microseconds(iterations: int, rounds: int) -> float:
    """An iteration, beside the reward."""
    least = float("inf")
    for _ in range(rounds):
        problem = Items()
        started = time.thread_time()
        found = tree_search(problem, (), iterations=iterations)
        least = min(least, time.thread_time() - started - problem.seconds)
        assert found.iterations == iterations, found
    return least / iterations * 1e6


class Outcome(NamedTuple):
    """Of one selector on one instance; `seconds` without those inside the utility."""

    share: float
    chunks: int
    evaluations: int
    batches: int
    seconds: float


class Counted:
    """An instance's utility, which counts its calls and their seconds."""

    def __init__(self, problem: Instance) -> None:
        self.problem = problem
        self.calls = 0
        self.seconds = 0.0

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> list[float]:  # noqa: D102
        started = time.thread_time()
        scores = self.problem(query, combinations)
        self.seconds += time.thread_time() - started
        self.calls += 1
        return scores


SELECTORS: dict[str, Callable[[Counted, float], Selector]] = {
    "greedy fill by relevance": lambda utility, budget: GreedyFill(budget, cost=WORDS),
    "greedy marginal": lambda utility, budget: GreedyMarginal(utility, budget, cost=WORDS),
    "beam of 4": lambda utility, budget: Beam(utility, budget, cost=WORDS),
    "beam of 4, 200 evaluations": lambda utility, budget: Beam(utility, budget, cost=WORDS, evaluations=200),
    "MCTSSelector, 200 evaluations": lambda utility, budget: MCTSSelector(utility, budget, cost=WORDS),
    "MCTSSelector, 200 iterations": lambda utility, budget: MCTSSelector(
        utility, budget, cost=WORDS, iterations=200, evaluations=None
    ),
    "CORAG as published, 10 iterations": lambda utility, budget: CORAGSelector(utility, budget, cost=WORDS),
    "CORAG as published, 100 iterations": lambda utility, budget: CORAGSelector(
        utility, budget, cost=WORDS, iterations=100
    ),
}


def selected(make: Callable[[Counted, float], Selector], problem: Instance) -> Outcome:
    """What the selector comes to."""
    utility = Counted(problem)
    started = time.thread_time()
    selection = make(utility, problem.budget).select("", problem.hits)
    seconds = time.thread_time() - started - utility.seconds
    share = problem.worth([int(hit.chunk.id) for hit in selection.hits]) / problem.optimum()
    return Outcome(share, len(selection.hits), selection.evaluations, utility.calls, seconds)


def unseeded(problem: Instance) -> Outcome:
    """What a tree search comes to that knows nothing but the order of the hits."""
    started = time.thread_time()
    found = tree_search(Sets(problem), (), iterations=200)
    seconds = time.thread_time() - started
    return Outcome(found.reward / problem.optimum(), len(found.state or ()), found.evaluations, found.batches, seconds)


def row(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Of the table."""
    shares, chunks, evaluations, batches, seconds = zip(*outcomes, strict=True)
    means = (f"{mean(chunks):.1f}", f"{mean(evaluations):.0f}", f"{mean(batches):.0f}", f"{1e3 * mean(seconds):.1f}")
    return (name, f"{mean(shares):.3f}", f"{min(shares):.3f}", *means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    speed = tuple((f"{count:,}", f"{microseconds(count, arguments.rounds):.1f}") for count in ITERATIONS)
    print(Table(("iterations", "microseconds an iteration beside the reward"), speed).markdown(), end="\n\n")
    columns = ("selector", "of the optimum", "least", "chunks", "evaluations", "batches", "ms beside the reward")
    for chunks, budget, useful in ((12, 700, 0.75), (30, 1024, 0.4)):
        instances = [instance(n, chunks=chunks, budget=budget, useful=useful) for n in range(arguments.instances)]
        print(f"{chunks} chunks, {budget:,} words\n")
        rows = [row(name, [selected(make, problem) for problem in instances]) for name, make in SELECTORS.items()]
        rows.append(row("tree search from nothing, 200 iterations*", [unseeded(problem) for problem in instances]))
        note = "\\* Its time has the reward in it."
        print(Table(columns, tuple(rows), (note,)).markdown(), end="\n\n")


if __name__ == "__main__":
    main()
