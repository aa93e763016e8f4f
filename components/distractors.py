"""Passages that mislead: how often a reader answers from one that does not hold the answer, instead of abstaining.

The distracting effect of a passage d for a question q is 1 - P(abstain | q, d). Passages that are both relevant in
looks and without the answer are ranked high by good retrievers and harm more than random ones do (arXiv:2410.05983,
section 3; arXiv:2505.15561).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from math import nan

from ragloom.components.answer_words import admission, normalise
from ragloom.components.reading import PromptReader
from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.errors import BadReply
from ragloom.run import span
from ragloom.types import Answer, Hit, Options

_content_words = Tokenizer()


@dataclass(frozen=True, slots=True)
class Distraction:
    """How much one passage alone makes a reader answer.

    Attributes:
        hit: the passage.
        effect: share of the samples that answer instead of abstaining; NaN where no reply could be used.
        answers: what those samples said, in their order.
    """

    hit: Hit
    effect: float
    answers: tuple[str, ...] = ()


def audit(
    question: str,
    hits: Sequence[Hit],
    reader: PromptReader,
    *,
    samples: int = 1,
    temperature: float = 0.7,
    golds: Collection[str] = (),
) -> list[Distraction]:
    """The distracting effect of each passage, one call to the model a sample, in the order of the hits.

    Each passage is read alone. A reply that says in other words that it does not know abstains, too. Distracting are
    only passages without the answer: where right answers are known, name them, or the effect of a passage that holds
    one says nothing against it. For a model that hardly ever abstains every passage is distracting, which says nothing
    about the passages; small local models are like that.

    Args:
        question: what is asked.
        hits: the passages.
        reader: its prompt tells the model how to abstain.
        samples: 1 for one reply by the reader's own options; more are drawn with seeds of their own.
        temperature: of several samples.
        golds: right answers; passages that hold one of them are left out.

    Raises:
        ValueError: samples below 1, or a temperature of several that is not above 0.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if samples > 1 and not temperature > 0:
        raise ValueError(f"the temperature of samples must be above 0, got {temperature}")
    readers = [reader]
    if samples > 1:
        drawn = [Options(temperature=temperature, seed=seed) for seed in range(samples)]
        readers = [replace(reader, options=reader.options | options) for options in drawn]
    return [_distraction(question, hit, readers) for hit in hits if not _holds(hit, golds)]


def _distraction(question: str, hit: Hit, readers: Sequence[PromptReader]) -> Distraction:
    replies = [answer for reader in readers if (answer := _read(reader, question, hit)) is not None]
    answers = tuple(reply.text for reply in replies if not (reply.abstained or admission(reply.text)))
    return Distraction(hit, len(answers) / len(replies) if replies else nan, answers)


def _read(reader: PromptReader, question: str, hit: Hit) -> Answer | None:
    """None for a reply that cannot be used; its span tells of the error."""
    try:
        return reader(question, [hit])
    except BadReply:
        return None


def _holds(hit: Hit, golds: Collection[str]) -> bool:
    text = f" {normalise(searchable(hit.chunk))} "
    return any(f" {words} " in text for gold in golds if (words := normalise(gold)))


@dataclass(frozen=True, kw_only=True)
class WithoutDistractors:
    """A Refiner that drops passages that make the reader answer although they have little to do with the question.

    Only passages of little support are read, so it costs `samples` calls for each of them. The order stays. Where all
    passages are distracting, the one with the most support stays, of equal ones the first. A span `distractors` counts
    what was read and dropped.

    Support is the share of the question's content words, stemmed, that the passage holds. In a chain of questions the
    last passage may hold the answer and few of these words, and would be dropped: keep `support` low there.

    Args:
        reader: see `audit`.
        effect: passages with an effect above it are distracting, from 0 to 1.
        support: passages with at least this share are kept unread, from 0 to 1.
        samples: see `audit`.
    """

    reader: PromptReader = field(kw_only=False)
    effect: float = 0.5
    support: float = 0.2
    samples: int = 1

    def __post_init__(self) -> None:
        for name in ("effect", "support"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits that stay."""
        with span("distractors") as attributes:
            supports = [support(query, hit) for hit in hits]
            doubtful = [place for place, share in enumerate(supports) if share < self.support]
            audited = audit(query, [hits[place] for place in doubtful], self.reader, samples=self.samples)
            dropped = {
                place for place, found in zip(doubtful, audited, strict=True) if found.effect > self.effect
            }  # an unknown effect drops nothing
            if hits and len(dropped) == len(hits):
                dropped.remove(max(dropped, key=lambda place: (supports[place], -place)))
            attributes |= {"read": len(doubtful), "dropped": len(dropped)}
            return [hit for place, hit in enumerate(hits) if place not in dropped]


def support(question: str, hit: Hit) -> float:
    """Share of the question's content words that the passage holds; 1 for a question without any."""
    asked = set(_content_words(question))
    return len(asked & set(_content_words(searchable(hit.chunk)))) / len(asked) if asked else 1.0
