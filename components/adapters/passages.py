"""Chunks as a text with metadata, which is how LangChain and LlamaIndex keep passages, and back without loss."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ragloom.components.tokenizing import searchable
from ragloom.errors import InputError
from ragloom.types import Chunk, Hit, content_id

SCORE = "ragloom_score"  # of a passage that was retrieved; the other libraries' documents have none
_META = "ragloom_meta"  # what the chunk's own meta has under one of our names
_STORED = "ragloom"
_DEFAULTS: dict[str, str | int] = {"title": "", "document_id": "", "position": 0, "start": 0}
_OURS = {*_DEFAULTS, _META, SCORE, _STORED}


def metadata_of(chunk: Chunk) -> dict[str, Any]:
    """The chunk's meta, and beside it `title`, `document_id`, `position` and `start` where they say something.

    Meta of such a name stands under `ragloom_meta` where it would be taken for the chunk's own, so that nothing
    overwrites anything.
    """
    told = {name: getattr(chunk, name) for name, unset in _DEFAULTS.items() if getattr(chunk, name) != unset}
    hidden = {name: value for name, value in chunk.meta.items() if name in told or _is_ours(name, value)}
    rest = {name: value for name, value in chunk.meta.items() if name not in hidden}
    return rest | told | ({_META: hidden} if hidden else {})


def chunk_from(passage_id: str | None, text: str, metadata: Mapping[str, Any]) -> Chunk:
    """The chunk of a passage: one of ours as it was; of others title and meta are taken over, and odd values mended.

    What JSON cannot hold (dates, arrays, NaN) becomes text. A passage without an id gets its content's.
    """
    if isinstance(metadata.get(_STORED), str):
        return _restored(text, metadata[_STORED])
    rest = {str(name): plain(value) for name, value in metadata.items() if name not in {SCORE, _META}}
    hidden = metadata.get(_META)
    fields = {name: rest.pop(name) for name in _DEFAULTS if name in rest and _is_ours(name, rest[name])}
    meta = rest | (plain(hidden) if isinstance(hidden, Mapping) else {})
    own_id = passage_id or content_id(str(fields.get("document_id", "")), str(fields.get("start", 0)), text)
    return Chunk(own_id, text, **fields, meta=meta)


def _is_ours(name: str, value: Any) -> bool:
    """Whether metadata of that name is read as something else than the chunk's meta."""
    return type(value) is type(_DEFAULTS[name]) if name in _DEFAULTS else name in _OURS


def plain(value: Any) -> Any:  # Any: whatever somebody else keeps as metadata
    """The value as JSON can hold it: lists for tuples, text for keys, and for whatever JSON does not know.

    >>> plain({1: (2, float("inf"))})
    {'1': [2, 'inf']}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if value is None or type(value) in {str, bool, int} or (type(value) is float and math.isfinite(value)):
        return value
    return str(value)


def hits_from(passages: Sequence[tuple[Chunk, float | None]]) -> list[Hit]:
    """Hits of passages in the order they were found, which is best first.

    Scores that grow along the list are distances, and are turned round. Where one is missing, all are 1, 1/2, 1/3...
    """
    scores = [score for _, score in passages if score is not None]
    if len(scores) < len(passages):
        return [Hit(chunk, 1 / rank) for rank, (chunk, _) in enumerate(passages, 1)]
    sign = -1.0 if scores and scores[-1] > scores[0] else 1.0
    return [Hit(chunk, sign * score) for (chunk, _), score in zip(passages, scores, strict=True)]


# ---- For vector stores


def stored_text(chunk: Chunk) -> str:
    """What is embedded of a chunk, and what a store keeps as its text."""
    return searchable(chunk)


def stored_metadata(chunk: Chunk) -> dict[str, str | int | float]:
    """Flat metadata, all that many stores take: the plain values of the meta to filter by, and the chunk as JSON."""
    flat = {name: value for name, value in chunk.meta.items() if isinstance(value, str | int | float)}
    fields = {name: getattr(chunk, name) for name in ("id", *_DEFAULTS)} | {"meta": dict(chunk.meta)}
    kept = {"fields": fields, "text_from": len(stored_text(chunk)) - len(chunk.text)}
    return {name: value for name, value in flat.items() if name not in _OURS} | {_STORED: json.dumps(kept)}


def _restored(text: str, stored: str) -> Chunk:
    try:
        kept = json.loads(stored)
        return Chunk(text=text[kept["text_from"] :], **kept["fields"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(
            f"a passage has metadata {_STORED!r} that ragloom did not write", "rename it in the store"
        ) from None
