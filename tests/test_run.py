import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.errors import BudgetExceeded
from ragloom.run import Budget, Run, current_run, map_threads, reserve, span
from ragloom.types import Usage


def call(tokens: int, *, cost: float | None = 0.0) -> None:
    with reserve(tokens=tokens, cost=cost) as reservation:
        reservation.settle(Usage(prompt_tokens=tokens, calls=1, cost=cost))


def test_outside_a_run_nothing_is_limited_or_recorded():
    with span("think") as attributes:
        call(10**9)
    assert attributes == {}
    assert current_run() is None


def test_spans_nest_and_keep_their_attributes():
    with Run() as run, span("outer", k=1), span("inner") as attributes:
        attributes["found"] = 2
    outer, inner = run.record().spans
    assert (outer.name, outer.parent, dict(outer.attributes)) == ("outer", -1, {"k": 1})
    assert (inner.name, inner.parent, dict(inner.attributes)) == ("inner", 0, {"found": 2})
    assert outer.seconds >= inner.seconds >= 0


def test_a_span_that_failed_says_with_what():
    with Run() as run, pytest.raises(KeyError), span("look"):
        raise KeyError("x")
    assert run.record().spans[0].attributes == {"error": "KeyError"}


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(tokens=15), "budget of 15 tokens does not cover the next call: it may come to 20"),
        (Budget(calls=1), "budget of 1 calls does not cover the next call: it may come to 2"),
        (Budget(cost=0.015), "budget of 0.015 dollars does not cover the next call: it may come to 0.02"),
    ],
)
def test_the_call_that_would_go_over_the_budget_is_not_made(budget: Budget, message: str):
    with Run(budget) as run:
        call(10, cost=0.01)
        with pytest.raises(BudgetExceeded, match=message):
            call(10, cost=0.01)
    assert run.spent == Usage(prompt_tokens=10, calls=1, cost=0.01)


def test_seconds_end_a_run():
    with Run(Budget(seconds=0.0)), pytest.raises(BudgetExceeded, match="0 seconds are over"):
        call(1)


def test_a_dollar_budget_refuses_a_model_without_a_price():
    with Run(Budget(cost=1.0)), pytest.raises(BudgetExceeded, match="price is unknown"):
        call(1, cost=None)


def test_a_failed_call_gives_its_reservation_back():
    with Run(Budget(calls=1)) as run:
        with pytest.raises(OSError, match="lost"), reserve(tokens=5, cost=0.0):
            raise OSError("lost")
        call(5)
    assert run.spent.calls == 1


def test_what_an_inner_run_spends_counts_outside_and_both_budgets_hold():
    with Run(Budget(calls=2), id="batch") as outer:
        with Run(Budget(calls=1)) as first:
            assert first.id == "batch"
            call(1)
            with pytest.raises(BudgetExceeded, match="budget of 1 calls"):
                call(1)
        with Run() as second:
            call(1)
            with pytest.raises(BudgetExceeded, match="budget of 2 calls"):
                call(1)
    assert (outer.spent.calls, first.spent.calls, second.spent.calls) == (2, 1, 1)


def test_a_resumed_run_counts_what_was_spent_before():
    with Run(Budget(calls=3), spent=Usage(calls=2)) as run:
        call(1)
        with pytest.raises(BudgetExceeded):
            call(1)
    assert run.spent.calls == 3


def test_seconds_left_are_those_of_the_tightest_run():
    with Run(Budget(seconds=5)), Run() as inner:
        assert 0 < inner.seconds_left() <= 5


def test_threads_share_the_budget_and_never_overshoot_it():
    gate = threading.Barrier(8)

    def race(_: int) -> bool:
        gate.wait()
        try:
            call(10)
        except BudgetExceeded:
            return False
        return True

    with Run(Budget(tokens=50)) as run:
        granted = sum(map_threads(race, range(8), workers=8))
    assert granted == 5
    assert run.spent.tokens == 50


@given(st.lists(st.integers()), st.integers(1, 5))
def test_map_threads_gives_every_result_once(items: list[int], workers: int):
    assert sorted(map_threads(lambda item: item * 2, items, workers=workers)) == sorted(item * 2 for item in items)


def test_map_threads_takes_items_only_as_threads_come_free():
    taken = []

    def endless():
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    results = map_threads(str, endless(), workers=2)
    assert len({next(results) for _ in range(10)}) == 10
    results.close()
    assert len(taken) < 20


def test_map_threads_stops_at_the_first_error():
    done = []

    def work(item: int) -> None:
        if item == 3:
            raise ValueError("three")
        done.append(item)

    with pytest.raises(ValueError, match="three"):
        list(map_threads(work, range(1000), workers=2))
    assert len(done) < 1000


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf")])
def test_a_budget_is_a_finite_number_from_zero(limit: float):
    with pytest.raises(ValueError, match="a budget's cost must be a number from 0"):
        Budget(cost=limit)
