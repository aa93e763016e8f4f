"""Train the configuration agent on labelled questions, and keep it only where choosing gains something.

What a question is judged by, it has not been learnt from: questions are dealt to folds, and outside of each fold
everything is chosen anew - linear model or neighbours, penalty or k, and whether to choose by question at all - before
configurations are chosen for the questions inside. The agent is trained on all rows if those choices beat the best
fixed configuration, and else it is that configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ragloom.components.answer_words import normalise
from ragloom.components.configuration import Always, Chooser, FeatureSpace, LinearWorth, NearestWorth
from ragloom.components.gating import EMBEDDING
from ragloom.errors import ConfigError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 50  # rows; below there is nothing to learn
FEW = 200  # rows; below a gain is mostly chance
PENALTIES = (10.0, 100.0, 1000.0)  # of squared weights; a feature of n questions weighs n / (n + penalty)
NEIGHBOURS = (10, 30)
SURE = 2.0  # standard errors that a gain must exceed
LENGTH = 2.0  # of a question's embedding, where a standardised feature is about 1 long


@dataclass(frozen=True, slots=True)
class Row:
    """A labelled question.

    Attributes:
        question: its text.
        worths: by configuration, on any scale, higher is better; e.g. F1 of the answer, or recall of its support.
        features: measured of the question and its hits, NaN where unknown; see `Measurements`.
    """

    question: str
    worths: Mapping[str, float]
    features: Mapping[str, float]


@dataclass(frozen=True)
class Training:
    """A trained agent's chooser, and what is known of it.

    Attributes:
        chooser: fitted to all rows; an `Always` one where choosing gained nothing out of fold.
        reason: what was chosen, and why.
        gain: False where it is an `Always` one for want of a better one.
        choices: of each row, by a chooser that was chosen and fitted without the row's fold. Where there is no gain,
            those of the choosers that were not good enough.
        worth: mean of the choices.
        fixed: mean worth of each configuration for every question, from the best.
        difference: `worth` less the best of these.
        standard_error: of the difference, question by question.
        oracle: mean worth of the best configuration for each question, which nobody can know.
        warnings: what to know before using it.
    """

    chooser: Chooser
    reason: str
    gain: bool
    choices: tuple[str, ...]
    worth: float
    fixed: Mapping[str, float]
    difference: float
    standard_error: float
    oracle: float
    warnings: tuple[str, ...] = ()


def train_agent(rows: Sequence[Row], *, measured_by: str = "", folds: int = 5, seed: int = 0) -> Training:
    """The chooser that is worth most, chosen by nested cross-validation. Deterministic.

    Tried are ridge regression of what each configuration is worth beyond the others, the mean worth for the nearest
    questions, both with and without the features of an embedding if there are any, and the best fixed configuration.
    The choices must beat the best fixed configuration out of fold by more than `SURE` standard errors: gains of chance
    come and go with the deal of the folds.

    Args:
        rows: at least 50; 200 are better. Questions that are the same but for case, punctuation and articles share a
            fold.
        measured_by: identity of the Measure that the features are of.
        folds: of the outer and the inner cross-validation.
        seed: deals questions to folds.

    Raises:
        ConfigError: there are fewer than two configurations.
        InputError: fewer than 50 rows, fewer different questions than folds, a row without one of the configurations,
            or a worth that is not finite.
        ValueError: folds below 2.
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2, got {folds}")
    given = _labelled(rows, measured_by)
    tried = _tried(given)
    everything = np.arange(len(rows))
    choices = np.zeros(len(rows), np.intp)
    for training, held_out in _dealt(given, everything, folds, seed):
        method = _chosen(given, training, tried, folds, seed)
        choices[held_out] = _choices(method(given, training), given, held_out)
    fixed = given.worths.mean(axis=0)
    best = int(fixed.argmax())
    gains = given.worths[everything, choices] - given.worths[:, best]
    difference, error = float(gains.mean()), float(gains.std(ddof=1) / sqrt(len(gains)))
    method = _chosen(given, everything, tried, folds, seed)
    chooser = method(given, everything)
    gain = difference > SURE * error and not isinstance(chooser, Always)
    said = f"out of fold {difference:+.4f} (standard error {error:.4f}) beside always {given.names[best]}"
    reason = f"{method}: {said}" if gain else f"no gain: choosing came {said}"
    return Training(
        chooser if gain else Always(given.names[best], reason),
        reason,
        gain,
        tuple(given.names[place] for place in choices.tolist()),
        float(given.worths[everything, choices].mean()),
        {given.names[place]: float(fixed[place]) for place in np.argsort(-fixed, kind="stable").tolist()},
        difference,
        error,
        float(given.worths.max(axis=1).mean()),
        _warnings(given),
    )


