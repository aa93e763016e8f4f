"""Gates calibrated on what Llama-3.1-8B answered: accuracy beside fixed modes, and what it takes.

    python benchmarks/gate_router.py [--deals 3] [--folds 5] [--write] [--data FOLDER]

The folder holds `gating/llama-3.1-8b_dev.jsonl`: 3,000 questions of six data sets, each with the answers of the modes
none, single and iterative. 228 of the 9,000 answers hold a literal escape such as `\\u00fc` for a letter, which gold
answers do not. They are left as they are, as published: 84 that would be right with the letter count as wrong.

Every number of a gate is out of fold: its models, and the price that keeps it within its limit, were fitted and chosen
without the question's fold. Each is the mean over several deals of the folds. Limits are aimed at from a little below,
since out of fold costs scatter about them. A price in the table is fixed before anything is fitted; which of its rows
to use is for the reader to choose, and choosing the best one afterwards would flatter it. The intervals resample
questions; they do not hold the chance of the deal.

Questions are embedded once, in about a minute, and vectors kept in `benchmarks/workspaces/gating`.
It takes four minutes of one core, and more on a busy one; set OMP_NUM_THREADS=1 on a machine that has other work.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retrieval import ROOT, write_into_results
from tqdm import tqdm

from ragloom.components.gating import MODES, Decision, Mode
from ragloom.components.minilm import LocalEmbedder
from ragloom.components.question_embedding import QuestionEmbedding
from ragloom.components.question_features import QuestionFeatures
from ragloom.components.vector_cache import CachedEmbedder
from ragloom.pipelines.calibration import calibrate
from ragloom.pipelines.drift import drift, unknown_share
from ragloom.pipelines.evaluation import paired_bootstrap
from ragloom.pipelines.gate_evaluation import at_random, decided_values, mean_cost, mix_of, oracle
from ragloom.pipelines.gate_fitting import Recipe
from ragloom.pipelines.gate_objectives import Objective
from ragloom.pipelines.gate_saving import saved_gate
from ragloom.pipelines.outcomes import Outcome, read_outcomes, right, with_features
from ragloom.pipelines.report import Table, signed
from ragloom.store import Store

CALLS: Mapping[Mode, float] = {"none": 1, "single": 2, "iterative": 5}
RETRIEVALS: Mapping[Mode, float] = {"none": 0, "single": 1, "iterative": 1}
ROUTERS = {"router": Recipe(terms=2.0), "router, embedding": Recipe(terms=2.0, embedding=2.0)}
RATE, AIMED_RATE = 0.65, 0.64
LIMIT, AIMED_CALLS = 3.0, 2.95
PRICES = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04)
SINGLE_HOP = ("nq", "squad", "trivia")
SEED = 0
Decided = Sequence[Sequence[Decision]]  # of each deal, a decision for each question


def main() -> None:
    """Measure, print, and with `--write` put the tables into the results."""
    args = arguments()
    outcomes = measured(args.data / "gating" / "llama-3.1-8b_dev.jsonl")
    deal = {"deals": args.deals, "folds": args.folds}
    single_hop = [row for row in outcomes if row.group in SINGLE_HOP]
    sections = {
        f"No retrieval or one, of {len(outcomes)} questions of six sets": two_modes(outcomes, by_set=True, **deal),
        f"The same, calibrated on the {len(single_hop)} of NQ, SQuAD and TriviaQA": two_modes(single_hop, **deal),
        "No retrieval, one, or several": three_modes(outcomes, **deal),
        "Calibrated on five sets, and used on the sixth": left_out(outcomes),
    }
    text = "\n\n".join(f"{title}:\n\n{table.markdown()}" for title, table in sections.items())
    print(text)
    if args.write:
        write_into_results("benchmarks/gate_router.py", text)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deals", type=int, default=3, help="of the folds (default: 3)")
    parser.add_argument("--folds", type=int, default=5, help="outer and inner (default: 5)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/results.md")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"there are no data sets in {args.data}; name their folder with --data")
    return args


def measured(path: Path) -> tuple[Outcome, ...]:
    """The rows with the features of their questions."""
    outcomes = read_outcomes(path)
    with Store.open(ROOT / "benchmarks" / "workspaces" / "gating") as store:
        embedder = CachedEmbedder(LocalEmbedder(), store)
        embedder([outcome.question for outcome in outcomes])  # in batches; what follows finds the vectors stored
        return with_features(outcomes, [QuestionFeatures(), QuestionEmbedding(embedder)])


def two_modes(outcomes: Sequence[Outcome], *, deals: int, folds: int, by_set: bool = False) -> Table:
    """Never, always and the routers that keep to the limit of retrievals; with a row for each set, if wanted."""
    modes: tuple[Mode, ...] = ("none", "single")
    decided = {
        f"{name}, at most {RATE:.0%}": [
            calibrate(outcomes, objective=Objective(cost_limit=AIMED_RATE), costs=RETRIEVALS, modes=modes,
                      kinds=["routing"], recipes=[recipe], folds=folds, seed=seed).decisions
            for seed in tqdm(range(deals), f"{name}, two modes", disable=None)
        ]
        for name, recipe in ROUTERS.items()
    }  # fmt: skip
    rows = [("", *cells) for cells in compared(outcomes, modes, decided, RETRIEVALS)]
    for group in sorted({row.group for row in outcomes}) if by_set else ():
        places = [place for place, row in enumerate(outcomes) if row.group == group]
        here = {name: [[deal[place] for place in places] for deal in found] for name, found in decided.items()}
        theirs = compared([outcomes[place] for place in places], modes, here, RETRIEVALS)
        rows += [(group, *cells) for cells in theirs if not cells[0].startswith("random")]
    return Table(("set", "gate", "accuracy", "against always single", "retrievals"), tuple(row[:5] for row in rows))


def three_modes(outcomes: Sequence[Outcome], *, deals: int, folds: int) -> Table:
    """Fixed modes, and the routers at several prices and at the limit of calls."""
    decided = {}
    for name, recipe in ROUTERS.items():
        free, limited = (
            [
                calibrate(outcomes, objective=objective, costs=CALLS, kinds=["routing"], recipes=[recipe],
                          folds=folds, seed=seed).decisions
                for seed in tqdm(range(deals), f"{name}, three modes", disable=None)
            ]
            for objective in (Objective(), Objective(cost_limit=AIMED_CALLS))
        )  # fmt: skip
        decided |= {f"{name}, price {price:g}": [priced(one, price) for one in free] for price in PRICES}
        decided[f"{name}, at most {LIMIT:g} calls"] = limited
    rows = tuple(compared(outcomes, MODES, decided, CALLS))
    return Table(("gate", "accuracy", "against always iterative", "calls", "none / single / iterative"), rows)


def priced(decisions: Sequence[Decision], price: float) -> list[Decision]:
    """The same models' decisions at another price than 0, at which a mode's utility is its chance."""
    return [Decision(max(MODES, key=lambda mode: one.utilities[mode] - price * CALLS[mode])) for one in decisions]


def compared(
    outcomes: Sequence[Outcome], modes: Sequence[Mode], decided: Mapping[str, Decided], costs: Mapping[Mode, float]
) -> Iterator[tuple[str, ...]]:
    """A row for each fixed mode, each gate, a random one like it, and the oracle; differences are to the dearest."""
    fixed = {f"always {mode}": [[Decision(mode)] * len(outcomes)] for mode in modes}
    fixed = {"never" if name == "always none" else name: found for name, found in fixed.items()}
    dearest = values(outcomes, fixed[f"always {modes[-1]}"])
    for name, found in (fixed | dict(decided) | {"oracle": [oracle(outcomes, modes)]}).items():
        mix = mean_mix(found)
        mine = values(outcomes, found)
        against = "" if np.array_equal(mine, dearest) else difference(mine, dearest)
        shares = " / ".join(f"{mix[mode]:.2f}" for mode in modes)
        cost = f"{mean_cost(mix, costs):.1%}" if costs is RETRIEVALS else f"{mean_cost(mix, costs):.2f}"
        yield name, f"{mine.mean():.3f}", against, cost, shares
        if name in decided and "at most" in name:
            drawn = np.array(at_random(outcomes, mix))
            yield f"random, like {name}", f"{drawn.mean():.3f}", difference(drawn, dearest), cost, shares


def values(outcomes: Sequence[Outcome], found: Decided) -> NDArray[np.float64]:
    """How right each question's answer is, mean over the deals."""
    return np.mean([decided_values(outcomes, decisions) for decisions in found], axis=0)


