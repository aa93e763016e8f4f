"""The part of a knowledge graph that its triples make: what HippoRAG walks on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.shares import Fact

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class FactGraph:
    """Phrases joined by facts.

    Attributes:
        chunk_ids: the passages, in the order of the corpus.
        phrases: subjects and objects of facts, normalised, sorted.
        facts: normalised, sorted.
        contents: (passages, phrases), the number of the passage's facts with the phrase at one end or both.
        relations: (phrases, phrases), symmetric: how often a fact with these ends is stated. None with itself.
    """

    chunk_ids: list[str]
    phrases: list[str]
    facts: list[Fact]
    contents: csr_array
    relations: csr_array

    @classmethod
    def of(cls, graph: KnowledgeGraph) -> Self:
        """The facts of a knowledge graph."""
        from scipy.sparse import coo_array, csr_array

        used, ends = np.unique(graph.fact_ends, return_inverse=True)
        first, second = ends.reshape(-1, 2).T
        size = len(used)
        rows = np.tile(np.arange(len(first)), 2)
        ends_of = csr_array((np.ones(len(rows)), (rows, np.concatenate([first, second]))), shape=(len(first), size))
        ends_of.data[:] = 1  # a fact about a phrase and itself is one fact about it
        stated = (graph.statements > 0).astype(np.float64)
        counts = graph.statements.sum(axis=0).astype(np.float64)
        apart = first != second
        half = coo_array((counts[apart], (first[apart], second[apart])), shape=(size, size)).tocsr()
        phrases = [graph.phrases[place] for place in used.tolist()]
        return cls(graph.chunk_ids, phrases, graph.facts, csr_array(stated @ ends_of), csr_array(half + half.T))

    @property
    def texts(self) -> list[str]:
        """Each fact as a text to embed."""
        return [" ".join(fact) for fact in self.facts]

    def frequency(self) -> NDArray[np.int64]:
        """(phrases,), the number of passages with a fact about the phrase."""
        return np.bincount(self.contents.indices, minlength=len(self.phrases))
