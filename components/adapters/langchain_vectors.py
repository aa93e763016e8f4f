"""A vector store of LangChain that our chunks are put into. Import it from `adapters.langchain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from ragloom.components.adapters.langchain_models import RagloomEmbeddings
from ragloom.components.adapters.langchain_retrieval import LangChainRetriever
from ragloom.components.adapters.passages import stored_metadata, stored_text
from ragloom.types import Chunk, Hit


@dataclass(frozen=True)
class LangChainVectors:
    """A vector store of LangChain.

    It embeds by itself: make it with `RagloomEmbeddings(embedder)` for our vectors, around a `CachedEmbedder` where the
    workspace has them. What is embedded, and kept as a document's text, is title and text, as everywhere in ragloom.
    """

    store: VectorStore

    @property
    def model(self) -> str:
        """The model of our embedder, or the name of somebody else's embeddings."""
        embeddings = self.store.embeddings
        return (
            embeddings.embedder.model
            if isinstance(embeddings, RagloomEmbeddings)
            else type(embeddings or self.store).__name__
        )

    def put(self, chunks: Sequence[Chunk], /) -> None:
        """Add chunks by their ids."""
        documents = [Document(stored_text(chunk), id=chunk.id, metadata=stored_metadata(chunk)) for chunk in chunks]
        self.store.add_documents(documents, ids=[chunk.id for chunk in chunks])

    def remove(self, chunk_ids: Sequence[str], /) -> None:
        """Take chunks out by their ids."""
        self.store.delete(list(chunk_ids))

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first; see `LangChainRetriever`."""
        return LangChainRetriever(self.store)(query, k)
