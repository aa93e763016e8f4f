from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.llm import ScriptedLLM
from ragloom.components.note_claims import Claim
from ragloom.components.note_reading import NoteReader
from ragloom.components.reading import PromptReader, packaged_prompt
from ragloom.run import Run
from ragloom.types import Answer, Chunk, Citation, Document, Hit

UNKNOWN = packaged_prompt("short").phrase
ALBUMS = Document("albums", "Records of the coast. Low Tide is by Tamsin Orrell. It was loud. It sold well.")
PEOPLE = Document("people", "Tamsin Orrell was born in Penmarrow. She sings.")
DOCUMENTS = {document.id: document for document in (ALBUMS, PEOPLE)}
ALBUM = Chunk("album", ALBUMS.text[22:], "Low Tide", "albums", 1, start=22)
CELLIST = Chunk("cellist", PEOPLE.text, "Tamsin Orrell", "people")
HITS = [Hit(CELLIST, 0.5), Hit(ALBUM, 0.25)]
QUESTION = "Where was the musician of Low Tide born?"


def claim(chunk: Chunk, words: str) -> Claim:
    start = chunk.text.index(words)
    return Claim(f"{chunk.title}: {words}", chunk.id, start, start + len(words))


NOTE = (claim(ALBUM, "Low Tide is by Tamsin Orrell."), claim(CELLIST, "Tamsin Orrell was born in Penmarrow."))


def read(replies: Sequence[str], note: tuple[Claim, ...] = NOTE, **options: Any) -> tuple[Answer, dict[str, Any], int]:
    """The answer, the attributes of its span, and how many calls were made."""
    llm = ScriptedLLM(replies)
    with Run() as run:
        answer = NoteReader(PromptReader(llm), **options)(QUESTION, note, HITS)
    return answer, dict(run.record().spans[0].attributes), llm.calls


def cited(citation: Citation) -> str:
    return DOCUMENTS[citation.document_id].text[citation.start : citation.end]


# ---- From the note


def test_the_answer_comes_from_the_claims_with_one_call():
    answer, attributes, calls = read(["Penmarrow [2]"])
    assert answer.text == "Penmarrow"
    assert calls == 1
    assert attributes == {"claims": 2, "used": "note"}


def test_the_claims_supporting_words_are_shown_under_their_titles():
    shown: list[Hit] = []

    def reader(question: str, hits: Sequence[Hit], /) -> Answer:
        shown.extend(hits)
        return Answer("yes")

    NoteReader(reader)(QUESTION, NOTE, HITS)
    assert [(hit.chunk.title, hit.chunk.text) for hit in shown] == [
        ("Low Tide", "Low Tide is by Tamsin Orrell."),
        ("Tamsin Orrell", "Tamsin Orrell was born in Penmarrow."),
    ]


def test_citations_are_places_in_the_documents():
    answer, _, _ = read(["Penmarrow, of Tamsin Orrell [1][2]"])
    assert [cited(citation) for citation in answer.citations] == [
        "Low Tide is by Tamsin Orrell.",
        "Tamsin Orrell was born in Penmarrow.",
    ]
    answer, _, _ = read(["Penmarrow"])
    assert [(cited(citation), citation.by) for citation in answer.citations] == [("Penmarrow", "match")]


def test_citations_are_numbered_by_the_passages_of_the_answer():
    answer, _, _ = read(["Penmarrow [2][1]"])
    assert [answer.hits[citation.number - 1].chunk.id for citation in answer.citations] == ["cellist", "album"]
    assert list(answer.hits) == HITS


def test_a_place_that_two_claims_share_is_cited_once():
    answer, _, _ = read(["Penmarrow [1][2]"], (NOTE[1], NOTE[1]))
    assert [cited(citation) for citation in answer.citations] == ["Penmarrow"]


# ---- From the passages


