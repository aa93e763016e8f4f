"""Fit a gate to labelled outcomes, and choose it by nested cross-validation; the model's weights are not touched.

What a gate is tried on, it has never seen: rows are dealt to folds by question, and on the rows outside of a fold
everything is chosen anew - which kind of gate, which features, which threshold or price - before it decides about the
rows inside. Those decisions are what the gate is judged by, and returned for each row.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragloom.components.answer_words import normalise
from ragloom.components.gate_rules import Fixed
from ragloom.components.gating import MODES, Decision, Mode, Rule
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.gate_fitting import Examples, Recipe, examples, fit
from ragloom.pipelines.gate_kinds import KINDS, Kind, KindName, Routing, kinds_to_try
from ragloom.pipelines.gate_objectives import COSTS, Labels, Objective, beats, best_policy
from ragloom.pipelines.outcomes import Outcome, modes_of, right

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 50  # rows; below there is nothing to learn
FEW = 200  # rows; below a threshold is mostly chance
RECIPES = (
    Recipe(terms=0.0),
    Recipe(terms=1.0),
    Recipe(terms=2.0),
    Recipe(terms=0.0, embedding=2.0),
    Recipe(terms=2.0, embedding=2.0),
)


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold's gate, chosen on the other folds: its kind, and what it reached inside."""

    chosen: str
    questions: int
    accuracy: float
    cost: float


@dataclass(frozen=True)
class Calibration:
    """A calibrated gate, and what is known of it.

    Attributes:
        rule: fitted to all rows; a `Fixed` one where no gate was better than a fixed mode out of fold.
        reason: what was chosen, and why.
        gain: False where it is a `Fixed` rule for want of a better one.
        objective, costs, metric: what it was calibrated for.
        decisions: of each row, by a gate that was chosen and fitted without the row's fold. Where there is no gain,
            those of the gates that were not good enough.
        accuracy, cost: of the decisions, means over rows.
        fixed: accuracy and cost of each mode for every question.
        folds: the gates that made the decisions.
        warnings: what to know before using it.
    """

    rule: Rule
    reason: str
    gain: bool
    objective: Objective
    costs: Mapping[Mode, float]
    metric: str
    decisions: tuple[Decision, ...]
    accuracy: float
    cost: float
    fixed: Mapping[Mode, tuple[float, float]]
    folds: tuple[Fold, ...]
    warnings: tuple[str, ...] = ()


