"""What a knowledge graph holds, for tests to compare."""

from __future__ import annotations

from typing import Any

import numpy as np

from ragloom.graph.building import KnowledgeGraph


def content(graph: KnowledgeGraph) -> list[object]:
    """Everything in the graph, arrays to the byte."""
    arrays: list[np.ndarray[Any, Any]] = [graph.fact_ends, graph.words.codes, graph.words.starts]
    for matrix in (graph.names, graph.entities, graph.links, graph.statements):
        arrays += [matrix.data, matrix.indices, matrix.indptr]
    lists: list[object] = [graph.extractor, graph.chunk_ids, sorted(graph.unread), graph.phrases, graph.facts]
    return [*lists, *map(_exactly, arrays)]


def _exactly(array: np.ndarray[Any, Any]) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()
