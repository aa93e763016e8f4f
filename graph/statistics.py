"""A knowledge graph in numbers: how much of what, how it hangs together, and where it is thin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragloom.graph.building import KnowledgeGraph


@dataclass(frozen=True, slots=True)
class Hub:
    """A phrase and the number of passages that it joins."""

    phrase: str
    passages: int


@dataclass(frozen=True, slots=True)
class GraphStatistics:
    """What a knowledge graph consists of.

    Attributes:
        extractor: identity of the extractor that read the passages.
        passages: nodes.
        phrases: nodes.
        facts: different ones.
        names: edges from passages to what they are about.
        mentions: edges from passages to entities in them.
        links: edges from passages to names of passages found in their words.
        statements: edges from passages to facts.
        phrases_per_passage: median number of phrases that a passage names, mentions or states something of.
        passages_per_phrase: mean number of passages of a phrase.
        shared_phrases: phrases of more than one passage; only they lead from one to another.
        components: parts that no edge joins.
        largest_component: passages in the one that has most.
        isolated: passages that share no phrase with another one.
        without_entities: passages in which nothing was found but their own names and links.
        failed: passages whose extraction failed.
        hubs: the phrases of most passages, first the one of most; ties in the order of the alphabet.
    """

    extractor: str
    passages: int
    phrases: int
    facts: int
    names: int
    mentions: int
    links: int
    statements: int
    phrases_per_passage: float
    passages_per_phrase: float
    shared_phrases: int
    components: int
    largest_component: int
    isolated: int
    without_entities: int
    failed: int
    hubs: tuple[Hub, ...]


def statistics(graph: KnowledgeGraph, *, hubs: int = 10) -> GraphStatistics:
    """The graph in numbers.

    Args:
        graph: may be empty.
        hubs: at most so many are named.
    """
    passage, phrase = _joined(graph)
    passages, phrases = len(graph.chunk_ids), len(graph.phrases)
    degrees = np.bincount(passage, minlength=passages)
    spread = np.bincount(phrase, minlength=phrases)
    component = _components(passage, phrase, graph)
    sizes = np.bincount(component[phrases:], minlength=1)
    found = np.diff(graph.entities.indptr) + np.diff(graph.statements.indptr)
    largest = np.argsort(-spread, kind="stable")[:hubs].tolist()
    return GraphStatistics(
        extractor=graph.extractor,
        passages=passages,
        phrases=phrases,
        facts=len(graph.facts),
        names=int(graph.names.nnz),
        mentions=int(graph.entities.nnz),
        links=int(graph.links.nnz),
        statements=int(graph.statements.nnz),
        phrases_per_passage=float(np.median(degrees)) if passages else 0.0,
        passages_per_phrase=len(phrase) / max(phrases, 1),
        shared_phrases=int((spread > 1).sum()),
        components=int(component.max(initial=-1)) + 1,
        largest_component=int(sizes.max()),
        isolated=int((sizes == 1).sum()),
        without_entities=int((found == 0).sum()),
        failed=len(graph.unread),
        hubs=tuple(Hub(graph.phrases[place], int(spread[place])) for place in largest),
    )


def _joined(graph: KnowledgeGraph) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Passages and phrases that anything joins, each pair once."""
    parts = [(matrix.tocoo().row, matrix.indices) for matrix in (graph.names, graph.entities, graph.links)]
    statements = graph.statements.tocoo()
    parts += [(statements.row, graph.fact_ends[statements.col, end]) for end in (0, 1)]
    width = max(len(graph.phrases), 1)
    pairs = np.unique(np.concatenate([passage.astype(np.int64) * width + phrase for passage, phrase in parts]))
    return pairs // width, pairs % width


def _components(passage: NDArray[np.int64], phrase: NDArray[np.int64], graph: KnowledgeGraph) -> NDArray[np.int32]:
    """(nodes,): the number of each node's component; a fact joins its ends, too."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = len(graph.phrases) + len(graph.chunk_ids)
    ends = np.concatenate([np.column_stack([passage + len(graph.phrases), phrase]), graph.fact_ends])
    edges = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(size, size))
    _, labels = connected_components(edges, directed=False)
    return np.asarray(labels)
