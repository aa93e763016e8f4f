import json
from math import inf, isnan, log10, nan
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.gating import SignalGate
from ragloom.components.popularity import Popularity, PopularityBounds, corpus_popularity, popularity_bound
from ragloom.errors import InputError
from ragloom.types import Chunk

VIEWS = {"Jaws": 90_000, "Jaws 2": 9_000, "Genre": 99, "Train": 3_000, "It": 50_000, "Saša Ilić": 9, "戦争": 999}


def views(question: str, table: dict[str, float] | None = None) -> float:
    """The count, back from its logarithm."""
    return round(10 ** Popularity(VIEWS if table is None else table)(question).features["popularity_log"] - 1, 6)


# ---- What a question asks about


@pytest.mark.parametrize(
    ("question", "count"),
    [
        ("Who was the director of Jaws?", 90_000),
        ("who directed JAWS", 90_000),
        ("Who directed Jaws 2?", 9_000),
        ("Was Jaws, 2 years before, on a train?", 9_000),  # words alone count, marks between them do not
        ("What sport does Sas\u030ca Ilic\u0301 play?", 9),  # decomposed
        ("「戦争」?", 999),
    ],
)
def test_the_longest_name_in_the_question_counts(question: str, count: float) -> None:
    assert views(question) == count


def test_popularity_is_the_logarithm_of_one_more_than_the_count() -> None:
    assert Popularity({"Jaws": 99, "Oz": 0})("Jaws").features == {"popularity_log": 2}
    assert Popularity({"Jaws": 99, "Oz": 0})("Oz").features == {"popularity_log": 0}


@pytest.mark.parametrize("question", ["", "?", "Who wrote it?", "Who saw the jawsmith?", "Who wrote Sasa Ilic?"])
def test_without_a_name_popularity_is_unknown(question: str) -> None:
    assert isnan(views(question))


def test_of_several_names_the_least_popular_counts() -> None:
    assert views("Is Jaws set in Oz or in Rome?", {"Jaws": 5, "Oz": 3, "Rome": 7}) == 3


def test_a_capitalised_name_goes_before_other_words() -> None:
    assert views("What genre is Train?") == 3_000
    assert views("what genre is train") == 99
    assert views("Genre of train") == 99  # a first word is capitalised whatever it is
    assert views("Where is the place of birth of Ann Lee?", {"Place of birth": 1, "Ann Lee": 7}) == 7
    assert views("where is the place of birth of ann lee", {"Place of birth": 1, "Ann Lee": 7}) == 1


def test_of_one_name_with_two_counts_the_lower_counts() -> None:
    assert views("who is ann lee", {"Ann Lee": 7, "ANN LEE": 3}) == 3


def test_the_order_of_the_table_does_not_matter() -> None:
    backwards = Popularity(dict(reversed(VIEWS.items())))
    assert backwards.identity == Popularity(VIEWS).identity
    assert backwards.identity != Popularity(VIEWS | {"Jaws": 1}).identity
    assert views("Is Jaws a Train?") == views("Is Jaws a Train?", dict(reversed(VIEWS.items()))) == 3_000


@pytest.mark.parametrize("count", [-1, nan, inf])
def test_a_count_that_is_none_is_refused(count: float) -> None:
    with pytest.raises(ValueError, match=f"a count must be 0 or more, got {count} for 'Jaws'"):
        Popularity({"Jaws": count})


def test_the_wording_around_the_name_stands_for_the_relation() -> None:
    popularity = Popularity(VIEWS)
    assert popularity.relation("Who was the director of Jaws 2?") == "who was the director of _"
    assert popularity.relation("Who was the director of Psycho?") == ""


# ---- Tables


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("views.csv", 'name,count,year\n"Jaws, 2",12,2020\nOz,0,2020\n'),
        ("views.tsv", "name\tcount\nJaws, 2\t12.0\nOz\t0\n"),
        ("views.json", json.dumps([{"name": "Jaws, 2", "count": 12}, {"name": "Oz", "count": 0}])),
        ("views.jsonl", '{"name": "Jaws, 2", "count": "12"}\n{"name": "Oz", "count": 0}\n{"name": "Oz", "count": 5}\n'),
    ],
)
def test_tables_are_read_from_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert Popularity.load(tmp_path / name).identity == Popularity({"Jaws, 2": 12, "Oz": 0}).identity


