import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from graph_content import content
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from ragloom import Chunk
from ragloom.errors import IndexMismatch
from ragloom.graph.building import Extract, KnowledgeGraph
from ragloom.graph.extraction import Extraction, Triple
from ragloom.graph.rule_extraction import RuleExtractor

CHUNKS = [
    Chunk("1", "Fargo lies in North Dakota. Fargo is cold.", "Fargo"),
    Chunk("2", "The state of Dakota was split.", "North Dakota"),
    Chunk("3", "Nothing to see in fargo.", "Empty page"),
]
FOUND = {
    "1": Extraction(("Fargo", "North Dakota", "Fargo"), (Triple("Fargo", "lies in", "North Dakota"),) * 2),
    "2": Extraction(
        ("Dakota",), (Triple("Dakota", "was split into", "states"), Triple("Fargo", "lies in", "the North"))
    ),
    "3": Extraction(("12", "it"), (Triple("?", "is", "empty"),)),
}


def found(chunk: Chunk) -> Extraction:
    return FOUND[chunk.id]


def nothing(_: Chunk) -> Extraction:
    return Extraction()


def rows(graph: KnowledgeGraph, counts: csr_array, items: Sequence[object]) -> list[dict[object, int]]:
    """What each passage has in a matrix."""
    return [{item: count for item, count in zip(items, row, strict=True) if count} for row in counts.toarray().tolist()]


# ---- What is counted


def test_a_passage_has_names_entities_links_and_statements() -> None:
    graph = KnowledgeGraph.build(CHUNKS, found, "scripted")
    assert graph.phrases == ["dakota", "empty page", "fargo", "north dakota", "states", "the north"]
    assert rows(graph, graph.names, graph.phrases) == [{"fargo": 1}, {"north dakota": 1}, {"empty page": 1}]
    assert rows(graph, graph.entities, graph.phrases) == [{"fargo": 2, "north dakota": 1}, {"dakota": 1}, {}]
    assert rows(graph, graph.links, graph.phrases) == [{"north dakota": 1}, {}, {}]
    assert rows(graph, graph.mentions, graph.phrases) == [{"fargo": 2, "north dakota": 1}, {"dakota": 1}, {}]
    facts = [
        ("dakota", "was split into", "states"),
        ("fargo", "lies in", "north dakota"),
        ("fargo", "lies in", "the north"),
    ]
    assert graph.facts == facts
    assert rows(graph, graph.statements, facts) == [{facts[1]: 2}, {facts[0]: 1, facts[2]: 1}, {}]
    assert [(graph.phrases[start], graph.phrases[end]) for start, end in graph.fact_ends] == [
        (s, o) for s, _, o in facts
    ]


def test_a_passage_whose_extraction_failed_has_names_and_links_and_is_known() -> None:
    graph = KnowledgeGraph.build(CHUNKS, lambda chunk: None if chunk.id == "1" else found(chunk), "scripted")
    assert graph.unread == {"1"}
    assert rows(graph, graph.names, graph.phrases)[0] == {"fargo": 1}
    assert rows(graph, graph.links, graph.phrases)[0] == {"north dakota": 1}
    assert rows(graph, graph.entities, graph.phrases)[0] == rows(graph, graph.statements, graph.facts)[0] == {}


@pytest.mark.parametrize(
    "chunks",
    [[], [Chunk("1", "")], [Chunk("1", "nothing here")], [Chunk("1", "\ud800\0"), Chunk("2", "", "\ud800")]],
    ids=["no passages", "an empty one", "one without entities", "characters that cannot be written"],
)
def test_a_corpus_can_have_nothing_to_find(chunks: list[Chunk], tmp_path: Path) -> None:
    graph = KnowledgeGraph.build(chunks, RuleExtractor(), "rules")
    assert (graph.phrases, graph.facts, graph.mentions.shape) == ([], [], (len(chunks), 0))
    graph.save(tmp_path)
    assert content(KnowledgeGraph.load(tmp_path)) == content(graph) == content(graph.updated(chunks, RuleExtractor()))


def test_other_scripts_and_very_long_words_are_phrases_too() -> None:
    long = "x" * 50_000
    chunks = [Chunk("1", f"नई दिल्ली भारत की राजधानी है {long}", "भारत"), Chunk("2", "से Москва तक भारत", long.upper())]
    graph = KnowledgeGraph.build(chunks, RuleExtractor(), "rules")
    assert rows(graph, graph.links, graph.phrases) == [{"भारत": 1}, {"भारत": 1}]
    assert {"москва", long} <= set(graph.phrases)


def test_a_name_of_one_word_links_only_in_scripts_without_capitals() -> None:
    chunks = [
        Chunk("1", "In his adolescence he saw भारत often."),
        Chunk("2", "", "Adolescence"),
        Chunk("3", "", "भारत"),
    ]
    graph = KnowledgeGraph.build(chunks, nothing, "none")
    assert rows(graph, graph.links, graph.phrases)[0] == {"भारत": 1}


def test_the_same_id_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="two chunks have the same id '2'"):
        KnowledgeGraph.build([*CHUNKS, CHUNKS[1]], found, "scripted")


# ---- Updates


def test_only_new_chunks_and_failed_ones_are_read() -> None:
    asked: list[str] = []

    def read(chunk: Chunk) -> Extraction | None:
        asked.append(chunk.id)
        return None if chunk.id == "2" else found(chunk)

    graph = KnowledgeGraph.build(CHUNKS[:2], read, "scripted")
    asked.clear()
    graph = graph.updated(CHUNKS, read)
    assert (asked, graph.unread) == (["2", "3"], {"2"})
    graph = graph.updated(CHUNKS, found)
    assert content(graph) == content(KnowledgeGraph.build(CHUNKS, found, "scripted"))


