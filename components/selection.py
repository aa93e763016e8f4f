"""Select the combination of chunks that is worth most within the context's budget, by tree search.

After CORAG: A Cost-Constrained Retrieval Optimization System for RAG (arXiv:2411.00744), where combinations are
searched, not chunks scored one by one: what two chunks are worth together is not the sum of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import isfinite, log, sqrt

from ragloom.components.candidates import Scoring, candidates
from ragloom.components.combinations import Cost, Selection, Utility, selected
from ragloom.components.selection_baselines import greedy_marginal
from ragloom.components.tree_search import check_least, tree_search
from ragloom.run import span
from ragloom.types import Hit

_Places = tuple[int, ...]

_STOPS = {
    "deadline": "the time was up",
    "evaluations": "the evaluations were used up",
    "exhausted": "every combination was looked at",
    "iterations": "the iterations were used up",
    "patience": "nothing better was found for long enough",
}


@dataclass(frozen=True, slots=True)
class MCTSSelector:
    """Tree search over sets of chunks that starts from greedy, and is never worse.

    First the chunks that fit in the order of the hits are scored together, and each alone (one batch); then chunks are
    added greedily by their gain; then the tree is searched with what evaluations are left. Where none may be made, or
    all fail, the chunks that fit in the order of the hits are selected.

    Differs from the paper, where the tree is expanded whole and stays two chunks deep: rewards are brought to [0, 1],
    a state opens its children few by few in the order of the chunks' own rewards, and sets, not sequences, are nodes.

    Args:
        utility: scores combinations.
        context_tokens: most that they may cost.
        cost: of a chunk.
        iterations: most descents through the tree; 0 for greedy alone.
        evaluations: most combinations that are scored, all included; None for no limit.
        exploration: weight of what was visited seldom, for rewards in [0, 1].
        cost_weight: a way that takes the whole budget is searched as if it were worth this much less, of 1.
        widening: children of a state at its first visit; they grow with the root of its visits.
        batch: combinations that are scored at once while the tree is searched.
        patience: descents in a row that may find nothing better; None for no limit.
        deadline_s: seconds of tree search after which no batch begins; None for no limit.
        ordered: whether the order of a combination can change its score.

    Raises:
        ValueError: a number is out of range or not finite.
    """

    utility: Utility
    context_tokens: float
    _: KW_ONLY
    cost: Cost = field(default_factory=Cost)
    iterations: int = 1000
    evaluations: int | None = 200
    exploration: float = 0.2
    cost_weight: float = 0.1
    widening: float = 1.0
    batch: int = 8
    patience: int | None = None
    deadline_s: float | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        check_least(0, iterations=self.iterations, evaluations=self.evaluations, exploration=self.exploration)
        check_least(0, cost_weight=self.cost_weight, deadline_s=self.deadline_s)
        check_least(1, widening=self.widening, batch=self.batch, patience=self.patience)

    def select(self, query: str, hits: Sequence[Hit], /) -> Selection:
        """The best combination that is scored; of equal ones the cheapest, then the first scored."""
        pool = candidates(hits, self.context_tokens, self.cost)
        scoring = Scoring(query, pool, self.utility, self.evaluations, self.ordered)
        with span("select", selector="MCTSSelector", budget=pool.budget, candidates=len(pool.hits)) as attributes:
            filled = pool.filled()
            stop = self._search(scoring, filled) if filled else ""
            selection = scoring.selection(scoring.best or filled, reason=scoring.ended(_STOPS.get(stop, "")))
            attributes.update(scoring.traced(selection))
        return selection

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits of the selection; see `selected`."""
        return selected(self, query, hits)

    def _search(self, scoring: Scoring, filled: _Places) -> str:
        """Score combinations; why the search ended."""
        places = range(len(scoring.candidates.hits))
        _, *alone = scoring([filled, *((place,) for place in places)])
        order = sorted(places, key=lambda place: -alone[place])
        found = tree_search(
            _Sets(scoring, order, self.cost_weight),
            (),
            iterations=self.iterations,
            exploration=self.exploration,
            widening=self.widening,
            batch=self.batch,
            seeds=[greedy_marginal(scoring)],
            patience=self.patience,
            deadline_s=self.deadline_s,
        )
        return found.stop


