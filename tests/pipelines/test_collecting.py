from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.bm25 import BM25
from ragloom.components.collected import Notes
from ragloom.components.extractive_notes import ExtractiveNoteTaker
from ragloom.components.llm import ScriptedLLM
from ragloom.components.note_claims import Claim
from ragloom.components.note_reading import NoteReader
from ragloom.components.notes import NoteCollector
from ragloom.components.reading import PromptReader, packaged_prompt
from ragloom.errors import InputError
from ragloom.pipelines.collecting import CollectedPassages, CollectThenRead, entities_by_rules, named_earlier
from ragloom.pipelines.question_answering import NOTHING_FOUND
from ragloom.types import Answer, Chunk, Hit, RunRecord

UNKNOWN = packaged_prompt("short").phrase
ALBUM = Chunk("album", "A record of the nineties. Its songs are by Tamsin Orrell.", "Low Tide", "d-album")
CELLIST = Chunk("cellist", "A cellist. She was born in Penmarrow.", "Tamsin Orrell", "d-cellist", start=40)
VILLAGE = Chunk("village", "A village on Kerrin Island.", "Penmarrow", "d-village")
OTHERS = [Chunk(f"other {n}", f"Number {n} is a number.", f"Number {n}") for n in range(5)]
QUESTION = "On which island is the village of the musician of Low Tide?"

BM = BM25([ALBUM, CELLIST, VILLAGE, *OTHERS])


def collector(**options: Any) -> NoteCollector:
    return NoteCollector(ExtractiveNoteTaker(entities_by_rules), BM, **({"k": 1} | options))


def answered(replies: Sequence[str], question: str = QUESTION, **options: Any) -> tuple[Answer, ScriptedLLM]:
    llm = ScriptedLLM(replies)
    return CollectThenRead(collector(**options), NoteReader(PromptReader(llm)))(question), llm


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.id for hit in hits]


def steps(run: RunRecord) -> list[str]:
    return [span.name for span in run.spans]


# ---- Collected and read


def test_each_passage_leads_to_the_next_without_a_model():
    question = "Where does the musician of Low Tide come from?"
    assert ids(BM(question, 5)) == ["album"]  # one retrieval finds the first fact only
    answer, llm = answered(["Penmarrow [2]"], question)
    assert ids(answer.hits) == ["album", "cellist"]
    assert (answer.text, llm.calls) == ("Penmarrow", 1)


def test_citations_point_at_the_claim_in_the_document():
    answer, _ = answered(["born there [3]"], "Where was the musician of Low Tide born?")
    document = " " * CELLIST.start + CELLIST.text
    assert [document[citation.start : citation.end] for citation in answer.citations] == ["She was born in Penmarrow."]
    assert [answer.hits[citation.number - 1].chunk for citation in answer.citations] == [CELLIST]


def test_where_the_note_does_not_do_the_passages_are_read():
    answer, llm = answered([UNKNOWN, "the nineties [1]"], "When was Low Tide recorded?")
    assert (answer.text, llm.calls) == ("the nineties", 2)
    assert [citation.chunk_id for citation in answer.citations] == ["album"]


def test_nothing_found_is_an_abstention_without_a_call():
    answer, llm = answered([], "Qqq?")
    assert (answer.text, answer.abstained, answer.hits, llm.calls) == (NOTHING_FOUND, True, (), 0)
    (collected,) = (span for span in answer.run.spans if span.name == "collect")
    assert collected.attributes == {"found": 0, "claims": 0, "stop": "nothing_found"}


def test_the_run_says_what_was_collected_and_read():
    answer, _ = answered(["Penmarrow [2]"], "Where was the musician of Low Tide born?")
    spans = {span.name: dict(span.attributes) for span in answer.run.spans}
    assert spans["collect"]["found"] == 2
    assert spans["collect"]["stop"]
    assert spans["read note"]["used"] == "note"
    assert answer.run.usage.calls == 1


def test_an_empty_question_is_refused():
    with pytest.raises(InputError, match="the question is empty"):
        answered([], " ")


# ---- As a retriever


def test_collected_passages_are_a_retriever():
    hits = CollectedPassages(collector())("Where was the musician of Low Tide born?", 5)
    assert [(hit.chunk.id, hit.score) for hit in hits] == [("album", 1.0), ("cellist", 0.5)]
    assert ids(CollectedPassages(collector())("Where was the musician of Low Tide born?", 1)) == ["album"]


def test_a_retriever_gives_at_least_one_hit():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        CollectedPassages(collector())("q", 0)


# ---- The order


def claim(chunk: Chunk, text: str) -> Claim:
    return Claim(text, chunk.id, 0, len(text))


def hits(*chunks: Chunk) -> list[Hit]:
    return [Hit(chunk, 1.0) for chunk in chunks]


def test_passages_that_the_question_or_a_claim_names_move_up_by_five():
    found = hits(*OTHERS, OTHERS[0], OTHERS[1], ALBUM, CELLIST)  # places 7 and 8
    note = (claim(ALBUM, "Low Tide: Its songs are by Tamsin Orrell."),)
    assert (
        ids(named_earlier("Who made low tide?", note, found)).index("album") == 3
    )  # behind place 2, as it stood there
    assert ids(named_earlier("Who made low tide?", note, found)).index("cellist") == 5
    assert ids(named_earlier("Who made it?", note, found))[-1] == "album"


def test_a_passage_that_is_named_overtakes_those_of_its_step():
    note = (claim(ALBUM, "Low Tide: Its songs are by Tamsin Orrell."),)
    found = hits(OTHERS[0], ALBUM, OTHERS[1], CELLIST)
    assert ids(named_earlier("Who made low tide?", note, found)) == ["album", "cellist", "other 0", "other 1"]


def test_a_passage_is_not_named_by_its_own_claim():
    note = (claim(CELLIST, "Tamsin Orrell: A cellist."),)
    assert ids(named_earlier("q", note, hits(ALBUM, CELLIST))) == ["album", "cellist"]


def test_a_name_is_whole_words():
    assert ids(named_earlier("Does the tidelow tides end?", (), hits(OTHERS[0], ALBUM))) == ["other 0", "album"]


@given(st.permutations([ALBUM, CELLIST, VILLAGE, *OTHERS]), st.text(max_size=20), st.data())
def test_the_order_is_a_permutation_and_keeps_the_order_of_both_parts(
    chunks: list[Chunk], question: str, data: st.DataObject
):
    texts = [f"{chunk.title} and {other.title}" for chunk in chunks[:3] for other in chunks[:3]]
    chosen = data.draw(st.lists(st.tuples(st.sampled_from(chunks), st.sampled_from(texts)), max_size=4))
    ordered = named_earlier(question, tuple(claim(chunk, text) for chunk, text in chosen), hits(*chunks))
    places = [chunks.index(hit.chunk) for hit in ordered]
    assert sorted(places) == list(range(len(chunks)))
    assert sum(later < earlier for earlier, later in pairwise(places)) <= 1


# ---- Whatever the question


@given(
    st.lists(st.sampled_from(["Low Tide", "Tamsin", "Orrell", "Penmarrow", "cellist", "number", "3", "?"]), min_size=1)
)
def test_no_passage_is_collected_twice_and_none_beyond_the_most(words: list[str]):
    notes: Notes = collector(k=2, most_passages=3)(" ".join(words))
    assert len(notes.hits) <= 3
    assert len(set(ids(notes.hits))) == len(notes.hits)
    found = CollectedPassages(collector(k=2, most_passages=3))(" ".join(words), 10)
    assert sorted(ids(found)) == sorted(ids(notes.hits))
