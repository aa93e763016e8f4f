"""LlamaIndex, both ways: nodes, retrievers, postprocessors, models and embeddings, and a pipeline as a query engine.

Names in Ragloom... are ours in LlamaIndex's shape, those in LlamaIndex... theirs in ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import Response
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import BaseNode, NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
from pydantic import SkipValidation

from ragloom.codec import to_json
from ragloom.components.adapters.llama_index_models import LlamaIndexEmbedder, RagloomEmbedding, RagloomLLM
from ragloom.components.adapters.llama_index_vectors import LlamaIndexVectors
from ragloom.components.adapters.passages import chunk_from, hits_from, metadata_of
from ragloom.types import Answer, Chunk, Hit, Pipeline, Refiner, Retriever

__all__ = [
    "LlamaIndexEmbedder",
    "LlamaIndexRefiner",
    "LlamaIndexRetriever",
    "LlamaIndexVectors",
    "RagloomEmbedding",
    "RagloomLLM",
    "RagloomPostprocessor",
    "RagloomQueryEngine",
    "RagloomRetriever",
    "chunk_of",
    "hits_of",
    "node_of",
    "nodes_of",
]


def node_of(chunk: Chunk) -> TextNode:
    """The chunk as a node of LlamaIndex; `chunk_of` gives it back as it was.

    Its meta stands in the metadata, with `title`, `document_id`, `position` and `start` where they say something. Of
    all this models are shown the title only, as by ragloom itself.
    """
    metadata = metadata_of(chunk)
    unseen = [name for name in metadata if name != "title"]
    node = TextNode(
        id_=chunk.id,
        text=chunk.text,
        metadata=metadata,
        start_char_idx=chunk.start,
        end_char_idx=chunk.start + len(chunk.text),
        excluded_llm_metadata_keys=unseen,
        excluded_embed_metadata_keys=unseen,
    )
    if chunk.document_id:
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=chunk.document_id)
    return node


def chunk_of(node: BaseNode) -> Chunk:
    """The node as a chunk, whoever made it; what JSON cannot hold of its metadata becomes text."""
    placed: dict[str, object] = {"start": getattr(node, "start_char_idx", None), "document_id": node.ref_doc_id}
    known = {name: value for name, value in placed.items() if value and name not in node.metadata}
    return chunk_from(node.node_id, node.get_content(), node.metadata | known)


def nodes_of(hits: Sequence[Hit]) -> list[NodeWithScore]:
    """The hits as scored nodes."""
    return [NodeWithScore(node=node_of(hit.chunk), score=hit.score) for hit in hits]


def hits_of(nodes: Sequence[NodeWithScore]) -> list[Hit]:
    """Scored nodes as hits, in their order; where one has no score, all are 1, 1/2, 1/3 and so on."""
    scored = all(node.score is not None for node in nodes)
    if not scored:
        return hits_from([(chunk_of(node.node), None) for node in nodes])
    return [Hit(chunk_of(node.node), node.get_score()) for node in nodes]


class RagloomRetriever(BaseRetriever):
    """A Retriever of ours as one of LlamaIndex, which finds k nodes."""

    def __init__(self, retriever: Retriever, *, k: int = 5) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        super().__init__()
        self._retriever = retriever
        self._k = k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return nodes_of(self._retriever(query_bundle.query_str, self._k))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


@dataclass(frozen=True)
class LlamaIndexRetriever:
    """A Retriever that is a retriever or a vector index of LlamaIndex.

    How many a retriever finds is its own to say, and more than k are cut off; an index finds k.
    """

    source: BaseRetriever | VectorStoreIndex

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first; none for a blank query.

        Raises:
            ValueError: k below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if not query.strip():
            return []
        source = self.source
        retriever = source.as_retriever(similarity_top_k=k) if isinstance(source, VectorStoreIndex) else source
        return hits_of(retriever.retrieve(query)[:k])


class RagloomPostprocessor(BaseNodePostprocessor):
    """A Refiner of ours as a postprocessor of LlamaIndex."""

    refiner: Annotated[Refiner, SkipValidation]

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = "" if query_bundle is None else query_bundle.query_str
        return nodes_of(self.refiner(query, hits_of(nodes)))


@dataclass(frozen=True)
class LlamaIndexRefiner:
    """A Refiner that is a postprocessor of LlamaIndex: a reranker, a filter."""

    postprocessor: BaseNodePostprocessor

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """What the postprocessor leaves of the hits, in its order."""
        return hits_of(self.postprocessor.postprocess_nodes(nodes_of(hits), query_str=query))


class RagloomQueryEngine(CustomQueryEngine):
    """A pipeline as a query engine of LlamaIndex.

    The response's source nodes are the passages that the answer's citations number from 1. Its metadata holds
    `citations`, `abstained` and `usage`.
    """

    pipeline: Annotated[Pipeline, SkipValidation]

    def custom_query(self, query_str: str) -> Response:
        """The pipeline's answer."""
        return _response(self.pipeline(query_str))

    async def acustom_query(self, query_str: str) -> Response:
        """The same, in a thread."""
        return _response(await asyncio.to_thread(self.pipeline, query_str))


def _response(answer: Answer) -> Response:
    metadata = {
        "citations": to_json(answer.citations),
        "abstained": answer.abstained,
        "usage": to_json(answer.run.usage),
    }
    return Response(answer.text, nodes_of(answer.hits), metadata)
