"""A vector store of LlamaIndex that our chunks are put into. Import it from `adapters.llama_index`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQuery

from ragloom.components.adapters.passages import chunk_from, hits_from, stored_metadata, stored_text
from ragloom.components.vector_cache import unit_vectors
from ragloom.errors import StoreError
from ragloom.types import Chunk, Embedder, Hit


@dataclass(frozen=True)
class LlamaIndexVectors:
    """A vector store of LlamaIndex.

    Attributes:
        store: theirs; it must be able to delete nodes by their ids.
        embedder: for chunks and queries; a `CachedEmbedder` where the workspace has the vectors.
        chunks: by id, for stores that keep vectors only, such as SimpleVectorStore.
    """

    store: BasePydanticVectorStore
    embedder: Embedder
    chunks: Mapping[str, Chunk] | None = None

    @property
    def model(self) -> str:
        """The embedder's."""
        return self.embedder.model

    def put(self, chunks: Sequence[Chunk], /) -> None:
        """Add chunks by their ids."""
        vectors = unit_vectors(self.embedder([stored_text(chunk) for chunk in chunks]), len(chunks), self.model)
        self.store.add(
            [_stored_node(chunk, list(map(float, vector))) for chunk, vector in zip(chunks, vectors, strict=True)]
        )

    def remove(self, chunk_ids: Sequence[str], /) -> None:
        """Take chunks out by their ids.

        Raises:
            StoreError: the store cannot.
        """
        try:
            self.store.delete_nodes(list(chunk_ids))
        except NotImplementedError:
            raise StoreError(
                f"{type(self.store).__name__} cannot delete nodes by their ids",
                "use a store of LlamaIndex that implements delete_nodes, or make it anew with a new ledger",
            ) from None

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first; none for a blank query.

        Raises:
            StoreError: the store keeps no text, and `chunks` lacks one that it found.
            ValueError: k below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if not query.strip():
            return []
        vector = unit_vectors(self.embedder([query]), 1, self.model)[0]
        asked = VectorStoreQuery(query_embedding=list(map(float, vector)), similarity_top_k=k, query_str=query)
        found = self.store.query(asked)
        if found.nodes is not None:
            chunks = [chunk_from(node.node_id, node.get_content(), node.metadata) for node in found.nodes]
        else:
            chunks = [self._known(chunk_id) for chunk_id in found.ids or ()]
        scores: Sequence[float | None] = found.similarities or [None] * len(chunks)
        return hits_from(list(zip(chunks, scores, strict=True)))[:k]

    def _known(self, chunk_id: str) -> Chunk:
        if self.chunks is None or chunk_id not in self.chunks:
            raise StoreError(
                f"{type(self.store).__name__} found the chunk {chunk_id}, whose text it does not keep",
                "pass `chunks` with everything that was put in, e.g. those of the workspace by their ids",
            )
        return self.chunks[chunk_id]


def _stored_node(chunk: Chunk, vector: list[float]) -> TextNode:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=chunk.document_id)} if chunk.document_id else {}
    return TextNode(
        id_=chunk.id,
        text=stored_text(chunk),
        metadata=stored_metadata(chunk),
        embedding=vector,
        relationships=source,
    )
