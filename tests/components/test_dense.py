from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragloom.components.dense import Dense
from ragloom.errors import BadReply, IndexMismatch
from ragloom.store import Store
from ragloom.types import Chunk, Hit

Vectors = NDArray[np.float32]


class Lookup:
    """An embedder of the texts it was given vectors for, that keeps count of its calls."""

    def __init__(self, vectors: dict[str, Vectors], model: str = "lookup") -> None:
        self.model = model
        self.calls = 0
        self._vectors = vectors

    def __call__(self, texts: Sequence[str], /) -> Vectors:
        self.calls += 1
        return np.stack([self._vectors[text] for text in texts])


def chunks_of(count: int) -> list[Chunk]:
    return [Chunk(f"c{number}", f"text {number}") for number in range(count)]


def random_vectors(count: int, dimensions: int = 16, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def places(hits: Sequence[Hit]) -> list[int]:
    return [int(hit.chunk.id[1:]) for hit in hits]


def brute_force(vectors: Vectors, query: Vectors) -> list[int]:
    return np.argsort(-(vectors.astype(np.float64) * query).sum(axis=1), kind="stable").tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 80), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_exact_search_is_brute_force(count: int, k: int, seed: int) -> None:
    [query, *vectors] = random_vectors(count + 1, seed=seed)
    hits = Dense(chunks_of(count), np.array(vectors), Lookup({"q": query}))("q", k)
    assert places(hits) == brute_force(np.array(vectors), query)[:k]
    assert [hit.score for hit in hits] == pytest.approx(
        [float(vectors[place] @ query) for place in places(hits)], abs=1e-6
    )


@pytest.mark.parametrize("exact_up_to", [10_000, 1])
@pytest.mark.parametrize("k", [1, 5, 40, 399, 400, 1000])
def test_ties_keep_corpus_order_at_every_cut(exact_up_to: int, k: int) -> None:
    # 400 chunks of only 4 texts: 100 tie at each place. Of as many equal vectors HNSW itself finds a part only.
    vectors = np.tile(random_vectors(4), (100, 1))
    dense = Dense(chunks_of(400), vectors, Lookup({"q": vectors[2]}), exact_up_to=exact_up_to)
    assert places(dense("q", k)) == brute_force(vectors, vectors[2])[:k]


def test_ties_of_different_vectors_keep_corpus_order() -> None:
    vectors = np.eye(200, dtype=np.float32)  # the query is as far from all but one
    dense = Dense(chunks_of(200), vectors, Lookup({"q": vectors[150]}))
    for k in (1, 2, 50, 200):
        assert places(dense("q", k)) == [150, *range(150), *range(151, 200)][:k]


def test_hnsw_finds_nearly_all_of_the_nearest_and_the_same_every_time() -> None:
    vectors, queries = random_vectors(2000), random_vectors(20, seed=1)
    embedder = Lookup({str(number): query for number, query in enumerate(queries)})
    once, again = (Dense(chunks_of(2000), vectors, embedder, exact_up_to=1999) for _ in range(2))
    found = [places(once(str(number), 10)) for number in range(20)]
    assert found == [places(again(str(number), 10)) for number in range(20)]
    nearest = [brute_force(vectors, query)[:10] for query in queries]
    shared = sum(len(set(a) & set(b)) for a, b in zip(found, nearest, strict=True))
    assert shared >= 190


def test_no_chunks_find_nothing_and_ask_no_model() -> None:
    embedder = Lookup({})
    assert Dense([], np.empty((0, 0), np.float32), embedder)("q", 3) == []
    assert embedder.calls == 0


@pytest.mark.parametrize("query", ["", " \n"])
def test_blank_query_finds_nothing_and_asks_no_model(query: str) -> None:
    embedder = Lookup({})
    assert Dense(chunks_of(3), random_vectors(3), embedder)(query, 3) == []
    assert embedder.calls == 0


@pytest.mark.parametrize("k", [0, -2])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        Dense(chunks_of(3), random_vectors(3), Lookup({}))("q", k)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_query_vector_that_is_no_direction_is_a_bad_reply(value: float) -> None:
    embedder = Lookup({"q": np.full(16, value, np.float32)}, "broken-model")
    with pytest.raises(BadReply, match=r"broken-model gave a vector of length (0|nan|inf) for text 1 of 1"):
        Dense(chunks_of(3), random_vectors(3), embedder)("q", 3)


def test_query_of_another_dimension_names_both() -> None:
    dense = Dense(chunks_of(3), random_vectors(3), Lookup({"q": random_vectors(1, 8)[0]}, "small-model"))
    with pytest.raises(IndexMismatch, match="built with vectors of 16 dimensions, and small-model gave 8"):
        dense("q", 3)


def test_each_chunk_needs_a_vector() -> None:
    with pytest.raises(BadReply, match=r"lookup gave an array of float32 and shape \(2, 16\) for 3 texts"):
        Dense(chunks_of(3), random_vectors(2), Lookup({}))


@pytest.mark.parametrize("exact_up_to", [1000, 1])
def test_saved_index_finds_the_same(tmp_path: Path, exact_up_to: int) -> None:
    vectors = random_vectors(300)
    embedder = Lookup({"q": random_vectors(1, seed=9)[0]})
    dense = Dense(chunks_of(300), vectors, embedder, exact_up_to=exact_up_to)
    dense.save(tmp_path)
    assert Dense.load(tmp_path, chunks_of(300), embedder)("q", 20) == dense("q", 20)


def test_empty_index_is_saved_and_loaded(tmp_path: Path) -> None:
    embedder = Lookup({})
    Dense([], np.empty((0, 0), np.float32), embedder).save(tmp_path)
    assert Dense.load(tmp_path, [], embedder)("q", 3) == []


def test_index_of_another_model_or_other_chunks_is_refused(tmp_path: Path) -> None:
    Dense(chunks_of(3), random_vectors(3), Lookup({})).save(tmp_path)
    with pytest.raises(IndexMismatch, match="was built with lookup, got other-model; build it again"):
        Dense.load(tmp_path, chunks_of(3), Lookup({}, "other-model"))
    with pytest.raises(IndexMismatch, match="was built from other chunks"):
        Dense.load(tmp_path, chunks_of(4), Lookup({}))


def test_index_lives_in_the_store_as_a_derived_folder(tmp_path: Path) -> None:
    vectors = random_vectors(5)
    embedder = Lookup({"q": vectors[3]})
    with Store.open(tmp_path) as store:
        folder = store.derived("dense", {"model": "lookup"}, Dense(chunks_of(5), vectors, embedder).save)
        assert places(Dense.load(folder, chunks_of(5), embedder)("q", 1)) == [3]
