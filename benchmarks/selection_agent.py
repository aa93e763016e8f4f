"""The configuration agent beside fixed configurations and an oracle, on the candidates of benchmarks/selection.py.

    python benchmarks/selection_agent.py [--deals 3] [--folds 5] [--retriever fused] [--write] [--data FOLDER]

Two choices are put to it for each question of musique, hotpotqa and 2wikimultihopqa together: which selector and
weights are used within 512 tokens, where a selection is worth its support-recall; and how many tokens are filled,
where it is worth that less .1 for every 512 tokens. The agent knows the question's wording and the scores of its
candidates, or the question's embedding, too.

Its numbers are out of fold, each the mean over several deals of the folds, and are given whether or not they are good
enough for it to be used: what `train_agent` makes of each deal is printed below. Differences are to the configuration
that is best for every question, in hindsight; the intervals resample questions. The oracle takes the best configuration
for each question, which cannot be known. It takes a few minutes.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from retrieval import ROOT, SETS, write_into_results
from selection import Case, cases_of, found_share

from ragloom.components.combinations import Selector
from ragloom.components.configuration import Measurements
from ragloom.components.coverage import SetCoverage
from ragloom.components.gating import EMBEDDING
from ragloom.components.minilm import LocalEmbedder
from ragloom.components.relevance_selection import MMR, GreedyFill, RatioGreedy
from ragloom.components.selection_baselines import GreedyMarginal
from ragloom.graph.naming import names
from ragloom.pipelines.collecting import entities_by_rules
from ragloom.pipelines.evaluation import paired_bootstrap
from ragloom.pipelines.report import Table, signed
from ragloom.pipelines.selection_agent import Row, train_agent
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import RetrieverName
from ragloom.types import Chunk

TOKENS = 512
BUDGETS = (256, 384, 512, 768, 1024)
PRICE = 0.1  # of 512 tokens, in support-recall
SEED = 0

_entities: dict[str, frozenset[str]] = {}


def entities(chunk: Chunk) -> frozenset[str]:
    """Those by rules, found once a chunk."""
    if chunk.id not in _entities:
        _entities[chunk.id] = frozenset(entities_by_rules(chunk))
    return _entities[chunk.id]


def utilities() -> dict[str, SetCoverage]:
    """Set coverage with the weights that come with it, and with others."""
    return {
        "coverage": SetCoverage(names, entities),
        "no bridges": SetCoverage(names, entities, bridge=0.0, shared=0.0),
        "no terms": SetCoverage(names, entities, terms=0.0),
        "short chunks": SetCoverage(names, entities, length=1.0),
        "any length": SetCoverage(names, entities, length=0.0),
    }


def by_weights() -> Mapping[str, Selector]:
    """Configurations for one budget."""
    marginal = {f"greedy marginal, {name}": GreedyMarginal(utility, TOKENS) for name, utility in utilities().items()}
    return {
        "greedy fill": GreedyFill(TOKENS),
        "ratio greedy": RatioGreedy(TOKENS),
        "MMR": MMR(TOKENS),
        **marginal,
    }


def by_budget() -> Mapping[str, Selector]:
    """One utility for several budgets."""
    utility = utilities()["coverage"]
    return {f"greedy marginal, {budget:,} tokens": GreedyMarginal(utility, budget) for budget in BUDGETS}


def labelled(
    cases: Sequence[Case], features: Sequence[Mapping[str, float]], selectors: Mapping[str, Selector], price: float
) -> list[Row]:
    """What each configuration is worth for each question."""
    rows = []
    for (question, gold, hits), known in zip(cases, features, strict=True):
        selections = {name: selector.select(question.text, hits) for name, selector in selectors.items()}
        worths = {
            name: found_share(gold, selected.hits) - price * selected.cost / TOKENS
            for name, selected in selections.items()
        }
        rows.append(Row(question.text, worths, known))
    return rows


def compared(rows: Sequence[Row], *, deals: int, folds: int) -> tuple[Table, list[str]]:
    """Fixed configurations, the agent with and without the embedding, and the oracle; and what became of each deal."""
    known = {
        "wording and scores": [Row(row.question, row.worths, without_embedding(row.features)) for row in rows],
        "and embedding": rows,
    }
    trainings = {
        name: [train_agent(given, folds=folds, seed=seed) for seed in range(deals)] for name, given in known.items()
    }
    fixed = trainings["and embedding"][0].fixed
    best, *_ = fixed
    values = {f"always {name}": [row.worths[name] for row in rows] for name in fixed}
    for name, found in trainings.items():
        choices = zip(*(training.choices for training in found), strict=True)
        values[f"agent: {name}"] = [
            float(np.mean([row.worths[choice] for choice in chosen])) for row, chosen in zip(rows, choices, strict=True)
        ]
    values["oracle"] = [max(row.worths.values()) for row in rows]
    reasons = [f"- {name}: {training.reason}" for name, found in trainings.items() for training in found]
    return Table(("configuration", "worth", "against the best fixed"), tuple(lines(values, f"always {best}"))), reasons


def lines(values: Mapping[str, Sequence[float]], best: str) -> Iterator[tuple[str, ...]]:
    """A row for each way to choose."""
    for name, mine in values.items():
        difference = "" if name == best else signed(paired_bootstrap(mine, values[best], seed=SEED))
        yield name, f"{np.mean(mine):.3f}", difference


def without_embedding(features: Mapping[str, float]) -> dict[str, float]:
    """The features but for those of the embedding."""
    return {name: value for name, value in features.items() if not name.startswith(EMBEDDING)}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deals", type=int, default=3, help="of the folds (default: 3)")
    parser.add_argument("--folds", type=int, default=5, help="outer and inner (default: 5)")
    choices: tuple[RetrieverName, ...] = get_args(Settings.model_fields["retriever"].annotation)
    parser.add_argument("--retriever", choices=choices, default="fused", help="finds the candidates (default: fused)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/results.md")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"there are no data sets in {args.data}; name their folder with --data")
    return args


def main() -> None:
    """Measure, print, and with `--write` put the tables into the results."""
    args = arguments()
    cases = [case for folder in SETS for case in cases_of(args.data / folder, args.retriever)]
    measure = Measurements(LocalEmbedder())
    features = [measure(question.text, hits) for question, _, hits in cases]
    sections = {
        f"Selector and weights within {TOKENS} tokens, {len(cases)} questions": (by_weights(), 0.0),
        f"Tokens to fill, at a price of {PRICE:g} for {TOKENS}": (by_budget(), PRICE),
    }
    tables = []
    for title, (selectors, price) in sections.items():
        rows = labelled(cases, features, selectors, price)
        table, reasons = compared(rows, deals=args.deals, folds=args.folds)
        tables.append(f"{title}:\n\n{table.markdown()}")
        print(tables[-1], "\n".join(reasons), sep="\n\n", end="\n\n")
    if args.write:
        write_into_results("benchmarks/selection_agent.py", "\n\n".join(tables))


if __name__ == "__main__":
    main()
