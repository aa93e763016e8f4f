"""Combinations of chunks: what they cost, what they are worth, and what a selector comes to.

Selectors (`selection.py`, `selection_baselines.py`) choose an ordered combination of retrieved chunks that is worth
most and costs no more than the context may hold (CORAG, arXiv:2411.00744).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Protocol, runtime_checkable

from ragloom.components.completions import estimate_tokens
from ragloom.errors import ConfigError
from ragloom.types import Hit

Combination = tuple[Hit, ...]


class Utility(Protocol):
    """What combinations of chunks are worth for a query: one number each, on any scale, higher is better.

    A batch is scored at once. The number of a combination may depend on its order, and must not on the others in the
    batch.
    """

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> Sequence[float]:
        """The worth of each combination, in their order; never asked for the empty one."""
        ...


@runtime_checkable
class RelativeUtility(Utility, Protocol):
    """A Utility by which a chunk is worth more or less by the candidates it stands among: rarer, more relevant.

    Selectors prepare it once for the candidates of a query, and score combinations by what comes back.
    """

    def prepared(self, query: str, hits: Sequence[Hit], /) -> Utility:
        """The utility for combinations of these hits."""
        ...


@dataclass(frozen=True, slots=True)
class Cost:
    """What a chunk takes of the context: the tokens it is written with, and what getting at its source costs.

    A combination costs the sum over its chunks.

    Args:
        count_tokens: as the reader counts.
        separator_tokens: for each chunk besides its title and text: number, blank line, marks.
        access: cost by a chunk's `meta["source"]`, or by its document id, in tokens; others cost nothing to get at.
    """

    count_tokens: Callable[[str], int] = estimate_tokens
    separator_tokens: int = 8
    access: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, hit: Hit, /) -> float:
        """The cost of one chunk.

        Raises:
            ConfigError: it is negative or not finite.
        """
        chunk = hit.chunk
        source = str(chunk.meta.get("source", chunk.document_id))
        tokens = self.count_tokens(chunk.title) + self.count_tokens(chunk.text) + self.separator_tokens
        cost = tokens + self.access.get(source, 0.0)
        if not (isfinite(cost) and cost >= 0):
            raise ConfigError(f"chunk {chunk.id} costs {cost}", "costs must be finite and not negative")
        return cost


def relevance(hits: Sequence[Hit]) -> list[float]:
    """The scores brought to 0 for the lowest and 1 for the highest; all 1 where they are equal.

    A score that is no finite number is worth 0.
    """
    usable = [hit.score for hit in hits if isfinite(hit.score)]
    low, high = min(usable, default=0.0), max(usable, default=0.0)
    return [_share(hit.score, low, high) if isfinite(hit.score) else 0.0 for hit in hits]


def _share(score: float, low: float, high: float) -> float:
    # halved, because the distance of the largest numbers is infinite
    return (score / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 1.0


class Selector(Protocol):
    """Selects from hits within its budget. Its `__call__` gives the selection's hits alone, and so is a Refiner."""

    def select(self, query: str, hits: Sequence[Hit], /) -> Selection:
        """The selection."""
        ...

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits of the selection, see `selected`."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """What was selected, and how.

    Attributes:
        hits: the combination, in the order in which it was scored.
        cost: of it; never above the budget.
        reward: of it, on the utility's own scale; 0 if nothing could be scored, minus infinity if scoring it failed.
        frontier: (cost, reward) of the combinations that no cheaper or equal one beats, from the cheapest.
        evaluations: combinations that were scored.
        reason: why nothing was selected, or why the search ended.
    """

    hits: Combination
    cost: float
    reward: float
    frontier: tuple[tuple[float, float], ...] = ()
    evaluations: int = 0
    reason: str = ""


def selected(selector: Selector, query: str, hits: Sequence[Hit]) -> list[Hit]:
    """The hits of the selection: a selector as a Refiner.

    Raises:
        ConfigError: there are hits, and none fits the budget. An empty list would pass for nothing having been found.
    """
    selection = selector.select(query, hits)
    if hits and not selection.hits:
        raise ConfigError(
            f"no passage can be selected: {selection.reason}", "raise context_tokens, or index smaller chunks"
        )
    return list(selection.hits)
