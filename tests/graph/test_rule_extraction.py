import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom import Chunk
from ragloom.graph.extraction import Extraction, normalise
from ragloom.graph.rule_extraction import RuleExtractor


def entities(text: str) -> list[str]:
    return list(RuleExtractor()(Chunk("", text)).entities)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was filmed in New York City and in Fargo.", ["New York City", "Fargo"]),
        ("He holds the Order of the British Empire.", ["Order of the British Empire"]),
        ("Then Ludwig van Beethoven met J. R. R. Tolkien.", ["Ludwig van Beethoven", "J. R. R. Tolkien"]),
        ("She left in March for Paris.", ["Paris"]),
        ("the mayor of Oslo's wife", ["Oslo"]),
        ("In 1944 Phoebe Taylor wrote it.", ["Phoebe Taylor"]),
        ("a game by Electronic Arts and Área 51", ["Electronic Arts", "Área 51"]),
        ("Critics praised it. Nobody came.", []),
        ("Mercury is hot. They flew to Mercury.", ["Mercury", "Mercury"]),
        ("Moskva (Москва) liegt an der Moskwa", ["Москва", "Moskwa"]),
        ("दिल्ली भारत की राजधानी है। 東京は日本の首都", []),
        ("\ud800\0", []),
        ("", []),
    ],
)
def test_runs_of_capitalised_words_are_entities(text: str, expected: list[str]) -> None:
    assert entities(text) == expected


def test_what_is_mentioned_again_is_given_again() -> None:
    assert entities("It is in Oslo, and Oslo is in Norway.") == ["Oslo", "Oslo", "Norway"]


def test_the_title_is_not_read() -> None:
    assert RuleExtractor()(Chunk("", "nothing here", "New York")) == Extraction()


def test_a_very_long_word_is_an_entity_like_any_other() -> None:
    assert entities(f"born in X{'y' * 100_000}.") == [f"X{'y' * 100_000}"]


pieces = st.sampled_from(
    ["The ", "A. ", "Ada ", "Ada", '"', "of ", "is ", ". ", "\n", "1997 ", "May ", "\ud800", "\0", "Élan "]
)


@given(st.lists(pieces | st.text(max_size=3), max_size=20).map("".join))
def test_entities_stand_in_the_text_in_their_order(text: str) -> None:
    place = 0
    words = " ".join(text.split())
    for entity in entities(text):
        place = words.index(entity, place) + len(entity)
        assert len(normalise(entity)) > 2
