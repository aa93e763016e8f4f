"""Entities and triples by a language model: first what a passage names, then what it states (HippoRAG, section 2.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ragloom.components.completions import estimate_tokens
from ragloom.components.llm import IdentifiedLLM
from ragloom.components.prompting import Template, fence, read_sections
from ragloom.components.structured import complete_json
from ragloom.components.tokenizing import searchable
from ragloom.graph.extraction import Extraction, extraction_of, normalise
from ragloom.run import span
from ragloom.types import Chunk, Message, Options, content_id

_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "example user": "user",
    "example assistant": "assistant",
    "user": "user",
}


@dataclass(frozen=True, kw_only=True)
class LLMExtractor:
    """Asks a model twice about each chunk: for its named entities, and then, given these, for its triples.

    Unlike the paper, what the passage does not hold is dropped: entities that do not occur in it, and triples of which
    neither end does. Small models make names up: of 425 entities and triples by SmolLM2 on 50 passages of MuSiQue, 205
    go, malformed ones included. Of GPT-3.5's there, 0.3 % of the entities and 0.06 % of the triples would.

    Each chunk is a span `extract`, with the numbers of entities, triples, and those dropped.

    A reply may be longer than any that GPT-3.5 gave there to a passage of its length; one that is cut off counts for
    what can be read of it.

    Args:
        llm: the model.
        options: of the calls. `max_tokens` makes room for models that think before they reply. SmolLM2 repeats itself
            until a reply is cut off, unless it is told `extra={"frequency_penalty": 0.5}`.
    """

    llm: IdentifiedLLM = field(kw_only=False)
    options: Options = field(default_factory=lambda: Options(temperature=0.0))

    @property
    def identity(self) -> str:
        """Model, options, and a hash of the prompts and schemas."""
        options = json.dumps(self.options, sort_keys=True, default=list)
        return f"llm {self.llm.identity} {options} {_prompts_id()}"

    def __call__(self, chunk: Chunk, /) -> Extraction:
        """What the model finds in the chunk; nothing, unasked, in one without a word.

        Raises:
            BadReply: a reply was malformed, and so was the second try.
            LLMError: the model could not be asked.
        """
        passage = searchable(chunk)
        if not normalise(passage):
            return Extraction()
        with span("extract") as attributes:
            named = _from_passage(extraction_of(self._ask("entities", passage), []), passage)
            entities = json.dumps(named.entities, ensure_ascii=False)
            stated = _from_passage(extraction_of([], self._ask("triples", passage, entities=entities)), passage)
            found = Extraction(named.entities, stated.triples, named.dropped + stated.dropped)
            attributes |= {"entities": len(found.entities), "triples": len(found.triples), "dropped": found.dropped}
        return found

    def _ask(self, what: str, passage: str, **values: str) -> list[Any]:
        prompt = _prompt(what, "passage", "fence", *values)
        values |= {"passage": passage, "fence": fence([passage, *values.values()])}
        messages = [Message(role=role, content=template.fill(values)) for role, template in prompt]
        limit = _TOKENS[what] * (estimate_tokens(passage) + 64)
        options = Options(max_tokens=limit) | self.options
        reply, _ = complete_json(self.llm, messages, _SCHEMAS[what], accepted=_ACCEPTED[what], **options)
        found: list[Any] = reply[what]
        return found


def _schema(what: str, items: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {what: {"type": "array", "items": items}},
        "required": [what],
        "additionalProperties": False,
    }


_TOKENS = {"entities": 1, "triples": 4}  # of a reply, for each token of the passage
_TEXT = {"type": "string"}
_SCHEMAS = {
    "entities": _schema("entities", _TEXT),
    "triples": _schema("triples", {"type": "array", "items": _TEXT, "minItems": 3, "maxItems": 3}),
}
# What is read is more than what is asked for: a triple of four parts costs that triple, not the reply.
_ACCEPTED = {what: {"type": "object", "properties": {what: {"type": "array"}}, "required": [what]} for what in _SCHEMAS}


def _from_passage(found: Extraction, passage: str) -> Extraction:
    """What the passage can have said, each once; models that ramble repeat themselves."""
    words = f" {normalise(passage)} "
    entities = [entity for entity in found.entities if _occurs(entity, words)]
    triples = [triple for triple in found.triples if _occurs(triple.subject, words) or _occurs(triple.object, words)]
    dropped = len(found.entities) - len(entities) + len(found.triples) - len(triples)
    return Extraction(tuple(dict.fromkeys(entities)), tuple(dict.fromkeys(triples)), found.dropped + dropped)


def _occurs(phrase: str, words: str) -> bool:
    return f" {normalise(phrase)} " in words


@cache
def _prompt(what: str, *slots: str) -> Sequence[tuple[Literal["system", "user", "assistant"], Template]]:
    """The turns of a packaged prompt."""
    sections = read_sections(Path(__file__).parent / "prompts" / f"{what}.txt", _ROLES)
    return [
        (_ROLES[section.name], Template.parse(section, required=slots if section.name == "user" else ()))
        for section in sections
    ]


@cache
def _prompts_id() -> str:
    folder = Path(__file__).parent / "prompts"
    texts = [(folder / f"{what}.txt").read_text(encoding="utf-8") for what in _SCHEMAS]
    return content_id(*texts, json.dumps(_SCHEMAS))[:16]
