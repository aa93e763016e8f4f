"""An embedder that costs next to nothing and gives the same vectors on every machine: a bag of hashed words."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 32


@dataclass(frozen=True)
class HashEmbedder:
    model: str = "hashed-words"

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in ["", *text.lower().split()]:  # the empty word keeps empty texts from having no length
                digest = blake2b(word.encode(), digest_size=2).digest()
                vector[digest[0] % DIMENSIONS] += 1 if digest[1] % 2 else -1
            vector[0] += 0.5  # nor may words cancel out
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