def calibrate(
    outcomes: Sequence[Outcome],
    *,
    objective: Objective | None = None,
    costs: Mapping[Mode, float] = COSTS,
    modes: Sequence[Mode] | None = None,
    metric: str = "contains",
    kinds: Collection[KindName] = KINDS,
    recipes: Sequence[Recipe] = RECIPES,
    folds: int = 5,
    seed: int = 0,
) -> Calibration:
    """The gate that fits the objective best, chosen by nested cross-validation. Deterministic.

    Tried are a threshold on each feature, the probability of failure without passages (the label of Adapt-LLM), and
    routing by utility: between `none` and another mode (uplift), and between all of them. Chances are taken as the
    models give them, without Platt scaling: that would fit a logistic curve to what is one already. The penalty pulls
    them a little to the mean, which moves a threshold as it moves the chances that are compared with it.

    Args:
        outcomes: at least 50; 200 for a usable threshold and 500 for a model are better. Questions that are the same
            but for case, punctuation and articles share a fold.
        objective: by default the most right answers.
        costs: of each mode. With none 0 and single 1 the mean cost is the retrieval rate.
        modes: `none` and others; by default all that every question was answered under.
        metric: how answers are judged, see `right`. Models learn to tell answers of at least 0.5 from others.
        kinds: of gates that are tried.
        recipes: of the logistic models that are tried; those with an embedding only where the outcomes have one.
        folds: of the outer and the inner cross-validation.
        seed: deals questions to folds.

    Raises:
        ConfigError: scikit-learn is not installed; there is no mode `none` beside another; the mode to match is not
            among them.
        InputError: fewer than 50 rows, or fewer different questions than folds.
    """
    objective = objective or Objective()
    given = _examples(outcomes, modes or modes_of(outcomes), costs, metric)
    if objective.match is not None and objective.match not in given.labels.modes:
        raise ConfigError(
            f"the gate is to match {objective.match}, and the modes are {', '.join(given.labels.modes)}",
            "name one of these, or collect answers of that mode for every question",
        )
    tried = kinds_to_try(given, kinds, recipes, objective)
    decisions, results = _out_of_fold(given, outcomes, tried, objective, folds=folds, seed=seed)
    labels = given.labels
    choices = np.array([labels.modes.index(decision.mode) for decision in decisions])
    everything = np.arange(len(outcomes))
    name, rule = _chosen(given, everything, tried, objective, folds=folds, seed=seed)
    fixed = np.stack([np.full(len(outcomes), place) for place in range(len(labels.modes))])
    best = fixed[best_policy(objective, fixed, labels)[0]]
    mode = labels.modes[best[0]]
    gain = beats(objective, choices, best, labels)
    if gain:
        reason = f"{name}: out of fold better than always {mode}"
    else:
        reason = f"no gain: out of fold no gate was better than always {mode}"
        rule = Fixed(mode, reason)
    reached = _fold(name, choices, labels)
    always = zip(labels.modes, labels.accuracy(fixed).tolist(), labels.cost(fixed).tolist(), strict=True)
    return Calibration(
        rule=rule,
        reason=reason,
        gain=gain,
        objective=objective,
        costs={mode: costs[mode] for mode in labels.modes},
        metric=metric,
        decisions=decisions,
        accuracy=reached.accuracy,
        cost=reached.cost,
        fixed={mode: (accuracy, cost) for mode, accuracy, cost in always},
        folds=results,
        warnings=_warnings(given),
    )


def _out_of_fold(
    given: Examples, outcomes: Sequence[Outcome], kinds: Sequence[Kind], objective: Objective, *, folds: int, seed: int
) -> tuple[tuple[Decision, ...], tuple[Fold, ...]]:
    """What is decided on each row by the gate that was chosen without its fold, and those gates."""
    decisions: dict[int, Decision] = {}
    results = []
    for training, held_out in _folds(given, np.arange(len(outcomes)), folds, seed):
        name, rule = _chosen(given, training, kinds, objective, folds=folds, seed=seed)
        decided = {row: rule(given.questions[row], outcomes[row].features) for row in held_out.tolist()}
        choices = np.array([given.labels.modes.index(decision.mode) for decision in decided.values()])
        results.append(_fold(name, choices, given.labels.of(held_out)))
        decisions |= decided
    return tuple(decisions[row] for row in range(len(outcomes))), tuple(results)


def _examples(outcomes: Sequence[Outcome], modes: Sequence[Mode], costs: Mapping[Mode, float], metric: str) -> Examples:
    if not _installed("sklearn"):
        raise ConfigError("calibrating a gate takes scikit-learn", "pip install 'ragloom[calibration]'")
    if len(outcomes) < FEWEST:
        raise InputError(f"{len(outcomes)} outcomes are too few to calibrate a gate", f"collect at least {FEWEST}")
    ordered = tuple(mode for mode in MODES if mode in modes)
    if ordered[:1] != ("none",) or len(ordered) < 2:
        raise ConfigError(
            f"a gate needs the mode none and another one, got {', '.join(ordered) or 'no mode'}",
            "collect answers of both for every question",
        )
    priced = [costs.get(mode, -1.0) for mode in ordered]
    if priced != sorted(priced) or priced[0] < 0:
        raise ConfigError(
            "costs must be from 0 and not fall from none to single to iterative, got "
            + ", ".join(f"{mode}={costs.get(mode)}" for mode in ordered)
        )
    judged = np.array([[right(outcome, mode, metric) for mode in ordered] for outcome in outcomes])
    return examples(
        [outcome.question for outcome in outcomes],
        [outcome.features for outcome in outcomes],
        Labels(ordered, np.array(priced, dtype=np.float64), judged),
        [normalise(outcome.question) or outcome.question for outcome in outcomes],
    )


