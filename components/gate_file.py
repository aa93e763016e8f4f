"""Calibrated gates as JSON files: a rule, what it was calibrated for and on, and what it is bound to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ragloom.codec import to_json
from ragloom.components.gate_models import Failure, LinearModel, Router
from ragloom.components.gate_rules import AtRandom, Fixed, Threshold
from ragloom.components.gating import MODES, Decision, Mode, Rule
from ragloom.components.records import read_object
from ragloom.errors import ConfigError, InputError
from ragloom.writing import write_aside

_FORMAT = 1
_LARGEST = 1e300  # of a number; one of 400 digits is none to compute with


@dataclass(frozen=True)
class Warned:
    """A rule whose every decision repeats a warning in its reason, and so in the trace."""

    rule: Rule
    warning: str

    @property
    def features(self) -> tuple[str, ...]:
        """Those of the rule."""
        return self.rule.features

    def __call__(self, question: str, features: Mapping[str, float], /) -> Decision:
        """The rule's decision."""
        decision = self.rule(question, features)
        return replace(decision, reason=f"{decision.reason} ({self.warning})")


@dataclass(frozen=True)
class SavedGate:
    """A calibrated gate.

    Attributes:
        rule: decides.
        signals: names of the signals that measure what it looks at.
        bound_to: what its numbers hold for, by name: the model, a hash of prompts; empty for anything.
        objective: what it was calibrated for, in words.
        metric: how answers were judged.
        data: hash of the outcomes.
        results: what it reached out of fold, by name.
        scores: at most a few hundred scores of the calibration questions, to tell drift by.
        words: those of the calibration questions, in lower case, to tell strange questions by.
        unknown_shares: for calibration questions, the share of their distinct words that no other one has.
    """

    rule: Rule
    signals: tuple[str, ...] = ()
    bound_to: Mapping[str, str] = field(default_factory=dict)
    objective: str = ""
    metric: str = "contains"
    data: str = ""
    results: Mapping[str, float] = field(default_factory=dict)
    scores: tuple[float, ...] = ()
    words: tuple[str, ...] = ()
    unknown_shares: tuple[float, ...] = ()

    def checked(self, bindings: Mapping[str, str], *, allow_mismatch: bool = False) -> Rule:
        """The rule, for use with this model and these prompts.

        Args:
            bindings: of where it is to be used, by the names in `bound_to`.
            allow_mismatch: use it although they differ; its decisions say so.

        Raises:
            ConfigError: they differ from what the gate was calibrated with.
        """
        other = [name for name, value in self.bound_to.items() if bindings.get(name) != value]
        if not other:
            return self.rule
        found = "; ".join(f"{name} was {self.bound_to[name]!r}, is {bindings.get(name)!r}" for name in other)
        if allow_mismatch:
            return Warned(self.rule, f"calibrated elsewhere: {found}")
        raise ConfigError(
            f"the gate was calibrated with something else: {found}",
            "calibrate it again, or allow the mismatch (--allow-mismatch)",
        )

    def save(self, path: str | Path) -> None:
        """Write it as JSON; aside, and moved into place.

        Raises:
            InputError: it cannot be written there.
            ConfigError: its rule is none that can be saved, or one of its numbers is not finite.
        """
        kind = type(self.rule).__name__
        if kind not in _RULES:
            raise ConfigError(f"a rule of type {kind} cannot be saved", f"use one of {', '.join(_RULES)}")
        data = {"format": _FORMAT, **to_json(self), "rule": {"kind": kind, **to_json(self.rule)}}
        try:
            text = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1)
        except ValueError:
            raise ConfigError(
                "a gate with a number that is not finite cannot be saved",
                "for a bound of infinity, which is to retrieve never or always, save Fixed",
            ) from None
        write_aside(Path(path), lambda aside: aside.write_text(text + "\n", encoding="utf-8"))

    @staticmethod
    def load(path: str | Path) -> SavedGate:
        """The gate of a file.

        Raises:
            ConfigError: it cannot be read, or is no gate; names the field.
        """
        try:
            fields = _Fields(read_object(Path(path)).fields, str(path))
        except InputError as error:
            raise ConfigError(error.problem, error.remedy or "calibrate the gate again") from None
        if fields.get("format") != _FORMAT:
            raise fields.error("format", f"{_FORMAT}: another version wrote it, or something else")
        return SavedGate(
            rule=_rule(fields.inner("rule")),
            signals=fields.texts("signals"),
            bound_to=fields.inner("bound_to").all_texts(),
            objective=fields.text("objective"),
            metric=fields.text("metric"),
            data=fields.text("data"),
            results=fields.inner("results").all_numbers(),
            scores=fields.numbers("scores"),
            words=fields.texts("words"),
            unknown_shares=fields.numbers("unknown_shares"),
        )


