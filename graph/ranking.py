"""Personalised PageRank over a transition matrix that is made once and asked many times.

A walker starts at the seeds of a question; at every step it follows an edge with the chance `damping`, or starts again.
How often it is at a node is the node's score: the search step of HippoRAG (arXiv:2405.14831, section 2.3). Where the
paper speaks of the chance to start again, `damping` is the one to go on (networkx's `alpha`); at 0.5 they are the same.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_PARTS = ("starts", "targets", "chances", "symmetric")


@dataclass(frozen=True, eq=False)
class Transition:
    """Where a walk over a graph goes next: from node i to `targets[starts[i] : starts[i + 1]]`, by `chances`.

    Made by `from_weights`; safe to share between threads.

    Attributes:
        starts: (nodes + 1,), ascending from 0.
        targets: (edges,), ascending for each node.
        chances: (edges,). Those of a node sum to 1; a dangling node has none.
        symmetric: every edge has the weight of its opposite, so that `personalised_pagerank` can take fewer steps.
    """

    starts: NDArray[np.signedinteger]
    targets: NDArray[np.signedinteger]
    chances: NDArray[np.float64]
    symmetric: bool

    def __post_init__(self) -> None:
        edges = len(self.targets)
        whole = self.starts[0] == 0 and self.starts[-1] == edges == len(self.chances)
        inside = not edges or (self.targets.min() >= 0 and self.targets.max() < self.nodes)
        if not (whole and inside and (np.diff(self.starts) >= 0).all()):  # compiled code would reach outside of them
            raise ValueError(f"these are no edges between {self.nodes} nodes; make the transition matrix from weights")

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.starts) - 1

    @classmethod
    def from_weights(cls, weights: Any) -> Self:  # Any: scipy has no types
        """The transition matrix of a weighted graph.

        Args:
            weights: (n, n), a scipy sparse array; [i, j] is the weight of going from i to j, and none is no edge. In an
                undirected graph every edge has both places. It is left as it is.

        Raises:
            ValueError: not square, or a weight is negative, infinite or NaN.
        """
        from scipy.sparse import csr_array, get_index_dtype

        rows = csr_array(weights, dtype=np.float64, copy=True)
        if rows.shape[0] != rows.shape[1]:
            raise ValueError(f"weights must be a square matrix, got {rows.shape[0]} x {rows.shape[1]}")
        rows.sum_duplicates()
        rows.eliminate_zeros()
        sums = rows.sum(axis=1)
        if rows.nnz and not (rows.data.min() > 0 and np.isfinite(sums).all()):
            raise ValueError("weights must be finite and not negative; leave the edges out that have no such weight")
        # 32 bits where they do: a step of personalised_pagerank takes half the time of one with 64.
        index = get_index_dtype(maxval=max(rows.nnz, rows.shape[0]))
        chances = rows.data / np.repeat(sums, np.diff(rows.indptr))
        return cls(rows.indptr.astype(index), rows.indices.astype(index), chances, _is_symmetric(rows))

    def save(self, folder: Path) -> None:
        """Write the matrix to a folder."""
        for part in _PARTS:
            np.save(folder / f"{part}.npy", getattr(self, part), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The matrix that was saved in a folder. Its files are trusted: take it from `Store.derived`."""
        starts, targets, chances, symmetric = (np.load(folder / f"{part}.npy", allow_pickle=False) for part in _PARTS)
        return cls(starts, targets, chances, bool(symmetric))

    @cached_property
    def arriving(self) -> Any:
        """(nodes, nodes), a scipy sparse array: its product with where walkers are is where they are a step later."""
        from scipy.sparse import csr_array

        return csr_array((self.chances, self.targets, self.starts), shape=(self.nodes, self.nodes)).T

    @cached_property
    def entering(self) -> tuple[NDArray[np.signedinteger], NDArray[np.signedinteger], NDArray[np.float64]]:
        """The edges by the node they lead to: starts, sources and chances, in the shapes of those by their source."""
        rows = self.arriving.tocsr()
        return rows.indptr, rows.indices, rows.data


