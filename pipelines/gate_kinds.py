"""Kinds of gates that a calibration tries, each with one setting to choose: a threshold, or a price."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

from ragloom.components.gate_models import Failure, LinearModel, Router
from ragloom.components.gate_rules import Threshold
from ragloom.components.gating import Mode, Rule
from ragloom.errors import ConfigError
from ragloom.pipelines.gate_fitting import Examples, Recipe
from ragloom.pipelines.gate_objectives import Labels, Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

SETTINGS = 100  # thresholds or prices that are tried

KindName = Literal["threshold", "failure", "uplift", "routing"]
KINDS: tuple[KindName, ...] = get_args(KindName)


class Kind(Protocol):
    """A kind of gate, for the modes of its labels; as text, what it is."""

    @property
    def recipe(self) -> Recipe | None:
        """Of the models it needs."""
        ...

    def scores(self, given: Examples, rows: NDArray[np.intp], chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """What it decides by; chances are of a right answer, (rows, modes)."""
        ...

    def settings(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Those that are tried for such scores, from the cheapest."""
        ...

    def choices(self, scores: NDArray[np.float64], settings: NDArray[np.float64]) -> NDArray[np.intp]:
        """(settings, rows), places in the modes."""
        ...

    def rule(self, setting: float, models: Mapping[Mode, LinearModel]) -> Rule:
        """The rule of a setting."""
        ...


@dataclass(frozen=True)
class _Above:
    """Retrieves where a score lies above a threshold.

    Args:
        labels: of the questions.
        place: of the mode to retrieve with, among their modes.
    """

    labels: Labels
    place: int

    def settings(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the highest score, which retrieves for unknown ones only, to one below all; scores or quantiles."""
        known = np.unique(scores[np.isfinite(scores)])
        if not len(known):
            return np.zeros(1)
        cuts = known if len(known) < SETTINGS else np.quantile(known, np.linspace(0, 1, SETTINGS - 1), method="nearest")
        return np.concatenate([cuts[::-1], [known[0] - 1]])

    def choices(self, scores: NDArray[np.float64], settings: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.where(scores > settings[:, None], self.place, 0)


@dataclass(frozen=True)
class _OneFeature(_Above):
    """Retrieves where a feature lies beyond a threshold or is unknown."""

    feature: str
    side: Literal["above", "below"]
    recipe: Recipe | None = None

    def __str__(self) -> str:
        return f"{self.feature} {self.side} a threshold, then {self.labels.modes[self.place]}"

    def scores(self, given: Examples, rows: NDArray[np.intp], chances: NDArray[np.float64]) -> NDArray[np.float64]:
        values = given.features[rows, given.names.index(self.feature)]
        values = values if self.side == "above" else -values
        return np.where(np.isnan(values), np.inf, values)

    def rule(self, setting: float, models: Mapping[Mode, LinearModel]) -> Rule:
        bound = setting if self.side == "above" else -setting
        return Threshold(self.feature, bound, self.side, self.labels.modes[self.place])


@dataclass(frozen=True)
class _LikelyFailure(_Above):
    """Retrieves where a model expects the answer without passages to be wrong."""

    recipe: Recipe

    def __str__(self) -> str:
        return f"failure by {self.recipe}, then {self.labels.modes[self.place]}"

    def scores(self, given: Examples, rows: NDArray[np.intp], chances: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 - chances[:, 0]

    def rule(self, setting: float, models: Mapping[Mode, LinearModel]) -> Rule:
        return Failure(models["none"], setting, self.labels.modes[self.place])


@dataclass(frozen=True)
class Routing:
    """Takes the mode of highest utility; the setting is the price.

    Chances of a logistic model need no tuning where the price is given, and tuning costs: on the 3,000 questions of
    benchmarks/gate_router.py it lost .002 of the objective at a price of .01. A limit is met by the lowest price that
    keeps to it.
    """

    labels: Labels
    recipe: Recipe
    places: tuple[int, ...]
    objective: Objective

    def __str__(self) -> str:
        return f"routing {'/'.join(self.labels.modes[place] for place in self.places)} by {self.recipe}"

    def scores(self, given: Examples, rows: NDArray[np.intp], chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """(rows, modes): the chances of its modes."""
        return chances[:, list(self.places)]

    def settings(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prices at which decisions change, from the highest; none below 0, which would pay for retrieving."""
        if self.objective.unconditional:
            return np.array([self.objective.price])
        costs = self.labels.costs[list(self.places)]
        changes = [
            (scores[:, dearer] - scores[:, cheaper]) / (costs[dearer] - costs[cheaper])
            for cheaper, dearer in combinations(range(len(costs)), 2)
            if costs[dearer] > costs[cheaper]
        ]
        prices = np.quantile(np.concatenate([np.zeros(1), *changes]), np.linspace(0, 1, SETTINGS - 1))
        prices = np.unique(np.maximum(prices, 0))[::-1]
        if self.objective.cost_limit is None:
            return prices
        fitting = self.labels.cost(self.choices(scores, prices)) <= self.objective.cost_limit
        return prices[fitting][-1:] if fitting.any() else prices[:1]

    def choices(self, scores: NDArray[np.float64], settings: NDArray[np.float64]) -> NDArray[np.intp]:
        """Of equally worthy modes the cheapest."""
        places = np.array(self.places)
        utilities = scores - settings[:, None, None] * self.labels.costs[places]
        choices: NDArray[np.intp] = places[utilities.argmax(axis=-1)]
        return choices

    def rule(self, setting: float, models: Mapping[Mode, LinearModel]) -> Rule:
        """The router with that price."""
        modes = [self.labels.modes[place] for place in self.places]
        costs = {self.labels.modes[place]: float(self.labels.costs[place]) for place in self.places}
        return Router({mode: models[mode] for mode in modes}, costs, setting)


def kinds_to_try(
    given: Examples, names: Collection[KindName], recipes: Sequence[Recipe], objective: Objective
) -> list[Kind]:
    """The kinds of gates of these names, from the simplest: the first of equals is taken.

    Raises:
        ConfigError: there is none to try, for want of features or recipes.
    """
    labels, others = given.labels, range(1, len(given.labels.modes))
    sides: tuple[Literal["above", "below"], ...] = ("above", "below")
    kinds: list[Kind] = []
    if "threshold" in names:
        telling = [name for name, embedded in zip(given.names, given.embedded, strict=True) if not embedded]
        kinds += [_OneFeature(labels, place, name, side) for place in others for name in telling for side in sides]
    for recipe in recipes:
        if recipe.embedding and not given.embedded.any():
            continue
        if "failure" in names:
            kinds += [_LikelyFailure(labels, place, recipe) for place in others]
        subsets = [(0, place) for place in others] if "uplift" in names else []
        subsets += [(0, *others)] if "routing" in names else []
        kinds += [Routing(labels, recipe, places, objective) for places in dict.fromkeys(subsets)]
    if not kinds:
        raise ConfigError("there is no gate to try: no features and no recipe", "collect features, or name a recipe")
    return kinds