@dataclass(frozen=True, slots=True)
class _Sets:
    """Combinations as a problem of tree search: each is reached by adding chunks, and costs at most the budget."""

    scoring: Scoring
    order: list[int]
    cost_weight: float

    @property
    def exhausted(self) -> bool:
        return self.scoring.exhausted

    def actions(self, chosen: _Places, /) -> list[int]:
        fits = self.scoring.candidates.fits  # not by adding costs up one by one, which rounds otherwise
        return [place for place in self.order if place not in chosen and fits((*chosen, place))]

    def apply(self, chosen: _Places, place: int, /) -> _Places:
        return (*chosen, place)

    def key(self, chosen: _Places, /) -> _Places | frozenset[int]:
        return chosen if self.scoring.ordered else frozenset(chosen)

    def evaluate(self, combinations: Sequence[_Places], /) -> list[float]:
        return self.scoring(combinations)

    def price(self, chosen: _Places, /) -> float:
        return self.cost_weight * _share(self.scoring, chosen)


@dataclass(frozen=True, slots=True)
class CORAGSelector:
    """The policy tree search of CORAG as published (arXiv:2411.00744, section 4), for comparison.

    Sequences are nodes, and all that extend one are scored when it is expanded; only the best one's reward counts on
    the way up. Where the paper takes the node of the highest mean reward, this takes that of the highest own one, as
    the authors' code does. Rewards are taken as they are: its exploration suits one scale and no other. Where none may
    be scored, or all fail, the chunks that fit in the order of the hits are selected.

    Args:
        utility: scores combinations.
        context_tokens: most that they may cost.
        cost: of a chunk.
        iterations: expansions.
        evaluations: most combinations that are scored; None for no limit.
        exploration: c of the paper.
        cost_weight: lambda of the paper.

    Raises:
        ValueError: a number is out of range or not finite.
    """

    utility: Utility
    context_tokens: float
    _: KW_ONLY
    cost: Cost = field(default_factory=Cost)
    iterations: int = 10
    evaluations: int | None = None
    exploration: float = 2.4
    cost_weight: float = 0.1

    def __post_init__(self) -> None:
        check_least(0, evaluations=self.evaluations, exploration=self.exploration, cost_weight=self.cost_weight)
        check_least(1, iterations=self.iterations)

    def select(self, query: str, hits: Sequence[Hit], /) -> Selection:
        """The best combination in the tree; of equal ones the cheapest, then the first scored."""
        pool = candidates(hits, self.context_tokens, self.cost)
        scoring = Scoring(query, pool, self.utility, self.evaluations, ordered=True)
        with span("select", selector="CORAGSelector", budget=pool.budget, candidates=len(pool.hits)) as attributes:
            stop = self._search(scoring) if pool.hits else ""
            selection = scoring.selection(scoring.best or pool.filled(), reason=scoring.ended(_STOPS.get(stop, "")))
            attributes.update(scoring.traced(selection))
        return selection

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits of the selection; see `selected`."""
        return selected(self, query, hits)

    def _search(self, scoring: Scoring) -> str:
        children: dict[_Places, list[_Places]] = {}
        totals: dict[_Places, float] = {(): 0.0}
        visits: dict[_Places, int] = {(): 0}

        def worth(node: _Places) -> float:
            explored = self.exploration * sqrt(log(visits[()]) / visits[node])
            return totals[node] / visits[node] + explored - self.cost_weight * _share(scoring, node)

        for _ in range(self.iterations):
            node: _Places = ()
            path = [node]
            while children.get(node):
                node = max(children[node], key=worth)
                path.append(node)
            rewards = self._expanded(scoring, node, children)
            if scoring.exhausted:
                return "evaluations"
            if not rewards and not node:
                return "exhausted"  # nothing could be scored
            totals |= rewards
            visits |= dict.fromkeys(rewards, 1)
            reward = max(rewards.values()) if rewards else scoring([node])[0]
            for passed in path:
                totals[passed] += reward
                visits[passed] += 1
        return "iterations"

    @staticmethod
    def _expanded(scoring: Scoring, node: _Places, children: dict[_Places, list[_Places]]) -> dict[_Places, float]:
        """The rewards of all that extend the node, which become its children; without those that fail."""
        if node in children:
            return {}
        fitting = list(scoring.extensions(node))
        rewards = {child: reward for child, reward in zip(fitting, scoring(fitting), strict=True) if isfinite(reward)}
        children[node] = list(rewards)
        return rewards


def _share(scoring: Scoring, places: _Places) -> float:
    """Of the budget, that the combination takes."""
    return scoring.cost(places) / (scoring.candidates.budget or 1.0)
