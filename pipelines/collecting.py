"""Answers from notes: passages are collected while a note grows, and the question is answered from the note."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ragloom.components.note_claims import Note
from ragloom.components.note_reading import NoteReader
from ragloom.components.reading import check_question
from ragloom.graph.extraction import normalise
from ragloom.graph.naming import names
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.pipelines.question_answering import NOTHING_FOUND
from ragloom.run import Run, span
from ragloom.types import Answer, Chunk, Hit

if TYPE_CHECKING:
    from ragloom.components.collected import Notes

PLACES = 5  # that a passage moves up where it is named

Collector = Callable[[str], "Notes"]  # a NoteCollector, or any other function of its shape


@dataclass(frozen=True)
class CollectThenRead:
    """Collects passages and a note about them, and answers from the note.

    A question for which nothing is found is abstained from without asking the reader, as in RetrieveThenRead.

    Args:
        collector: finds passages and writes the note.
        reader: answers from the note, or from the passages where it does not do.
    """

    collector: Collector
    reader: NoteReader

    def __call__(self, question: str, /) -> Answer:
        """The answer, with its run record: spans `collect`, with how many passages were `found`, why it was the end
        (`stop`) and the spans of the collector in it, and the reader's. Its hits are in the order of `named_earlier`.
        """
        check_question(question)
        with Run() as run:
            with span("collect") as attributes:
                notes = self.collector(question)
                attributes |= {"found": len(notes.hits), "claims": len(notes.note), "stop": notes.stop}
            hits = named_earlier(question, notes.note, notes.hits)
            answer = self.reader(question, notes.note, hits) if hits else Answer(NOTHING_FOUND, abstained=True)
        return replace(answer, run=run.record())


@dataclass(frozen=True)
class CollectedPassages:
    """A Retriever of the passages behind a note, so that collecting is measured like any other retrieval.

    Args:
        collector: decides how many passages there are: where more hits are asked for, there are fewer.
    """

    collector: Collector

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """The first k passages in the order of `named_earlier`.

        Raises:
            ValueError: k below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        notes = self.collector(query)
        return named_earlier(query, notes.note, notes.hits)[:k]


def named_earlier(question: str, note: Note, hits: Sequence[Hit]) -> list[Hit]:
    """The hits in the order they were found, but for those that are named: they move up by five places.

    A passage is named where the question, or a claim of another passage, has its name: it is a link of the chain from
    the question to the answer. With five places, those of one retrieval, such passages of the first step overtake the
    others of their step, and those of the second step stand among them. With as many as there are, retrievals that know
    of names themselves, such as the graph's, lose more than others gain (`benchmarks/notes.py`). The score of a hit is
    1 / its rank: those of different searches are not comparable.
    """
    asked = f" {normalise(question)} "
    claims = [(claim.chunk_id, f" {normalise(claim.text)} ") for claim in note]

    def named(chunk: Chunk) -> bool:
        texts = [asked, *(text for chunk_id, text in claims if chunk_id != chunk.id)]
        return any(f" {name} " in text for name in names(chunk) for text in texts)

    places = [place - PLACES * named(hit.chunk) for place, hit in enumerate(hits)]
    order = sorted(range(len(hits)), key=places.__getitem__)
    return [Hit(hits[place].chunk, 1 / rank) for rank, place in enumerate(order, 1)]


def entities_by_rules(chunk: Chunk) -> tuple[str, ...]:
    """The names in a passage, for an ExtractiveNoteTaker."""
    return RuleExtractor()(chunk).entities
