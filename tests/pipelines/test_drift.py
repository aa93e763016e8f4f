"""Whether a batch is like the calibration set."""

from math import inf, log, nan
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.pipelines.drift import Drift, drift, unknown_share

NUMBERS = st.lists(st.sampled_from([0.0, 1.0, 2.5, nan, inf, -inf]) | st.floats(-9, 9), min_size=30, max_size=60)


def normal(size: int, mean: float = 0.0, *, seed: int) -> list[float]:
    return np.random.default_rng(seed).normal(mean, 1, size).tolist()


def verdict(found: Drift) -> tuple[bool | None, str]:
    return found.drifted, found.advice.partition(":")[0]


# ---- Scores


def test_the_calibration_set_itself_has_not_drifted() -> None:
    scores = normal(200, seed=0)
    assert drift(scores, scores) == Drift(0.0, 0.0, 1.0, False, "within what chance explains")


def test_a_stability_index_by_hand() -> None:
    # A tenth of the calibration scores is 0, the rest is 1; the other way round in the batch. Half a question is added
    # to both bins.
    before, now = [0.0] * 10 + [1.0] * 90, [0.0] * 90 + [1.0] * 10
    found = drift(before, now)
    assert found.psi == pytest.approx(2 * (80 / 101) * log(90.5 / 10.5))
    assert found.ks == pytest.approx(0.8)
    assert verdict(found) == (True, "a large shift")


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_a_batch_beside_a_constant_calibration_score_has_drifted(value: float) -> None:
    assert verdict(drift([1.0] * 50, [value] * 50)) == (True, "a large shift")


def test_scores_that_became_unknown_have_drifted() -> None:
    scores = normal(100, seed=0)
    assert drift(scores, [*scores[:70], *[nan] * 30]).drifted


def test_chance_is_not_taken_for_drift() -> None:
    # At this size the index alone would call half of such batches a large shift.
    found = [drift(normal(300, seed=seed), normal(30, seed=1000 + seed)) for seed in range(100)]
    assert sum(bool(each.drifted) for each in found) <= 5
    assert {each.advice for each in found if each.psi >= 0.25 and each.p >= 0.01} == {
        "within what chance explains; look again with more questions"
    }


def test_a_small_but_certain_shift_is_not_drift() -> None:
    found = drift(normal(5000, seed=0), normal(5000, 0.1, seed=1))
    assert found.p < 0.01
    assert verdict(found) == (False, "a small shift; nothing to do")


def test_moderate_and_large_shifts_are_told_apart() -> None:
    assert verdict(drift(normal(2000, seed=0), normal(2000, 0.4, seed=1))) == (True, "a moderate shift")
    assert verdict(drift(normal(2000, seed=0), normal(2000, 0.8, seed=1))) == (True, "a large shift")


@pytest.mark.parametrize(("before", "now"), [(29, 500), (500, 29), (0, 0)])
def test_small_samples_get_no_verdict(before: int, now: int) -> None:
    found = drift([1.0] * before, [1.0] * now)
    assert (found.psi, found.ks, found.p, found.drifted) == (None, None, None, None)
    assert found.advice == f"no verdict on {min(before, now)} questions; 30 are needed"


@given(NUMBERS, NUMBERS, st.randoms(use_true_random=False))
def test_order_and_scale_do_not_matter(before: list[float], now: list[float], random: Random) -> None:
    found = drift(before, now)
    assert found.psi >= 0
    assert 0 <= found.ks <= 1
    assert 0 <= found.p <= 1
    assert drift(random.sample(before, len(before)), random.sample(now, len(now))) == found
    assert drift([2 * number for number in before], [2 * number for number in now]) == found


# ---- Words


def test_words_are_known_in_any_case() -> None:
    assert unknown_share("Who DIRECTED the Film?", {"who", "directed", "the", "film"}) == 0
    assert unknown_share("Who directed Titanic?", {"who", "directed"}) == pytest.approx(1 / 3)
    assert unknown_share("Wer führte Regie?", {"who"}) == 1


@pytest.mark.parametrize("question", ["", "?!", "  "])
def test_a_question_without_words_has_nothing_unknown(question: str) -> None:
    assert unknown_share(question, set()) == 0


@given(st.text(max_size=40), st.sets(st.text("abc", min_size=1, max_size=2)), st.text("abc", min_size=1, max_size=2))
def test_more_known_terms_leave_less_unknown(question: str, terms: set[str], term: str) -> None:
    assert 0 <= unknown_share(question, terms | {term}) <= unknown_share(question, terms) <= 1
