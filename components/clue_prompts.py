"""A memory and a task as a conversation whose beginning is the same for every task and question.

Servers keep what they have read of a prompt (LOCAL_MODELS: 9 tokens instead of 1,765 from the second question on), but
only up to the first byte that differs. So the memory stands before task and question, and nothing before it or in its
headings depends on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ragloom.components.memory import Memory, Recollection
from ragloom.components.prompting import Section, Template, fence, read_sections
from ragloom.errors import InputError
from ragloom.types import Message

Task = Literal["spans", "questions", "draft", "points"]

_FOLDER = Path(__file__).parent / "prompts"
_TURNS: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "example user": "user",
    "example assistant": "assistant",
}
_QUESTION_TOKENS = 256  # kept free for task and question, so that questions of any usual length get the same memory


@cache
def _sections(name: str) -> tuple[Section, ...]:
    return tuple(read_sections(_FOLDER / f"clue-{name}.txt", (*_TURNS, "memory", "task")))


@cache
def _opening() -> tuple[Message, ...]:
    turns = (section for section in _sections("memory") if section.name in _TURNS)
    return tuple(Message(role=_TURNS[section.name], content=section.text) for section in turns)


@cache
def _template(name: str) -> Template:
    """The section with slots of a prompt file, its last."""
    slot = "memory" if name == "memory" else "question"
    return Template.parse(_sections(name)[-1], required=(slot, "fence"))


@dataclass(frozen=True, slots=True)
class MemoryPrompt:
    """What of a memory is put to a model for one question.

    Attributes:
        question: as asked.
        recollection: of the memory.
        tag: marks headings; in the memory and the question it does not occur.
    """

    question: str
    recollection: Recollection
    tag: str

    @classmethod
    def of(
        cls,
        memory: Memory,
        question: str,
        *,
        memory_tokens: int,
        context_tokens: int | None,
        count_tokens: Callable[[str], int],
    ) -> MemoryPrompt:
        """The prompt for a question.

        Args:
            memory: what the model is to recall.
            question: as asked.
            memory_tokens: most of the memory in the prompt.
            context_tokens: most of the whole prompt, the reply not counted; None for no limit.
            count_tokens: how they are counted.

        Raises:
            InputError: the question leaves no room for a memory.
        """
        room = memory_tokens
        if context_tokens is not None:
            frame = sum(count_tokens(turn["content"]) for turn in (*_opening(), *_tail("spans", "", "0000")))
            asked = count_tokens(question)
            room = min(room, context_tokens - frame - max(asked, _QUESTION_TOKENS))
            if room < 1:
                raise InputError(
                    f"a prompt of {context_tokens:,} tokens has no room for a memory: its instructions take {frame:,}, "
                    f"question and task {max(asked, _QUESTION_TOKENS):,}",
                    "raise context_tokens" + (", or ask a shorter question" if asked > _QUESTION_TOKENS else ""),
                )
        recollection = memory.recall(question, context_tokens=room, count_tokens=count_tokens)
        return cls(question, recollection, _tag(memory, recollection.text, question))

    @property
    def instructions(self) -> str:
        """The words of the prompt that are neither memory nor question."""
        tasks: tuple[Task, ...] = ("spans", "questions", "draft", "points")
        own = [turn["content"] for turn in _opening()]
        return "\n".join(own + [turn["content"] for task in tasks for turn in _tail(task, "", self.tag)])

    @property
    def beginning(self) -> list[Message]:
        """What the conversations of all tasks and questions about it begin with; its last turn goes on."""
        memory = _template("memory").fill({"memory": self.recollection.text, "fence": self.tag})
        return [*_opening(), Message(role="user", content=memory)]

    @property
    def stops(self) -> tuple[str, ...]:
        """The headings by which base models go on with the prompt once they have answered."""
        headings = (_template(name).parts[0] for name in ("memory", "spans"))
        return tuple(f"\n{heading}" for heading in headings if isinstance(heading, str))

    def messages(self, task: Task) -> list[Message]:
        """The conversation; for all tasks and questions the same up to the question, where the recollection is."""
        *opening, memory = self.beginning
        (last,) = _tail(task, self.question, self.tag)
        return [*opening, Message(role="user", content=f"{memory['content']}\n\n{last['content']}")]


def _tail(task: Task, question: str, tag: str) -> tuple[Message]:
    return (Message(role="user", content=_template(task).fill({"question": question, "fence": tag})),)


def _tag(memory: Memory, recalled: str, question: str) -> str:
    """That of the memory's own headings; another one, at the price of the prefix, for a question that holds it."""
    tag = fence(text for entry in memory.entries for text in (entry.title, entry.text))
    return fence((recalled, question)) if tag in question else tag
