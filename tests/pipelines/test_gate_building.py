from collections.abc import Mapping
from pathlib import Path

import pytest

from ragloom.components.gating import Mode
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.gate_building import build_gate, read_costs, read_objective
from ragloom.pipelines.gate_objectives import COSTS, Objective
from ragloom.pipelines.gates import signals_of
from ragloom.pipelines.outcomes import Outcome


def answered(number: int, made_with: Mapping[str, str]) -> Outcome:
    answers: dict[Mode, str] = {"none": "no", "single": "yes"}
    return Outcome(str(number), f"Question {number}?", ("yes",), answers, made_with=made_with)


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("accuracy", Objective()),
        ("price=0.02", Objective(price=0.02)),
        ("cost=3", Objective(cost_limit=3)),
        ("match=single:0.01", Objective(match="single", margin=0.01)),
        ("match=iterative", Objective(match="iterative")),
        ("risk=0.2", Objective(risk=0.2)),
    ],
)
def test_objectives_are_read(text: str, objective: Objective):
    assert read_objective(text) == (objective, COSTS)
    assert read_objective(text, "single=2")[1] == {**COSTS, "single": 2}


def test_a_rate_limits_how_often_is_retrieved_whatever_retrieval_costs():
    assert read_objective("rate=0.6") == (Objective(cost_limit=0.6), {"none": 0, "single": 1, "iterative": 1})
    with pytest.raises(ConfigError, match="counts retrievals"):
        read_objective("rate=0.6", "single=2")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no objective ''"),
        ("speed", "there is no objective 'speed'"),
        ("accuracy=1", "there is no objective 'accuracy=1'"),
        ("rate=2", "a share is at most 1"),
        ("price", "'' is not a number from 0"),
        ("price=much", "'much' is not a number from 0"),
        ("price=-1", "'-1' is not a number from 0"),
        ("cost=inf", "'inf' is not a number from 0"),
        ("risk=1", "risk must be between 0 and 1"),
        ("match=twice:0.1", "there is no mode 'twice'"),
        ("match=single:nan", "'nan' is not a number from 0"),
    ],
)
def test_what_is_no_objective_is_named_with_what_is(text: str, problem: str):
    with pytest.raises(ConfigError) as caught:
        read_objective(text)
    assert problem in caught.value.problem
    assert "use accuracy, price=0.02" in caught.value.remedy


def test_costs_are_read_and_the_usual_ones_are_kept():
    assert read_costs(None) == COSTS
    assert read_costs(" none=0.5, iterative=9 ") == {"none": 0.5, "single": COSTS["single"], "iterative": 9}


@pytest.mark.parametrize("text", ["single", "single=", "twice=2", "single=-1", "single=nan"])
def test_what_is_no_cost_is_named(text: str):
    with pytest.raises(ConfigError, match=f"the cost '{text}' cannot be"):
        read_costs(text)


def test_signals_are_known_by_the_names_of_their_features():
    assert signals_of(["draft_margin", "draft_words", "question_words", "ask_marker"]) == ("question", "draft", "ask")
    assert signals_of(["self_assessment", "confidence_doubt", "answers_disagree"]) == (
        *("self-assessment", "confidence", "answers"),
    )
    assert signals_of(["embedding_000", "embedding_001"]) == ("embedding",)
    assert signals_of([]) == ()


@pytest.mark.parametrize("first", [{}, {"model": "other"}])
def test_outcomes_of_several_collections_are_refused_whichever_comes_first(tmp_path: Path, first: Mapping[str, str]):
    pytest.importorskip("sklearn")
    outcomes = [answered(0, first), *(answered(number, {"model": "large"}) for number in range(1, 60))]
    for rows in (outcomes, outcomes[::-1]):
        with pytest.raises(InputError, match="not all collected with the same model"):
            build_gate(rows, tmp_path / "gate.json")
    assert not (tmp_path / "gate.json").exists()


def test_a_mode_to_match_must_be_among_the_outcomes(tmp_path: Path):
    pytest.importorskip("sklearn")
    with pytest.raises(ConfigError, match="match iterative, and the modes are none, single"):
        build_gate([answered(number, {}) for number in range(60)], tmp_path / "gate.json", objective="match=iterative")
