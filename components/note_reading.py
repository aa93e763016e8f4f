"""Reading a note: the question is answered from its claims, and from the passages where the note does not do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace

from ragloom.components.note_claims import Claim, Note
from ragloom.run import span
from ragloom.types import Answer, Chunk, Citation, Hit, Reader


@dataclass(frozen=True)
class NoteReader:
    """Answers from a note, with one call of a reader, or with two where the note does not do.

    The reader is given the claims' supporting words in the place of passages, under their passages' titles. Where its
    answer is an abstention or rests on no claim, or where the note is empty, it is given the first passages themselves,
    so that a note which lost something does not limit the answer (Adaptive-Note's generator never sees the passages).
    Of the two answers one that is none counts least, and one that rests on nothing counts less than one with citations;
    of equals the note's is kept.

    Each call is a span `read note`, with the number of `claims`, and which answer was `used`: `note` or `passages`.

    Args:
        reader: answers from hits; it says so itself where they do not hold the answer.
        passages: most that are read where the note does not do.
    """

    reader: Reader
    _: KW_ONLY
    passages: int = 5

    def __post_init__(self) -> None:
        if self.passages < 1:
            raise ValueError(f"passages must be at least 1, got {self.passages}")

    def __call__(self, question: str, note: Note, hits: Sequence[Hit], /) -> Answer:
        """The answer, with all the hits, and citations numbered by their places among them.

        Args:
            question: as asked.
            note: the claims.
            hits: the passages behind the note, best first.

        Raises:
            ValueError: there are no hits, or a claim's passage is not among them.
        """
        if not hits:
            raise ValueError("there are no passages to read")
        supports = list(_supports(note, hits))
        with span("read note", claims=len(note)) as attributes:
            answers = [self.reader(question, supports)] if supports else []
            if not (answers and _is_sure(answers[0])):
                answers.append(self.reader(question, hits[: self.passages]))
            best = max(answers, key=lambda answer: (not answer.abstained, bool(answer.citations)))
            attributes["used"] = "note" if supports and best is answers[0] else "passages"
        return replace(best, hits=tuple(hits), citations=_renumbered(best.citations, hits))


def _is_sure(answer: Answer) -> bool:
    """Whether an answer needs no second one. Yes and no stand in no passage, so they need no citation."""
    return not answer.abstained and (bool(answer.citations) or answer.text.casefold() in ("yes", "no"))


def _supports(note: Note, hits: Sequence[Hit]) -> Iterator[Hit]:
    """The supporting words of each claim as a passage of its own, which knows its place in the document."""
    by_id: Mapping[str, Hit] = {hit.chunk.id: hit for hit in hits}
    for claim in note:
        if claim.chunk_id not in by_id:
            raise ValueError(f"the passage {claim.chunk_id} of a claim is not among the hits")
        hit = by_id[claim.chunk_id]
        yield Hit(_cut(hit.chunk, claim), hit.score)


def _cut(chunk: Chunk, claim: Claim) -> Chunk:
    return replace(chunk, text=chunk.text[claim.start : claim.end], start=chunk.start + claim.start)


def _renumbered(citations: Sequence[Citation], hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """The citations with the places of their passages among the hits; two claims may come from one passage."""
    places = {hit.chunk.id: place for place, hit in enumerate(hits, 1)}
    found = (replace(citation, number=places[citation.chunk_id]) for citation in citations)
    return tuple(dict.fromkeys(found))
