import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from walks import DAMPINGS, Walk, exact, star, walks

from ragloom.graph.local_push import local_push
from ragloom.graph.ranking import Transition, personalised_pagerank, pulled

pytest.importorskip("numba", reason="forward push is compiled by numba: pip install ragloom[compiled]")
compiles_first = settings(deadline=None)

ANY = walks(symmetric=False, weights=st.floats(0.01, 100)) | walks(symmetric=True, weights=st.floats(0.01, 100))
EPSILONS = st.sampled_from([0.3, 1e-2, 1e-4])


def scores_everywhere(walk: Walk, damping: float, epsilon: float) -> NDArray[np.float64]:
    """(n,): the scores of all nodes; those that were not found have 0."""
    seeds = np.flatnonzero(walk.reset)
    transition = Transition.from_weights(csr_array(walk.weights))
    nodes, scores = local_push(transition, seeds, walk.reset[seeds], damping=damping, epsilon=epsilon)
    assert len(set(nodes.tolist())) == len(nodes)
    everywhere = np.zeros(len(walk.reset))
    everywhere[nodes] = scores
    return everywhere


def random_graph(nodes: int, edges: int) -> Transition:
    generator = np.random.default_rng(0)
    ends = generator.integers(nodes, size=(2, edges))
    weights = csr_array((generator.random(edges), (ends[0], ends[1])), shape=(nodes, nodes))
    return Transition.from_weights(weights + weights.T)


@compiles_first
@given(ANY, DAMPINGS, EPSILONS)
def test_no_score_is_too_high_and_what_is_missing_to_1_is_the_error(walk: Walk, damping: float, epsilon: float) -> None:
    scores, right = scores_everywhere(walk, damping, epsilon), exact(walk, damping)
    assert (scores <= right + 1e-12).all()
    assert np.abs(right - scores).sum() == pytest.approx(1 - scores.sum(), abs=1e-12)


@compiles_first
@given(ANY, DAMPINGS)
def test_a_tiny_epsilon_gives_the_exact_scores(walk: Walk, damping: float) -> None:
    assert scores_everywhere(walk, damping, 1e-10) == pytest.approx(exact(walk, damping), abs=1e-6)


@compiles_first
@given(walks(symmetric=True, weights=st.just(1.0)), DAMPINGS, EPSILONS)
def test_a_score_is_too_low_by_epsilon_for_each_edge_at_most(walk: Walk, damping: float, epsilon: float) -> None:
    edges = walk.weights.sum(axis=1)
    connected = Walk(walk.weights, walk.reset * (edges > 0))
    assume(connected.reset.any())
    missing = exact(connected, damping) - scores_everywhere(connected, damping, epsilon)
    assert (missing <= epsilon * edges + 1e-12).all()


@compiles_first
@given(ANY, DAMPINGS, st.randoms(use_true_random=False))
def test_a_pulled_walk_is_one_over_weights_times_the_pull(walk: Walk, damping: float, random: Random) -> None:
    pull = np.array([random.uniform(0.1, 10) for _ in walk.reset])
    transition = Transition.from_weights(csr_array(walk.weights))
    seeds = np.flatnonzero(walk.reset)
    nodes, scores = local_push(transition, seeds, walk.reset[seeds], damping=damping, epsilon=1e-10, pull=pull)
    right = exact(Walk(walk.weights * pull, walk.reset), damping)
    assert scores == pytest.approx(right[nodes], abs=1e-6)
    assert personalised_pagerank(pulled(transition, pull), walk.reset, damping=damping) == pytest.approx(
        right, abs=1e-6
    )


def test_a_pull_for_another_number_of_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a number for each of the 3 nodes, got \(2,\)"):
        local_push(Transition.from_weights(csr_array((3, 3))), [0], [1], pull=np.ones(2))


def test_the_work_is_bounded_whatever_the_size_of_the_graph() -> None:
    transition = random_graph(nodes=100_000, edges=500_000)
    seeds = np.array([1, 2, 3])
    nodes, _ = local_push(transition, seeds, np.ones(3), damping=0.8, epsilon=1e-3)
    edges_of_seeds = (transition.starts[seeds + 1] - transition.starts[seeds]).sum()
    assert len(nodes) <= len(seeds) + edges_of_seeds + 1 / (0.2 * 1e-3)


