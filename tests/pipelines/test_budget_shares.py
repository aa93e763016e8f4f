import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.pipelines.budget_shares import BudgetShares
from ragloom.run import Budget
from ragloom.types import Usage

LIMITS = st.integers(min_value=0, max_value=1000)


@given(LIMITS, LIMITS, st.integers(min_value=1, max_value=8))
def test_shares_that_are_out_together_are_never_more_than_what_is_left(limit: int, spent: int, among: int) -> None:
    shares = BudgetShares(Budget(calls=limit, cost=limit / 7), Usage(calls=spent, cost=spent / 7), among=among)
    taken = [shares.take() for _ in range(among)]
    left = max(0, limit - spent)
    assert sum(share.calls or 0 for share in taken) <= left
    assert sum(share.cost or 0 for share in taken) == pytest.approx(left / 7)
    assert all(share.tokens is None and share.seconds is None for share in taken)


@given(st.lists(st.integers(min_value=0, max_value=50), max_size=20), st.integers(min_value=1, max_value=4))
def test_what_a_share_leaves_comes_back(spent: list[int], among: int) -> None:
    shares = BudgetShares(Budget(tokens=1000), Usage(), among=among)
    for tokens in spent:
        shares.settle(shares.take(), Usage(prompt_tokens=tokens))
    rest = sum(shares.take().tokens or 0 for _ in range(among))
    assert 1000 - sum(spent) - among < rest <= 1000 - sum(spent)


def test_what_a_share_overspends_is_taken_from_what_the_others_give_back() -> None:
    shares = BudgetShares(Budget(tokens=20), Usage(), among=2)
    first, second = shares.take(), shares.take()
    shares.settle(first, Usage(prompt_tokens=18))  # its last call took more than was thought
    shares.settle(second, Usage())
    assert shares.take().tokens == 1


def test_all_work_within_the_same_seconds() -> None:
    shares = BudgetShares(Budget(seconds=60), Usage(), among=3)
    assert all(50 < (shares.take().seconds or 0) <= 60 for _ in range(3))
