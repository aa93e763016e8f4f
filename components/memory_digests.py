"""Entries of a memory by a model: a dense digest of some passages, and what of its reply can be kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from ragloom.components.llm import IdentifiedLLM, request_key
from ragloom.components.memory_groups import Group
from ragloom.components.prompting import Template, fence, read_sections
from ragloom.components.sentences import sentences
from ragloom.components.tokenizing import Tokenizer
from ragloom.errors import BadReply
from ragloom.run import span
from ragloom.types import Message, Options

_LEAST_WORDS = 4  # of a digest
_SUPPORTED = 0.5  # least share of the words of a sentence that stand in the passages
_WARM = 0.7  # temperature after a reply that is of no use; MemoRAG's repetition penalty is not known to every server
_LOOP = re.compile(r"(\S.{6,300}?)(?:\s*\1){2,}", re.DOTALL)
_MARK = re.compile(r"^\s*(?:[-*\u2022#>]+|\d+[.)]|\[\d+\])\s+")
_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "example user": "user",
    "example assistant": "assistant",
    "user": "user",
}


@dataclass(frozen=True)
class LLMWriter:
    """A Writer that asks a model for a digest with the names, numbers and dates of the passages.

    Of a reply it keeps the sentences that come from the passages: at least half of the words of each must stand there,
    which leaves out talk, the prompt's example, and most of what small models make up. A sentence that was said before
    is left out, of a run of words that repeats itself one is kept, and of a reply that was cut off the whole sentences.
    Where less than four words are left, the reply is of no use; the next try is at a temperature above 0.

    Each try is a span `write entry`, with the characters of the reply and those `kept`.

    Args:
        llm: the model.
        entry_tokens: longest reply; `max_tokens` in the options makes room for models that think first.
        tries: calls for an entry at most.
        options: of the calls.
    """

    llm: IdentifiedLLM
    entry_tokens: int = 256
    _: KW_ONLY
    tries: int = 2
    options: Options = field(default_factory=lambda: Options(temperature=0.0))

    def __post_init__(self) -> None:
        for name in ("entry_tokens", "tries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def identity(self) -> str:
        """Model, prompt and options."""
        return f"{self.llm.identity} {request_key(_messages(()), self._options(0))}"

    def __call__(self, passages: Group, /) -> str:
        """The digest.

        Raises:
            BadReply: no try gave one that can be used.
            LLMError: the model could not be asked.
        """
        for number in range(self.tries):
            with span("write entry", passages=len(passages), number=number) as attributes:
                reply = self.llm(_messages(passages), **self._options(number))
                text = read_digest(reply.text, passages, cut_off=reply.finish == "length")
                attributes |= {"characters": len(reply.text), "kept": len(text)}
                if text:
                    return text
        raise BadReply(f"none of {self.tries} replies says anything of the passages", "use a larger model for memory")

    def _options(self, number: int) -> Options:
        asked = Options(max_tokens=self.entry_tokens) | self.options
        return asked if number == 0 else asked | Options(temperature=_WARM, seed=asked.get("seed", 0) + number)


def read_digest(reply: str, passages: Group, *, cut_off: bool = False) -> str:
    """What of a reply can be kept; empty where that is nothing of use.

    >>> read_digest("Sure!\\n- Ada built the mill. Ada built the mill.", [Passage("", "The mill was built by Ada.")])
    'Ada built the mill.'
    """
    words = Tokenizer(stop_words=False)
    said = {word for passage in passages for word in words(f"{passage.title} {passage.text}")}
    kept: dict[str, str] = {}
    written = list(sentences("\n".join(_MARK.sub("", line) for line in _LOOP.sub(r"\1", reply).splitlines())))
    for sentence in written[:-1] if cut_off and len(written) > 1 else written:
        found = words(sentence)
        if found and sum(word in said for word in found) >= _SUPPORTED * len(found):
            kept.setdefault(" ".join(found), sentence)
    text = " ".join(kept.values())
    return text if len(words(text)) >= _LEAST_WORDS else ""


def _messages(passages: Group) -> list[Message]:
    """The prompt; what passages say stands in it unchanged, below headings that end in a tag they do not hold."""
    prompt = _prompt()
    tag = fence(text for passage in passages for text in passage)
    shown = "\n\n".join(
        prompt["passage"].fill({"number": str(number), "title": " ".join(title.split()), "text": text, "fence": tag})
        for number, (title, text) in enumerate(passages, 1)
    )
    values = {"passages": shown, "fence": tag}
    return [Message(role=_ROLES[name], content=prompt[name].fill(values)) for name in _ROLES]


@cache
def _prompt() -> Mapping[str, Template]:
    sections = read_sections(Path(__file__).parent / "prompts" / "memory-gist.txt", (*_ROLES, "passage"))
    slots = {"passage": ("number", "title", "text", "fence"), "user": ("passages", "fence")}
    return {section.name: Template.parse(section, required=slots.get(section.name, ())) for section in sections}
