"""JSON from a model: read what it wrote, hold it against the schema, and ask once more where it does not fit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, Unpack

from ragloom.errors import BadReply
from ragloom.types import LLM, Message, Options, Usage

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)
_LONGEST_REPAIR = 200_000  # characters; repairing is far slower than reading


def parse_json(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value in a model's reply, valid under the schema.

    Looks, in this order, at the whole reply, at what is in code fences, at what begins with the first bracket, and at
    that repaired (unclosed brackets, single quotes, trailing commas). The first that fits the schema counts.

    >>> parse_json('Sure!\\n```json\\n{"a": [1]}\\n``` Anything else?', {"type": "object"})
    {'a': [1]}

    Raises:
        BadReply: none of it is JSON, or none fits; the message names the place and the rule, not the text.
    """
    problem = "it is no JSON"
    for value in _candidates(text):
        fault = _fault(value, schema)
        if fault is None:
            return value
        problem = fault
    raise BadReply(f"the reply is not of the form asked for: {problem}")


def complete_json(
    llm: LLM,
    messages: Sequence[Message],
    schema: Mapping[str, Any],
    /,
    *,
    accepted: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> tuple[Any, Usage]:
    """A reply of the schema, and what it took; a reply that does not fit is shown to the model once, to be mended.

    Args:
        llm: the model.
        messages: the prompt.
        schema: what the model is asked for.
        accepted: a wider schema that will do, where the caller sorts out the rest.
        options: of the calls.

    Raises:
        BadReply: the second reply does not fit either.
    """
    options["schema"] = schema
    first = llm(messages, **options)
    try:
        return parse_json(first.text, accepted or schema), first.usage
    except BadReply as error:
        complaint = f"{error.problem[:1].upper()}{error.problem[1:]}. Reply with the JSON only, complete and valid."
    second = llm(
        [*messages, {"role": "assistant", "content": first.text}, {"role": "user", "content": complaint}], **options
    )
    return parse_json(second.text, accepted or schema), first.usage + second.usage


def _candidates(text: str) -> Iterator[Any]:
    places = [text, *_FENCE.findall(text)]
    start = re.search(r"[\[{]", text)
    for place in places:
        yield from _read(place)
    if start is None:
        return
    yield from _read(text[start.start() :], whole=False)
    if len(text) <= _LONGEST_REPAIR:
        yield from _repaired(text[start.start() :])


def _read(text: str, *, whole: bool = True) -> Iterator[Any]:
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
    try:
        value, end = decoder.raw_decode(text.strip())
    except (ValueError, RecursionError):
        return
    if not whole or end == len(text.strip()):
        yield value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity, which Python reads and nobody else


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)


def _repaired(text: str) -> Iterator[Any]:
    from json_repair import repair_json

    try:
        repaired = repair_json(text)
    except (ValueError, RecursionError):
        return
    yield from _read(repaired)


def _fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # its stubs are a package of their own

    try:
        error = next(Draft202012Validator(dict(schema)).iter_errors(value), None)
    except RecursionError:
        return "it is nested too deeply"
    if error is None:
        return None
    return f"{error.json_path} breaks {error.validator!r} of the schema"
