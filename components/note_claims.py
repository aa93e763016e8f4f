"""What a note is made of: claims, each with the words of the passage that supports it.

Shared by the loop (`notes.py`) and by what writes notes: a model (`note_taking.py`) or rules (`extractive_notes.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ragloom.types import Hit


@dataclass(frozen=True, slots=True)
class Claim:
    """One fact of a note, with its support.

    Attributes:
        text: the fact, self-contained.
        chunk_id: the passage that supports it.
        start, end: character offsets of the supporting words in the passage's text.
        step: of the loop that added it, 0 for the first retrieval.
        conflicts: chunk ids of other passages that say otherwise; both sides stand in the note.
    """

    text: str
    chunk_id: str
    start: int
    end: int
    step: int = 0
    conflicts: tuple[str, ...] = ()


MOST_QUERIES = 2  # of a plan, as in Adaptive-Note

Note = tuple[Claim, ...]  # in the order in which the claims were added


@dataclass(frozen=True, slots=True)
class Draft:
    """A note as it was proposed.

    Attributes:
        note: the verified claims, those of the note it grew from included.
        unsupported: claims that were left out, since their words stand in no passage.
        failure: why nothing of the reply could be used, empty if it could; the note is then the one it grew from.
    """

    note: Note
    unsupported: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to search for next.

    Attributes:
        missing: facts that the note lacks; none where it is complete.
        queries: self-contained, at most `MOST_QUERIES`.
        complete: the note is said to hold all that the question needs.
        failure: why the reply could not be used, empty if it could.
    """

    missing: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    complete: bool = False
    failure: str = ""


class NoteTaker(Protocol):
    """Writes and reviews notes: the information collector and the memory reviewer of Adaptive-Note, section 2."""

    def begin(self, question: str, hits: Sequence[Hit], /) -> Draft:
        """The first note, from the first passages."""
        ...

    def plan(self, question: str, note: Note, asked: Sequence[str], /) -> Plan:
        """What the note lacks, and what to search for."""
        ...

    def refine(self, question: str, note: Note, hits: Sequence[Hit], step: int, /) -> Draft:
        """The note with what new passages add to it; no claim of it is lost."""
        ...

    def better(self, question: str, note: Note, candidate: Note, /) -> bool | None:
        """Whether the candidate serves the question better; None where no verdict could be had."""
        ...
