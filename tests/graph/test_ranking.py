from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, csr_matrix
from walks import DAMPINGS, Walk, exact, star, walks

from ragloom.graph.ranking import Transition, personalised_pagerank

COUNTS = st.integers(1, 3).map(float)
SKEWED = st.floats(-6, 6).map(lambda power: 10.0**power)


def transition(weights: list[list[float]] | NDArray[np.float64]) -> Transition:
    return Transition.from_weights(csr_array(np.array(weights, dtype=float)))


def by_networkx(weights: csr_array, reset: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    graph = nx.from_scipy_sparse_array(weights, create_using=nx.DiGraph)
    size = len(reset)
    ranks = nx.pagerank(graph, damping, personalization=dict(enumerate(reset)), max_iter=10_000, tol=1e-9 / size)
    return np.array([ranks[node] for node in range(size)])


@given(walks(symmetric=False, weights=COUNTS) | walks(symmetric=True, weights=COUNTS), DAMPINGS)
def test_scores_are_those_of_networkx(walk: Walk, damping: float) -> None:
    scores = personalised_pagerank(transition(walk.weights), walk.reset, damping=damping)
    assert scores == pytest.approx(by_networkx(csr_array(walk.weights), walk.reset, damping), abs=1e-6)


@given(
    walks(symmetric=False, weights=SKEWED) | walks(symmetric=True, weights=SKEWED),
    DAMPINGS,
    st.sampled_from([0.5, 1e-2, 1e-5, 1e-8, 1e-12]),
)
def test_all_errors_sum_to_the_tolerance_at_most(walk: Walk, damping: float, tolerance: float) -> None:
    scores = personalised_pagerank(transition(walk.weights), walk.reset, damping=damping, tolerance=tolerance)
    assert np.abs(scores - exact(walk, damping)).sum() <= tolerance + 1e-13


@given(walks(symmetric=False, weights=SKEWED) | walks(symmetric=True, weights=SKEWED), DAMPINGS)
def test_scores_are_shares_of_1(walk: Walk, damping: float) -> None:
    scores = personalised_pagerank(transition(walk.weights), walk.reset, damping=damping)
    assert scores.min() >= 0
    assert scores.sum() == pytest.approx(1)


def test_the_walker_is_twice_as_often_at_the_seed_as_at_its_neighbour() -> None:
    # x0 = 1/2 + x1/2 and x1 = x0/2
    scores = personalised_pagerank(transition([[0, 7], [7, 0]]), np.array([3.0, 0.0]), damping=0.5)
    assert scores == pytest.approx([2 / 3, 1 / 3])


def test_weights_divide_the_walkers_of_a_node() -> None:
    scores = personalised_pagerank(transition([[0, 3, 1], [0, 0, 0], [0, 0, 0]]), np.array([1, 0, 0]))
    assert scores == pytest.approx([4 / 6, 3 / 2 / 6, 1 / 2 / 6])


def test_a_dangling_node_leads_back_to_the_seeds() -> None:
    scores = personalised_pagerank(transition([[0, 1, 0], [0, 0, 0], [0, 0, 0]]), np.array([1, 0, 1]), damping=0.8)
    assert scores == pytest.approx(exact(Walk(np.array([[0, 1.0, 0], [0] * 3, [0] * 3]), np.array([1, 0, 1])), 0.8))
    assert scores[0] == pytest.approx(scores[2])


def test_only_what_can_be_reached_from_the_seeds_has_a_score() -> None:
    two_pairs = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    scores = personalised_pagerank(transition(two_pairs), np.array([0, 0, 0, 1]))
    assert list(scores[:2]) == [0, 0]
    assert scores[2] > 0


@pytest.mark.parametrize("weights", [[[0]], [[5]]], ids=["isolated", "with a loop"])
def test_a_lone_node_has_all(weights: list[list[float]]) -> None:
    assert list(personalised_pagerank(transition(weights), np.array([0.1]))) == [1]


def test_a_hub_of_100000_edges_is_ranked_as_by_networkx() -> None:
    weights = star(100_000)
    reset = np.zeros(100_001)
    reset[1] = 1
    scores = personalised_pagerank(Transition.from_weights(weights), reset, damping=0.8)
    assert scores == pytest.approx(by_networkx(weights, reset, 0.8), abs=1e-6)


def test_the_share_of_a_hub_is_as_computed_by_hand() -> None:
    reset = np.zeros(100_001)
    reset[0] = 1  # x0 = (1 - d) + d (1 - x0), since the others have edges to nothing else
    scores = personalised_pagerank(Transition.from_weights(star(100_000)), reset, damping=0.8)
    assert scores[0] == pytest.approx(1 / 1.8)
    assert scores[1:] == pytest.approx(0.8 / 1.8 / 100_000)


def test_several_queries_at_once_are_ranked_as_one_by_one() -> None:
    chain = transition(np.eye(5, k=1) + np.eye(5, k=-1))
    queries = np.random.default_rng(0).random((7, 5))
    one_by_one = [personalised_pagerank(chain, query) for query in queries]
    assert np.array_equal(personalised_pagerank(chain, queries), one_by_one)
    assert personalised_pagerank(chain, queries[:0]).shape == (0, 5)


@pytest.mark.parametrize("value", [0, 1, -0.5, float("nan")])
@pytest.mark.parametrize("name", ["damping", "tolerance"])
def test_damping_and_tolerance_are_between_0_and_1(name: str, value: float) -> None:
    options = {name: value}
    with pytest.raises(ValueError, match=f"{name} must be between 0 and 1, got {value}"):
        personalised_pagerank(transition([[1]]), np.ones(1), **options)


@pytest.mark.parametrize("reset", [[0, 0], [2, -1], [1, np.nan], [np.inf, 1], [[1, 1], [0, 0]]])
def test_a_reset_without_a_meaning_is_refused(reset: list[float]) -> None:
    with pytest.raises(ValueError, match="reset must be finite, not negative, and not all 0"):
        personalised_pagerank(transition([[0, 1], [1, 0]]), np.array(reset))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (1, 1, 2)])
