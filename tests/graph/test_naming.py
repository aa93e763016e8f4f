import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom import Chunk
from ragloom.graph.extraction import normalise
from ragloom.graph.naming import is_name, names


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Fist Power", ["fist power"]),
        ("Brand (play)", ["brand play", "brand"]),
        ("Area 51 (1) (film)", ["area 51 1 film", "area 51 1"]),
        ("Brand (play", ["brand play"]),
        ("Ångström's law", ["angstrom s law"]),
        ("(play)", ["play"]),
        ("  The Wire \n", ["the wire"]),
        ("नई दिल्ली", ["नई दिल्ली"]),
        ("1997", []),
        ("1997 (film)", ["1997 film"]),
        ("The", []),
        ("a\ud800b\0c", ["a b c"]),
        ("x" * 5000, ["x" * 5000]),
        ("(" * 20_000 + ")", []),
    ],
)
def test_a_title_names_itself_also_without_what_stands_in_brackets(title: str, expected: list[str]) -> None:
    assert list(names(Chunk("", "He was born in Mumbai.", title))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fist Power is a 2000 Hong Kong action film.", ["fist power"]),
        ("The Rolling Stones (formed 1962) are a band.", ["rolling stones"]),
        ("Fargo, North Dakota is a city.", ["fargo north dakota", "fargo"]),
        ("Phoebe Atwood Taylor was an author.", ["phoebe atwood taylor", "phoebe taylor"]),
        (
            'Ruby Pearl "Rosie" Jones was a nurse.',
            ["ruby pearl rosie jones", "ruby pearl jones", "ruby jones", "rosie jones"],
        ),
        ("Alexander B. H. Cox is a director.", ["alexander b h cox", "alexander cox"]),
        ("Ludwig van Beethoven was a composer.", ["ludwig van beethoven"]),
        ("In Bruges is a film.", ["in bruges"]),
        ("He was born in Mumbai.", []),
        ("and then there was nothing left of it", []),
        ("Nothing is said here about anybody whose name could be found, however long one looks at it.", ["nothing"]),
        ("", []),
        ("- - -", []),
        ("." * 500, []),
        ("A" + "\n" * 500, []),
    ],
)
def test_without_a_title_the_subject_of_the_first_sentence_is_the_name(text: str, expected: list[str]) -> None:
    assert list(names(Chunk("", text))) == expected


pieces = st.sampled_from(
    ["The ", "A", "Ada ", '"', "( ", ") ", "of ", "is ", ", ", ". ", "\n", "1997 ", "\ud800", "\0", "नई "]
)
texts = st.lists(pieces, max_size=20).map("".join)


@given(texts, texts)
def test_names_are_normalised_and_each_is_given_once(text: str, title: str) -> None:
    found = names(Chunk("", text, title))
    assert len(set(found)) == len(found)
    assert all(name == normalise(name) and is_name(name) for name in found)
