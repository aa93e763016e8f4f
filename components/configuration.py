"""Choose for each question how its passages are selected: the configuration agent of CORAG (arXiv:2411.00744).

No scorer and no parameters are best for every question. The paper trains a neural network to predict the best ones;
here the worth of each named configuration is predicted from what is measured of the question and its hits, by a linear
model or by the questions that are nearest to it. `pipelines/selection_agent.py` trains it, and gives the best fixed
configuration where choosing gains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, nan
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ragloom.components.combinations import Selection, Selector, selected
from ragloom.components.gate_models import FARTHEST
from ragloom.components.gating import Signal
from ragloom.components.question_embedding import QuestionEmbedding
from ragloom.components.question_features import QuestionFeatures
from ragloom.components.retrieval_scores import RetrievalScores
from ragloom.errors import ConfigError
from ragloom.run import span
from ragloom.types import Embedder, Hit

if TYPE_CHECKING:
    from numpy.typing import NDArray

# ---- What a choice rests on


class Measure(Protocol):
    """Measures a question and its hits. Safe to call from several threads."""

    @property
    def identity(self) -> str:
        """What the numbers depend on besides the question and the hits. Others are not comparable."""
        ...

    def __call__(self, question: str, hits: Sequence[Hit], /) -> Mapping[str, float]:
        """Features by name; NaN where unknown."""
        ...


@dataclass(frozen=True)
class Measurements:
    """A Measure of the question's wording, the scores of its best hits and, with an embedder, the question's vector.

    Args:
        embedder: of questions; None to do without.
        k: hits that are looked at.
    """

    embedder: Embedder | None = None
    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

    @property
    def identity(self) -> str:
        """k and the embedder's model."""
        return f"question, {self.k} hits" + (f", {self.embedder.model}" if self.embedder else "")

    def __call__(self, question: str, hits: Sequence[Hit], /) -> Mapping[str, float]:
        """The features.

        Raises:
            BadReply: the embedder gave something else than a vector of length 1.
        """
        usable = [hit for hit in hits if isfinite(hit.score)]
        signals: list[Signal] = [QuestionFeatures(), RetrievalScores(lambda query, k: usable[:k], k=self.k)]
        if self.embedder:
            signals.append(QuestionEmbedding(self.embedder))
        return {name: value for signal in signals for name, value in signal(question).features.items()}


