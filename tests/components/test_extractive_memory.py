import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.completions import estimate_tokens
from ragloom.components.extractive_memory import ExtractiveWriter
from ragloom.components.memory_groups import Passage
from ragloom.components.sentences import sentences

MILL = Passage(
    "Lower Mill",
    "Lower Mill stands on the Esk. It is quiet there. Ada Quill built Lower Mill on the Esk in 1871. "
    "Ada Quill built Lower Mill on the Esk in 1871. Some like it.",
)
any_passages = st.lists(st.builds(Passage, st.text(max_size=20), st.text(max_size=300)), max_size=5)


def words(text: str) -> int:
    return len(text.split())


def test_the_sentence_with_the_most_words_of_the_passage_is_taken_once() -> None:
    assert ExtractiveWriter(12, count_tokens=words)([MILL]) == "Ada Quill built Lower Mill on the Esk in 1871."
    assert ExtractiveWriter(30, count_tokens=words)([MILL]).count("1871") == 1


def test_all_of_what_fits_is_taken_once_in_the_order_of_the_text() -> None:
    text = (
        "Lower Mill stands on the Esk. It is quiet there. Ada Quill built Lower Mill on the Esk in 1871. Some like it."
    )
    assert ExtractiveWriter(1000)([MILL]) == text


def test_each_of_several_passages_has_its_line_and_title() -> None:
    pier = Passage("Pier", "The pier burned down in 1902. It was loved.")
    written = ExtractiveWriter(22, count_tokens=words)([MILL, pier, Passage("", "Untitled words.")])
    assert written.splitlines() == [
        "Lower Mill: Ada Quill built Lower Mill on the Esk in 1871.",
        "Pier: The pier burned down in 1902.",
        "Untitled words.",
    ]


def test_a_sentence_goes_on_over_wrapped_lines_and_ends_where_a_list_or_a_paragraph_does() -> None:
    first = ExtractiveWriter(1, count_tokens=words)
    assert first([Passage("", "Ada Quill built\n  the mill.")]) == "Ada Quill built the mill."
    assert first([Passage("", "Ada Quill built\n- the mill")]) == "Ada Quill built"
    assert first([Passage("", "Ada Quill built\n\nthe mill.")]) == "Ada Quill built"


def test_one_sentence_is_taken_even_where_it_is_too_long() -> None:
    assert ExtractiveWriter(1)([Passage("", "Nothing of this fits. At all.")]) != ""


@given(any_passages, st.integers(1, 100))
def test_equal_passages_give_equal_texts_of_their_own_words_within_the_limit(
    passages: list[Passage], tokens: int
) -> None:
    written = ExtractiveWriter(tokens)(passages)
    assert written == ExtractiveWriter(tokens)([Passage(*passage) for passage in passages])
    said = " ".join(" ".join(passage).replace("\0", "\0") for passage in passages)
    assert set("".join(written.split())) <= set("".join(said.split())) | {":"}
    lines = written.splitlines()
    taken = sum(1 for passage in passages for _ in sentences(passage.text))
    assert bool(written) == bool(taken)
    assert estimate_tokens(written) <= max(tokens, max(map(estimate_tokens, lines), default=0))


def test_an_entry_of_no_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="entry_tokens must be at least 1, got 0"):
        ExtractiveWriter(0)
