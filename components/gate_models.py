"""Rules fitted to labelled outcomes: logistic models of which mode answers right, and what follows from them.

Numbers only: fitting takes scikit-learn (`pipelines/gate_fitting.py`), deciding takes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, isnan, log, nan, sqrt

from ragloom.components.gating import MODES, Decision, Mode
from ragloom.components.question_features import question_terms

# A feature this many standard deviations from its mean counts as no further: nobody has seen what lies out there, and a
# question of a thousand words should not be decided by its length alone.
FARTHEST = 5.0


@dataclass(frozen=True)
class LinearModel:
    """A logistic model of a question's features and its terms.

    Args:
        features: their names.
        means: of each feature in training; an unknown feature takes it, and so says nothing.
        scales: of each feature in training.
        weights: of each standardised feature.
        intercept: log-odds of the average question.
        terms: inverse document frequency and weight of each known term, see `question_terms`. Term frequencies are
            1 + ln(count), and a question's vector of known terms has length 1.
    """

    features: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    terms: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.features), len(self.means), len(self.scales), len(self.weights)}
        if len(lengths) != 1:
            raise ValueError(f"features, means, scales and weights must be of one length, got {sorted(lengths)}")
        if not all(scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be above 0, got {min(self.scales)}")

    def probability(self, question: str, features: Mapping[str, float]) -> float:
        """What the model gives a question, from 0 to 1."""
        odds = self.intercept + self._of_terms(question)
        for name, mean, scale, weight in zip(self.features, self.means, self.scales, self.weights, strict=True):
            value = features.get(name, nan)
            if not isnan(value):
                odds += weight * min(max((value - mean) / scale, -FARTHEST), FARTHEST)
        return logistic(odds)

    def _of_terms(self, question: str) -> float:
        if not self.terms:
            return 0.0
        counts = Counter(term for term in question_terms(question) if term in self.terms)
        values = {term: (1 + log(count)) * self.terms[term][0] for term, count in counts.items()}
        length = sqrt(sum(value * value for value in values.values()))
        return sum(value * self.terms[term][1] for term, value in values.items()) / length if length else 0.0


def logistic(odds: float) -> float:
    """The probability of the log-odds, without overflow."""
    return 1 / (1 + exp(-odds)) if odds >= 0 else exp(odds) / (1 + exp(odds))


@dataclass(frozen=True)
class Failure:
    """Retrieves where the answer without passages is likely to be wrong.

    What the model cannot answer, the retriever often cannot either; so where both kinds of outcomes are known, a
    `Router` is the better aim, though its labels are rarer.

    Args:
        model: of an answer without passages being right.
        bound: retrieves where the probability of failure lies above it.
        mode: what is done there.
    """

    model: LinearModel
    bound: float
    mode: Mode = "single"

    @property
    def features(self) -> tuple[str, ...]:
        """Those of the model."""
        return self.model.features

    def __call__(self, question: str, features: Mapping[str, float], /) -> Decision:
        """The mode or `none`; the score is the probability of failure."""
        failure = 1 - self.model.probability(question, features)
        fires = failure > self.bound
        reason = f"failure without passages {failure:.3f} is {'' if fires else 'not '}above {self.bound:.3f}"
        return Decision(self.mode if fires else "none", failure, reason)


@dataclass(frozen=True)
class Router:
    """Takes the mode with the highest probability of a right answer less the price of what it costs.

    Of two modes this is the uplift rule: retrieve where retrieval is likely to help by more than it costs. A tie goes
    to the cheaper mode.

    Args:
        models: of each mode's answer being right.
        costs: of each mode, in any unit, e.g. calls of the model.
        price: probability of a right answer that one unit of cost is worth.
    """

    models: Mapping[Mode, LinearModel]
    costs: Mapping[Mode, float]
    price: float = 0.0

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise ValueError(f"models must be of at least two modes, got {len(self.models)}")
        if missing := [mode for mode in self.models if mode not in self.costs]:
            raise ValueError(f"costs must have {', '.join(missing)}")

    @property
    def features(self) -> tuple[str, ...]:
        """Those of all models."""
        return tuple(dict.fromkeys(name for model in self.models.values() for name in model.features))

    def __call__(self, question: str, features: Mapping[str, float], /) -> Decision:
        """The mode; the score is by how much the best of the dearer modes beats the cheapest."""
        by_cost = sorted(self.models, key=lambda mode: (self.costs[mode], MODES.index(mode)))
        utilities = {
            mode: self.models[mode].probability(question, features) - self.price * self.costs[mode] for mode in by_cost
        }
        cheapest, *others = by_cost
        best = max(by_cost, key=utilities.__getitem__)  # the first, and so the cheapest, of equals
        score = max(utilities[mode] for mode in others) - utilities[cheapest]
        return Decision(best, score, f"{best} is worth most: {utilities[best]:.3f}", utilities=utilities)
