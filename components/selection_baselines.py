"""Baselines of selection that score combinations by a utility: greedy, beam, local search, exhaustive.

What tree search must beat at equal numbers of evaluations (CORAG, arXiv:2411.00744). Those that go by the hits' own
scores are in `relevance_selection.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import combinations, permutations
from math import comb, inf, perm

import numpy as np

from ragloom.components.candidates import Scoring, candidates
from ragloom.components.combinations import Cost, Selection, Utility, selected
from ragloom.errors import ConfigError
from ragloom.run import span
from ragloom.types import Hit

MOST_COMBINATIONS = 2**14  # that Exhaustive scores: of 14 candidates, or of 7 where their order matters

_Places = tuple[int, ...]


def greedy_marginal(scoring: Scoring) -> _Places:
    """The combination that adding the chunk of the largest gain comes to, until none gains; empty if nothing scores.

    Chunks are added at the end. Each round is one batch. Of equal gains the cheaper chunk is added, then the first.
    """
    return beam_search(scoring, 1)


def beam_search(scoring: Scoring, width: int) -> _Places:
    """The best combination of a beam that is extended by one chunk a round until no extension beats the best so far.

    Each round is one batch. Ties as in `greedy_marginal`, which is a beam of width 1.
    """
    beam: list[_Places] = [()]
    worth = -inf
    best: _Places = ()
    while extended := _distinct(scoring, (places for kept in beam for places in scoring.extensions(kept))):
        scores = scoring(extended)
        order = sorted(range(len(extended)), key=lambda at: (-scores[at], scoring.cost(extended[at])))  # stable
        if scores[order[0]] <= worth:
            break
        beam = [extended[at] for at in order[:width] if scores[at] > -inf]
        best, worth = beam[0], scores[order[0]]
    return best


@dataclass(frozen=True, slots=True)
class _Search:
    """A selector that searches combinations by their utility.

    Where none may be scored, or scoring fails for all, the chunks that fit in the order of the hits are selected.

    Args:
        utility: scores combinations.
        context_tokens: most that they may cost.
        cost: of a chunk.
        evaluations: most combinations that are scored; None for no limit. The best of those is selected.
        ordered: whether the order of a combination can change its score; if not, the same chunks are scored once.
    """

    utility: Utility
    context_tokens: float
    _: KW_ONLY
    cost: Cost = field(default_factory=Cost)
    evaluations: int | None = None
    ordered: bool = False

    def __post_init__(self) -> None:
        if self.evaluations is not None and self.evaluations < 0:
            raise ValueError(f"evaluations must be at least 0, got {self.evaluations}")

    def select(self, query: str, hits: Sequence[Hit], /) -> Selection:
        """The best combination that the search scores; of equal ones the cheapest, then the first scored."""
        pool = candidates(hits, self.context_tokens, self.cost)
        scoring = Scoring(query, pool, self.utility, self.evaluations, self.ordered)
        name = type(self).__name__
        with span("select", selector=name, budget=pool.budget, candidates=len(pool.hits)) as attributes:
            reason = scoring.ended(self._search(scoring))
            selection = scoring.selection(scoring.best or pool.filled(), reason=reason)
            attributes.update(scoring.traced(selection))
        return selection

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits of the selection; see `selected`."""
        return selected(self, query, hits)

    def _search(self, scoring: Scoring) -> str:
        """Score combinations; why the search ended, empty where there is nothing to search."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class GreedyMarginal(_Search):
    """Adds the chunk that gains most, until none gains. About N evaluations for each chunk that is selected."""

    def _search(self, scoring: Scoring) -> str:
        greedy_marginal(scoring)
        return "no further chunk gains" if scoring.candidates.hits else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam(_Search):
    """Keeps the best combinations of each size, and extends them until no extension beats the best so far.

    Args:
        width: combinations that are kept, from 1; with 1 it is GreedyMarginal.
    """

    width: int = 4

    def __post_init__(self) -> None:
        _Search.__post_init__(self)
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")

    def _search(self, scoring: Scoring) -> str:
        beam_search(scoring, self.width)
        return "no extension gains" if scoring.candidates.hits else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSearch(_Search):
    """Climbs from the greedy combination, then from random ones, by the first batch of changes that gains.

    A change drops a chunk, exchanges one for another, or adds one; where the order matters, also swaps two.

    Args:
        restarts: random combinations that are climbed from, from 0.
        batch: changes that are scored at once, from 1; the best of them is made.
        seed: of the random combinations, and of the order in which changes are tried.
    """

    restarts: int = 8
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        _Search.__post_init__(self)
        if self.restarts < 0 or self.batch < 1:
            raise ValueError(f"restarts must be from 0 and batch from 1, got {self.restarts} and {self.batch}")

    def _search(self, scoring: Scoring) -> str:
        random = np.random.default_rng(self.seed)
        self._climb(scoring, greedy_marginal(scoring), random)
        for _ in range(self.restarts):
            self._climb(scoring, _random_places(scoring, random), random)
        return "no change gains" if scoring.candidates.hits else ""

    def _climb(self, scoring: Scoring, places: _Places, random: np.random.Generator) -> None:
        worth = scoring([places])[0]
        changed = list(_changes(scoring, places))
        while changed and not scoring.exhausted:
            batch = [changed.pop(int(random.integers(len(changed)))) for _ in range(min(self.batch, len(changed)))]
            scores = scoring(batch)
            best = int(np.argmax(scores))
            if scores[best] > worth:
                places, worth = batch[best], scores[best]
                changed = list(_changes(scoring, places))


@dataclass(frozen=True, slots=True)
class Exhaustive(_Search):
    """Scores every combination that fits: the optimum, of at most 14 candidates, or 7 where their order matters."""

    def _search(self, scoring: Scoring) -> str:
        """Score combinations.

        Raises:
            ConfigError: there are too many candidates.
        """
        count, ways = len(scoring.candidates.hits), perm if scoring.ordered else comb
        total = sum(ways(count, size) for size in range(1, count + 1))
        if total > MOST_COMBINATIONS:
            raise ConfigError(
                f"{count} candidates have {total} combinations, more than the {MOST_COMBINATIONS} that are scored",
                "give fewer candidates, or choose another selector",
            )
        every = permutations if scoring.ordered else combinations
        for size in range(1, count + 1):
            scoring([places for places in every(range(count), size) if scoring.candidates.fits(places)])
        return "every combination was scored" if count else ""


def _changes(scoring: Scoring, places: _Places) -> Iterator[_Places]:
    """What one change makes of a combination, if it fits and is not empty."""
    yield from scoring.extensions(places)
    for at in range(len(places)):
        without = places[:at] + places[at + 1 :]
        if without:
            yield without
        for place in range(len(scoring.candidates.hits)):
            exchanged = (*places[:at], place, *places[at + 1 :])
            if place not in places and scoring.candidates.fits(exchanged):
                yield exchanged
        if scoring.ordered:
            for other in range(at):
                yield (*places[:other], places[at], *places[other + 1 : at], places[other], *places[at + 1 :])


def _random_places(scoring: Scoring, random: np.random.Generator) -> _Places:
    """A combination of random size, up to what fits."""
    places = scoring.candidates.filled(random.permutation(len(scoring.candidates.hits)).tolist())
    return places[: int(random.integers(1, len(places) + 1))] if places else ()


def _distinct(scoring: Scoring, found: Iterable[_Places]) -> list[_Places]:
    """The first of each, where the order does not matter each set of chunks."""
    first: dict[object, _Places] = {}
    for places in found:
        first.setdefault(places if scoring.ordered else frozenset(places), places)
    return list(first.values())
