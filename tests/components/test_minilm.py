import sys

import numpy as np
import pytest

from ragloom.components.minilm import LocalEmbedder
from ragloom.errors import ConfigError

TEXTS = ["A man is eating food.", "A man is eating a piece of bread.", "The new movie is so great " * 9, "rain", ""]


def test_no_texts_need_no_model(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAGLOOM_MODELS", str(tmp_path))
    assert LocalEmbedder()([]).shape == (0, 384)
    assert not list(tmp_path.iterdir())


@pytest.mark.model
def test_vectors_are_those_of_the_published_model():
    vectors = LocalEmbedder()(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    # sentence-transformers' documentation of semantic search gives .7553 for this pair, with float weights
    assert vectors[0] @ vectors[1] == pytest.approx(0.7553, abs=0.01)
    assert vectors[0] @ vectors[3] < 0.2


@pytest.mark.model
def test_a_vector_does_not_depend_on_what_else_is_embedded():
    embedder = LocalEmbedder()
    together = embedder(TEXTS)
    alone = np.concatenate([LocalEmbedder(threads=1)([text]) for text in reversed(TEXTS)])[::-1]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.model
def test_a_long_text_counts_by_its_beginning():
    words = "the quick brown fox jumps over a lazy dog " * 60
    vectors = LocalEmbedder()([words, words + "and a cat " * 1000, words[:100]])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert vectors[0] @ vectors[2] < 0.9999


@pytest.mark.model
def test_what_no_text_can_hold_is_embedded_as_a_replacement():
    vectors = LocalEmbedder()(["a \ud800 b \0", "a \ufffd b \ufffd"])
    np.testing.assert_array_equal(vectors[0], vectors[1])


@pytest.mark.model
def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / "minilm").symlink_to(model_folder())  # another path, so that the model is loaded anew
    monkeypatch.setenv("RAGLOOM_MODELS", str(tmp_path))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"needs the package onnxruntime; pip install 'ragloom\[local\]'"):
        LocalEmbedder()(["a"])


def model_folder():
    from ragloom.components.local_models import pull

    return pull("minilm").parent


def test_its_name_tells_its_weights():
    assert LocalEmbedder().model == "minilm-8199be6f"
