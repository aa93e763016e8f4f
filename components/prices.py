"""What models cost: `prices.json` beside this file, and before it the user's own file that RAGLOOM_PRICES names."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ragloom.errors import ConfigError
from ragloom.types import Usage

_BUILT_IN = Path(__file__).with_name("prices.json")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens.

    Attributes:
        input: of tokens sent.
        output: of tokens received.
        cached_input: of tokens sent that the server had in its cache; None for the full price.
        as_of: the day it was looked up, YYYY-MM-DD.
    """

    input: float
    output: float = 0.0
    cached_input: float | None = None
    as_of: str = ""

    def of(self, usage: Usage) -> float:
        """What this usage costs, in US dollars."""
        cached_price = self.input if self.cached_input is None else self.cached_input
        sent = (usage.prompt_tokens - usage.cached_tokens) * self.input + usage.cached_tokens * cached_price
        return (sent + usage.completion_tokens * self.output) / 1e6


def price_of(model: str) -> Price | None:
    """The model's price, or that of its name without the date at its end; None where it is not known.

    >>> price_of("gpt-4o-mini-2024-07-18") == price_of("gpt-4o-mini")
    True

    Raises:
        ConfigError: the file that RAGLOOM_PRICES names cannot be used.
    """
    own = os.environ.get("RAGLOOM_PRICES")
    undated = re.sub(r"-(\d{4}-\d{2}-\d{2}|\d{8})$", "", model)
    for table in ([_read(Path(own))] if own else []) + [_read(_BUILT_IN)]:
        for name in (model, undated):
            if name in table:
                return table[name]
    return None


@cache
def _read(file: Path) -> dict[str, Price]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the price table {file}: {error}", "see RAGLOOM_PRICES") from None
    try:
        return {
            name: _checked(Price(**({"as_of": content["as_of"]} | entry))) for name, entry in content["models"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the price table {file} is malformed: {error}",
            'write {"as_of": "2026-01-31", "models": {"NAME": {"input": 1.5, "output": 6}}}, in dollars per million',
        ) from None


def _checked(price: Price) -> Price:
    amounts: tuple[Any, ...] = (price.input, price.output, price.cached_input or 0.0)
    if not all(isinstance(amount, int | float) and math.isfinite(amount) and amount >= 0 for amount in amounts):
        raise ValueError(f"a price must be a number from 0, got {price}")
    return price
