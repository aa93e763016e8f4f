from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ragloom.components.vector_cache import CachedEmbedder, unit_vectors
from ragloom.errors import BadReply, IndexMismatch
from ragloom.store import Store
from ragloom.types import content_id

Vectors = NDArray[np.float32]


class Recorder:
    """An embedder whose vectors depend on the text alone, that keeps the texts of each call and can break off."""

    def __init__(self, model: str = "recorder", dimensions: int = 8, breaks_at: str | None = None) -> None:
        self.model = model
        self.asked: list[list[str]] = []
        self._dimensions = dimensions
        self._breaks_at = breaks_at

    def __call__(self, texts: Sequence[str], /) -> Vectors:
        if self._breaks_at in texts:
            raise KeyboardInterrupt
        self.asked.append(list(texts))
        return np.stack([vector_of(text, self._dimensions) for text in texts])


def vector_of(text: str, dimensions: int = 8) -> Vectors:
    vector = np.random.default_rng(int(content_id(text), 16)).normal(size=dimensions).astype(np.float32)
    return vector / np.linalg.norm(vector)


def test_vectors_are_in_the_order_of_the_texts_and_each_text_is_embedded_once(tmp_path: Path) -> None:
    inner = Recorder()
    with Store.open(tmp_path) as store:
        vectors = CachedEmbedder(inner, store, batch=2)(["b", "a", "b", "c", "a"])
    assert inner.asked == [["b", "a"], ["c"]]
    np.testing.assert_array_equal(vectors, np.stack([vector_of(text) for text in "babca"]))
    assert vectors.dtype == np.float32


def test_what_is_stored_is_not_embedded_again(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        CachedEmbedder(Recorder(), store)(["a", "b"])
    again = Recorder()
    with Store.open(tmp_path) as store:
        vectors = CachedEmbedder(again, store)(["c", "b", "a"])
    assert again.asked == [["c"]]
    np.testing.assert_array_equal(vectors, np.stack([vector_of(text) for text in "cba"]))


def test_models_do_not_share_vectors(tmp_path: Path) -> None:
    first, second = Recorder("one"), Recorder("two", dimensions=4)
    with Store.open(tmp_path) as store:
        assert CachedEmbedder(first, store)(["a"]).shape == (1, 8)
        assert CachedEmbedder(second, store)(["a"]).shape == (1, 4)
    assert second.asked == [["a"]]


def test_batches_embedded_before_an_interruption_are_kept(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(10)]
    with Store.open(tmp_path) as store, pytest.raises(KeyboardInterrupt):
        CachedEmbedder(Recorder(breaks_at="text 7"), store, batch=3)(texts)
    rest = Recorder()
    with Store.open(tmp_path) as store:
        CachedEmbedder(rest, store, batch=3)(texts)
    assert [text for batch in rest.asked for text in batch] == texts[6:]


def test_progress_adds_up_to_the_texts(tmp_path: Path) -> None:
    ready: list[int] = []
    with Store.open(tmp_path) as store:
        CachedEmbedder(Recorder(), store)(["a", "b"])
        CachedEmbedder(Recorder(), store, batch=2, on_progress=ready.append)(["a", "b", "c", "d", "e", "c"])
    assert ready == [3, 2, 1]


def test_store_for_reading_is_read_and_not_added_to(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        CachedEmbedder(Recorder(), store)(["a"])
    inner = Recorder()
    with Store.open(tmp_path, write=False) as store:
        embedder = CachedEmbedder(inner, store)
        for _ in range(2):
            np.testing.assert_array_equal(embedder(["a", "b"]), np.stack([vector_of("a"), vector_of("b")]))
    assert inner.asked == [["b"], ["b"]]


def test_no_texts_need_no_model(tmp_path: Path) -> None:
    inner = Recorder()
    with Store.open(tmp_path) as store:
        assert CachedEmbedder(inner, store)([]).shape == (0, 0)
        assert CachedEmbedder(inner, store).model == "recorder"
    assert inner.asked == []


def test_model_that_changes_its_dimension_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        CachedEmbedder(Recorder(), store)(["a"])
        with pytest.raises(IndexMismatch, match="recorder gave vectors of 8 dimensions so far, and now of 4"):
            CachedEmbedder(Recorder(dimensions=4), store)(["b"])


def test_bad_vectors_are_not_stored(tmp_path: Path) -> None:
    class Broken(Recorder):
        def __call__(self, texts: Sequence[str], /) -> Vectors:
            return super().__call__(texts) * np.float32(2)

    with Store.open(tmp_path) as store:
        with pytest.raises(BadReply, match="recorder gave a vector of length 2 for text 1 of 2"):
            CachedEmbedder(Broken(), store)(["a", "b"])
        assert store.vectors("recorder", [content_id("a"), content_id("b")]) == {}


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.eye(3), r"m gave an array of float64 and shape \(3, 3\) for 3 texts"),
        (np.eye(2, 3, dtype=np.float32), r"shape \(2, 3\) for 3 texts; an embedder gives float32 of shape \(3, dim"),
        (np.ones(3, np.float32), r"shape \(3,\) for 3 texts"),
        (np.zeros((3, 2), np.float32), "a vector of length 0 for text 1 of 3"),
        (np.diag([1, np.nan, 1]).astype(np.float32), "a vector of length nan for text 2 of 3"),
        (np.diag([1, 1, np.inf]).astype(np.float32), "a vector of length inf for text 3 of 3"),
    ],
)
def test_vectors_that_break_the_promise_are_bad_replies(vectors: Vectors, message: str) -> None:
    with pytest.raises(BadReply, match=message):
        unit_vectors(vectors, 3, "m")
