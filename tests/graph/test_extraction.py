import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.graph.extraction import (
    LONGEST_PHRASE,
    Extraction,
    Triple,
    extraction_from_json,
    extraction_of,
    extraction_to_json,
    normalise,
)

# ---- Node names


@pytest.mark.parametrize(
    ("phrase", "node"),
    [
        ("Ob-La-Di, Ob-La-Da", "ob la di ob la da"),
        ("  The\tBeatles\n", "the beatles"),
        ("O'Connor & Sons (1880)", "o connor sons 1880"),
        ("Straße", "strasse"),
        ("ŁÓDŹ", "łodz"),
        ("Moskva (Москва)", "moskva москва"),
        ("हिन्दी", "हिन्दी"),  # its vowels are marks, no letters
        ("東京", "東京"),
        ("ﬁlm № ①②", "film no 12"),
        ("cafe\u0301 Caf\u00e9", "cafe cafe"),
        ("a\ud800b\0c", "a b c"),
        ("$ -- …", ""),
        ("", ""),
    ],
)
def test_a_node_name_is_the_phrase_in_lower_case_words(phrase: str, node: str):
    assert normalise(phrase) == node


@given(st.text())
def test_a_node_name_is_its_own_node_name(phrase: str):
    assert normalise(normalise(phrase)) == normalise(phrase)


def test_every_character_makes_a_node_name_that_can_be_stored():
    for code in range(0x110000):
        node = normalise(f"a{chr(code)}b")
        assert node.encode()
        assert node == normalise(node)


# ---- What models write


def test_malformed_triples_are_left_out_and_counted():
    triples = [["a", "b", "c"], ["a", "b"], ["a", "b", "c", "d"], [], "a b c", None, {"subject": "a"}, 7]
    assert extraction_of([], triples) == Extraction(triples=(Triple("a", "b", "c"),), dropped=7)


def test_malformed_entities_are_left_out_and_counted():
    assert extraction_of(["Oslo", None, True, {"name": "Bergen"}, "", " - "], []) == Extraction(("Oslo",), dropped=5)


def test_numbers_are_taken_as_they_are_written():
    found = extraction_of([1880, 2.5], [["Oslo", "has", 700000]])
    assert found == Extraction(("1880", "2.5"), (Triple("Oslo", "has", "700000"),))


def test_lists_in_lists_are_taken_for_what_they_hold():
    found = extraction_of([["Oslo"], ["Bergen", ["Voss"]]], [[["a", "b", "c"], [["d", "e", "f"]]], ["g", "h", "i"]])
    assert found.entities == ("Oslo", "Bergen", "Voss")
    assert found.triples == (Triple("a", "b", "c"), Triple("d", "e", "f"), Triple("g", "h", "i"))
    assert found.dropped == 0


@pytest.mark.parametrize("empty", ["", "  ", "$", "\0", "\ud800"])
def test_a_triple_with_an_empty_part_is_left_out(empty: str):
    for place in range(3):
        parts = ["a", "b", "c"]
        parts[place] = empty
        assert extraction_of([], [parts]) == Extraction(dropped=1)


def test_a_phrase_is_one_line_of_visible_characters():
    found = extraction_of(["Low\n  Tide", "a\0b\ud800c", "zero\u200bwidth\u202e"], [])
    assert found.entities == ("Low Tide", "a b c", "zero width")


def test_what_is_as_long_as_a_passage_is_no_phrase():
    found = extraction_of(["a" * LONGEST_PHRASE, "a" * (LONGEST_PHRASE + 1)], [["a", "b", "c" * 10_000_000]])
    assert found == Extraction(("a" * LONGEST_PHRASE,), dropped=2)


def test_deeply_nested_lists_are_no_trouble():
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert extraction_of([nested], [nested]).triples == ()


def test_mentions_again_are_kept():
    assert extraction_of(["Oslo", "Oslo"], []).entities == ("Oslo", "Oslo")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(json_values), st.lists(json_values | st.lists(json_values, min_size=3, max_size=3)))
def test_whatever_was_written_is_phrases_or_counted(entities: list[object], triples: list[object]):
    found = extraction_of(entities, triples)
    parts = [part for triple in found.triples for part in (triple.subject, triple.relation, triple.object)]
    for phrase in (*found.entities, *parts):
        assert phrase.isprintable()
        assert phrase == phrase.strip()
        assert phrase.encode()
        assert normalise(phrase)
    assert extraction_from_json(json.loads(json.dumps(extraction_to_json(found)))) == found
