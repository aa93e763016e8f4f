"""An order fitted to a model: where in its prompt a passage counts most, measured on questions whose passage is known.

The supporting passage of each question is put at every position, or at one of them in turn (`rotations` is the
design). `fit_profile` draws a curve through how often the answers were right, and the order gives the best hits the
positions where it is highest. Where no position is surely better than another, the order is `relevance`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from ragloom.codec import to_json
from ragloom.components.records import Record, read_object
from ragloom.components.reordering import best_first, relevance
from ragloom.errors import ConfigError, InputError
from ragloom.run import span
from ragloom.types import Hit
from ragloom.writing import write_aside

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_QUESTIONS = 20  # of flat profiles over 10 questions 8 in 100 passed for an effect, over 20 no more than 6
_DEGREE = 2  # of the curve, a parabola: up or down, or up and down
_SCHEFFE = (0.0, sqrt(3.841), sqrt(5.991))  # roots of chi-squared at .95, by degrees of freedom
_FORMAT = 1
_AGAIN = "calibrate the order again"


# ---- Measuring


@dataclass(frozen=True, slots=True)
class Placed:
    """An answer to a question whose supporting passage stood at a position.

    Attributes:
        question: an id of it.
        position: of the passage in the prompt, from 0.
        right: 1 for a right answer, 0 for a wrong one, or what a metric gives between.
    """

    question: str
    position: int
    right: float


def rotations(k: int) -> list[tuple[int, ...]]:
    """The k orders of k places in which each place stands at each position once: a cyclic Latin square.

    A question asked in all of them costs k calls and is compared with itself alone. With one call a question, number i
    is asked in order i mod k.

    >>> rotations(3)
    [(0, 1, 2), (2, 0, 1), (1, 2, 0)]
    """
    return [tuple((place - turn) % k for place in range(k)) for turn in range(k)]


@dataclass(frozen=True, slots=True)
class PositionProfile:
    """How often answers are right by the position of the supporting passage, first position first.

    Attributes:
        questions: that were asked.
        accuracies: as measured.
        errors: standard error of each.
        curve: the accuracies smoothed.
        difference: between the curve's highest and lowest position.
        difference_error: its standard error.
    """

    questions: int
    accuracies: tuple[float, ...]
    errors: tuple[float, ...]
    curve: tuple[float, ...]
    difference: float
    difference_error: float

    @property
    def has_effect(self) -> bool:
        """Whether the position makes a difference that is not by chance, at the level of 5 %.

        Two standard errors are enough for two positions named beforehand. The highest and the lowest of a curve are
        named afterwards, and of flat profiles one in eight would pass; Scheffé's bound allows for the choice.
        """
        needed = _SCHEFFE[min(len(self.curve) - 1, _DEGREE)] * self.difference_error
        return self.difference > max(needed, 1e-9)  # more than rounding leaves of a curve that is flat


def fit_profile(outcomes: Sequence[Placed], k: int) -> PositionProfile:
    """The profile of k positions, its curve a parabola (a line for two positions).

    What is easy or hard about a question is taken out where questions were asked at several positions. Errors allow
    for the outcomes of a question going together (cluster-robust, by question).

    Raises:
        InputError: fewer than 20 questions, a position that is not among the k or never used, or an outcome that is no
            number.
    """
    import numpy as np

    _check(outcomes, k)
    names = {name: place for place, name in enumerate(dict.fromkeys(outcome.question for outcome in outcomes))}
    question = np.array([names[outcome.question] for outcome in outcomes])
    position = np.array([outcome.position for outcome in outcomes])
    right = np.array([outcome.right for outcome in outcomes], dtype=np.float64)
    at = [right[position == place] for place in range(k)]

    powers = np.vander(np.linspace(-1, 1, k), min(k - 1, _DEGREE) + 1)[:, :-1]  # (k, degree), the constant left out
    slopes, covariance = _within(powers[position], right, question)
    curve = right.mean() + (powers - powers[position].mean(axis=0)) @ slopes
    contrast = powers[curve.argmax()] - powers[curve.argmin()]
    return PositionProfile(
        len(names),
        tuple(float(found.mean()) for found in at),
        tuple(float(found.std(ddof=1) / sqrt(len(found))) if len(found) > 1 else 0.0 for found in at),
        tuple(curve.tolist()),
        float(curve.max() - curve.min()),
        sqrt(max(float(contrast @ covariance @ contrast), 0.0)),
    )


def _within(
    features: NDArray[np.float64], right: NDArray[np.float64], question: NDArray[np.int_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares of what differs within questions, with the cluster-robust covariance of the slopes.

    Where no question was asked twice, what differs from the mean of all.
    """
    import numpy as np

    counts = np.bincount(question)
    groups = question if counts.max() > 1 else np.zeros_like(question)
    table = np.column_stack([features, right])
    sums = np.zeros((groups.max() + 1, table.shape[1]))
    np.add.at(sums, groups, table)
    table = table - (sums / np.bincount(groups)[:, None])[groups]
    features, right = table[:, :-1], table[:, -1]
    inverse = np.linalg.pinv(features.T @ features)
    slopes = inverse @ features.T @ right
    scores = np.zeros((len(counts), features.shape[1]))
    np.add.at(scores, question, features * (right - features @ slopes)[:, None])
    return slopes, inverse @ scores.T @ scores @ inverse * len(counts) / (len(counts) - 1)


