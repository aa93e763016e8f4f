"""Search a tree of decisions for the state of highest reward: UCT (Kocsis and Szepesvari, ECML 2006).

Knows nothing of what is searched for: states, actions and rewards belong to a `Problem`. Every state has a reward of
its own, so that there are no playouts; nothing is random.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log, sqrt
from typing import Generic, Protocol, TypeVar

State = TypeVar("State")
Action = TypeVar("Action")


class Problem(Protocol[State, Action]):
    """What a search needs to know of the states it searches."""

    @property
    def exhausted(self) -> bool:
        """Whether no further state will be scored; the search ends after the batch that makes it so."""
        ...

    def actions(self, state: State, /) -> Sequence[Action]:
        """What can be done, most promising first, each once; nothing where the state is final."""
        ...

    def apply(self, state: State, action: Action, /) -> State:
        """What comes of it."""
        ...

    def key(self, state: State, /) -> Hashable:
        """Equal for states that are worth the same and can go on the same way; they share a node of the tree.

        No way may lead back to a key it came by.
        """
        ...

    def evaluate(self, states: Sequence[State], /) -> Sequence[float]:
        """The reward of each, on any scale; what is not finite counts as a failure, like the least reward so far."""
        ...

    def price(self, state: State, /) -> float:
        """What is held against going through the state, as a share of the range of rewards; 0 for nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Found(Generic[State]):
    """What a search came to.

    Attributes:
        state: the one of highest reward, of equal ones the first; None where none could be scored.
        reward: of it, on the problem's scale; minus infinity where there is none.
        iterations: descents through the tree.
        evaluations: states that were given to `evaluate`.
        batches: calls of `evaluate`.
        stop: why it ended: `iterations`, `evaluations`, `deadline`, `patience`, or `exhausted` where the whole tree
            was looked at.
    """

    state: State | None
    reward: float
    iterations: int
    evaluations: int
    batches: int
    stop: str


def tree_search(
    problem: Problem[State, Action],
    root: State,
    *,
    iterations: int = 1000,
    exploration: float = 0.2,
    widening: float = 1.0,
    batch: int = 8,
    seeds: Iterable[Sequence[Action]] = (),
    patience: int | None = None,
    deadline_s: float | None = None,
) -> Found[State]:
    """The best state that is found; the root itself is never scored.

    A descent goes from a state to its child of the highest

        mean reward of what was scored below it + exploration * sqrt(ln(parent's visits) / visits) - price

    with rewards brought to [0, 1] by the least and the highest so far, until it comes to a state that may have more
    children (progressive widening: ceil(widening * sqrt(visits)) of them, in the order of the actions). Its next child
    is scored, together with those that the other descents of the batch came to: until then each counts as a visit of
    the least reward (virtual loss), so that the descents part. Subtrees that are looked at whole are left out.

    Args:
        problem: what is searched.
        root: where every descent begins.
        iterations: most descents.
        exploration: 0 follows the mean alone.
        widening: children of a state at its first visit.
        batch: descents whose states are scored at once.
        seeds: actions from the root, whose states are scored first and are in the tree from the start, so that the
            outcome is never worse than they are.
        patience: descents in a row that may find nothing better; None for no limit.
        deadline_s: seconds after which no batch begins; None for no limit.

    Raises:
        ValueError: a number is out of range or not finite, or a seed does what cannot be done.
    """
    check_least(0, iterations=iterations, exploration=exploration, deadline_s=deadline_s)
    check_least(1, widening=widening, batch=batch, patience=patience)
    started = time.monotonic()
    tree = _Tree(problem, root, exploration, widening)
    tree.score([path for seed in seeds for path in tree.plant(seed)])
    done = improved = 0
    stop = ""
    while not stop:
        if problem.exhausted:
            stop = "evaluations"
        elif tree.exhausted:
            stop = "exhausted"
        elif done >= iterations:
            stop = "iterations"
        elif patience is not None and done - improved >= patience:
            stop = "patience"
        elif deadline_s is not None and time.monotonic() - started >= deadline_s:
            stop = "deadline"
        else:
            paths = tree.descend(min(batch, iterations - done))
            done += len(paths)
            if tree.score(paths):
                improved = done
    return Found(tree.best, tree.reward, done, tree.evaluations, tree.batches, stop)


def check_least(least: float, **numbers: float | None) -> None:
    """Check that each number that is given is finite and at least this.

    Raises:
        ValueError: one is not.
    """
    for name, number in numbers.items():
        if number is not None and not (isfinite(number) and number >= least):
            raise ValueError(f"{name} must be a number from {least:g}, got {number}")


