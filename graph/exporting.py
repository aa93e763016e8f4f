"""The knowledge graph for other programs: as a networkx graph, GraphML, JSON, or Parquet tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ragloom.errors import ConfigError, InputError
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.characters import not_xml, surrogates, utf8_text, xml_text
from ragloom.types import Chunk
from ragloom.writing import write_aside

if TYPE_CHECKING:
    import networkx as nx

Format = Literal["graphml", "networkx-json", "parquet"]

_PAGE = 50_000  # rows put into a table at a time
_TABLES = ("nodes.parquet", "edges.parquet")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written.

    Attributes:
        nodes, edges: how many.
        replaced: characters that the format cannot hold, each of which a visible one stands for.
    """

    nodes: int
    edges: int
    replaced: int


def network(graph: KnowledgeGraph, chunks: Sequence[Chunk]) -> nx.MultiDiGraph[int]:
    """The graph for networkx. Nodes are numbered as everywhere: the phrases first, then the passages.

    Every node has a `kind` and a `label`. A `phrase` has the phrase for a label. A `passage` has its title, and `text`,
    `chunk_id`, `document_id` and `position`. Every edge has a `kind` and a `count`, how often the passage or passages
    say so: a passage `names` what it is about, `mentions` entities, and has `links` to names of other passages in its
    words; a phrase is `stated` of another, with the `relation` between them.

    Args:
        graph: of the chunks.
        chunks: in the graph's order.
    """
    return _network(_nodes(graph, chunks), _edges(graph), graph.extractor)


def export_graph(
    graph: KnowledgeGraph, chunks: Sequence[Chunk], path: Path, form: Format, *, overwrite: bool = False
) -> ExportReport:
    """Write the graph to a file, or for Parquet to a folder with `nodes.parquet` and `edges.parquet`.

    Nodes and edges are as in `network`. JSON is networkx's node-link form, see `networkx.node_link_graph`. It is
    written aside and moved into place.

    Args:
        graph: of the chunks.
        chunks: in the graph's order.
        path: of the file or folder.
        form: what is written.
        overwrite: replace what is there.

    Raises:
        InputError: there is something already, or nothing can be written there.
        ConfigError: Parquet without pyarrow.
    """
    _check_free(path, form, overwrite)
    replaced = write_aside(path, lambda aside: _WRITERS[form](graph, chunks, aside))
    counts = (graph.names, graph.entities, graph.links)
    edges = sum(int(matrix.nnz) for matrix in counts) + len(graph.facts)
    return ExportReport(len(graph.phrases) + len(chunks), edges, replaced)


def _check_free(path: Path, form: Format, overwrite: bool) -> None:
    if not path.exists():
        return
    if not overwrite:
        raise InputError(f"there is already something at {path}", "name another place, or --overwrite it")
    if path.is_dir():
        others = sorted(other.name for other in path.iterdir() if other.name not in _TABLES)
        if form != "parquet" or others:
            held = f" that holds {others[0]}" if others else ""
            raise InputError(f"{path} is a folder{held}, which is not overwritten", "name another place")


def _nodes(graph: KnowledgeGraph, chunks: Sequence[Chunk]) -> Iterator[dict[str, Any]]:
    for number, phrase in enumerate(graph.phrases):
        yield {"node": number, "kind": "phrase", "label": phrase}
    for number, chunk in enumerate(chunks, len(graph.phrases)):
        yield {
            "node": number,
            "kind": "passage",
            "label": chunk.title,
            "text": chunk.text,
            "chunk_id": chunk.id,
            "document_id": chunk.document_id,
            "position": chunk.position,
        }


def _edges(graph: KnowledgeGraph) -> Iterator[dict[str, Any]]:
    phrases = len(graph.phrases)
    for kind, counts in (("names", graph.names), ("mentions", graph.entities), ("links", graph.links)):
        entries = counts.tocoo()
        ends = zip(entries.row.tolist(), entries.col.tolist(), entries.data.tolist(), strict=True)
        for passage, phrase, count in ends:
            yield {"source": phrases + passage, "target": phrase, "kind": kind, "count": count}
    stated = np.bincount(graph.statements.indices, graph.statements.data, len(graph.facts)).astype(int).tolist()
    for (_, relation, _), (subject, object_), count in zip(graph.facts, graph.fact_ends.tolist(), stated, strict=True):
        yield {"source": subject, "target": object_, "kind": "stated", "count": count, "relation": relation}


class _Replacing:
    """Passes rows on with every text as a format can hold it, and counts what was replaced."""

    def __init__(self, clean: Callable[[str], str], count: Callable[[str], int]) -> None:
        self._clean, self._count = clean, count
        self.replaced = 0

    def __call__(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for row in rows:
            self.replaced += sum(self._count(value) for value in row.values() if isinstance(value, str))
            yield {name: self._clean(value) if isinstance(value, str) else value for name, value in row.items()}


def _network(nodes: Iterable[dict[str, Any]], edges: Iterable[dict[str, Any]], extractor: str) -> nx.MultiDiGraph[int]:
    import networkx as nx

    found: nx.MultiDiGraph[int] = nx.MultiDiGraph(extractor=extractor)
    for node in nodes:
        found.add_node(node.pop("node"), **node)
    for number, edge in enumerate(edges):
        found.add_edge(edge.pop("source"), edge.pop("target"), key=f"e{number}", **edge)
    return found


def _write_graphml(graph: KnowledgeGraph, chunks: Sequence[Chunk], path: Path) -> int:
    import networkx as nx

    replacing = _Replacing(xml_text, not_xml)
    rows = replacing(_nodes(graph, chunks)), replacing(_edges(graph))
    nx.write_graphml_xml(_network(*rows, xml_text(graph.extractor)), path)  # the same with and without lxml
    return replacing.replaced


def _write_json(graph: KnowledgeGraph, chunks: Sequence[Chunk], path: Path) -> int:
    import networkx as nx

    with path.open("w", encoding="utf-8") as file:  # in ASCII, so that every text comes back as it was
        json.dump(nx.node_link_data(network(graph, chunks), edges="edges"), file)
    return 0


def _write_parquet(graph: KnowledgeGraph, chunks: Sequence[Chunk], folder: Path) -> int:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            "writing Parquet needs pyarrow", "pip install 'ragloom[parquet]', or choose another --format"
        ) from None
    text, number = pa.string(), pa.int64()
    texts = dict.fromkeys(("kind", "label", "text", "chunk_id", "document_id"), text)
    node_types = {"node": number, **texts, "position": number}
    edge_types = {"source": number, "target": number, "kind": text, "count": number, "relation": text}
    replacing = _Replacing(utf8_text, surrogates)
    folder.mkdir()
    for name, types, rows in zip(
        _TABLES, (node_types, edge_types), (_nodes(graph, chunks), _edges(graph)), strict=True
    ):
        with parquet.ParquetWriter(folder / name, schema := pa.schema(types)) as writer:
            held = replacing(rows)
            while page := list(islice(held, _PAGE)):
                writer.write_table(pa.Table.from_pylist(page, schema=schema))
    return replacing.replaced


_WRITERS: dict[Format, Callable[[KnowledgeGraph, Sequence[Chunk], Path], int]] = {
    "graphml": _write_graphml,
    "networkx-json": _write_json,
    "parquet": _write_parquet,
}
