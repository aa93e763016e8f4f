"""Retrievers, documents and pipelines inside LangChain's own chains."""

import asyncio
from collections.abc import Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from made_chunks import CHUNKS, HITS, OTHER_NAMES, SeededEmbedder, numbered_chunks

from ragloom import Budget, Run, span
from ragloom.components.adapters.langchain import (
    LangChainRetriever,
    RagloomChatModel,
    RagloomEmbeddings,
    RagloomRetriever,
    as_runnable,
    chunk_of,
    document_of,
    replay_trace,
)
from ragloom.components.bm25 import BM25
from ragloom.components.llm import ScriptedLLM
from ragloom.components.reading import PromptReader
from ragloom.errors import InputError, LLMError
from ragloom.pipelines.question_answering import RetrieveThenRead
from ragloom.types import Chunk, Hit, Message, RunRecord

TOWNS = [
    Chunk(
        "a", "The Museum of Varrow was opened in 1961.", "Varrow", "d1", 0, 0, {"year": 1961, "tags": ["town", None]}
    ),
    Chunk("b", "The bridge of Ostrel is made of stone.", "Ostrel", "d2", 3, 120),
    Chunk("c", "Lake Immer has no island.", "", "d3"),
]
QUESTION = "When was the Museum of Varrow opened?"


def pipeline(reply: str = "1961 [1]") -> RetrieveThenRead:
    return RetrieveThenRead(BM25(TOWNS), PromptReader(ScriptedLLM(lambda _: reply)), k=2)


class Shelf(BaseRetriever):
    """A retriever of somebody else's: documents without scores or ids."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return self.documents


class Recorder(BaseCallbackHandler):
    """Keeps what it is told as (event, name, parent's name, metadata)."""

    def __init__(self) -> None:
        self.names: dict[UUID, str] = {}
        self.begun: list[tuple[str, str]] = []
        self.ended: list[str] = []
        self.told: dict[str, Any] = {}
        self.metadata: dict[str, dict[str, float]] = {}

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **more: Any
    ) -> None:
        self._begin(run_id, parent_run_id, more)

    def on_llm_start(
        self, serialized: Any, prompts: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **more: Any
    ) -> None:
        self._begin(run_id, parent_run_id, more)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        self.ended.append(self.names[run_id])
        self.told[self.names[run_id]] = outputs

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        self.ended.append(self.names[run_id])
        self.told[self.names[run_id]] = response.llm_output

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.ended.append(f"{self.names[run_id]} failed")

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.ended.append(f"{self.names[run_id]} failed: {error}")

    def _begin(self, run_id: UUID, parent: UUID | None, more: dict[str, Any]) -> None:
        self.names[run_id] = more["name"]
        self.begun.append((more["name"], self.names[parent] if parent else ""))
        self.metadata[more["name"]] = more["metadata"]


# ---- Documents


@given(CHUNKS)
def test_a_chunk_comes_back_from_a_document_as_it_was(chunk: Chunk):
    assert chunk_of(document_of(chunk)) == chunk


@given(st.text(), st.dictionaries(OTHER_NAMES, st.integers() | st.text()), st.none() | st.text(min_size=1))
def test_a_document_comes_back_from_a_chunk_as_it_was(text: str, metadata: dict[str, Any], given_id: str | None):
    document = Document(text, id=given_id, metadata=metadata)
    back = document_of(chunk_of(document))
    assert (back.page_content, back.metadata) == (text, metadata)
    assert back.id == given_id or given_id is None


# ---- Retrievers


@settings(max_examples=30)
@given(st.lists(HITS, max_size=4))
def test_hits_come_back_through_a_retriever_of_langchain_as_they_were(hits: list[Hit]):
    ranked = sorted(hits, key=lambda hit: -hit.score)
    retriever = RagloomRetriever(retriever=lambda query, k: ranked[:k], k=4)
    assert LangChainRetriever(retriever)("anything", 4) == ranked


