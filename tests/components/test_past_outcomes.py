from collections.abc import Mapping, Sequence
from math import cos, isnan, nan, pi, sin
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragloom.components.past_outcomes import PastOutcomes
from ragloom.errors import BadReply


class Compass:
    """An embedder that reads a question's direction, in degrees, from its last word."""

    model = "compass"

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        angles = [float(text.rstrip("?").split()[-1]) * pi / 180 for text in texts]
        return np.array([(cos(angle), sin(angle)) for angle in angles], np.float32).reshape(len(texts), 2)


def past(benefits: Mapping[str, float], k: int = 7) -> PastOutcomes:
    return PastOutcomes.of(Compass(), list(benefits), list(benefits.values()), k=k)


def benefit(signal: PastOutcomes, question: str) -> float:
    return signal(question).features["neighbours_benefit"]


def test_the_nearest_questions_tell_whether_retrieval_helps() -> None:
    signal = past({"to 0": 1, "to 20": -1, "to 40": 1, "to 180": -1, "to 200": -1}, k=3)
    assert benefit(signal, "to 15") == pytest.approx(1 / 3)
    assert benefit(signal, "to 195") == pytest.approx(-1 / 3)


def test_fewer_questions_than_k_all_count() -> None:
    assert benefit(past({"to 0": 1, "to 90": 0}), "to 10") == 0.5


@pytest.mark.parametrize("question", ["Whither to 20?", "whither  to 20", "WHITHER, to 20!"])
def test_a_question_is_not_its_own_neighbour(question: str) -> None:
    signal = past({"Whither to 20?": 1, "whither to 20": 1, "to 21": -1, "to 80": 1}, k=1)
    assert benefit(signal, question.rstrip("!")) == -1


def test_without_neighbours_the_benefit_is_unknown() -> None:
    assert isnan(benefit(past({}), "to 20"))
    assert isnan(benefit(past({"to 20": 1}), "To 20?"))
    assert isnan(benefit(past({"to 20": 1}), "  "))


def test_of_equally_near_questions_the_first_by_text_counts() -> None:
    assert benefit(past({"to 5": 1, "from 5": -1}, k=1), "to 0") == -1


@given(st.dictionaries(st.integers(0, 359), st.sampled_from([-1, 0, 1]), min_size=1), st.integers(0, 359), st.randoms())
def test_the_order_of_the_rows_does_not_matter(benefits: dict[int, int], angle: int, random: Random) -> None:
    rows = [(f"to {degrees}", float(value)) for degrees, value in benefits.items()]
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = past(dict(rows), k=3), past(dict(shuffled), k=3)
    assert first.identity == second.identity
    assert benefit(first, f"from {angle}") == benefit(second, f"from {angle}")


@given(st.lists(st.integers(0, 359), min_size=1, max_size=20, unique=True), st.integers(0, 359), st.integers(1, 9))
def test_the_benefit_is_that_of_brute_force(angles: list[int], angle: int, k: int) -> None:
    def away(other: int) -> int:
        return min((other - angle) % 360, (angle - other) % 360)

    near = sorted(angles, key=away)
    if len(near) > k and away(near[k - 1]) == away(near[k]):
        k += 1  # whichever of two equally near ones counts, both do
    signal = past({f"to {each}": each % 3 - 1 for each in angles}, k=k)
    assert benefit(signal, f"from {angle}") == pytest.approx(np.mean([each % 3 - 1 for each in near[:k]]))


def test_other_outcomes_are_another_signal() -> None:
    identities = {past(rows, k).identity for rows in ({"to 1": 1}, {"to 1": 0}, {"to 2": 1}) for k in (7, 5)}
    assert len(identities) == 6


def test_unusable_rows_are_refused() -> None:
    vectors = Compass()(["to 1"])
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        PastOutcomes(Compass(), ["to 1"], [1.0], vectors, k=0)
    with pytest.raises(ValueError, match="expected a benefit for each of 1 questions, got 2"):
        PastOutcomes(Compass(), ["to 1"], [1.0, 0.0], vectors)
    with pytest.raises(ValueError, match="every benefit must be a finite number"):
        PastOutcomes(Compass(), ["to 1"], [nan], vectors)
    with pytest.raises(BadReply, match="vector of length 2"):
        PastOutcomes(Compass(), ["to 1"], [1.0], 2 * vectors)