@pytest.mark.parametrize("count", ["many", "", "-3", "nan", "inf"])
def test_a_count_that_cannot_be_used_is_told_with_its_line(tmp_path: Path, count: str) -> None:
    file = tmp_path / "views.csv"
    file.write_text(f"name,count\nOz,1\nJaws,{count}\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"views\.csv, line 3: the field 'count' must be .* found '{count}'"):
        Popularity.load(file)


def test_a_count_of_hundreds_of_digits_is_none(tmp_path: Path) -> None:
    file = tmp_path / "views.jsonl"
    file.write_text('{"name": "Jaws", "count": 1' + "0" * 400 + "}", encoding="utf-8")
    with pytest.raises(InputError, match="the field 'count' must be a number of 0 or more"):
        Popularity.load(file)


@pytest.mark.parametrize("count", ["true", "null", "[3]"])
def test_a_count_in_json_is_a_number(tmp_path: Path, count: str) -> None:
    file = tmp_path / "views.jsonl"
    file.write_text(f'{{"name": "Jaws", "count": {count}}}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"views\.jsonl, line 1: the field 'count' must be a number of 0 or more"):
        Popularity.load(file)


# ---- From a corpus


def test_titles_are_as_popular_as_documents_mention_them() -> None:
    popularity = corpus_popularity(
        [
            Chunk("1", "Jaws is a film.", "Jaws (film)", "a"),
            Chunk("2", "Spielberg directed it. Jaws!", "Jaws (film)", "a"),  # the same document
            Chunk("3", "A film by the maker of JAWS.", "Duel", "b"),
            Chunk("4", "Jawsmiths duelled.", "", "c"),
        ]
    )
    expected = {"Who made Jaws?": log10(3), "Who made Duel?": log10(2)}
    assert {question: popularity(question).features["popularity_log"] for question in expected} == expected
    assert isnan(popularity("Who was Spielberg?").features["popularity_log"])


def test_a_corpus_without_titles_knows_nothing() -> None:
    assert isnan(corpus_popularity([Chunk("1", "Jaws is a film.")])("Who made Jaws?").features["popularity_log"])
    assert isnan(corpus_popularity([])("Who made Jaws?").features["popularity_log"])


# ---- Bounds

rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


@given(rows)
def test_no_edge_of_the_bins_does_better_than_the_bound(labelled: list[tuple[int, int, int]]) -> None:
    popularity, direct, retrieved = zip(*labelled, strict=True)
    edges = [-inf, *(float(np.quantile(popularity, tenth / 10)) for tenth in range(1, 10)), inf]

    def utility(edge: float) -> int:
        return sum(single if count < edge else none for count, none, single in labelled)

    best = max(map(utility, edges))
    assert popularity_bound(popularity, direct, retrieved) == min(edge for edge in edges if utility(edge) == best)


@given(rows, st.randoms())
def test_the_order_of_the_questions_does_not_matter(labelled: list[tuple[int, int, int]], random: Random) -> None:
    shuffled = list(labelled)
    random.shuffle(shuffled)
    assert popularity_bound(*zip(*labelled, strict=True)) == popularity_bound(*zip(*shuffled, strict=True))


def test_a_bound_parts_what_retrieval_helps_from_what_it_spoils() -> None:
    popularity = [float(count) for count in range(20)]
    bound = popularity_bound(popularity, [0] * 10 + [1] * 10, [1] * 10 + [0] * 10)
    assert 9 < bound <= 10


def test_the_outer_bins_are_open() -> None:
    assert popularity_bound([1, 2, 3], [0, 0, 0], [1, 1, 1]) == inf
    assert popularity_bound([1, 2, 3], [1, 1, 1], [0, 0, 0]) == -inf


def test_where_retrieval_makes_no_difference_there_is_none() -> None:
    assert popularity_bound([1, 2, 3], [1, 0, 1], [1, 0, 1]) == -inf


def test_unknown_popularity_does_not_move_the_bound() -> None:
    known = popularity_bound([1, 2, 3, 4], [0, 0, 1, 1], [1, 1, 0, 0])
    assert popularity_bound([nan, 1, 2, 3, 4, nan], [1, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0]) == known


def test_there_must_be_a_known_popularity_for_each_question() -> None:
    with pytest.raises(ValueError, match="expected a value for each question, got 1, 2 and 1"):
        popularity_bound([1], [1, 1], [0])
    for nothing in ([], [nan, nan]):
        with pytest.raises(ValueError, match="the popularity of no question is known"):
            popularity_bound(nothing, nothing, nothing)


def test_each_relation_has_its_own_bound() -> None:
    table = {f"Person{number}": 10.0**number for number in range(10)}
    popularity = Popularity(table)
    questions = [f"Who is the {parent} of {name}?" for parent in ("father", "mother") for name in table]
    known = [popularity(question).features["popularity_log"] for question in questions]
    helped = [1.0] * 10 + [0.0] * 10
    rule = PopularityBounds.fit(popularity.relation, questions, known, [1 - value for value in helped], helped)
    gate = SignalGate((popularity,), rule)
    assert [gate(question).mode for question in questions] == ["single"] * 10 + ["none"] * 10
    assert rule.otherwise == popularity_bound(known, [1 - value for value in helped], helped)


def test_a_relation_with_few_questions_has_the_bound_of_all() -> None:
    rule = PopularityBounds.fit(
        lambda question: question[0], ["a1", "a2", "b1"], [1, 2, 3], [0, 0, 1], [1, 1, 0], fewest=2
    )
    assert set(rule.bounds) == {"a"}
    assert rule("a9", {"popularity_log": 99.0}).mode == "single"
    assert rule("b9", {"popularity_log": 99.0}).mode == "none"


def test_bounds_retrieve_where_popularity_is_unknown() -> None:
    rule = PopularityBounds(lambda question: "", {}, -inf)
    assert rule("", {"popularity_log": nan}).mode == "single"
    assert rule("", {}).mode == "single"