def _installed(package: str) -> bool:
    """Whether it can be imported; without importing it, which takes a second, before the rows have been looked at."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # what find_spec makes of a package whose import is forbidden: None in sys.modules
        return False


def _folds(
    given: Examples, rows: NDArray[np.intp], folds: int, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Training and held-out rows; the same question is never in both."""
    groups = np.random.default_rng(seed).permutation(np.unique(given.groups[rows]))
    if len(groups) < folds:
        raise InputError(f"{len(groups)} different questions cannot be dealt to {folds} folds", "collect more")
    fold_of = dict(zip(groups.tolist(), (np.arange(len(groups)) % folds).tolist(), strict=True))
    fold = np.array([fold_of[group] for group in given.groups[rows].tolist()])
    return [(rows[fold != number], rows[fold == number]) for number in range(folds)]


def _fold(chosen: str, choices: NDArray[np.intp], labels: Labels) -> Fold:
    return Fold(chosen, len(choices), float(labels.accuracy(choices)[0]), float(labels.cost(choices)[0]))


def _warnings(given: Examples) -> tuple[str, ...]:
    warnings = []
    if len(given.questions) < FEW:
        warnings.append(f"{len(given.questions)} rows: a threshold from fewer than {FEW} is mostly chance")
    for mode, judged in zip(given.labels.modes, given.labels.right.T, strict=True):
        if judged.min() == judged.max():
            warnings.append(f"the answers of mode {mode} are all worth {judged[0]:g}: its model is constant")
    if repeated := len(given.questions) - len(np.unique(given.groups)):
        warnings.append(f"{repeated} rows repeat the question of another")
    return tuple(warnings)


def _chosen(
    given: Examples, rows: NDArray[np.intp], kinds: Sequence[Kind], objective: Objective, *, folds: int, seed: int
) -> tuple[str, Rule]:
    """The best kind and setting by cross-validation on these rows alone, fitted to all of them."""
    if len(kinds) == 1 and isinstance(only := kinds[0], Routing) and objective.unconditional:  # nothing to choose
        return str(only), only.rule(objective.price, fit(given, rows, only.recipe).models())
    labels = given.labels.of(rows)
    chances = _chances(given, rows, kinds, folds, seed)
    found = []
    for kind in kinds:
        scores = kind.scores(given, rows, chances[kind.recipe])
        settings = kind.settings(scores)
        place, worth = best_policy(objective, kind.choices(scores, settings), labels)
        found.append((worth, kind, float(settings[place])))
    _, kind, setting = max(found, key=lambda tried: tried[0])
    models = fit(given, rows, kind.recipe).models() if kind.recipe else {}
    return str(kind), kind.rule(setting, models)


def _chances(
    given: Examples, rows: NDArray[np.intp], kinds: Sequence[Kind], folds: int, seed: int
) -> dict[Recipe | None, NDArray[np.float64]]:
    """Of a right answer by recipe, (rows, modes), each row's from models fitted without its fold."""
    place = np.empty(len(given.questions), np.intp)
    place[rows] = np.arange(len(rows))
    chances: dict[Recipe | None, NDArray[np.float64]] = {None: np.empty((len(rows), 0))}
    dealt = _folds(given, rows, folds, seed)
    for recipe in dict.fromkeys(kind.recipe for kind in kinds if kind.recipe):
        chances[recipe] = np.empty((len(rows), len(given.labels.modes)))
        for training, held_out in dealt:
            chances[recipe][place[held_out]] = fit(given, training, recipe).probabilities(held_out)
    return chances
