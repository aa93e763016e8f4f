from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom import Chunk, Hit, Run
from ragloom.components.bm25 import BM25
from ragloom.errors import IndexMismatch
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.edges import edge_weights
from ragloom.graph.extraction import Extraction, Triple
from ragloom.graph.index import GraphIndex
from ragloom.graph.linking import QuestionLinker
from ragloom.graph.rule_extraction import RuleExtractor

CHUNKS = [
    Chunk("film", "Fist Power is a 2000 Hong Kong action film directed by Aman Chang.", "Fist Power"),
    Chunk("taken", "In 1841 Hong Kong was taken by the British.", "British Hong Kong"),
    Chunk("city", "Hong Kong is a city on the coast of China.", "Hong Kong"),
    Chunk("other", "The Rolling Stones toured the whole continent twice.", "The Rolling Stones"),
    Chunk("empire", "The British Empire was ruled from London.", "British Empire"),
]
QUESTION = "When was the country that produced Fist Power taken?"


def graph_of(chunks: list[Chunk]) -> KnowledgeGraph:
    return KnowledgeGraph.build(chunks, RuleExtractor(), "rules")


def index_of(chunks: list[Chunk], **options: float) -> GraphIndex:
    return GraphIndex(graph_of(chunks), chunks, BM25(chunks), **options)  # type: ignore[arg-type]


def ids(hits: list[Hit]) -> list[str]:
    return [hit.chunk.id for hit in hits]


def test_a_passage_that_shares_no_word_with_the_question_is_found_over_the_bridge() -> None:
    chunks = [
        Chunk("bridge", "Ada Byron was born in Marylebone.", "Ada Byron"),
        Chunk("hidden", "It lies in the west of the capital.", "Marylebone"),
        Chunk("noise", "Ducks were seen on ponds.", "Ducks"),
    ]
    assert ids(BM25(chunks)("Where is Ada Byron from?", 3)) == ["bridge"]
    assert ids(index_of(chunks)("Where is Ada Byron from?", 3)) == ["bridge", "hidden"]


def test_hits_of_the_retriever_that_the_walk_does_not_reach_come_last() -> None:
    chunks = [*CHUNKS[:3], Chunk("apart", "Long ago there was much that ducks had taken from other ducks.", "Ducks")]
    hits = index_of(chunks)("Was Fist Power taken?", 4)
    assert (hits[-1].chunk.id, hits[-1].score) == ("apart", 0.0)


def test_the_walk_is_drawn_to_what_the_best_passage_leaves_open() -> None:
    found = ids(index_of(CHUNKS)(QUESTION, 3))
    assert found == ["film", "taken", "city"]
    swapped = [CHUNKS[0], replace(CHUNKS[1], text="In 1841 Hong Kong was British."), *CHUNKS[2:]]
    assert ids(index_of(swapped)(QUESTION, 3)) == ["film", "city", "taken"]


def test_untitled_passages_are_linked_by_the_subject_of_their_first_sentence() -> None:
    chunks = [replace(chunk, title="") for chunk in CHUNKS]
    assert set(ids(index_of(chunks)(QUESTION, 3))) == {"film", "taken", "city"}


def test_triples_link_passages_as_mentions_do() -> None:
    chunks = [Chunk("a", "x", "Alpha"), Chunk("b", "y", "Beta"), Chunk("c", "z", "Gamma")]
    extractions = {"a": Extraction(triples=(Triple("Alpha", "knows", "Gamma"),))}
    graph = KnowledgeGraph.build(chunks, lambda chunk: extractions.get(chunk.id, Extraction()), "hand")
    assert ids(GraphIndex(graph, chunks, BM25(chunks))("Whom does Alpha know?", 3)) == ["a", "c"]


def test_a_question_that_names_and_matches_nothing_says_so_in_the_trace() -> None:
    index = index_of(CHUNKS)
    with Run() as run:
        assert index("Quid novi?", 5) == []
    (span,) = [span for span in run.record().spans if span.name == "graph"]
    assert "names nothing" in str(span.attributes["fallback"])
    assert "names nothing" in index.walk("Quid novi?").fallback
    assert index.walk("Quid novi?").seeds == ()


def test_scores_that_are_not_finite_fall_back_to_the_retrievers_own_hits() -> None:
    def broken(query: str, k: int, /) -> list[Hit]:
        return [Hit(CHUNKS[3], float("nan")), Hit(CHUNKS[0], 1.0)][:k]

    index = GraphIndex(graph_of(CHUNKS), CHUNKS, broken)
    assert ids(index(QUESTION, 1)) == ["other"]
    assert "no finite number" in index.walk(QUESTION).fallback


def test_scores_for_what_is_open_that_are_not_finite_fall_back_too() -> None:
    def broken(query: str, k: int, /) -> list[Hit]:
        return [Hit(CHUNKS[0], 1.0 if query == QUESTION else float("inf"))]

    assert ids(GraphIndex(graph_of(CHUNKS), CHUNKS, broken)(QUESTION, 5)) == ["film"]


