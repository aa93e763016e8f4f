"""What chunks add to a knowledge graph, before it is laid beside what is kept of others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ragloom.graph.counting import Numbering, Rows
from ragloom.graph.extraction import Extraction, Triple, normalise
from ragloom.graph.naming import is_name
from ragloom.graph.words import WordCodes

Fact = tuple[str, str, str]  # normalised subject, relation and object


class Shares:
    """What chunks add to a graph, row by row, in numbers that go on behind those of the graph.

    Args:
        phrases, facts: of the graph, sorted.
    """

    def __init__(self, phrases: list[str], facts: list[Fact]) -> None:
        self.phrases, self.facts = Numbering(phrases), Numbering(facts)
        self.names, self.entities, self.links = Rows(self.phrases), Rows(self.phrases), Rows(self.phrases)
        self.statements, self.words = Rows(self.facts), Rows(WordCodes())
        self.unread: set[str] = set()

    def append(self, id_: str, about: Iterable[str], words: Iterable[str], extraction: Extraction | None) -> None:
        """Add a chunk, other than its links."""
        if extraction is None:
            self.unread.add(id_)
            extraction = Extraction()
        self.names.append(about)
        self.words.append(words)
        self.entities.append(name for entity in extraction.entities if is_name(name := normalise(entity)))
        facts = map(_fact, extraction.triples)
        self.statements.append((subject, relation, end) for subject, relation, end in facts if subject and end)

    def fact_ends(self) -> NDArray[np.int32]:
        """(new facts, 2), the numbers of their subjects and objects."""
        ends = [(self.phrases[subject], self.phrases[object_]) for subject, _, object_ in self.facts.added]
        return np.array(ends, np.int32).reshape(-1, 2)


def _fact(triple: Triple) -> Fact:
    return normalise(triple.subject), normalise(triple.relation), normalise(triple.object)