def test_a_longer_name_takes_over_mentions_and_gives_them_back() -> None:
    chunks = [
        Chunk("1", "He came from East North Dakota."),
        Chunk("2", "", "North Dakota"),
        Chunk("3", "", "East North Dakota"),
    ]
    graph = KnowledgeGraph.build(chunks[:2], nothing, "none")
    assert rows(graph, graph.links, graph.phrases)[0] == {"north dakota": 1}
    graph = graph.updated(chunks, nothing)
    assert rows(graph, graph.links, graph.phrases)[0] == {"east north dakota": 1}
    graph = graph.updated(chunks[:2], nothing)
    assert rows(graph, graph.links, graph.phrases)[0] == {"north dakota": 1}


def test_a_fact_stays_as_long_as_one_of_its_chunks() -> None:
    same = Extraction((), (Triple("Fargo", "lies in", "Dakota"),))
    chunks = [Chunk(str(number), "text") for number in range(3)]
    graph = KnowledgeGraph.build(chunks, lambda _: same, "scripted")
    assert graph.statements.toarray().tolist() == [[1], [1], [1]]
    graph = graph.updated(chunks[2:], lambda _: same)
    assert (graph.facts, graph.statements.toarray().tolist()) == ([("fargo", "lies in", "dakota")], [[1]])
    graph = graph.updated([], lambda _: same)
    assert (graph.facts, graph.phrases, graph.fact_ends.shape) == ([], [], (0, 2))


def test_a_name_that_appears_in_a_hundred_thousand_passages_is_linked_in_all() -> None:
    chunks = [Chunk(str(number), "seen at the Hub") for number in range(100_000)]
    graph = KnowledgeGraph.build(chunks, lambda _: Extraction(("Hub",)), "scripted")
    assert graph.links.nnz == 0
    with_name = graph.updated([*chunks, Chunk("hub", "It is round.", "The Hub")], nothing)
    assert (with_name.phrases, with_name.links.nnz) == (["hub", "the hub"], 100_000)
    assert content(with_name.updated(chunks, nothing)) == content(graph)


class State(NamedTuple):
    """A corpus at some time: places in a pool of chunks, and those whose extraction fails then."""

    places: list[int]
    failing: set[int]


NAMES = ["Dakota", "North Dakota", "North Dakota Fargo", "Dakota Fargo", "भारत"]
words = st.sampled_from(["lies", "in", "the", "North", "fargo", ".", "12", "Москва", "\ud800", "\0", "x" * 999])
texts = st.lists(words | st.sampled_from(NAMES), max_size=6).map(" ".join)
titles = st.sampled_from([*NAMES, "", "Dakota Fargo (city)", "in", "12"])
pools = st.lists(st.tuples(titles, texts), min_size=1, max_size=6)
place = st.integers(0, 5)
histories = st.lists(st.builds(State, st.lists(place, unique=True), st.sets(place, max_size=2)), max_size=5)


def extraction_of_words(chunk: Chunk) -> Extraction:
    """Words with capitals as entities, and as a triple each three words."""
    words = chunk.text.split()
    triples = tuple(Triple(*words[start : start + 3]) for start in range(0, len(words) - 2, 3))
    return Extraction(tuple(word for word in words if word.istitle()), triples)


def reading(failing: Collection[str]) -> Extract:
    return lambda chunk: None if chunk.id in failing else extraction_of_words(chunk)


@settings(max_examples=150, deadline=None)
@given(pools, histories)
def test_whatever_came_and_went_the_graph_is_that_of_a_fresh_build(
    pool: list[tuple[str, str]], history: list[State]
) -> None:
    chunks = [Chunk(str(number), text, title) for number, (title, text) in enumerate(pool)]
    graph = KnowledgeGraph.empty("words")
    for state in history:
        corpus = [chunks[place] for place in state.places if place < len(chunks)]
        failing = {str(place) for place in state.failing} & {chunk.id for chunk in corpus}
        read_before = set(graph.chunk_ids) - graph.unread
        graph = graph.updated(corpus, reading(failing))
        assert graph.unread == failing - read_before
        assert content(graph) == content(KnowledgeGraph.build(corpus, reading(graph.unread), "words"))


# ---- Saved and loaded


def test_a_graph_is_loaded_as_it_was_content(tmp_path: Path) -> None:
    graph = KnowledgeGraph.build(CHUNKS, lambda chunk: None if chunk.id == "2" else found(chunk), "scripted")
    graph.save(tmp_path)
    loaded = KnowledgeGraph.load(tmp_path)
    assert content(loaded) == content(graph)
    assert (loaded.extractor, loaded.unread, loaded.facts) == ("scripted", {"2"}, graph.facts)
    assert content(loaded.updated(CHUNKS[:1], found)) == content(KnowledgeGraph.build(CHUNKS[:1], found, "scripted"))


def test_a_graph_of_another_version_is_refused(tmp_path: Path) -> None:
    KnowledgeGraph.empty("rules").save(tmp_path)
    file = tmp_path / "graph.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"version": 0}), encoding="utf-8")
    with pytest.raises(IndexMismatch, match="written by another version of ragloom; build it again"):
        KnowledgeGraph.load(tmp_path)
