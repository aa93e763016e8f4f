import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import pytest
from numpy.typing import NDArray

from ragloom.components.llm import ScriptedLLM
from ragloom.components.local_server import LocalLLM
from ragloom.errors import IndexMismatch
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.extraction import Extraction, Triple
from ragloom.graph.facts import FactGraph
from ragloom.graph.hipporag import HippoRAG, HippoRAG2, Linking
from ragloom.graph.recognition import LLMFactFilter
from ragloom.graph.shares import Fact
from ragloom.graph.synonyms import Synonyms
from ragloom.run import Run
from ragloom.types import Chunk, Hit, Retriever

# Three passages, of which each shares a phrase with the next one only.
CHAIN: dict[str, list[Fact]] = {
    "a": [("Alhandra", "born in", "Lisbon")],
    "b": [("Lisbon", "is capital of", "Portugal")],
    "c": [("Portugal", "borders", "Spain")],
}
QUESTION = "Which country borders the country whose capital is where Alhandra was born?"


def facts_of(stated: dict[str, list[Fact]]) -> tuple[FactGraph, list[Chunk]]:
    chunks = [Chunk(id_, f"passage {id_}") for id_ in stated]
    extractions = {id_: Extraction((), tuple(Triple(*fact) for fact in facts)) for id_, facts in stated.items()}
    return FactGraph.of(KnowledgeGraph.build(chunks, lambda chunk: extractions[chunk.id], "by hand")), chunks


@dataclass
class Vectors:
    """An embedder of known texts; others are at right angles to everything."""

    known: dict[str, list[float]] = field(default_factory=dict)
    dimensions: int = 8
    model: str = "by hand"

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            values = self.known.get(text, [0.0] * (self.dimensions - 1) + [1.0])
            vector[: len(values)] = values
        return vectors


class Broken(Vectors):
    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        return np.full((len(texts), self.dimensions), np.nan, np.float32)


def basis(texts: Sequence[str]) -> Vectors:
    """Each text at right angles to the others."""
    return Vectors({text: [0.0] * place + [1.0] for place, text in enumerate(texts)})


def finding(chunks: Sequence[Chunk], **scores: float) -> Retriever:
    """A retriever that finds the same chunks for every query."""
    by_id = {chunk.id: chunk for chunk in chunks}

    def retriever(query: str, k: int, /) -> list[Hit]:
        return [Hit(by_id[id_], score) for id_, score in scores.items()][:k]

    return retriever


def version_1(stated: dict[str, list[Fact]], embedder: Vectors | None = None, **options: object) -> HippoRAG:
    graph, chunks = facts_of(stated)
    known = basis(graph.phrases)
    retriever = finding(chunks, **{id_: 1.0 + place for place, id_ in enumerate(reversed(stated))})
    return HippoRAG(graph, chunks, retriever, embedder or known, known(graph.phrases), **options)  # type: ignore[arg-type]


def found(hits: Sequence[Hit]) -> list[tuple[str, float]]:
    return [(hit.chunk.id, hit.score) for hit in hits]


def assert_close(scored: Sequence[tuple[str, float]], expected: Sequence[tuple[str, float]]) -> None:
    assert [name for name, _ in scored] == [name for name, _ in expected]
    assert [score for _, score in scored] == pytest.approx([score for _, score in expected], abs=1e-6)


# ---- Version 1


def test_passages_along_a_chain_are_found_in_its_order_with_the_shares_computed_by_hand() -> None:
    # With a damping of .5, the walk is at Alhandra, Lisbon, Portugal and Spain for 26, 14, 4 and 1 of 45 steps. The
    # passages add up 40, 18 and 5 of them.
    hits = version_1(CHAIN)(QUESTION, 5)
    assert_close(found(hits), [("a", 1.0), ("b", 13 / 35), ("c", 0.0)])


def test_rare_entities_start_with_more() -> None:
    question = "What do Alhandra and Lisbon have in common?"
    assert version_1(CHAIN).link(question).seeds == (("alhandra", 1.0), ("lisbon", 0.5))
    assert version_1(CHAIN, specificity=False).link(question).seeds == (("alhandra", 1.0), ("lisbon", 1.0))


