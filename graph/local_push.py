"""Personalised PageRank near the seeds: what a query costs does not grow with the graph.

Forward push (Andersen, Chung and Lang, FOCS 2006, section 3): mass lies on the seeds. Pushing a node keeps a part of
its mass as its score and passes the rest on along its edges. Nodes with little mass for their number of edges are left.
What we add: a score that matters takes in, along the edges to its node, what still waits at their other ends.
"""

from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ragloom.graph.ranking import Transition, check_share, normalised, personalised_pagerank, pulled

_NO_PULL = np.empty(0)
_TOLERANCE = 1e-2  # of the fall-back: its first 20 nodes are the exact ones at least as often as those of a push


def local_push(
    transition: Transition,
    nodes: ArrayLike,
    weights: ArrayLike,
    *,
    damping: float = 0.5,
    epsilon: float = 3e-5,
    pull: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The nodes where the walker spends a share of its time that matters, and these shares.

    With numba (the extra `compiled`) by forward push. Its scores are never above the exact ones, and what their sum
    lacks to 1 is the sum of all errors. Every seed is pushed, and then every node with more mass than epsilon times its
    edges, so at most 1 / ((1 - damping) * epsilon) edges are followed beside those of the seeds; as many at most are
    followed back, to nodes whose score is above (1 - damping) * epsilon times the edges to them. Where all weights are
    1 and symmetric and no seed is isolated, the score of a node is at most epsilon times its edges too low. The first
    call of a process takes a second to compile, later ones some hundredths of a millisecond to some tenths.

    Without numba by `personalised_pagerank` to a tolerance of 0.01, which takes time in proportion to the graph.

    Args:
        transition: also while other threads use it.
        nodes: (seeds,), where the walker starts. One that is named twice has both weights.
        weights: (seeds,), how much it prefers each. Not negative, not all 0; normalised here.
        damping: chance to follow an edge, between 0 and 1.
        epsilon: mass for each edge of a node that may be left there, between 0 and 1.
        pull: (nodes,), above 0; draws the walk as in `ragloom.graph.ranking.pulled`. Nothing by default. No edge is
            followed back then, so that an accurate ranking wants a smaller epsilon.

    Returns:
        Nodes, each once, in no order of meaning but always the same; and their scores, which sum to at most 1.

    Raises:
        ValueError: the weights are all 0, negative, infinite or NaN, a node is not in the graph, or the pull is not for
            its nodes.
    """
    check_share("damping", damping)
    check_share("epsilon", epsilon)
    if pull is not None and pull.shape != (transition.nodes,):  # compiled code would reach outside of it
        raise ValueError(f"pull must have a number for each of the {transition.nodes} nodes, got {pull.shape}")
    seeds, shares = _seeds(transition, nodes, weights)
    with _COMPILING:
        compiled = _compiled()
    if compiled is None:
        return _power_iteration(transition if pull is None else pulled(transition, pull), seeds, shares, damping)
    spare = _SPARE.setdefault(transition, [])
    try:
        workspace = spare.pop()
    except IndexError:
        workspace = _Workspace.of(transition.nodes)
    masses, _, touched = workspace
    edges = (transition.starts, transition.targets, transition.chances, _NO_PULL if pull is None else pull)
    count, lost = compiled.push(*edges, seeds, shares, damping, epsilon, *workspace)
    found = touched[:count].copy()
    if pull is None:
        compiled.take_in(*transition.entering, found, damping, epsilon, masses)
    scores = compiled.collect(found, damping, lost, masses)
    spare.append(workspace)  # clean again; after an error it is not returned, since it might not be
    return found, scores


class _Workspace(NamedTuple):
    """What a push writes to: all masses are 0 before and after."""

    masses: NDArray[np.float64]  # (nodes, 2): what waits to be pushed, and the score; together, for one cache miss
    queue: NDArray[np.uintp]  # (nodes,), a ring
    touched: NDArray[np.intp]  # (nodes + 1,), those that have mass, and a place for the next

    @classmethod
    def of(cls, nodes: int) -> "_Workspace":
        """A new one; the system gives memory for the parts that are used only."""
        return cls(np.zeros((nodes, 2)), np.empty(nodes, np.uintp), np.empty(nodes + 1, np.intp))


# A thread takes one and brings it back, so there are as many as threads ever pushed at once.
_SPARE: WeakKeyDictionary[Transition, list[_Workspace]] = WeakKeyDictionary()


def _seeds(
    transition: Transition, nodes: ArrayLike, weights: ArrayLike
) -> tuple[NDArray[np.uintp], NDArray[np.float64]]:
    places, given = np.asarray(nodes), np.asarray(weights, dtype=np.float64)
    if places.ndim != 1 or places.shape != given.shape:
        raise ValueError(f"seeds need a weight each, got {places.shape} nodes and {given.shape} weights")
    shares = normalised(given, "weights")
    if places.dtype.kind not in "iu" or places.min() < 0 or places.max() >= transition.nodes:
        raise ValueError(f"seeds must be numbers of the {transition.nodes} nodes, got {places.tolist()}")
    return places.astype(np.uintp), shares


def _power_iteration(
    transition: Transition, seeds: NDArray[np.uintp], shares: NDArray[np.float64], damping: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    reset = np.zeros(transition.nodes)
    np.add.at(reset, seeds, shares)
    scores = personalised_pagerank(transition, reset, damping=damping, tolerance=_TOLERANCE)
    found = np.flatnonzero(scores)
    return found, scores[found]


_COMPILING = Lock()  # the threads of a batch begin together, and each would have the push compiled for itself


class _Compiled(NamedTuple):
    """The functions below in machine code."""

    push: Callable[..., tuple[int, float]]
    take_in: Callable[..., None]
    collect: Callable[..., NDArray[np.float64]]


@cache
def _compiled() -> _Compiled | None:
    """What is compiled at its first call, or None without numba.

    Not kept on disk: that saves half of the second but adds pickles beside the code, and errors where the folder or the
    disk lets nothing be written.
    """
    try:
        import numba
    except ImportError:
        return None
    compiled = numba.njit(nogil=True)
    return _Compiled(compiled(_push), compiled(_take_in), compiled(_collect))


def _push(  # noqa: PLR0917 - one loop, compiled; called by position
    starts: NDArray[np.signedinteger],
    targets: NDArray[np.signedinteger],
    chances: NDArray[np.float64],
    pull: NDArray[np.float64],
    seeds: NDArray[np.uintp],
    shares: NDArray[np.float64],
    damping: float,
    epsilon: float,
    masses: NDArray[np.float64],
    queue: NDArray[np.uintp],
    touched: NDArray[np.intp],
) -> tuple[int, float]:
    """Push from the seeds; gives the number of touched nodes, and the mass that dangling ones had to pass on."""
    place = count = head = tail = waiting = 0
    lost = 0.0
    while place < len(seeds) or waiting:
        if place < len(seeds):
            node, mass = seeds[place], shares[place]
            place += 1
            if mass < 1e-100:  # products with it could be 0, and the node seem untouched
                continue
            if masses[node, 0] == 0 and masses[node, 1] == 0:
                touched[count] = node
                count += 1
        else:
            node = queue[head]
            head = head + 1 if head + 1 < len(queue) else 0
            waiting -= 1
            mass = masses[node, 0]
            masses[node, 0] = 0
        masses[node, 1] += (1 - damping) * mass
        mass *= damping
        if starts[node] == starts[node + 1]:
            lost += mass
        elif len(pull):
            total = 0.0
            for edge in range(starts[node], starts[node + 1]):
                total += chances[edge] * pull[targets[edge]]
            mass /= total
        for edge in range(np.uintp(starts[node]), np.uintp(starts[node + 1])):
            target = np.uintp(targets[edge])  # unsigned: else every access asks whether it counts from the end
            before = masses[target, 0]
            after = before + mass * (chances[edge] * pull[target] if len(pull) else chances[edge])
            touched[count] = target  # stays if this is the first mass there: a branch would be mispredicted often
            count += int((before == 0) & (after > 0) & (masses[target, 1] == 0))
            masses[target, 0] = after
            if after > epsilon:  # seldom, and only then the number of edges has to come from memory
                bound = epsilon * max(1, starts[target + 1] - starts[target])
                if before <= bound < after:  # else it is in the queue already, or has too little
                    queue[tail] = target
                    tail = tail + 1 if tail + 1 < len(queue) else 0
                    waiting += 1
    return count, lost


def _take_in(  # noqa: PLR0917
    starts: NDArray[np.signedinteger],
    sources: NDArray[np.signedinteger],
    chances: NDArray[np.float64],
    found: NDArray[np.intp],
    damping: float,
    epsilon: float,
    masses: NDArray[np.float64],
) -> None:
    """Let mass arrive at the nodes that matter as if all others had been pushed; it does not leave where it was.

    That is a step of Gauss and Seidel. On a random graph of 10^5 nodes it leaves as many of the right first 20 as a
    push alone with a sixth of the epsilon, in a third of the time.
    """
    for place in range(len(found)):
        node = np.uintp(found[place])
        bound = (1 - damping) * epsilon * (starts[node + 1] - starts[node])
        if masses[node, 1] + (1 - damping) * masses[node, 0] > bound:
            arriving = 0.0
            for edge in range(np.uintp(starts[node]), np.uintp(starts[node + 1])):
                arriving += masses[np.uintp(sources[edge]), 0] * chances[edge]
            masses[node, 0] += damping * arriving


def _collect(found: NDArray[np.intp], damping: float, lost: float, masses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scores of the nodes found, whose masses become 0.

    What dangling nodes return to the seeds adds to all scores in proportion: see `ranking`.
    """
    scores = np.empty(len(found))
    for place in range(len(found)):
        node = np.uintp(found[place])
        # This much of the mass that still waits would become the node's own score.
        scores[place] = (masses[node, 1] + (1 - damping) * masses[node, 0]) / (1 - lost)
        masses[node, 0] = masses[node, 1] = 0
    return scores
