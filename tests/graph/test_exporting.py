"""Exports: nothing lost that the format can hold, nothing broken by what it cannot, nothing overwritten unasked."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragloom.errors import ConfigError, InputError
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.characters import not_xml, one_line, surrogates, utf8_text, visible, xml_text
from ragloom.graph.exporting import Format, export_graph, network
from ragloom.graph.extraction import Extraction, Triple
from ragloom.types import Chunk

FORMATS: Sequence[Format] = get_args(Format)
FILM = Chunk("1" * 32, "Fist Power was made in Hong Kong. Hong Kong paid.", "Fist Power", "d1", 0)
CITY = Chunk("2" * 32, "A city.", "Hong Kong", "d2", 3)
FOUND = {
    FILM.id: Extraction(("Fist Power", "Hong Kong", "Hong Kong"), (Triple("Fist Power", "made in", "Hong Kong"),) * 2),
    CITY.id: Extraction((), (Triple("Fist Power", "made in", "Hong Kong"), Triple("Hong Kong", "was", "British"))),
}


def graph_of(*chunks: Chunk) -> KnowledgeGraph:
    return KnowledgeGraph.build(chunks, lambda chunk: FOUND.get(chunk.id, Extraction()), "by hand")


def contents(graph: nx.MultiDiGraph) -> tuple[object, ...]:  # type: ignore[type-arg]  # at run time it takes none
    return dict(graph.graph), dict(graph.nodes(data=True)), sorted(graph.edges(keys=True, data=True), key=str)


def read(path: Path, form: Format) -> nx.MultiDiGraph:  # type: ignore[type-arg]
    if form == "graphml":
        found = nx.read_graphml(path, node_type=int, force_multigraph=True)
        found.graph = {name: value for name, value in found.graph.items() if name == "extractor"}
        return found
    return nx.node_link_graph(json.loads(path.read_text(encoding="utf-8")), edges="edges")


def test_the_network_has_phrases_passages_and_what_joins_them():
    graph = graph_of(FILM, CITY)
    found = network(graph, [FILM, CITY])
    assert graph.phrases == ["british", "fist power", "hong kong"]
    assert found.nodes[1] == {"kind": "phrase", "label": "fist power"}
    assert found.nodes[4] == {
        "kind": "passage",
        "label": "Hong Kong",
        "text": "A city.",
        "chunk_id": CITY.id,
        "document_id": "d2",
        "position": 3,
    }
    assert {(a, b, *data.values()) for a, b, data in found.edges(data=True)} == {
        (3, 1, "names", 1),
        (3, 1, "mentions", 1),
        (3, 1, "links", 1),
        (3, 2, "mentions", 2),
        (3, 2, "links", 2),
        (4, 2, "names", 1),
        (1, 2, "stated", 3, "made in"),
        (2, 0, "stated", 1, "was"),
    }
    assert found.graph == {"extractor": "by hand"}


@pytest.mark.parametrize("form", ["graphml", "networkx-json"])
def test_what_is_written_comes_back(form: Format, tmp_path: Path):
    graph, chunks = graph_of(FILM, CITY), [FILM, CITY]
    report = export_graph(graph, chunks, tmp_path / "graph", form)
    assert contents(read(tmp_path / "graph", form)) == contents(network(graph, chunks))
    assert (report.nodes, report.edges, report.replaced) == (5, 8, 0)


@given(st.text(), st.text())
@settings(deadline=None)  # it writes files
def test_graphml_holds_every_text(tmp_path_factory: pytest.TempPathFactory, title: str, text: str):
    chunk = Chunk("1", text, title, "d")
    path = tmp_path_factory.mktemp("graphml") / "graph.graphml"
    report = export_graph(graph_of(chunk), [chunk], path, "graphml")
    passage = max(read(path, "graphml").nodes(data=True))[1]
    assert (passage["label"], passage["text"]) == (xml_text(title), xml_text(text))
    assert report.replaced == not_xml(title) + not_xml(text)


@given(st.text())
@settings(deadline=None)
def test_json_holds_every_text_as_it_is(tmp_path_factory: pytest.TempPathFactory, text: str):
    chunk = Chunk("1", text, "Title", "d")
    path = tmp_path_factory.mktemp("json") / "graph.json"
    assert export_graph(graph_of(chunk), [chunk], path, "networkx-json").replaced == 0
    assert max(read(path, "networkx-json").nodes(data=True))[1]["text"] == text


@given(st.text())
@settings(deadline=None, max_examples=30)
def test_parquet_holds_every_text_but_half_characters(tmp_path_factory: pytest.TempPathFactory, text: str):
    parquet = pytest.importorskip("pyarrow.parquet")
    chunk = Chunk("1", text, "Title", "d")
    folder = tmp_path_factory.mktemp("parquet") / "graph"
    report = export_graph(graph_of(chunk), [chunk], folder, "parquet")
    rows = parquet.read_table(folder / "nodes.parquet").to_pylist()
    assert rows[-1]["text"] == utf8_text(text)
    assert report.replaced == surrogates(text)


def test_parquet_tables_are_the_network(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    graph, chunks = graph_of(FILM, CITY), [FILM, CITY]
    report = export_graph(graph, chunks, tmp_path / "graph", "parquet")
    nodes, edges = (
        parquet.read_table(tmp_path / "graph" / f"{name}.parquet").to_pylist() for name in ("nodes", "edges")
    )
    assert (len(nodes), len(edges)) == (report.nodes, report.edges) == (5, 8)
    found = network(graph, chunks)
    assert [without_gaps(row) for row in nodes] == [{"node": node, **data} for node, data in found.nodes(data=True)]
    expected = [{"source": source, "target": target, **data} for source, target, data in found.edges(data=True)]
    assert sorted(map(without_gaps, edges), key=str) == sorted(expected, key=str)


def without_gaps(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None}


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_graph_is_written(form: Format, tmp_path: Path):
    report = export_graph(KnowledgeGraph.empty("by hand"), [], tmp_path / "graph", form)
    assert (report.nodes, report.edges) == (0, 0)
    assert (tmp_path / "graph").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_overwritten_unless_asked_for(form: Format, tmp_path: Path):
    path = tmp_path / "graph"
    export_graph(graph_of(FILM), [FILM], path, form)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match=f"already something at {path}"):
        export_graph(graph_of(CITY), [CITY], path, form)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    export_graph(graph_of(CITY), [CITY], path, form, overwrite=True)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} != before


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_of_other_things_is_never_overwritten(form: Format, tmp_path: Path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(InputError, match=r"is a folder that holds mine\.txt, which is not overwritten"):
        export_graph(graph_of(FILM), [FILM], tmp_path / "letters", form, overwrite=True)
    assert (tmp_path / "letters" / "mine.txt").read_text(encoding="utf-8") == "dear"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot write .*file/graph: "):
        export_graph(graph_of(FILM), [FILM], tmp_path / "file" / "graph", "graphml")


def test_without_pyarrow_parquet_names_the_extra_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"ragloom\[parquet\]"):
        export_graph(graph_of(FILM), [FILM], tmp_path / "graph", "parquet")
    assert list(tmp_path.iterdir()) == []


@given(st.text())
def test_what_is_visible_is_xml_and_does_nothing_to_a_terminal(text: str):
    shown = visible(text)
    assert not_xml(shown) == 0
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)
    assert not any(0x7F <= ord(character) < 0xA0 for character in shown)
    assert not any(character in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068" for character in shown)
    assert len(one_line(text).splitlines()) <= 1


@given(st.text(), st.integers(2, 50))
def test_one_line_is_no_longer_than_asked_for(text: str, longest: int):
    assert len(one_line(text, longest)) <= longest