def test_an_entity_is_linked_to_the_nearest_phrase() -> None:
    graph, _ = facts_of(CHAIN)
    embedder = Vectors(basis(graph.phrases).known | {"alhandro": [0.8, 0.6]})
    linking = version_1(CHAIN, embedder).link("Where was Alhandro born?")
    assert linking.seeds == (("alhandra", 1.0),)
    assert linking.weakest == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("ensemble_at", "expected"),
    [
        (None, [("a", 1.0), ("b", 13 / 35), ("c", 0.0)]),
        (0.7, [("a", 1.0), ("b", 13 / 35), ("c", 0.0)]),
        (0.9, [("a", 0.5), ("c", 0.5), ("b", 13 / 70)]),
    ],
)
def test_where_a_link_is_weak_half_of_the_score_is_the_retrievers(
    ensemble_at: float | None, expected: list[tuple[str, float]]
) -> None:
    graph, chunks = facts_of(CHAIN)
    known = basis(graph.phrases)
    embedder = Vectors(known.known | {"alhandro": [0.8, 0.6]})
    retriever = finding(chunks, c=7.0, b=3.0)
    hippo = HippoRAG(graph, chunks, retriever, embedder, known(graph.phrases), ensemble_at=ensemble_at)
    assert_close(found(hippo("Where was Alhandro born?", 5)), expected)


def test_passages_that_the_walk_cannot_reach_are_no_hits() -> None:
    stated = CHAIN | {"d": [("Kerrin Island", "has", "a lighthouse")], "e": []}
    assert [hit.chunk.id for hit in version_1(stated)(QUESTION, 5)] == ["a", "b", "c"]


def with_synonyms(stated: dict[str, list[Fact]], question: str) -> list[tuple[str, float]]:
    """What is found where lisboa and lisbon have a cosine of .9, without and with synonyms."""
    graph, chunks = facts_of(stated)
    embedder = basis(graph.phrases)
    lisboa = embedder.known["lisboa"]
    embedder.known["lisbon"] = [0.9 * value for value in lisboa] + [float(np.sqrt(1 - 0.81))]
    vectors = embedder(graph.phrases)
    synonyms = Synonyms.build(graph.phrases, embedder)
    return found(HippoRAG(graph, chunks, finding(chunks), embedder, vectors, synonyms=synonyms)(question, 5))


def test_synonyms_join_what_no_relation_joins() -> None:
    stated = {"a": [("Alhandra", "born in", "Lisboa")], "b": [("Lisbon", "in", "Portugal")]}
    assert [id_ for id_, _ in found(version_1(stated)(QUESTION, 5))] == ["a"]
    assert [id_ for id_, _ in with_synonyms(stated, QUESTION)] == ["a", "b"]


def test_a_synonymy_adds_to_a_relation_of_the_same_phrases() -> None:
    stated = {
        "a": [("Alhandra", "born in", "Lisboa")],
        "b": [("Lisboa", "is", "Lisbon")],
        "c": [("Lisbon", "in", "Spain")],
    }
    oracle: nx.Graph[str] = nx.Graph()
    oracle.add_weighted_edges_from([("alhandra", "lisboa", 1.0), ("lisboa", "lisbon", 1.9), ("lisbon", "spain", 1.0)])
    share = nx.pagerank(oracle, alpha=0.5, personalization={"alhandra": 1}, tol=1e-12)
    mass = [share[first.lower()] + share[last.lower()] for ((first, _, last),) in stated.values()]
    expected = [("a", 1.0), ("b", (mass[1] - mass[2]) / (mass[0] - mass[2])), ("c", 0.0)]
    assert_close(with_synonyms(stated, QUESTION), expected)


def test_a_question_without_entities_is_left_to_the_retriever_and_the_trace_says_so() -> None:
    hippo = version_1(CHAIN)
    with Run() as run:
        hits = hippo("which country is it?", 2)
    assert found(hits) == [("c", 1.0), ("b", 2.0)]
    (traced,) = run.record().spans
    assert traced.attributes["fallback"] == "no entity was found in the question"


def test_entities_can_come_from_elsewhere() -> None:
    hippo = version_1(CHAIN, entities=lambda question: ["Spain", "  ", "spain"])
    assert hippo.link("which country is it?").seeds == (("spain", 1.0),)


