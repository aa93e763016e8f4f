"""How many passages to show: chosen on labelled questions, or cut at a gap in the scores.

More passages hold more answers and mislead more often; many models answer best at some number in between (Long-Context
LLMs Meet RAG, arXiv:2410.05983, section 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, sqrt

from ragloom.types import Hit

SIZES = (1, 2, 3, 5, 8, 12, 20, 40)  # numbers of passages worth trying


@dataclass(frozen=True, slots=True)
class Size:
    """What became of the questions with k passages each.

    Attributes:
        k: number of passages.
        mean: how well the questions were answered.
        behind: by how much that is less than with the best k.
        standard_error: of `behind`, question by question; 0 for the best k itself.
    """

    k: int
    mean: float
    behind: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class ChosenSize:
    """The k to take, and all that were tried, from the smallest."""

    k: int
    sizes: tuple[Size, ...]


def choose_k(outcomes: Mapping[int, Sequence[float]]) -> ChosenSize:
    """The smallest k that is at most one standard error worse than the best one (Breiman et al., CART, 1984).

    The error is that of the difference on the same questions: questions differ far more from each other than numbers of
    passages do. Of equally good k the smallest is the best. A single question has no error: its smallest best k is
    taken.

    Args:
        outcomes: by k, how well each question was answered with k passages, the questions in one order; e.g.
            `{k: answered(k) for k in SIZES}`.

    Raises:
        ValueError: there are no outcomes, k below 1, not as many questions for each k, or one that is not finite.

    >>> choose_k({1: [0, 0, 1, 1], 2: [1, 1, 1, 0], 5: [1, 1, 1, 1]}).k
    2
    """
    _check(outcomes)
    questions = len(next(iter(outcomes.values())))
    means = {k: fsum(outcomes[k]) / questions for k in sorted(outcomes)}
    best = max(means, key=means.__getitem__)  # the smallest of equals
    sizes = tuple(
        Size(k, mean, means[best] - mean, _standard_error(outcomes[best], outcomes[k])) for k, mean in means.items()
    )
    return ChosenSize(next(size.k for size in sizes if size.behind <= size.standard_error), sizes)


def _check(outcomes: Mapping[int, Sequence[float]]) -> None:
    lengths = {len(values) for values in outcomes.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"every k needs the outcomes of the same questions, got {sorted(lengths) or 'no k'} of them")
    if min(outcomes) < 1:
        raise ValueError(f"k must be at least 1, got {min(outcomes)}")
    for k, values in outcomes.items():
        if not all(map(isfinite, values)):
            raise ValueError(f"the outcomes of k = {k} must be finite numbers")


def _standard_error(best: Sequence[float], values: Sequence[float]) -> float:
    differences = [one - other for one, other in zip(best, values, strict=True)]
    n = len(differences)
    if n < 2:
        return 0.0
    mean = fsum(differences) / n
    return sqrt(fsum((difference - mean) ** 2 for difference in differences) / (n - 1) / n)


@dataclass(frozen=True, slots=True)
class ScoreGapCut:
    """A Refiner that keeps the best hits up to the largest relative drop of the score.

    The drop from one score to the next lower one is relative to the larger of their magnitudes, so that scores need no
    unit. Of equal drops the first counts; where there is none, `most` hits stay. Hits are compared best first and stay
    in the order in which they came. One whose score is not finite stands behind all others, and is kept only to make up
    for `least`.

    Args:
        least, most: hits that are kept, if there are so many.
    """

    least: int = 1
    most: int = 20

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"least and most must be 1 <= least <= most, got {self.least} and {self.most}")

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits before the drop."""
        places = sorted(range(len(hits)), key=lambda place: _rank(hits[place].score))  # stable
        scores = [hits[place].score for place in places if isfinite(hits[place].score)]
        kept = set(places[: max(self.least, self._cut(scores))])
        return [hit for place, hit in enumerate(hits) if place in kept]

    def _cut(self, scores: Sequence[float]) -> int:
        """How many of the scores, from the highest, stand before the largest drop."""
        cuts = range(self.least, min(self.most, len(scores) - 1) + 1)
        drops = {cut: _drop(scores[cut - 1], scores[cut]) for cut in cuts}
        if not any(drops.values()):
            return min(self.most, len(scores))
        return max(drops, key=drops.__getitem__)  # the first of equals


def _rank(score: float) -> tuple[bool, float]:
    return (False, -score) if isfinite(score) else (True, 0.0)


def _drop(score: float, following: float) -> float:
    """From 0 to 2; divided before subtracting, since the difference of large scores may overflow."""
    largest = max(abs(score), abs(following))
    return score / largest - following / largest if largest else 0.0