@dataclass(frozen=True)
class FeatureSpace:
    """Features as vectors of comparable numbers.

    Args:
        features: their names.
        means, scales: of each in training; an unknown feature takes the mean, and one far out counts as no further than
            `FARTHEST` scales.
        measured_by: identity of the Measure that they are of.
    """

    features: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    measured_by: str = ""

    def __post_init__(self) -> None:
        lengths = {len(self.features), len(self.means), len(self.scales)}
        if len(lengths) != 1:
            raise ValueError(f"features, means and scales must be of one length, got {sorted(lengths)}")
        if not all(scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be above 0, got {min(self.scales)}")

    def vectors(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, f) from (n, f) measured values in the order of the features."""
        standard = (values - np.array(self.means)) / np.array(self.scales)
        return np.asarray(np.clip(np.nan_to_num(standard, nan=0.0), -FARTHEST, FARTHEST))

    def vector(self, features: Mapping[str, float]) -> NDArray[np.float64]:
        """(1, f) of a question."""
        return self.vectors(np.array([[features.get(name, nan) for name in self.features]], np.float64))


# ---- Choosers


@dataclass(frozen=True, slots=True)
class Choice:
    """A configuration for a question.

    Attributes:
        name: of the configuration.
        reason: why, in a few words.
        expected: worth of each configuration, where the chooser predicts it.
    """

    name: str
    reason: str
    expected: Mapping[str, float] = field(default_factory=dict)


class Chooser(Protocol):
    """Chooses a configuration by what was measured; a pure function, so that it can be replayed on stored features."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the configurations that it may choose."""
        ...

    @property
    def space(self) -> FeatureSpace | None:
        """What it looks at; None for nothing."""
        ...

    def __call__(self, features: Mapping[str, float], /) -> Choice:
        """The choice."""
        ...


@dataclass(frozen=True)
class Always:
    """A Chooser of one configuration for every question."""

    name: str
    reason: str = "fixed"

    @property
    def names(self) -> tuple[str, ...]:
        """The one."""
        return (self.name,)

    @property
    def space(self) -> None:
        """It looks at nothing."""
        return None

    def __call__(self, features: Mapping[str, float], /) -> Choice:
        """The one."""
        return Choice(self.name, self.reason)


@dataclass(frozen=True)
class LinearWorth:
    """A Chooser of the configuration that a linear model expects most of; of equal ones the first.

    Args:
        space: what it looks at, f features.
        names: of the c configurations, the best fixed one first.
        weights: (c, f).
        intercepts: (c,), what each is worth for the average question.
    """

    space: FeatureSpace
    names: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_names(self.names)
        if {len(self.weights), len(self.intercepts)} != {len(self.names)}:
            raise ValueError(f"expected weights and an intercept for each of {len(self.names)} configurations")
        if any(len(weights) != len(self.space.features) for weights in self.weights):
            raise ValueError(f"expected a weight for each of {len(self.space.features)} features")

    def worths(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, c), expected for vectors of the space."""
        weights = np.array(self.weights, np.float64).reshape(len(self.names), len(self.space.features))
        return np.asarray(vectors @ weights.T + np.array(self.intercepts))

    def __call__(self, features: Mapping[str, float], /) -> Choice:
        """The configuration."""
        return _most(self.names, self.worths(self.space.vector(features))[0])


@dataclass(frozen=True)
class NearestWorth:
    """A Chooser of the configuration that was worth most for the k nearest training questions; of equal ones the first.

    Args:
        space: what nearness is measured in, f features; of equally near questions the first counts.
        names: of the c configurations, the best fixed one first.
        rows: (n, f), vectors of the training questions.
        known: (n, c), what each configuration was worth for them.
        k: neighbours; all where there are fewer.
    """

    space: FeatureSpace
    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]
    known: tuple[tuple[float, ...], ...]
    k: int

    def __post_init__(self) -> None:
        _check_names(self.names)
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if not self.rows or len(self.rows) != len(self.known):
            raise ValueError(f"expected the worths of {len(self.rows)} training questions, got {len(self.known)}")
        if any(len(row) != len(self.space.features) for row in self.rows):
            raise ValueError(f"expected {len(self.space.features)} numbers for each training question")
        if any(len(worths) != len(self.names) for worths in self.known):
            raise ValueError(f"expected {len(self.names)} worths for each training question")

    @cached_property
    def _arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array(self.rows, np.float64), np.array(self.known, np.float64)

    def worths(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, c), expected for vectors of the space."""
        rows, known = self._arrays
        distances = (rows * rows).sum(axis=1) - 2 * vectors @ rows.T  # but for what is the same for all rows
        nearest = np.argsort(distances, axis=1, kind="stable")[:, : self.k]
        return np.asarray(known[nearest].mean(axis=1))

    def __call__(self, features: Mapping[str, float], /) -> Choice:
        """The configuration."""
        return _most(self.names, self.worths(self.space.vector(features))[0])


def _check_names(names: tuple[str, ...]) -> None:
    if not names or len(set(names)) != len(names):
        raise ValueError(f"names must be different, and one at least, got {', '.join(names) or 'none'}")


def _most(names: tuple[str, ...], worths: NDArray[np.float64]) -> Choice:
    expected = dict(zip(names, worths.tolist(), strict=True))
    best = max(names, key=expected.__getitem__)  # the first of equals
    return Choice(best, f"{best} is expected to be worth most: {expected[best]:.3f}", expected)


# ---- Applying


@dataclass(frozen=True)
class Agent:
    """A Selector that chooses another one for each question, as a span `configure` with the choice and why.

    Args:
        chooser: chooses by name.
        selectors: by the names that the chooser knows; there may be others.
        measure: what the chooser was trained on.

    Raises:
        ConfigError: a configuration has no selector, or the chooser was trained on other measurements.
    """

    chooser: Chooser
    selectors: Mapping[str, Selector]
    measure: Measure = field(default_factory=Measurements)

    def __post_init__(self) -> None:
        if missing := [name for name in self.chooser.names if name not in self.selectors]:
            raise ConfigError(
                f"there is no selector for the configurations {', '.join(missing)}",
                f"there are {', '.join(self.selectors) or 'none'}; name them as in training",
            )
        space = self.chooser.space
        if space is not None and space.measured_by != self.measure.identity:
            raise ConfigError(
                f"the agent was trained on measurements of {space.measured_by!r}, got {self.measure.identity!r}",
                "measure the same, or train it again",
            )

    def choose(self, query: str, hits: Sequence[Hit], /) -> Choice:
        """The configuration for a question."""
        with span("configure") as attributes:
            features = self.measure(query, hits) if self.chooser.space else {}
            choice = self.chooser(features)
            attributes |= {"chosen": choice.name, "reason": choice.reason, "expected": dict(choice.expected)}
            return choice

    def select(self, query: str, hits: Sequence[Hit], /) -> Selection:
        """What the chosen selector selects."""
        return self.selectors[self.choose(query, hits).name].select(query, hits)

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits of the selection; see `selected`."""
        return selected(self, query, hits)
