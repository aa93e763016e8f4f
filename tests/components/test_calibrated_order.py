import json
import random
from collections.abc import Callable, Sequence
from itertools import permutations
from math import fsum, sqrt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.calibrated_order import (
    LEAST_QUESTIONS,
    CalibratedOrder,
    Placed,
    PositionProfile,
    fit_profile,
    rotations,
)
from ragloom.components.reordering import relevance
from ragloom.errors import ConfigError, InputError
from ragloom.run import Run
from ragloom.types import Chunk, Hit


def profile(*curve: float, difference_error: float = 0.0) -> PositionProfile:
    errors = tuple(0.1 for _ in curve)
    return PositionProfile(100, curve, errors, curve, max(curve) - min(curve), difference_error)


def scored(*scores: float) -> list[Hit]:
    return [Hit(Chunk(f"c{place}", ""), score) for place, score in enumerate(scores)]


def asked(
    questions: int, k: int, chance: Callable[[int, float], float], *, seed: int, everywhere: bool = True
) -> list[Placed]:
    """Outcomes of questions of different difficulty; `chance` of a right answer by position and difficulty."""
    draw = random.Random(seed)
    difficulties = [draw.random() for _ in range(questions)]
    return [
        Placed(str(question), position, float(draw.random() < chance(position, difficulty)))
        for question, difficulty in enumerate(difficulties)
        for position in (range(k) if everywhere else [question % k])
    ]


# ---- The design


@given(k=st.integers(0, 12))
def test_in_the_design_each_place_stands_at_each_position_once(k: int):
    square = rotations(k)
    assert len(square) == k
    for line in [*square, *zip(*square, strict=True)]:
        assert sorted(line) == list(range(k))


# ---- The profile


def test_a_profile_by_hand():
    """Each question is right at the first position, half of them at the last, none between."""
    outcomes = [
        Placed(str(question), position, right)
        for question in range(20)
        for position, right in enumerate([1.0, 0.0, 0.0, 0.0, float(question % 2)])
    ]
    found = fit_profile(outcomes, 5)
    assert found.questions == 20
    assert found.accuracies == (1.0, 0.0, 0.0, 0.0, 0.5)
    assert found.errors == pytest.approx((0, 0, 0, 0, sqrt(0.25 * 20 / 19 / 20)))
    # The parabola through (1, 0, 0, 0, .5) at -2..2 by least squares: .3 - .1 x + .25 (x^2 - 2) * 6 / 7
    expected = [0.3 - 0.1 * x + 1.5 / 7 * (x**2 - 2) for x in (-2, -1, 0, 1, 2)]
    assert found.curve == pytest.approx(expected)
    assert found.difference == pytest.approx(max(expected) - min(expected))
    assert found.has_effect


def test_what_is_hard_about_a_question_is_taken_out():
    """The hard questions were asked only where the passage stood early: no fault of the position."""
    outcomes = [Placed(f"easy {n}", position, 1.0) for n in range(15) for position in (1, 2)]
    outcomes += [Placed(f"hard {n}", position, 0.0) for n in range(15) for position in (0, 1)]
    found = fit_profile(outcomes, 3)
    assert found.accuracies == (0.0, 0.5, 1.0)
    assert found.curve == pytest.approx((0.5, 0.5, 0.5))
    assert not found.has_effect


def test_the_standard_error_is_that_of_repeated_calibrations():
    chances = [0.8, 0.6, 0.5, 0.45, 0.5, 0.6, 0.75]
    fits = [
        fit_profile(asked(80, 7, lambda position, hard: chances[position] * hard**0.3, seed=seed), 7)
        for seed in range(150)
    ]
    slopes = [found.curve[0] - found.curve[3] for found in fits]
    mean = fsum(slopes) / len(slopes)
    spread = sqrt(fsum((slope - mean) ** 2 for slope in slopes) / (len(slopes) - 1))
    errors = fsum(found.difference_error for found in fits) / len(fits)
    assert errors == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize("everywhere", [True, False])
def test_flat_profiles_pass_for_an_effect_in_about_one_of_twenty(everywhere: bool):
    questions = 40 if everywhere else 240
    found = [
        fit_profile(asked(questions, 6, lambda position, hard: hard, seed=seed, everywhere=everywhere), 6).has_effect
        for seed in range(300)
    ]
    assert sum(found) / len(found) < 0.1  # two standard errors between the best and the worst position: one in eight


@pytest.mark.parametrize("everywhere", [True, False])
def test_an_effect_is_found_with_either_design(everywhere: bool):
    def chance(position: int, hard: float) -> float:
        return 0.9 if position in (0, 5) else 0.4

    found = fit_profile(asked(60 if everywhere else 300, 6, chance, seed=1, everywhere=everywhere), 6)
    assert found.has_effect
    assert min(found.curve[0], found.curve[5]) > max(found.curve[1:5])


def test_one_position_and_two_positions_have_profiles():
    one = fit_profile([Placed(str(n), 0, float(n % 2)) for n in range(30)], 1)
    assert (one.curve, one.has_effect) == ((0.5,), False)
    two = fit_profile([Placed(str(n), place, float(place or n % 3 == 0)) for n in range(30) for place in (0, 1)], 2)
    assert two.curve == pytest.approx(two.accuracies)
    assert two.has_effect


