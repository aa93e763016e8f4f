import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ragloom.components.quotes import find_quote

TEXT = (
    "Tamsin Orrell (born 4 May 1951) is a cellist from Penmarrow. She recorded the album "
    "\u201cLow Tide\u201d with the\nHarbour Quartet in 1983 \u2013 her first. "
    "Cura\u00e7ao\u2019s museum was not built in 1792."
)


def found(quote: str, text: str = TEXT) -> str | None:
    place = find_quote(quote, text)
    return None if place is None else text[slice(*place)]


@pytest.mark.parametrize(
    ("quote", "words"),
    [
        ("is a cellist from Penmarrow", "is a cellist from Penmarrow"),
        ("IS A   cellist\nfrom penmarrow", "is a cellist from Penmarrow"),
        ('the album "Low Tide" with the Harbour Quartet', "the album \u201cLow Tide\u201d with the\nHarbour Quartet"),
        ("in 1983 - her first", "in 1983 \u2013 her first"),
        ("Curacao's museum", "Cura\u00e7ao\u2019s museum"),
        ("Curac\u0327ao\u2019s museum", "Cura\u00e7ao\u2019s museum"),
        ('"is a cellist from Penmarrow"...', "is a cellist from Penmarrow"),
    ],
)
def test_white_space_case_accents_and_the_forms_of_signs_make_no_difference(quote: str, words: str):
    assert found(quote) == words


@pytest.mark.parametrize(
    ("quote", "words"),
    [
        ("Orrell (born on 4 May 1951) is a cellist", "Orrell (born 4 May 1951) is a cellist"),
        (
            "She has recorded the album Low Tide with Harbour Quartet",
            "She recorded the album \u201cLow Tide\u201d with the\nHarbour Quartet",
        ),
        (
            "recorded an album \u201cLow Tide\u201d with the Harbour Quartet",
            "recorded the album \u201cLow Tide\u201d with the\nHarbour Quartet",
        ),
    ],
)
def test_a_few_words_may_be_added_left_out_or_changed(quote: str, words: str):
    assert found(quote) == words


@pytest.mark.parametrize(
    "quote",
    [
        "",
        " \n ",
        "\u201c\u201d",
        "she lives in Ashby",
        "Orrell (born 4 May 1952) is a cellist from Penmarrow",
        "Cura\u00e7ao\u2019s museum was built in 1792",
    ],
)
def test_other_words_other_numbers_and_lost_negations_are_no_quotes(quote: str):
    assert found(quote) is None


def test_words_in_another_order_are_no_quote():
    assert found("Penmarrow from cellist a is Orrell Tamsin born") is None


def test_a_quote_is_found_at_its_first_place():
    assert find_quote("low tide", "Low Tide. low tide.") == (0, 8)


def test_a_slip_is_found_in_a_long_text_and_a_quote_beyond_all_measure_is_not_looked_for():
    filler = " ".join(f"word{number}" for number in range(50_000))
    text = f"{filler} the mill near Ashby Fen was built by the engineer Josiah Pell {filler}"
    assert found("the mill near Ashby Fen was build by engineer Josiah Pell", text) is not None
    assert find_quote(" ".join(reversed(filler.split())), text) is None


@given(st.text(), st.text(min_size=1), st.text())
def test_every_part_of_a_text_is_found_in_it(before: str, part: str, after: str):
    assume(any(character.isalnum() for character in part))
    text = before + part + after
    place = find_quote(part, text)
    assert place is not None
    assert find_quote(part, text[slice(*place)]) is not None


@given(
    st.text(alphabet='aB1 .\u2019"-\u0301\u00df\ufb01\n', max_size=30),
    st.text(alphabet="aB1 .'\u201c\u2013\u00e9\u00dffi\n", max_size=60),
)
def test_what_is_found_lies_in_the_text_and_is_found_again(quote: str, text: str):
    place = find_quote(quote, text)
    if place is not None:
        start, end = place
        assert 0 <= start < end <= len(text)
        assert find_quote(text[start:end], text) is not None


WORDS = st.lists(
    st.sampled_from(["mill", "built", "fen", "pell", "island", "the", "of", "album"]), min_size=5, unique=True
)


@given(WORDS, st.data())
def test_one_changed_word_in_five_is_forgiven(words: list[str], data: st.DataObject):
    place = data.draw(st.integers(0, len(words) - 1))
    changed = [*words[:place], "zebra", *words[place + 1 :]]
    assert find_quote(" ".join(changed), "Before it. " + " ".join(words) + ". After it.") is not None