def test_documents_have_the_title_the_meta_and_the_score():
    (first, *_) = RagloomRetriever(retriever=BM25(TOWNS), k=2).invoke(QUESTION)
    assert first.id == "a"
    assert first.metadata["title"] == "Varrow"
    assert first.metadata["tags"] == ["town", None]
    assert first.metadata["ragloom_score"] > 0


def test_a_retriever_without_scores_ranks_by_its_order_and_is_cut_off_at_k():
    shelf = Shelf(documents=[Document("one"), Document("two"), Document("three", metadata={"when": 1 + 2j})])
    hits = LangChainRetriever(shelf)("anything", 2)
    assert [(hit.chunk.text, hit.score) for hit in hits] == [("one", 1.0), ("two", 0.5)]
    assert LangChainRetriever(shelf)("anything", 3)[2].chunk.meta == {"when": "(1+2j)"}


def test_a_vector_store_and_its_retriever_find_k():
    store = InMemoryVectorStore(RagloomEmbeddings(SeededEmbedder()))
    store.add_documents([document_of(chunk) for chunk in numbered_chunks(20)])
    for source in (store, store.as_retriever(), store.as_retriever(search_type="mmr", search_kwargs={"fetch_k": 20})):
        found = LangChainRetriever(source)("Passage 3 is about town 3.", 7)
        assert len(found) == 7
        assert found[0].chunk == numbered_chunks(20)[3]
        assert [hit.score for hit in found] == sorted([hit.score for hit in found], reverse=True)


def test_a_vector_store_without_scores_ranks_by_its_order():
    class Plain(VectorStore):
        def similarity_search(self, query: str, k: int = 4, **_: Any) -> list[Document]:
            return [Document(f"{query} {number}") for number in range(k)]

        @classmethod
        def from_texts(cls, *_: Any, **__: Any) -> "Plain":
            return cls()

    hits = LangChainRetriever(Plain())("q", 3)
    assert [(hit.chunk.text, round(hit.score, 2)) for hit in hits] == [("q 0", 1.0), ("q 1", 0.5), ("q 2", 0.33)]


def test_a_blank_query_finds_nothing_and_k_begins_at_1():
    retriever = LangChainRetriever(Shelf(documents=[Document("one")]))
    assert retriever(" \n", 3) == []
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        retriever("query", 0)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        RagloomRetriever(retriever=BM25(TOWNS), k=0)


# ---- Chains


