"""Outcomes of labelled questions: their files, and which answers are right."""

import json
from math import nan
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragloom.components.gating import MODES
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.outcomes import Outcome, modes_of, read_outcomes, right, write_outcomes
from ragloom.types import Usage

PARIS = {
    "id": "1",
    "dataset": "nq",
    "question": "capital of France?",
    "gold_answers": ["Paris"],
    "answers": {"none": "Paris", "single": "It is Paris."},
}


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def outcome(answer: str, *golds: str) -> Outcome:
    return Outcome("1", "?", golds, {"none": answer})


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
WORDS = TEXTS.filter(lambda text: bool(text.strip()))
NUMBERS = st.floats(-1e100, 1e100)
OUTCOMES = st.builds(
    Outcome,
    WORDS,
    WORDS,
    st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(MODES), TEXTS, min_size=1),
    st.dictionaries(TEXTS, NUMBERS),
    st.dictionaries(st.sampled_from(MODES), st.builds(Usage, st.integers(0, 99), cost=st.none() | NUMBERS)),
    TEXTS,
)


@given(st.lists(OUTCOMES, min_size=1, max_size=4, unique_by=lambda outcome: outcome.question_id))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(tmp_path: Path, outcomes: list[Outcome]) -> None:
    write_outcomes(outcomes, tmp_path / "rows.jsonl")
    assert read_outcomes(tmp_path / "rows.jsonl") == tuple(outcomes)


def test_a_path_may_be_a_string(tmp_path: Path) -> None:
    write_outcomes([outcome("Paris", "Paris")], str(tmp_path / "rows.jsonl"))
    assert read_outcomes(str(tmp_path / "rows.jsonl")) == (outcome("Paris", "Paris"),)


def test_an_unknown_feature_stays_unknown(tmp_path: Path) -> None:
    write_outcomes([Outcome("1", "?", ("a",), {"none": "a"}, {"draft_margin": nan})], tmp_path / "rows.jsonl")
    (read,) = read_outcomes(tmp_path / "rows.jsonl")
    assert str(read.features) == "{'draft_margin': nan}"


def test_rows_of_others_need_no_features(tmp_path: Path) -> None:
    (read,) = read_outcomes(write_rows(tmp_path / "rows.jsonl", PARIS))
    assert read == Outcome(
        "1", "capital of France?", ("Paris",), {"none": "Paris", "single": "It is Paris."}, group="nq"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gold_answers": []}, "no gold answer"),
        ({"gold_answers": ["  "]}, "no gold answer"),
        ({"answers": {"sometimes": "Paris"}}, "no mode 'sometimes'; use none, single, iterative"),
        ({"answers": {}}, "at least one mode"),
        ({"answers": {"none": 7}}, "answer of mode none must be a string"),
        ({"answers": ["Paris"]}, "'answers' must be an object"),
        ({"question": " "}, "'question' must not be blank"),
        ({"id": None}, "no field 'id'"),
        ({"features": {"draft_margin": "high"}}, "'draft_margin' must be a number"),
        ({"features": {"draft_margin": True}}, "'draft_margin' must be a number"),
        ({"usage": {"none": {"tokens": 1}}}, "'usage' must hold an object"),
        ({"usage": {"none": {"calls": "1"}}}, "'usage' must hold numbers"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = write_rows(tmp_path / "rows.jsonl", PARIS, PARIS | {"id": "2"} | change)
    with pytest.raises(InputError, match=message) as caught:
        read_outcomes(path)
    assert "rows.jsonl, line 2" in str(caught.value)


def test_an_id_may_not_appear_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: the id '1' appears twice"):
        read_outcomes(write_rows(tmp_path / "rows.jsonl", PARIS, PARIS))


def test_a_file_without_outcomes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no records"):
        read_outcomes(write_rows(tmp_path / "rows.jsonl"))


def test_an_answer_that_holds_the_gold_one_is_right() -> None:
    assert right(outcome("It is Paris, France.", "paris"), "none") == 1
    assert right(outcome("It is Paris, France.", "paris"), "none", "em") == 0
    assert right(outcome("  ", "paris"), "none") == 0


def test_yes_and_no_must_be_the_answer_itself() -> None:
    assert right(outcome("There is no information.", "no"), "none") == 0
    assert right(outcome("No.", "no"), "none") == 1


def test_only_known_metrics_and_tried_modes_can_be_judged() -> None:
    with pytest.raises(ConfigError, match="no metric 'bleu'; use one of em, f1, contains"):
        right(outcome("a", "a"), "none", "bleu")
    with pytest.raises(InputError, match="question 1 has no answer of mode single"):
        right(outcome("a", "a"), "single")


def test_modes_are_those_that_every_question_was_answered_under() -> None:
    both = Outcome("2", "?", ("a",), {"single": "a", "none": "a"})
    assert modes_of([both, both]) == ("none", "single")
    assert modes_of([both, outcome("a", "a")]) == ("none",)


@pytest.mark.parametrize("number", ["1e999", "-1e101", "NaN", "1" + "0" * 400])
def test_a_feature_that_nothing_can_be_computed_with_is_named(tmp_path: Path, number: str):
    file = tmp_path / "rows.jsonl"
    row = '{"id": "a", "question": "q", "gold_answers": ["x"], "answers": {"none": "x"}, "features": {"f": NUMBER}}'
    file.write_text(row.replace("NUMBER", number), encoding="utf-8")
    with pytest.raises(InputError, match=r"rows.jsonl"):
        read_outcomes(file)