def pulled(transition: Transition, pull: NDArray[np.float64]) -> Transition:
    """The transition matrix of a walk that is drawn to nodes in proportion to their pull.

    Args:
        transition: its chances are multiplied by the pull of the node they lead to, and brought back to a sum of 1.
        pull: (nodes,), above 0.
    """
    chances = transition.chances * pull[transition.targets]
    totals = np.add.reduceat(np.append(chances, 0.0), transition.starts[:-1])
    lengths = np.diff(transition.starts)
    return Transition(transition.starts, transition.targets, chances / np.repeat(totals, lengths), symmetric=False)


def personalised_pagerank(
    transition: Transition,
    reset: NDArray[np.floating],
    *,
    damping: float = 0.5,
    tolerance: float = 1e-8,
) -> NDArray[np.float64]:
    """The share of time that the walker spends at each node, which sums to 1.

    From a dangling node the walker starts again, as in networkx.pagerank. This is the power iteration, over-relaxed
    where the weights are symmetric (Chebyshev's semi-iteration), which takes half its steps at a damping of 0.5, and a
    third at 0.8.

    Args:
        transition: of n nodes.
        reset: (n,), or (queries, n) for several at once: how much the walker prefers to start at a node. Not negative,
            not all 0; normalised here.
        damping: chance to follow an edge, between 0 and 1.
        tolerance: between 0 and 1; the scores differ from the exact ones by at most this, summed over the nodes.

    Returns:
        The shape of `reset`.

    Raises:
        ValueError: the reset of a query is all 0, negative, infinite, NaN, or not for n nodes.
    """
    check_share("damping", damping)
    check_share("tolerance", tolerance)
    queries = np.atleast_2d(np.asarray(reset, dtype=np.float64))
    if queries.ndim != 2 or queries.shape[1] != transition.nodes:
        raise ValueError(f"reset must have a number for each of the {transition.nodes} nodes, got {np.shape(reset)}")
    # Queries that share a matrix product gain nothing: it is their vectors that have to come from memory.
    scores = [_solve(transition, normalised(query, "reset"), damping, tolerance) for query in queries]
    return np.reshape(scores, np.shape(reset))


def check_share(name: str, value: float) -> None:
    """Raise a ValueError unless the value is between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")


def normalised(weights: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """The weights over their sum.

    Raises:
        ValueError: they are negative, infinite, NaN, or sum to 0.
    """
    total = weights.sum()
    if not 0 < total < math.inf or weights.min() < 0:
        raise ValueError(
            f"{name} must be finite, not negative, and not all 0: without seeds there is nothing to rank by"
        )
    shares: NDArray[np.float64] = weights / total
    return shares


def _is_symmetric(rows: Any) -> bool:
    columns = rows.T.tocsr()
    return all(np.array_equal(getattr(rows, part), getattr(columns, part)) for part in ("indptr", "indices", "data"))


def _solve(transition: Transition, seeds: NDArray[np.float64], damping: float, tolerance: float) -> NDArray[np.float64]:
    """The scores for seeds that sum to 1.

    What dangling nodes return to the seeds adds to all scores in proportion. So the walk may lose it, and the scores
    are scaled at the end.
    """
    arriving, restart = transition.arriving, (1 - damping) * seeds
    before, now, relaxation = np.zeros_like(seeds), seeds, 2.0
    change = np.empty_like(seeds)
    # A plain step shrinks the change to its damping, which bounds their number where rounding would hide the end.
    for step in range(math.ceil(math.log(tolerance * (1 - damping) ** 2 / 4, damping))):
        after: NDArray[np.float64] = arriving @ now
        after *= damping
        after += restart
        # What later steps would change sums to this at most, and scaling may double that.
        np.abs(np.subtract(after, now, out=change), out=change)
        error = 2 * damping / (1 - damping) * change.sum()
        if error <= tolerance and error <= tolerance * after.sum():
            break
        if transition.symmetric and step:  # Golub and Varga 1961: the eigenvalues are real
            relaxation = 1 / (1 - relaxation * damping**2 / 4)
            after *= relaxation
            before *= 1 - relaxation
            after += before
        before, now = now, after
    after = np.maximum(after, 0)  # over-relaxed, a score that is 0 may be a little below
    after /= after.sum()
    return after
