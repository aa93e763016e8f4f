"""A question's embedding as features of a gate: what it is about, where the wording says how it is put."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import nan

from ragloom.components.gating import EMBEDDING, Capability, Observation
from ragloom.components.vector_cache import unit_vectors
from ragloom.types import Embedder


@dataclass(frozen=True)
class QuestionEmbedding:
    """A Signal: the numbers of the question's vector, `embedding_000` and on; unknown for a blank question.

    One of them says nothing by itself, and there are hundreds: they are for the models of a calibrated gate, see
    `Recipe.embedding`. Rounded to four decimals, which moves a product of two vectors of length 1 by less than .001 and
    keeps files of outcomes small.

    Args:
        embedder: of questions; `CachedEmbedder` embeds each once.
    """

    embedder: Embedder

    @property
    def needs(self) -> frozenset[Capability]:
        """An embedder."""
        return frozenset(("embedder",))

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Their names, one for each dimension; the embedder is asked for a vector once to know how many.

        Raises:
            BadReply: it gave something else than a vector of length 1.
        """
        return tuple(f"{EMBEDDING}{place:03}" for place in range(len(self._vector("question"))))

    @property
    def identity(self) -> str:
        """The embedder's model."""
        return self.embedder.model

    def __call__(self, question: str, /) -> Observation:
        """The vector.

        Raises:
            BadReply: the embedder gave something else than a vector of length 1.
        """
        if not question.strip():
            return Observation(dict.fromkeys(self.features, nan))
        return Observation(dict(zip(self.features, self._vector(question), strict=True)))

    def _vector(self, text: str) -> list[float]:
        vector = unit_vectors(self.embedder([text]), 1, self.embedder.model)[0]
        return [round(value, 4) for value in vector.tolist()]
