"""Embeddings that are computed once: kept in the store, by model and text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragloom.errors import BadReply
from ragloom.store import Store
from ragloom.types import Embedder, content_id


def unit_vectors(vectors: NDArray[np.float32], count: int, model: str) -> NDArray[np.float32]:
    """The vectors of a model as they came, which are seen to be what an Embedder promises for that many texts.

    Raises:
        BadReply: they are not float32, not that many rows, not all finite, or not of length 1.
    """
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != count:
        raise BadReply(
            f"{model} gave an array of {vectors.dtype} and shape {vectors.shape} for {count} texts",
            f"an embedder gives float32 of shape ({count}, dimensions)",
        )
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))  # NaN is wrong too
    if len(wrong):
        raise BadReply(
            f"{model} gave a vector of length {lengths[wrong[0]]:g} for text {wrong[0] + 1} of {count}",
            "an embedder gives vectors of length 1",
        )
    return vectors


@dataclass(frozen=True, slots=True)
class CachedEmbedder:
    """An Embedder that asks another one only for texts that have no vector in the store yet.

    Every batch is stored as soon as it is embedded, so that a run that is killed loses one batch at most. A text that
    is given several times is embedded once. A store that is open for reading only is read and not added to.

    Attributes:
        embedder: embeds what is missing.
        store: keeps vectors by model and content id of the text.
        batch: texts embedded and stored at a time.
        on_progress: called with a number of texts that are ready; the numbers add up to that of the texts.
    """

    embedder: Embedder
    store: Store
    batch: int = 64
    on_progress: Callable[[int], object] = lambda ready: None

    @property
    def model(self) -> str:
        """The name of the embedder's model."""
        return self.embedder.model

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """(n, d) in the order of the texts; (0, 0) for none.

        Raises:
            BadReply: the embedder gave something else than vectors of length 1.
            IndexMismatch: the store has vectors of another dimension for the model.
        """
        keys = [content_id(text) for text in texts]
        vectors = self.store.vectors(self.model, list(dict.fromkeys(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
        self.on_progress(len(texts) - len(missing))
        for first in range(0, len(missing), self.batch):
            page = list(missing)[first : first + self.batch]
            vectors |= self._embed({key: missing[key] for key in page})
            self.on_progress(len(page))
        return np.stack([vectors[key] for key in keys]) if keys else np.empty((0, 0), np.float32)

    def _embed(self, texts: dict[str, str]) -> dict[str, NDArray[np.float32]]:
        vectors = unit_vectors(self.embedder(list(texts.values())), len(texts), self.model)
        embedded = dict(zip(texts, vectors, strict=True))
        if self.store.writable:
            self.store.put_vectors(self.model, embedded)
        return embedded