@pytest.mark.parametrize("k", [0, -1])
def test_at_least_one_hit_must_be_asked_for(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        version_1(CHAIN)(QUESTION, k)
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        version_2()(QUESTION, k)


# ---- Version 2

TEXTS = ["alhandra born in lisbon", "lisbon is capital of portugal", "portugal borders spain"]


def version_2(embedder: Vectors | None = None, **options: object) -> HippoRAG2:
    """Over the chain; the question has cosines of .8, .6 and 0 with the facts; the retriever prefers c to b."""
    graph, chunks = facts_of(CHAIN)
    known = Vectors({text: [0.0] * place + [1.0] for place, text in enumerate(TEXTS)} | {QUESTION: [0.8, 0.6]})
    retriever = finding(chunks, c=4.0, b=3.0, a=2.0)
    return HippoRAG2(graph, chunks, retriever, embedder or known, known(graph.texts), **options)  # type: ignore[arg-type]


def test_the_walk_starts_at_the_ends_of_the_nearest_facts_with_the_weights_computed_by_hand() -> None:
    # Scores of the facts are 1, .75 and 0. Lisbon has the mean of two, and it and Portugal are in two passages.
    seeds = [("alhandra", 1.0), ("lisbon", 0.4375), ("portugal", 0.375)]
    assert_close(version_2(facts=2).link(QUESTION).seeds, seeds)
    assert_close(version_2(facts=2, phrases=2).link(QUESTION).seeds, seeds[:2])
    assert_close(version_2(facts=1).link(QUESTION).seeds, [("alhandra", 1.0), ("lisbon", 0.5)])


def test_passages_are_ranked_as_networkx_ranks_them() -> None:
    oracle: nx.Graph[str] = nx.Graph()
    for passage, ((subject, _, object_),) in CHAIN.items():
        ends = (subject.lower(), object_.lower())
        oracle.add_edge(*ends, weight=1.0)
        oracle.add_weighted_edges_from([(passage, end, 0.5) for end in ends])
    reset = {"alhandra": 1.0, "lisbon": 0.4375, "portugal": 0.375, "c": 0.05, "b": 0.025}
    share = nx.pagerank(oracle, alpha=0.5, personalization=reset, tol=1e-12)
    expected = sorted(((passage, share[passage]) for passage in CHAIN), key=lambda item: -item[1])
    assert_close(found(version_2(facts=2)(QUESTION, 5)), expected)
    assert_close(found(version_2(facts=2)(QUESTION, 1)), expected[:1])


def test_a_filter_sees_the_nearest_facts_best_first_and_can_keep_some() -> None:
    seen: list[Sequence[Fact]] = []

    def keep_last(query: str, facts: Sequence[Fact], /) -> Sequence[Fact]:
        seen.append(facts)
        return facts[-1:]

    linking = version_2(facts=2, filter=keep_last).link(QUESTION)
    assert seen == [[("alhandra", "born in", "lisbon"), ("lisbon", "is capital of", "portugal")]]
    assert_close(linking.seeds, [("lisbon", 0.375), ("portugal", 0.375)])


def test_facts_that_a_filter_makes_up_are_passed_over() -> None:
    invented = ("alhandra", "lives in", "spain")
    linking = version_2(facts=2, filter=lambda query, facts: [invented, facts[0]]).link(QUESTION)
    assert linking.seeds == (("alhandra", 1.0), ("lisbon", 0.5))
    assert version_2(filter=lambda query, facts: [invented]).link(QUESTION).seeds == ()


def test_where_no_fact_is_kept_the_retriever_answers_and_the_trace_says_so() -> None:
    with Run() as run:
        hits = version_2(filter=lambda query, facts: [])(QUESTION, 2)
    assert found(hits) == [("c", 4.0), ("b", 3.0)]
    (traced,) = run.record().spans
    assert traced.attributes["fallback"] == "no fact was found to bear on the question"


# ---- Both


def test_an_embedder_that_gives_no_numbers_leaves_the_question_to_the_retriever() -> None:
    for hippo, what in ((version_1(CHAIN, Broken()), "entities"), (version_2(Broken()), "question")):
        reason = f"the {what} could not be embedded: by hand gave a vector of length nan for text 1 of 1"
        assert hippo.link(QUESTION) == Linking(fallback=reason)
        assert [hit.chunk.id for hit in hippo(QUESTION, 1)] == ["c"]


def test_scores_of_the_retriever_that_are_no_numbers_are_named_and_not_walked_from() -> None:
    graph, chunks = facts_of(CHAIN)
    known = basis([*graph.texts, QUESTION])
    hippo = HippoRAG2(graph, chunks, finding(chunks, c=float("nan")), known, known(graph.texts))
    with pytest.raises(ValueError, match="a retriever gave a score that is no finite number"):
        hippo(QUESTION, 1)


@pytest.mark.parametrize("stated", [{}, {"a": [], "b": []}])
def test_a_graph_without_facts_leaves_every_question_to_the_retriever(stated: dict[str, list[Fact]]) -> None:
    graph, chunks = facts_of(stated)
    none = np.empty((0, 0), np.float32)
    retriever = finding(chunks, **dict.fromkeys(stated, 1.0))
    for hippo in (
        HippoRAG(graph, chunks, retriever, Vectors(), none),
        HippoRAG2(graph, chunks, retriever, Vectors(), none),
    ):
        assert hippo.link(QUESTION) == Linking(fallback="the graph has no facts")
        assert [hit.chunk.id for hit in hippo(QUESTION, 5)] == list(stated)


def test_one_passage_with_one_fact_is_found() -> None:
    stated = {"a": [("Alhandra", "born in", "Lisbon")]}
    assert found(version_1(stated)(QUESTION, 5)) == [("a", 1.0)]
    graph, chunks = facts_of(stated)
    hippo = HippoRAG2(graph, chunks, finding(chunks), Vectors(), Vectors()(graph.texts))
    assert [hit.chunk.id for hit in hippo(QUESTION, 5)] == ["a"]


def test_a_fact_about_a_phrase_and_itself_leads_nowhere() -> None:
    graph, _ = facts_of({"a": [("Lisbon", "is", "Lisbon"), ("Lisbon", "is", "Lisbon")]})
    assert graph.contents.toarray().tolist() == [[1]]
    assert graph.relations.nnz == 0
    assert found(version_1({"a": [("Lisbon", "is", "Lisbon")]})("Where is Lisbon?", 5)) == [("a", 1.0)]


def test_relations_count_every_statement_and_contents_every_fact_once() -> None:
    twice = [("Lisbon", "in", "Portugal"), ("Lisbon", "in", "Portugal"), ("Portugal", "holds", "Lisbon")]
    graph, _ = facts_of({"a": twice, "b": [("Lisbon", "in", "Portugal")]})
    assert graph.phrases == ["lisbon", "portugal"]
    assert graph.texts == ["lisbon in portugal", "portugal holds lisbon"]
    assert graph.relations.toarray().tolist() == [[0, 4], [4, 0]]
    assert graph.contents.toarray().tolist() == [[2, 2], [1, 1]]
    assert graph.frequency().tolist() == [2, 2]


def test_parts_that_do_not_belong_together_are_refused() -> None:
    graph, chunks = facts_of(CHAIN)
    known = basis(graph.phrases)
    vectors = known(graph.phrases)
    with pytest.raises(IndexMismatch, match="built from other chunks"):
        HippoRAG(graph, chunks[:2], finding(chunks), known, vectors)
    with pytest.raises(IndexMismatch, match="built from other chunks"):
        HippoRAG2(graph, chunks[::-1], finding(chunks), known, vectors)
    with pytest.raises(IndexMismatch, match="found among other phrases"):
        HippoRAG(graph, chunks, finding(chunks), known, vectors, synonyms=Synonyms.build([], known))
    with pytest.raises(IndexMismatch, match="8 dimensions, and by hand gave 9 for the question"):
        HippoRAG(graph, chunks, finding(chunks), Vectors(dimensions=9), vectors)(QUESTION, 1)


# ---- Recognition by a model

FACTS: list[Fact] = [
    ("alhandra", "born in", "lisbon"),
    ("lisbon", "is capital of", "portugal"),
    ("larkhill mill", "ground corn until", "1921"),
]


def recognised(*replies: object) -> list[Fact]:
    texts = [reply if isinstance(reply, str) else json.dumps({"facts": reply}) for reply in replies]
    return LLMFactFilter(ScriptedLLM(texts))(QUESTION, FACTS)


def test_the_facts_that_the_model_returns_are_kept_in_the_order_they_were_put() -> None:
    assert recognised([FACTS[1], FACTS[0]]) == FACTS[:2]
    assert recognised([]) == []


def test_facts_copied_badly_are_recognised_and_new_ones_are_not() -> None:
    assert recognised([["Alhandra", "was born in", "Lisbon."], ["spain", "is", "large"]]) == FACTS[:1]
    assert recognised([["spain", "is", "large"]]) == []


def test_a_reply_that_cannot_be_read_keeps_all_facts_and_the_trace_says_so() -> None:
    with Run() as run:
        assert recognised("I like them all!", "Really.") == FACTS
    assert run.record().spans[0].attributes["error"] == "the reply is not of the form asked for: it is no JSON"


def test_the_second_reply_counts_where_the_first_cannot_be_read() -> None:
    assert recognised([["alhandra", "lisbon"]], [FACTS[2]]) == FACTS[2:]


def test_without_facts_the_model_is_not_asked() -> None:
    llm = ScriptedLLM(["unasked"])
    assert LLMFactFilter(llm)(QUESTION, []) == []
    assert not llm.calls


def test_facts_and_question_reach_the_model_as_they_are() -> None:
    llm = ScriptedLLM([json.dumps({"facts": []})])
    fact = ("{facts} straße", 'says "{question}"', "ok")
    LLMFactFilter(llm)("Who says {fence}?", [fact])
    prompt = llm.requests[0][-1]["content"]
    assert json.dumps([fact], ensure_ascii=False) in prompt
    assert "Who says {fence}?" in prompt


@pytest.mark.model
def test_whatever_a_small_model_recognises_passages_are_found(local_model: LocalLLM) -> None:
    filter_ = LLMFactFilter(local_model, max_tokens=128)
    with Run() as run:
        hits = version_2(filter=filter_)(QUESTION, 3)
    assert [hit.chunk.id for hit in hits]
    recognition = next(span for span in run.record().spans if span.name == "recognise")
    assert recognition.attributes["facts"] == 3
    assert run.spent.calls in (1, 2)