def mean_mix(found: Decided) -> dict[Mode, float]:
    """The share of each mode, mean over the deals."""
    mixes = [mix_of(decisions) for decisions in found]
    return {mode: float(np.mean([mix[mode] for mix in mixes])) for mode in MODES}


def difference(mine: NDArray[np.float64], theirs: NDArray[np.float64]) -> str:
    return signed(paired_bootstrap(mine.tolist(), theirs.tolist(), seed=SEED, resamples=2000))


def left_out(outcomes: Sequence[Outcome]) -> Table:
    """How the routers do on a set they were not calibrated on, and how many of its questions they would warn of."""
    rows = []
    for group in tqdm(sorted({row.group for row in outcomes}), "sets left out", disable=None):
        others = [row for row in outcomes if row.group != group]
        theirs = [row for row in outcomes if row.group == group]
        rows += [(group, *on_others(others, theirs, name)) for name in ROUTERS]
    columns = ("set", "gate", "accuracy", "calls", "best fixed mode", "strange questions")
    return Table(
        (*columns, "shift of words", "of scores", "drift warned of"),
        tuple(rows),
        (
            "Strange are questions with more unknown words than 95 % of the calibration questions have: 5 % are usual.",
            "Shifts are stability indices; drift is warned of from .1 on where it is more than chance.",
        ),
    )


def on_others(others: Sequence[Outcome], theirs: Sequence[Outcome], name: str) -> tuple[str, ...]:
    """A row for a router that was calibrated on other questions than it is used on."""
    # three folds, as only the gate of all rows is used here, and its price
    calibration = calibrate(others, objective=Objective(cost_limit=AIMED_CALLS), costs=CALLS, folds=3,
                            kinds=["routing"], recipes=[ROUTERS[name]], seed=SEED)  # fmt: skip
    gate = saved_gate(calibration, others)
    decisions = [calibration.rule(row.question, row.features) for row in theirs]
    shares = [unknown_share(row.question, frozenset(gate.words)) for row in theirs]
    words, scores = drift(gate.unknown_shares, shares), drift(gate.scores, [one.score for one in decisions])
    warned = [what for what, found in (("words", words), ("scores", scores)) if found.drifted]
    fixed = {mode: np.mean([right(row, mode) for row in theirs]) for mode in CALLS}
    best = max(fixed, key=fixed.__getitem__)
    return (
        name if calibration.gain else f"no gain with {name}",
        f"{np.mean(decided_values(theirs, decisions)):.3f}",
        f"{mean_cost(mix_of(decisions), CALLS):.2f}",
        f"{best} {fixed[best]:.3f}",
        f"{np.mean([share > np.quantile(gate.unknown_shares, 0.95) for share in shares]):.0%}",
        *("" if found.psi is None else f"{found.psi:.2f}" for found in (words, scores)),
        " and ".join(warned) or "no",
    )


if __name__ == "__main__":
    main()
