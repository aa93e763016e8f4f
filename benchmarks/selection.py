"""Gold passages among those that selectors choose within a budget, from the best 30 that a retriever finds.

    python benchmarks/selection.py [--retriever fused] [--evaluations 300] [--write] [--data FOLDER]

Support-recall is the share of a question's gold passages that are selected, all-support the share of questions with all
of them. Differences are to greedy fill, question by question. Selectors that score combinations do so by `SetCoverage`,
at most 300 times a question; the milliseconds are those of 512 tokens, on one core. `most possible` selects gold
passages alone, the cheapest first: no selector can keep more of what was found. The constants of `SetCoverage` were
chosen on these questions, and so the script also prints how it does on either half of them.

The folder holds `musique/`, `hotpotqa/` and `2wikimultihopqa/`, each a published `corpus.json` and `questions.json`. It
takes a few minutes. Tokens are estimated, a token for every 3 bytes.
"""

import argparse
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import get_args

from retrieval import ROOT, SETS, write_into_results

from ragloom.components.combinations import Cost, Selector
from ragloom.components.coverage import SetCoverage
from ragloom.components.datasets import Question, gold_chunks, read_questions
from ragloom.components.minilm import LocalEmbedder
from ragloom.components.relevance_selection import MMR, GreedyFill, Knapsack, RatioGreedy, TopK
from ragloom.components.selection import CORAGSelector, MCTSSelector
from ragloom.components.selection_baselines import Beam, GreedyMarginal, LocalSearch
from ragloom.graph.naming import names
from ragloom.pipelines.collecting import entities_by_rules
from ragloom.pipelines.evaluation import Scores, compare
from ragloom.pipelines.indexing import index_corpus, open_dense
from ragloom.pipelines.report import Table, signed
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import RetrieverName, open_retriever
from ragloom.store import Store
from ragloom.types import Hit

CANDIDATES = 30
BUDGETS = (256, 512, 1024, 2048)
TIMED = 512
SEED = 0
BASELINE, MOST = "greedy fill", "most possible"
UTILITY = SetCoverage(names, entities_by_rules)

Gold = Sequence[Collection[str]]  # the chunks of each gold passage
Case = tuple[Question, Gold, list[Hit]]


def selectors(evaluations: int) -> Mapping[str, Callable[[int], Selector]]:
    """Every selector by its name, for a budget; those by a utility score that many combinations at most."""
    most = evaluations
    return {
        "top 5": TopK,
        BASELINE: GreedyFill,
        "ratio greedy": RatioGreedy,
        "knapsack": Knapsack,
        "MMR": MMR,
        "CORAG as published": lambda budget: CORAGSelector(UTILITY, budget, evaluations=most),
        "greedy marginal": lambda budget: GreedyMarginal(UTILITY, budget, evaluations=most),
        "beam of 4": lambda budget: Beam(UTILITY, budget, evaluations=most),
        "local search": lambda budget: LocalSearch(UTILITY, budget, evaluations=most),
        "MCTS": lambda budget: MCTSSelector(UTILITY, budget, evaluations=most),
    }


@dataclass(frozen=True)
class Measured:
    """What a selector keeps at each budget, and what it takes."""

    scores: Scores
    milliseconds: float = 0.0
    evaluations: float = 0.0
    rewards: tuple[float, ...] = ()


def found_share(gold: Gold, hits: Sequence[Hit]) -> float:
    """The share of the gold passages of which a chunk is among the hits."""
    ids = {hit.chunk.id for hit in hits}
    return sum(not ids.isdisjoint(chunks) for chunks in gold) / len(gold)


def measured(name: str, selector: Callable[[int], Selector], cases: Sequence[Case]) -> Measured:
    """The selector on every question at every budget."""
    values: dict[str, tuple[float, ...]] = {}
    timed = Measured(Scores(name, tuple(question.id for question, _, _ in cases), values))
    for budget in BUDGETS:
        start = perf_counter()
        selections = [selector(budget).select(question.text, hits) for question, _, hits in cases]
        seconds = perf_counter() - start
        shares = [found_share(gold, selected.hits) for (_, gold, _), selected in zip(cases, selections, strict=True)]
        values |= recalls(budget, shares)
        if budget == TIMED:
            each = len(cases)
            timed = replace(
                timed,
                milliseconds=1000 * seconds / each,
                evaluations=sum(selected.evaluations for selected in selections) / each,
                rewards=tuple(selected.reward for selected in selections),
            )
    return timed


