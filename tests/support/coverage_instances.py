"""Selection problems with a known optimum: facts that are worth more together, and chunks that distract."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragloom.components.combinations import Combination, Cost
from ragloom.types import Chunk, Hit

WORDS = Cost(count_tokens=lambda text: len(text.split()), separator_tokens=0)
HARM = 0.04  # of a chunk that distracts


@dataclass(frozen=True)
class Instance:
    """A utility, and what it is asked of.

    A fact is covered by noisy-or of the chunks that tell of it. The worth is the covered share of the facts' weights
    to the power of 1.5 (two facts are worth more than each alone), less what the distracting chunks harm.

    Attributes:
        hits: best score first; scores are noisy, and high for chunks that distract.
        budget: in words.
        strengths: (N, facts), how well each chunk tells of each fact; rows of zeros distract.
        weights: (facts,), sum to 1.
    """

    hits: list[Hit]
    budget: float
    strengths: np.ndarray
    weights: np.ndarray

    def __call__(self, query: str, batch: Sequence[Combination], /) -> list[float]:
        return [self.worth([int(hit.chunk.id) for hit in combination]) for combination in batch]

    def worth(self, numbers: Sequence[int]) -> float:
        """Of the chunks."""
        told = self.strengths[list(numbers)]
        covered = float(self.weights @ (1 - np.prod(1 - told, axis=0)))
        return covered**1.5 - HARM * int(np.sum(~told.any(axis=1)))

    def optimum(self) -> float:
        """The highest worth within the budget, by trying all; chunks that distract are in no best combination."""
        cost = {int(hit.chunk.id): WORDS(hit) for hit in self.hits}
        useful = [number for number in cost if self.strengths[number].any()]
        chosen = np.arange(2 ** len(useful))[:, None] >> np.arange(len(useful)) & 1  # (sets, useful)
        uncovered = np.prod(np.where(chosen[:, :, None], 1 - self.strengths[useful], 1.0), axis=1)  # (sets, facts)
        fits = chosen @ [cost[number] for number in useful] <= self.budget
        return float(((1 - uncovered) @ self.weights)[fits].max() ** 1.5)


def instance(seed: int, *, chunks: int = 30, budget: float = 1024, useful: float = 0.4, facts: int = 6) -> Instance:
    """Chunks of 60 to 256 words, a share of which tells of one or two of the facts."""
    generator = np.random.default_rng(seed)
    weights = generator.dirichlet(np.full(facts, 3.0))
    strengths = np.zeros((chunks, facts))
    for number in range(round(useful * chunks)):
        told = generator.choice(facts, size=generator.integers(1, 3), replace=False)
        strengths[number, told] = generator.uniform(0.3, 1.0, len(told))
    relevance = np.where(strengths.any(axis=1), strengths.sum(axis=1) / 2, 0.4) + generator.normal(0, 0.25, chunks)
    lengths = generator.integers(60, 257, chunks)
    hits = [
        Hit(
            Chunk(str(number), " ".join(f"{number}x{place}" for place in range(lengths[number]))),
            float(relevance[number]),
        )
        for number in range(chunks)
    ]
    return Instance(sorted(hits, key=lambda hit: -hit.score), budget, strengths, weights)


class Sets:
    """Sets of an instance's chunks as a problem of tree search, in the order of the hits: nothing else is known."""

    exhausted = False

    def __init__(self, problem: Instance) -> None:
        self.problem = problem
        self.numbers = [int(hit.chunk.id) for hit in problem.hits]
        self.costs = {int(hit.chunk.id): WORDS(hit) for hit in problem.hits}

    def actions(self, chosen: tuple[int, ...], /) -> list[int]:
        left = self.problem.budget - sum(self.costs[number] for number in chosen)
        return [number for number in self.numbers if self.costs[number] <= left and number not in chosen]

    def apply(self, chosen: tuple[int, ...], number: int, /) -> tuple[int, ...]:
        return (*chosen, number)

    def key(self, chosen: tuple[int, ...], /) -> frozenset[int]:
        return frozenset(chosen)

    def evaluate(self, sets: Sequence[tuple[int, ...]], /) -> list[float]:
        return [self.problem.worth(chosen) for chosen in sets]

    def price(self, chosen: tuple[int, ...], /) -> float:
        return 0.0
