"""Chunks for properties, with meta as odd as JSON allows, and an embedder without ties."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragloom.types import Chunk, Hit, content_id

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_TAKEN = ["title", "document_id", "position", "start", "ragloom", "ragloom_meta", "ragloom_score"]
OTHER_NAMES = st.text(max_size=5).filter(lambda name: name not in _TAKEN)
NAMES = OTHER_NAMES | st.sampled_from([*_TAKEN, "score", "source"])
CHUNKS = st.builds(
    Chunk,
    id=st.text(min_size=1, max_size=12),
    text=st.text(max_size=30),
    title=st.text(max_size=8),
    document_id=st.text(max_size=8),
    position=st.integers(0, 99),
    start=st.integers(0, 9999),
    meta=st.dictionaries(NAMES, JSON, max_size=4),
)
HITS = st.builds(Hit, CHUNKS, st.floats(-10, 10))


def numbered_chunks(count: int, **fields: Any) -> list[Chunk]:
    """Chunks of different texts, titles and ids."""
    return [
        Chunk(
            content_id(str(n)),
            f"Passage {n} is about town {n % 7}.",
            f"Title {n}",
            f"document {n // 2}",
            n % 2,
            **fields,
        )
        for n in range(count)
    ]


@dataclass(frozen=True)
class SeededEmbedder:
    """Random directions, the same for equal texts; no two texts are equally near to a third."""

    model: str = "seeded"
    dimensions: int = 16

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        seeds = [int(content_id(text), 16) for text in texts]
        rows = [np.random.default_rng(seed).normal(size=self.dimensions) for seed in seeds]
        vectors = np.array(rows, np.float32).reshape(len(texts), self.dimensions)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
