"""Replies and answers as JSON and back, field by field: no class is ever looked up by a name found in data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from ragloom.types import Answer, Chunk, Citation, Hit, Reply, RunRecord, Span, TokenLogprob, Usage


def to_json(value: Any) -> Any:  # Any: whatever JSON can hold
    """The value as JSON data: dataclasses become objects of their fields, tuples become lists.

    >>> to_json(Usage(calls=1))["calls"]
    1
    """
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    return value


def reply_from_json(data: Mapping[str, Any]) -> Reply:
    """The reply that `to_json` made the data of.

    Raises:
        ValueError: it is not the JSON of a reply.
    """
    try:
        logprobs = data["logprobs"]
        return Reply(
            data["text"],
            Usage(**data["usage"]),
            None if logprobs is None else tuple(_token(token) for token in logprobs),
            data["finish"],
            data["model"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not the JSON of a reply: {error!r}") from error


def answer_from_json(data: Mapping[str, Any]) -> Answer:
    """The answer that `to_json` made the data of.

    Raises:
        ValueError: it is not the JSON of an answer.
    """
    try:
        return Answer(
            data["text"],
            tuple(Hit(Chunk(**hit["chunk"]), hit["score"]) for hit in data["hits"]),
            tuple(Citation(**citation) for citation in data["citations"]),
            data["abstained"],
            _record(data["run"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not the JSON of an answer: {error!r}") from error


def _token(data: Mapping[str, Any]) -> TokenLogprob:
    alternatives = tuple((token, logprob) for token, logprob in data["alternatives"])
    return TokenLogprob(data["token"], data["logprob"], alternatives)


def _record(data: Mapping[str, Any]) -> RunRecord:
    return RunRecord(
        Usage(**data["usage"]),
        data["seconds"],
        tuple(Span(**span) for span in data["spans"]),
        Usage(**data.get("saved", {})),  # answers that were stored before it was counted lack it
    )
