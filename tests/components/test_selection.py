"""Selecting combinations of chunks by tree search."""

import math
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from coverage_instances import WORDS, Sets, instance
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.candidates import Scoring, candidates
from ragloom.components.combinations import Cost
from ragloom.components.selection import CORAGSelector, MCTSSelector
from ragloom.components.selection_baselines import greedy_marginal
from ragloom.components.tree_search import tree_search
from ragloom.errors import BadReply, ConfigError
from ragloom.run import Run
from ragloom.types import Chunk, Hit


def hits_of(*lengths):
    """Hits of so many words, best first."""
    return [
        Hit(Chunk(str(number), " ".join(f"{number}x{place}" for place in range(length))), -float(number))
        for number, length in enumerate(lengths)
    ]


def numbers(combination):
    return tuple(int(hit.chunk.id) for hit in combination)


class Table:
    """Looks up what sets of chunks are worth; keeps the batches it was given."""

    def __init__(self, worth):
        self.worth = worth
        self.batches = []

    def __call__(self, query, batch):
        self.batches.append([numbers(combination) for combination in batch])
        return [self.worth(places) for places in self.batches[-1]]


@st.composite
def problems(draw):
    """(costs, budget, worth of each set) of at most six chunks."""
    costs = draw(st.lists(st.integers(0, 9), min_size=1, max_size=6))
    count = len(costs)
    subsets = [frozenset(chosen) for size in range(1, count + 1) for chosen in combinations(range(count), size)]
    worths = draw(st.lists(st.floats(-10, 10), min_size=len(subsets), max_size=len(subsets)))
    return costs, draw(st.integers(0, 30)), dict(zip(subsets, worths, strict=True))


def cost_of(costs):
    """Chunks cost what the table says, whatever their words."""
    return Cost(
        count_tokens=lambda text: 0, separator_tokens=0, access={str(at): cost for at, cost in enumerate(costs)}
    )


def problem_hits(costs):
    return [Hit(Chunk(str(at), f"word{at}", document_id=str(at)), -float(at)) for at in range(len(costs))]


# ---- Guarantees


@given(problems())
def test_with_enough_evaluations_the_optimum_is_selected(problem):
    costs, budget, worths = problem
    fitting = [worth for chosen, worth in worths.items() if sum(costs[at] for at in chosen) <= budget]
    selector = MCTSSelector(Table(lambda places: worths[frozenset(places)]), budget, cost=cost_of(costs))
    selection = selector.select("", problem_hits(costs))
    assert selection.reward == max(fitting, default=0)
    assert bool(selection.hits) == bool(fitting)


@given(problems(), st.integers(0, 40), st.integers(0, 30), st.sampled_from([0.0, 0.2, 3.0]))
def test_budget_and_evaluations_are_kept_and_greedy_is_never_better(problem, evaluations, iterations, exploration):
    costs, budget, worths = problem
    utility = Table(lambda places: worths[frozenset(places)])
    limits = {"evaluations": evaluations, "iterations": iterations, "exploration": exploration}
    selection = MCTSSelector(utility, budget, cost=cost_of(costs), **limits).select("", problem_hits(costs))
    chosen = numbers(selection.hits)
    assert sum(costs[at] for at in chosen) == selection.cost <= budget
    assert len(set(chosen)) == len(chosen)
    assert selection.evaluations == sum(len(batch) for batch in utility.batches) <= evaluations
    greedy = Scoring("", candidates(problem_hits(costs), budget, cost_of(costs)), utility, evaluations)
    greedy_marginal(greedy)
    if greedy.best and evaluations > len(costs) * (len(costs) + 1) / 2:  # enough for greedy to end
        assert selection.reward >= greedy.selection().reward


@given(problems())
def test_more_evaluations_never_select_worse(problem):
    costs, budget, worths = problem

    def worth(evaluations):
        selector = MCTSSelector(Table(lambda places: worths[frozenset(places)]), budget, cost=cost_of(costs))
        chosen = numbers(replace(selector, evaluations=evaluations).select("", problem_hits(costs)).hits)
        return worths[frozenset(chosen)] if chosen else 0.0

    found = [worth(evaluations) for evaluations in range(0, 30, 3)]
    assert found == sorted(found)