def test_a_query_leaves_nothing_behind_for_the_next() -> None:
    first, second = random_graph(nodes=1000, edges=3000), random_graph(nodes=50, edges=100)
    before = local_push(first, [5], [1])
    local_push(first, np.arange(100), np.ones(100), damping=0.9)
    local_push(second, [5], [1])
    after = local_push(first, [5], [1])
    assert np.array_equal(before, after)


def test_threads_share_a_transition_matrix() -> None:
    transition = random_graph(nodes=2000, edges=8000)
    alone = [local_push(transition, [node, node + 1], [2, 1]) for node in range(400)]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda node: local_push(transition, [node, node + 1], [2, 1]), range(400)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_a_seed_named_twice_has_both_weights() -> None:
    transition = random_graph(nodes=20, edges=40)
    twice = dict(zip(*local_push(transition, [3, 7, 3], [1, 2, 1], epsilon=1e-9), strict=True))
    once = dict(zip(*local_push(transition, [3, 7], [1, 1], epsilon=1e-9), strict=True))
    assert twice == pytest.approx(once, abs=1e-6)


def test_a_seed_without_weight_is_no_seed() -> None:
    nodes, scores = local_push(Transition.from_weights(csr_array((3, 3))), [0, 1, 2], [0, 5, 1e-200])
    assert nodes.tolist() == [1]
    assert scores.tolist() == [1]


def test_a_hub_of_100000_edges_is_pushed_as_a_seed_only() -> None:
    transition = Transition.from_weights(star(100_000))
    nodes, _ = local_push(transition, [0], [1])
    assert len(nodes) == 100_001
    nodes, scores = local_push(transition, [1, 2], [2, 1])
    assert nodes.tolist() == [1, 0, 2]
    back = 0.5 / 4 / 100_000  # of what waits at the hub
    assert scores.tolist() == pytest.approx([0.5 * 2 / 3 + back, 0.5 / 2, 0.5 / 3 + back], rel=1e-9)


@pytest.mark.parametrize(
    ("nodes", "weights", "complaint"),
    [
        ([0, 1], [1], r"a weight each, got \(2,\) nodes and \(1,\) weights"),
        ([[0]], [[1]], r"a weight each"),
        ([], [], "weights must be finite, not negative, and not all 0"),
        ([0, 1], [0, 0], "not all 0"),
        ([0, 1], [2, -1], "not negative"),
        ([0, 1], [1, float("nan")], "finite"),
        ([0, 2], [1, 1], r"numbers of the 2 nodes, got \[0, 2\]"),
        ([-1], [1], r"got \[-1\]"),
        ([0.5], [1], r"got \[0.5\]"),
    ],
)
def test_seeds_without_a_meaning_are_refused(nodes: list[int], weights: list[float], complaint: str) -> None:
    pair = Transition.from_weights(csr_array(np.array([[0, 1], [1, 0]])))
    with pytest.raises(ValueError, match=complaint):
        local_push(pair, nodes, weights)


@pytest.mark.parametrize("name", ["damping", "epsilon"])
def test_damping_and_epsilon_are_between_0_and_1(name: str) -> None:
    options = {name: 1.0}
    with pytest.raises(ValueError, match=f"{name} must be between 0 and 1, got 1.0"):
        local_push(Transition.from_weights(csr_array((1, 1))), [0], [1], **options)


WITHOUT_NUMBA = """
import json, sys
sys.modules["numba"] = None
import numpy as np
from scipy.sparse import csr_array
from ragloom.graph.local_push import local_push
from ragloom.graph.ranking import Transition
weights = np.array(json.load(sys.stdin))
nodes, scores = local_push(Transition.from_weights(csr_array(weights)), [1, 0, 1], [1, 2, 1], damping=0.8)
print(json.dumps([nodes.tolist(), scores.tolist()]))
"""


def test_without_numba_the_power_iteration_ranks() -> None:
    generator = np.random.default_rng(0)
    weights = generator.random((8, 8)) * (generator.random((8, 8)) < 0.3)
    weights[7] = weights[:, 7] = 0
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMBA],
        input=json.dumps(weights.tolist()),
        capture_output=True,
        text=True,
        check=True,
    )
    nodes, scores = json.loads(ended.stdout)
    right = exact(Walk(weights, np.array([1, 1] + [0] * 6)), 0.8)
    assert nodes == np.flatnonzero(right > 1e-12).tolist()
    assert np.abs(np.array(scores) - right[nodes]).sum() < 0.01
