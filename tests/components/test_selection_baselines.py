import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from math import e, inf, nan
from zlib import crc32

import numpy as np
import pytest
from coverage_instances import WORDS, instance
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.branch_and_bound import best_subset
from ragloom.components.candidates import Scoring, candidates
from ragloom.components.combinations import Combination, Cost, Selector, Utility
from ragloom.components.selection_baselines import (
    Beam,
    Exhaustive,
    GreedyMarginal,
    LocalSearch,
    beam_search,
    greedy_marginal,
)
from ragloom.errors import BadReply, ConfigError
from ragloom.run import Run
from ragloom.types import Chunk, Hit

COST = Cost(lambda text: text.count("a"), separator_tokens=0)


@dataclass
class Table:
    """A utility given as a function of the chunks' numbers; keeps the batches that it was asked for."""

    worth: Callable[[tuple[int, ...]], float]
    batches: list[list[tuple[int, ...]]] = field(default_factory=list)

    def __call__(self, query: str, combined: Sequence[Combination], /) -> list[float]:
        self.batches.append([tuple(int(hit.chunk.id) for hit in hits) for hits in combined])
        return [self.worth(numbers) for numbers in self.batches[-1]]


def random_worth(seed: int, *, ordered: bool = False) -> Callable[[tuple[int, ...]], float]:
    """A number of its own for each combination."""
    return lambda numbers: crc32(repr((seed, numbers if ordered else sorted(numbers))).encode()) / 2**32 - 0.5


def hits_of(costs: Sequence[int]) -> list[Hit]:
    return [Hit(Chunk(str(number), f"w{number} v{number} {'a' * cost}"), -number) for number, cost in enumerate(costs)]


def ids(hits: Sequence[Hit]) -> str:
    return "".join(hit.chunk.id for hit in hits)


def searches(utility: Utility, budget: float, evaluations: int | None = None) -> list[Selector]:
    return [
        GreedyMarginal(utility, budget, cost=COST, evaluations=evaluations),
        Beam(utility, budget, cost=COST, evaluations=evaluations),
        LocalSearch(utility, budget, cost=COST, evaluations=evaluations),
        Exhaustive(utility, budget, cost=COST, evaluations=evaluations),
    ]


costs_of_hits = st.lists(st.integers(0, 9), min_size=1, max_size=6)
few_costs = st.lists(st.integers(0, 9), min_size=1, max_size=4)  # of which every order is tried
seeds = st.integers(0, 1000)


@given(costs_of_hits, st.integers(0, 30), seeds)
def test_exhaustive_search_finds_the_optimum(costs: list[int], budget: int, seed: int) -> None:
    worth = random_worth(seed)
    fitting = [
        numbers
        for size in range(1, len(costs) + 1)
        for numbers in combinations(range(len(costs)), size)
        if sum(costs[number] for number in numbers) <= budget
    ]
    selection = Exhaustive(Table(worth), budget, cost=COST).select("", hits_of(costs))
    assert selection.evaluations == len(fitting)
    assert selection.reward == max(map(worth, fitting), default=0.0)


@given(few_costs, st.integers(0, 20), seeds)
def test_exhaustive_search_tries_every_order_where_order_matters(costs: list[int], budget: int, seed: int) -> None:
    worth = random_worth(seed, ordered=True)
    fitting = [
        numbers
        for size in range(1, len(costs) + 1)
        for numbers in permutations(range(len(costs)), size)
        if sum(costs[number] for number in numbers) <= budget
    ]
    selection = Exhaustive(Table(worth), budget, cost=COST, ordered=True).select("", hits_of(costs))
    assert selection.evaluations == len(fitting)
    assert selection.reward == max(map(worth, fitting), default=0.0)


@given(few_costs, st.integers(0, 30), seeds, st.booleans(), st.none() | st.integers(0, 40))
def test_selections_fit_and_keep_to_their_evaluations(
    costs: list[int], budget: int, seed: int, ordered: bool, most: int | None
) -> None:
    hits = hits_of(costs)
    for make in (GreedyMarginal, Beam, LocalSearch, Exhaustive):
        table = Table(random_worth(seed, ordered=ordered))
        selector = make(table, budget, cost=COST, evaluations=most, ordered=ordered)
        selection = selector.select("", hits)
        assert selection.cost == sum(map(COST, selection.hits)) <= budget
        assert len(set(ids(selection.hits))) == len(selection.hits)
        assert selection.evaluations == sum(map(len, table.batches))
        assert most is None or selection.evaluations <= most
        assert selection.reason
        asked = [numbers for batch in table.batches for numbers in batch]
        assert not asked or selection.reward == max(map(table.worth, asked))


@given(costs_of_hits, st.integers(0, 30), seeds, st.integers(1, 60))
def test_more_evaluations_never_find_less(costs: list[int], budget: int, seed: int, most: int) -> None:
    hits, worth = hits_of(costs), random_worth(seed)
    fewer, more = searches(Table(worth), budget, most), searches(Table(worth), budget, most + 5)
    for less, rest in zip(fewer, more, strict=True):
        fewest, selection = less.select("", hits), rest.select("", hits)
        assert selection.reward >= fewest.reward