@given(problems(), st.integers(0, 60), st.integers(1, 20))
def test_corag_keeps_budget_and_evaluations(problem, evaluations, iterations):
    costs, budget, worths = problem
    utility = Table(lambda places: worths[frozenset(places)])
    selector = CORAGSelector(utility, budget, cost=cost_of(costs), evaluations=evaluations, iterations=iterations)
    selection = selector.select("", problem_hits(costs))
    assert selection.cost == sum(costs[at] for at in numbers(selection.hits)) <= budget
    assert selection.evaluations == sum(len(batch) for batch in utility.batches) <= evaluations


# ---- How near it comes, on problems as in the simulation of the specification


def test_twelve_chunks_and_200_evaluations_come_to_98_percent_of_the_optimum():
    shares, greedy = [], []
    for seed in range(40):
        problem = instance(seed, chunks=12, budget=700, useful=0.75)
        selection = MCTSSelector(problem, problem.budget, cost=WORDS).select("", problem.hits)
        shares.append(selection.reward / problem.optimum())
        start = MCTSSelector(problem, problem.budget, cost=WORDS, iterations=0).select("", problem.hits)
        greedy.append(start.reward / problem.optimum())
        assert selection.evaluations <= 200
    assert sum(shares) / 40 >= 0.98 > sum(greedy) / 40


def test_from_greedy_on_200_iterations_come_near_the_optimum_where_a_plain_search_does_not():
    seeded, plain = [], []
    for seed in range(20):
        problem = instance(seed)
        selector = MCTSSelector(problem, problem.budget, cost=WORDS, evaluations=None, iterations=200)
        seeded.append(selector.select("", problem.hits).reward / problem.optimum())
        plain.append(tree_search(Sets(problem), (), iterations=200).reward / problem.optimum())
    assert sum(seeded) / 20 >= 0.98
    assert sum(plain) / 20 <= 0.85


def test_corag_as_published_stays_at_two_chunks():
    problem = instance(0)
    selection = CORAGSelector(problem, problem.budget, cost=WORDS).select("", problem.hits)
    assert (len(selection.hits), selection.evaluations) == (2, 30 + 9 * 29)


# ---- Batches


def test_rewards_are_asked_for_in_few_batches():
    problem = instance(3)
    utility = Table(problem.worth)
    selection = MCTSSelector(utility, problem.budget, cost=WORDS, evaluations=400).select("", problem.hits)
    assert selection.evaluations == 400
    assert len(utility.batches) <= 50
    assert len(utility.batches[0]) == 31  # each chunk alone, and what fits of them


def test_no_set_is_asked_twice_and_with_order_no_sequence():
    for ordered, key in ((False, frozenset), (True, tuple)):
        utility = Table(lambda places: 1.0 + places[0] / 10)
        MCTSSelector(utility, 9, cost=WORDS, ordered=ordered).select("", hits_of(3, 3, 3))
        asked = [key(places) for batch in utility.batches for places in batch]
        assert len(asked) == len(set(asked)) == (15 if ordered else 7)


def test_where_order_counts_the_best_order_is_selected():
    def rising(places):
        return sum(before < after for before, after in pairwise(places)) + len(places) / 10

    selection = MCTSSelector(Table(rising), 12, cost=WORDS, ordered=True).select("", hits_of(3, 3, 3, 3))
    assert numbers(selection.hits) == (0, 1, 2, 3)


# ---- Where it looks


def test_what_is_worth_more_alone_is_tried_first():
    alone = {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4, 4: 0.5}
    utility = Table(lambda places: alone[places[0]] if len(places) == 1 else 0.0)
    MCTSSelector(utility, 99, cost=WORDS, iterations=8, evaluations=None).select("", hits_of(1, 1, 1, 1, 1))
    assert set(utility.batches[2][0]) == {4, 3, 2}  # after each alone, and the pairs with the best


def test_with_a_weight_for_the_cost_fewer_costly_combinations_are_looked_at():
    def costly(weight):
        utility = Table(lambda places: len(places) > 1 and (1.0 if 0 in places else 0.9))
        selector = MCTSSelector(utility, 200, cost=WORDS, cost_weight=weight, evaluations=None, iterations=300)
        selector.select("", hits_of(90, *[10] * 9))
        return sum(0 in places for batch in utility.batches for places in batch)

    assert costly(5) < 200 < costly(0)


