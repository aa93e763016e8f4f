import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.sentences import first_sentence, sentences


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("It is old. It is red.", "It is old."),
        ("It is old", "It is old"),
        ("Is it old? Yes.", "Is it old?"),
        ('She said "no." Then she left.', 'She said "no."'),
        ("It lies there [2]. It is red.", "It lies there [2]."),
        ("Dr. A. B. Smith met J. K. Rowling in St. Louis. He left.", "Dr. A. B. Smith met J. K. Rowling in St. Louis."),
        ("It measures 3.5 metres, i.e. 11 feet. It is red.", "It measures 3.5 metres, i.e. 11 feet."),
        ("He waited ... and left. She did not.", "He waited ... and left."),
        ("1. The mill is old. 2. It is red.", "1. The mill is old."),
        ("\n...\n  The mill is old\nIt is red.", "The mill is old"),
        ("\u6771\u4eac\u3067\u3059\u3002\u6b21\u3067\u3059\u3002", "\u6771\u4eac\u3067\u3059\u3002"),
        (" \n...", ""),
    ],
)
def test_a_rambling_reply_is_cut_to_its_first_sentence(text: str, sentence: str):
    assert first_sentence(text) == sentence


@given(text=st.lists(st.sampled_from(["The", "mill", ".", ". ", "?", " ", "\n", "J.", "1."])).map("".join) | st.text())
def test_a_first_sentence_is_a_part_of_one_line_and_has_words_where_the_text_has(text: str):
    sentence = first_sentence(text)
    assert any(sentence in line for line in [*text.splitlines(), ""])
    assert sentence == sentence.strip()
    assert bool(re.search(r"\w", sentence)) == bool(re.search(r"\w", text))


@given(st.text(max_size=2000))
def test_sentences_hold_all_words_and_are_never_long(text: str) -> None:
    found = list(sentences(text))
    assert all(len(sentence) <= 400 for sentence in found)
    kept = "".join("".join(sentence.split()) for sentence in found)
    assert [c for c in kept if c.isalnum()] == [c for c in text if c.isalnum()]


def test_text_without_marks_is_cut_at_spaces_and_lines() -> None:
    found = list(sentences("word " * 300 + "\n" + "x" * 1000))
    assert [len(sentence) for sentence in found] == [399, 399, 399, 299, 400, 400, 200]
    assert list(sentences("これは文です。次の文です。")) == ["これは文です。", "次の文です。"]
