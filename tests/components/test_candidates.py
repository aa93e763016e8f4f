"""What selectors choose from, and the scoring of combinations of it."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.candidates import MOST, Candidates, Scoring, candidates
from ragloom.components.combinations import Cost
from ragloom.errors import BadReply
from ragloom.run import Run
from ragloom.types import Chunk, Hit

WORDS = Cost(count_tokens=lambda text: len(text.split()), separator_tokens=0)


def hit(text, score=1.0, **chunk):
    return Hit(Chunk(text, text, **chunk), score)


def texts(pool):
    return [hit.chunk.text for hit in pool.hits]


def pool_of(*costs, budget=100.0):
    return Candidates(tuple(hit(str(place)) for place in range(len(costs))), costs, budget)


class Recorded:
    """A utility that keeps the batches it was given, and replies from a list or by the number of chunks."""

    def __init__(self, *replies):
        self.batches = []
        self.replies = list(replies)

    def __call__(self, query, combinations):
        self.batches.append([tuple(int(hit.chunk.text) for hit in combination) for combination in combinations])
        reply = self.replies.pop(0) if self.replies else [float(len(places)) for places in self.batches[-1]]
        if isinstance(reply, Exception):
            raise reply
        return reply


# ---- Candidates


def test_what_the_budget_cannot_hold_is_no_candidate():
    pool = candidates([hit("one two three"), hit("four five")], 2, WORDS)
    assert (texts(pool), pool.costs, pool.reason) == (["four five"], (2,), "")


def test_a_chunk_may_take_the_whole_budget():
    assert texts(candidates([hit("one two")], 2, WORDS)) == ["one two"]


def test_of_near_duplicates_the_first_stays():
    long = [f"word{number}" for number in range(40)]
    first, second, other = " ".join(long), " ".join([*long[:39], *long[:2]]), " ".join([*long[:30], "else"])
    assert texts(candidates([hit(first), hit(second), hit(other)], 100, WORDS)) == [first, other]


def test_chunks_without_words_are_the_same_only_if_they_say_the_same():
    costs_one = Cost(count_tokens=lambda text: 1, separator_tokens=0)
    assert texts(candidates([hit("!?"), hit("***"), hit("!?", 0.5)], 100, costs_one)) == ["!?", "***"]


def test_a_near_duplicate_stays_where_the_budget_does_not_hold_the_first():
    assert texts(candidates([hit("again and again and again"), hit("again and")], 3, WORDS)) == ["again and"]


def test_hits_without_a_usable_score_come_last():
    pool = candidates([hit("a", math.nan), hit("b", 0.1), hit("c", math.inf), hit("d", 0.2)], 9, WORDS)
    assert texts(pool) == ["b", "d", "a", "c"]


def test_no_more_than_the_best_are_looked_at():
    looked_at = []
    counting = Cost(count_tokens=lambda text: looked_at.append(text) or 1, separator_tokens=0)
    pool = candidates([hit(f"w{number}") for number in range(5_000)], 10_000, counting)
    assert texts(pool) == [f"w{number}" for number in range(MOST)]
    assert len(looked_at) == 2 * MOST  # title and text


def test_it_is_said_why_there_are_none():
    assert candidates([], 10, WORDS).reason == "there are no hits to select from"
    pool = candidates([hit("one two three"), hit("one two")], 1, WORDS)
    assert (pool.hits, pool.reason) == ((), "the cheapest chunk costs 2, more than the budget of 1")


def test_chunks_that_cost_nothing_fit_any_budget():
    free = Cost(count_tokens=lambda text: 0, separator_tokens=0)
    assert texts(candidates([hit("a"), hit("b")], 0, free)) == ["a", "b"]


@pytest.mark.parametrize("budget", [-1, math.nan, math.inf])
def test_a_budget_that_is_no_number_from_0_is_refused(budget):
    with pytest.raises(ValueError, match=f"context_tokens must be a number from 0, got {budget}"):
        candidates([hit("a")], budget, WORDS)


# ---- Scoring


def test_what_is_new_is_one_batch_and_nothing_is_asked_twice():
    utility = Recorded()
    scoring = Scoring("", pool_of(1, 1, 1), utility)
    assert scoring([(0,), (0, 1), (1, 0), (0,)]) == [1, 2, 2, 1]
    assert scoring([(1, 0), (2,)]) == [2, 1]
    assert utility.batches == [[(0,), (0, 1)], [(2,)]]
    assert (scoring.evaluations, scoring.batches) == (3, 2)


def test_what_fits_is_taken_in_order():
    scoring = Scoring("", pool_of(4, 5, 2, 1, budget=7), Recorded())
    assert scoring.candidates.filled() == (0, 2, 3)
    assert scoring.candidates.filled([1, 0, 2]) == (1, 2)
    assert list(scoring.extensions((0,))) == [(0, 2), (0, 3)]
    assert (scoring.candidates.fits((1, 2)), scoring.candidates.fits((0, 1))) == (True, False)


class ByRank:
    """A utility that is relative to the candidates: the worth of a chunk is its place among them."""

    def __call__(self, query, combinations):
        raise AssertionError("was not prepared")

    def prepared(self, query, hits):
        ranks = {hit.chunk.id: float(len(hits) - rank) for rank, hit in enumerate(hits)}
        return lambda query, batch: [sum(ranks[hit.chunk.id] for hit in combination) for combination in batch]


def test_a_utility_that_is_relative_to_the_candidates_is_prepared_for_them():
    assert Scoring("", pool_of(1, 1, 1), ByRank())([(0,), (1, 2)]) == [3, 3]


def test_with_order_every_order_is_asked():
    utility = Recorded()
    Scoring("", pool_of(1, 1), utility, ordered=True)([(0, 1), (1, 0)])
    assert utility.batches == [[(0, 1), (1, 0)]]


def test_what_is_known_makes_no_batch():
    scoring = Scoring("", pool_of(1), Recorded())
    scoring([(0,)])
    scoring([(0,), ()])
    assert scoring.batches == 1


def test_the_limit_holds_within_a_batch():
    scoring = Scoring("", pool_of(1, 1, 1), Recorded(), most=2)
    assert scoring([(0,), (1,)]) == [1, 1]
    assert not scoring.exhausted
    assert scoring([(0,), (2,)]) == [1, -math.inf]
    assert scoring.exhausted
    assert scoring.evaluations == 2


def test_the_empty_combination_is_never_asked_and_never_the_best():
    utility = Recorded([-5.0])
    scoring = Scoring("", pool_of(1), utility)
    assert scoring([(), (0,)]) == [-math.inf, -5]
    assert scoring.best == (0,)
    assert utility.batches == [[(0,)]]


def test_a_utility_that_fails_is_asked_once_more():
    utility = Recorded(BadReply("gibberish"), [3.0])
    with Run() as run:
        assert Scoring("", pool_of(1), utility)([(0,)]) == [3]
    assert [step.name for step in run.record().spans] == ["scoring failed"]
    assert len(utility.batches) == 2


def test_a_batch_that_fails_twice_is_worth_nothing_and_counted():
    scoring = Scoring("", pool_of(1, 1), Recorded(BadReply("gibberish"), BadReply("gibberish")))
    assert scoring([(0,), (1,)]) == [-math.inf, -math.inf]
    assert (scoring.failures, scoring.best, scoring.selection().hits) == (2, (), ())
    assert scoring([(0,), (0, 1)]) == [-math.inf, 2]


def test_a_score_that_is_no_number_is_worth_nothing():
    scoring = Scoring("", pool_of(1, 1, 1), Recorded([math.nan, math.inf, -2.0]))
    assert scoring([(0,), (1,), (2,)]) == [-math.inf, -math.inf, -2]
    assert (scoring.failures, scoring.best) == (2, (2,))


def test_scores_of_another_number_than_combinations_are_a_mistake_of_the_utility():
    with pytest.raises(ValueError, match="the utility gave 1 scores for 2 combinations"):
        Scoring("", pool_of(1, 1), Recorded([1.0]))([(0,), (1,)])


def test_of_equal_scores_the_cheapest_is_best_and_then_the_first():
    scoring = Scoring("", pool_of(5, 3, 3), Recorded([1.0, 1.0, 1.0]))
    scoring([(0,), (1,), (2,)])
    assert scoring.best == (1,)


def test_the_frontier_has_what_no_cheaper_combination_beats():
    scoring = Scoring("", pool_of(1, 2, 3, 4, 4), Recorded([0.2, 0.1, 0.5, 0.5, 0.9]))
    scoring([(place,) for place in range(5)])
    assert scoring.selection().frontier == ((1, 0.2), (3, 0.5), (4, 0.9))


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(-5, 5)), min_size=1, max_size=12))
def test_cost_and_reward_rise_along_the_frontier_up_to_the_best(points):
    costs, rewards = zip(*points, strict=True)
    scoring = Scoring("", pool_of(*costs), lambda query, batch: rewards)
    scoring([(place,) for place in range(len(costs))])
    frontier = scoring.frontier()
    assert all(before < after for (before, _), (after, _) in pairwise(frontier))
    assert all(before < after for (_, before), (_, after) in pairwise(frontier))
    assert frontier[-1] == (scoring.cost(scoring.best), max(rewards))


def test_a_selection_above_the_budget_is_a_defect():
    with pytest.raises(AssertionError, match="selected 8 tokens of 5"):
        Scoring("", pool_of(4, 4, budget=5), Recorded()).selection((0, 1))


def test_a_selection_gives_the_hits_in_the_order_that_was_scored():
    scoring = Scoring("", pool_of(1, 2), Recorded())
    scoring([(1, 0)])
    selection = scoring.selection(reason="done")
    assert [hit.chunk.text for hit in selection.hits] == ["1", "0"]
    assert (selection.cost, selection.reward, selection.evaluations, selection.reason) == (3, 2, 1, "done")
