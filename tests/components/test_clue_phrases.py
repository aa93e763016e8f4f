from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.bm25 import BM25
from ragloom.components.clue_phrases import PhraseClues, capitalised_runs
from ragloom.components.clue_retrieval import ClueRetriever
from ragloom.components.memory import Entry, Memory
from ragloom.run import Run
from ragloom.types import Chunk

MEMORY = Memory(
    "extractive",
    (
        Entry("Low Tide", "Low Tide is an album of sea songs by the cellist Tamsin Orrell. It was loved.", ("album",)),
        Entry("Orrell family", "The cellist grew up in Penmarrow.", ("family",)),
        Entry("Otters", "Otters eat fish. They are loved.", ("otters",)),
    ),
    "rules",
)
QUESTION = "Which river flows past the home of the musician behind the sea songs of Low Tide?"


def phrases(question: str = QUESTION, memory: Memory = MEMORY, **options: Any) -> list[str]:
    return [clue.text for clue in PhraseClues(**{"query": "phrase", **options})(question, memory).clues]


def test_names_that_the_question_lacks_come_first():
    assert phrases(entries=1, most=2) == ["Tamsin Orrell", "album"]
    assert phrases(entries=1, phrase_words=0) == ["Tamsin Orrell"]


def test_what_the_question_holds_is_no_clue():
    assert not {"Low Tide", "sea songs", "songs"} & set(phrases(most=50))


def test_a_title_is_a_name():
    assert phrases("In what family did the cellist grow up?", phrase_words=0)[:2] == ["Penmarrow", "Orrell family"]
    assert "Otters" in phrases("What eats fish?", entries=1)


def test_words_of_a_clue_are_not_searched_for_again():
    found = phrases(entries=1, most=50, phrase_words=3)
    assert "Tamsin Orrell" in found
    assert not {"Tamsin", "Orrell"} & set(found)


def test_the_question_can_stand_behind_the_phrase():
    assert phrases(entries=1, most=1, query="phrase and question") == [f"Tamsin Orrell {QUESTION}"]


def test_what_all_entries_have_counts_less_than_what_one_has():
    many = tuple(Entry("", f"common word{n}", (str(n),)) for n in range(5))
    memory = Memory("extractive", (*many, Entry("", "target common rare", ("x",))), "rules")
    assert phrases("target", memory, phrase_words=1) == ["rare", "common"]


def test_a_question_that_no_entry_shares_a_word_with_has_no_clues():
    assert phrases("Quantum chromodynamics?") == []
    assert phrases("") == []
    assert phrases(memory=Memory("extractive", (), "rules")) == []


def test_clues_follow_the_memory_they_are_asked_for():
    maker = PhraseClues(entries=1, phrase_words=0, query="phrase")
    other = Memory("extractive", (Entry("", "The sea songs of Mina Varn are old.", ("a",)),), "rules")
    assert [maker(QUESTION, memory).clues[0].text for memory in (MEMORY, other, MEMORY)] == [
        "Tamsin Orrell",
        "Mina Varn",
        "Tamsin Orrell",
    ]


def test_the_passage_behind_a_hidden_name_is_found_without_a_model():
    chunks = [
        Chunk("album", "Low Tide has sea songs. Tamsin Orrell plays on it.", "Low Tide"),
        Chunk("cellist", "Tamsin Orrell grew up beside the Varn.", "Tamsin Orrell"),
        *(Chunk(str(n), f"Number {n} is a number.") for n in range(5)),
    ]
    question = "What runs past the house of whoever sang the sea songs?"
    assert [hit.chunk.id for hit in BM25(chunks)(question, 5)] == ["album"]
    retriever = ClueRetriever(MEMORY, BM25(chunks), PhraseClues())
    with Run() as run:
        assert {hit.chunk.id for hit in retriever(question, 2)} == {"album", "cellist"}
    assert run.spent.calls == 0
    (span,) = (span for span in run.record().spans if span.name == "phrases")
    assert span.attributes["kept"] > 0


@given(st.lists(st.text(max_size=60), max_size=4), st.text(max_size=40), st.integers(1, 4), st.integers(0, 3))
def test_any_memory_gives_the_same_clues_twice_and_no_more_than_asked_for(
    texts: list[str], question: str, most: int, phrase_words: int
):
    memory = Memory("extractive", tuple(Entry("", text, (text,)) for text in texts), "rules")
    first, second = (phrases(question, memory, most=most, phrase_words=phrase_words) for _ in range(2))
    assert first == second
    assert len(first) == len(set(first)) <= most


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("In 1944 Phoebe Atwood Taylor wrote it.", ["Phoebe Atwood Taylor"]),
        ("She met Ann. Bob came later, and Cid.", ["Ann", "Cid"]),
        ("He wrote \"Dead Ernest\" and O'Hara's Choice.", ["Dead Ernest", "O'Hara's Choice"]),
        ("Water flows.", []),
        ("", []),
    ],
)
def test_runs_of_capitalised_words_are_names(text: str, runs: list[str]):
    assert list(capitalised_runs(text)) == runs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entries": 0}, "entries must be at least 1, got 0"),
        ({"most": 0}, "most must be at least 1, got 0"),
        ({"phrase_words": -1}, "phrase_words must be at least 0, got -1"),
        ({"query": "both"}, "query must be 'phrase' or 'phrase and question', got 'both'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        PhraseClues(**options)


def test_names_come_from_the_sentences_that_fit_not_from_all_of_an_entry():
    text = "Varn Bridge: Nils Berg built it. Mina Varn sang sea songs there.\nOtters: They eat fish from Lake Orm."
    memory = Memory("extractive", (Entry("Varn Bridge; Otters", text, ("a", "b")),), "rules")
    assert phrases("Who sang the sea songs?", memory, sentences=1, phrase_words=0) == ["Varn Bridge", "Mina Varn"]


def test_the_titles_of_several_passages_are_no_heading():
    memory = Memory("gists", (Entry("Varn Bridge; Otters", "Sea songs of Mina Varn.", ("a", "b")),), "rules")
    assert phrases("Who sang the sea songs?", memory, phrase_words=0) == ["Mina Varn"]
