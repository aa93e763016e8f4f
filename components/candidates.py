"""The chunks that a selector chooses from, and the scoring of their combinations: batched, remembered and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import fsum, inf, isfinite
from typing import Any

from ragloom.components.combinations import Combination, Cost, RelativeUtility, Selection, Utility
from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.errors import BadReply
from ragloom.run import span
from ragloom.types import Hit

MOST = 60  # candidates that are looked at, as in CORAG's demo
_SAME = 0.95  # least Jaccard overlap of words of two chunks that are taken for one
_words = Tokenizer(stem=False, stop_words=False)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What can be chosen, by place: best first, without near-duplicates and without what the budget cannot hold.

    Attributes:
        hits: at most `MOST`.
        costs: of each.
        budget: most that a combination may cost.
        reason: why there are none, empty if there are some.
    """

    hits: Combination
    costs: tuple[float, ...]
    budget: float
    reason: str = ""

    def cost(self, places: Iterable[int]) -> float:
        """Of the combination of these places."""
        return fsum(self.costs[place] for place in places)

    def fits(self, places: Iterable[int]) -> bool:
        """Whether the budget holds the combination."""
        return self.cost(places) <= self.budget

    def chosen(self, places: Iterable[int]) -> tuple[Combination, float]:
        """The combination of these places, and its cost.

        Raises:
            AssertionError: it costs more than the budget: a selector is wrong.
        """
        places = tuple(places)
        cost = self.cost(places)
        assert cost <= self.budget * (1 + 1e-9), f"selected {cost:g} tokens of {self.budget:g}"  # noqa: S101
        return tuple(self.hits[place] for place in places), cost

    def filled(self, order: Iterable[int] | None = None) -> tuple[int, ...]:
        """What fits, taken in the order of the places, or in their own."""
        chosen: tuple[int, ...] = ()
        for place in range(len(self.hits)) if order is None else order:
            if self.fits((*chosen, place)):
                chosen = (*chosen, place)
        return chosen


def candidates(hits: Sequence[Hit], budget: float, cost: Cost) -> Candidates:
    """The hits to choose from.

    Of near-duplicates (Jaccard overlap of words from .95) the first that the budget holds stays. Hits without a usable
    score come last. What comes after the `MOST` best is not looked at.

    Args:
        hits: best first.
        budget: in tokens; 0 or more.
        cost: of a chunk.

    Raises:
        ValueError: the budget is negative or not finite.
    """
    if not (isfinite(budget) and budget >= 0):
        raise ValueError(f"context_tokens must be a number from 0, got {budget}")
    kept: list[Hit] = []
    costs: list[float] = []
    words: list[frozenset[str]] = []
    least = inf
    for hit in sorted(hits, key=lambda hit: not isfinite(hit.score)):  # stable
        price = cost(hit)
        least = min(least, price)
        if price > budget:
            continue
        text = searchable(hit.chunk)
        own = frozenset(_words(text)) or frozenset((text,))
        if not any(_same(own, other) for other in words):
            kept.append(hit)
            costs.append(price)
            words.append(own)
        if len(kept) == MOST:
            break
    reason = ""
    if not hits:
        reason = "there are no hits to select from"
    elif not kept:
        reason = f"the cheapest chunk costs {least:g}, more than the budget of {budget:g}"
    return Candidates(tuple(kept), tuple(costs), budget, reason)


def _same(words: frozenset[str], other: frozenset[str]) -> bool:
    return len(words & other) >= _SAME * len(words | other)


def traced(selection: Selection) -> dict[str, Any]:
    """The selection as attributes of a selector's span, which are JSON."""
    return {
        "selected": len(selection.hits),
        "cost": selection.cost,
        "reward": selection.reward if isfinite(selection.reward) else None,
        "evaluations": selection.evaluations,
        "stop": selection.reason,
    }