def test_where_the_note_lacks_the_answer_the_passages_are_read():
    answer, attributes, calls = read([UNKNOWN, "it sold well [2]"], NOTE[:1])
    assert (answer.text, calls, attributes["used"]) == ("it sold well", 2, "passages")
    assert [cited(citation) for citation in answer.citations] == ["It sold well"]


def test_an_empty_note_is_not_read():
    answer, attributes, calls = read(["Penmarrow [1]"], ())
    assert (answer.text, calls, attributes) == ("Penmarrow", 1, {"claims": 0, "used": "passages"})


def test_an_answer_that_rests_on_no_claim_gives_way_to_one_with_citations():
    answer, attributes, calls = read(["Atlantis", "Penmarrow [1]"])
    assert (answer.text, calls, attributes["used"]) == ("Penmarrow", 2, "passages")


def test_an_answer_that_rests_on_no_claim_is_kept_where_the_passages_give_no_better_one():
    for other in (UNKNOWN, "Lyonesse"):
        answer, attributes, _ = read(["Atlantis", other])
        assert (answer.text, answer.citations, attributes["used"]) == ("Atlantis", (), "note")


def test_it_abstains_where_neither_the_note_nor_the_passages_hold_the_answer():
    answer, _, calls = read([UNKNOWN, UNKNOWN])
    assert (answer.abstained, answer.citations, calls) == (True, (), 2)
    assert list(answer.hits) == HITS


def test_yes_and_no_need_no_citation():
    llm = ScriptedLLM(["No"])
    assert NoteReader(PromptReader(llm, mode="yes-no"))(QUESTION, NOTE, HITS).text == "no"
    assert llm.calls == 1


def test_only_the_first_passages_are_read():
    given_hits: list[int] = []

    def reader(question: str, hits: Sequence[Hit], /) -> Answer:
        given_hits.append(len(hits))
        return Answer("unknown", abstained=True)

    NoteReader(reader, passages=1)(QUESTION, NOTE, HITS)
    assert given_hits == [2, 1]


# ---- Mistakes


def test_a_claim_of_a_passage_that_is_missing_is_refused():
    with pytest.raises(ValueError, match="the passage album of a claim is not among the hits"):
        NoteReader(PromptReader(ScriptedLLM([])))(QUESTION, NOTE, HITS[:1])


def test_there_must_be_something_to_read():
    with pytest.raises(ValueError, match="no passages"):
        NoteReader(PromptReader(ScriptedLLM([])))(QUESTION, (), ())
    with pytest.raises(ValueError, match="passages must be at least 1, got 0"):
        NoteReader(PromptReader(ScriptedLLM([])), passages=0)


# ---- Whatever the note


@given(
    st.lists(st.tuples(st.sampled_from(HITS), st.integers(0, 60), st.integers(1, 60)), min_size=1, max_size=6),
    st.lists(st.integers(0, 9), max_size=4),
)
def test_every_citation_lies_within_a_claim_of_its_passage(places: list[tuple[Hit, int, int]], numbers: list[int]):
    note = tuple(
        Claim(
            "",
            hit.chunk.id,
            start % len(hit.chunk.text),
            min(start % len(hit.chunk.text) + length, len(hit.chunk.text)),
        )
        for hit, start, length in places
    )
    reply = "Tamsin Orrell" + "".join(f" [{number}]" for number in numbers)
    answer = NoteReader(PromptReader(ScriptedLLM([reply, UNKNOWN])))(QUESTION, note, HITS)
    chunks = {hit.chunk.id: hit.chunk for hit in HITS}
    spans = {
        (claim.chunk_id, chunks[claim.chunk_id].start + claim.start, chunks[claim.chunk_id].start + claim.end)
        for claim in note
    }
    for citation in answer.citations:
        assert answer.hits[citation.number - 1].chunk.id == citation.chunk_id
        assert any(
            citation.chunk_id == chunk_id and start <= citation.start < citation.end <= end
            for chunk_id, start, end in spans
        )
