"""Keyword search: BM25 in the variant of Lucene or that of Okapi.

Every weight of the formula is computed when the index is built, so that a query only adds up the weights of its tokens
(BM25S, arXiv:2407.03618).
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.errors import IndexMismatch
from ragloom.types import Chunk, Hit, content_id

Variant = Literal["lucene", "okapi"]


class BM25:
    """A Retriever by the words that query and chunk share.

    Hits are the chunks that share a token with the query; ties are in the order of the chunks. Where a query holds a
    token n times, the token counts n times.

    Args:
        chunks: what is searched.
        variant: `lucene` is Lucene's formula as bm25s has it. `okapi` is that of rank_bm25, with its floor under the
            IDF; where its IDF is still 0 or negative, as in very small corpora, a small positive one stands in.
        k1: how much further occurrences of a token count, from 0.
        b: how much long chunks are marked down, from 0 to 1.
        tokenizer: for chunks and queries alike.
    """

    def __init__(
        self,
        chunks: Sequence[Chunk],
        *,
        variant: Variant = "lucene",
        k1: float = 1.5,
        b: float = 0.75,
        tokenizer: Tokenizer = Tokenizer(),  # noqa: B008 - immutable
    ) -> None:
        if variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}")
        if not 0 <= k1 < float("inf"):
            raise ValueError(f"k1 must be a number from 0, got {k1}")
        if not 0 <= b <= 1:
            raise ValueError(f"b must be from 0 to 1, got {b}")
        self.variant, self.k1, self.b, self.tokenizer = variant, k1, b, tokenizer
        self._chunks = list(chunks)
        numbers, vocabulary = tokenizer.numbered(map(searchable, self._chunks))
        self._postings = _weigh(numbers, vocabulary, variant, k1, b)

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first.

        Raises:
            ValueError: k below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        scores = self._scores(query)
        places = _best(scores, k)
        return [
            Hit(self._chunks[place], score)
            for place, score in zip(places.tolist(), scores[places].tolist(), strict=True)
        ]

    def _scores(self, query: str) -> NDArray[np.float32]:
        """(n,): the score of each chunk, 0 where it shares no token with the query."""
        vocabulary, starts, chunks, weights = self._postings
        scores = np.zeros(len(self._chunks), np.float32)
        for token, count in Counter(self.tokenizer(query)).items():
            if (number := vocabulary.get(token)) is not None:
                postings = slice(starts[number], starts[number + 1])
                np.add.at(scores, chunks[postings], weights[postings] * np.float32(count))
        return scores

    def save(self, folder: Path) -> None:
        """Write the index to a folder; the chunks are not written."""
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self._postings, name), allow_pickle=False)
        settings = {
            "chunks": _identity(self._chunks),
            "variant": self.variant,
            "k1": self.k1,
            "b": self.b,
            "tokenizer": asdict(self.tokenizer),
        }
        for name, value in (("settings", settings), ("vocabulary", list(self._postings.vocabulary))):
            (folder / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, chunks: Sequence[Chunk]) -> Self:
        """The index that was saved in a folder.

        Args:
            folder: its files are trusted: take it from `Store.derived`, which has verified them.
            chunks: those that it was built from, in the same order.

        Raises:
            IndexMismatch: it was built from other chunks.
        """
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        if settings.pop("chunks") != _identity(chunks):
            raise IndexMismatch(f"the BM25 index in {folder} was built from other chunks", "build it again")
        bm25 = cls((), **settings | {"tokenizer": Tokenizer(**settings["tokenizer"])})
        bm25._chunks = list(chunks)
        tokens = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        bm25._postings = _Postings(
            {token: number for number, token in enumerate(tokens)},
            *(np.load(folder / f"{name}.npy", allow_pickle=False) for name in _ARRAYS),
        )
        return bm25


class _Postings(NamedTuple):
    """Token t is in the chunks `chunks[starts[t]:starts[t + 1]]` (ascending), with `weights` at the same places."""

    vocabulary: dict[str, int]
    starts: NDArray[np.int64]
    chunks: NDArray[np.int32]
    weights: NDArray[np.float32]


_ARRAYS = _Postings._fields[1:]


def _weigh(numbers: list[list[int]], vocabulary: dict[str, int], variant: Variant, k1: float, b: float) -> _Postings:
    """The postings of chunks given as the numbers of their tokens."""
    if not vocabulary:  # neither library can be given a corpus without tokens
        return _Postings({}, np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    import bm25s  # type: ignore[import-untyped]  # here: takes a quarter of a second, and only building needs it

    lucene = bm25s.BM25(method="lucene", k1=k1, b=b)
    index = lucene.build_index_from_ids(range(len(vocabulary)), numbers, show_progress=False)
    starts, chunks, weights = index["indptr"], index["indices"], index["data"]
    if variant == "okapi":
        # Both variants are idf(token) * tf / (tf + norm(chunk)), times k1 + 1 in Okapi's.
        frequency = np.diff(starts)
        lucene_idf = np.log1p((len(numbers) - frequency + 0.5) / (frequency + 0.5))
        factors = _okapi_idf(numbers, len(vocabulary)) * (k1 + 1) / lucene_idf
        weights = (weights * np.repeat(factors, frequency)).astype(np.float32)
    return _Postings(vocabulary, starts, chunks, weights)


def _okapi_idf(numbers: list[list[int]], tokens: int) -> NDArray[np.float64]:
    """(tokens,): rank_bm25's IDF of each token, made positive."""
    from rank_bm25 import BM25Okapi  # type: ignore[import-untyped]

    okapi = BM25Okapi(numbers)
    idf = np.array([okapi.idf[number] for number in range(tokens)])
    floor = okapi.epsilon * (okapi.average_idf if okapi.average_idf > 0 else 1)
    return np.where(idf > 0, idf, floor)


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Places of the k highest scores above 0, highest first, ties in the order of places."""
    # The highest scores of disjoint groups are scores of different chunks, so the kth of them is at most the kth score
    # of all. What reaches it is little more than k, and takes a tenth of the time of np.argpartition on all.
    rows = min(64, len(scores) // (4 * k))
    bound = np.float32(0)
    if rows:
        groups = len(scores) // rows
        bound = np.partition(scores[: rows * groups].reshape(rows, groups).max(axis=0), groups - k)[groups - k]
    candidates = np.flatnonzero(scores >= bound if bound > 0 else scores)
    return candidates[np.argsort(-scores[candidates], kind="stable")[:k]]


def _identity(chunks: Sequence[Chunk]) -> str:
    return content_id(*(chunk.id for chunk in chunks))
