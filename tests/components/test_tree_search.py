"""The tree search, on problems that have nothing to do with chunks."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.tree_search import tree_search


class Words:
    """Words are spelled letter by letter; each has a reward of its own."""

    def __init__(self, reward, letters="abc", longest=3, *, price=None, most=math.inf, sets=False):
        self.reward = reward
        self.letters = letters
        self.longest = longest
        self.most = most
        self.sets = sets
        self.batches = []
        self.price = price or (lambda word: 0.0)

    @property
    def scored(self):
        return [word for batch in self.batches for word in batch]

    @property
    def exhausted(self):
        return len(self.scored) >= self.most

    def actions(self, word):
        letters = [letter for letter in self.letters if not (self.sets and letter in word)]
        return letters if len(word) < self.longest else []

    def apply(self, word, letter):
        return word + letter

    def key(self, word):
        return frozenset(word) if self.sets else word

    def evaluate(self, words):
        self.batches.append(list(words))
        return [self.reward(word) for word in words]


def sets_of(rewards):
    """Sets of letters whose rewards are looked up."""
    return Words(lambda word: rewards["".join(sorted(word))], letters="abcd", longest=4, sets=True)


SETS = ["".join(letters) for size in range(1, 5) for letters in combinations("abcd", size)]
any_rewards = st.fixed_dictionaries(dict.fromkeys(SETS, st.floats()))
rewards = st.fixed_dictionaries(dict.fromkeys(SETS, st.floats(-100, 100)))


def number(word):
    """Something that looks random, in [0, 1)."""
    return int.from_bytes(word.encode(), "big") * 7919 % 997 / 997


# ---- What is found


@given(any_rewards, st.integers(1, 5), st.floats(0, 3))
def test_the_best_of_the_whole_tree_is_found_and_then_it_stops(rewards, batch, exploration):
    problem = sets_of(rewards)
    found = tree_search(problem, "", batch=batch, exploration=exploration)
    usable = [reward for reward in rewards.values() if math.isfinite(reward)]
    assert found.stop == "exhausted"
    assert found.reward == max(usable, default=-math.inf)
    assert (found.state is None) == (not usable)
    assert sorted("".join(sorted(word)) for word in problem.scored) == sorted(SETS)  # each set once


@given(rewards, st.permutations("abcd"), st.integers(0, 6))
def test_the_outcome_is_never_worse_than_a_seed(rewards, seed, iterations):
    found = tree_search(sets_of(rewards), "", iterations=iterations, seeds=[seed])
    assert found.reward >= max(rewards["".join(sorted(seed[:end]))] for end in range(1, 5))


@given(rewards, st.integers(1, 4))
def test_more_iterations_never_find_worse(rewards, batch):
    found = [tree_search(sets_of(rewards), "", iterations=most, batch=batch).reward for most in range(0, 20, batch)]
    assert found == sorted(found)


def test_of_equal_rewards_the_first_action_wins():
    assert tree_search(Words(lambda word: 1.0), "", iterations=20).state == "a"


def test_the_same_search_takes_the_same_way():
    first, second = Words(number, longest=6), Words(number, longest=6)
    assert tree_search(first, "", iterations=200) == tree_search(second, "", iterations=200)
    assert first.batches == second.batches


def test_the_scale_of_the_rewards_does_not_matter():
    plain, scaled = Words(number, longest=6), Words(lambda word: 1024 * number(word) - 4096, longest=6)
    tree_search(plain, "", iterations=100)
    tree_search(scaled, "", iterations=100)
    assert plain.batches == scaled.batches


# ---- Where it looks


def test_the_best_branch_is_gone_into_most():
    problem = Words(lambda word: 1.0 if word[0] == "b" else 0.0, longest=8)
    tree_search(problem, "", iterations=300)
    inside = [word[0] for word in problem.scored]
    assert inside.count("b") > 200
    assert {"a", "c"} < set(inside)


def test_exploration_spreads_the_descents():
    def share(exploration):
        problem = Words(lambda word: {"a": 0.9, "b": 1.0, "c": 0.0}[word[0]], longest=8)
        tree_search(problem, "", iterations=300, exploration=exploration, batch=1)
        return sum(word[0] == "b" for word in problem.scored) / 300

    assert share(0) > share(0.2) > share(20)
    assert share(20) == pytest.approx(1 / 3, abs=0.05)


def test_a_price_is_held_against_a_branch():
    problem = Words(lambda word: len(word) / 8, longest=8, price=lambda word: 0.5 * word.startswith("a"))
    tree_search(problem, "", iterations=300)
    assert sum(word[0] == "a" for word in problem.scored) < 50


@pytest.mark.parametrize("widening", [1, 1.5, 3])
def test_children_grow_with_the_root_of_the_visits(widening):
    problem = Words(number, letters="abcdefghijklmnopqrstuvwxyz", longest=4)
    tree_search(problem, "", iterations=50, widening=widening, batch=1)
    for visits, word in enumerate(problem.scored):
        opened = len({earlier[0] for earlier in problem.scored[: visits + 1]})
        assert opened <= math.ceil(widening * math.sqrt(max(1, visits))), word
    assert opened == math.ceil(widening * math.sqrt(49))


def test_descents_of_one_batch_part():
    def begins(batch):
        problem = Words(lambda word: {"a": 0.6, "b": 0.59, "c": 0.0}[word[0]], longest=12)
        tree_search(problem, "", iterations=60, batch=batch, exploration=0, widening=3)
        return [{word[0] for word in words} for words in problem.batches[12 // batch :]]

    assert all(begun >= {"a", "b"} for begun in begins(6))
    assert all(begun == {"a"} for begun in begins(1))


def test_states_of_one_key_share_what_is_learned():
    problem = Words(lambda word: float("d" in word), letters="abcd", longest=2, sets=True)
    found = tree_search(problem, "", widening=4)
    assert found.evaluations == 4 + 6


def test_what_fails_counts_as_the_least():
    problem = Words(lambda word: math.nan if word[0] == "a" else -5 - number(word), letters="ab", longest=10)
    found = tree_search(problem, "", iterations=200)
    assert found.state[0] == "b"
    assert sum(word[0] == "a" for word in problem.scored) < 20


def test_failures_before_the_first_reward_do_not_attract():
    problem = Words(lambda word: math.nan if word[0] == "a" else -1000.0 + len(word), letters="ab", longest=10)
    tree_search(problem, "", iterations=200, seeds=["aaaaaaaaaa"])
    assert sum(word[0] == "a" for word in problem.scored) < 40


# ---- Batches and seeds


def test_rewards_are_asked_for_in_batches():
    problem = Words(number, longest=8)
    found = tree_search(problem, "", iterations=100, batch=8)
    assert [len(batch) for batch in problem.batches] == [8] * 12 + [4]
    assert (found.iterations, found.evaluations, found.batches) == (100, 100, 13)


def test_seeds_are_the_first_batch_and_their_common_beginning_is_scored_once():
    problem = Words(number, longest=8)
    found = tree_search(problem, "", iterations=0, seeds=["abc", "abb", "ab"])
    assert problem.batches == [["a", "ab", "abc", "abb"]]
    assert (found.state, found.reward) == max(((word, number(word)) for word in problem.scored), key=lambda one: one[1])


def test_a_seed_opens_no_action_twice():
    problem = Words(number)
    tree_search(problem, "", seeds=["cba", "b"])
    assert len(problem.scored) == len(set(problem.scored)) == 3 + 9 + 27


def test_a_seed_that_cannot_be_followed_is_refused():
    with pytest.raises(ValueError, match="a seed does 'x', which is none of the actions"):
        tree_search(Words(number), "", seeds=["ax"])


# ---- When it stops


def test_it_stops_after_its_iterations():
    found = tree_search(Words(number, longest=9), "", iterations=21, batch=8)
    assert (found.iterations, found.stop) == (21, "iterations")


def test_it_stops_when_the_problem_scores_no_more():
    found = tree_search(Words(number, longest=9, most=16), "", batch=8)
    assert (found.evaluations, found.stop) == (16, "evaluations")


def test_it_stops_when_nothing_better_is_found_for_a_while():
    found = tree_search(Words(lambda word: float(word == "aa"), longest=9), "", patience=20, batch=1)
    assert (found.state, found.stop) == ("aa", "patience")
    assert found.iterations < 30


def test_no_batch_begins_after_the_deadline():
    found = tree_search(Words(number), "", deadline_s=0, seeds=["cb"])
    assert (found.iterations, found.batches, found.stop) == (0, 1, "deadline")


def test_a_root_without_actions_is_exhausted():
    found = tree_search(Words(number, letters=""), "")
    assert (found.state, found.reward, found.batches, found.stop) == (None, -math.inf, 0, "exhausted")


# ---- Mistakes


@pytest.mark.parametrize(
    ("option", "number"),
    [
        ("iterations", -1),
        ("exploration", math.nan),
        ("exploration", math.inf),
        ("exploration", -0.1),
        ("widening", 0.5),
        ("widening", math.nan),
        ("batch", 0),
        ("patience", 0),
        ("deadline_s", -1),
    ],
)
def test_a_number_out_of_range_is_refused(option, number):
    with pytest.raises(ValueError, match=f"{option} must be a number from [01], got {number}"):
        tree_search(Words(len), "", **{option: number})


def test_rewards_of_another_number_than_states_are_a_mistake_of_the_problem():
    problem = Words(number)
    problem.evaluate = lambda words: [1.0]
    with pytest.raises(ValueError, match="evaluate gave 1 rewards for 8 states"):
        tree_search(problem, "")
