"""Saved gates: read back as they were, and refused where they are damaged or of another model."""

import json
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragloom.components.gate_file import SavedGate
from ragloom.components.gate_models import Failure, LinearModel, Router
from ragloom.components.gate_rules import AtRandom, Fixed, Threshold
from ragloom.components.gating import MODES, Decision, Rule
from ragloom.errors import ConfigError

NUMBERS = st.floats(-10, 10)
ABOVE_0 = st.floats(0.1, 10)
MODE = st.sampled_from(MODES)
MODELS = st.builds(
    lambda means, scales, weights, intercept, terms: LinearModel(
        ("draft_margin", "question_words"), means, scales, weights, intercept, terms
    ),
    st.tuples(NUMBERS, NUMBERS),
    st.tuples(ABOVE_0, ABOVE_0),
    st.tuples(NUMBERS, NUMBERS),
    NUMBERS,
    st.dictionaries(st.sampled_from(["who", "king", "who was", "ß"]), st.tuples(ABOVE_0, NUMBERS)),
)
RULES: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Fixed, MODE, st.text("ab", max_size=3)),
    st.builds(AtRandom, st.floats(0, 1), st.integers(0, 99), MODE),
    st.builds(Threshold, st.just("draft_margin"), NUMBERS, st.sampled_from(["above", "below"]), MODE),
    st.builds(Failure, MODELS, st.floats(0, 1), MODE),
    st.builds(
        Router,
        st.dictionaries(MODE, MODELS, min_size=2),
        st.fixed_dictionaries(dict.fromkeys(MODES, ABOVE_0)),
        st.floats(0, 1),
    ),
)
GATE = SavedGate(
    Router({"none": LinearModel((), (), (), (), 0.0), "single": LinearModel((), (), (), (), 1.0, {"who": (1.0, 2.0)})},
           {"none": 0.0, "single": 1.0}),
    signals=("question",),
    bound_to={"model": "smollm2", "prompts": "1234"},
    results={"accuracy": 0.5},
    scores=(0.1, 0.2),
    words=("who",),
    unknown_shares=(0.0, 0.5),
)  # fmt: skip


@given(RULES, st.text(max_size=20), st.dictionaries(st.sampled_from(["draft_margin", "question_words"]), NUMBERS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_saved_rule_decides_as_before(tmp_path: Path, rule: Rule, question: str, features: dict[str, float]) -> None:
    SavedGate(rule).save(tmp_path / "gate.json")
    loaded = SavedGate.load(tmp_path / "gate.json").rule
    assert repr(loaded(question, features)) == repr(rule(question, features))  # by text, since NaN is not NaN
    assert loaded.features == rule.features


def test_everything_beside_the_rule_is_read_back(tmp_path: Path) -> None:
    GATE.save(tmp_path / "gate.json")
    assert SavedGate.load(tmp_path / "gate.json") == GATE


def test_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model was 'smollm2', is 'gpt'.*allow the mismatch"):
        GATE.checked({"model": "gpt", "prompts": "1234"})
    with pytest.raises(ConfigError, match="prompts was '1234', is None"):
        GATE.checked({"model": "smollm2"})


def test_a_mismatch_that_is_allowed_stands_in_every_decision() -> None:
    rule = GATE.checked({"model": "gpt", "prompts": "1234"}, allow_mismatch=True)
    decision = rule("?", {})
    assert decision.mode == GATE.rule("?", {}).mode
    assert "calibrated elsewhere: model was 'smollm2', is 'gpt'" in decision.reason


def test_the_same_model_is_used_without_a_word() -> None:
    assert GATE.checked({"model": "smollm2", "prompts": "1234", "other": "x"}) is GATE.rule


def put(*path: str, value: object) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for name in path[:-1]:
            data = data[name]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("format", value=2), "the field 'format' must be 1"),
        (put("rule", value=[]), "the field 'rule' must be an object"),
        (put("rule", "kind", value="Popen"), "rule: the field 'kind' must be one of Fixed"),
        (put("rule", "price", value="high"), "rule: the field 'price' must be a number"),
        (put("rule", "price", value=True), "rule: the field 'price' must be a number"),
        (put("rule", "models", value={}), "rule: models must be of at least two modes"),
        (put("rule", "costs", value={"sometimes": 1}), "costs: the field 'sometimes' must be one of none"),
        (put("rule", "models", "none", "means", value=[1.0]), "must be of one length"),
        (put("rule", "models", "single", "terms", "who", value=[1.0]), "terms: the field 'who' must be two numbers"),
        (put("signals", value=[1]), "signals: the field '0' must be a string"),
        (put("scores", value="many"), "the field 'scores' must be a list"),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_field(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    path = tmp_path / "gate.json"
    GATE.save(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        SavedGate.load(path)
    assert "gate.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": NaN}'])
def test_what_is_no_gate_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "gate.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"gate\.json"):
        SavedGate.load(tmp_path / "gate.json")


def test_a_rule_of_ones_own_cannot_be_saved(tmp_path: Path) -> None:
    class Mine(Fixed):
        def __call__(self, question: str, features: object, /) -> Decision:
            return Decision("none")

    with pytest.raises(ConfigError, match="a rule of type Mine cannot be saved"):
        SavedGate(Mine("none")).save(tmp_path / "gate.json")


def test_a_bound_that_is_no_number_of_json_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a gate with a number that is not finite cannot be saved"):
        SavedGate(Threshold("popularity_log", inf, "below")).save(tmp_path / "gate.json")
    assert not list(tmp_path.iterdir())