def test_phrases_alone_start_a_walk_where_the_retriever_finds_nothing() -> None:
    index = GraphIndex(graph_of(CHUNKS), CHUNKS, lambda query, k: [])
    assert set(ids(index("What is Fist Power?", 3))) == {"film", "city", "taken"}
    assert {seed.reason for seed in index.walk("What is Fist Power?").seeds} == {"is named in the question"}


def test_half_of_the_walk_starts_at_passages_and_half_at_phrases() -> None:
    walk = index_of(CHUNKS).walk(QUESTION)
    phrases = len(graph_of(CHUNKS).phrases)
    assert sum(seed.weight for seed in walk.seeds if seed.node < phrases) == pytest.approx(0.5)
    assert sum(seed.weight for seed in walk.seeds) == pytest.approx(1)
    assert walk.scores.sum() == pytest.approx(1)


def test_a_look_at_the_walk_shows_the_hits_of_a_call() -> None:
    random = Random(0)
    names = [f"Ada Quill{number}" for number in range(300)]
    chunks = [Chunk(name, f"{name} met {', '.join(random.sample(names, 8))}.", name) for name in names]
    index = index_of(chunks)
    for name in names[:20]:
        assert list(index.walk(f"Who met {name}?", 10).hits) == index(f"Who met {name}?", 10)


def test_passages_with_the_same_title_share_the_way_to_it() -> None:
    chunks = [*CHUNKS, Chunk("more", "Aman Chang made it in two weeks.", "Fist Power")]
    assert {"film", "more"} <= set(ids(index_of(chunks)(QUESTION, 4)))


def test_one_passage_and_no_passage_can_be_searched() -> None:
    assert ids(index_of(CHUNKS[:1])(QUESTION, 5)) == ["film"]
    assert index_of([])(QUESTION, 5) == []


def test_a_graph_of_other_chunks_is_refused() -> None:
    with pytest.raises(IndexMismatch, match="other chunks"):
        GraphIndex(graph_of(CHUNKS), CHUNKS[1:], BM25(CHUNKS))


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index_of(CHUNKS)(QUESTION, 0)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        index_of(CHUNKS, depth=0)


def test_a_phrase_that_a_hundred_thousand_passages_mention_does_not_slow_the_question_down() -> None:
    chunks = [Chunk(f"{number:06d}", "The World Cup.", "") for number in range(100_000)]
    chunks.append(Chunk("film", "Fist Power won the World Cup.", "Fist Power"))
    graph = KnowledgeGraph.build(chunks, RuleExtractor(), "rules")
    index = GraphIndex(graph, chunks, lambda query, k: [Hit(chunks[-1], 1.0)])
    assert ids(index("Who made Fist Power?", 1)) == ["film"]


@given(st.lists(st.sampled_from(["Alpha", "Beta", "Gamma", "delta", "the", "of"]), max_size=30), st.integers(1, 4))
def test_edges_are_finite_and_join_passages_with_phrases_only(words: list[str], size: int) -> None:
    texts = [" ".join(words[start::size]) for start in range(size)]
    chunks = [Chunk(str(place), text, text.split(" ")[0]) for place, text in enumerate(texts)]
    graph = graph_of(chunks)
    matrix, frequency = edge_weights(graph, link=10, about=4)
    weights = matrix.tocoo()
    assert np.isfinite(weights.data).all()
    assert (weights.data > 0).all()
    assert frequency.tolist() == ((graph.mentions + graph.names) > 0).sum(axis=0).tolist()
    assert ((weights.coords[0] < len(graph.phrases)) != (weights.coords[1] < len(graph.phrases))).all()


def test_ordinary_words_of_a_question_are_not_taken_for_titles() -> None:
    link = QuestionLinker(["area", "hong kong", "kong", "national anthem"])
    assert link("In which area is Hong Kong?") == ["hong kong"]


def test_a_question_without_capitals_is_matched_as_it_is() -> None:
    assert QuestionLinker(["hong kong"])("who lives in hong kong?") == ["hong kong"]


def test_a_phrase_named_twice_is_linked_once_and_accents_do_not_matter() -> None:
    assert QuestionLinker(["akinoshu kenji"])("Akinoshū Kenji or Akinoshu Kenji's?") == ["akinoshu kenji"]


def test_texts_of_any_script_and_odd_characters_are_survived(tmp_path: Path) -> None:
    chunks = [Chunk("a", "日本語のテキスト\x00\u202e", "東京"), Chunk("b", "Это Москва. \ud800", "Москва")]
    graph = graph_of(chunks)
    graph.save(tmp_path)
    assert ids(GraphIndex(KnowledgeGraph.load(tmp_path), chunks, BM25(chunks))("Где Москва?", 2)) == ["b"]
