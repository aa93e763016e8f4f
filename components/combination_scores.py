"""What a combination of chunks is worth by a model: an embedder, a language model, or a cross-encoder.

The black-box rewards of CORAG (arXiv:2411.00744), from the cheapest. `coverage.py` has one without a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from math import fsum, nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragloom.components.answer_words import UNKNOWING, admission
from ragloom.components.combinations import Combination
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import MAX_TOKENS, packaged_prompt
from ragloom.components.tokenizing import searchable
from ragloom.errors import BadReply, ConfigError
from ragloom.run import map_threads
from ragloom.types import LLM, Embedder, Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_LOGPROB = -20.0  # of an answer that is none, about what servers give for a token that cannot be

_KEPT = 10_000  # vectors; 15 MB of MiniLM's
_TAG = r"#[0-9a-f]+"  # of the prompt, which models repeat; its digits rate nothing
_NUMBER = r"(?<![#0-9A-Za-z])(-?\d+(?:[.,]\d+)?)(?:\s*(?:/|out of)\s*(\d+(?:[.,]\d+)?))?"
_RATED = re.compile(_NUMBER)
_LABELLED = re.compile(rf"\b(?:rating|score)\b(?:\s*{_TAG})?(?:\W+(?:is|of|would|be)\b)*\W*?{_NUMBER}", re.IGNORECASE)


def joined(hits: Combination) -> str:
    """The combination as one text, a blank line between its chunks."""
    return "\n\n".join(searchable(hit.chunk) for hit in hits)


@dataclass(frozen=True)
class JoinedEmbedding:
    """A Utility: the cosine of the question and the joined text. The order of a combination makes a difference.

    A model that reads only the beginning of a text sees only the first chunks. Texts are embedded once while they are
    among the last 10,000, those of a batch together.

    Args:
        embedder: embeds questions and texts.
    """

    embedder: Embedder
    _vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> list[float]:
        """From -1 to 1 each."""
        asked, *found = self._embedded([query, *map(joined, combinations)])
        return [float(asked @ vector) for vector in found]

    def _embedded(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        known = {text: vector for text in texts if (vector := self._vectors.get(text)) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing:
            known |= zip(missing, self.embedder(missing), strict=True)
            self._vectors.update((text, known[text]) for text in missing)
        for text in list(self._vectors)[:-_KEPT]:
            self._vectors.pop(text, None)  # another thread may have been quicker
        return [known[text] for text in texts]


@cache
def _rating_prompt() -> Prompt:
    """The packaged prompt `rate-combination.txt`."""
    return Prompt.load(Path(__file__).parent / "prompts" / "rate-combination.txt", phrase="useless")


@dataclass(frozen=True)
class LLMRating:
    """A Utility: how well a combination serves to answer the question, from 0 to 10, as a model says. A call for each.

    The order of a combination makes a difference.

    Args:
        llm: the model.
        workers: calls at a time.
        options: of the calls.
    """

    llm: LLM
    _: KW_ONLY
    workers: int = 4
    options: Options = field(default_factory=lambda: Options(temperature=0.0, max_tokens=16))

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> list[float]:
        """From 0 to 10 each; NaN where a reply holds no rating.

        Raises:
            BadReply: no reply holds one.
        """
        return _each(lambda hits: self._rating(query, hits), combinations, self.workers)

    def _rating(self, query: str, hits: Combination) -> float:
        reply = self.llm(_rating_prompt().messages(query, [hit.chunk for hit in hits]), **self.options)
        return read_rating(reply.text)


def read_rating(text: str) -> float:
    """The rating from 0 to 10 that a reply holds: its first number, or the first one called a rating or a score.

    >>> [read_rating(said) for said in ("8", "Score: **7.5**", "6/10", "[1] is of use. Rating: 4", "60 out of 100")]
    [8.0, 7.5, 6.0, 4.0, 6.0]

    Raises:
        BadReply: there is no number, or one beyond the scale.
    """
    found = _LABELLED.search(text) or _RATED.search(text)
    if found is None:
        raise BadReply(f"the reply holds no rating: {text[:40]!r}")
    rating, most = (float((group or "10").replace(",", ".")) for group in found.groups())
    if not 0 <= rating <= most or not most:
        raise BadReply(f"the reply has a rating of {rating:g} of {most:g}")
    return 10 * rating / most


@dataclass(frozen=True)
class DraftLikelihood:
    """A Utility: the mean log-probability of the short answer that a model drafts from the passages. A call for each.

    Chat endpoints do not tell how likely a given text is, so this is how sure the model is of the draft that it writes
    itself. One that says that the answer is not known is worth `LEAST_LOGPROB`, however sure the model is of that. The
    order of a combination makes a difference.

    Args:
        llm: a model that gives log-probabilities.
        prompt: instead of the packaged `short.txt`.
        workers: calls at a time.
        options: of the calls.
    """

    llm: LLM
    _: KW_ONLY
    prompt: Prompt | None = None
    workers: int = 4
    options: Options = field(
        default_factory=lambda: Options(temperature=0.0, max_tokens=MAX_TOKENS["short"], logprobs=0, stop=("\n",))
    )

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> list[float]:
        """From `LEAST_LOGPROB` to 0 each; NaN where a draft is empty or malformed.

        Raises:
            BadReply: all of them are.
            ConfigError: the model gives no log-probabilities.
        """
        return _each(lambda hits: self._likelihood(query, hits), combinations, self.workers)

    def _likelihood(self, query: str, hits: Combination) -> float:
        prompt = self.prompt or packaged_prompt("short")
        reply = self.llm(prompt.messages(query, [hit.chunk for hit in hits]), **self.options)
        if reply.logprobs is None:
            raise ConfigError(
                f"{reply.model or 'the model'} gives no log-probabilities, and drafts cannot be weighed",
                "use a server that gives them, such as the local model, or another utility",
            )
        if admission(reply.text, (prompt.phrase, *UNKNOWING)):
            return LEAST_LOGPROB
        said = [token.logprob for token in reply.logprobs if token.token]  # some servers list the end, without text
        if not said:
            raise BadReply("the log-probabilities are of no token")
        return max(LEAST_LOGPROB, min(0.0, fsum(said) / len(said)))


Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class CrossEncoder:
    """A Utility: a cross-encoder's score of the question and the joined text, CORAG's own reward.

    The order of a combination makes a difference.

    Args:
        scores: of pairs of a question and a text, as `sentence_transformers.CrossEncoder.predict` gives them.
    """

    scores: Callable[[Pairs], Sequence[float]]

    @classmethod
    def load(cls, model: str = "cross-encoder/ms-marco-MiniLM-L6-v2") -> CrossEncoder:
        """A model of sentence-transformers, which is no dependency: it is installed with torch, of some gigabytes.

        Raises:
            ConfigError: sentence-transformers is not installed.
        """
        try:
            import sentence_transformers  # type: ignore[import-not-found]  # not among the dependencies
        except ImportError:
            raise ConfigError(
                "a cross-encoder needs sentence-transformers, which is not installed",
                "pip install sentence-transformers, or use another utility",
            ) from None
        return cls(sentence_transformers.CrossEncoder(model).predict)

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> list[float]:
        """One batch of the model."""
        if not combinations:
            return []
        return [float(score) for score in self.scores([(query, joined(hits)) for hits in combinations])]


def _each(score: Callable[[Combination], float], combinations: Sequence[Combination], workers: int) -> list[float]:
    """The score of each, several at a time, in their order; NaN for a bad reply, which is raised if all are bad."""
    failures: list[BadReply] = []

    def scored(place: int) -> tuple[int, float]:
        try:
            return place, score(combinations[place])
        except BadReply as error:  # the span of the call says so
            failures.append(error)
            return place, nan

    scores = dict(map_threads(scored, range(len(combinations)), workers=workers))
    if failures and len(failures) == len(combinations):
        raise failures[0]
    return [scores[place] for place in range(len(combinations))]