def test_in_corag_a_branch_outlives_a_part_of_it_that_fails():
    worth = {(0,): 0.9, (0, 1): 1.0, (0, 2): 0.8, (0, 2, 3): 5.0}
    utility = Table(lambda places: math.nan if places[:2] == (0, 1) and len(places) > 2 else worth.get(places, 0.1))
    selection = CORAGSelector(utility, 99, cost=WORDS, iterations=40).select("", hits_of(1, 1, 1, 1))
    assert numbers(selection.hits) == (0, 2, 3)


# ---- Edges


def test_a_budget_below_the_cheapest_chunk_selects_nothing_and_says_why():
    for kind in (MCTSSelector, CORAGSelector):
        utility = Table(lambda places: 1.0)
        selection = kind(utility, 4, cost=WORDS).select("", hits_of(7, 5))
        assert (selection.hits, selection.cost, utility.batches) == ((), 0, [])
        assert selection.reason == "the cheapest chunk costs 5, more than the budget of 4"
        with pytest.raises(ConfigError, match=f"no passage can be selected: {selection.reason}"):
            kind(utility, 4, cost=WORDS)("", hits_of(7, 5))


def test_no_hits_select_nothing():
    selection = MCTSSelector(Table(lambda places: 1.0), 4).select("", [])
    assert (selection.hits, selection.reason) == ((), "there are no hits to select from")


def test_one_chunk_is_selected_even_where_it_is_worth_less_than_nothing():
    selection = MCTSSelector(Table(lambda places: -3.0), 9, cost=WORDS).select("", hits_of(5))
    assert (numbers(selection.hits), selection.reward, selection.evaluations) == ((0,), -3, 1)
    assert selection.reason == "every combination was looked at"


def test_where_more_text_is_worth_less_the_budget_is_not_filled():
    harmful = Table(lambda places: (1 in places) - 0.1 * len(places))
    assert numbers(MCTSSelector(harmful, 99, cost=WORDS).select("", hits_of(3, 3, 3, 3)).hits) == (1,)


def test_of_equal_rewards_the_cheapest_is_selected():
    assert numbers(MCTSSelector(Table(lambda places: 1.0), 99, cost=WORDS).select("", hits_of(4, 2, 3)).hits) == (1,)


def test_the_budget_may_be_met_exactly():
    selection = MCTSSelector(Table(len), 9, cost=WORDS).select("", hits_of(4, 5, 6))
    assert (set(numbers(selection.hits)), selection.cost) == ({0, 1}, 9)


def test_chunks_that_cost_nothing_can_be_selected_without_a_budget():
    free = cost_of([0, 0, 4])
    selection = MCTSSelector(Table(len), 0, cost=free).select("", problem_hits([0, 0, 4]))
    assert (set(numbers(selection.hits)), selection.cost) == ({0, 1}, 0)


def test_near_duplicates_are_selected_once():
    first, *others = hits_of(5, 5)
    twin = Hit(Chunk("7", first.chunk.text + " " + first.chunk.text), 0.5)
    chosen = MCTSSelector(Table(len), 99, cost=WORDS).select("", [first, twin, *others]).hits
    assert set(numbers(chosen)) == {0, 1}


def test_rewards_that_are_no_numbers_are_passed_over():
    broken = Table(lambda places: math.nan if 0 in places else float(len(places)))
    assert set(numbers(MCTSSelector(broken, 99, cost=WORDS).select("", hits_of(3, 3, 3)).hits)) == {1, 2}


def failing(query, batch):
    raise BadReply("gibberish")


def test_where_all_scoring_fails_the_chunks_that_fit_are_selected():
    selector = MCTSSelector(failing, 8, cost=WORDS, iterations=20)
    with Run() as run:
        selection = selector.select("", hits_of(3, 6, 4))
    assert (numbers(selection.hits), selection.reward) == ((0, 2), -math.inf)
    assert selection.reason == "no combination could be scored"
    attributes = next(step for step in run.record().spans if step.name == "select").attributes
    assert (attributes["failures"], attributes["reward"]) == (attributes["evaluations"], None)


