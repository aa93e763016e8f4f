import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.gate_rules import Threshold
from ragloom.components.gating import SignalGate
from ragloom.components.question_features import QuestionFeatures, question_terms

FORMS = (
    "yes_no",
    "how_many",
    "how",
    "who",
    "what",
    "when",
    "where",
    "which",
    "why",
)


def features(question: str) -> dict[str, float]:
    """What is not 0, without the counts of words and characters that every question has."""
    found = QuestionFeatures()(question).features
    common = {"question_words", "question_characters"}
    return {name.removeprefix("question_"): value for name, value in found.items() if value and name not in common}


def form(question: str) -> str | None:
    found = features(question)
    return next((name for name in FORMS if name in found), None)


def test_a_simple_question_is_measured() -> None:
    found = QuestionFeatures()("Who was the director of Jaws?").features
    assert (found["question_words"], found["question_characters"]) == (6, 29)
    assert features("Who was the director of Jaws?") == {"names": 1, "longest_name": 1, "of": 1, "who": 1}


def test_a_nested_question_is_measured() -> None:
    assert features("When did the mother of J. R. R. Tolkien's publisher, who was born in 1899, die?") == {
        "names": 1,
        "longest_name": 4,
        "of": 2,
        "numbers": 1,
        "years": 1,
        "commas": 2,
        "clauses": 1,
        "when": 1,
    }


def test_a_comparison_is_measured() -> None:
    assert features("Are both the older Oslo and New York City 3 times larger than Bergen?") == {
        "names": 3,
        "longest_name": 3,
        "and": 1,
        "numbers": 1,
        "comparison": 4,
        "yes_no": 1,
    }


@pytest.mark.parametrize(
    ("question", "asked_for"),
    [
        ("Who wrote it?", "who"),
        ("to whom was it given", "who"),
        ("Whose hat is it?", "who"),
        ("What is it?", "what"),
        ("In what year did it end?", "what"),
        ("When did it end?", "when"),
        ("Where is it?", "where"),
        ("Which one of them?", "which"),
        ("How many are there?", "how_many"),
        ("how old is she", "how_many"),
        ("How is it done?", "how"),
        ("Why?", "why"),
        ("Did he go where she went?", "yes_no"),
        ("is it what it was", "yes_no"),
        ("Name the river that flows through Rome.", None),
        ("The whole truth, somewhat", None),
    ],
)
def test_what_is_asked_for_is_told_from_the_wording(question: str, asked_for: str | None) -> None:
    assert form(question) == asked_for


@pytest.mark.parametrize(
    ("question", "names", "longest"),
    [
        ("who sang that", 0, 0),
        ("The Beatles", 1, 1),  # a stop word at the beginning is no part of a name
        ("Kyle Ezell's job", 1, 2),
        ("Did Ed Wood, Tim Burton and AC/DC meet?", 4, 2),
        ("Is Coca-Cola from Côte Azur?", 2, 2),
        ("Кто написал «Войну и мир» в Ясной Поляне?", 3, 2),
    ],
)
def test_runs_of_capitalised_words_are_names(question: str, names: int, longest: int) -> None:
    found = QuestionFeatures()(question).features
    assert (found["question_names"], found["question_longest_name"]) == (names, longest)


def test_quotes_and_apostrophes_differ() -> None:
    assert features("\u201cBlue\u201d or 'Red'")["quotes"] == 3
    assert features("Ann's and Bob\u2019s dogs")["of"] == 2
    assert "quotes" not in features("Ann's and Bob\u2019s dogs")


def test_superlatives_are_counted() -> None:
    assert features("the largest and most western forest, first in the west")["superlative"] == 3


@pytest.mark.parametrize(
    "question", ["", " ", "?", "\u0301", "\U0001f600", "谁写了《红楼梦》", "من كتب ألف ليلة وليلة؟"]
)
def test_every_text_can_be_measured(question: str) -> None:
    found = QuestionFeatures()(question).features
    assert tuple(found) == QuestionFeatures().features
    assert all(value >= 0 for value in found.values())


def test_other_languages_have_the_counts_that_need_no_words() -> None:
    assert features("Wer schrieb 1808 in Weimar, 47 Jahre danach, Faust?") == {
        "names": 4,
        "longest_name": 1,
        "numbers": 2,
        "years": 1,
        "commas": 2,
    }


@given(st.text())
def test_composed_and_decomposed_letters_are_the_same(text: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert QuestionFeatures()(composed) == QuestionFeatures()(decomposed)
    assert question_terms(composed) == question_terms(decomposed)


@given(st.text())
def test_at_most_one_thing_is_asked_for(text: str) -> None:
    found = QuestionFeatures()(text).features
    assert sum(found[f"question_{name}"] for name in FORMS) <= 1


def test_a_rule_can_look_at_the_features() -> None:
    gate = SignalGate((QuestionFeatures(),), Threshold("question_of", 1))
    assert gate("Who is the mother of the director of Jaws?").mode == "single"
    assert gate("Who directed Jaws?").mode == "none"


# ---- Terms


def test_terms_are_words_and_pairs_of_neighbours() -> None:
    assert question_terms("Who directed Jaws?") == ["who", "directed", "jaws", "who directed", "directed jaws"]


def test_marks_make_no_difference_to_the_terms() -> None:
    assert question_terms("who directed jaws") == question_terms("Who directed \u201cJaws\u201d ?")


def test_numbers_of_one_shape_are_one_term() -> None:
    assert question_terms("in 1994") == question_terms("in 2023") == ["in", "0000", "in 0000"]
    assert question_terms("the 1990s") == ["the", "0000s", "the 0000s"]
    assert question_terms("٣٤") == ["00"]


def test_a_text_without_words_has_no_terms() -> None:
    assert question_terms(" ?! ") == []


@given(st.text())
def test_terms_number_twice_the_words_less_one(text: str) -> None:
    terms = question_terms(text)
    words = [term for term in terms if " " not in term]
    assert len(terms) == max(0, 2 * len(words) - 1)