def prompt_and_model(model: RagloomChatModel) -> Any:
    prompt = ChatPromptTemplate.from_messages([("system", "Answer from:\n{context}"), ("human", "{question}")])
    context = RagloomRetriever(retriever=BM25(TOWNS), k=1) | (lambda found: "\n".join(d.page_content for d in found))
    return {"context": context, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()


def echo(messages: Sequence[Message]) -> str:
    return f"{messages[0]['content'].splitlines()[-1]} / {messages[-1]['content']}"


def test_our_retriever_and_our_model_work_in_a_chain():
    chain = prompt_and_model(RagloomChatModel(llm=ScriptedLLM(echo)))
    assert chain.invoke(QUESTION) == f"The Museum of Varrow was opened in 1961. / {QUESTION}"


def test_braces_in_a_passage_are_not_formatted():
    retriever = RagloomRetriever(retriever=lambda query, k: [Hit(Chunk("x", "{question} {0.__class__} {{"), 1.0)])
    prompt = ChatPromptTemplate.from_template("{context} {question}")
    chain = {"context": retriever | (lambda found: found[0].page_content), "question": RunnablePassthrough()} | prompt
    assert chain.invoke("why?").to_messages()[0].content == "{question} {0.__class__} {{ why?"


def test_a_chain_runs_in_batches_and_asynchronously_with_the_runs_budget():
    llm = ScriptedLLM(echo)
    chain = prompt_and_model(RagloomChatModel(llm=llm))
    questions = [f"{QUESTION} {number}" for number in range(8)]

    async def answers() -> list[str]:
        return [*await chain.abatch(questions), await chain.ainvoke("What is at Ostrel?")]

    with Run(Budget(calls=17)) as run:
        assert [said.rpartition(" / ")[2] for said in chain.batch(questions, {"max_concurrency": 4})] == questions
        assert asyncio.run(answers())[-1].startswith("The bridge of Ostrel")
    assert llm.calls == run.spent.calls == 17


# ---- A pipeline as a Runnable


def test_a_pipeline_answers_with_citations_and_documents():
    said = as_runnable(pipeline()).invoke(QUESTION)
    assert said["answer"] == "1961"
    (citation,) = said["citations"]
    cited = said["context"][citation["number"] - 1]
    assert cited.id == citation["chunk_id"] == "a"
    assert cited.page_content[citation["start"] : citation["end"]] == "1961"
    assert said["usage"]["calls"] == 1
    assert not said["abstained"]


def test_a_pipeline_runs_in_chains_batches_streams_and_inside_a_running_loop():
    runnable = as_runnable(pipeline())
    chain = RunnableLambda(str.strip) | runnable | itemgetter("answer")
    assert chain.invoke(f"  {QUESTION} ") == "1961"
    assert [said["answer"] for said in runnable.batch([QUESTION] * 5)] == ["1961"] * 5
    assert [said["answer"] for said in runnable.stream(QUESTION)] == ["1961"]

    async def inside() -> list[str]:
        together = await asyncio.gather(*(chain.ainvoke(QUESTION) for _ in range(5)))
        return [*together, *[said async for said in chain.astream(QUESTION)]]

    assert asyncio.run(inside()) == ["1961"] * 6


def test_what_a_pipeline_raises_passes_through():
    with pytest.raises(InputError, match="empty"):
        as_runnable(pipeline()).invoke(" ")
    failing = RetrieveThenRead(BM25(TOWNS), PromptReader(ScriptedLLM([])))
    results = as_runnable(failing).batch([QUESTION, QUESTION], return_exceptions=True)
    assert all(isinstance(result, LLMError) for result in results)


def test_nothing_found_is_an_abstention_without_documents():
    said = as_runnable(pipeline()).invoke("Xylophone?")
    assert (said["abstained"], said["context"], said["citations"]) == (True, [], [])


# ---- The trace


def test_callbacks_are_told_of_each_step_below_the_runnables_run():
    recorder = Recorder()
    as_runnable(pipeline()).invoke(QUESTION, {"callbacks": [recorder]})
    root = "RetrieveThenRead"
    assert recorder.begun == [(root, ""), ("retrieve", root), ("read", root), ("scripted", "read")]
    assert recorder.ended == ["retrieve", "scripted", "read", root]
    assert recorder.told["retrieve"] == {"k": 2, "found": 1}
    assert recorder.told["scripted"]["token_usage"]["total_tokens"] > 0
    read, call = recorder.metadata["read"], recorder.metadata["scripted"]
    assert read["start_s"] <= call["start_s"]
    assert 0 < call["seconds"] <= read["seconds"]


def test_callbacks_are_told_asynchronously_too():
    recorder = Recorder()
    asyncio.run(as_runnable(pipeline()).ainvoke(QUESTION, {"callbacks": [recorder]}))
    assert [name for name, _ in recorder.begun] == ["RetrieveThenRead", "retrieve", "read", "scripted"]


def failed_record() -> RunRecord:
    with Run() as run, pytest.raises(LLMError), span("read"), span("llm", model="m"):
        raise LLMError("gone")
    return run.record()


def test_steps_that_failed_are_told_as_errors():
    recorder = Recorder()
    replay_trace(failed_record(), [recorder])
    assert recorder.ended == ["m failed: LLMError", "read failed"]


def test_a_trace_without_callbacks_is_told_to_nobody():
    replay_trace(failed_record(), None)
