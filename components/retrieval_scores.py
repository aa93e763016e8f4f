"""How well the passages that were found match the question: whether to show them, decided after a cheap search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, log, nan, sqrt

from ragloom.components.gating import Capability, Observation
from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.types import Hit, Retriever

_NAMES = ("retrieval_top", "retrieval_gap", "retrieval_entropy", "retrieval_overlap")
_content_words = Tokenizer()


@dataclass(frozen=True)
class RetrievalScores:
    """A Signal of the k best passages; asks no model but the retriever's own.

    Scores of a retriever have no unit. All but the first feature stay the same when every score is multiplied by the
    same number:

    - `retrieval_top`: the best score as it is, to be compared with that of other questions only;
    - `retrieval_gap`: how much lower the last score is, relative to the larger of the two; 0 where all are equal;
    - `retrieval_entropy`: of a softmax over the standardised scores, relative to that of equal scores: 1 where no
      passage stands out, the lower the more the best one does;
    - `retrieval_overlap`: the share of the question's content words, stemmed, that stand in the passages.

    Where nothing is found the overlap is 0 and the others are unknown; a gap and an entropy need two passages.

    Attributes:
        retriever: finds the passages.
        k: how many of them are looked at.
        name: of the retriever and what it searches, for the identity; its class where that is left out.
    """

    retriever: Retriever
    k: int = 5
    name: str = ""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")

    @property
    def needs(self) -> frozenset[Capability]:
        """Passages."""
        return frozenset(("passages",))

    @property
    def features(self) -> tuple[str, ...]:
        """Their names."""
        return _NAMES

    @property
    def identity(self) -> str:
        """Retriever and k."""
        return f"{self.name or type(self.retriever).__name__} k={self.k}"

    def __call__(self, question: str, /) -> Observation:
        """The features."""
        hits = self.retriever(question, self.k)
        scores = sorted((hit.score for hit in hits), reverse=True)
        values = (scores[0] if scores else nan, _gap(scores), _entropy(scores), _overlap(question, hits))
        return Observation(dict(zip(_NAMES, values, strict=True)))


def _gap(scores: Sequence[float]) -> float:
    """From the first score to the last, relative to the larger of them."""
    if len(scores) < 2:
        return nan
    largest = max(abs(scores[0]), abs(scores[-1]))
    return (scores[0] - scores[-1]) / largest if largest else 0.0


def _entropy(scores: Sequence[float]) -> float:
    """From 0 to 1: of a softmax over the scores, which are in standard deviations from their mean."""
    if len(scores) < 2:
        return nan
    mean = fsum(scores) / len(scores)
    deviation = sqrt(fsum((score - mean) ** 2 for score in scores) / len(scores))
    if scores[0] == scores[-1] or not deviation:  # squares of tiny differences are 0
        return 1.0
    weights = [exp((score - mean) / deviation) for score in scores]
    total = fsum(weights)
    return -fsum(weight / total * log(weight / total) for weight in weights) / log(len(scores))


def _overlap(question: str, hits: Sequence[Hit]) -> float:
    """NaN for a question without content words."""
    if not hits:
        return 0.0
    asked = set(_content_words(question))
    found = {word for hit in hits for word in _content_words(searchable(hit.chunk))}
    return len(asked & found) / len(asked) if asked else nan
