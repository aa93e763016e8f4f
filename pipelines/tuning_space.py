"""What may be tuned: settings with the values they may take, from a TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from typing import Any

from ragloom.errors import ConfigError
from ragloom.pipelines.comparing import changed_settings
from ragloom.pipelines.settings import Settings

Value = str | int | float | bool  # a bool is always False: the setting's default

# They decide where and how a run is carried out, not what it answers, and so are nothing to search.
NOT_TUNED = frozenset(
    {
        "workspace",
        "chunk_tokens",
        "workers",
        "deadline_s",
        "api_key_env",
        "allow_mismatch",
        "max_total_tokens",
        "max_calls",
        "max_cost",
        "max_seconds",
    }
)
_GOLDEN = 0.618  # a place in a range that is no whole number, as most are


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values."""

    options: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Any number from low to high, both included; a whole number where both are."""

    low: int | float
    high: int | float

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True, slots=True)
class Space:
    """Settings to beat, and what may be changed about them.

    Attributes:
        base: what holds where nothing is changed, and what a winner is compared with.
        parameters: by the names of the settings, in the file's order.
    """

    base: Settings
    parameters: Mapping[str, Choice | Range]

    def settings(self, values: Mapping[str, Value]) -> Settings:
        """The base with those values; False is the setting's default.

        Raises:
            ConfigError: they do not go together.
        """
        return changed_settings(self.base, values, "[space]")

    def options(self) -> dict[str, Sequence[Value]] | None:
        """All values of each parameter; None where a range has no end of them."""
        found: dict[str, Sequence[Value]] = {}
        for name, parameter in self.parameters.items():
            if isinstance(parameter, Choice):
                found[name] = parameter.options
            elif parameter.whole:
                found[name] = range(int(parameter.low), int(parameter.high) + 1)
            else:
                return None
        return found

    @property
    def size(self) -> int | None:
        """How many settings it holds; None where there is no end of them."""
        options = self.options()
        return None if options is None else prod(len(each) for each in options.values())

    def of_base(self) -> dict[str, Value] | None:
        """The values that make the base; None where it lies outside."""
        values = {name: _plain(getattr(self.base, name)) for name in self.parameters}
        inside = all(_holds(parameter, values[name]) for name, parameter in self.parameters.items())
        return values if inside else None


def read_space(file: Path, settings: Settings) -> Space:
    """The space of a TOML file: settings of all trials at its top, and a table `[space]` of what is searched.

    Each key of the table is a setting, with a list of values or a range: `k = [2, 5, 10]`, `steps = {from = 1, to =
    4}`. What the file says holds, whatever the settings are; what it leaves out is as they say. `false` in a list is
    the setting's default, such as no selection. Paths are relative to the current folder, as everywhere.

    Raises:
        ConfigError: the file cannot be read, or a value of it cannot work; names the table and the key.
    """
    content = _read_toml(file)
    table = content.pop("space", None)
    if not isinstance(table, dict) or not table:
        raise ConfigError(
            f"{file} has no table [space] with settings to search", "add one, with a line such as: k = [2, 5, 10]"
        )
    if tables := [name for name, value in content.items() if isinstance(value, dict | list)]:
        raise ConfigError(f"{file}, [{tables[0]}]: there is no such table", "the only table is [space]")
    base = changed_settings(settings, content, str(file))
    return Space(base, {name: _parameter(f"{file}, [space]", name, value, base) for name, value in table.items()})


def _parameter(place: str, name: str, value: Any, base: Settings) -> Choice | Range:
    if name in NOT_TUNED:
        raise ConfigError(f"{place}, {name}: it changes no answer, so there is nothing to search", "leave it out")
    found = _range(f"{place}, {name}", value) if isinstance(value, dict) else _choice(f"{place}, {name}", value)
    tried: tuple[Value, ...]
    if isinstance(found, Choice):
        tried = found.options
    elif found.whole:
        tried = (found.low, found.high)
    else:
        tried = (found.low, found.high, found.low + _GOLDEN * (found.high - found.low))
    for each in tried:
        changed_settings(base, {name: each}, place)
    return found


def _choice(place: str, value: Any) -> Choice:
    if not isinstance(value, list):
        raise ConfigError(
            f"{place}: must be a list of values or a range, got {value!r}",
            "write [2, 5, 10] or {from = 2, to = 10}; what is not searched stands at the top of the file",
        )
    if wrong := [each for each in value if not isinstance(each, str | int | float) or each is True]:
        raise ConfigError(f"{place}: {wrong[0]!r} is no value", "use strings, numbers, or false for the default")
    if len({json.dumps(each) for each in value}) != len(value) or len(value) < 2:
        raise ConfigError(f"{place}: needs two different values at least, each once, got {value!r}")
    return Choice(tuple(value))


def _range(place: str, value: dict[str, Any]) -> Range:
    if value.keys() != {"from", "to"}:
        raise ConfigError(f"{place}: a range has the keys from and to, got {', '.join(value) or 'none'}")
    low, high = value["from"], value["to"]
    for each in (low, high):
        if isinstance(each, bool) or not isinstance(each, int | float) or not isfinite(each):
            raise ConfigError(f"{place}: a range is from a number to a number, got {each!r}")
    if low >= high:
        raise ConfigError(f"{place}: a range goes from the smaller number to the larger, got {low} to {high}")
    return Range(low, high)


def _plain(value: Any) -> Value:
    """A setting as the file would say it."""
    if value is None:
        return False
    return value if isinstance(value, str | int | float) else str(value)


def _holds(parameter: Choice | Range, value: Value) -> bool:
    if isinstance(parameter, Choice):
        return any(value == option and type(value) is type(option) for option in parameter.options)
    if isinstance(value, bool) or not isinstance(value, int | float) or (parameter.whole and isinstance(value, float)):
        return False
    return parameter.low <= value <= parameter.high


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the space {file}: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
