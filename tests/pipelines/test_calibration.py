"""Calibrating gates: what is known of the rows must be found, and what is not in them must not."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="calibrating takes the extra `calibration`")

from ragloom.components.gate_file import SavedGate
from ragloom.components.gate_models import Failure, Router
from ragloom.components.gate_rules import Fixed, Threshold
from ragloom.components.gating import MODES, Mode
from ragloom.components.question_features import QuestionFeatures
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.calibration import calibrate
from ragloom.pipelines.gate_fitting import Recipe, examples, fit
from ragloom.pipelines.gate_objectives import Labels, Objective
from ragloom.pipelines.gate_saving import saved_gate
from ragloom.pipelines.outcomes import Outcome, right, with_features

TWO: Mapping[Mode, float] = {"none": 0, "single": 1}
FEATURES_ONLY = (Recipe(terms=0.0),)
TERMS = (Recipe(terms=2.0),)


def row(number: int, none: bool, single: bool, question: str = "", **features: float) -> Outcome:
    answers: dict[Mode, str] = {"none": "yes" if none else "no", "single": "yes" if single else "no"}
    return Outcome(str(number), question or f"question {number}", ("yes",), answers, features)


def drawn(count: int, seed: int = 0) -> list[Outcome]:
    """Rows whose chances are known: x is how unsure the draft is, y how well the passages match."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(-2, 2, (2, count))
    none, single = (random.uniform(size=count) < 1 / (1 + np.exp(-odds)) for odds in (-2 * x, 2 * y))
    return [row(number, bool(none[number]), bool(single[number]), x=x[number], y=y[number]) for number in range(count)]


def test_routing_finds_the_best_decisions_there_are() -> None:
    calibration = calibrate(drawn(2000), costs=TWO, kinds=["routing"], recipes=FEATURES_ONLY)
    assert isinstance(calibration.rule, Router)
    unseen = drawn(2000, seed=1)
    decided = [calibration.rule("?", row.features).mode for row in unseen]
    best: list[Mode] = ["single" if 2 * row.features["y"] > -2 * row.features["x"] else "none" for row in unseen]
    assert np.mean([mine == theirs for mine, theirs in zip(decided, best, strict=True)]) > 0.95
    reached, possible = (
        np.mean([right(row, mode) for row, mode in zip(unseen, modes, strict=True)]) for modes in (decided, best)
    )
    assert reached == pytest.approx(possible, abs=0.01)
    assert calibration.accuracy == pytest.approx(possible, abs=0.03)


def test_a_price_saves_retrievals_that_help_little() -> None:
    free, dear = (
        calibrate(drawn(600), objective=Objective(price=price), costs=TWO, recipes=FEATURES_ONLY) for price in (0, 0.3)
    )
    assert dear.cost < free.cost


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.6])
def test_the_threshold_is_the_best_that_keeps_to_the_limit(limit: float) -> None:
    rows = [replace(row, features={"x": row.features["x"]}) for row in drawn(60)]
    rule = calibrate(rows, objective=Objective(cost_limit=limit), costs=TWO, kinds=["threshold"]).rule
    assert isinstance(rule, Threshold)

    def reached(bound: float, *, above: bool) -> tuple[float, float]:
        modes: list[Mode] = ["single" if (row.features["x"] > bound) == above else "none" for row in rows]
        cost = sum(mode == "single" for mode in modes) / 60
        return (sum(right(row, mode) for row, mode in zip(rows, modes, strict=True)) if cost <= limit else -1, -cost)

    values = [row.features["x"] for row in rows]
    bounds = [min(values) - 1, *values]
    best = max(reached(bound, above=above) for bound in bounds for above in (True, False))
    modes = [rule("?", row.features).mode for row in rows]
    found = sum(right(row, mode) for row, mode in zip(rows, modes, strict=True)), -modes.count("single") / 60
    assert found == pytest.approx(best)


def test_labels_of_a_fold_cannot_change_its_decisions() -> None:
    rows = drawn(120)
    before = calibrate(rows, costs=TWO, recipes=FEATURES_ONLY)
    for fold in range(5):
        # the deal of the folds depends on questions and seed alone: groups are dealt in a random order, one at a time
        names = np.unique([row.question for row in rows], return_inverse=True)[1]
        dealt = np.empty(120, int)
        dealt[np.random.default_rng(0).permutation(120)] = np.arange(120) % 5
        held_out = [number for number in range(120) if dealt[names[number]] == fold]
        turned = list(rows)
        for number in held_out:
            turned[number] = replace(rows[number], golds=("no",))
        after = calibrate(turned, costs=TWO, recipes=FEATURES_ONLY)
        assert [after.decisions[number] for number in held_out] == [before.decisions[number] for number in held_out]


