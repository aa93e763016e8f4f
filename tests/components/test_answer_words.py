import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.answer_words import UNKNOWING, admission, comparable, normalise, word_f1

WORDS = st.lists(st.sampled_from(["mill", "Lane", "1792", "isle", "東京", "rosé"]), max_size=5).map(" ".join)


@pytest.mark.parametrize("reply", ["I don't know", "I don\u2019t know who wrote it.", '"Unknown."', "UNKNOWN", "n/a"])
def test_a_reply_that_admits_ignorance_is_known_by_its_phrase(reply: str):
    assert admission(reply)


@pytest.mark.parametrize("reply", ["Ich weiß es nicht.", "Je ne sais pas", "不知道。", "わかりません", "Я не знаю!"])
def test_ignorance_is_admitted_in_other_languages_as_well(reply: str):
    assert admission(reply)


@pytest.mark.parametrize("reply", ["", "Unknown Pleasures", "Paris, I don't know more", "Nosé", "not sureness", "No"])
def test_other_replies_admit_nothing(reply: str):
    assert admission(reply) == ""


def test_the_phrases_can_be_others():
    assert admission("Weeß ick nich.", ("weeß ick nich",)) == "weeß ick nich"
    assert admission("I don't know", ("weeß ick nich",)) == ""


@given(st.sampled_from(UNKNOWING), st.sampled_from(["", " ", '"', "**", "«", "...\n"]))
def test_marks_around_an_admission_do_not_matter(phrase: str, marks: str):
    assert admission(marks + phrase + marks) == phrase


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The Nile.", "nile", True),
        ("東京。", "「東京」", True),
        ("A", "B", False),
        ("+", "-", False),
        ("the", "an", False),
        ("1,000", "1000", True),
        ("yes", "No", False),
        ("Rosé", "rosé!", True),
    ],
)
def test_answers_are_the_same_where_only_marks_case_and_articles_differ(one: str, other: str, same: bool):
    assert (comparable(one) == comparable(other)) is same


@given(st.text())
def test_only_an_empty_answer_is_compared_as_nothing(text: str):
    assert bool(comparable(text)) == bool(text.strip())


@given(WORDS, WORDS)
def test_word_f1_is_symmetric_and_1_for_equal_bags_of_words_only(one: str, other: str):
    ours, theirs = normalise(one), normalise(other)
    value = word_f1(ours, theirs)
    assert 0 <= value <= 1
    assert value == word_f1(theirs, ours)
    assert (value == 1) == (sorted(ours.split()) == sorted(theirs.split()))
