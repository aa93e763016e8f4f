"""Embeddings made on this machine: all-MiniLM-L6-v2 with int8 weights, on onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragloom.components.completions import clean
from ragloom.components.local_models import CATALOGUE, EXTRA, model_file
from ragloom.errors import ConfigError
from ragloom.run import map_threads

_DIMENSIONS = 384
_MOST_TOKENS = 256  # what the model was trained on; the rest of a longer text is not seen
_loading = Lock()


@dataclass(frozen=True, slots=True)
class LocalEmbedder:
    """An Embedder that needs no server; its model is downloaded and loaded with the first texts.

    Each text is put through the model on its own, several of them side by side: its vector depends on nothing else,
    and on these texts of unequal length that is as fast as batches (55 passages of 100 tokens a second and core).

    Attributes:
        threads: texts embedded at a time; None for one for each core.
    """

    threads: int | None = None

    @property
    def model(self) -> str:
        """The model's name and the beginning of its hash."""
        return f"minilm-{CATALOGUE['minilm'].files[0].sha256[:8]}"

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Vectors of length 1, (n, 384), in the order of the texts; only the first 256 tokens of each count.

        Raises:
            ConfigError: a package of the extra `local` is not installed.
            LLMError: the model could not be downloaded.
        """
        vectors = np.zeros((len(texts), _DIMENSIONS), np.float32)
        if not texts:
            return vectors
        with _loading:
            tokenizer, session = _load(model_file("minilm").parent)

        def embed(place: int) -> None:
            vectors[place] = _vector(session, tokenizer.encode(clean(texts[place])).ids)

        for _ in map_threads(embed, range(len(texts)), workers=self.threads or os.cpu_count() or 1):
            pass
        return vectors


@cache
def _load(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and session; both may be used by several threads at once."""
    try:
        from onnxruntime import InferenceSession, SessionOptions  # type: ignore[import-untyped]  # no annotations
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError(f"the local embedder needs the package {error.name}", EXTRA) from None
    options = SessionOptions()
    options.intra_op_num_threads = 1  # texts side by side use the cores better than one text on all of them
    options.log_severity_level = 3
    session = InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_MOST_TOKENS)
    return tokenizer, session


def _vector(session: Any, tokens: list[int]) -> NDArray[np.float32]:
    """The mean over the tokens, of length 1. `Any`: onnxruntime has no annotations."""
    ids = np.array([tokens], np.int64)
    (states,) = session.run(
        None, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    )
    mean: NDArray[np.float32] = states[0].mean(axis=0)
    return mean / np.float32(np.linalg.norm(mean))
