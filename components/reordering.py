"""The order of passages in a prompt: each order is a Refiner that gives the same hits, permuted.

Choose first, order last: an order after which the list is cut would lose what it put at the end, which for `sides` is
the second-best passage. `PromptReader` heeds this, and drops the lowest scores where a prompt grows too long.

By score means: higher first, equal scores in the order given, and hits whose score is missing (NaN) last.

Whether an order helps depends on the model: retrieval reordering (arXiv:2410.05983) gained with many passages, others
found it no better than chance where retrieval is real (arXiv:2505.15561). Up to about eight passages `relevance` does;
`calibrated_order.py` measures what a model of yours prefers, and `benchmarks/order_answers.py` how much it matters.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from types import MappingProxyType

from ragloom.run import span
from ragloom.types import Chunk, Hit, Refiner, content_id

_DATE = re.compile(r"\d{4}(?:-\d{2}(?:-\d{2}(?:[T ].+)?)?)?")


def best_first(scores: Sequence[float | None]) -> list[int]:
    """The places of scores, highest first; equal ones in the order given, missing ones (NaN, None) last.

    >>> best_first([0.1, float("nan"), 0.3, 0.1])
    [2, 0, 3, 1]
    """
    keys = [(True, 0.0) if score is None or isnan(score) else (False, -score) for score in scores]
    return sorted(range(len(keys)), key=keys.__getitem__)  # sorted() is stable


# ---- By score


def relevance(query: str, hits: list[Hit], /) -> list[Hit]:
    """Best hit first."""
    return [hits[place] for place in best_first([hit.score for hit in hits])]


def reverse(query: str, hits: list[Hit], /) -> list[Hit]:
    """Best hit last, next to the question; the mirror of `relevance`."""
    return relevance(query, hits)[::-1]


def sides(query: str, hits: list[Hit], /) -> list[Hit]:
    """Best hit first, second best last, third second, and so on inwards (arXiv:2410.05983, section 4).

    The best stands first for every number of hits. LangChain's and LlamaIndex's reordering puts it first where the
    number is odd and last where it is even (`benchmarks/orders.py`).

    >>> hits = [Hit(Chunk(str(rank), ""), -rank) for rank in range(1, 7)]
    >>> [hit.chunk.id for hit in sides("", hits)]
    ['1', '3', '5', '6', '4', '2']
    """
    ranked = relevance(query, hits)
    return ranked[::2] + ranked[1::2][::-1]


def sides_mirror(query: str, hits: list[Hit], /) -> list[Hit]:
    """Best hit last, second best first: the mirror of `sides`, with the best next to the question."""
    return sides(query, hits)[::-1]


# ---- By where the passages come from


def document(query: str, hits: list[Hit], /) -> list[Hit]:
    """Document by document, and in the document's own order (OP-RAG, arXiv:2409.01666).

    Documents are in the order of their `meta["source"]`, then of their ids. Chunks that belong to no document have no
    position: they come last, by score, and a span `order` counts them as `missing`. Best where passages come from few
    long documents; where each is a document of its own, the order says nothing.
    """
    placed = [hit for hit in hits if hit.chunk.document_id]
    missing = [hit for hit in hits if not hit.chunk.document_id]
    _record_missing("document", missing)
    return sorted(placed, key=lambda hit: (_source(hit.chunk), *_position(hit.chunk))) + relevance(query, missing)


def grouped(query: str, hits: list[Hit], /) -> list[Hit]:
    """Document by document, that of the best hit first, and in each the document's own order.

    A chunk that belongs to no document is a group of its own.
    """
    groups: dict[tuple[str, str], list[Hit]] = {}
    for hit in relevance(query, hits):
        alone = "" if hit.chunk.document_id else hit.chunk.id
        groups.setdefault((hit.chunk.document_id, alone), []).append(hit)
    return [hit for group in groups.values() for hit in sorted(group, key=lambda hit: _position(hit.chunk))]


def _source(chunk: Chunk) -> tuple[str, str]:
    return str(chunk.meta.get("source", "")), chunk.document_id


def _position(chunk: Chunk) -> tuple[int, int]:
    return chunk.position, chunk.start


@dataclass(frozen=True, slots=True)
class ChronologicalOrder:
    """Oldest first, by a date in the chunks' meta.

    A date is a year, a month or a day of ISO 8601, or a time on a day; one without a zone is taken as UTC, and one
    without a day as the first. Of equal dates the order given stays. Hits without a date that can be read come last, by
    score, and a span `order` counts them as `missing`.

    Args:
        name: of the date in the meta.
    """

    name: str = "date"

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits, oldest first."""
        dates = [(_date(hit.chunk.meta.get(self.name)), hit) for hit in hits]
        dated = [(date, hit) for date, hit in dates if date is not None]
        missing = [hit for date, hit in dates if date is None]
        _record_missing("chronological", missing)
        return [hit for _, hit in sorted(dated, key=lambda pair: pair[0])] + relevance(query, missing)


def _date(value: object) -> datetime | None:
    text = str(value)
    if not _DATE.fullmatch(text):
        return None
    try:
        date = datetime.fromisoformat(text + "-01-01"[len(text) - 4 :])  # nothing is missing from a whole day
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _record_missing(order: str, missing: Sequence[Hit]) -> None:
    if missing:
        with span("order", order=order, missing=len(missing)):
            pass


# ---- By chance, and as told


@dataclass(frozen=True, slots=True)
class RandomOrder:
    """A random order: the baseline of all others.

    Equal seeds, queries and hits give equal orders. Each query has an order of its own, so that over many of them no
    rank stands at the same place each time.
    """

    seed: int = 0

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits, permuted."""
        import numpy as np

        generator = np.random.default_rng([self.seed, int(content_id(query), 16)])
        return [hits[place] for place in generator.permutation(len(hits))]


@dataclass(frozen=True, slots=True)
class FixedOrder:
    """A given order.

    Args:
        ids: of chunks, in the order wanted; hits with other ids come after them, as they are.
    """

    ids: tuple[str, ...]

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        """The hits as told."""
        places = {id_: place for place, id_ in reversed(list(enumerate(self.ids)))}
        return sorted(hits, key=lambda hit: places.get(hit.chunk.id, len(self.ids)))


ORDERS: Mapping[str, Refiner] = MappingProxyType(
    {
        "relevance": relevance,
        "reverse": reverse,
        "sides": sides,
        "sides-mirror": sides_mirror,
        "document": document,
        "grouped": grouped,
        "chronological": ChronologicalOrder(),
        "random": RandomOrder(),
    }
)


# ---- Back again


def inverse(hits: Sequence[Hit], ordered: Sequence[Hit]) -> list[int]:
    """For each hit of an order, its place among the hits that were ordered: passage n of the prompt is that of n - 1.

    A chunk that is there twice is matched in turn.

    >>> hits = [Hit(Chunk(name, ""), score) for name, score in [("a", 1), ("b", 3), ("c", 2)]]
    >>> inverse(hits, relevance("", hits))
    [1, 2, 0]

    Raises:
        ValueError: the one is no permutation of the other.
    """
    places: defaultdict[str, deque[int]] = defaultdict(deque)
    for place, hit in enumerate(hits):
        places[hit.chunk.id].append(place)
    if len(hits) != len(ordered):
        raise ValueError(f"{len(ordered)} hits are no order of {len(hits)}")

    def found() -> Iterator[int]:
        for hit in ordered:
            if not places[hit.chunk.id]:
                raise ValueError(f"chunk {hit.chunk.id} does not stand among the hits that were ordered as often")
            yield places[hit.chunk.id].popleft()

    return list(found())
