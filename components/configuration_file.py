"""Trained choosers of configurations as JSON files: plain numbers, checked as they are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ragloom.codec import to_json
from ragloom.components.configuration import Always, Chooser, FeatureSpace, LinearWorth, NearestWorth
from ragloom.components.records import Record, read_object
from ragloom.errors import ConfigError, InputError
from ragloom.writing import write_aside

_FORMAT = 1
_AGAIN = "train the agent again"


def save_chooser(chooser: Chooser, path: str | Path) -> None:
    """Write it as JSON; aside, and moved into place.

    Raises:
        InputError: it cannot be written there.
        ConfigError: it is none that can be saved.
    """
    kind = type(chooser).__name__
    if kind not in _KINDS:
        raise ConfigError(f"a chooser of type {kind} cannot be saved", f"use one of {', '.join(_KINDS)}")
    data = {"format": _FORMAT, "kind": kind, **to_json(chooser)}
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    write_aside(Path(path), lambda aside: aside.write_text(text + "\n", encoding="utf-8"))


def load_chooser(path: str | Path) -> Chooser:
    """The chooser of a file.

    Raises:
        ConfigError: it cannot be read, or holds no chooser; names the field.
    """
    try:
        record = read_object(Path(path))
        if record.fields.get("format") != _FORMAT:
            raise record.error(f"the field 'format' must be {_FORMAT}: another version wrote it, or something else")
        kind = record.string("kind")
        if kind not in _KINDS:
            raise record.error(f"the field 'kind' must be one of {', '.join(_KINDS)}")
        return _KINDS[kind](record)
    except InputError as error:
        raise ConfigError(error.problem, error.remedy or _AGAIN) from None
    except ValueError as error:  # of a constructor: lengths that do not fit each other
        raise ConfigError(f"{path}: {error}", _AGAIN) from None


def _linear(record: Record) -> LinearWorth:
    return LinearWorth(
        _space(record), tuple(record.strings("names")), _table(record, "weights"), record.numbers("intercepts")
    )


def _nearest(record: Record) -> NearestWorth:
    k = record.fields.get("k")
    if isinstance(k, bool) or not isinstance(k, int):
        raise record.error("the field 'k' must be a whole number")
    return NearestWorth(
        _space(record), tuple(record.strings("names")), _table(record, "rows"), _table(record, "known"), k
    )


def _space(record: Record) -> FeatureSpace:
    space = record.inner("space")
    return FeatureSpace(
        tuple(space.strings("features")),
        space.numbers("means"),
        space.numbers("scales"),
        space.string("measured_by"),
    )


def _table(record: Record, name: str) -> tuple[tuple[float, ...], ...]:
    value = record.fields.get(name)
    if not isinstance(value, list):
        raise record.error(f"the field {name!r} must be a list of lists of numbers")
    rows = Record({f"{name}[{position}]": row for position, row in enumerate(value)}, record.place)
    return tuple(rows.numbers(row) for row in rows.fields)


_KINDS: Mapping[str, Callable[[Record], Chooser]] = {
    "Always": lambda record: Always(record.string("name"), record.string("reason")),
    "LinearWorth": _linear,
    "NearestWorth": _nearest,
}
