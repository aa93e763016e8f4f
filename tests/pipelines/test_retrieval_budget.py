"""A share of a batch is retrieved for, exactly, whatever the scores are."""

from fractions import Fraction
from math import floor, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.gating import MODES, Decision, Mode
from ragloom.errors import InputError
from ragloom.pipelines.retrieval_budget import Planned, plan, planned
from ragloom.types import Answer, RunRecord, Usage

SCORES = st.sampled_from([0.0, 0.5, 1.0, -2.0, nan]) | st.floats()
DECISIONS = st.dictionaries(
    st.text("abc", max_size=4), st.builds(Decision, st.sampled_from(MODES), SCORES, st.just("a reason")), max_size=20
)
PERCENTS = st.integers(0, 100)


def scored(**scores: float) -> dict[str, Decision]:
    return {question_id: Decision("none", score) for question_id, score in scores.items()}


def retrieved(modes: dict[str, Mode]) -> set[str]:
    return {question_id for question_id, mode in modes.items() if mode != "none"}


def test_the_highest_scores_are_retrieved_for() -> None:
    assert plan(scored(a=0.1, b=0.9, c=0.5, d=0.7), 0.5) == {"a": "none", "b": "single", "c": "none", "d": "single"}


def test_unknown_scores_come_first_and_ties_go_by_id() -> None:
    assert retrieved(plan(scored(d=nan, c=1, b=1, a=1), 0.75)) == {"d", "a", "b"}


@given(DECISIONS, PERCENTS)
def test_so_many_are_retrieved_for_as_the_rate_says(decisions: dict[str, Decision], percent: int) -> None:
    modes = plan(decisions, percent / 100)
    assert modes.keys() == decisions.keys()
    assert len(retrieved(modes)) == floor(Fraction(percent, 100) * len(decisions))


@given(DECISIONS, PERCENTS, PERCENTS)
def test_what_is_retrieved_for_at_one_rate_is_so_at_a_higher_one(
    decisions: dict[str, Decision], one: int, other: int
) -> None:
    low, high = sorted([one, other])
    assert retrieved(plan(decisions, low / 100)) <= retrieved(plan(decisions, high / 100))


@given(DECISIONS, PERCENTS, st.randoms(use_true_random=False))
def test_the_order_of_the_questions_does_not_matter(
    decisions: dict[str, Decision], percent: int, random: Random
) -> None:
    shuffled = dict(random.sample(list(decisions.items()), len(decisions)))
    assert plan(shuffled, percent / 100) == plan(decisions, percent / 100)


def test_29_percent_of_100_questions_are_29() -> None:
    assert len(retrieved(plan({f"{number:03}": Decision("none", number) for number in range(100)}, 0.29))) == 29


def test_the_kind_of_retrieval_is_the_gates_own_choice() -> None:
    decisions = {
        "decided": Decision("iterative", 3),
        "by utility": Decision("none", 2, utilities={"none": 0.5, "single": 0.2, "iterative": 0.4}),
        "no utility": Decision("none", 1),
    }
    assert plan(decisions, 1) == {"decided": "iterative", "by utility": "iterative", "no utility": "single"}


@pytest.mark.parametrize("rate", [-0.1, 1.1, nan])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=f"rate must be from 0 to 1, got {rate}"):
        plan({}, rate)


# ---- As a gate


def test_a_planned_decision_keeps_all_else_and_says_why() -> None:
    draft = Answer("Paris", (), (), RunRecord(usage=Usage(), seconds=0, spans=()))
    decisions = {
        "a": Decision("single", 0.3, "score 0.3 is above 0.2", {"draft_margin": 0.3}, {"single": 0.3}, {"none": draft}),
        "b": Decision("none", 0.8, answers={"none": draft}),
    }
    gate = planned({"a": "capital of France?", "b": "capital of Chad?"}, decisions, 0.5)
    first, second = gate("capital of France?"), gate("capital of Chad?")
    assert first == Decision(
        "none",
        0.3,
        "beyond the 0.5 of the batch to retrieve for; the gate: score 0.3 is above 0.2",
        {"draft_margin": 0.3},
        {"single": 0.3},
        {"none": draft},
    )
    assert (second.mode, second.answers) == ("single", {"none": draft})
    assert second.reason == "within the 0.5 of the batch to retrieve for; the gate: none"


@given(DECISIONS, st.data(), PERCENTS)
def test_the_budget_is_kept_where_a_text_stands_twice(
    decisions: dict[str, Decision], data: st.DataObject, percent: int
) -> None:
    questions = {question_id: data.draw(st.sampled_from(["x?", "y?", "z?"])) for question_id in decisions}
    gate = planned(questions, decisions, percent / 100)
    modes = plan(decisions, percent / 100)
    for text in questions.values():
        twins = {modes[other] for other in questions if questions[other] == text}
        assert (gate(text).mode == "none") == ("none" in twins)
    assert sum(gate(text).mode != "none" for text in questions.values()) <= len(retrieved(modes))


def test_a_question_that_was_not_planned_is_refused() -> None:
    with pytest.raises(InputError, match=r"no question 'who\?'"):
        Planned({})("who?")


def test_a_question_without_a_decision_is_refused() -> None:
    with pytest.raises(InputError, match="question b has no decision"):
        planned({"a": "x?", "b": "y?"}, scored(a=1), 0.5)


def test_what_retrieving_means_for_a_gate_without_utilities_can_be_said() -> None:
    assert plan(scored(a=0.1, b=0.9), 0.5, otherwise="iterative") == {"a": "none", "b": "iterative"}