@dataclass
class Scoring:
    """Scores combinations of candidates, which are tuples of places; each is asked of the utility once.

    A utility that fails is asked once more; combinations that it fails for again, and those whose score is not a
    number, are worth minus infinity, and counted in `failures`. The empty combination is worth minus infinity, so that
    something is selected where anything fits.

    Args:
        query: what the combinations are for.
        candidates: what the places stand for.
        utility: scores them; one that is relative to the candidates is prepared for them.
        most: evaluations that may be made; None for no limit. Beyond it everything new is worth minus infinity, and
            `exhausted` is True.
        ordered: whether the order of a combination can change its score; if not, the same chunks are scored once.
    """

    query: str
    candidates: Candidates
    utility: Utility
    most: int | None = None
    ordered: bool = False
    evaluations: int = 0
    batches: int = 0
    failures: int = 0
    exhausted: bool = False
    _known: dict[object, float] = field(default_factory=dict)
    _incumbent: tuple[int, ...] = ()
    _frontier: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if isinstance(self.utility, RelativeUtility):
            self.utility = self.utility.prepared(self.query, self.candidates.hits)

    def cost(self, places: Sequence[int]) -> float:
        """Of the combination."""
        return self.candidates.cost(places)

    def extensions(self, places: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """The combination with each chunk that it lacks and that still fits, in the order of the candidates."""
        for place in range(len(self.candidates.hits)):
            if place not in places and self.candidates.fits((*places, place)):
                yield (*places, place)

    def __call__(self, combinations: Sequence[Sequence[int]], /) -> list[float]:
        """The worth of each combination; all must fit the budget. What is new is one batch."""
        new: dict[object, tuple[int, ...]] = {}
        for places in combinations:
            if places and self._key(places) not in self._known:
                new.setdefault(self._key(places), tuple(places))
        self._evaluate(self._within_limit(new))
        return [self._known.get(self._key(places), -inf) if places else -inf for places in combinations]

    @property
    def best(self) -> tuple[int, ...]:
        """The combination of the highest score so far; of equal ones the cheapest, then the first scored."""
        return self._incumbent

    def selection(self, places: Sequence[int] | None = None, *, reason: str = "") -> Selection:
        """The outcome, for the combination of these places, or for the best one.

        Raises:
            AssertionError: it costs more than the budget: a selector is wrong.
        """
        chosen = tuple(self.best if places is None else places)
        worth = self._known.get(self._key(chosen), 0.0)
        reason = reason or self.candidates.reason
        return Selection(*self.candidates.chosen(chosen), worth, self.frontier(), self.evaluations, reason)

    def ended(self, reason: str) -> str:
        """Why a search ended: the reason, unless it was that no more, or none at all, could be scored."""
        if self.exhausted:
            return "the evaluations were used up"
        return reason if self.best or not self.candidates.hits else "no combination could be scored"

    def traced(self, selection: Selection) -> dict[str, Any]:
        """The same, with the batches that were scored, and the combinations that could not be."""
        return traced(selection) | {"batches": self.batches, "failures": self.failures}

    def frontier(self) -> tuple[tuple[float, float], ...]:
        """(cost, reward) of the scored combinations that none of the same or lower cost beats, from the cheapest."""
        best, kept = -inf, []
        for cost, reward in sorted(self._frontier, key=lambda point: (point[0], -point[1])):
            if reward > best:
                best = reward
                kept.append((cost, reward))
        self._frontier = kept
        return tuple(kept)

    def _key(self, places: Sequence[int]) -> object:
        return tuple(places) if self.ordered else frozenset(places)

    def _within_limit(self, new: dict[object, tuple[int, ...]]) -> dict[object, tuple[int, ...]]:
        if self.most is None or self.evaluations + len(new) <= self.most:
            return new
        self.exhausted = True
        return dict(list(new.items())[: max(0, self.most - self.evaluations)])

    def _evaluate(self, new: dict[object, tuple[int, ...]]) -> None:
        if not new:
            return
        scores = self._scores(list(new.values()))
        self.evaluations += len(new)
        self.batches += 1
        for (key, places), score in zip(new.items(), scores, strict=True):
            usable = isfinite(score)
            self.failures += not usable
            self._known[key] = score if usable else -inf
            if usable:
                self._offer(places, score)

    def _offer(self, places: tuple[int, ...], score: float) -> None:
        cost = self.cost(places)
        self._frontier.append((cost, score))
        if not self._incumbent:
            self._incumbent = places
            return
        best = self._known[self._key(self._incumbent)]
        if score > best or (score == best and cost < self.cost(self._incumbent)):
            self._incumbent = places

    def _scores(self, batch: Iterable[tuple[int, ...]]) -> list[float]:
        combinations = [tuple(self.candidates.hits[place] for place in places) for places in batch]
        for attempt in range(2):
            try:
                scores = [float(score) for score in self.utility(self.query, combinations)]
            except BadReply as error:
                with span("scoring failed", attempt=attempt, error=error.problem):
                    continue
            if len(scores) != len(combinations):
                raise ValueError(f"the utility gave {len(scores)} scores for {len(combinations)} combinations")
            return scores
        return [-inf] * len(combinations)
