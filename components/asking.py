"""Signals that ask the model itself whether it needs passages.

Models judge themselves badly: asked about questions that all need retrieval, GPT-4 asked for it in 70 % of them,
TinyLlama in 39 % (arXiv:2402.16457). Calibrate what these signals say, and never take it at its word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from ragloom.components.answer_words import UNKNOWING, admission, bare
from ragloom.components.gating import Capability, Observation
from ragloom.components.llm import IdentifiedLLM, request_key
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import PromptReader, check_question
from ragloom.components.structured import complete_json
from ragloom.errors import BadReply, EmptyReply
from ragloom.types import Answer, Options


@cache
def gate_prompt(name: str, *, phrase: str = "abstain", slots: tuple[str, ...] = ()) -> Prompt:
    """The packaged prompt `gate-<name>.txt`."""
    return Prompt.load(Path(__file__).parent / "prompts" / f"gate-{name}.txt", phrase=phrase, slots=slots)


def asking_identity(llm: IdentifiedLLM, prompt: Prompt, options: Options, **values: str) -> str:
    """What replies to a prompt depend on besides the question: model, prompt and options.

    Args:
        llm: the model.
        prompt: known by its text, not by where its file lies.
        options: of the call.
        values: of the prompt's further slots.
    """
    return f"{llm.identity} {request_key(prompt.messages('', (), **values), options)} {prompt.phrase}"


def _cold() -> Options:
    return Options(temperature=0.0)


@dataclass(frozen=True, kw_only=True)
class AskMarker:
    """Lets the model answer or ask for help: `ask_marker` is 1 where it asks (Adapt-LLM, arXiv:2404.19705).

    It asks for help by the prompt's marker alone on the first line of its reply, with any spaces, quotes and
    punctuation around it; in a longer answer the marker means nothing. An empty reply, and one that says that the
    answer is not known, count as the marker too. The note says which of these rules fired: `marker`, `empty`, or
    `does not know` with the phrase. A short answer is handed on as that of mode `none`, so this takes one call.

    Unlike in the paper the model is not fine-tuned: it knows the marker from the prompt's examples.

    Args:
        llm: the model.
        prompt: instead of the packaged `gate-ask.txt`, which says how it is written;
            `Prompt.load(path, phrase="help")`.
        unknowing: phrases of a model that does not know; see `answer_words.admission`.
        options: of the call.
    """

    llm: IdentifiedLLM = field(kw_only=False)
    prompt: Prompt | None = None
    unknowing: tuple[str, ...] = UNKNOWING
    options: Options = field(default_factory=_cold)
    needs: ClassVar[frozenset[Capability]] = frozenset()
    features: ClassVar[tuple[str, ...]] = ("ask_marker",)

    @property
    def identity(self) -> str:
        """Model, prompt, options, and the phrases."""
        return f"{asking_identity(self.llm, self._prompt, self.options)} {'|'.join(self.unknowing)}"

    @property
    def _prompt(self) -> Prompt:
        return self.prompt or gate_prompt("ask", phrase="help")

    def __call__(self, question: str, /) -> Observation:
        """1 with the reason as a note, or 0 with the answer.

        Raises:
            BadReply: the reply is malformed in another way than being empty.
        """
        try:
            answer = PromptReader(self.llm, prompt=self._prompt, options=self.options)(question, ())
        except EmptyReply:
            return Observation({"ask_marker": 1.0}, note="empty")
        if reason := self._reason(answer.text):
            return Observation({"ask_marker": 1.0}, note=reason)
        # The reader takes the marker for an abstention wherever it stands.
        return Observation({"ask_marker": 0.0}, {"none": replace(answer, abstained=False)})

    def _reason(self, text: str) -> str:
        """The rule by which the reply asks for help; empty if none does."""
        if bare(text) == bare(self._prompt.phrase):
            return "marker"
        phrase = admission(text, self.unknowing)
        return f"does not know: {phrase}" if phrase else ""


@dataclass(frozen=True, kw_only=True)
class SelfAssessment:
    """Asks whether outside information is needed: `self_assessment` is 1 for yes, 0 for no (TA-ARE, arXiv:2402.16457).

    The prompt tells the date, so replies are kept for a day. One short call.

    Args:
        llm: the model.
        today: the date to tell; None for that of the call.
        prompt: instead of the packaged `gate-need.txt`, which says how it is written;
            `Prompt.load(path, phrase="need", slots=("today",))`.
        options: of the call.
    """

    llm: IdentifiedLLM = field(kw_only=False)
    today: date | None = None
    prompt: Prompt | None = None
    options: Options = field(default_factory=lambda: Options(temperature=0.0, max_tokens=16))
    needs: ClassVar[frozenset[Capability]] = frozenset()
    features: ClassVar[tuple[str, ...]] = ("self_assessment",)

    @property
    def identity(self) -> str:
        """Model, prompt, options, and the date where it was given: a gate outlives the day it was calibrated on."""
        today = self.today.isoformat() if self.today else ""
        return asking_identity(self.llm, self._prompt, self.options, today=today)

    @property
    def _prompt(self) -> Prompt:
        return self.prompt or gate_prompt("need", phrase="need", slots=("today",))

    def __call__(self, question: str, /) -> Observation:
        """1 or 0.

        Raises:
            BadReply: the reply is neither yes nor no.
        """
        check_question(question)
        today = self.today or datetime.now().astimezone().date()
        reply = self.llm(self._prompt.messages(question, (), today=today.isoformat()), **self.options)
        return Observation({"self_assessment": _yes_or_no(reply.text, self._prompt.phrase)})


def _yes_or_no(text: str, yes: str) -> float:
    """1 for yes, 0 for no: by the first word of the reply, or the only one of the two that it holds."""
    values = {"no": 0.0, yes.casefold(): 1.0}
    words = re.findall(r"\w+", text.casefold())
    said = {values[word] for word in words if word in values}
    if words[:1] and words[0] in values:
        return values[words[0]]
    if len(said) != 1:
        raise BadReply(f"the reply is neither {yes!r} nor 'no'", "use a larger model, or another signal")
    return said.pop()


_CONFIDENCE = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "confidence": {"type": "integer", "minimum": 0, "maximum": 100}},
    "required": ["answer", "confidence"],
    "additionalProperties": False,
}
_CONFIDENCE_READ: dict[str, Any] = {  # a half of a percent and a further field do no harm
    **_CONFIDENCE,
    "properties": {"answer": {"type": "string"}, "confidence": {"type": "number", "minimum": 0, "maximum": 100}},
    "additionalProperties": True,
}


@dataclass(frozen=True, kw_only=True)
class VerbalisedConfidence:
    """Asks for an answer and how sure it is, as JSON: `confidence_doubt` is 1 - confidence / 100.

    An answer that says that it is not known counts as full doubt, however sure of that the model is. The answer is
    handed on as that of mode `none`, unless it is empty. One call, and a second where the reply is not of the form.

    Args:
        llm: the model.
        prompt: instead of the packaged `gate-confidence.txt`, which says how it is written.
        unknowing: phrases of a model that does not know; see `answer_words.admission`.
        options: of the calls.
    """

    llm: IdentifiedLLM = field(kw_only=False)
    prompt: Prompt | None = None
    unknowing: tuple[str, ...] = UNKNOWING
    options: Options = field(default_factory=lambda: Options(temperature=0.0, max_tokens=96))
    needs: ClassVar[frozenset[Capability]] = frozenset()
    features: ClassVar[tuple[str, ...]] = ("confidence_doubt",)

    @property
    def identity(self) -> str:
        """Model, prompt, options, and the phrases."""
        asked = Options(schema=_CONFIDENCE) | self.options
        return f"{asking_identity(self.llm, self._prompt, asked)} {'|'.join(self.unknowing)}"

    @property
    def _prompt(self) -> Prompt:
        return self.prompt or gate_prompt("confidence")

    def __call__(self, question: str, /) -> Observation:
        """The doubt from 0 to 1, and the answer.

        Raises:
            BadReply: neither reply is of the form asked for.
        """
        check_question(question)
        said, _ = complete_json(
            self.llm,
            self._prompt.messages(question, ()),
            _CONFIDENCE,
            accepted=_CONFIDENCE_READ,
            **self.options,
        )
        text = " ".join(said["answer"].split())
        if not text:
            return Observation({"confidence_doubt": 1.0}, note="empty")
        if phrase := admission(text, (self._prompt.phrase, *self.unknowing)):
            answer = Answer(text, abstained=True)
            return Observation({"confidence_doubt": 1.0}, {"none": answer}, f"does not know: {phrase}")
        return Observation({"confidence_doubt": 1 - said["confidence"] / 100}, {"none": Answer(text)})
