"""Choosing a configuration, applying it, and reading choosers back from files."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest
from hash_embedder import HashEmbedder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragloom.components.combinations import Selection
from ragloom.components.configuration import (
    Agent,
    Always,
    Choice,
    Chooser,
    FeatureSpace,
    LinearWorth,
    Measurements,
    NearestWorth,
)
from ragloom.components.configuration_file import load_chooser, save_chooser
from ragloom.components.retrieval_scores import RetrievalScores
from ragloom.errors import ConfigError, InputError
from ragloom.run import Run
from ragloom.types import Chunk, Hit

HITS = [Hit(Chunk("1", "Jaws is a film."), 2.0), Hit(Chunk("2", "Sharks are fish."), 1.0)]
SPACE = FeatureSpace(("x", "y"), (1.0, 0.0), (2.0, 1.0), "test")
LINEAR = LinearWorth(SPACE, ("greedy", "mmr"), ((1.0, 0.0), (0.0, 1.0)), (0.5, 0.25))
NEAREST = NearestWorth(
    SPACE, ("greedy", "mmr"), ((0.0, 0.0), (1.0, 0.0), (0.0, 2.0)), ((1.0, 0.0), (0.0, 1.0), (0.5, 0.25)), 2
)
NUMBERS = st.floats(-10, 10)
ABOVE_0 = st.floats(0.1, 10)
PAIRS = st.tuples(NUMBERS, NUMBERS)
SPACES = st.builds(FeatureSpace, st.just(("x", "y")), PAIRS, st.tuples(ABOVE_0, ABOVE_0), st.text("ab é", max_size=4))
CHOOSERS: st.SearchStrategy[Chooser] = st.one_of(
    st.builds(Always, st.text(min_size=1, max_size=5), st.text(max_size=5)),
    st.builds(LinearWorth, SPACES, st.just(("greedy", "größer")), st.tuples(PAIRS, PAIRS), PAIRS),
    st.builds(
        NearestWorth, SPACES, st.just(("a", "b")), st.tuples(PAIRS, PAIRS), st.tuples(PAIRS, PAIRS), st.integers(1, 3)
    ),
)


@dataclass(frozen=True)
class First:
    """A Selector of the first k hits."""

    k: int

    def select(self, query: str, hits: Sequence[Hit], /) -> Selection:
        return Selection(tuple(hits[: self.k]), 0.0, 0.0)

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        return list(self.select(query, hits).hits)


@dataclass(frozen=True)
class WordCount:
    """A Measure."""

    identity: str = "test"

    def __call__(self, question: str, hits: Sequence[Hit], /) -> Mapping[str, float]:
        return {"x": float(len(question.split())), "y": float(len(hits))}


SELECTORS = {"greedy": First(1), "mmr": First(2)}


# ---- Choosers


def test_a_linear_model_takes_what_it_expects_most_of() -> None:
    choice = LINEAR({"x": 1.0, "y": 0.5})
    assert choice.name == "mmr"
    assert choice.expected == {"greedy": 0.5, "mmr": 0.75}
    assert "mmr is expected to be worth most: 0.750" in choice.reason
    assert LINEAR({"x": 3.0, "y": 0.5}).name == "greedy"


def test_an_unknown_feature_says_nothing_and_a_far_one_no_more_than_a_near_one() -> None:
    for unknown in ({}, {"x": nan, "y": nan}):
        assert LINEAR(unknown).expected == {"greedy": 0.5, "mmr": 0.25}
    assert LINEAR({"x": 1e9}).expected["greedy"] == 5.5


def test_neighbours_are_asked_for_their_mean_worth() -> None:
    assert NEAREST({"x": 1.5, "y": 0.0}).expected == {"greedy": 0.5, "mmr": 0.5}
    assert NEAREST({"x": 1.5, "y": 0.0}).name == "greedy"  # the first of equals
    assert NEAREST({"x": 1.0, "y": 3.0}).expected == {"greedy": 0.75, "mmr": 0.125}
    assert replace(NEAREST, k=9)({"x": 1.0}).expected == {"greedy": 0.5, "mmr": pytest.approx(1.25 / 3)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(SPACE, means=(1.0,)), "one length"),
        (lambda: replace(SPACE, scales=(1.0, 0.0)), "above 0, got 0"),
        (lambda: replace(LINEAR, names=("a", "a")), "different"),
        (lambda: replace(LINEAR, intercepts=(1.0,)), "each of 2 configurations"),
        (lambda: replace(LINEAR, weights=((1.0,), (2.0,))), "each of 2 features"),
        (lambda: replace(NEAREST, k=0), "at least 1, got 0"),
        (lambda: replace(NEAREST, known=()), "of 3 training questions, got 0"),
        (lambda: replace(NEAREST, rows=((0.0,),) * 3), "2 numbers"),
        (lambda: replace(NEAREST, known=((0.0,),) * 3), "2 worths"),
    ],
)
def test_numbers_that_do_not_fit_each_other_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# ---- The agent


def test_the_agent_applies_the_selector_that_is_chosen() -> None:
    agent = Agent(LINEAR, SELECTORS, WordCount())
    assert agent("one two three", HITS) == HITS
    assert agent("one two three four five six seven eight nine", HITS) == HITS[:1]
    assert agent.select("one two three", HITS) == SELECTORS["mmr"].select("one two three", HITS)


def test_the_choice_and_its_reason_are_traced() -> None:
    with Run() as run:
        Agent(LINEAR, SELECTORS, WordCount())("one two three", HITS)
    (step,) = run.record().spans
    assert (step.name, step.attributes) == (
        "configure",
        {
            "chosen": "mmr",
            "reason": "mmr is expected to be worth most: 2.250",
            "expected": {"greedy": 1.5, "mmr": 2.25},
        },
    )
    assert json.dumps(step.attributes)


def test_a_fixed_configuration_measures_nothing() -> None:
    def measure(question: str, hits: Sequence[Hit], /) -> Mapping[str, float]:
        raise AssertionError

    measure.identity = "anything"  # type: ignore[attr-defined]
    agent = Agent(Always("mmr", "no gain"), SELECTORS, measure)  # type: ignore[arg-type]
    assert agent.choose("?", HITS) == Choice("mmr", "no gain")
    assert agent("?", HITS) == HITS


def test_an_agent_without_its_selectors_or_its_measurements_is_refused() -> None:
    with pytest.raises(ConfigError, match="no selector for the configurations mmr; there are greedy"):
        Agent(LINEAR, {"greedy": First(1)}, WordCount())
    with pytest.raises(ConfigError, match="measurements of 'test', got 'other'"):
        Agent(LINEAR, SELECTORS, WordCount("other"))


# ---- Measurements


def test_question_hits_and_embedding_are_measured() -> None:
    question = "Who made the film Jaws?"
    embedder = HashEmbedder()
    found = Measurements(embedder)(question, HITS)
    assert found["question_who"] == 1
    assert found["retrieval_top"] == 2.0
    embedded = [name for name in sorted(found) if name.startswith("embedding_")]
    assert {name: found[name] for name in found if name not in embedded} == Measurements()(question, HITS)
    assert [found[name] for name in embedded] == pytest.approx(embedder([question])[0].tolist(), abs=1e-4)


def test_hits_are_measured_as_a_retriever_that_finds_them() -> None:
    for k in (1, 2):
        found = Measurements(k=k)("the film", HITS)
        theirs = RetrievalScores(lambda query, k: HITS[:k], k=k)("the film").features
        assert {name: repr(found[name]) for name in theirs} == {name: repr(value) for name, value in theirs.items()}
    assert not isnan(found["retrieval_gap"])  # which a single hit does not have


def test_scores_that_are_no_numbers_are_left_out() -> None:
    odd = [replace(HITS[0], score=nan), *HITS]
    assert Measurements()("film", odd) == Measurements()("film", HITS)
    assert isnan(Measurements()("film", [])["retrieval_top"])


def test_what_other_numbers_depend_on_is_in_the_identity() -> None:
    embedder = HashEmbedder()
    identities = {measure.identity for measure in (Measurements(), Measurements(k=5), Measurements(embedder))}
    assert len(identities) == 3
    assert embedder.model in Measurements(embedder).identity
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Measurements(k=0)


# ---- Files


@given(CHOOSERS, st.dictionaries(st.sampled_from(["x", "y"]), st.one_of(NUMBERS, st.just(nan))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_saved_chooser_chooses_as_before(tmp_path: Path, chooser: Chooser, features: dict[str, float]) -> None:
    save_chooser(chooser, tmp_path / "agent.json")
    loaded = load_chooser(tmp_path / "agent.json")
    assert loaded == chooser
    assert loaded(features) == chooser(features)


def test_what_is_no_chooser_of_ours_cannot_be_saved(tmp_path: Path) -> None:
    class Mine(Always):
        pass

    with pytest.raises(ConfigError, match="type Mine cannot be saved; use one of Always"):
        save_chooser(Mine("a"), tmp_path / "agent.json")


def test_a_file_that_is_missing_or_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file or folder"):
        load_chooser(tmp_path / "agent.json")
    save_chooser(LINEAR, tmp_path / "agent.json")
    text = (tmp_path / "agent.json").read_text(encoding="utf-8")
    (tmp_path / "agent.json").write_text(text[:-20], encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid JSON"):
        load_chooser(tmp_path / "agent.json")
    with pytest.raises(InputError, match="cannot write"):
        save_chooser(LINEAR, tmp_path / "agent.json" / "inside")


@pytest.mark.parametrize(
    ("chooser", "change", "message"),
    [
        (LINEAR, {"format": 2}, "'format' must be 1"),
        (LINEAR, {"kind": "os.system"}, "'kind' must be one of Always, LinearWorth, NearestWorth"),
        (LINEAR, {"kind": None}, "'kind' must be a string"),
        (LINEAR, {"space": []}, "'space' must be an object"),
        (LINEAR, {"space": {"features": ["x", 1]}}, r"space: the field 'features' must be a list of strings"),
        (LINEAR, {"names": "ab"}, "'names' must be a list of strings"),
        (LINEAR, {"names": ["a", "a"]}, "names must be different"),
        (LINEAR, {"weights": [1.0, 2.0]}, "field 'weights\\[0\\]' must be a list of finite numbers"),
        (LINEAR, {"weights": 1.0}, "'weights' must be a list of lists of numbers"),
        (LINEAR, {"weights": [[1.0], [2.0]]}, "a weight for each of 2 features; train the agent again"),
        (LINEAR, {"intercepts": [True, 1.0]}, "'intercepts' must be a list of finite numbers"),
        (LINEAR, {"intercepts": [10**400, 1.0]}, "'intercepts' must be a list of finite numbers"),
        (NEAREST, {"k": 1.5}, "'k' must be a whole number"),
        (NEAREST, {"k": 0}, "k must be at least 1"),
        (NEAREST, {"known": []}, "of 3 training questions, got 0"),
        (Always("a"), {"name": 1}, "'name' must be a string"),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(
    tmp_path: Path, chooser: Chooser, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "agent.json"
    save_chooser(chooser, path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"agent\.json.*{message}"):
        load_chooser(path)
