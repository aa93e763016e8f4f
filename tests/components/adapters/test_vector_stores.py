"""Our chunks in vector stores of others, against our own Dense."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core.schema import BaseNode, TextNode
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQuery, VectorStoreQueryResult
from made_chunks import SeededEmbedder, numbered_chunks
from pydantic import Field

from ragloom import Store, document
from ragloom.components.adapters.langchain import LangChainVectors, RagloomEmbeddings
from ragloom.components.adapters.llama_index import LlamaIndexVectors
from ragloom.components.adapters.vector_stores import ChunkVectors, IndexedVectors, index_into
from ragloom.components.dense import Dense
from ragloom.components.splitting import WholePassages
from ragloom.components.tokenizing import searchable
from ragloom.components.vector_cache import CachedEmbedder
from ragloom.errors import IndexMismatch, InputError, StoreError
from ragloom.types import Chunk

CHUNKS = numbered_chunks(60, meta={"year": 1961, "tags": ["town", None]})
QUERIES = ["Passage 3", "town", "something else", "Title 9\nPassage 9 is about town 2."]


class KeepingStore(BasePydanticVectorStore):
    """A vector store of LlamaIndex that keeps texts and flat metadata only, as hosted ones do, and ids of its own."""

    stores_text: bool = True
    rows: dict[str, tuple[str, dict[str, Any], list[float]]] = Field(default_factory=dict)

    @property
    def client(self) -> None:
        return None

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        for node in nodes:
            assert all(isinstance(value, str | int | float) for value in node.metadata.values())
            assert node.node_id not in self.rows, "doubled"
            self.rows[node.node_id] = (node.get_content(), node.metadata, node.get_embedding())
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        raise AssertionError("one chunk's document may have others")

    def delete_nodes(self, node_ids: list[str] | None = None, filters: Any = None, **_: Any) -> None:
        for node_id in node_ids or ():
            self.rows.pop(node_id, None)

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        assert query.query_embedding is not None
        scores = {name: float(np.dot(row[2], query.query_embedding)) for name, row in self.rows.items()}
        best = sorted(scores, key=lambda name: -scores[name])[: query.similarity_top_k]
        nodes = [TextNode(id_=f"own-{name}", text=self.rows[name][0], metadata=self.rows[name][1]) for name in best]
        return VectorStoreQueryResult(nodes=nodes, similarities=[scores[name] for name in best])


class AddingStore(KeepingStore):
    """One that cannot delete single nodes."""

    def delete_nodes(self, node_ids: list[str] | None = None, filters: Any = None, **_: Any) -> None:
        raise NotImplementedError


def langchain_store() -> LangChainVectors:
    return LangChainVectors(InMemoryVectorStore(RagloomEmbeddings(SeededEmbedder())))


def simple_store() -> LlamaIndexVectors:
    return LlamaIndexVectors(SimpleVectorStore(), SeededEmbedder(), {chunk.id: chunk for chunk in CHUNKS})


def keeping_store() -> LlamaIndexVectors:
    return LlamaIndexVectors(KeepingStore(), SeededEmbedder())


def held(vectors: ChunkVectors) -> list[Chunk]:
    return sorted((hit.chunk for hit in vectors("anything", 1000)), key=lambda chunk: chunk.id)


def by_id(chunks: Sequence[Chunk]) -> list[Chunk]:
    return sorted(chunks, key=lambda chunk: chunk.id)


every_store = pytest.mark.parametrize("make", [langchain_store, simple_store, keeping_store])


@every_store
def test_what_is_found_is_what_our_own_index_finds(make: Any, tmp_path: Path):
    vectors = make()
    assert vectors.model == "seeded"
    assert index_into(vectors, CHUNKS, tmp_path / "ledger.jsonl", batch=7) == IndexedVectors(60, 0, 0, 0)
    embedder = SeededEmbedder()
    ours = Dense(CHUNKS, embedder([searchable(chunk) for chunk in CHUNKS]), embedder)
    for query in QUERIES:
        theirs = vectors(query, 12)
        assert [hit.chunk for hit in theirs] == [hit.chunk for hit in ours(query, 12)]
        np.testing.assert_allclose([hit.score for hit in theirs], [hit.score for hit in ours(query, 12)], atol=1e-5)


@every_store
def test_a_store_follows_the_chunks(make: Any, tmp_path: Path):
    vectors, ledger = make(), tmp_path / "ledger.jsonl"
    index_into(vectors, CHUNKS[:20], ledger)
    assert index_into(vectors, CHUNKS[:20], ledger) == IndexedVectors(0, 0, 20, 0)
    assert index_into(vectors, CHUNKS[10:40], ledger, batch=4) == IndexedVectors(20, 0, 10, 10)
    assert held(vectors) == by_id(CHUNKS[10:40])
    assert index_into(vectors, [], ledger) == IndexedVectors(0, 0, 0, 30)
    assert held(vectors) == []


@pytest.mark.parametrize("make", [langchain_store, keeping_store])
def test_a_chunk_whose_meta_changed_is_put_again(make: Any, tmp_path: Path):
    vectors, ledger = make(), tmp_path / "ledger.jsonl"
    newer = [*numbered_chunks(3, meta={"year": 1962}), *CHUNKS[3:9]]
    index_into(vectors, CHUNKS[:9], ledger)
    assert index_into(vectors, newer, ledger) == IndexedVectors(0, 3, 6, 0)
    assert held(vectors) == by_id(newer)


class Killed(BaseException):
    pass


class Interrupted:
    """A store that the process dies at: the given call of `put` or `remove`, before or after it did its work."""

    def __init__(self, vectors: ChunkVectors, call: int, after: bool) -> None:
        self.vectors = vectors
        self.left = call
        self.after = after

    @property
    def model(self) -> str:
        return self.vectors.model

    def put(self, chunks: Sequence[Chunk], /) -> None:
        self._work(lambda: self.vectors.put(chunks))

    def remove(self, chunk_ids: Sequence[str], /) -> None:
        self._work(lambda: self.vectors.remove(chunk_ids))

    def __call__(self, query: str, k: int, /) -> list[Any]:
        return self.vectors(query, k)

    def _work(self, work: Any) -> None:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        work()
        if self.left == 0:
            raise Killed


@settings(max_examples=25, deadline=None)
@given(
    corpora=st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=4),
    kills=st.lists(st.tuples(st.integers(1, 8), st.booleans(), st.integers(0, 30)), max_size=4),
    batch=st.integers(1, 5),
)
def test_a_run_that_is_killed_anywhere_and_resumed_loses_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, corpora: list[set[int]], kills: list[tuple[int, bool, int]], batch: int
):
    ledger = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    vectors = keeping_store()  # which refuses to add a chunk twice
    for corpus in corpora:
        wanted = [CHUNKS[number] for number in sorted(corpus)]
        for call, after, torn in kills:
            try:
                index_into(Interrupted(vectors, call, after), wanted, ledger, batch=batch)
            except Killed:
                with ledger.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"put": {"x": "y"}})[:torn].rstrip("}"))  # a line that was being written
        index_into(vectors, wanted, ledger, batch=batch)
        assert held(vectors) == by_id(wanted)


def test_vectors_of_the_workspace_are_not_made_again(tmp_path: Path):
    embedder = SeededEmbedder()
    texts: list[str] = []

    class Counting:
        model = embedder.model

        def __call__(self, given: Sequence[str], /) -> Any:
            texts.extend(given)
            return embedder(given)

    with Store.open(tmp_path / "workspace") as store:
        entries = [document(f"Text {number}.", title=f"Title {number}", source=str(number)) for number in range(5)]
        store.put_documents([(entry, WholePassages()(entry)) for entry in entries], origin="o", splitting="s")
        cached = CachedEmbedder(Counting(), store)
        cached([searchable(chunk) for chunk in store.chunks()])
        vectors = LangChainVectors(InMemoryVectorStore(RagloomEmbeddings(cached)))
        index_into(vectors, store.chunks(), tmp_path / "ledger.jsonl")
        assert len(texts) == 5
        assert held(vectors) == by_id(store.chunks())


def test_a_ledger_of_another_model_is_refused(tmp_path: Path):
    ledger = tmp_path / "ledger.jsonl"
    index_into(langchain_store(), CHUNKS[:2], ledger)
    other = LangChainVectors(InMemoryVectorStore(DeterministicFakeEmbedding(size=4)))
    with pytest.raises(IndexMismatch, match="vectors of seeded, and these are of DeterministicFakeEmbedding"):
        index_into(other, CHUNKS[:2], ledger)


@pytest.mark.parametrize("line", ["no JSON", "[]", '{"put": 3}', "null", '{"removed": 3}'])
def test_a_file_that_is_no_ledger_is_named(tmp_path: Path, line: str):
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text(f'{{"model": "seeded"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"ledger\.jsonl, line 2: no entry of a ledger"):
        index_into(langchain_store(), CHUNKS[:2], ledger)


@pytest.mark.parametrize("text", ["my notes", '{"id": 1, "question": "Why?"}\n', "\n", "notes\nof mine", b"\xff\n"])
def test_a_file_of_somebody_else_is_left_as_it_was(tmp_path: Path, text: str | bytes):
    other = tmp_path / "other.jsonl"
    content = text if isinstance(text, bytes) else text.encode()
    other.write_bytes(content)
    with pytest.raises(InputError, match="is it another file"):
        index_into(langchain_store(), CHUNKS[:2], other)
    assert other.read_bytes() == content


@pytest.mark.parametrize("torn", ["", "{", '{"model": "see'])
def test_a_ledger_that_was_torn_off_at_its_beginning_is_begun_again(tmp_path: Path, torn: str):
    ledger = tmp_path / "folder" / "ledger.jsonl"
    if torn:
        ledger.parent.mkdir()
        ledger.write_text(torn, encoding="utf-8")
    vectors = keeping_store()
    for added in (2, 0):
        assert index_into(vectors, CHUNKS[:2], ledger).added == added


def test_a_store_that_cannot_delete_says_so(tmp_path: Path):
    vectors, ledger = LlamaIndexVectors(AddingStore(), SeededEmbedder()), tmp_path / "ledger.jsonl"
    index_into(vectors, CHUNKS[:3], ledger)
    with pytest.raises(StoreError, match="AddingStore cannot delete nodes by their ids"):
        index_into(vectors, CHUNKS[:2], ledger)


def test_a_store_without_texts_needs_the_chunks(tmp_path: Path):
    vectors = LlamaIndexVectors(SimpleVectorStore(), SeededEmbedder())
    index_into(vectors, CHUNKS[:2], tmp_path / "ledger.jsonl")
    with pytest.raises(StoreError, match=r"SimpleVectorStore found the chunk .* whose text it does not keep"):
        vectors("anything", 1)


@every_store
def test_a_blank_query_and_an_empty_store_find_nothing(make: Any, tmp_path: Path):
    vectors = make()
    assert vectors("anything", 3) == []
    index_into(vectors, CHUNKS[:2], tmp_path / "ledger.jsonl")
    assert vectors(" \n", 3) == []
    assert len(vectors("anything", 3)) == 2
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        vectors("anything", 0)
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        index_into(vectors, CHUNKS, tmp_path / "ledger.jsonl", batch=0)


def test_chunks_stand_beside_documents_of_others(tmp_path: Path):
    store = InMemoryVectorStore(RagloomEmbeddings(SeededEmbedder()))
    store.add_documents([Document("somebody else's", id="theirs", metadata={"page": 3})])
    index_into(LangChainVectors(store), CHUNKS[:2], tmp_path / "ledger.jsonl")
    index_into(LangChainVectors(store), [], tmp_path / "ledger.jsonl")
    assert held(LangChainVectors(store)) == [Chunk("theirs", "somebody else's", meta={"page": 3})]
