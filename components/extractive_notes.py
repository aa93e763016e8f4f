"""Notes without a model: sentences are the claims, and what they name that the question does not is searched for next.

The loop of Adaptive-Note (arXiv:2410.08821) with its prompts replaced by rules. It costs no calls, and shows what the
loop is worth by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field

from ragloom.components.note_claims import MOST_QUERIES, Claim, Draft, Note, Plan
from ragloom.components.sentences import first_sentence
from ragloom.components.tokenizing import Tokenizer
from ragloom.types import Chunk, Hit

NAME_WEIGHT = 2.0  # of the words of a name: other words of a question stand in passages about anything


@dataclass(frozen=True)
class ExtractiveNoteTaker:
    """A NoteTaker whose claims are the sentences that fit the question best, each behind its passage's title.

    A sentence fits by the question's words in it and in its title, those within names twice, and up to twice as well
    the more of the title is among them. For later passages the names that the note leads to count like names of the
    question: what is said of them may hold the answer, and need not repeat a word of the question.

    A plan follows the names in the note's claims, those of the best fitting claims first, unless the question holds
    them, a claim is about them (they stand in its title), or a query has begun with them. Its queries are such a name
    with the question's words that neither it nor its claim covers.

    It never calls a note complete while a name is left to follow: rules cannot tell an answer from a step towards it.

    Args:
        entities: names in a passage, in its words.
        claims: most that are added at a time.
        words: what counts as the same word, and which words count.
    """

    entities: Callable[[Chunk], Iterable[str]]
    _: KW_ONLY
    claims: int = 6
    words: Tokenizer = field(default_factory=Tokenizer)

    def __post_init__(self) -> None:
        if self.claims < 1:
            raise ValueError(f"claims must be at least 1, got {self.claims}")

    def begin(self, question: str, hits: Sequence[Hit], /) -> Draft:
        """The sentences that fit best, best first; ties in the order of the hits and of their texts."""
        return self.refine(question, (), hits, 0)

    def refine(self, question: str, note: Note, hits: Sequence[Hit], step: int, /) -> Draft:
        """The note, and behind it the sentences of the hits that fit best; none is in it twice."""
        known = {claim.text for claim in note}
        found: dict[str, Claim] = {}
        for claim in (claim for hit in hits for claim in _claims(hit.chunk, step)):
            if claim.text not in known:
                found.setdefault(claim.text, claim)
        sought = " ".join([question, *(name for name, _ in self._leads(question, note).values())])
        fits = self._fits(sought, tuple(found.values()))
        best = sorted((pair for pair in zip(fits, found.values(), strict=True) if pair[0]), key=lambda pair: -pair[0])
        return Draft((*note, *(claim for _, claim in best[: self.claims])))

    def plan(self, question: str, note: Note, asked: Sequence[str], /) -> Plan:
        """Queries for the names that the note leads to, and the question's words that no claim has as what is missing.

        Args:
            question: as asked.
            note: of this taker: the title of a claim is what stands before its supporting words.
            asked: earlier queries.
        """
        covered = self._stems(" ".join(claim.text for claim in note))
        missing = tuple(self._beyond(question, covered))
        tried = [self.words(query) for query in asked]
        queries: list[str] = []
        for name, claim in self._leads(question, note).values():
            stems = self.words(name)
            if len(queries) == MOST_QUERIES:
                break
            if any(_begins(query, stems) for query in tried):
                continue
            query = " ".join([name, *self._beyond(question, self._stems(claim.text).union(stems))])
            tried.append(self.words(query))
            queries.append(query)
        return Plan(missing, tuple(queries), complete=not missing and not queries)

    def better(self, question: str, note: Note, candidate: Note, /) -> bool:
        """Whether the candidate has a word of the question that the note lacks, or leads elsewhere.

        It leads elsewhere where it has another name to follow, or is about one that the note only names.
        """
        asked, before, after = (
            self._stems(text)
            for text in (question, *(" ".join(claim.text for claim in claims) for claims in (note, candidate)))
        )
        ways, known = self._leads(question, candidate).keys(), self._leads(question, note).keys()
        return bool(asked & (after - before)) or ways != known

    def _stems(self, text: str) -> frozenset[str]:
        return frozenset(self.words(text))

    def _fits(self, sought: str, claims: Sequence[Claim]) -> list[float]:
        """How well each claim fits what is sought, from 0."""
        asked = self._stems(sought)
        named = self._stems(" ".join(self.entities(Chunk("", sought))))
        fits = []
        for claim in claims:
            title = self._stems(_parts(claim)[0])
            weight = sum(NAME_WEIGHT if word in named else 1.0 for word in asked & self._stems(claim.text))
            fits.append(weight * (1 + (len(title & asked) / len(title) if title else 0.0)))
        return fits

    def _leads(self, question: str, note: Note) -> dict[str, tuple[str, Claim]]:
        """Names to follow by their words, each as written in the best fitting claim that has it; best first."""
        asked = self._stems(question)
        titles = [self._stems(_parts(claim)[0]) for claim in note]
        leads: dict[str, tuple[str, Claim]] = {}
        for _, claim in sorted(zip(self._fits(question, note), note, strict=True), key=lambda pair: -pair[0]):
            for name in self.entities(Chunk("", _parts(claim)[1])):
                stems = self._stems(name)
                if stems and not stems <= asked and not any(stems <= title for title in titles):
                    leads.setdefault(" ".join(sorted(stems)), (name, claim))
        return leads

    def _beyond(self, question: str, covered: frozenset[str]) -> Iterator[str]:
        """The question's words that count and are not covered, as they are written, each once."""
        for word in dict.fromkeys(re.findall(r"\w+", question)):
            stems = self._stems(word)
            if stems and not stems <= covered:
                yield word


def _claims(chunk: Chunk, step: int) -> Iterator[Claim]:
    """The sentences of a passage as claims."""
    heading = f"{chunk.title}: " if chunk.title else ""
    for line in re.finditer(r".+", chunk.text):
        end = line.start()
        while sentence := first_sentence(chunk.text[end : line.end()]):
            start = chunk.text.index(sentence, end)
            end = start + len(sentence)
            yield Claim(heading + sentence, chunk.id, start, end, step)


def _parts(claim: Claim) -> tuple[str, str]:
    """The heading of a claim, empty where its passage has no title, and the sentence."""
    place = len(claim.text) - (claim.end - claim.start)
    return claim.text[:place], claim.text[place:]


def _begins(query: Sequence[str], name: Sequence[str]) -> bool:
    """Whether a query was about the name."""
    return list(query[: len(name)]) == list(name)
