"""What a collection with notes comes to: the note, the passages behind it, and what each step did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ragloom.components.note_claims import Claim, Note
from ragloom.types import Chunk, Hit, Usage

Stop = Literal[
    "",
    "max_steps",
    "no_growth",
    "no_new_passages",
    "no_new_queries",
    "passages_cap",
    "complete",
    "answer_stable",
    "nothing_found",
    "budget",
    "deadline",
]
Verdict = Literal["", "first", "better", "not better", "nothing added", "nothing new", "unreadable"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of a collection did; step 0 is the retrieval for the question itself.

    Attributes:
        queries: what was searched for; none where the plan ended the collection.
        missing: what the note lacked, by the plan.
        new: ids of the passages that were added.
        claims: how many the note gained.
        unsupported: claims that were left out, since their words stand in no passage.
        verdict: `first` of the first note; `better`: the new note was accepted; `not better`: the comparison said so;
            `nothing added`: no claims, or next to no new words, so that nothing was compared; `nothing new`: only
            passages that were known; `unreadable`: a reply could not be used; empty where no note was written.
        failure: what was wrong with a reply that could not be used.
        answer: the draft answer from the note, where drafts are made.
        stop: why it was the last, where the step itself says so.
    """

    queries: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    claims: int = 0
    unsupported: int = 0
    verdict: Verdict = ""
    failure: str = ""
    answer: str = ""
    stop: Stop = ""


@dataclass(frozen=True, slots=True)
class Notes:
    """A collection, under way or ended. `to_json` and `notes_from_json` take it to a file and back.

    Attributes:
        question: as asked.
        note: the best note.
        gaps: what it lacks, by the last plan.
        asked: all that was searched for after the question, in order.
        hits: all passages that were collected, in the order they were found. A score is a sum of 1 / (60 + rank).
        steps: what was done.
        stop: why it ended; empty while it goes on. After `budget` and `deadline` a step that was not finished left
            nothing, but the passages that the question found are there.
        usage: what it took; makes no difference to equality.
    """

    question: str
    note: Note = ()
    gaps: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    hits: tuple[Hit, ...] = ()
    steps: tuple[Step, ...] = ()
    stop: Stop = ""
    usage: Usage = field(default=Usage(), compare=False)


def notes_from_json(data: Mapping[str, Any]) -> Notes:
    """The notes that `ragloom.codec.to_json` made the data of.

    Raises:
        ValueError: it is not the JSON of notes.
    """
    try:
        return Notes(
            data["question"],
            tuple(Claim(**{**claim, "conflicts": tuple(claim["conflicts"])}) for claim in data["note"]),
            tuple(data["gaps"]),
            tuple(data["asked"]),
            tuple(Hit(Chunk(**hit["chunk"]), hit["score"]) for hit in data["hits"]),
            tuple(
                Step(**{**step, **{name: tuple(step[name]) for name in ("queries", "missing", "new")}})
                for step in data["steps"]
            ),
            data["stop"],
            Usage(**data["usage"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not the JSON of notes: {error!r}") from error