def test_the_same_question_is_never_on_both_sides() -> None:
    # Answers are drawn by lot, so that nothing but having seen the very question helps.
    random = np.random.default_rng(3)
    lots = random.integers(0, 2, 100).astype(bool)
    rows = [
        row(2 * number + copy, bool(lots[number]), not lots[number], f"{'The ' * copy}Word{number} is what?")
        for number in range(100)
        for copy in (0, 1)
    ]
    calibration = calibrate(rows, costs=TWO, recipes=TERMS)
    assert calibration.accuracy < 0.65
    assert any("100 rows repeat" in warning for warning in calibration.warnings)


def test_where_nothing_helps_the_best_mode_stays() -> None:
    random = np.random.default_rng(0)
    rows = [row(number, False, bool(random.integers(2)), x=float(random.normal())) for number in range(200)]
    calibration = calibrate(rows, costs=TWO, recipes=FEATURES_ONLY)
    assert not calibration.gain
    assert calibration.rule == Fixed("single", "no gain: out of fold no gate was better than always single")
    assert saved_gate(calibration, rows).scores == ()  # a fixed rule has none, which is no drift


@pytest.mark.parametrize("mode", ["none", "single"])
def test_labels_of_one_class_make_a_constant_gate_with_a_warning(mode: Mode) -> None:
    rows = [row(number, mode == "none", mode == "single", x=float(number)) for number in range(200)]
    calibration = calibrate(rows, costs=TWO)
    assert calibration.rule("?", {}).mode == mode
    assert {warning.split(" are")[0] for warning in calibration.warnings} == {
        "the answers of mode none",
        "the answers of mode single",
    }


def test_three_modes_are_routed_by_what_helps() -> None:
    kinds: list[Mode] = [MODES[number % 3] for number in range(600)]
    rows = [
        Outcome(
            str(number),
            f"{'easy' if best == 'none' else 'plain' if best == 'single' else 'nested'} question {number}",
            ("yes",),
            {mode: "yes" if MODES.index(mode) >= MODES.index(best) else "no" for mode in MODES},
        )
        for number, best in enumerate(kinds)
    ]
    calibration = calibrate(rows, objective=Objective(price=0.1), recipes=TERMS)
    found = [decision.mode == best for decision, best in zip(calibration.decisions, kinds, strict=True)]
    assert np.mean(found) > 0.98
    assert calibration.rule("a nested question", {}).mode == "iterative"


def test_the_cheapest_gate_that_matches_always_retrieving_is_found() -> None:
    rows = [row(number, number % 2 == 0, True, x=float(number % 2)) for number in range(200)]
    calibration = calibrate(rows, objective=Objective(match="single"), costs=TWO, kinds=["threshold"])
    assert calibration.gain
    assert (calibration.accuracy, calibration.cost) == (1.0, 0.5)


def test_the_risk_of_answering_without_passages_is_bounded() -> None:
    rows = drawn(1000)
    calibration = calibrate(rows, objective=Objective(risk=0.2), costs=TWO, kinds=["failure"], recipes=FEATURES_ONLY)
    assert isinstance(calibration.rule, Failure)
    unseen = drawn(2000, seed=1)
    direct = [row for row in unseen if calibration.rule("?", row.features).mode == "none"]
    assert len(direct) > 400
    assert 1 - np.mean([right(row, "none") for row in direct]) < 0.2


def test_the_same_seed_gives_the_same_gate() -> None:
    assert calibrate(drawn(100), costs=TWO, seed=4) == calibrate(drawn(100), costs=TWO, seed=4)


def test_models_say_what_they_said_when_they_were_fitted() -> None:
    random = np.random.default_rng(0)
    questions = [f"{'who was the king' if number % 3 else 'what is'} number {number % 7}?" for number in range(90)]
    features = [{"x": float(value), "constant": 1.0} if value > -1 else {} for value in random.normal(size=90)]
    labels = Labels(("none", "single"), np.array([0.0, 1.0]), random.integers(0, 2, (90, 2)).astype(float))
    fitted = fit(examples(questions, features, labels, questions), np.arange(60), Recipe(terms=2.0))
    chances = fitted.probabilities(np.arange(90))
    for place, model in enumerate(fitted.models().values()):
        assert model.features == ("x",)
        said = [model.probability(question, known) for question, known in zip(questions, features, strict=True)]
        assert chances[:, place] == pytest.approx(said)


