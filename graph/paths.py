"""The strongest paths of a walk to a node, and how much of the node's score each of them brings.

A score is a sum over all ways that the walk can take to the node. Every way, once its detours that come back to where
they left are cut out, is a path that visits no node twice; so the contributions of all such paths, detours included,
sum to the score. The sum over the detours of a path has a closed form: with G = (1 - dP)^-1, it multiplies the path's
own probability by the determinant of G's rows and columns of its nodes (loop-erased walks; Lawler, A Self-Avoiding
Random Walk, 1980).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragloom.graph.ranking import Transition

if TYPE_CHECKING:
    from scipy.sparse import csr_array

NodePath = tuple[int, ...]  # from a seed to the node it was asked for

_WEAKEST = 1e-3  # of the strongest path to a node: what is weaker explains nothing, and there is no end of it
_FAINTEST = 1e-5  # a detour less likely than this is not followed; over 6,119 passages shares lose less than 1 % by it
_FULL = 0.1  # of a matrix's numbers are not 0: from here on it is treated as a dense one
_REST = 2e-3  # visits at most that are left out there, of a node that is visited at least once
_FAINTEST_OF_HUB = 1e-2  # of an even share of the edges of a hub, each of whose many detours is unlikely


class PathFinder:
    """Finds the paths of one walk.

    Args:
        transition: as walked.
        reset: (nodes,), where the walk starts; not negative, sums to 1.
        damping: chance to follow an edge rather than to start again.
    """

    def __init__(self, transition: Transition, reset: NDArray[np.float64], damping: float) -> None:
        self._transition, self._reset, self._damping = transition, reset, damping
        self._leaving, self._arriving = _edges(transition, damping)
        self._reach = _reach(transition, reset, damping)

    def strongest(self, target: int, k: int) -> list[NodePath]:
        """At most k paths to the node, strongest first: by the weight of its seed and the chances of its edges alone.

        Paths of less than a thousandth of the strongest one's weight are left out.
        """
        found: list[NodePath] = []
        for path in self._best_first(target):
            if len(found) == k:
                break
            found.append(path)
        return found

    def contributions(self, paths: Sequence[NodePath], scores: NDArray[np.float64]) -> list[float]:
        """What each path adds to the score of its last node, detours included; all paths to a node sum to its score.

        The detours are followed to an accuracy of about 1 %.

        Args:
            paths: that exist in the walk.
            scores: (nodes,), of the walk.
        """
        if not paths:
            return []
        dangling = np.diff(self._transition.starts) == 0
        restart = 1 - self._damping + self._damping * scores[dangling].sum()
        nodes = sorted({node for path in paths for node in path})
        visits = self._visits(nodes)
        place = {node: row for row, node in enumerate(nodes)}
        result = []
        for path in paths:
            rows = [place[node] for node in path]
            detours = float(np.linalg.det(visits[np.ix_(rows, rows)]))
            result.append(float(restart * self._weight(path) * detours))
        return result

    def chance(self, source: int, target: int) -> float:
        """The probability that a walk which goes on from the source goes to the target; 0 where there is no edge."""
        edges = slice(self._transition.starts[source], self._transition.starts[source + 1])
        return float(self._transition.chances[edges][self._transition.targets[edges] == target].sum())

    def _weight(self, path: NodePath) -> float:
        chances = [self._damping * self.chance(*edge) for edge in pairwise(path)]
        return float(self._reset[path[0]] * np.prod(chances))

    def _visits(self, nodes: list[int]) -> NDArray[np.float64]:
        """The block of G for the nodes: how often a walk from the row's node comes to the column's, itself included."""
        from scipy.sparse import csr_array

        rows = np.arange(len(nodes))
        edges = int(np.diff(self._transition.starts)[nodes].max())
        faintest = min(_FAINTEST, _FAINTEST_OF_HUB / max(edges, 1))
        now = csr_array((np.ones(len(nodes)), (rows, nodes)), shape=(len(nodes), self._transition.nodes))
        visits = np.zeros((len(nodes), len(nodes)))
        while now.nnz <= len(nodes) * self._transition.nodes * _FULL:
            visits += now[:, nodes].toarray()
            now = csr_array(now @ self._leaving)
            now.data[now.data < faintest] = 0
            now.eliminate_zeros()
            if not now.nnz:
                return visits
        everywhere = now.toarray().T  # by a hub, soon; a dense matrix is quicker then, and nothing need be left out
        while everywhere.sum(axis=0).max() > _REST * (1 - self._damping):
            visits += everywhere[nodes].T
            everywhere = self._arriving @ everywhere
        return visits

    def _best_first(self, target: int) -> Iterator[NodePath]:
        """A* search backwards from the target; what a way is worth at best is known from the forward search."""
        least = self._reach[target] * _WEAKEST
        waiting: list[tuple[float, NodePath, float, bool]] = []
        if least > 0:
            waiting.append((-self._reach[target], (target,), 1.0, False))
        while waiting:
            _, path, weight, complete = heapq.heappop(waiting)
            node = path[0]
            if complete:
                yield path
                continue
            if (bound := self._reset[node] * weight) >= least:
                heapq.heappush(waiting, (-bound, path, weight, True))
            row = slice(self._arriving.indptr[node], self._arriving.indptr[node + 1])
            sources, weights = self._arriving.indices[row], self._arriving.data[row] * weight
            bounds = weights * self._reach[sources]
            for place in np.flatnonzero(bounds >= least).tolist():
                if (source := int(sources[place])) not in path:
                    heapq.heappush(waiting, (-bounds[place], (source, *path), float(weights[place]), False))


def _edges(transition: Transition, damping: float) -> tuple[csr_array, csr_array]:
    """The chances times the damping: (sources, targets), and (targets, sources)."""
    from scipy.sparse import csr_array

    parts = (damping * transition.chances, transition.targets, transition.starts)
    leaving = csr_array(parts, shape=(transition.nodes, transition.nodes))
    return leaving, csr_array(leaving.T.tocsr())


def _reach(transition: Transition, reset: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    """(nodes,), the weight of the strongest path from any seed, by Dijkstra's algorithm from one more node."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    seeds = np.flatnonzero(reset)
    # A seed of weight 1 would be at no distance, which a sparse matrix takes for no edge; so all are put 1 further off.
    lengths = np.concatenate([-np.log(damping * transition.chances), 1 - np.log(reset[seeds])])
    targets = np.concatenate([transition.targets, seeds])
    starts = np.append(transition.starts, len(targets))
    size = transition.nodes + 1
    edges = csr_array((lengths, targets, starts), shape=(size, size))
    distances: NDArray[np.float64] = dijkstra(edges, indices=transition.nodes)  # type: ignore[call-overload]  # stubs lack arrays
    return np.exp(1 - distances[:-1])
