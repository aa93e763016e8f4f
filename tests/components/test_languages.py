import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.languages import language, scripts


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The bridge was built by the engineer who lived in the town.", "en"),
        ("Die Brücke wurde von dem Ingenieur gebaut, der in der Stadt wohnte.", "de"),
        ("Le pont a été construit par un ingénieur qui vivait dans la ville.", "fr"),
        ("El puente fue construido por un ingeniero que vivía en la ciudad con su familia.", "es"),
        ("Il ponte fu costruito da un ingegnere che viveva nella città con la sua famiglia.", "it"),
        ("A ponte foi construída por um engenheiro que não vivia em uma cidade.", "pt"),
        ("De brug werd gebouwd door een ingenieur die in het dorp met zijn zus woonde.", "nl"),
        ("Low Tide, 1983", ""),
        ("Universidad de la República", ""),
        ("東京", ""),
        ("", ""),
    ],
)
def test_a_language_is_told_by_its_small_words(text: str, code: str):
    assert language(text) == code


def test_a_script_counts_where_enough_letters_are_of_it():
    assert scripts("A long English passage that quotes the name 東京 once, and then goes on for a while") == {"LATIN"}
    assert scripts("\uff21\uff22") == {"LATIN"}  # A and B in full width
    assert scripts("Москва") == {"CYRILLIC"}


@given(st.text())
def test_any_text_has_an_answer(text: str):
    assert all(scripts(text))
    assert len(language(text)) in (0, 2)
