from dataclasses import dataclass
from itertools import combinations
from math import inf, nan

import pytest
from hash_embedder import HashEmbedder
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.combinations import Cost, Selector
from ragloom.components.relevance_selection import (
    MMR,
    EmbeddingSimilarity,
    GreedyFill,
    Knapsack,
    RatioGreedy,
    TopK,
    word_overlap,
)
from ragloom.errors import ConfigError
from ragloom.run import Run
from ragloom.types import Chunk, Hit


@dataclass(frozen=True)
class Letters:
    """Counts the letters a of a text."""

    def __call__(self, text: str) -> int:
        return text.count("a")


COST = Cost(Letters(), separator_tokens=0)


def hit(number: int, score: float, cost: int, words: str = "") -> Hit:
    """Of a chunk with words of its own, unless others are given."""
    return Hit(Chunk(str(number), f"{words or f'w{number} v{number}'} {'a' * cost}"), score)


def selectors(budget: float) -> list[Selector]:
    return [
        TopK(budget, k=3, cost=COST),
        GreedyFill(budget, cost=COST),
        RatioGreedy(budget, cost=COST),
        Knapsack(budget, cost=COST),
        Knapsack(budget, redundancy=0.2, cost=COST),
        MMR(budget, cost=COST),
    ]


def ids(hits: object) -> str:
    return "".join(hit.chunk.id for hit in hits)  # type: ignore[attr-defined]  # hits of a list or a tuple


scores = st.floats(allow_nan=True, allow_infinity=True, width=32)
lists = st.lists(st.tuples(scores, st.integers(0, 9)), max_size=8)


@given(lists, st.integers(0, 30))
def test_selections_fit_and_hold_each_hit_once(found: list[tuple[float, int]], budget: int) -> None:
    hits = [hit(number, score, cost) for number, (score, cost) in enumerate(found)]
    for selector in selectors(budget):
        selection = selector.select("", hits)
        assert selection.cost == sum(map(COST, selection.hits)) <= budget
        assert len(set(ids(selection.hits))) == len(selection.hits)
        assert set(ids(selection.hits)) <= set(ids(hits))
        assert 0 <= selection.reward <= len(selection.hits)
        assert selection.reason
        assert not selection.hits or selector("", hits) == list(selection.hits)


@given(lists, st.integers(0, 30))
def test_a_greedy_fill_leaves_out_only_what_does_not_fit(found: list[tuple[float, int]], budget: int) -> None:
    hits = [hit(number, score, cost) for number, (score, cost) in enumerate(found)]
    for selector in (GreedyFill(budget, cost=COST), RatioGreedy(budget, cost=COST), MMR(budget, cost=COST)):
        selection = selector.select("", hits)
        assert all(selection.cost + COST(other) > budget for other in hits if other not in selection.hits)


@given(lists, st.integers(0, 30))
def test_no_selection_that_fits_has_more_relevance_than_the_knapsack(
    found: list[tuple[float, int]], budget: int
) -> None:
    hits = [hit(number, score, cost) for number, (score, cost) in enumerate(found)]
    best = Knapsack(budget, cost=COST).select("", hits).reward
    for selector in selectors(budget):
        assert selector.select("", hits).reward <= best + 1e-9


def test_top_k_stops_at_what_does_not_fit_and_greedy_fill_goes_on() -> None:
    hits = [hit(0, 0.9, 3), hit(1, 0.8, 5), hit(2, 0.7, 2), hit(3, 0.6, 1)]
    assert ids(TopK(7, k=4, cost=COST)("", hits)) == "0"
    assert ids(TopK(10, k=2, cost=COST)("", hits)) == "01"
    assert ids(GreedyFill(7, cost=COST)("", hits)) == "023"
    assert TopK(10, k=2, cost=COST).select("", hits).reason == "2 chunks are selected"


def test_ratio_greedy_prefers_what_is_cheap_and_gives_it_in_the_order_of_the_hits() -> None:
    hits = [hit(0, 1.0, 10), hit(1, 0.6, 2), hit(2, 0.5, 1), hit(3, 0.0, 1)]
    assert ids(RatioGreedy(10, cost=COST)("", hits)) == "123"
    assert ids(RatioGreedy(13, cost=COST)("", hits)) == "012"


def test_what_costs_nothing_comes_first_for_ratio_greedy() -> None:
    hits = [hit(0, 1.0, 1), hit(1, 0.1, 0), hit(2, 0.0, 0)]
    assert ids(RatioGreedy(0, cost=COST)("", hits)) == "12"
    assert ids(RatioGreedy(1, cost=COST)("", hits)) == "012"


def test_the_knapsack_finds_the_sum_that_greedy_selection_misses() -> None:
    hits = [hit(0, 1.0, 6), hit(1, 0.9, 5), hit(2, 0.9, 5), hit(3, 0.0, 9)]
    assert ids(GreedyFill(10, cost=COST)("", hits)) == "0"
    assert ids(Knapsack(10, cost=COST)("", hits)) == "12"
    assert Knapsack(10, cost=COST).select("", hits).reward == pytest.approx(1.8)


