"""LangChain's documents, retrievers and vector stores as ours, and ours as theirs. See `adapters.langchain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever
from pydantic import Field, SkipValidation

from ragloom.components.adapters.passages import SCORE, chunk_from, hits_from, metadata_of
from ragloom.types import Chunk, Hit, Retriever


def document_of(chunk: Chunk) -> Document:
    """The chunk as a document of LangChain; `chunk_of` gives it back as it was.

    Its meta stands in the metadata, with `title`, `document_id`, `position` and `start` where they say something.
    """
    return Document(chunk.text, id=chunk.id, metadata=metadata_of(chunk))


def chunk_of(document: Document) -> Chunk:
    """The document as a chunk, whoever made it; what JSON cannot hold of its metadata becomes text."""
    return chunk_from(document.id, document.page_content, document.metadata)


@dataclass(frozen=True)
class LangChainRetriever:
    """A Retriever that is a retriever or a vector store of LangChain.

    Of retrievers, other than of vector stores and of ours, only the order is known: scores are 1, 1/2, 1/3 and so on.
    How many they find is theirs to say; more than k are cut off.
    """

    source: BaseRetriever | VectorStore

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first; none for a blank query.

        Raises:
            ValueError: k below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        found = self._search(query, k)[:k] if query.strip() else []
        return hits_from([(chunk_of(document), score) for document, score in found])

    def _search(self, query: str, k: int) -> Sequence[tuple[Document, float | None]]:
        if isinstance(self.source, VectorStore):
            try:
                return self.source.similarity_search_with_score(query, k=k)
            except NotImplementedError:  # optional in a vector store
                return [(found, None) for found in self.source.similarity_search(query, k=k)]
        if isinstance(self.source, VectorStoreRetriever):
            return [(found, None) for found in self.source.invoke(query, k=k)]
        return [(found, found.metadata.get(SCORE)) for found in self.source.invoke(query)]


class RagloomRetriever(BaseRetriever):
    """A Retriever of ours as one of LangChain; the score of a document is its metadata `ragloom_score`."""

    retriever: Annotated[Retriever, SkipValidation]
    k: int = Field(default=5, ge=1)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [scored_document(hit) for hit in self.retriever(query, self.k)]


def scored_document(hit: Hit) -> Document:
    """The hit's chunk as a document, its score as the metadata `ragloom_score`."""
    document = document_of(hit.chunk)
    document.metadata[SCORE] = hit.score
    return document