@given(costs_of_hits, st.integers(0, 30), seeds)
def test_local_search_is_never_below_greedy_nor_above_the_optimum(costs: list[int], budget: int, seed: int) -> None:
    greedy, _, local, optimum = (
        selector.select("", hits_of(costs)).reward for selector in searches(Table(random_worth(seed)), budget)
    )
    assert greedy <= local <= optimum


@given(costs_of_hits, st.integers(0, 30), seeds)
def test_a_beam_of_one_is_greedy_and_a_beam_of_all_tries_all_until_a_size_gains_nothing(
    costs: list[int], budget: int, seed: int
) -> None:
    def scoring() -> Scoring:
        return Scoring("", candidates(hits_of(costs), budget, COST), Table(random_worth(seed)))

    assert beam_search(scoring(), 1) == greedy_marginal(scoring())
    wide = scoring()
    assert beam_search(wide, 1000) == wide.best


@given(costs_of_hits, st.integers(0, 30), seeds)
def test_where_worth_adds_up_exhaustive_search_and_branch_and_bound_agree(
    costs: list[int], budget: int, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(1, 30, len(costs)).tolist()
    table = Table(lambda numbers: sum(values[number] for number in numbers))
    selection = Exhaustive(table, budget, cost=COST).select("", hits_of(costs))
    assert selection.reward == best_subset(values, costs, budget).value


@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=8), st.integers(1, 8))
def test_greedy_covers_at_least_its_share_where_gains_only_shrink(covered: list[set[int]], size: int) -> None:
    # Nemhauser, Wolsey and Fisher 1978: at equal costs, 1 - 1/e of the optimum of a monotone submodular function.
    table = Table(lambda numbers: len(set().union(*(covered[number] for number in numbers))))
    hits = hits_of([1] * len(covered))
    greedy, _, _, optimum = (selector.select("", hits).reward for selector in searches(table, size))
    assert greedy >= (1 - 1 / e) * optimum


def test_where_more_is_worse_less_than_fits_is_selected() -> None:
    table = Table(lambda numbers: sum(1.0 if number < 2 else -0.5 for number in numbers))
    for selector in searches(table, 100):
        selection = selector.select("", hits_of([1, 1, 1, 1, 1]))
        assert sorted(ids(selection.hits)) == ["0", "1"]
        assert selection.reward == 2.0


def test_greedy_asks_one_batch_a_round_and_stops_where_nothing_gains() -> None:
    table = Table(lambda numbers: min(len(numbers), 2))
    selection = GreedyMarginal(table, 100, cost=COST).select("", hits_of([1, 1, 1, 1]))
    assert [len(batch) for batch in table.batches] == [4, 3, 2]
    assert ids(selection.hits) == "01"
    assert selection.reason == "no further chunk gains"


def test_a_beam_asks_for_each_set_once() -> None:
    table = Table(len)
    selection = Beam(table, 3, cost=COST, width=3).select("", hits_of([1, 1, 1]))
    assert [len(batch) for batch in table.batches] == [3, 3, 1]
    assert selection.reward == 3


def test_a_beam_finds_what_greedy_misses() -> None:
    worth = {(0,): 3.0, (1,): 2.0, (2,): 2.0, (1, 2): 5.0}
    table = Table(lambda numbers: worth.get(tuple(sorted(numbers)), 1.0))
    assert ids(GreedyMarginal(table, 9, cost=COST)("", hits_of([1, 1, 1]))) == "0"
    assert sorted(ids(Beam(table, 9, cost=COST, width=2)("", hits_of([1, 1, 1])))) == ["1", "2"]


def test_local_search_leaves_the_combination_that_greedy_ends_in() -> None:
    worth = {(0,): 3.0, (1,): 2.0, (2,): 2.0, (1, 2): 5.0, (0, 1): 3.5}
    table = Table(lambda numbers: worth.get(tuple(sorted(numbers)), 1.0))
    assert sorted(ids(LocalSearch(table, 2, cost=COST, restarts=0)("", hits_of([1, 1, 1])))) == ["1", "2"]


def test_local_search_swaps_where_order_matters() -> None:
    table = Table(lambda numbers: 10.0 if numbers == (1, 0) else len(numbers) - (numbers[0] == 1))
    search = LocalSearch(table, 2, cost=COST, restarts=0, ordered=True)
    assert ids(search("", hits_of([1, 1]))) == "10"


def test_local_search_with_a_seed_repeats_itself() -> None:
    hits = hits_of([3, 1, 4, 1, 5, 9, 2, 6])
    first, again, other = (Table(random_worth(1)) for _ in range(3))
    for table, seed in ((first, 7), (again, 7), (other, 8)):
        LocalSearch(table, 12, cost=COST, seed=seed).select("", hits)
    assert first.batches == again.batches != other.batches