def test_redundancy_makes_the_knapsack_leave_out_what_is_said_twice() -> None:
    hits = [
        hit(0, 1.0, 4, "one two three four"),
        hit(1, 0.9, 4, "one two three four five"),
        hit(2, 0.8, 4, "six seven"),
        hit(3, 0.0, 8),
    ]
    assert ids(Knapsack(8, cost=COST)("", hits)) == "01"
    assert ids(Knapsack(8, redundancy=0.3, cost=COST)("", hits)) == "02"


def test_mmr_weighs_relevance_against_likeness_and_cost() -> None:
    hits = [
        hit(0, 1.0, 2, "one two three four"),
        hit(1, 0.9, 2, "one two three four five"),
        hit(2, 0.5, 2, "six seven"),
        hit(3, 0.0, 4, "eight"),
    ]
    assert ids(MMR(4, cost=COST, relevance_weight=1.0)("", hits)) == "01"
    assert ids(MMR(4, cost=COST, relevance_weight=0.5)("", hits)) == "02"
    dear = [hit(0, 1.0, 9, "one"), hit(1, 0.95, 1, "two"), hit(2, 0.0, 9, "three")]
    assert ids(MMR(9, cost=COST, price=0.0)("", dear)) == "0"
    assert ids(MMR(9, cost=COST, price=0.1)("", dear)) == "1"


def test_embeddings_can_tell_what_is_alike() -> None:
    hits = [hit(0, 1.0, 2, "one two"), hit(1, 0.9, 2, "two one"), hit(2, 0.8, 2, "six seven"), hit(3, 0.0, 4)]
    alike = EmbeddingSimilarity(HashEmbedder())
    matrix = alike(hits)
    assert matrix.diagonal() == pytest.approx([1.0] * 4)
    assert matrix[0, 1] > matrix[0, 2] >= 0
    assert ids(MMR(4, cost=COST, relevance_weight=0.5, similarity=alike)("", hits)) == "02"


def test_word_overlap_is_jaccard_without_stop_words() -> None:
    hits = [Hit(Chunk("0", "the cats and dogs"), 1.0), Hit(Chunk("1", "a cat, a bird"), 1.0), Hit(Chunk("2", ""), 1.0)]
    assert word_overlap(hits).tolist() == [[1, pytest.approx(1 / 3), 0], [pytest.approx(1 / 3), 1, 0], [0, 0, 1]]


def test_hits_without_a_usable_score_come_last() -> None:
    hits = [hit(0, nan, 1), hit(1, 2.0, 1), hit(2, 1.0, 1)]
    assert ids(GreedyFill(2, cost=COST)("", hits)) == "12"


def test_without_any_usable_score_what_fits_is_selected() -> None:
    for selector in selectors(4):
        assert ids(selector("", [hit(0, nan, 2), hit(1, nan, 3), hit(2, -inf, 2)]))


def test_equal_scores_keep_the_order_of_the_hits() -> None:
    hits = [hit(number, 0.5, 2) for number in range(4)]
    for selector in selectors(4):
        assert ids(selector("", hits)) == "01"


def test_of_duplicates_the_first_is_selected() -> None:
    hits = [hit(0, 0.9, 2, "the like"), hit(1, 0.8, 2, "the like"), hit(2, 0.7, 2), hit(3, 0.1, 2)]
    for selector in selectors(4):
        assert ids(selector("", hits)) == "02"


def test_a_budget_below_the_cheapest_chunk_gives_nothing_and_says_so() -> None:
    for selector in selectors(2):
        selection = selector.select("", [hit(0, 0.9, 3), hit(1, 0.8, 4)])
        assert selection.hits == ()
        assert selection.reason == "the cheapest chunk costs 3, more than the budget of 2"


def test_a_selection_is_traced_with_its_reason() -> None:
    for selector in selectors(2):
        with Run() as run:
            selector.select("", [hit(0, 0.9, 3)])
        (step,) = run.record().spans
        assert step.attributes == {
            "selector": type(selector).__name__,
            "budget": 2,
            "candidates": 0,
            "selected": 0,
            "cost": 0,
            "reward": 0,
            "evaluations": 0,
            "stop": "the cheapest chunk costs 3, more than the budget of 2",
        }


def test_a_refiner_that_has_no_room_for_any_hit_says_so_rather_than_giving_none() -> None:
    for selector in selectors(2):
        with pytest.raises(ConfigError, match="no passage can be selected: the cheapest chunk costs 3, more than"):
            selector("", [hit(0, 0.9, 3), hit(1, 0.8, 4)])
        assert selector("", []) == []


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: TopK(10, k=0), "k must be at least 1, got 0"),
        (lambda: Knapsack(10, redundancy=-0.2), "redundancy must be a number from 0, got -0.2"),
        (lambda: MMR(10, price=nan), "price must be a number from 0, got nan"),
        (lambda: MMR(10, relevance_weight=1.2), "relevance_weight must be from 0 to 1, got 1.2"),
        (lambda: GreedyFill(-1)("", []), "context_tokens must be a number from 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make()  # type: ignore[operator]  # one of those above


def test_selectors_of_equal_settings_are_equal() -> None:
    assert all(one == other for one, other in zip(selectors(5), selectors(5), strict=True))
    assert all(one != other for one, other in combinations(selectors(5), 2))
