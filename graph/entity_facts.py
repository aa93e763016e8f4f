"""What the passages of a knowledge graph say of each entity, for a glossary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from ragloom.components.sentences import sentences
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.extraction import normalise
from ragloom.types import Chunk

MOST_FACTS = 4  # of an entity
_LEAST_PASSAGES = 2  # that mention an entity which no passage is about


def entity_facts(
    graph: KnowledgeGraph, chunks: Sequence[Chunk], *, most: int = MOST_FACTS
) -> dict[str, list[tuple[str, str]]]:
    """For each entity the passages that name it, each with a line about it: pairs of a chunk's id and the line.

    Entities are the names of passages, and what at least two passages mention, in the order in which they turn up; an
    entity is called as the title that it is, else by its phrase. A line is a triple of the passage in which the entity
    stands, or else the first sentence that holds it, behind the passage's title. Passages about the entity come first.

    Args:
        graph: of these chunks.
        chunks: in their order.
        most: passages of an entity that are given a line; that of the others is empty.
    """
    own, all_ = graph.names.tocsc(), (graph.names + graph.mentions).tocsc()
    read = _Reading(graph, chunks)
    found: list[tuple[int, str, list[tuple[str, str]]]] = []
    for number, phrase in enumerate(graph.phrases):
        about = own.indices[own.indptr[number] : own.indptr[number + 1]].tolist()
        naming = sorted(all_.indices[all_.indptr[number] : all_.indptr[number + 1]].tolist())
        if not about and len(naming) < _LEAST_PASSAGES:
            continue
        is_about = set(about)
        rows = [*sorted(about), *(row for row in naming if row not in is_about)]
        title = next((chunks[row].title for row in about if normalise(chunks[row].title) == phrase), phrase)
        lines = [read.line(row, phrase) for row in rows[:most]] + [""] * len(rows[most:])
        found.append((naming[0], title, [(chunks[row].id, line) for row, line in zip(rows, lines, strict=True)]))
    found.sort(key=lambda each: each[0])  # stable: those of one passage stay in the order of their phrases
    return {title: stated for _, title, stated in found}


class _Reading:
    """Passages, read for what they say of an entity."""

    def __init__(self, graph: KnowledgeGraph, chunks: Sequence[Chunk]) -> None:
        self._graph = graph
        self._chunks = chunks
        self._sentences = lru_cache(maxsize=100_000)(self._read)

    def line(self, row: int, phrase: str) -> str:
        """What the passage says of the entity; empty where the words of its text do not hold it."""
        stated = next((" ".join(fact) for fact in self._facts(row) if phrase in (fact[0], fact[2])), "")
        if stated:
            return stated
        chunk = self._chunks[row]
        is_title = normalise(chunk.title) == phrase
        said = self._sentences(row)
        sentence = next(
            (text for text, words in said if f" {phrase} " in words), said[0][0] if is_title and said else ""
        )
        return f"{chunk.title}: {sentence}" if sentence and chunk.title and not is_title else sentence

    def _facts(self, row: int) -> Iterator[tuple[str, str, str]]:
        statements = self._graph.statements
        for place in statements.indices[statements.indptr[row] : statements.indptr[row + 1]].tolist():
            yield self._graph.facts[place]

    def _read(self, row: int) -> list[tuple[str, str]]:
        return [(text, f" {normalise(text)} ") for text in sentences(self._chunks[row].text)]