def test_of_equal_gains_the_cheaper_chunk_is_added_and_then_the_first() -> None:
    table = Table(lambda numbers: min(len(numbers), 2))
    for selector in searches(table, 100)[:2]:
        assert ids(selector("", hits_of([5, 2, 2, 2]))) == "12"


def test_a_budget_may_be_exactly_met() -> None:
    for selector in searches(Table(len), 7):
        assert selector.select("", hits_of([3, 4, 8])).cost == 7


def test_chunks_that_cost_nothing_can_be_selected_without_a_budget() -> None:
    for selector in searches(Table(len), 0):
        assert sorted(ids(selector("", hits_of([0, 1, 0])))) == ["0", "2"]


def test_a_budget_below_the_cheapest_chunk_gives_nothing_and_says_so() -> None:
    table = Table(len)
    for selector in searches(table, 2):
        selection = selector.select("", hits_of([3, 4]))
        assert selection.hits == ()
        assert selection.reason == "the cheapest chunk costs 3, more than the budget of 2"
        with pytest.raises(ConfigError, match=f"no passage can be selected: {selection.reason}"):
            selector("", hits_of([3, 4]))
    assert table.batches == []


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_what_has_no_number_is_not_selected(bad: float) -> None:
    table = Table(lambda numbers: bad if 0 in numbers else float(len(numbers)))
    for selector in searches(table, 100):
        assert sorted(ids(selector("", hits_of([1, 1, 1])))) == ["1", "2"]
    for selector in searches(Table(lambda numbers: bad), 100):
        assert selector.select("", hits_of([1, 1, 1])).reason == "no combination could be scored"


def test_worth_below_zero_is_worth_all_the_same() -> None:
    for selector in searches(Table(lambda numbers: -float(sum(numbers)) - 1), 100):
        assert ids(selector("", hits_of([1, 1, 1]))) == "0"


def test_where_nothing_can_be_scored_the_chunks_that_fit_in_the_order_of_the_hits_are_selected() -> None:
    def failing(query: str, combined: Sequence[Combination], /) -> list[float]:
        raise BadReply("no rating")

    for selector in searches(failing, 5):
        assert ids(selector("", hits_of([3, 9, 2, 1]))) == "02"
    for selector in searches(Table(len), 5, 0):
        assert ids(selector("", hits_of([3, 9, 2, 1]))) == "02"


def test_of_duplicates_the_first_is_a_candidate() -> None:
    double = [Hit(Chunk(str(number), "one and the like"), 1.0) for number in range(2)]
    for selector in searches(Table(len), 100):
        assert ids(selector("", double)) == "0"


def test_every_search_is_traced_with_what_it_came_to() -> None:
    for selector in searches(Table(lambda numbers: nan if 0 in numbers else float(len(numbers))), 100):
        with Run() as run:
            selection = selector.select("", hits_of([1, 1, 1]))
        (step,) = run.record().spans
        assert json.dumps(step.attributes)
        told = {
            name: step.attributes[name] for name in ("selector", "budget", "candidates", "selected", "cost", "stop")
        }
        assert tuple(told.values()) == (type(selector).__name__, 100, 3, 2, 2, selection.reason)
        assert step.attributes["failures"] > 0


def test_used_up_evaluations_are_the_reason() -> None:
    for selector in searches(Table(len), 100, 4):
        selection = selector.select("", hits_of([1, 1, 1]))
        assert selection.evaluations == 4
        assert selection.reason == "the evaluations were used up"
        assert len(selection.hits) == 2


def test_too_many_candidates_for_exhaustive_search_are_refused() -> None:
    table = Table(len)
    with pytest.raises(ConfigError, match="15 candidates have 32767 combinations, more than the 16384"):
        Exhaustive(table, 100, cost=COST)("", hits_of([1] * 15))
    with pytest.raises(ConfigError, match="8 candidates have 109600 combinations"):
        Exhaustive(table, 100, cost=COST, ordered=True)("", hits_of([1] * 8))
    assert table.batches == []


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: GreedyMarginal(Table(len), 10, evaluations=-1), "evaluations must be at least 0, got -1"),
        (lambda: Beam(Table(len), 10, width=0), "width must be at least 1, got 0"),
        (lambda: Beam(Table(len), 10, evaluations=-2), "evaluations must be at least 0, got -2"),
        (lambda: LocalSearch(Table(len), 10, restarts=-1), "restarts must be from 0 and batch from 1, got -1 and 32"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make()


@pytest.mark.parametrize("seed", range(5))
def test_searches_come_near_the_optimum_of_facts_that_are_worth_more_together(seed: int) -> None:
    problem = instance(seed)
    optimum = problem.optimum()
    for make in (GreedyMarginal, Beam, LocalSearch):
        selection = make(problem, problem.budget, cost=WORDS).select("", problem.hits)
        assert 0.85 * optimum <= selection.reward <= optimum + 1e-9
