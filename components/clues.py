"""Clues: what the passages that answer a question probably say, to be searched for beside the question itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ragloom.components.memory import Memory


@dataclass(frozen=True, slots=True)
class Clue:
    """Words to search for.

    Attributes:
        text: the words.
        kind: a `span` recalled from the memory, a more specific `question`, the `draft` answer, or a `phrase` taken
            from entries of the memory without a model.
    """

    text: str
    kind: Literal["span", "question", "draft", "phrase"]


@dataclass(frozen=True, slots=True)
class Clues:
    """What a memory gave for a question.

    Attributes:
        clues: in the order they were made, no two alike, none of them the question; a draft that is searched for is the
            last one.
        draft: the answer from memory alone, unverified; empty where none was asked for or given.
    """

    clues: tuple[Clue, ...] = ()
    draft: str = ""


class ClueMaker(Protocol):
    """Makes clues for a question from a memory; none where the memory or the model gives nothing usable."""

    def __call__(self, query: str, memory: Memory, /) -> Clues:
        """The clues."""
        ...
