"""How likely a walker goes from a passage to a phrase in it, and from a phrase to a passage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragloom.graph.building import KnowledgeGraph

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def mention_matrix(graph: KnowledgeGraph) -> csr_array:
    """(passages, phrases), 1 where a passage mentions a phrase, or states a fact with it at one end; else not stored.

    Its own names are left out: they are what it is about.
    """
    from scipy.sparse import csr_array

    width = len(graph.phrases)
    ends = graph.fact_ends.ravel()
    facts = np.repeat(np.arange(len(graph.facts)), 2)
    fact_ends = csr_array((np.ones(len(ends), np.int32), (facts, ends)), shape=(len(graph.facts), width))
    mentions = csr_array(graph.mentions + graph.statements @ fact_ends)
    mentions.data[:] = 1
    others = csr_array(mentions - mentions * graph.names)
    others.eliminate_zeros()
    return others


def edge_weights(graph: KnowledgeGraph, *, link: float, about: float) -> tuple[csr_array, NDArray[np.int64]]:
    """The weights of a walk between passages and phrases, and in how many passages each phrase is.

    A passage leads to a phrase by the phrase's inverse document frequency, `link` times as strongly where the phrase
    names a passage, since such a mention is a link that nobody marked. A phrase leads to a passage about it with
    weight `about`, shared among those of the same name, and to one that mentions it by the square root of its rarity,
    so that phrases mentioned everywhere lead nowhere in particular.

    Returns:
        (nodes, nodes), phrases before passages, row to column; and (phrases,), the number of passages that mention the
        phrase or are about it.
    """
    from scipy.sparse import block_array, csr_array

    mentions = mention_matrix(graph)
    named = np.bincount(graph.names.indices, minlength=len(graph.phrases))
    # A passage's own names are not among its mentions, so that none is counted twice.
    frequency = np.bincount(mentions.indices, minlength=len(graph.phrases)) + named
    rarity = 1 / np.maximum(frequency, 1)
    idf = np.log1p(len(graph.chunk_ids) * rarity)
    to_phrase = mentions * (idf * np.where(named > 0, link, 1.0))[None, :] + graph.names * (about * idf)[None, :]
    shared = about / np.sqrt(np.maximum(named, 1))
    to_passage = mentions * (rarity**0.5)[None, :] + graph.names * shared[None, :]
    weights = block_array([[None, csr_array(to_passage).T], [csr_array(to_phrase), None]], format="csr")
    return csr_array(weights), frequency
