"""Random graphs and the exact answer to a walk on them, for tests of PageRank."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

DAMPINGS = st.sampled_from([0.1, 0.5, 0.8, 0.95])


class Walk(NamedTuple):
    """The weights of a graph, (n, n), and where walkers start, (n,)."""

    weights: NDArray[np.float64]
    reset: NDArray[np.float64]


@st.composite
def walks(draw: st.DrawFn, *, symmetric: bool, weights: st.SearchStrategy[float]) -> Walk:
    """Few edges, so that there are isolated and dangling nodes, loops and parts without a connection."""
    count = draw(st.integers(1, 12))
    nodes = st.integers(0, count - 1)
    matrix = np.zeros((count, count))
    for start, end, weight in draw(st.lists(st.tuples(nodes, nodes, weights), max_size=2 * count)):
        matrix[start, end] = weight
        if symmetric:
            matrix[end, start] = weight
    reset = np.zeros(count)
    for node, share in draw(st.lists(st.tuples(nodes, st.floats(0.01, 100)), min_size=1)):
        reset[node] = share
    return Walk(matrix, reset)


def exact(walk: Walk, damping: float) -> NDArray[np.float64]:
    """Personalised PageRank by the solution of its linear equations, dangling nodes leading to the seeds."""
    sums = walk.weights.sum(axis=1, keepdims=True)
    seeds = walk.reset / walk.reset.sum()
    chances = np.divide(walk.weights, sums, out=np.tile(seeds, (len(seeds), 1)), where=sums > 0)
    solution: NDArray[np.float64] = np.linalg.solve(np.eye(len(seeds)) - damping * chances.T, (1 - damping) * seeds)
    return solution


def star(rays: int) -> csr_array:
    """Node 0 with an edge to and from each of the others."""
    ends = np.arange(1, rays + 1)
    hub = np.zeros(rays, dtype=np.int64)
    places = (np.concatenate([hub, ends]), np.concatenate([ends, hub]))
    return csr_array((np.ones(2 * rays), places), shape=(rays + 1, rays + 1))
