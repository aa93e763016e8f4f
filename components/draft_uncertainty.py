"""How unsure a model's closed-book draft is, by the probabilities of its tokens (TARG, arXiv:2511.09803)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import ClassVar, Unpack

from ragloom.components.answer_words import admission
from ragloom.components.asking import asking_identity
from ragloom.components.capabilities import refuses_logprobs
from ragloom.components.gating import Capability, Observation, SignalMissing
from ragloom.components.llm import IdentifiedLLM
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import Mode, PromptReader, packaged_prompt
from ragloom.errors import RequestRefused
from ragloom.types import LLM, Message, Options, Reply, TokenLogprob

LEAST_LOGPROB = math.log(1e-9)  # a server may say -inf or -9999, which would drown every other token in a mean


@dataclass(frozen=True, kw_only=True)
class DraftUncertainty:
    """Drafts an answer without passages, and measures how unsure its tokens are. Higher is less sure, in all but words.

    - `draft_margin`: mean of 1 - (p1 - p2), the two likeliest tokens of each place; from 0 to 1. The one to start with
      for models tuned to instructions.
    - `draft_entropy`: mean entropy in nats of the alternatives that the server returned, and of all others as if they
      were one. So it is at most ln(returned + 1), and low again where hardly any mass is on those returned.
    - `draft_least`: -ln p of the least likely token that was chosen.
    - `draft_perplexity`: e to the mean of -ln p of the chosen tokens.
    - `draft_words`: how many words the draft has.
    - `draft_unsure`: 1 where the draft says that it does not know, else 0.

    The first four are of the tokens that the draft was read from: where a short answer is wanted, those of the first
    line of the reply. They are unknown where it has no tokens. Probabilities below 1e-9 count as 1e-9.

    The draft is the answer of `ClosedBook(PromptReader(llm, mode=..., prompt=...))`, word for word, and is handed on as
    that of mode `none`. A cache knows it as another call, because log-probabilities are asked for.

    Args:
        llm: a model that gives log-probabilities.
        mode: as in `PromptReader`.
        prompt: as in `PromptReader`.
        options: of the call. Five alternatives for each token, unless `logprobs` says otherwise.
    """

    llm: IdentifiedLLM = field(kw_only=False)
    mode: Mode = "short"
    prompt: Prompt | None = None
    options: Options = field(default_factory=lambda: Options(temperature=0.0))
    needs: ClassVar[frozenset[Capability]] = frozenset({"logprobs"})
    features: ClassVar[tuple[str, ...]] = (
        "draft_margin",
        "draft_entropy",
        "draft_least",
        "draft_perplexity",
        "draft_words",
        "draft_unsure",
    )

    @property
    def identity(self) -> str:
        """Model, mode, prompt and options."""
        prompt = self.prompt or packaged_prompt(self.mode, closed_book=True)
        return f"{self.mode} {asking_identity(self.llm, prompt, self._options)}"

    @property
    def _options(self) -> Options:
        return Options(logprobs=5) | self.options

    def __call__(self, question: str, /) -> Observation:
        """The measurements, and the draft as the answer of mode `none`.

        Raises:
            SignalMissing: the model gives no log-probabilities.
            BadReply: the draft is empty or malformed.
        """
        remembering = _Remembering(self.llm)
        reader = PromptReader(remembering, mode=self.mode, prompt=self.prompt, options=self._options)
        try:
            answer = reader(question, ())
        except RequestRefused as error:
            if not refuses_logprobs(error):
                raise
            raise _missing(self.llm.identity) from error
        reply = remembering.reply
        assert reply is not None  # noqa: S101 - for mypy: the reader asked
        if reply.logprobs is None:
            raise _missing(reply.model or self.llm.identity)
        tokens = _tokens(reply.logprobs, self.mode)
        unsure = answer.abstained or bool(admission(answer.text))
        said = {"draft_words": float(len(answer.text.split())), "draft_unsure": float(unsure)}
        return Observation({**uncertainty(tokens), **said}, {"none": answer}, "" if tokens else "no tokens")


class _Remembering:
    """An LLM that remembers its last reply, whose log-probabilities the reader does not pass on."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self.reply: Reply | None = None

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        self.reply = self._llm(messages, **options)
        return self.reply


def _missing(model: str) -> SignalMissing:
    return SignalMissing(
        f"{model} gives no log-probabilities, and the uncertainty of its drafts cannot be measured",
        "use a server that gives them, such as the local model, or another signal, such as samples",
    )


def _tokens(tokens: tuple[TokenLogprob, ...], mode: Mode) -> tuple[TokenLogprob, ...]:
    """Those that the draft was read from. The mark of the end has no text, and only some servers list it."""
    if tokens and not tokens[-1].token:
        tokens = tokens[:-1]
    return tokens if mode == "long" else tuple(_first_line(tokens))


def _first_line(tokens: Sequence[TokenLogprob]) -> Iterator[TokenLogprob]:
    """The tokens of the first line that is not blank: what stands after it is no part of the answer."""
    begun = False
    for token in tokens:
        line, end, _ = (token.token if begun else token.token.lstrip()).partition("\n")
        if line.strip() or (begun and not end):
            begun = True
            yield token
        if begun and end:
            return


# ---- From log-probabilities to numbers


def uncertainty(tokens: Sequence[TokenLogprob]) -> Mapping[str, float]:
    """`draft_margin`, `draft_entropy`, `draft_least` and `draft_perplexity` of tokens; NaN where there are none."""
    names = ("draft_margin", "draft_entropy", "draft_least", "draft_perplexity")
    if not tokens:
        return dict.fromkeys(names, nan)
    surprises = [-_clipped(token.logprob) for token in tokens]
    shares = [_probabilities(token) for token in tokens]
    numbers = (
        _mean([_margin(known) for known in shares]),
        _mean([_entropy(known) for known in shares]),
        max(surprises),
        math.exp(_mean(surprises)),
    )
    return dict(zip(names, numbers, strict=True))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _clipped(logprob: float) -> float:
    return min(max(logprob, LEAST_LOGPROB), 0.0)


def _probabilities(token: TokenLogprob) -> list[float]:
    """Probabilities of the alternatives at a token's place, the chosen one among them, from the highest.

    They are scaled down where a server rounds so that they exceed 1 together.
    """
    logprobs = [logprob for _, logprob in token.alternatives]
    if all(text != token.token for text, _ in token.alternatives):
        logprobs.append(token.logprob)
    known = sorted((math.exp(_clipped(logprob)) for logprob in logprobs), reverse=True)
    total = max(1.0, math.fsum(known))
    return [probability / total for probability in known]


def _margin(known: Sequence[float]) -> float:
    """1 - (p1 - p2). Where a single alternative is known, the others together stand for the second, at most p1."""
    first = known[0]
    second = known[1] if len(known) > 1 else min(first, 1 - first)
    return 1 - (first - second)


def _entropy(known: Sequence[float]) -> float:
    """Entropy in nats of the known alternatives and one more, which has the mass that is left over."""
    shares = (*known, max(0.0, 1 - math.fsum(known)))
    return math.fsum(-share * math.log(share) for share in shares if share > 0)
