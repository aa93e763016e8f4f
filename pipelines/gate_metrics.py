"""How well the scores of a gate rank and predict, from plain arrays.

The higher a score, the more it is for retrieval; NaN is unknown, which speaks for retrieval: it counts as the highest.
Tied questions have no order of their own. What depends on it is the expectation over all their orders, not one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 10  # of the calibration error, equally wide


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Chance that a positive question scores above a negative one, ties counting one half; None where either lacks."""
    if positive.all() or not positive.any():
        return None
    sizes, positives = _by_level(scores, positive.astype(np.float64))
    negatives = sizes - positives
    below = negatives.sum() - np.cumsum(negatives)
    return float(positives @ (below + negatives / 2) / (positives.sum() * negatives.sum()))


def average_precision(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Area under precision against recall as a step function, tied questions taken at once; None as in `auroc`.

    Without skill it is the share of positives.
    """
    if positive.all() or not positive.any():
        return None
    taken, found = (np.cumsum(counts) for counts in _by_level(scores, positive.astype(np.float64)))
    return float(np.diff(found, prepend=0) @ (found / taken) / positive.sum())


def brier(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Mean squared distance of probabilities from what came true; None where the scores are none.

    Unknown scores are left out. Any number outside of 0 to 1 says that the scores are no probabilities.
    """
    if (known := _probabilities(scores, positive)) is None:
        return None
    chances, came_true = known
    return float(np.mean((chances - came_true) ** 2))


def calibration_error(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Expected calibration error: distance of mean probability and share that came true, over ten bins; as `brier`."""
    if (known := _probabilities(scores, positive)) is None:
        return None
    chances, came_true = known
    bins = np.minimum((chances * BINS).astype(np.int64), BINS - 1)
    # Per bin |sum of chances - number that came true|, which is the distance of the means times the bin's size.
    return float(np.abs(np.bincount(bins, chances - came_true)).sum() / len(chances))


def accuracy_curve(
    scores: NDArray[np.float64], without: NDArray[np.float64], with_retrieval: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Expected accuracy when the questions with the highest scores are retrieved for: of none, one, ..., all of them.

    Args:
        scores: (n,), a question each.
        without: (n,), how right the answer without passages is.
        with_retrieval: (n,), how right the answer with passages is.

    Returns:
        (n + 1,), from never to always. A constant score gives the straight line of a gate that draws at random.
    """
    gains = _in_order(scores, with_retrieval - without)
    total: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(gains)])
    return np.mean(without) + total / len(scores)


def curve_area(curve: NDArray[np.float64]) -> float:
    """Mean accuracy over all retrieval rates: the area under an `accuracy_curve`, its points joined by lines."""
    return float(np.trapezoid(curve) / (len(curve) - 1))


def risk_curve(scores: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected error among the answered when the questions with the lowest scores are: one, two, ..., all of them.

    Its mean is the area under the risk-coverage curve (AURC; Geifman and El-Yaniv, arXiv:1705.08500).

    Args:
        scores: (n,); the lowest are answered first.
        values: (n,), how right the answers are.

    Returns:
        (n,), of which the last is the error on all.
    """
    errors = _in_order(-_unknown_highest(scores), 1 - values)
    return np.cumsum(errors) / np.arange(1, len(errors) + 1)


def _unknown_highest(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(scores), np.inf, scores)


def _by_level(
    scores: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each distinct score, from the highest: how many questions have it, and the sum of their values."""
    _, level = np.unique(-_unknown_highest(scores), return_inverse=True)
    return np.bincount(level).astype(np.float64), np.bincount(level, values).astype(np.float64)


def _in_order(scores: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values from the highest score on, each tied one as the mean of those that it is tied with."""
    sizes, sums = _by_level(scores, values)
    return np.repeat(sums / sizes, sizes.astype(np.int64))


def _probabilities(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    known = ~np.isnan(scores)
    if not known.any() or scores[known].min() < 0 or scores[known].max() > 1:
        return None
    return scores[known], positive[known].astype(np.float64)
