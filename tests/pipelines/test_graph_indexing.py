import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from graph_content import content

from ragloom import Chunk
from ragloom.errors import BadReply, InputError
from ragloom.graph.building import VERSION, KnowledgeGraph
from ragloom.graph.extraction import Extraction, Triple
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.pipelines.graph_indexing import RULES, open_graph, read_chunks
from ragloom.pipelines.indexing import index_corpus
from ragloom.store import Store


class Sentences:
    """Takes what stands before and behind "is in" for a triple, fails for what it is told to, and keeps count."""

    identity = "sentences"

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.read: list[str] = []

    def __call__(self, chunk: Chunk, /) -> Extraction:
        self.read.append(chunk.title)
        if chunk.title in self.failing:
            raise BadReply("no JSON")
        subject, _, place = chunk.text.partition(" is in ")
        return Extraction((subject, place), (Triple(subject, "is in", place),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "workspace") as store:
        yield store


def index(store: Store, **texts: str) -> None:
    """Have the store hold those passages by title, and no others."""
    file = store.folder.parent / "corpus.jsonl"
    records = ({"id": title, "title": title, "text": text} for title, text in texts.items())
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    index_corpus([file], store, progress=False)


def fresh(store: Store) -> list[object]:
    return content(KnowledgeGraph.build(store.chunks(), RuleExtractor(), RULES))


def builds(store: Store) -> list[str]:
    return sorted(path.name for path in (store.folder / "derived").iterdir())


def test_the_graph_follows_the_workspace(store: Store) -> None:
    assert content(open_graph(store, progress=False)) == fresh(store)
    index(store, Oslo="Oslo is in Norway.", Norway="Norway is in Europe.")
    assert content(open_graph(store, progress=False)) == fresh(store)
    index(store, Oslo="Oslo is in the Kingdom of Norway.", Bergen="Bergen is west of Oslo.")
    graph = open_graph(store, progress=False)
    assert content(graph) == fresh(store)
    assert "norway" not in graph.phrases


def test_a_graph_is_built_once_and_kept(store: Store) -> None:
    index(store, Oslo="Oslo is in Norway.")
    first = open_graph(store, progress=False)
    there = builds(store)
    assert content(open_graph(store, progress=False)) == content(first)
    assert builds(store) == there
    assert len(there) == 1


def test_a_graph_of_another_version_is_built_anew(store: Store) -> None:
    index(store, Oslo="Oslo is in Norway.")
    parameters = {"extractor": RULES, "version": VERSION - 1}
    store.derived("graph", parameters, lambda folder: Path(folder, "graph.json").touch())
    index(store, Oslo="Oslo is in Norway, they say.")
    assert content(open_graph(store, progress=False)) == fresh(store)


def test_a_store_open_for_reading_has_a_graph_all_the_same(store: Store) -> None:
    index(store, Oslo="Oslo is in Norway.")
    store.close()
    with Store.open(store.folder, write=False) as reader:
        assert content(open_graph(reader, progress=False)) == fresh(reader)
    assert not (store.folder / "derived").exists()


def test_chunks_that_are_kept_are_not_read_again(store: Store) -> None:
    extractor = Sentences()
    index(store, Oslo="Oslo is in Norway", Rome="Rome is in Italy")
    read_chunks(store, extractor, progress=False)
    assert open_graph(store, "sentences", progress=False).facts == [
        ("oslo", "is in", "norway"),
        ("rome", "is in", "italy"),
    ]
    index(store, Oslo="Oslo is in Norway", Bonn="Bonn is in Germany")
    assert read_chunks(store, extractor, progress=False).extracted == 1
    graph = open_graph(store, "sentences", progress=False)
    assert extractor.read == ["Oslo", "Rome", "Bonn"]
    assert graph.facts == [("bonn", "is in", "germany"), ("oslo", "is in", "norway")]


def test_a_failed_extraction_leaves_a_passage_with_its_names_until_it_succeeds(store: Store) -> None:
    index(store, Oslo="Oslo is in Norway", Rome="Rome is in Italy")
    report = read_chunks(store, Sentences("Oslo"), progress=False)
    assert [(chunk.title, error) for chunk, error in report.failed] == [("Oslo", "no JSON")]
    graph = open_graph(store, "sentences", progress=False)
    assert (len(graph.unread), graph.facts) == (1, [("rome", "is in", "italy")])
    assert "oslo" in graph.phrases
    read_chunks(store, Sentences(), progress=False, retry_failed=True)
    graph = open_graph(store, "sentences", progress=False)
    assert (graph.unread, len(graph.facts)) == (set(), 2)


def test_extractions_have_to_be_there(store: Store) -> None:
    assert open_graph(store, "sentences", progress=False).phrases == []
    index(store, Oslo="Oslo is in Norway")
    with pytest.raises(
        InputError, match=r"holds nothing that the extractor 'sentences' found; run `ragloom graph build`"
    ):
        open_graph(store, "sentences", progress=False)