def _check(outcomes: Sequence[Placed], k: int) -> None:
    questions = len({outcome.question for outcome in outcomes})
    if questions < LEAST_QUESTIONS:
        raise InputError(
            f"{questions} questions are too few to fit an order to", f"ask {LEAST_QUESTIONS}, better some hundreds"
        )
    for outcome in outcomes:
        if not (0 <= outcome.position < k and isfinite(outcome.right)):
            raise InputError(
                f"question {outcome.question[:80]!r} has the outcome {outcome.right} at position {outcome.position}",
                f"outcomes are numbers, and positions are from 0 to {k - 1}",
            )
    if unused := set(range(k)) - {outcome.position for outcome in outcomes}:
        raise InputError(f"no passage stood at position {min(unused)} of {k}", "use every position, see rotations")


# ---- Ordering


@dataclass(frozen=True, slots=True)
class CalibratedOrder:
    """The best hit where the curve is highest, the second best where it is second highest, and so on.

    No other permutation has a larger sum of score times curve. Where the profile has no effect, or was measured with
    another number of passages, the order is `relevance`. A span `order` says which it was, and why.

    Args:
        profile: of as many positions as there will be hits.
        bound_to: what it was measured with, by name: the model, a hash of its prompt; empty for anything.
    """

    profile: PositionProfile
    bound_to: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits, permuted."""
        curve, reason = self.profile.curve, ""
        if not self.profile.has_effect:
            reason = "no effect of the position was found"
        elif len(hits) != len(curve):
            reason = f"calibrated for {len(curve)} passages, given {len(hits)}"
        with span("order", order="relevance" if reason else "calibrated", reason=reason):
            ranked = relevance(query, hits)
            if reason:
                return ranked
            placed = dict(zip(best_first(curve), ranked, strict=True))
            return [placed[position] for position in range(len(curve))]

    def checked(self, bindings: Mapping[str, str]) -> CalibratedOrder:
        """The order itself, for use with this model and this prompt.

        Raises:
            ConfigError: they differ from what it was calibrated with.
        """
        other = [name for name, value in self.bound_to.items() if bindings.get(name) != value]
        if other:
            found = "; ".join(f"{name} was {self.bound_to[name]!r}, is {bindings.get(name)!r}" for name in other)
            raise ConfigError(f"the order was calibrated with something else: {found}", _AGAIN)
        return self

    def save(self, path: str | Path) -> None:
        """Write it as JSON; aside, and moved into place.

        Raises:
            InputError: it cannot be written there.
        """
        text = json.dumps({"format": _FORMAT, **to_json(self)}, ensure_ascii=False, allow_nan=False, indent=1)
        write_aside(Path(path), lambda aside: aside.write_text(text + "\n", encoding="utf-8"))

    @staticmethod
    def load(path: str | Path) -> CalibratedOrder:
        """The order of a file.

        Raises:
            ConfigError: it cannot be read, or is no calibrated order; names the field.
        """
        try:
            record = read_object(Path(path))
            if record.fields.get("format") != _FORMAT:
                raise record.error(f"the field 'format' must be {_FORMAT}: another version wrote it, or something else")
            bound_to = record.inner("bound_to")
            return CalibratedOrder(
                _profile(record.inner("profile")), {name: bound_to.string(name) for name in bound_to.fields}
            )
        except InputError as error:
            raise ConfigError(error.problem, error.remedy or _AGAIN) from None


def _profile(record: Record) -> PositionProfile:
    accuracies, errors, curve = (record.numbers(name) for name in ("accuracies", "errors", "curve"))
    if not curve or not len(accuracies) == len(errors) == len(curve):
        raise record.error("'accuracies', 'errors' and 'curve' must be of one length, and not empty")
    return PositionProfile(
        int(record.number("questions")),
        accuracies,
        errors,
        curve,
        record.number("difference"),
        record.number("difference_error"),
    )