# ---- Labelled questions as arrays


@dataclass(frozen=True)
class _Labelled:
    """n questions with f features and c configurations.

    Args:
        names: of the configurations.
        features: their names.
        values: (n, f), NaN where unknown.
        worths: (n, c).
        groups: (n,), equal for questions that are the same.
        measured_by: see `FeatureSpace`.
    """

    names: tuple[str, ...]
    features: tuple[str, ...]
    values: NDArray[np.float64]
    worths: NDArray[np.float64]
    groups: NDArray[np.intp]
    measured_by: str

    @property
    def embedded(self) -> NDArray[np.bool_]:
        """(f,), which features are of an embedding."""
        return np.array([name.startswith(EMBEDDING) for name in self.features], dtype=bool)


def _labelled(rows: Sequence[Row], measured_by: str) -> _Labelled:
    if len(rows) < FEWEST:
        raise InputError(f"{len(rows)} rows are too few to train an agent", f"label at least {FEWEST} questions")
    names = tuple(rows[0].worths)
    if len(names) < 2:
        raise ConfigError(
            f"an agent needs configurations to choose among, got {', '.join(names) or 'none'}", "name two or more"
        )
    for row in rows:
        if row.worths.keys() != rows[0].worths.keys():
            known = ", ".join(row.worths) or "none"
            raise InputError(f"the question {row.question[:80]!r} has worths of {known}, not of {', '.join(names)}")
        if not all(map(isfinite, row.worths.values())):
            raise InputError(f"the question {row.question[:80]!r} has a worth that is not finite")
    features = tuple(sorted({name for row in rows for name in row.features}))
    values = np.array([[row.features.get(name, nan) for name in features] for row in rows], np.float64)
    return _Labelled(
        names,
        features,
        np.where(np.isfinite(values), values, nan).reshape(len(rows), len(features)),
        np.array([[row.worths[name] for name in names] for row in rows], np.float64),
        np.unique([normalise(row.question) or row.question for row in rows], return_inverse=True)[1],
        measured_by,
    )