def test_where_all_scoring_fails_corag_selects_the_chunks_that_fit_too():
    selection = CORAGSelector(failing, 8, cost=WORDS).select("", hits_of(3, 6, 4))
    assert (numbers(selection.hits), selection.reason) == ((0, 2), "no combination could be scored")
    assert numbers(CORAGSelector(Table(len), 8, cost=WORDS, evaluations=0).select("", hits_of(3, 6, 4)).hits) == (0, 2)


def test_costs_that_are_no_whole_numbers_may_meet_the_budget():
    costs = (0.1, 0.2, 0.3)  # together .6, but (.1 + .2) + .3 is more
    selection = MCTSSelector(Table(len), 0.6, cost=cost_of(costs)).select("", problem_hits(costs))
    assert len(selection.hits) == 3


def test_a_batch_that_fails_once_does_not_matter():
    replies = iter([BadReply("gibberish")])
    plain = Table(len)

    def failing_once(query, batch):
        for error in replies:
            raise error
        return plain(query, batch)

    assert len(MCTSSelector(failing_once, 9, cost=WORDS).select("", hits_of(3, 3, 3)).hits) == 3


def test_without_iterations_the_selection_is_greedy():
    problem = instance(5)
    scoring = Scoring("", candidates(problem.hits, problem.budget, WORDS), problem)
    greedy = scoring.selection(greedy_marginal(scoring))
    limits = {"iterations": 0, "evaluations": None}
    selection = MCTSSelector(problem, problem.budget, cost=WORDS, **limits).select("", problem.hits)
    assert (selection.hits, selection.reward) == (greedy.hits, greedy.reward)


def test_without_evaluations_the_chunks_that_fit_are_selected():
    utility = Table(len)
    selection = MCTSSelector(utility, 8, cost=WORDS, evaluations=0).select("", hits_of(3, 6, 4))
    assert (numbers(selection.hits), utility.batches) == ((0, 2), [])
    assert selection.reason == "the evaluations were used up"


def test_of_very_many_hits_the_first_are_looked_at():
    selection = MCTSSelector(Table(len), 30, cost=WORDS, evaluations=None).select("", hits_of(*[10] * 2000))
    assert len(selection.hits) == 3
    assert max(numbers(selection.hits)) < 60


@pytest.mark.parametrize("kind", [MCTSSelector, CORAGSelector])
@pytest.mark.parametrize("option", ["exploration", "cost_weight"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -0.1])
def test_weights_that_are_no_numbers_from_0_are_refused(kind, option, number):
    with pytest.raises(ValueError, match=f"{option} must be a number from 0, got {number}"):
        kind(Table(len), 9, **{option: number})


@pytest.mark.parametrize(
    ("option", "number"),
    [("iterations", -1), ("evaluations", -1), ("batch", 0), ("widening", 0), ("patience", 0), ("deadline_s", -1)],
)
def test_numbers_out_of_range_are_refused(option, number):
    with pytest.raises(ValueError, match=f"{option} must be a number from [01], got {number}"):
        MCTSSelector(Table(len), 9, **{option: number})


# ---- What is told


def test_the_frontier_offers_cheaper_combinations():
    worth = {0: 0.5, 1: 0.4, 2: 0.1}
    selector = MCTSSelector(Table(lambda places: sum(worth[place] for place in places)), 99, cost=WORDS)
    selection = selector.select("", hits_of(6, 3, 1))
    assert [cost for cost, _ in selection.frontier] == [1, 3, 4, 7, 9, 10]
    assert selection.frontier[-1] == (selection.cost, selection.reward)


def test_the_trace_tells_what_was_spent_and_why_it_ended():
    with Run() as run:
        selection = MCTSSelector(Table(len), 9, cost=WORDS).select("", hits_of(4, 5, 6))
    (step,) = run.record().spans
    assert step.name == "select"
    assert step.attributes == {
        "selector": "MCTSSelector",
        "budget": 9,
        "candidates": 3,
        "selected": 2,
        "cost": 9,
        "reward": 2,
        "evaluations": 4,
        "batches": 1,
        "failures": 0,
        "stop": "every combination was looked at",
    }
    assert selection.evaluations == 4


def test_a_selector_is_a_refiner():
    hits = hits_of(3, 3)
    for kind in (MCTSSelector, CORAGSelector):
        selector = kind(Table(lambda places: -float(len(places))), 9, cost=WORDS)
        assert selector("", hits) == list(selector.select("", hits).hits) == hits[:1]