def test_a_reset_for_another_number_of_nodes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"a number for each of the 2 nodes, got \(.*\)"):
        personalised_pagerank(transition([[0, 1], [1, 0]]), np.ones(shape))


def test_a_graph_without_nodes_has_nothing_to_rank_by() -> None:
    with pytest.raises(ValueError, match="not all 0"):
        personalised_pagerank(Transition.from_weights(csr_array((0, 0))), np.empty(0))


@given(walks(symmetric=False, weights=COUNTS) | walks(symmetric=True, weights=COUNTS))
def test_a_matrix_knows_whether_it_is_symmetric(walk: Walk) -> None:
    assert transition(walk.weights).symmetric == np.array_equal(walk.weights, walk.weights.T)


def test_edges_given_twice_add_up_and_zeros_are_no_edges() -> None:
    given_twice = coo_array(([1.0, 2.0, 1.0, 0.0], ([0, 0, 0, 1], [1, 1, 0, 0])), shape=(2, 2))
    chances = Transition.from_weights(given_twice)
    assert list(chances.starts) == [0, 2, 2]
    assert list(chances.targets) == [0, 1]
    assert list(chances.chances) == [0.25, 0.75]


@pytest.mark.parametrize("kind", [csr_array, csr_matrix, coo_array])
def test_weights_are_left_as_they_are(kind: type) -> None:
    weights = kind(np.array([[0, 4], [4, 0]]))
    Transition.from_weights(weights)
    assert weights.toarray().tolist() == [[0, 4], [4, 0]]


def test_weights_are_a_square() -> None:
    with pytest.raises(ValueError, match="square matrix, got 1 x 2"):
        Transition.from_weights(csr_array(np.ones((1, 2))))


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf])
def test_weights_are_finite_and_not_negative(weight: float) -> None:
    with pytest.raises(ValueError, match="weights must be finite and not negative"):
        transition([[1, weight], [1, 1]])


def test_a_loaded_matrix_is_the_saved_one(tmp_path: Path) -> None:
    saved = transition([[0, 3, 1], [0, 0, 0], [2, 0, 5]])
    saved.save(tmp_path)
    loaded = Transition.load(tmp_path)
    reset = np.array([1, 2, 3])
    assert loaded.symmetric == saved.symmetric
    assert np.array_equal(personalised_pagerank(loaded, reset), personalised_pagerank(saved, reset))


def test_edges_that_lead_outside_are_refused(tmp_path: Path) -> None:
    transition([[0, 3], [1, 0]]).save(tmp_path)
    np.save(tmp_path / "targets.npy", np.array([1, 9]))
    with pytest.raises(ValueError, match="no edges between 2 nodes"):
        Transition.load(tmp_path)
