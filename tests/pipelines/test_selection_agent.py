"""Training the configuration agent: what the question tells must be found, and what it does not must not."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest

from ragloom.components.configuration import Agent, Always, LinearWorth, Measurements, NearestWorth
from ragloom.components.configuration_file import load_chooser, save_chooser
from ragloom.components.relevance_selection import TopK
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.selection_agent import Row, Training, train_agent
from ragloom.types import Chunk, Hit


def drawn(count: int, *, seed: int = 0, effect: float = 1.0) -> list[Row]:
    """Rows where greedy is better by the effect for positive x, and mmr for negative; questions differ far more."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        x, noise, easy = random.normal(size=3)
        worths = {"greedy": effect * (x > 0), "mmr": effect * (x < 0), "beam": 0.3 * effect}
        hard = 5 * easy
        rows.append(
            Row(f"question {number}", {name: hard + worth for name, worth in worths.items()}, {"x": x, "noise": noise})
        )
    return rows


def by_chance(count: int, seed: int) -> list[Row]:
    random = np.random.default_rng(seed)
    return [
        Row(
            f"question {number}",
            dict(zip("abcd", random.normal(size=4).tolist(), strict=True)),
            dict(zip("uvwxyz", random.normal(size=6).tolist(), strict=True)),
        )
        for number in range(count)
    ]


def reached(training: Training, rows: Sequence[Row]) -> float:
    return float(np.mean([row.worths[training.chooser(row.features).name] for row in rows]))


def oracle(rows: Sequence[Row]) -> float:
    return float(np.mean([max(row.worths.values()) for row in rows]))


def test_what_depends_on_the_question_is_found() -> None:
    training = train_agent(drawn(300))
    assert training.gain
    assert isinstance(training.chooser, LinearWorth)
    assert "linear, penalty" in training.reason
    unseen = drawn(500, seed=1)
    best_fixed = max(float(np.mean([row.worths[name] for row in unseen])) for name in ("greedy", "mmr", "beam"))
    assert reached(training, unseen) > best_fixed + 0.8 * (oracle(unseen) - best_fixed)


def test_what_no_line_divides_is_found_by_neighbours() -> None:
    rows = [
        replace(row, worths={"a": float(row.features["x"] * row.features["noise"] > 0), "b": 0.5}) for row in drawn(400)
    ]
    training = train_agent(rows)
    assert isinstance(training.chooser, NearestWorth)
    assert training.worth > max(training.fixed.values()) + 0.2


def test_an_embedding_is_used_where_it_tells() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = [
        Row(
            f"question {number}",
            {"a": float(vector.sum() > 0), "b": float(vector.sum() < 0)},
            {f"embedding_{place:03}": value for place, value in enumerate(vector.tolist())},
        )
        for number, vector in enumerate(vectors)
    ]
    training = train_agent(rows)
    assert "embedding" in training.reason
    assert training.worth > 0.9
    assert isinstance(training.chooser, LinearWorth | NearestWorth)
    assert set(training.chooser.space.scales) == {0.5}  # not standardised one by one


def test_out_of_fold_numbers_are_those_of_the_choices() -> None:
    rows = drawn(120)
    training = train_agent(rows)
    chosen = [row.worths[name] for row, name in zip(rows, training.choices, strict=True)]
    fixed = {name: np.mean([row.worths[name] for row in rows]) for name in rows[0].worths}
    best = max(fixed, key=fixed.__getitem__)
    differences = [mine - row.worths[best] for mine, row in zip(chosen, rows, strict=True)]
    assert training.worth == pytest.approx(np.mean(chosen))
    assert next(iter(training.fixed)) == best
    assert training.fixed == pytest.approx(fixed)
    assert training.difference == pytest.approx(np.mean(differences))
    assert training.standard_error == pytest.approx(np.std(differences, ddof=1) / np.sqrt(120))
    assert training.oracle == pytest.approx(oracle(rows))


def test_where_nothing_depends_on_the_question_the_best_configuration_stays() -> None:
    rows = [replace(row, worths={**row.worths, "beam": max(row.worths.values()) + 0.1}) for row in drawn(200)]
    training = train_agent(rows)
    assert not training.gain
    assert training.chooser == Always("beam", training.reason)
    assert training.reason.startswith("no gain: choosing came out of fold +0.0000")
    assert set(training.choices) == {"beam"}


def test_chance_is_hardly_ever_taken_for_a_gain() -> None:
    trainings = [train_agent(by_chance(80, seed)) for seed in range(20)]
    assert sum(training.gain for training in trainings) <= 1
    for training in trainings:
        assert training.gain == (training.difference > 2 * training.standard_error)
        assert training.gain or training.chooser.names == (next(iter(training.fixed)),)


def test_without_features_that_vary_the_best_configuration_stays() -> None:
    rows = [replace(row, features={"constant": 0.1, "unknown": nan}) for row in drawn(60)]
    assert isinstance(train_agent(rows).chooser, Always)
    assert isinstance(train_agent([replace(row, features={}) for row in rows]).chooser, Always)


def test_features_that_are_unknown_or_infinite_do_no_harm() -> None:
    rows = [
        replace(row, features={**row.features, "rare": inf if number % 3 else float(number), "tiny": number * 1e-300})
        for number, row in enumerate(drawn(300))
    ]
    rows[0] = replace(rows[0], features={})
    assert train_agent(rows).gain


