"""Why a passage was found, as data and as text."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.sparse import csr_array

from ragloom.components.bm25 import BM25
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.explaining import QUESTION, Explanation, explain
from ragloom.graph.index import GraphIndex, Seed, Walk
from ragloom.graph.ranking import Transition, personalised_pagerank
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.types import Chunk, Hit

FILM = Chunk("film", "Fist Power is a film of the year 2000 that was made in Hong Kong by Wai Lau.", "Fist Power")
COLONY = Chunk("colony", "British Hong Kong was a colony that Britain took by war in 1841.", "British Hong Kong")
CITY = Chunk("city", "Hong Kong is a city on the coast.", "Hong Kong")
MILL = Chunk("mill", "The mill at Lower Ford was built by Ada Quill.", "Mill")
CHUNKS = [FILM, COLONY, CITY, MILL]


def explained(
    question: str, chunks: Sequence[Chunk] = CHUNKS, *, k: int = 3, paths: int = 3
) -> tuple[Explanation, Walk]:
    graph = KnowledgeGraph.build(chunks, RuleExtractor(), "rules")
    walk = GraphIndex(graph, chunks, BM25(chunks)).walk(question, k)
    return explain(walk, graph, chunks, paths=paths), walk


def walked(
    weights: dict[tuple[int, int], float], seeds: Sequence[Seed], hits: Sequence[Hit], nodes: int, damping: float = 0.5
) -> Walk:
    """A walk over edges of our own."""
    (rows, columns), numbers = zip(*weights, strict=True), list(weights.values())
    transition = Transition.from_weights(csr_array((numbers, (rows, columns)), shape=(nodes, nodes)))
    reset = np.bincount([seed.node for seed in seeds], [seed.weight for seed in seeds], nodes)
    scores = personalised_pagerank(transition, reset, damping=damping)
    return Walk("Where was Fist Power made?", tuple(seeds), transition, damping, scores, tuple(hits))


def test_a_path_reads_from_the_question_to_the_passage():
    """Of two phrases and two passages: the film is named, names the city, and the city is what the second is about."""
    chunks = [FILM, CITY]
    graph = KnowledgeGraph.build(chunks, RuleExtractor(), "rules")
    power, kong = graph.phrases.index("fist power"), graph.phrases.index("hong kong")
    film, city = len(graph.phrases), len(graph.phrases) + 1
    weights = {(power, film): 1.0, (film, kong): 1.0, (kong, city): 3.0, (kong, film): 1.0}
    walk = walked(weights, [Seed(power, 1.0, "named in the question")], [Hit(CITY, 0.5), Hit(FILM, 0.25)], city + 1)
    first, second = explain(walk, graph, chunks).found
    assert str(first.paths[0]) == (
        "'fist power' (named in the question) -> is the name of \"Fist Power\" -> mentions 'hong kong' "
        '-> is the name of "Hong Kong" (100 %)'
    )
    assert [step.node.kind for step in first.paths[0].steps] == ["question", "phrase", "passage", "phrase", "passage"]
    assert [step.node.number for step in first.paths[0].steps] == [QUESTION, power, film, kong, city]
    assert [step.share for step in first.paths[0].steps] == [1, 1, 1, 1, 0.75]
    assert [str(path) for path in second.paths] == [
        "'fist power' (named in the question) -> is the name of \"Fist Power\" (100 %)"
    ]
    assert first.explained == pytest.approx(1, rel=0.01)


def test_hits_keep_their_order_and_scores():
    explanation, walk = explained("When was the place where Fist Power was made taken by Britain?")
    assert [(found.chunk, found.score) for found in explanation.found] == [(hit.chunk, hit.score) for hit in walk.hits]
    assert explanation.fallback == ""


def test_paths_come_by_their_share_and_explain_no_more_than_all():
    explanation, _ = explained("When was the place where Fist Power was made taken by Britain?", paths=10)
    assert any(len(found.paths) > 1 for found in explanation.found)
    for found in explanation.found:
        shares = [path.share for path in found.paths]
        assert shares == sorted(shares, reverse=True)
        assert all(share >= 0.01 for share in shares[1:])
        assert found.explained == pytest.approx(1, abs=0.02)  # so small a graph has hardly more than ten paths


def test_fewer_paths_explain_less():
    more, _ = explained("When was the place where Fist Power was made taken by Britain?", paths=3)
    fewer, _ = explained("When was the place where Fist Power was made taken by Britain?", paths=1)
    assert all(len(found.paths) == 1 for found in fewer.found)
    assert fewer.found[0].explained < more.found[0].explained - 0.1


def test_a_seed_with_two_reasons_is_one_seed():
    graph = KnowledgeGraph.build([FILM], RuleExtractor(), "rules")
    film = len(graph.phrases)
    seeds = [Seed(film, 0.5, "matches the question"), Seed(film, 0.5, "was read before")]
    explanation = explain(walked({(0, film): 1}, seeds, [Hit(FILM, 1)], film + 1), graph, [FILM])
    assert [(step.link, step.share) for step in explanation.seeds] == [("matches the question, was read before", 1.0)]
    assert str(explanation.found[0].paths[0]) == '"Fist Power" (matches the question, was read before) (100 %)'


def test_only_the_strongest_seeds_are_listed():
    chunks = [Chunk(str(number), f"Text number {number}.") for number in range(40)]
    graph = KnowledgeGraph.build(chunks, lambda chunk: None, "none")
    weights = np.arange(1, 41) / np.arange(1, 41).sum()
    seeds = [Seed(len(graph.phrases) + row, float(weight), "matches") for row, weight in enumerate(weights)]
    size = len(graph.phrases) + 40
    explanation = explain(walked({(0, 0): 0.0}, seeds, [], size), graph, chunks)
    assert [step.node.text for step in explanation.seeds[:2]] == ["Text number 39.", "Text number 38."]
    assert len(explanation.seeds) + explanation.more_seeds == 40


def test_a_question_that_names_nothing_says_why_there_is_no_walk():
    explanation, walk = explained("why?")
    assert walk.fallback
    assert str(explanation) == f"no walk: {walk.fallback}\nnothing was found"
    assert explanation.seeds == explanation.found == ()


def test_hits_without_a_walk_are_those_of_the_search():
    graph = KnowledgeGraph.build([MILL], RuleExtractor(), "rules")
    transition = Transition.from_weights(csr_array((len(graph.phrases) + 1,) * 2))
    walk = Walk("Who?", (), transition, 0.5, np.empty(0), (Hit(MILL, 2.5),), "nothing is\nnamed")
    assert (
        str(explain(walk, graph, [MILL]))
        == "no walk: nothing is named\n1. Mill  (score 2.5, found by the search alone)"
    )


def test_a_hit_that_the_walk_does_not_reach_has_no_paths():
    chunks = [FILM, MILL]
    graph = KnowledgeGraph.build(chunks, RuleExtractor(), "rules")
    film = len(graph.phrases)
    walk = walked({(film, 0): 1.0}, [Seed(film, 1.0, "matches")], [Hit(FILM, 1), Hit(MILL, 0)], film + 2)
    explanation = explain(walk, graph, chunks)
    assert (explanation.found[1].paths, explanation.found[1].explained) == ((), 0)
    assert str(explanation).endswith("2. Mill  (score 0, not reached by the walk)")


def test_a_score_lost_to_rounding_is_explained_as_a_whole():
    chunks = [FILM, MILL]
    graph = KnowledgeGraph.build(chunks, RuleExtractor(), "rules")
    film = len(graph.phrases)
    weights = {(film, 0): 1.0, (0, film + 1): 1e-12, (0, film): 1.0}
    walk = walked(weights, [Seed(film, 1.0, "matches")], [Hit(MILL, 0)], film + 2)
    walk.scores[film + 1] = 0.0
    assert explain(walk, graph, chunks).found[0].explained == pytest.approx(1)


def test_a_corpus_of_one_passage_is_explained():
    explanation, _ = explained("Who built the mill at Lower Ford?", [MILL])
    assert explanation.found[0].paths
    assert explanation.found[0].explained == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(
    ("chunk", "label"),
    [
        (Chunk("a", "Text.", "Two\n lines"), "Two lines"),
        (Chunk("a", "The first words of a text stand for its title, and they are cut here."), None),
        (Chunk("a", "Text.", "red \x1b[31m \u202e desrever"), "red \u241b[31m \ufffd desrever"),
        (Chunk("a", " \n "), "passage 1"),
    ],
)
def test_a_label_is_one_harmless_line(chunk: Chunk, label: str | None):
    graph = KnowledgeGraph.build([chunk], lambda chunk: None, "none")
    size = len(graph.phrases) + 1
    walk = walked({(0, 0): 0.0}, [Seed(size - 1, 1.0, "matches")], [Hit(chunk, 1)], size)
    node = explain(walk, graph, [chunk]).found[0].node
    assert node.label == label or (label is None and node.label.endswith(" they are…") and len(node.label) <= 61)
    assert node.text == chunk.text


def test_the_same_walk_has_the_same_explanation():
    assert explained("Where was Fist Power made?")[0] == explained("Where was Fist Power made?")[0]


def test_no_paths_are_refused():
    with pytest.raises(ValueError, match="paths must be at least 1, got 0"):
        explained("Where was Fist Power made?", paths=0)
