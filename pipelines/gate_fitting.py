"""Fit logistic models of which mode answers right, from arrays, with scikit-learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from ragloom.components.gate_models import FARTHEST, LinearModel
from ragloom.components.gating import EMBEDDING, Mode
from ragloom.components.question_features import question_terms
from ragloom.pipelines.gate_objectives import Labels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

FEWEST_QUESTIONS = 2  # that a term must stand in; one that stands in a single question can only be learnt by heart
RIGHT = 0.5  # an answer of at least this metric counts as right


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a logistic model is fitted.

    Attributes:
        terms: length of a question's vector of terms, where a standardised feature is about 1 long; 0 for no terms.
        strength: inverse of the L2 penalty (scikit-learn's C).
        embedding: length of a question's embedding, likewise; 0 for none. Its numbers are not standardised one by one,
            which would blow up the directions in which questions hardly differ.
    """

    terms: float = 1.0
    strength: float = 0.3
    embedding: float = 0.0

    def __str__(self) -> str:
        parts = ["features", f"terms ({self.terms:g})" if self.terms else ""]
        parts.append(f"embedding ({self.embedding:g})" if self.embedding else "")
        return " and ".join(part for part in parts if part)


@dataclass(frozen=True)
class Examples:
    """Labelled questions as arrays.

    Args:
        questions: n texts.
        names: of the features, f of them.
        features: (n, f), NaN where unknown.
        vocabulary: terms, v of them.
        counts: (n, v), how often each term stands in each question.
        labels: of the questions.
        groups: (n,), equal for questions that are the same.
    """

    questions: tuple[str, ...]
    names: tuple[str, ...]
    features: NDArray[np.float64]
    vocabulary: tuple[str, ...]
    counts: csr_array
    labels: Labels
    groups: NDArray[np.intp]

    @property
    def embedded(self) -> NDArray[np.bool_]:
        """(f,), which features are of an embedding."""
        return np.array([name.startswith(EMBEDDING) for name in self.names], dtype=bool)


def examples(
    questions: Sequence[str], features: Sequence[Mapping[str, float]], labels: Labels, groups: Sequence[str]
) -> Examples:
    """The arrays of labelled questions; equal names of groups make a group."""
    from scipy.sparse import csr_array

    names = tuple(sorted({name for known in features for name in known}))
    counted = [Counter(question_terms(question)) for question in questions]
    vocabulary = tuple(sorted({term for counts in counted for term in counts}))
    place = {term: column for column, term in enumerate(vocabulary)}
    indices = [place[term] for counts in counted for term in counts]
    values = [float(count) for counts in counted for count in counts.values()]
    starts = np.cumsum([0, *map(len, counted)])
    return Examples(
        tuple(questions),
        names,
        np.array([[known.get(name, nan) for name in names] for known in features]).reshape(len(questions), len(names)),
        vocabulary,
        csr_array((values, indices, starts), shape=(len(questions), len(vocabulary))),
        labels,
        np.unique(groups, return_inverse=True)[1],
    )


@dataclass(frozen=True)
class Fitted:
    """Models of every mode, fitted together.

    Args:
        features: places of those that vary and are wanted.
        means, scales: of these; an embedding's have one scale, which gives its vectors the wanted length.
        terms: places of the known ones.
        idf: of these.
        weights: (modes, features and terms), of the standardised features and of the vector of terms.
        intercepts: (modes,).
    """

    examples: Examples
    features: NDArray[np.intp]
    means: NDArray[np.float64]
    scales: NDArray[np.float64]
    terms: NDArray[np.intp]
    idf: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    def probabilities(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """(rows, modes), the same as each model gives."""
        odds = _inputs(self, rows, 1.0) @ self.weights.T + self.intercepts
        return np.asarray(1 / (1 + np.exp(-odds)))

    def models(self) -> dict[Mode, LinearModel]:
        """The models by mode."""
        split = len(self.features)
        names = tuple(self.examples.names[place] for place in self.features)
        terms = [self.examples.vocabulary[place] for place in self.terms]
        return {
            mode: LinearModel(
                names,
                tuple(self.means.tolist()),
                tuple(self.scales.tolist()),
                tuple(weights[:split].tolist()),
                float(intercept),
                dict(zip(terms, zip(self.idf.tolist(), weights[split:].tolist(), strict=True), strict=True)),
            )
            for mode, weights, intercept in zip(self.examples.labels.modes, self.weights, self.intercepts, strict=True)
        }


def fit(given: Examples, rows: NDArray[np.intp], recipe: Recipe) -> Fitted:
    """The models of every mode on these rows. Nothing else of the examples is looked at.

    A mode that is right, or wrong, on every row gets a constant model.
    """
    known = given.features[rows]
    varying = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in known.T], dtype=bool)
    features = np.flatnonzero(varying if recipe.embedding else varying & ~given.embedded)
    scales = np.nanstd(known[:, features], axis=0)
    if recipe.embedding:
        scales[given.embedded[features]] = 1 / recipe.embedding
    frequency = (given.counts[rows] > 0).sum(axis=0)
    terms = np.flatnonzero(frequency >= FEWEST_QUESTIONS) if recipe.terms else np.empty(0, np.intp)
    unfitted = Fitted(
        given,
        features,
        np.nanmean(known[:, features], axis=0),
        scales,
        terms,
        np.log((1 + len(rows)) / (1 + frequency[terms])) + 1,
        np.zeros((0, len(features) + len(terms))),
        np.zeros(0),
    )
    inputs = _inputs(unfitted, rows, recipe.terms)
    fits = [_logistic(inputs, right >= RIGHT, recipe) for right in given.labels.right[rows].T]
    weights = np.stack([weights for weights, _ in fits])
    weights[:, len(features) :] *= recipe.terms  # of vectors of length 1, as the models see them
    return Fitted(
        given,
        features,
        unfitted.means,
        unfitted.scales,
        terms,
        unfitted.idf,
        weights,
        np.array([intercept for _, intercept in fits]),
    )


def _inputs(fitted: Fitted, rows: NDArray[np.intp], length: float) -> Any:  # sparse arrays' type has no name
    from scipy.sparse import csr_array, diags_array, hstack

    known = (fitted.examples.features[np.ix_(rows, fitted.features)] - fitted.means) / fitted.scales
    standardised = np.clip(np.nan_to_num(known, nan=0.0), -FARTHEST, FARTHEST)
    if not len(fitted.terms):
        return standardised
    terms = csr_array(fitted.examples.counts[rows][:, fitted.terms], copy=True)
    terms.data = 1 + np.log(terms.data)
    terms = terms @ diags_array(fitted.idf)
    norms = np.sqrt((terms * terms).sum(axis=1))
    vectors = diags_array(length / np.where(norms > 0, norms, 1)) @ terms
    return hstack([csr_array(standardised), vectors], format="csr")


def _logistic(inputs: Any, right: NDArray[np.bool_], recipe: Recipe) -> tuple[NDArray[np.float64], float]:
    """Weights and intercept; a constant with a half added to either side where there is one class only."""
    from sklearn.linear_model import LogisticRegression

    positives = int(right.sum())
    if positives in {0, len(right)} or not inputs.shape[1]:
        return np.zeros(inputs.shape[1]), log((positives + 0.5) / (len(right) - positives + 0.5))
    # lbfgs works through BLAS, whose threads wait for each other on a busy machine: twenty times slower, measured
    model = LogisticRegression(C=recipe.strength, solver="newton-cg", max_iter=1000).fit(inputs, right)
    return model.coef_[0], float(model.intercept_[0])