def recalls(budget: int, shares: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """The metrics of one budget."""
    return {f"recall@{budget}": tuple(shares), f"all@{budget}": tuple(float(share == 1) for share in shares)}


def most_possible(cases: Sequence[Case]) -> Measured:
    """What a selector that knows the gold passages keeps."""
    cost = Cost()
    values: dict[str, tuple[float, ...]] = {}
    for budget in BUDGETS:
        shares = []
        for _, gold, hits in cases:
            prices = (min((cost(hit) for hit in hits if hit.chunk.id in ids), default=None) for ids in gold)
            left, kept = float(budget), 0
            for price in sorted(price for price in prices if price is not None):
                left -= price
                kept += left >= 0
            shares.append(kept / len(gold))
        values |= recalls(budget, shares)
    return Measured(Scores(MOST, tuple(question.id for question, _, _ in cases), values))


def rows(title: str, systems: Sequence[Measured]) -> Iterator[tuple[str, ...]]:
    """A row for each selector."""
    baseline = next(system.scores for system in systems if system.scores.system == BASELINE)
    for system in systems:
        cells = []
        for budget in BUDGETS:
            difference = "" if system.scores is baseline else compare_at(system.scores, baseline, budget)
            cells += [f"{system.scores.mean(f'recall@{budget}'):.3f}", difference]
            cells.append(f"{system.scores.mean(f'all@{budget}'):.3f}")
        spent = [f"{system.milliseconds:.1f}", f"{system.evaluations:.0f}" if system.evaluations else ""]
        yield title, system.scores.system, *cells, *(spent if system.scores.system != MOST else ("", ""))
        title = ""


def compare_at(scores: Scores, baseline: Scores, budget: int) -> str:
    """How much more support-recall than the baseline's at the same budget."""
    return signed(compare(scores, baseline, f"recall@{budget}", seed=SEED))


def verdicts(title: str, systems: Sequence[Measured]) -> Iterator[str]:
    """What selectors by utility keep of 512 tokens beside what greedy fill keeps of 1,024, on either half, too."""
    by_name = {system.scores.system: system for system in systems}
    wide, filled = "recall@1024", by_name[BASELINE].scores
    for name, system in by_name.items():
        if not system.evaluations and name != MOST:
            continue
        narrow = system.scores.values["recall@512"]
        difference = signed(compare(Scores(name, filled.questions, {wide: narrow}), filled, wide, seed=SEED))
        halves = ", ".join(
            f"{mean(narrow[half::2]):.3f} to {mean(filled.values[wide][half::2]):.3f}" for half in (0, 1)
        )
        reward = f"; reward {mean(system.rewards):.3f}" if system.rewards else ""
        yield (
            f"{title}, {name}: {mean(narrow):.3f} at 512 tokens, greedy fill {filled.mean(wide):.3f} at 1,024, "
            f"difference {difference}; halves {halves}{reward}"
        )
    searched, seeds = by_name["MCTS"].rewards, by_name["greedy marginal"].rewards
    below = sum(reward < seed for reward, seed in zip(searched, seeds, strict=True))
    yield f"{title}: the reward of MCTS is below that of greedy marginal on {below} questions"


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


def cases_of(folder: Path, retriever: RetrieverName) -> list[Case]:
    """The questions of a set with their gold passages and candidates."""
    workspace = ROOT / "benchmarks" / "workspaces" / folder.name
    with Store.open(workspace) as store:
        index_corpus([folder / "corpus.json"], store)
        open_dense(store, LocalEmbedder())  # embeds what is new
        retrieve, chunks = open_retriever(retriever, Settings(workspace=workspace), store), store.chunks()
        questions = read_questions(folder / "questions.json")
        return [(each, gold_chunks(each, chunks), retrieve(each.text, CANDIDATES)) for each in questions]


def main() -> None:
    """Measure, print, and with `--write` put the table into the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices: tuple[RetrieverName, ...] = get_args(Settings.model_fields["retriever"].annotation)
    parser.add_argument("--retriever", choices=choices, default="fused", help="finds the candidates (default: fused)")
    parser.add_argument("--evaluations", type=int, default=300, help="of combinations, a question (default: 300)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"there are no data sets in {args.data}; name their folder with --data")
    table: list[tuple[str, ...]] = []
    notes: list[str] = []
    for folder, name in SETS.items():
        cases = cases_of(args.data / folder, args.retriever)
        systems = [measured(*named, cases) for named in selectors(args.evaluations).items()]
        systems.append(most_possible(cases))
        table += rows(f"{name}: {len(cases)} questions", systems)
        notes += verdicts(name, systems)
    measures = [column for budget in BUDGETS for column in (f"recall at {budget:,}", "against greedy fill", "all")]
    markdown = Table(("set", "selector", *measures, "ms", "evaluations"), tuple(table)).markdown()
    print(markdown, *notes, sep="\n\n")
    if args.write:
        write_into_results("benchmarks/selection.py", markdown)


if __name__ == "__main__":
    main()