def placed(questions: int = LEAST_QUESTIONS, k: int = 2) -> list[Placed]:
    return [Placed(str(question), position, 1.0) for question in range(questions) for position in range(k)]


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ([], "0 questions are too few to fit an order to"),
        (placed(LEAST_QUESTIONS - 1), "19 questions are too few"),
        ([*placed(), Placed("who?", 2, 1.0)], r"'who\?' has the outcome 1.0 at position 2; .* from 0 to 1"),
        ([*placed(), Placed("who?", -1, 1.0)], "at position -1"),
        ([*placed(), Placed("who?", 0, float("nan"))], r"'who\?' has the outcome nan"),
        (placed(k=1), "no passage stood at position 1 of 2"),
    ],
)
def test_outcomes_that_a_profile_cannot_be_fitted_to_are_refused(outcomes: list[Placed], message: str):
    with pytest.raises(InputError, match=message):
        fit_profile(outcomes, 2)


# ---- The order


def worth(curve: Sequence[float], hits: Sequence[Hit]) -> float:
    return fsum(weight * hit.score for weight, hit in zip(curve, hits, strict=True))


@given(pairs=st.lists(st.tuples(st.floats(0, 1), st.floats(-5, 5)), min_size=1, max_size=6))
def test_no_permutation_is_worth_more(pairs: list[tuple[float, float]]):
    curve, hits = [weight for weight, _ in pairs], scored(*(score for _, score in pairs))
    ordered = CalibratedOrder(profile(*curve))("q", hits)
    assert sorted(map(id, ordered)) == sorted(map(id, hits))
    if profile(*curve).has_effect:
        best = max(worth(curve, other) for other in permutations(hits))
        assert worth(curve, ordered) == pytest.approx(best)


def test_no_permutation_of_seven_is_worth_more():
    curve, hits = (0.8, 0.5, 0.3, 0.2, 0.4, 0.6, 0.7), scored(0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.5)
    ordered = CalibratedOrder(profile(*curve))("q", hits)
    assert worth(curve, ordered) == pytest.approx(max(worth(curve, other) for other in permutations(hits)))
    assert [hit.score for hit in ordered] == [0.9, 0.5, 0.2, 0.1, 0.3, 0.7, 0.8]


def told(order: CalibratedOrder, hits: list[Hit]) -> tuple[list[Hit], str]:
    with Run() as run:
        ordered = order("q", hits)
    (step,) = run.record().spans
    return ordered, f"{step.attributes['order']}: {step.attributes['reason']}"


def test_without_an_effect_the_order_is_relevance_and_says_so():
    hits = scored(0.1, 0.9, float("nan"), 0.5)
    flat, unsure = profile(0.5, 0.5, 0.5, 0.5), profile(0.1, 0.2, 0.3, 0.4, difference_error=0.15)
    for found in (flat, unsure):
        assert told(CalibratedOrder(found), hits) == (
            relevance("q", hits),
            "relevance: no effect of the position was found",
        )
    sure = profile(0.1, 0.2, 0.3, 0.4, difference_error=0.1)
    ordered, reason = told(CalibratedOrder(sure), hits)
    assert ordered == relevance("q", hits)[::-1]
    assert reason == "calibrated: "


def test_a_difference_below_two_standard_errors_is_never_an_effect():
    assert not profile(0.5, 0.7, difference_error=0.11).has_effect
    assert not profile(0.5, 0.6, 0.7, difference_error=0.1).has_effect
    assert profile(0.5, 0.6, 0.75, difference_error=0.1).has_effect


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_another_number_of_passages_than_calibrated_for_stands_by_relevance(number: int):
    hits = scored(*range(number))
    assert told(CalibratedOrder(profile(0.1, 0.2, 0.9)), hits) == (
        hits[::-1],
        f"relevance: calibrated for 3 passages, given {number}",
    )


# ---- Files

BOUND = {"model": "smollm2", "prompt": "short"}
SAVED = CalibratedOrder(profile(0.4, 0.2, 0.7), BOUND)


def test_a_saved_order_is_read_as_it_was(tmp_path: Path):
    SAVED.save(tmp_path / "new" / "order.json")
    read = CalibratedOrder.load(tmp_path / "new" / "order.json")
    assert read == SAVED
    assert read.checked({**BOUND, "other": "x"}) is read


def test_an_order_of_another_model_is_refused():
    with pytest.raises(ConfigError, match="calibrated with something else: model was 'smollm2', is 'qwen'; calibrate"):
        SAVED.checked({"model": "qwen", "prompt": "short"})
    with pytest.raises(ConfigError, match="prompt was 'short', is None"):
        SAVED.checked({"model": "smollm2"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "'format' must be 1"),
        ({"profile": None}, "'profile' must be an object"),
        ({"bound_to": ["model"]}, "'bound_to' must be an object"),
        ({"bound_to": {"model": 3}}, r"bound_to: the field 'model' must be a string, found a number"),
        ({"curve": 1}, r"profile: the field 'curve' must be a list of finite numbers"),
        ({"curve": [0.1, "0.2", 0.3]}, r"profile: the field 'curve' must be a list of finite numbers"),
        ({"curve": [0.1, True, 0.3]}, r"profile: the field 'curve' must be a list of finite numbers"),
        ({"curve": [0.1, 0.2]}, "must be of one length, and not empty"),
        ({"curve": [], "errors": [], "accuracies": []}, "must be of one length, and not empty"),
        ({"difference": None}, "'difference' must be a finite number"),
        ({"difference": 10**400}, "'difference' must be a finite number"),
        ({"questions": []}, "'questions' must be a finite number"),
    ],
)
def test_a_damaged_file_is_refused_with_its_field(tmp_path: Path, change: dict[str, object], message: str):
    path = tmp_path / "order.json"
    SAVED.save(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    for name, value in change.items():
        (data if name in data else data["profile"])[name] = value
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"order\.json.*{message}"):
        CalibratedOrder.load(path)


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"gone\.json"):
        CalibratedOrder.load(tmp_path / "gone.json")
    (tmp_path / "order.json").write_text('{"format": 1, "profile": ', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"order\.json"):
        CalibratedOrder.load(tmp_path / "order.json")
