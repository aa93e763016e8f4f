"""A graph in numbers, counted by hand."""

from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.extraction import Extraction, Triple
from ragloom.graph.statistics import GraphStatistics, Hub, statistics
from ragloom.types import Chunk

FILM = Chunk("film", "Fist Power was made in Hong Kong.", "Fist Power")
CITY = Chunk("city", "A city.", "Hong Kong")
MILL = Chunk("mill", "It was built by somebody.", "Mill")
LOST = Chunk("lost", "unread", "Lost")
FOUND = {
    "film": Extraction(("Hong Kong", "Hong Kong"), (Triple("Fist Power", "made in", "Hong Kong"),)),
    "city": Extraction((), (Triple("Kowloon", "part of", "Hong Kong"),)),
    "mill": Extraction(),
}


def test_everything_is_counted():
    graph = KnowledgeGraph.build([FILM, CITY, MILL, LOST], lambda chunk: FOUND.get(chunk.id), "by hand")
    assert graph.phrases == ["fist power", "hong kong", "kowloon", "lost", "mill"]
    assert statistics(graph, hubs=2) == GraphStatistics(
        extractor="by hand",
        passages=4,
        phrases=5,
        facts=2,
        names=4,
        mentions=1,
        links=2,  # the film's words hold its own name and the city's
        statements=2,
        phrases_per_passage=1.5,  # 2, 2, 1 and 1
        passages_per_phrase=6 / 5,
        shared_phrases=1,
        components=3,
        largest_component=2,
        isolated=2,
        without_entities=2,
        failed=1,
        hubs=(Hub("hong kong", 2), Hub("fist power", 1)),
    )


def test_an_empty_graph_has_nothing():
    found = statistics(KnowledgeGraph.empty("by hand"))
    assert (found.passages, found.phrases, found.components, found.largest_component) == (0, 0, 0, 0)
    assert (found.phrases_per_passage, found.passages_per_phrase, found.hubs) == (0, 0, ())


def test_passages_without_a_phrase_are_alone():
    graph = KnowledgeGraph.build([Chunk("a", "it"), Chunk("b", "is")], lambda chunk: Extraction(), "by hand")
    found = statistics(graph)
    assert (found.phrases, found.components, found.isolated, found.largest_component) == (0, 2, 2, 1)