# ---- Reading, field by field: what is in a file is not to be trusted


@dataclass(frozen=True)
class _Fields:
    """An object of a file, and its place for messages."""

    data: Mapping[str, Any]
    place: str

    def error(self, name: str, expected: str) -> ConfigError:
        return ConfigError(f"{self.place}: the field {name!r} must be {expected}", "calibrate the gate again")

    def get(self, name: str) -> Any:
        return self.data.get(name)

    def text(self, name: str) -> str:
        value = self.get(name)
        if not isinstance(value, str):
            raise self.error(name, "a string")
        return value

    def number(self, name: str) -> float:
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            raise self.error(name, "a number")
        return value

    def whole(self, name: str) -> int:
        value = self.number(name)
        if not isinstance(value, int):
            raise self.error(name, "a whole number")
        return value

    def items(self, name: str) -> _Fields:
        """The entries of a list, by their places."""
        value = self.get(name)
        if not isinstance(value, list):
            raise self.error(name, "a list")
        return _Fields({str(place): entry for place, entry in enumerate(value)}, f"{self.place}, {name}")

    def inner(self, name: str) -> _Fields:
        value = self.get(name)
        if not isinstance(value, dict):
            raise self.error(name, "an object")
        return _Fields(value, f"{self.place}, {name}")

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self.items(name).all_texts().values())

    def numbers(self, name: str) -> tuple[float, ...]:
        return tuple(self.items(name).all_numbers().values())

    def all_texts(self) -> dict[str, str]:
        return {name: self.text(name) for name in self.data}

    def all_numbers(self) -> dict[str, float]:
        return {name: self.number(name) for name in self.data}

    def mode(self, name: str) -> Mode:
        return _as_mode(self, name, self.get(name))


def _as_mode(fields: _Fields, name: str, value: object) -> Mode:
    if value not in MODES:
        raise fields.error(name, f"one of {', '.join(MODES)}")
    return value


def _rule(fields: _Fields) -> Rule:
    kind = fields.text("kind")
    if kind not in _RULES:
        raise fields.error("kind", f"one of {', '.join(_RULES)}")
    try:
        return _RULES[kind](fields)
    except ValueError as error:
        raise ConfigError(f"{fields.place}: {error}", "calibrate the gate again") from None


def _threshold(fields: _Fields) -> Threshold:
    side = fields.text("side")
    if side not in {"above", "below"}:
        raise fields.error("side", "above or below")
    return Threshold(
        fields.text("feature"), fields.number("bound"), "above" if side == "above" else "below", fields.mode("mode")
    )


def _router(fields: _Fields) -> Router:
    models, costs = fields.inner("models"), fields.inner("costs")
    return Router(
        {_as_mode(models, name, name): _model(models.inner(name)) for name in models.data},
        {_as_mode(costs, name, name): costs.number(name) for name in costs.data},
        fields.number("price"),
    )


def _model(fields: _Fields) -> LinearModel:
    terms = fields.inner("terms")
    return LinearModel(
        fields.texts("features"),
        fields.numbers("means"),
        fields.numbers("scales"),
        fields.numbers("weights"),
        fields.number("intercept"),
        {term: _term(terms, term) for term in terms.data},
    )


def _term(terms: _Fields, term: str) -> tuple[float, float]:
    numbers = terms.numbers(term)
    if len(numbers) != 2:
        raise terms.error(term, "two numbers")
    return numbers[0], numbers[1]


_RULES: Mapping[str, Callable[[_Fields], Rule]] = {
    "Fixed": lambda fields: Fixed(fields.mode("mode"), fields.text("reason")),
    "AtRandom": lambda fields: AtRandom(fields.number("rate"), fields.whole("seed"), fields.mode("mode")),
    "Threshold": _threshold,
    "Failure": lambda fields: Failure(_model(fields.inner("model")), fields.number("bound"), fields.mode("mode")),
    "Router": _router,
}
