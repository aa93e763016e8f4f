"""Retrievers, refiners, models and pipelines inside LlamaIndex's own query engines."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core import QueryBundle, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from made_chunks import CHUNKS, HITS, SeededEmbedder, numbered_chunks

from ragloom.components.adapters.llama_index import (
    LlamaIndexEmbedder,
    LlamaIndexRefiner,
    LlamaIndexRetriever,
    RagloomEmbedding,
    RagloomLLM,
    RagloomPostprocessor,
    RagloomQueryEngine,
    RagloomRetriever,
    chunk_of,
    hits_of,
    node_of,
    nodes_of,
)
from ragloom.components.bm25 import BM25
from ragloom.components.llm import ScriptedLLM
from ragloom.components.reading import PromptReader
from ragloom.errors import InputError, LLMError
from ragloom.pipelines.question_answering import RetrieveThenRead
from ragloom.types import Chunk, Hit, Message, Reply, TokenLogprob, Usage

TOWNS = [
    Chunk(
        "a", "The Museum of Varrow was opened in 1961.", "Varrow", "d1", 0, 0, {"year": 1961, "tags": ["town", None]}
    ),
    Chunk("b", "The Museum of Ostrel was opened by a mason.", "Ostrel", "d2", 3, 120),
    Chunk("c", "Lake Immer has no island.", "", "d3"),
]
pytestmark = pytest.mark.usefixtures("event_loop_of_the_thread")

QUESTION = "When was the Museum of Varrow opened?"


def last_line(messages: Sequence[Message]) -> str:
    return f"1961, of {sum('Museum of' in line for line in messages[-1]['content'].splitlines())} lines"


# ---- Nodes


@settings(max_examples=30)
@given(CHUNKS)
def test_a_chunk_comes_back_from_a_node_as_it_was(chunk: Chunk):
    assert chunk_of(node_of(chunk)) == chunk


@settings(max_examples=30)
@given(st.lists(HITS, max_size=4))
def test_hits_come_back_from_scored_nodes_as_they_were(hits: list[Hit]):
    assert hits_of(nodes_of(hits)) == hits


def test_a_node_of_somebody_else_keeps_its_place_and_metadata():
    node = TextNode(id_="n", text="text", metadata={"page": 3}, start_char_idx=40, end_char_idx=44)
    assert chunk_of(node) == Chunk("n", "text", start=40, meta={"page": 3})


def test_models_are_shown_the_title_and_nothing_else_of_the_metadata():
    shown = node_of(TOWNS[0]).get_content(MetadataMode.LLM)
    assert shown == node_of(TOWNS[0]).get_content(MetadataMode.EMBED)
    assert "Varrow\n" in shown
    assert "d1" not in shown
    assert "year" not in shown


def test_nodes_without_scores_rank_by_their_order():
    nodes = [NodeWithScore(node=TextNode(text="one")), NodeWithScore(node=TextNode(text="two"), score=0.9)]
    assert [hit.score for hit in hits_of(nodes)] == [1.0, 0.5]


# ---- Retrievers and refiners


def test_hits_come_back_through_a_retriever_of_llama_index_as_they_were():
    ours = BM25(TOWNS)
    assert LlamaIndexRetriever(RagloomRetriever(ours, k=3))(QUESTION, 3) == ours(QUESTION, 3) != []
    assert LlamaIndexRetriever(RagloomRetriever(ours, k=3))(QUESTION, 1) == ours(QUESTION, 1)


def test_a_vector_index_of_llama_index_is_a_retriever():
    chunks = numbered_chunks(20)
    nodes = [node_of(chunk) for chunk in chunks]
    index = VectorStoreIndex(nodes, embed_model=RagloomEmbedding(SeededEmbedder()))
    hits = LlamaIndexRetriever(index)(nodes[3].get_content(MetadataMode.EMBED), 7)
    assert len(hits) == 7
    assert hits[0].chunk == chunks[3]
    assert hits[0].score == pytest.approx(1)


def test_a_blank_query_finds_nothing_and_k_begins_at_1():
    retriever = LlamaIndexRetriever(RagloomRetriever(BM25(TOWNS)))
    assert retriever(" \n", 3) == []
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        retriever("query", 0)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        RagloomRetriever(BM25(TOWNS), k=0)


def keep_last(query: str, hits: list[Hit], /) -> list[Hit]:
    return hits[-1:] if query == QUESTION else hits


def test_a_refiner_is_a_postprocessor_and_back():
    hits = [Hit(TOWNS[0], 0.9), Hit(TOWNS[1], 0.2)]
    ours = RagloomPostprocessor(refiner=keep_last)
    assert hits_of(ours.postprocess_nodes(nodes_of(hits), query_str=QUESTION)) == hits[1:]
    assert hits_of(ours.postprocess_nodes(nodes_of(hits))) == hits
    assert LlamaIndexRefiner(ours)(QUESTION, hits) == hits[1:]
    assert LlamaIndexRefiner(SimilarityPostprocessor(similarity_cutoff=0.5))(QUESTION, hits) == hits[:1]
    assert LlamaIndexRefiner(ours)(QUESTION, []) == []


# ---- Query engines


def query_engine(llm: ScriptedLLM) -> RetrieverQueryEngine:
    return RetrieverQueryEngine(
        RagloomRetriever(BM25(TOWNS), k=3),
        get_response_synthesizer(llm=RagloomLLM(llm=llm)),
        [RagloomPostprocessor(refiner=lambda query, hits: hits[:2])],
    )


def test_our_parts_work_in_a_query_engine_also_inside_a_running_loop():
    llm = ScriptedLLM(last_line)
    engine = query_engine(llm)
    response = engine.query(QUESTION)
    assert str(response) == "1961, of 3 lines"
    assert [node.node.node_id for node in response.source_nodes] == ["a", "b"]

    async def inside() -> list[str]:
        return [str(said) for said in await asyncio.gather(*(engine.aquery(QUESTION) for _ in range(3)))]

    assert asyncio.run(inside()) == ["1961, of 3 lines"] * 3
    assert llm.calls == 4


def test_an_engine_that_finds_nothing_asks_no_model():
    llm = ScriptedLLM([])
    assert str(query_engine(llm).query("Xylophone?")) == "Empty Response"
    assert llm.calls == 0


def test_a_pipeline_is_a_query_engine_with_citations():
    pipeline = RetrieveThenRead(BM25(TOWNS), PromptReader(ScriptedLLM(lambda _: "1961 [1]")), k=2)
    engine = RagloomQueryEngine(pipeline=pipeline)
    for response in (engine.query(QUESTION), engine.query(QueryBundle(QUESTION)), asyncio.run(engine.aquery(QUESTION))):
        assert str(response) == "1961"
        assert response.metadata is not None
        (citation,) = response.metadata["citations"]
        assert response.source_nodes[citation["number"] - 1].node.node_id == citation["chunk_id"] == "a"
        assert response.metadata["usage"]["calls"] == 1
    nothing = engine.query("Xylophone?")
    assert nothing.metadata is not None
    assert (nothing.metadata["abstained"], nothing.source_nodes) == (True, [])


def test_what_our_parts_raise_passes_through():
    with pytest.raises(InputError, match="empty"):
        RagloomQueryEngine(pipeline=RetrieveThenRead(BM25(TOWNS), PromptReader(ScriptedLLM([])))).query(" ")
    with pytest.raises(LLMError, match="the script has 0 replies"):
        query_engine(ScriptedLLM([])).query(QUESTION)


# ---- Models


def test_messages_options_and_what_the_reply_says_are_passed_on():
    arrived: dict[str, Any] = {}
    reply = Reply("Paris", Usage(7, 2), (TokenLogprob("Paris", -0.5, (("Rome", -1.5),)),), "length", "m")

    def llm(messages: Any, **options: Any) -> Reply:
        arrived.update(messages=messages, options=options)
        return reply

    conversation = [ChatMessage("Be brief.", role=MessageRole.SYSTEM), ChatMessage("Capital?", role=MessageRole.USER)]
    said = RagloomLLM(llm=llm, num_output=9).chat(conversation, temperature=0.5)
    assert arrived["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital?"}]
    assert arrived["options"] == {"max_tokens": 9, "temperature": 0.5}
    assert said.message.content == "Paris"
    assert said.raw == {"model": "m", "finish_reason": "length"}
    assert said.additional_kwargs == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert said.logprobs is not None
    assert [(entry.token, entry.logprob) for entry in said.logprobs[0]] == [("Paris", -0.5), ("Rome", -1.5)]


def test_completions_chats_and_streams_say_the_same():
    model = RagloomLLM(llm=ScriptedLLM(lambda messages: messages[-1]["content"].upper()))
    asked = [ChatMessage("hi", role=MessageRole.USER)]

    async def replies() -> list[str]:
        return [(await model.acomplete("hi")).text, str((await model.achat(asked)).message.content)]

    assert asyncio.run(replies()) == ["HI", "HI"]
    assert [model.complete("hi").text, model.chat(asked).message.content] == ["HI", "HI"]
    assert [list(model.stream_complete("hi"))[-1].text, list(model.stream_chat(asked))[-1].message.content] == [
        "HI",
        "HI",
    ]


@pytest.mark.parametrize(
    "message",
    [
        ChatMessage("42", role=MessageRole.TOOL),
        ChatMessage(role=MessageRole.USER, blocks=[ImageBlock(url="http://localhost/a.png")]),
    ],
)
def test_what_our_models_cannot_take_is_refused(message: ChatMessage):
    with pytest.raises(InputError, match="cannot be passed on"):
        RagloomLLM(llm=ScriptedLLM(["never"])).chat([message])


def test_embeddings_go_both_ways_without_loss():
    embedder = SeededEmbedder()
    theirs = RagloomEmbedding(embedder, embed_batch_size=2)
    back = LlamaIndexEmbedder(theirs)
    assert back.model == embedder.model
    np.testing.assert_allclose(back(["one", "two", "three"]), embedder(["one", "two", "three"]), rtol=1e-6)
    assert back([]).shape == (0, 0)
    np.testing.assert_allclose(asyncio.run(theirs.aget_query_embedding("one")), embedder(["one"])[0])
