"""Implicit questions: what stands in the place of a name, and where it comes from."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragloom.components.datasets import GoldPassage, Question
from ragloom.components.tokenizing import Tokenizer
from ragloom.graph.extraction import normalise
from ragloom.pipelines.hidden_names import FEWEST, MOST, ImplicitQuestion, NameHider
from ragloom.types import Chunk

OWN = Chunk("own", "Vela Marsh is a nature reserve. It was founded in 1950.", "Vela Marsh")
QUESTION = Question("q", "Who founded Vela Marsh?", ("Ada Holm",), (GoldPassage("Vela Marsh", OWN.text),))
LETTERS = st.text(alphabet="abcdefghij", min_size=3, max_size=8)


def passage(text: str, title: str = "Orla Finn") -> Chunk:
    return Chunk("other", text, title)


def hidden(*others: Chunk, question: Question = QUESTION) -> ImplicitQuestion | None:
    return NameHider([OWN, *others])(question)


def implicit(*others: Chunk, question: Question = QUESTION) -> ImplicitQuestion:
    made = hidden(*others, question=question)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("She painted Vela Marsh, the oldest bird sanctuary north of Tarn.", "the oldest bird sanctuary north of Tarn"),
        (
            "Vela Marsh inspired several painters of the northern school.",
            "the one that inspired several painters of the northern school",
        ),
        (
            "She spent three winters counting rare geese at Vela Marsh.",
            "the one that Orla Finn spent three winters counting rare geese at",
        ),
        (
            "In 1962 she bought Vela Marsh from two brothers.",
            "the one left out of “In 1962 she bought … from two brothers”",
        ),
    ],
    ids=["apposition", "subject", "end", "gap"],
)
def test_a_name_is_described_by_what_a_sentence_says_of_it(sentence: str, said: str) -> None:
    made = implicit(passage(sentence))

    assert made.question.text == f"Who founded {said}?"
    assert [(name.name, name.description, name.chunk_id) for name in made.hidden] == [("Vela Marsh", said, "other")]
    assert made.hidden[0].elsewhere


def test_everything_but_the_text_of_the_question_stays() -> None:
    made = implicit(passage("In 1962 she bought Vela Marsh from two brothers."))

    assert replace(made.question, text=QUESTION.text) == QUESTION
    assert made.original == QUESTION.text


def test_an_apposition_is_better_than_a_gap_and_a_short_one_better_than_a_long_one() -> None:
    made = implicit(
        passage("In 1962 she bought Vela Marsh from two brothers."),
        passage("She painted Vela Marsh, the oldest bird sanctuary north of the river Tarn and its lakes."),
        passage("She painted Vela Marsh, the oldest bird sanctuary north of Tarn."),
    )

    assert made.hidden[0].description == "the oldest bird sanctuary north of Tarn"


@pytest.mark.parametrize(
    "sentence",
    [
        "Ada Holm and two brothers bought Vela Marsh in spring.",
        "The marsh was bought by two rich brothers with Vela Marsh.",
        "She bought Vela Marsh.",
        "In 1962 she bought Vela Marsh Park from two brothers.",
        "In 1962 she bought Upper Vela Marsh from two brothers.",
        "In 1962 she bought a vela marsh from two brothers.",
        f"In 1962 she bought Vela Marsh from {'very ' * MOST} rich brothers.",
    ],
    ids=["answer", "word of the name", "too short", "longer name", "longer before", "no name", "too long"],
)
def test_a_sentence_that_would_tell_or_mislead_describes_nothing(sentence: str) -> None:
    assert hidden(passage(sentence)) is None


def test_the_gold_passage_describes_nothing() -> None:
    text = "Orla Finn wrote. In 1962 she bought Vela Marsh from two brothers."
    question = replace(QUESTION, gold=(*QUESTION.gold, GoldPassage("Orla Finn", text)))

    assert hidden(passage(text), question=question) is None


def test_a_description_does_not_name_another_gold_passage() -> None:
    question = replace(QUESTION, gold=(*QUESTION.gold, GoldPassage("Nils Berg (painter)", "He paints.")))
    chunk = passage("In 1962 Nils Berg bought Vela Marsh from two brothers.")

    assert hidden(chunk) is not None
    assert hidden(chunk, question=question) is None


def test_another_passage_with_the_same_name_describes_nothing() -> None:
    assert hidden(Chunk("other", "In 1962 she bought Vela Marsh from two brothers.", "Vela Marsh")) is None


def test_a_name_that_only_its_own_passage_describes_is_hidden_beside_one_that_another_describes() -> None:
    tarn = Chunk("tarn", "Tarn Bridge is a stone monument of nine low arches, built late.", "Tarn Bridge")
    text = "Is Vela Marsh older than Tarn Bridge?"
    question = replace(QUESTION, text=text, gold=(*QUESTION.gold, GoldPassage("Tarn Bridge", tarn.text)))

    made = implicit(passage("In 1962 she bought Vela Marsh from two brothers."), tarn, question=question)

    assert made.question.text.endswith("older than the stone monument of nine low arches?")
    assert [name.elsewhere for name in made.hidden] == [True, False]
    assert hidden(tarn, question=question) is None, "a definition alone leads to the passage more directly than a name"


def test_a_question_that_would_still_name_a_gold_passage_is_none() -> None:
    tarn = Chunk("tarn", "It has nine arches.", "Tarn Bridge")
    question = replace(
        QUESTION,
        text="Is Vela Marsh older than Tarn Bridge?",
        gold=(*QUESTION.gold, GoldPassage("Tarn Bridge", tarn.text)),
    )

    assert hidden(passage("In 1962 she bought Vela Marsh from two brothers."), tarn, question=question) is None


def test_another_name_that_nothing_describes_stays_and_is_told() -> None:
    question = replace(QUESTION, text="Did Nils Berg found Vela Marsh?")

    made = implicit(passage("In 1962 she bought Vela Marsh from two brothers."), question=question)

    assert made.question.text.startswith("Did Nils Berg found the one")
    assert made.left == ("nils berg",)


def test_the_article_before_a_name_goes_with_it() -> None:
    question = replace(QUESTION, text="Who founded the Vela Marsh?")

    made = implicit(passage("She painted Vela Marsh, the oldest bird sanctuary north of Tarn."), question=question)

    assert made.question.text == "Who founded the oldest bird sanctuary north of Tarn?"


def test_accents_and_the_parenthesis_of_a_title_do_not_matter_but_its_sense_does() -> None:
    song = Chunk("own", "Véla is slow.", "Véla (song)")
    question = Question("q", "Who wrote Vela (song)?", (), (GoldPassage("Véla (song)", song.text),))

    def made(sentence: str) -> ImplicitQuestion | None:
        return NameHider([song, passage(sentence)])(question)

    assert made("In 1962 she bought the ship Véla from two brothers.") is None
    found = made("In 1962 she sang the song Véla before two brothers.")
    assert found is not None
    assert found.question.text == "Who wrote the one left out of “In 1962 she sang the song … before two brothers”?"


def test_a_question_without_names_and_a_corpus_without_passages_give_none() -> None:
    assert hidden(question=replace(QUESTION, text="what is it?")) is None
    assert NameHider([])(QUESTION) is None


@settings(deadline=None)  # the first call loads the stemmer
@given(st.lists(st.lists(LETTERS, min_size=1, max_size=40), min_size=1, max_size=4))
def test_no_description_holds_a_word_of_the_name_or_is_too_short_or_too_long(sentences: list[list[str]]) -> None:
    text = " ".join(f"{' '.join(words).capitalize()} at Vela Marsh with {words[0]}." for words in sentences)
    made = hidden(passage(text))
    if made is not None:
        stems = Tokenizer()(made.hidden[0].description.removeprefix("the one left out of").removeprefix("the one that"))
        assert not {"vela", "marsh"} & set(stems)
        assert len(stems) >= FEWEST
        assert len(normalise(made.hidden[0].description).split()) <= MOST
        assert made == hidden(passage(text))