class _Tree(Generic[State, Action]):
    """Nodes by number, the root's is 0. What a descent reads lies in lists, which are quicker than objects."""

    def __init__(self, problem: Problem[State, Action], root: State, exploration: float, widening: float) -> None:
        self.problem = problem
        self.best: State | None = None
        self.reward = -inf
        self.evaluations = 0
        self.batches = 0
        self.exhausted = False
        self._exploration = exploration
        self._widening = widening
        self._least = self._most = 0.0  # of the rewards so far
        self._numbers: dict[Hashable, int] = {}
        self._states: list[State] = []
        self._prices: list[float] = []
        self._visits: list[int] = []
        self._totals: list[float] = []  # of the rewards below; what is not scored counts as the least one
        self._worths: list[float] = []  # mean reward less the price
        self._roots: list[float] = []  # 1 / sqrt(visits)
        self._actions: list[list[Action] | None] = []  # None until they are needed
        self._opened: list[int] = []  # actions, from the first, whose children are in the tree
        self._children: list[list[int]] = []  # without those that were looked at whole
        self._number(root)

    def plant(self, seed: Sequence[Action]) -> list[list[int]]:
        """Put what the actions lead to into the tree; the paths to those states that are new."""
        path, new = [0], []
        for action in seed:
            node = path[-1]
            actions = self._actions_of(node)
            if action not in actions:
                raise ValueError(f"a seed does {action!r}, which is none of the actions of its state")
            place = actions.index(action)
            known = len(self._states)
            child = self._number(self.problem.apply(self._states[node], action))
            if place >= self._opened[node]:
                actions.insert(self._opened[node], actions.pop(place))
                self._opened[node] += 1
                self._children[node].append(child)
            path = [*path, child]
            if child == known:
                self._visit(path)
                new.append(path)
        return new

    def descend(self, count: int) -> list[list[int]]:
        """Paths from the root to this many new states; fewer where no more are left."""
        paths = []
        for _ in range(count):
            path = self._walk()
            if not path:
                self.exhausted = True
                break
            self._visit(path)
            paths.append(path)
        return paths

    def score(self, paths: Sequence[list[int]]) -> bool:
        """Score the states at the ends and let the rewards count on the way; whether one is the best so far."""
        if not paths:
            return False
        states = [self._states[path[-1]] for path in paths]
        rewards = self.problem.evaluate(states)
        if len(rewards) != len(states):
            raise ValueError(f"evaluate gave {len(rewards)} rewards for {len(states)} states")
        self.batches += 1
        self.evaluations += len(states)
        usable = [reward for reward in rewards if isfinite(reward)]
        if not usable:
            return False
        if self.best is None:
            self._begin_range(min(usable))
        least = self._least
        for path, reward in zip(paths, rewards, strict=True):
            if isfinite(reward):
                self._add(path, reward - least)
        self._least, self._most = min(least, *usable), max(self._most, *usable)
        top = max(usable)
        if top <= self.reward:
            return False
        self.best, self.reward = states[list(rewards).index(top)], top
        return True

    def _walk(self) -> list[int]:
        """The path to a state that is new; empty if there is none."""
        problem, children, visits = self.problem, self._children, self._visits
        worths, roots, opened, known_actions = self._worths, self._roots, self._opened, self._actions
        widening, exploration = self._widening * self._widening, self._exploration * (self._most - self._least or 1.0)
        node, path = 0, [0]
        while True:
            alive, begun = children[node], opened[node]
            actions = known_actions[node] or self._actions_of(node)
            if begun < len(actions) and (begun * begun < widening * visits[node] or not alive):
                opened[node] = begun + 1
                known = len(visits)
                child = self._number(problem.apply(self._states[node], actions[begun]))
                alive.append(child)
                if child == known:
                    path.append(child)
                    return path
            elif alive:
                factor = exploration * sqrt(log(visits[node]))
                bounds = [worths[child] + factor * roots[child] for child in alive]
                node = alive[bounds.index(max(bounds))]
                path.append(node)
            elif node:
                path.pop()
                children[path[-1]].remove(node)
                node = path[-1]
            else:
                return []

    def _actions_of(self, node: int) -> list[Action]:
        actions = self._actions[node]
        if actions is None:
            actions = self._actions[node] = list(self.problem.actions(self._states[node]))
        return actions

    def _number(self, state: State) -> int:
        """The node of the state, which is made if there is none."""
        number = self._numbers.setdefault(self.problem.key(state), len(self._states))
        if number == len(self._states):
            self._states.append(state)
            self._prices.append(self.problem.price(state))
            self._visits.append(0)
            self._totals.append(0.0)
            self._worths.append(0.0)
            self._roots.append(1.0)
            self._actions.append(None)
            self._opened.append(0)
            self._children.append([])
        return number

    def _visit(self, path: list[int]) -> None:
        """Count a visit of the least reward."""
        visits, totals, worths, prices = self._visits, self._totals, self._worths, self._prices
        roots, least, reach = self._roots, self._least, self._most - self._least
        for node in path:
            visits[node] = count = visits[node] + 1
            totals[node] = total = totals[node] + least
            worths[node] = total / count - reach * prices[node]
            roots[node] = 1 / sqrt(count)

    def _add(self, path: list[int], reward: float) -> None:
        # Prices are those of the range of rewards as it is now. It only grows: what costs too little is visited again.
        visits, totals, worths, prices = self._visits, self._totals, self._worths, self._prices
        reach = self._most - self._least
        for node in path:
            total = totals[node] = totals[node] + reward
            worths[node] = total / visits[node] - reach * prices[node]

    def _begin_range(self, reward: float) -> None:
        """With the first usable reward, what failed before comes to count as that."""
        self._least = self._most = reward
        self._totals = [reward * count for count in self._visits]
        self._worths = [reward] * len(self._visits)
