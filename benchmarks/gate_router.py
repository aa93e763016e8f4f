"""Gates calibrated on what Llama-3.1-8B answered: accuracy beside always retrieving, and what it takes.

Usage: python benchmarks/gate_router.py OUTCOMES [--seeds 5]

OUTCOMES is a JSONL file of 3,000 questions of six data sets with answers of the modes none, single and iterative.
Every number of a gate is out of fold: rule, threshold and price were chosen and fitted without the question's fold.
Means over several deals of the folds; intervals and rows of data sets are of the first deal.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ragloom.components.gating import Mode
from ragloom.components.question_features import QuestionFeatures
from ragloom.pipelines.calibration import Calibration, Kind, calibrate, saved_gate, with_features
from ragloom.pipelines.drift import drift, unknown_share
from ragloom.pipelines.evaluation import paired_bootstrap
from ragloom.pipelines.gate_fitting import Recipe
from ragloom.pipelines.gate_objectives import Objective
from ragloom.pipelines.outcomes import Outcome, read_outcomes, right

CALLS: Mapping[Mode, float] = {"none": 1, "single": 2, "iterative": 5}
RETRIEVALS: Mapping[Mode, float] = {"none": 0, "single": 1}
ROUTING: tuple[Kind, ...] = ("routing",)
RECIPES = (Recipe(terms=2.0),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outcomes", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    outcomes = with_features(read_outcomes(arguments.outcomes), [QuestionFeatures()])
    two_modes(outcomes, arguments.seeds)
    three_modes(outcomes, arguments.seeds)
    left_out(outcomes)


def two_modes(outcomes: Sequence[Outcome], seeds: int) -> None:
    print("\nNone or single: accuracy (contains) and retrieval rate, and the difference to always single")
    modes: tuple[Mode, ...] = ("none", "single")
    for limit in (0.5, 0.6, 0.65, 0.8):
        found = [
            calibrate(outcomes, objective=Objective(cost_limit=limit), costs=RETRIEVALS, modes=modes, kinds=ROUTING,
                      recipes=RECIPES, seed=seed)
            for seed in range(seeds)
        ]  # fmt: skip
        show(f"at most {limit:.0%}", outcomes, found, "single")
        if limit == 0.65:
            by_group(outcomes, found[0], "single")
    fixed = found[0].fixed
    print(f"  never {fixed['none'][0]:.4f}  always {fixed['single'][0]:.4f}", end="  ")
    print(f"at random, 65 % {fixed['none'][0] + 0.65 * (fixed['single'][0] - fixed['none'][0]):.4f}", end="  ")
    print(f"oracle {np.mean([max(right(row, mode) for mode in modes) for row in outcomes]):.4f}")


def three_modes(outcomes: Sequence[Outcome], seeds: int) -> None:
    print("\nNone, single or iterative: accuracy and mean calls, and the difference to always iterative")
    for price in (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04):
        found = [routed(outcomes, Objective(price=price), seed) for seed in range(seeds)]
        show(f"price {price:g}", outcomes, found, "iterative")
    found = [routed(outcomes, Objective(cost_limit=3.0), seed) for seed in range(seeds)]
    show("at most 3 calls", outcomes, found, "iterative")
    by_group(outcomes, found[0], "iterative")
    for mode, (accuracy, cost) in found[0].fixed.items():
        print(f"  always {mode} {accuracy:.4f} at {cost:g}", end="")
    print(f"  oracle {np.mean([max(right(row, mode) for mode in CALLS) for row in outcomes]):.4f}")


def left_out(outcomes: Sequence[Outcome]) -> None:
    print("\nOne data set left out, at most 3 calls: how strange its questions are, and what the gate makes of them")
    for group in sorted({row.group for row in outcomes}):
        others = [row for row in outcomes if row.group != group]
        theirs = [row for row in outcomes if row.group == group]
        calibration = routed(others, Objective(cost_limit=3.0), 0)
        gate = saved_gate(calibration, others)
        words, usual = set(gate.words), np.quantile(gate.unknown_shares, 0.95)
        shares = [unknown_share(row.question, words) for row in theirs]
        modes = [calibration.rule(row.question, row.features).mode for row in theirs]
        accuracy = np.mean([right(row, mode) for row, mode in zip(theirs, modes, strict=True)])
        fixed = " ".join(f"{mode} {np.mean([right(row, mode) for row in theirs]):.3f}" for mode in CALLS)
        strange = np.mean([share > usual for share in shares])
        found = drift(gate.unknown_shares, shares)
        print(f"  {group:16} {accuracy:.3f} at {np.mean([CALLS[mode] for mode in modes]):.2f}  ({fixed})", end="")
        print(f"  strange {strange:.0%} (5% expected), drifted {found.drifted} (PSI {found.psi or 0:.2f})")


def routed(outcomes: Sequence[Outcome], objective: Objective, seed: int) -> Calibration:
    return calibrate(outcomes, objective=objective, costs=CALLS, kinds=ROUTING, recipes=RECIPES, seed=seed)


def show(name: str, outcomes: Sequence[Outcome], found: Sequence[Calibration], mode: Mode) -> None:
    accuracies, costs = [one.accuracy for one in found], [one.cost for one in found]
    ours = [right(row, decision.mode) for row, decision in zip(outcomes, found[0].decisions, strict=True)]
    gain = paired_bootstrap(ours, [right(row, mode) for row in outcomes], seed=0, resamples=2000)
    print(f"  {name:16} {np.mean(accuracies):.4f} ({min(accuracies):.4f} to {max(accuracies):.4f})", end="")
    print(f" at {np.mean(costs):.3f}  {gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})", flush=True)


def by_group(outcomes: Sequence[Outcome], found: Calibration, mode: Mode) -> None:
    for group in sorted({row.group for row in outcomes}):
        pairs = [pair for pair in zip(outcomes, found.decisions, strict=True) if pair[0].group == group]
        ours = [right(row, decision.mode) for row, decision in pairs]
        gain = paired_bootstrap(ours, [right(row, mode) for row, _ in pairs], seed=0, resamples=2000)
        cost = np.mean([found.costs[decision.mode] for _, decision in pairs])
        print(
            f"    {group:16} {np.mean(ours):.3f} at {cost:.2f}  {gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        )


if __name__ == "__main__":
    main()