def test_labels_of_a_fold_cannot_change_its_choices() -> None:
    rows = drawn(60)
    before = train_agent(rows)
    # the deal depends on questions and seed alone: different questions in a random order, one to each fold in turn
    names = np.unique([row.question for row in rows], return_inverse=True)[1]
    dealt = np.empty(60, int)
    dealt[np.random.default_rng(0).permutation(60)] = np.arange(60) % 5
    for fold in range(5):
        held_out = [number for number in range(60) if dealt[names[number]] == fold]
        turned = list(rows)
        for number in held_out:
            worths = rows[number].worths
            turned[number] = replace(rows[number], worths={name: -worth for name, worth in worths.items()})
        after = train_agent(turned)
        assert [after.choices[number] for number in held_out] == [before.choices[number] for number in held_out]
        assert after.fixed != before.fixed


def test_the_same_question_is_never_on_both_sides() -> None:
    # What is best is drawn by lot, so that nothing but having seen the very question helps.
    lots = np.random.default_rng(3).integers(0, 2, 100)
    spots = np.random.default_rng(4).normal(size=100)
    rows = [
        Row(f"{'The ' * copy}Word{number}?", {"a": float(lot), "b": 1.0 - lot}, {"spot": spot})
        for number, (lot, spot) in enumerate(zip(lots.tolist(), spots.tolist(), strict=True))
        for copy in range(12)  # more copies than there are neighbours
    ]
    training = train_agent(rows)
    assert training.worth < 0.65
    assert any("1100 rows repeat" in warning for warning in training.warnings)


def test_the_same_rows_give_the_same_agent() -> None:
    assert train_agent(drawn(100), seed=4) == train_agent(drawn(100), seed=4)


def test_an_agent_that_was_trained_selects_by_what_is_asked() -> None:
    hits = [Hit(Chunk(str(place), f"Passage {place}."), 1 / place) for place in range(1, 6)]
    measure = Measurements()
    questions = [f"{'Who was' if number % 2 else 'How many are'} number {number}?" for number in range(60)]
    rows = [
        Row(text, {"few": float(text.startswith("Who")), "many": float(text.startswith("How"))}, measure(text, hits))
        for text in questions
    ]
    training = train_agent(rows, measured_by=measure.identity)
    agent = Agent(training.chooser, {"few": TopK(1000, k=1), "many": TopK(1000, k=4)}, measure)
    assert agent("Who was it?", hits) == hits[:1]
    assert agent("How many are there?", hits) == hits[:4]
    with pytest.raises(ConfigError, match="measurements of 'question, 10 hits', got 'question, 5 hits'"):
        Agent(training.chooser, agent.selectors, Measurements(k=5))


@pytest.mark.parametrize("kind", [LinearWorth, NearestWorth])
def test_a_trained_agent_can_be_saved_and_chooses_the_same(tmp_path: Path, kind: type) -> None:
    rows = drawn(300)
    if kind is NearestWorth:
        rows = [replace(row, worths={"a": float(abs(row.features["x"]) > 0.7), "b": 0.5}) for row in rows]
    measure = Measurements()
    training = train_agent(rows, measured_by=measure.identity)
    assert isinstance(training.chooser, kind)
    save_chooser(training.chooser, tmp_path / "agent.json")
    loaded = load_chooser(tmp_path / "agent.json")
    assert loaded == training.chooser
    for row in rows:
        assert loaded(row.features) == training.chooser(row.features)
    with pytest.raises(ConfigError, match="there is no selector"):
        Agent(loaded, {}, measure)


@pytest.mark.parametrize(("count", "few"), [(199, True), (200, False)])
def test_few_rows_are_warned_of(count: int, few: bool) -> None:
    warned = train_agent(drawn(count)).warnings
    assert any(f"{count} rows: a gain on fewer than 200 is mostly chance" in warning for warning in warned) == few


def test_configurations_that_are_all_the_same_are_warned_of() -> None:
    training = train_agent([replace(row, worths={"a": 1.0, "b": 1.0}) for row in drawn(60)])
    assert "all configurations are worth the same for every question" in training.warnings
    assert training.chooser.names == ("a",)


def test_rows_that_cannot_be_learnt_from_are_refused() -> None:
    rows = drawn(60)
    with pytest.raises(InputError, match="49 rows are too few"):
        train_agent(rows[:49])
    with pytest.raises(ConfigError, match="to choose among, got only"):
        train_agent([replace(row, worths={"only": 1.0}) for row in rows])
    with pytest.raises(InputError, match="'question 7' has worths of mmr, not of greedy, mmr, beam"):
        train_agent([*rows[:7], replace(rows[7], worths={"mmr": 1.0}), *rows[8:]])
    with pytest.raises(InputError, match="'question 7' has a worth that is not finite"):
        train_agent([*rows[:7], replace(rows[7], worths={**rows[7].worths, "mmr": nan}), *rows[8:]])
    with pytest.raises(InputError, match="1 different questions cannot be dealt to 5 folds"):
        train_agent([replace(row, question="the same") for row in rows])
    with pytest.raises(ValueError, match="at least 2, got 1"):
        train_agent(rows, folds=1)


def test_choosing_and_training_take_no_scikit_learn() -> None:
    script = (
        "import sys\n"
        "sys.modules['sklearn'] = None\n"  # as Python does it for a package that must not be imported
        "from ragloom.pipelines.selection_agent import Row, train_agent\n"
        "rows = [Row(f'q {n}', {'a': n % 2, 'b': 1 - n % 2}, {'x': n % 2}) for n in range(60)]\n"
        "print(train_agent(rows).worth, 'scipy' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1.0", "False"]
