"""Whether a gate still sees the questions it was calibrated on.

Compared are two samples of numbers, those kept from calibration and those of the running batch: the gate's scores, or,
from `unknown_share`, how strange the questions' words are. Only where they fall matters, not their scale.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragloom.components.question_features import question_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALLEST_SAMPLE = 30  # below it no verdict: even here chance alone gives a stability index of .3 to .4
MODERATE, LARGE = 0.1, 0.25  # of the stability index, as credit scoring reads it
SIGNIFICANCE = 0.01  # of the Kolmogorov-Smirnov test


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a batch is from the calibration set.

    Attributes:
        psi: population stability index over the calibration deciles; None without a verdict.
        ks: largest distance of the two cumulative distributions; None without a verdict.
        p: chance of such a distance between samples of the same distribution; None without a verdict.
        drifted: None where a sample is too small to tell.
        advice: what to do.
    """

    psi: float | None
    ks: float | None
    p: float | None
    drifted: bool | None
    advice: str


def drift(calibration: Sequence[float], running: Sequence[float]) -> Drift:
    """Compare the numbers of a running batch with those of the calibration set.

    They have drifted when the difference is both more than chance (two-sample Kolmogorov-Smirnov, p < .01) and more
    than small (stability index from .1 on): in a large batch the test alone finds differences that change nothing,
    and in a small one the index alone finds chance.

    Args:
        calibration: at least 30; NaN is unknown, and comes after all known numbers.
        running: at least 30, likewise.
    """
    from scipy import stats

    if (smaller := min(len(calibration), len(running))) < SMALLEST_SAMPLE:
        return Drift(None, None, None, None, f"no verdict on {smaller} questions; {SMALLEST_SAMPLE} are needed")
    before, now = _ranks(calibration, running)
    psi = _stability_index(before, now)
    test = stats.ks_2samp(before, now, method="asymp")
    ks, p = float(test.statistic), float(test.pvalue)
    return Drift(psi, ks, p, psi >= MODERATE and p < SIGNIFICANCE, _advice(psi, p))


def unknown_share(question: str, terms: Collection[str]) -> float:
    """Share of the question's words that are not among the known terms; 0 for a question without words.

    Args:
        question: its text, read as `question_words` reads it.
        terms: e.g. those of a gate's model, or of the calibration questions; of the *other* ones where the share of a
            calibration question is wanted, or none would be unknown. A set or mapping, for speed.
    """
    words = question_words(question)
    return sum(word not in terms for word in words) / max(1, len(words))


def _advice(psi: float, p: float) -> str:
    if p >= SIGNIFICANCE:
        return "within what chance explains" + ("; look again with more questions" if psi >= LARGE else "")
    if psi < MODERATE:
        return "a small shift; nothing to do"
    if psi < LARGE:
        return "a moderate shift: compare the gate with always retrieving on some new labelled questions"
    return "a large shift: calibrate the gate again, on questions like these"


def _ranks(calibration: Sequence[float], running: Sequence[float]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both samples as ranks among all their distinct numbers, which are finite where numbers may not be."""
    numbers = np.concatenate([np.asarray(calibration, dtype=np.float64), np.asarray(running, dtype=np.float64)])
    _, ranks = np.unique(np.where(np.isnan(numbers), np.inf, numbers), return_inverse=True)
    return ranks[: len(calibration)], ranks[len(calibration) :]


def _stability_index(before: NDArray[np.int64], now: NDArray[np.int64]) -> float:
    """Sum of (b - a) ln(b / a) over the shares a and b of the bins that hold any, each count half a question up."""
    edges, times = np.unique(np.quantile(before, np.arange(1, 10) / 10), return_counts=True)
    # A number that fills a tenth or more gets a bin of its own: half-open bins would add what lies below it.
    edges = np.unique(np.concatenate([edges, edges[times > 1] - 0.5]))
    counts = np.array([np.bincount(np.searchsorted(edges, ranks), minlength=len(edges) + 1) for ranks in (before, now)])
    smoothed = counts[:, counts.any(axis=0)] + 0.5
    a, b = smoothed / smoothed.sum(axis=1, keepdims=True)
    return float(((b - a) * np.log(b / a)).sum())
