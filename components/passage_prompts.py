"""A question and numbered passages as a conversation, after a prompt file that users can replace with their own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ragloom.components.prompting import Section, Template, fence, read_sections
from ragloom.errors import ConfigError, InputError
from ragloom.types import Chunk, Message

Role = Literal["system", "user", "assistant"]

_SECTIONS = ("system", "example user", "example assistant", "passage", "user")


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a question and its passages are put to a model.

    Attributes:
        opening: the system message and the examples.
        passage: how one passage is written; None for a prompt without passages.
        user: the last message.
        phrase: what the model is told to say in the one case that its reply is searched for.
        phrase_name: name of the section and of the slot that hold the phrase.
        source: the file.
    """

    opening: tuple[tuple[Role, Template], ...]
    passage: Template | None
    user: Template
    phrase: str
    phrase_name: str
    source: str

    @classmethod
    def load(cls, path: str | Path, *, phrase: str = "abstain", slots: Collection[str] = ()) -> Prompt:
        """The prompt of a file; `components/prompts/short.txt` is one, and says how they are written.

        Args:
            path: the file.
            phrase: name of the section and of the slot that hold the phrase.
            slots: those that the last message must have besides the question.

        Raises:
            ConfigError: names the file, the line and what is wrong there.
        """
        sections = read_sections(path, (*_SECTIONS, phrase))
        user = Template.parse(
            _only(sections, "user", path), required=("question", *slots), optional=("passages", "fence", phrase)
        )
        passage = None
        if "passages" in user.slots:
            section = _only(sections, "passage", path)
            passage = Template.parse(section, required=("number", "text"), optional=("title", "fence"))
        said = _only(sections, phrase, path)
        if not said.text.strip():
            raise said.error(f"'## {phrase}' is empty", "write the words that the model shall say")
        return cls(tuple(_opening(sections, phrase)), passage, user, said.text.strip(), phrase, str(path))

    def messages(self, question: str, passages: Sequence[Chunk], **values: str) -> list[Message]:
        """The conversation, passages numbered from 1. Question, passages and values stand in it unchanged.

        Args:
            question: as asked.
            passages: in the order in which they are numbered.
            values: for the further slots of the last message.
        """
        tag = fence([question, *values.values(), *(text for chunk in passages for text in (chunk.title, chunk.text))])
        values |= {self.phrase_name: self.phrase, "question": question, "fence": tag}
        if self.passage is not None:
            values["passages"] = "\n\n".join(
                self.passage.fill(values | {"number": str(number), "title": chunk.title, "text": chunk.text})
                for number, chunk in enumerate(passages, 1)
            )
        turns = (*self.opening, ("user", self.user))
        return [Message(role=role, content=template.fill(values)) for role, template in turns]

    def fitting(
        self,
        question: str,
        passages: Sequence[Chunk],
        *,
        context_tokens: int | None,
        count_tokens: Callable[[str], int],
        best_first: Sequence[int] | None = None,
        **values: str,
    ) -> int:
        """How many of the first passages fit into a prompt of that many tokens; all of them where it is None.

        Args:
            question: as asked.
            passages: in the order in which they would stand in the prompt.
            context_tokens: most of the whole conversation.
            count_tokens: how they are counted.
            best_first: places of the passages, from that which is given up last; None where the first is.
            values: for the further slots of the last message.

        Raises:
            InputError: not even the question fits.
            ConfigError: no passage fits.
        """
        if context_tokens is None:
            return len(passages)

        places = range(len(passages)) if best_first is None else best_first

        def size(shown: int) -> int:
            chunks = [passages[place] for place in sorted(places[:shown])]
            return sum(count_tokens(turn["content"]) for turn in self.messages(question, chunks, **values))

        number = bisect_right(range(len(passages) + 1), context_tokens, key=size) - 1
        if number < 0:
            raise InputError(
                f"the question of {len(question):,} characters makes a prompt of about {size(0):,} tokens, "
                f"more than the {context_tokens:,} allowed",
                "ask a shorter question, or raise context_tokens",
            )
        if passages and not number:
            raise ConfigError(
                f"no passage fits into {context_tokens:,} context tokens: with the first it takes {size(1):,}",
                "raise context_tokens, or index smaller chunks",
            )
        return number


def _only(sections: Sequence[Section], name: str, path: str | Path) -> Section:
    found = [section for section in sections if section.name == name]
    if not found:
        raise ConfigError(f"{path} has no section '## {name}'", "compare it with the packaged prompts")
    if len(found) > 1:
        raise found[1].error(f"a second '## {name}'", "keep one of them")
    return found[0]


def _opening(sections: Sequence[Section], phrase: str) -> Iterator[tuple[Role, Template]]:
    optional = ("fence", phrase)
    if any(section.name == "system" for section in sections):
        yield "system", Template.parse(_only(sections, "system", ""), optional=optional)
    examples = [section for section in sections if section.name.startswith("example")]
    for place, section in enumerate(examples):
        role: Role = "assistant" if place % 2 else "user"
        if section.name != f"example {role}":
            raise section.error(f"expected '## example {role}' here", "every example user has an example assistant")
        yield role, Template.parse(section, optional=optional)
    if len(examples) % 2:
        raise examples[-1].error("the last example has no answer", "add its '## example assistant'")
