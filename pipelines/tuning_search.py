"""Which settings to try next: all of a small space in random order, or what Optuna suggests."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from ragloom.errors import ConfigError
from ragloom.pipelines.tuning_space import Choice, Space, Value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Search(Protocol):
    """Suggests settings one by one. The same space, seed and scores give the same suggestions."""

    def ask(self) -> Mapping[str, Value] | None:
        """The next values; None where there are no more."""
        ...

    def tell(self, scores: Sequence[tuple[int, float]], *, finished: bool) -> None:
        """What the last values were worth.

        Args:
            scores: mean scores after so many questions; none where the values cannot work.
            finished: whether the last one is of all questions.
        """
        ...


def open_search(space: Space, *, trials: int, seed: int) -> Search:
    """The whole space where it holds at most so many settings, besides the base; else Optuna's search.

    Raises:
        ConfigError: the space is larger, and Optuna is not installed.
    """
    if space.size is not None and space.size <= trials + 1:
        return Grid(space, seed=seed)
    return TPE(space, seed=seed)


class Grid:
    """Every setting of the space once, in random order."""

    def __init__(self, space: Space, *, seed: int) -> None:
        options = space.options()
        if options is None:
            raise ValueError("a space with a range of fractions has no end of settings")
        self._left = [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]
        random.Random(seed).shuffle(self._left)

    def ask(self) -> Mapping[str, Value] | None:
        """The next values; None where there are no more."""
        return self._left.pop() if self._left else None

    def tell(self, scores: Sequence[tuple[int, float]], *, finished: bool) -> None:
        """Nothing is learned: everything is tried anyway."""


class TPE:
    """Optuna's tree-structured Parzen estimator: ten random settings, then what looks like the better ones so far.

    Its study lives in memory alone. Told the same scores it suggests the same again, so that one that was ended is
    gone on with by repeating it with what the workspace holds.
    """

    def __init__(self, space: Space, *, seed: int) -> None:
        try:
            import optuna
        except ImportError:
            raise ConfigError(
                "searching a space this large needs Optuna, which is not installed",
                'run `pip install "ragloom[tune]"`, or allow as many --trials as the space has settings',
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        self._distributions = {name: _distribution(space, name) for name in space.parameters}
        if (base := space.of_base()) is not None:
            self._study.enqueue_trial(base)  # its score is known, and costs nothing

    def ask(self) -> Mapping[str, Value] | None:
        """The next values."""
        self._trial = self._study.ask(self._distributions)
        return dict(self._trial.params)

    def tell(self, scores: Sequence[tuple[int, float]], *, finished: bool) -> None:
        """Learn what the last values were worth; those stopped early count as worse than those that finished."""
        states = self._optuna.trial.TrialState
        for questions, score in scores:
            self._trial.report(score, questions)
        if finished:
            self._study.tell(self._trial, scores[-1][1])
        else:
            self._study.tell(self._trial, state=states.PRUNED if scores else states.FAIL)


def _distribution(space: Space, name: str) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    parameter = space.parameters[name]
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.options)
    if parameter.whole:
        return IntDistribution(int(parameter.low), int(parameter.high))
    return FloatDistribution(parameter.low, parameter.high)
