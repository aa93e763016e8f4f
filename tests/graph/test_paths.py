"""Paths of a walk: all of them together are the score, and the strongest are found first."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ragloom.graph.paths import NodePath, PathFinder
from ragloom.graph.ranking import Transition, personalised_pagerank

Matrix = NDArray[np.float64]
DAMPING = st.floats(0.1, 0.9)


@st.composite
def walks(draw: st.DrawFn) -> tuple[Matrix, Matrix]:
    """Weights of a small directed graph, with loops, dangling and unreachable nodes, and where a walk starts."""
    size = draw(st.integers(1, 5))
    number = st.one_of(st.just(0.0), st.floats(0.1, 5))
    weights = np.array(draw(st.lists(number, min_size=size**2, max_size=size**2))).reshape(size, size)
    reset = np.array(draw(st.lists(number, min_size=size, max_size=size)))
    assume(reset.sum() > 0)
    return weights, reset / reset.sum()


def transition(weights: Matrix) -> Transition:
    return Transition.from_weights(csr_array(weights))


def all_paths(weights: Matrix, reset: Matrix, target: int) -> list[NodePath]:
    others = [node for node in range(len(weights)) if node != target]
    found = [(*path, target) for length in range(len(weights)) for path in permutations(others, length)]
    return [path for path in found if reset[path[0]] and all(weights[edge] for edge in pairwise(path))]


def weight(weights: Matrix, reset: Matrix, damping: float, path: NodePath) -> float:
    chances = [damping * weights[edge] / weights[edge[0]].sum() for edge in pairwise(path)]
    return float(reset[path[0]] * np.prod(chances))


@settings(deadline=None)  # the first one loads scipy
@given(walks(), DAMPING)
def test_all_paths_to_a_node_sum_to_its_score(walk: tuple[Matrix, Matrix], damping: float):
    weights, reset = walk
    graph = transition(weights)
    scores = personalised_pagerank(graph, reset, damping=damping, tolerance=1e-10)
    finder = PathFinder(graph, reset, damping)
    for target in range(len(weights)):
        contributions = finder.contributions(all_paths(weights, reset, target), scores)
        assert all(part <= scores[target] * 1.01 + 1e-9 for part in contributions)
        assert sum(contributions) == pytest.approx(scores[target], rel=0.01, abs=1e-9)


@given(walks(), DAMPING, st.integers(1, 8))
def test_the_strongest_paths_are_those_of_a_complete_search(walk: tuple[Matrix, Matrix], damping: float, k: int):
    weights, reset = walk
    finder = PathFinder(transition(weights), reset, damping)
    for target in range(len(weights)):
        paths = all_paths(weights, reset, target)
        expected = sorted((weight(weights, reset, damping, path) for path in paths), reverse=True)
        expected = [each for each in expected if each >= 1.001e-3 * expected[0]]
        found = finder.strongest(target, k)
        assert set(found) <= set(paths)
        assert len(set(found)) == len(found)
        weights_found = [weight(weights, reset, damping, path) for path in found]
        assert weights_found[: len(expected)] == pytest.approx(expected[:k])


def test_over_a_tree_a_path_is_worth_its_seed_and_its_edges():
    weights = np.zeros((5, 5))
    weights[0, 1], weights[0, 2], weights[1, 3], weights[2, 3], weights[3, 4] = 3, 1, 1, 1, 1
    reset = np.array([1.0, 0, 0, 0, 0])
    scores = personalised_pagerank(transition(weights), reset, damping=0.5, tolerance=1e-12)
    finder = PathFinder(transition(weights), reset, 0.5)
    paths = finder.strongest(3, 5)
    assert paths == [(0, 1, 3), (0, 2, 3)]
    restart = scores[0]  # nothing comes back to the seed, so that it has what starts there
    assert finder.contributions(paths, scores) == pytest.approx([restart * 0.75 / 4, restart * 0.25 / 4])


def test_a_path_has_its_detours():
    """Between two nodes and back at a damping of 1/2: scores 2/3 and 1/3, and one path to either."""
    finder = PathFinder(transition(np.array([[0.0, 1.0], [1.0, 0.0]])), np.array([1.0, 0.0]), 0.5)
    scores = np.array([2 / 3, 1 / 3])
    assert finder.contributions([(0,), (0, 1)], scores) == pytest.approx([2 / 3, 1 / 3], rel=0.01)


def test_nothing_leads_to_a_node_that_is_not_reached():
    finder = PathFinder(transition(np.zeros((2, 2))), np.array([1.0, 0.0]), 0.5)
    assert finder.strongest(1, 3) == []
    assert finder.strongest(0, 3) == [(0,)]
    assert finder.contributions([], np.array([1.0, 0.0])) == []


def test_without_seeds_there_are_no_paths():
    assert PathFinder(transition(np.ones((2, 2))), np.zeros(2), 0.5).strongest(1, 3) == []


def test_ways_through_a_hub_of_100000_edges_are_found():
    size = 100_000
    spokes = np.arange(1, size + 1)
    hub = np.zeros(size, int)
    edges = (np.concatenate([hub, spokes]), np.concatenate([spokes, hub]))
    graph = Transition.from_weights(csr_array((np.ones(2 * size), edges), shape=(size + 1, size + 1)))
    reset = np.zeros(size + 1)
    reset[[1, 2]] = 0.75, 0.25
    scores = personalised_pagerank(graph, reset, damping=0.5)
    finder = PathFinder(graph, reset, 0.5)
    paths = finder.strongest(7, 3)
    assert paths == [(1, 0, 7), (2, 0, 7)]
    assert sum(finder.contributions(paths, scores)) == pytest.approx(scores[7], rel=0.01)