def embedded(count: int) -> list[Outcome]:
    """Retrieval helps on one side of a plane, which lies askew to every axis of the vectors."""
    vectors = np.random.default_rng(0).normal(size=(count, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        row(
            number,
            vector.sum() < 0,
            vector.sum() > 0,
            **{f"embedding_{place:03}": value for place, value in enumerate(vector.tolist())},
        )
        for number, vector in enumerate(vectors)
    ]


def test_an_embedding_is_used_as_a_whole_where_a_recipe_says_so() -> None:
    rows = embedded(600)
    found = calibrate(rows, costs=TWO, kinds=["routing"], recipes=[Recipe(terms=0.0, embedding=2.0)])
    assert found.accuracy > 0.9
    assert len(found.rule.features) == 16
    without = calibrate(rows, costs=TWO, kinds=["threshold", "routing"], recipes=TERMS)
    assert without.accuracy < 0.6
    assert not without.rule.features


def test_a_gate_on_an_embedding_can_be_saved_and_decides_the_same(tmp_path: Path) -> None:
    rows = embedded(200)
    calibration = calibrate(rows, costs=TWO, kinds=["routing"], recipes=[Recipe(terms=1.0, embedding=2.0)])
    saved_gate(calibration, rows, signals=["embedding"]).save(str(tmp_path / "gate.json"))
    loaded = SavedGate.load(str(tmp_path / "gate.json"))
    for outcome in rows:
        assert loaded.rule(outcome.question, outcome.features) == calibration.rule(outcome.question, outcome.features)
    assert loaded.rule.features == tuple(f"embedding_{place:03}" for place in range(16))


def test_recipes_with_an_embedding_are_left_out_where_there_is_none() -> None:
    rows = drawn(100)
    both = [*FEATURES_ONLY, Recipe(terms=0.0, embedding=2.0)]
    assert calibrate(rows, costs=TWO, recipes=both) == calibrate(rows, costs=TWO, recipes=FEATURES_ONLY)
    with pytest.raises(ConfigError, match="no gate to try"):
        calibrate(rows, costs=TWO, kinds=["routing"], recipes=both[1:])


def test_the_length_of_an_embedding_is_the_recipes() -> None:
    features = [row.features for row in embedded(100)]
    labels = Labels(("none",), np.zeros(1), np.random.default_rng(0).integers(0, 2, (100, 1)).astype(float))
    questions = [f"question {number}" for number in range(100)]
    given = examples(questions, features, labels, questions)
    fitted = fit(given, np.arange(60), Recipe(terms=0.0, embedding=2.0))
    (model,) = fitted.models().values()
    assert set(model.scales) == {0.5}
    assert fitted.probabilities(np.arange(100))[:, 0] == pytest.approx(
        [model.probability(question, known) for question, known in zip(questions, features, strict=True)]
    )


def test_a_calibrated_gate_can_be_saved_and_decides_the_same(tmp_path: Path) -> None:
    rows = with_features(drawn(200), [QuestionFeatures()])
    calibration = calibrate(rows, costs=TWO)
    saved_gate(calibration, rows, signals=["question"], bound_to={"model": "m"}).save(tmp_path / "gate.json")
    loaded = SavedGate.load(tmp_path / "gate.json")
    for outcome in rows:
        assert loaded.rule(outcome.question, outcome.features) == calibration.rule(outcome.question, outcome.features)
    assert loaded.words == tuple(sorted({"question", *("0" * digits for digits in (1, 2, 3))}))
    assert set(loaded.unknown_shares) == {0.0}


@pytest.mark.parametrize(("count", "few"), [(199, True), (200, False)])
def test_few_rows_are_warned_of(count: int, few: bool) -> None:
    calibration = calibrate(drawn(count), costs=TWO, recipes=FEATURES_ONLY)
    assert any("mostly chance" in warning for warning in calibration.warnings) == few


def test_without_scikit_learn_the_extra_is_named() -> None:
    script = (
        "import sys\n"
        "sys.modules['sklearn'] = None\n"  # as Python does it for a package that must not be imported
        "from ragloom.components.gate_models import LinearModel\n"
        "from ragloom.errors import ConfigError\n"
        "from ragloom.pipelines.calibration import calibrate\n"
        "LinearModel((), (), (), (), 0.0).probability('?', {})\n"  # a saved gate works without
        "try:\n"
        "    calibrate([])\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "calibrating a gate takes scikit-learn" in run.stdout
    assert "pip install 'ragloom[calibration]'" in run.stdout


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(InputError, match="49 outcomes are too few"):
        calibrate(drawn(49))
    with pytest.raises(ConfigError, match="needs the mode none and another one, got single"):
        calibrate(drawn(60), modes=["single"])
    with pytest.raises(ConfigError, match="not fall from none to single"):
        calibrate(drawn(60), costs={"none": 2, "single": 1})
    with pytest.raises(ConfigError, match="no gate to try"):
        calibrate([replace(row, features={}) for row in drawn(60)], recipes=())
    with pytest.raises(InputError, match="1 different questions cannot be dealt to 5 folds"):
        calibrate([replace(row, question="the same") for row in drawn(60)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"price": -1.0}, "must not be below 0"),
        ({"risk": 1.0}, "between 0 and 1"),
        ({"match": "never"}, "match must be one of none, single, iterative"),
        ({"risk": 0.1, "cost_limit": 1.0}, "one of price, cost_limit, match and risk"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(wrong: Mapping[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objective(**wrong)  # type: ignore[arg-type]  # wrong on purpose
