"""LangChain, both ways: documents, retrievers, models and embeddings, and a pipeline as a Runnable with its trace.

Names in Ragloom... are ours in LangChain's shape, those in LangChain... theirs in ours.
"""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from ragloom.codec import to_json
from ragloom.components.adapters.langchain_callbacks import replay_trace
from ragloom.components.adapters.langchain_models import (
    LangChainEmbedder,
    LangChainLLM,
    RagloomChatModel,
    RagloomEmbeddings,
)
from ragloom.components.adapters.langchain_retrieval import (
    LangChainRetriever,
    RagloomRetriever,
    chunk_of,
    document_of,
    scored_document,
)
from ragloom.components.adapters.langchain_vectors import LangChainVectors
from ragloom.types import Answer, Pipeline

__all__ = [
    "LangChainEmbedder",
    "LangChainLLM",
    "LangChainRetriever",
    "LangChainVectors",
    "RagloomChatModel",
    "RagloomEmbeddings",
    "RagloomRetriever",
    "answer_fields",
    "as_runnable",
    "chunk_of",
    "document_of",
    "replay_trace",
]


def as_runnable(pipeline: Pipeline) -> Runnable[str, dict[str, Any]]:
    """The pipeline as a Runnable from the question to `answer_fields`: for chains, batches, and asynchronously.

    Callbacks get a run for each step of its trace, see `replay_trace`.
    """

    def answer(question: str, config: RunnableConfig) -> dict[str, Any]:
        given = pipeline(question)
        replay_trace(given.run, config.get("callbacks"))
        return answer_fields(question, given)

    return RunnableLambda(answer, name=type(pipeline).__name__)


def answer_fields(question: str, answer: Answer) -> dict[str, Any]:
    """The answer under the names of LangChain's own question answering, and what it rests on.

    `input`, `answer`, `context` (documents, which the citations number from 1), `citations`, `abstained`, `usage`.
    """
    return {
        "input": question,
        "answer": answer.text,
        "context": [scored_document(hit) for hit in answer.hits],
        "citations": to_json(answer.citations),
        "abstained": answer.abstained,
        "usage": to_json(answer.run.usage),
    }