def _dealt(
    given: _Labelled, rows: NDArray[np.intp], folds: int, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Training and held-out rows; the same question is never in both."""
    groups = np.unique(given.groups[rows])
    if len(groups) < folds:
        raise InputError(f"{len(groups)} different questions cannot be dealt to {folds} folds", "label more")
    fold_of = np.zeros(len(given.groups), np.intp)  # groups are numbered from 0, and are no more than rows
    fold_of[np.random.default_rng(seed).permutation(groups)] = np.arange(len(groups)) % folds
    fold = fold_of[given.groups[rows]]
    return [(rows[fold != number], rows[fold == number]) for number in range(folds)]


def _warnings(given: _Labelled) -> tuple[str, ...]:
    warnings = []
    if len(given.groups) < FEW:
        warnings.append(f"{len(given.groups)} rows: a gain on fewer than {FEW} is mostly chance")
    if repeated := len(given.groups) - len(np.unique(given.groups)):
        warnings.append(f"{repeated} rows repeat the question of another")
    if (given.worths == given.worths[:, :1]).all():
        warnings.append("all configurations are worth the same for every question")
    return tuple(warnings)


# ---- Ways to learn to choose


class _Method(Protocol):
    def __call__(self, given: _Labelled, rows: NDArray[np.intp], /) -> Chooser:
        """Learnt from these rows alone."""
        ...


@dataclass(frozen=True)
class _BestFixed:
    def __call__(self, given: _Labelled, rows: NDArray[np.intp], /) -> Always:
        return Always(given.names[_ranked(given, rows)[0]])


@dataclass(frozen=True)
class _Ridge:
    """Regression of what each configuration is worth beyond the mean of all: how hard a question is chooses nothing."""

    penalty: float
    embedding: bool

    def __str__(self) -> str:
        return f"linear, penalty {self.penalty:g}{', embedding' * self.embedding}"

    def __call__(self, given: _Labelled, rows: NDArray[np.intp], /) -> LinearWorth:
        space, order = _space(given, rows, self.embedding), _ranked(given, rows)
        vectors, worths = _vectors(space, given, rows), given.worths[np.ix_(rows, order)]
        centre = vectors.mean(axis=0)
        centred = vectors - centre
        beyond = worths - worths.mean(axis=1, keepdims=True)
        weights = np.linalg.solve(
            centred.T @ centred + self.penalty * np.eye(len(centre)), centred.T @ (beyond - beyond.mean(axis=0))
        ).T
        intercepts = worths.mean(axis=0) - weights @ centre
        return LinearWorth(space, _named(given, order), _rows(weights), tuple(intercepts.tolist()))


@dataclass(frozen=True)
class _Nearest:
    k: int
    embedding: bool

    def __str__(self) -> str:
        return f"{self.k} nearest questions{', embedding' * self.embedding}"

    def __call__(self, given: _Labelled, rows: NDArray[np.intp], /) -> NearestWorth:
        space, order = _space(given, rows, self.embedding), _ranked(given, rows)
        known = given.worths[np.ix_(rows, order)]
        return NearestWorth(space, _named(given, order), _rows(_vectors(space, given, rows)), _rows(known), self.k)


def _tried(given: _Labelled) -> list[_Method]:
    """From the simplest: the first of equals is taken."""
    tried: list[_Method] = [_BestFixed()]
    varying = _varying(given, np.arange(len(given.groups)))
    for embedding in (False, True):
        if (varying & (given.embedded == embedding)).any():
            tried += [_Ridge(penalty, embedding) for penalty in sorted(PENALTIES, reverse=True)]
            tried += [_Nearest(k, embedding) for k in sorted(NEIGHBOURS, reverse=True)]
    return tried


def _chosen(given: _Labelled, rows: NDArray[np.intp], tried: Sequence[_Method], folds: int, seed: int) -> _Method:
    """The method whose choices are worth most by cross-validation on these rows alone."""
    worths = np.zeros(len(tried))
    for training, held_out in _dealt(given, rows, folds, seed):
        for place, method in enumerate(tried):
            worths[place] += given.worths[held_out, _choices(method(given, training), given, held_out)].sum()
    return tried[int(worths.argmax())]


def _choices(chooser: Chooser, given: _Labelled, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places of the configurations that it chooses for these rows."""
    places = np.array([given.names.index(name) for name in chooser.names])
    if not isinstance(chooser, LinearWorth | NearestWorth):
        return np.full(len(rows), places[0])
    return np.asarray(places[chooser.worths(_vectors(chooser.space, given, rows)).argmax(axis=1)])


def _ranked(given: _Labelled, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places of the configurations from the best one on these rows, which a tie goes to."""
    return np.argsort(-given.worths[rows].mean(axis=0), kind="stable")


def _named(given: _Labelled, order: NDArray[np.intp]) -> tuple[str, ...]:
    return tuple(given.names[place] for place in order.tolist())


def _varying(given: _Labelled, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(f,), which features have known values on these rows that differ."""
    known = (column[~np.isnan(column)] for column in given.values[rows].T)
    return np.array(
        [len(values) > 0 and values.min() < values.max() and values.std() > 0 for values in known], dtype=bool
    )


def _space(given: _Labelled, rows: NDArray[np.intp], embedding: bool) -> FeatureSpace:
    """Of the features that vary on these rows. An embedding's have one scale, which gives its vectors their length."""
    varying = _varying(given, rows)
    columns = np.flatnonzero(varying if embedding else varying & ~given.embedded)
    known = given.values[np.ix_(rows, columns)]
    scales = np.where(given.embedded[columns], 1 / LENGTH, np.nanstd(known, axis=0))
    means = np.nanmean(known, axis=0)
    names = tuple(given.features[column] for column in columns.tolist())
    return FeatureSpace(names, tuple(means.tolist()), tuple(scales.tolist()), given.measured_by)


def _vectors(space: FeatureSpace, given: _Labelled, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    place = {name: column for column, name in enumerate(given.features)}
    columns = np.array([place[name] for name in space.features], np.intp)
    return space.vectors(given.values[np.ix_(rows, columns)])


def _rows(table: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())
