"""Whether retrieval helped with similar questions before (SKR with nearest neighbours, arXiv:2310.05002)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ragloom.components.gating import Capability, Observation
from ragloom.components.tokenizing import Tokenizer
from ragloom.components.vector_cache import unit_vectors
from ragloom.types import Embedder, content_id

_FEATURE = "neighbours_benefit"
_words = Tokenizer(stem=False, stop_words=False)


class PastOutcomes:
    """A Signal: the mean benefit of retrieval over the k solved questions that are nearest to a question.

    The paper votes on labels; the mean of benefits from -1 to 1 also counts the questions that retrieval spoilt. A
    question is never its own neighbour, nor is one with the same words, so that rows of the same questions can be
    replayed. NaN where there is no neighbour. Of equally near ones the first by text counts.

    Args:
        embedder: of questions; `CachedEmbedder` embeds each once.
        questions: those that were solved.
        benefits: of each, how much better it was answered with one retrieval than without.
        vectors: (n, d), one of length 1 for each, by the embedder's model.
        k: neighbours that are asked; all, where there are fewer.

    Raises:
        ValueError: k below 1, not as many benefits as questions, or one that is not finite.
        BadReply: the vectors are not what an embedder gives.
    """

    def __init__(
        self,
        embedder: Embedder,
        questions: Sequence[str],
        benefits: Sequence[float],
        vectors: NDArray[np.float32],
        *,
        k: int = 7,
    ) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if len(benefits) != len(questions):
            raise ValueError(f"expected a benefit for each of {len(questions)} questions, got {len(benefits)}")
        if not all(map(isfinite, benefits)):
            raise ValueError("every benefit must be a finite number")
        unit_vectors(vectors, len(questions), embedder.model)
        rows = sorted(range(len(questions)), key=lambda row: (questions[row], benefits[row]))
        self._embedder, self._k = embedder, k
        self._keys = np.array([_key(questions[row]) for row in rows], object)
        self._benefits = np.array([benefits[row] for row in rows], np.float64)
        self._vectors = vectors[rows]
        self._identity = content_id(embedder.model, str(k), *(f"{questions[row]} {benefits[row]}" for row in rows))

    @classmethod
    def of(cls, embedder: Embedder, questions: Sequence[str], benefits: Sequence[float], *, k: int = 7) -> Self:
        """The same, with the vectors that the embedder gives now."""
        return cls(embedder, questions, benefits, embedder(questions), k=k)

    @property
    def needs(self) -> frozenset[Capability]:
        """An embedder."""
        return frozenset(("embedder",))

    @property
    def features(self) -> tuple[str, ...]:
        """Its one name."""
        return (_FEATURE,)

    @property
    def identity(self) -> str:
        """A hash of model, k, questions and benefits."""
        return self._identity

    def __call__(self, question: str, /) -> Observation:
        """The mean benefit.

        Raises:
            BadReply: the embedder gave something else than a vector of length 1.
        """
        others = np.flatnonzero(self._keys != _key(question))
        if not len(others) or not question.strip():
            return Observation({_FEATURE: nan})
        vector = unit_vectors(self._embedder([question]), 1, self._embedder.model)[0]
        nearest = np.argsort(-(self._vectors[others] @ vector), kind="stable")[: self._k]
        return Observation({_FEATURE: float(self._benefits[others[nearest]].mean())})


def _key(question: str) -> str:
    return " ".join(_words(question))
