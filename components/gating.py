"""Adaptive retrieval gating: retrieve only where it helps (Adapt-LLM, arXiv:2404.19705).

A gate is made of signals and a rule. A signal measures a question: how unsure a model's draft is, how well known what
it asks about is, how well its passages match. A rule turns the measurements into a decision: answer without passages,
retrieve once, or go on retrieving. What a signal measured can be stored, so that any rule can be tried on it later
without asking a model again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, nan
from typing import Literal, Protocol, get_args

from ragloom.errors import BadReply, ConfigError, RagloomError
from ragloom.run import span
from ragloom.types import Answer, content_id

Mode = Literal["none", "single", "iterative"]
MODES: tuple[Mode, ...] = get_args(Mode)  # from the cheapest
EMBEDDING = "embedding_"  # begins the names of a question's embedding, of which there are hundreds

Capability = Literal["logprobs", "samples", "popularity", "embedder", "passages"]


class SignalMissing(RagloomError):
    """A signal cannot be measured here, e.g. since the model's server leaves out log-probabilities."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one signal says of a question.

    Attributes:
        features: by name; NaN where unknown.
        answers: made on the way, by the mode that they are the answer of; they need not be made again.
        note: which of the signal's rules fired, if it has several.
    """

    features: Mapping[str, float]
    answers: Mapping[Mode, Answer] = field(default_factory=dict)
    note: str = ""


class Signal(Protocol):
    """Measures a question before it is answered. Safe to call from several threads."""

    @property
    def needs(self) -> frozenset[Capability]:
        """What it cannot work without."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what it measures, in a fixed order."""
        ...

    @property
    def identity(self) -> str:
        """What the numbers depend on besides the question: model, prompt, samples. Others are not comparable."""
        ...

    def __call__(self, question: str, /) -> Observation:
        """The measurements.

        Raises:
            SignalMissing: they cannot be had from this model at all.
            BadReply: not of this question; they count as unknown.
        """
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do for a question.

    Attributes:
        mode: answer without passages, retrieve once, or go on retrieving.
        score: what the rule compared; the higher, the more it is for retrieval. NaN where it knew nothing.
        reason: why, in a few words.
        features: what the decision rests on, by name.
        utilities: expected worth of each mode less its price, where the rule has them.
        answers: made on the way, see `Observation`.
    """

    mode: Mode
    score: float = nan
    reason: str = ""
    features: Mapping[str, float] = field(default_factory=dict)
    utilities: Mapping[Mode, float] = field(default_factory=dict)
    answers: Mapping[Mode, Answer] = field(default_factory=dict)


class Rule(Protocol):
    """Decides from measurements; a pure function, so that it can be replayed on stored ones."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what it looks at; may be none."""
        ...

    def __call__(self, question: str, features: Mapping[str, float], /) -> Decision:
        """The decision. A feature that is missing or NaN is unknown, which speaks for retrieval."""
        ...


class Gate(Protocol):
    """Decides how a question is answered."""

    def __call__(self, question: str, /) -> Decision:
        """The decision."""
        ...


@dataclass(frozen=True)
class SignalGate:
    """A Gate that measures its signals and applies its rule.

    Each signal is a span `signal` with what it measured. A reply that a signal cannot use makes its features unknown.

    Args:
        signals: asked in order, each exactly once a question.
        rule: decides from what they measured.

    Raises:
        ConfigError: the rule looks at a feature that no signal measures.
    """

    signals: tuple[Signal, ...]
    rule: Rule

    def __post_init__(self) -> None:
        measured = {name for signal in self.signals for name in signal.features}
        if missing := [name for name in self.rule.features if name not in measured]:
            raise ConfigError(
                f"no signal of the gate measures {', '.join(missing)}",
                f"it measures {', '.join(sorted(measured)) or 'nothing'}",
            )

    @property
    def needs(self) -> frozenset[Capability]:
        """What its signals cannot work without."""
        return frozenset[Capability]().union(*(signal.needs for signal in self.signals))

    @property
    def identity(self) -> str:
        """A hash of what its measurements depend on."""
        return signals_identity(self.signals)

    def __call__(self, question: str, /) -> Decision:
        """The decision, with the features it rests on.

        Raises:
            SignalMissing: a signal cannot be measured with this model.
        """
        features: dict[str, float] = {}
        answers: dict[Mode, Answer] = {}
        for signal in self.signals:
            observation = observe(signal, question)
            features |= observation.features
            answers |= observation.answers
        return replace(self.rule(question, features), features=features, answers=answers)


@dataclass(frozen=True)
class MeasuringOnly:
    """A Signal that hands on no answers: those that it makes are of another kind than is wanted."""

    signal: Signal

    @property
    def needs(self) -> frozenset[Capability]:
        """Those of the signal."""
        return self.signal.needs

    @property
    def features(self) -> tuple[str, ...]:
        """Those of the signal."""
        return self.signal.features

    @property
    def identity(self) -> str:
        """The signal and what its numbers depend on."""
        return f"{type(self.signal).__name__} {self.signal.identity}"

    def __call__(self, question: str, /) -> Observation:
        """The signal's measurements; raises what it raises."""
        return replace(self.signal(question), answers={})


def observe(signal: Signal, question: str) -> Observation:
    """What the signal measures, as a span `signal`; all unknown where the model's reply cannot be used."""
    with span("signal", signal=type(signal).__name__) as attributes:
        try:
            observation = signal(question)
        except BadReply as error:
            attributes["unknown"] = error.problem
            return Observation(dict.fromkeys(signal.features, nan))
        attributes.update(traced(observation.features))
        if observation.note:
            attributes["note"] = observation.note
        return observation


def traced(features: Mapping[str, float]) -> dict[str, float | None]:
    """Features as attributes of a span, which are JSON: what is unknown is None.

    Those of an embedding are left out: they would flood the trace, say nothing to a reader, and can be had again from
    the question.
    """
    return {name: None if isnan(value) else value for name, value in features.items() if not name.startswith(EMBEDDING)}


def signals_identity(signals: Sequence[Signal]) -> str:
    """A hash of what the signals' measurements depend on."""
    return content_id(*(f"{type(signal).__name__} {signal.identity}" for signal in signals))


@dataclass(frozen=True)
class FirstUsable:
    """A Gate that asks its gates in order until one can measure its signals; a span `fallback` for each that cannot.

    Args:
        gates: the last should need nothing, such as `SignalGate((), Fixed("single"))`.
    """

    gates: tuple[Gate, ...]

    def __post_init__(self) -> None:
        if not self.gates:
            raise ValueError("gates must hold at least one gate")

    def __call__(self, question: str, /) -> Decision:
        """The first decision that can be had.

        Raises:
            SignalMissing: no gate can measure its signals; the last one's reason.
        """
        *others, last = self.gates
        for gate in others:
            try:
                return gate(question)
            except SignalMissing as error:
                with span("fallback", missing=error.problem):
                    continue
        return last(question)


def usable(gates: Sequence[SignalGate], available: Collection[Capability]) -> Gate:
    """The gates that can work with what there is, in their order, as one.

    Args:
        gates: a declared chain, best first.
        available: what the model and the workspace offer.

    Raises:
        ConfigError: none can work; says what each lacks.
    """
    fitting = tuple(gate for gate in gates if gate.needs <= set(available))
    if not fitting:
        lacks = "; ".join(", ".join(sorted(gate.needs - set(available))) for gate in gates)
        raise ConfigError(
            f"no gate can work here, for want of {lacks}",
            "use another gate or another model, or end the chain with a gate that needs nothing",
        )
    return fitting[0] if len(fitting) == 1 else FirstUsable(fitting)
