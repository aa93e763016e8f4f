"""Baselines of selection that score combinations by a utility: greedy, beam, local search, exhaustive.

What tree search must beat at equal numbers of evaluations (CORAG, arXiv:2411.00744). Those that go by the hits' own
scores are in `relevance_selection.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import inf

from ragloom.components.candidates import Scoring, candidates
from ragloom.components.combinations import Cost, Selection, Utility
from ragloom.run import span
from ragloom.types import Hit

_Places = tuple[int, ...]


def greedy_marginal(scoring: Scoring) -> _Places:
    """The combination that adding the chunk of the largest gain comes to, until none gains; empty if nothing scores.

    Chunks are added at the end. Each round is one batch. Of equal gains the cheaper chunk is added, then the first.
    """
    chosen: _Places = ()
    worth = -inf
    while extended := list(_extensions(scoring, chosen)):
        scores = scoring(extended)
        best = _order(scoring, extended, scores)[0]
        if scores[best] <= worth:
            break
        chosen, worth = extended[best], scores[best]
    return chosen


@dataclass(frozen=True, slots=True)
class _Search:
    """A selector that searches combinations by their utility.

    Args:
        utility: scores combinations.
        context_tokens: most that they may cost.
        cost: of a chunk.
        evaluations: most combinations that are scored; None for no limit. The best of those is selected.
    """

    utility: Utility
    context_tokens: float
    _: KW_ONLY
    cost: Cost = field(default_factory=Cost)
    evaluations: int | None = None

    def __post_init__(self) -> None:
        if self.evaluations is not None and self.evaluations < 0:
            raise ValueError(f"evaluations must be at least 0, got {self.evaluations}")

    def select(self, query: str, hits: Sequence[Hit], /) -> Selection:
        """The best combination that the search scores; of equal ones the cheapest, then the first scored."""
        pool = candidates(hits, self.context_tokens, self.cost)
        scoring = Scoring(query, pool, self.utility, self.evaluations)
        with span("select", selector=type(self).__name__, candidates=len(pool.hits)) as attributes:
            reason = self._search(scoring)
            selection = scoring.selection(reason="the evaluations were used up" if scoring.exhausted else reason)
            attributes.update(evaluations=scoring.evaluations, batches=scoring.batches, cost=selection.cost)
        return selection

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits of the selection."""
        return list(self.select(query, hits).hits)

    def _search(self, scoring: Scoring) -> str:
        """Score combinations; why the search ended, empty where there were none."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class GreedyMarginal(_Search):
    """Adds the chunk that gains most, until none gains. About N evaluations for each chunk that is selected."""

    def _search(self, scoring: Scoring) -> str:
        return "no further chunk gains" if greedy_marginal(scoring) else ""


def _extensions(scoring: Scoring, chosen: _Places) -> Iterator[_Places]:
    """The combination with each chunk that it does not have and that still fits, in the order of the candidates."""
    for place in range(len(scoring.candidates.hits)):
        if place not in chosen and scoring.cost((*chosen, place)) <= scoring.candidates.budget:
            yield (*chosen, place)


def _order(scoring: Scoring, combined: Sequence[_Places], scores: Sequence[float]) -> list[int]:
    """Where each combination stands in the list, from the best: by score, then by cost, then as they come."""
    return sorted(range(len(combined)), key=lambda at: (-scores[at], scoring.cost(combined[at])))
