"""From settings to gates: the signals that measure a question, the rule that decides, the pipelines of its modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Literal, get_args

from ragloom.components.agreement import AnswerAgreement, PromptAgreement, SampleAgreement, parts_identity
from ragloom.components.asking import AskMarker, SelfAssessment, VerbalisedConfidence
from ragloom.components.capabilities import offered
from ragloom.components.draft_uncertainty import DraftUncertainty
from ragloom.components.gate_file import SavedGate
from ragloom.components.gate_rules import AtRandom, Fixed, Threshold
from ragloom.components.gating import (
    Capability,
    Gate,
    MeasuringOnly,
    Mode,
    Signal,
    SignalGate,
    signals_identity,
    usable,
)
from ragloom.components.llm import IdentifiedLLM
from ragloom.components.past_outcomes import PastOutcomes
from ragloom.components.popularity import Popularity, corpus_popularity
from ragloom.components.question_embedding import QuestionEmbedding
from ragloom.components.question_features import QuestionFeatures
from ragloom.components.retrieval_scores import RetrievalScores
from ragloom.components.vector_cache import CachedEmbedder
from ragloom.errors import ConfigError
from ragloom.pipelines.context import open_reading
from ragloom.pipelines.outcomes import read_outcomes, right
from ragloom.pipelines.question_answering import ClosedBook
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import (
    open_embedder,
    open_llm,
    open_notes,
    open_prompt,
    open_reader,
    open_retriever,
    require_chunks,
)
from ragloom.store import Store
from ragloom.types import Pipeline, content_id

SignalName = Literal[
    "question",
    "draft",
    "ask",
    "self-assessment",
    "confidence",
    "samples",
    "prompts",
    "popularity",
    "retrieval",
    "neighbours",
    "embedding",
    "answers",
]
SIGNALS: tuple[SignalName, ...] = get_args(SignalName)


@dataclass(frozen=True, slots=True)
class _Named:
    """A gate that needs no calibration: one signal, and a bound for one of its features.

    The bounds are guesses: what a feature's value is worth differs from model to model, so calibrate.
    """

    signal: SignalName
    feature: str
    bound: float
    side: Literal["above", "below"] = "above"


NAMED = {
    "ask": _Named("ask", "ask_marker", 0.5),
    "self-assessment": _Named("self-assessment", "self_assessment", 0.5),
    "confidence": _Named("confidence", "confidence_doubt", 0.3),
    "draft": _Named("draft", "draft_margin", 0.25),
    "samples": _Named("samples", "samples_disagree", 0.0),
    "prompts": _Named("prompts", "prompts_disagree", 0.5),
    "popularity": _Named("popularity", "popularity_log", 4.0, "below"),
    "retrieval": _Named("retrieval", "retrieval_overlap", 0.5),
    "neighbours": _Named("neighbours", "neighbours_benefit", 0.0),
}
_CORPUS_BOUND = 0.7  # named in four passages: the corpus's own counts are smaller than page views

GATES = ("never", "always", "random", *NAMED)


def open_modes(settings: Settings, store: Store) -> dict[Mode, Pipeline]:
    """The pipeline of each mode: closed book, one retrieval, and notes or thoughts in turns with retrieval."""
    reader = open_reader(settings, store)
    return {
        "none": ClosedBook(reader),
        "single": open_reading(settings.retriever, settings, store, reader),
        "iterative": _open_iterative(settings, store),
    }


def _open_iterative(settings: Settings, store: Store) -> Pipeline:
    """The pipeline of the iterative mode."""
    reader = open_reader(settings, store)
    if settings.iterative == "ircot":
        return open_reading("ircot", settings, store, reader)
    return open_notes(settings, store)


def gate_bindings(settings: Settings, store: Store, signals: Sequence[Signal]) -> dict[str, str]:
    """What outcomes, and gates calibrated on them, hold for: the model, how its modes answer, and each signal."""
    modes = open_modes(settings, store)
    return {
        "model": open_llm(settings, store).identity,
        "modes": content_id(*(f"{mode} {parts_identity(pipeline)}" for mode, pipeline in modes.items())),
        **{f"signal {name}": signals_identity([signal]) for signal in signals for name in signals_of(signal.features)},
    }


def signals_of(features: Sequence[str]) -> tuple[SignalName, ...]:
    """The signals that measure these features, whose names begin with theirs."""
    return tuple(name for name in SIGNALS if any(feature.startswith(name.replace("-", "_")) for feature in features))


def open_signals(names: Sequence[str], settings: Settings, store: Store) -> tuple[Signal, ...]:
    """The signals of these names, in their order.

    Raises:
        ConfigError: there is no such signal, it is named twice, or it lacks a setting.
    """
    for name in names:
        if name not in SIGNALS:
            raise ConfigError(f"there is no signal {name!r}", f"the signals are {', '.join(SIGNALS)}")
        if list(names).count(name) > 1:
            raise ConfigError(f"the signal {name} is named twice", "name it once")
    return tuple(_open_signal(name, settings, store) for name in names)


def _open_signal(name: str, settings: Settings, store: Store) -> Signal:
    match name:
        case "question":
            return QuestionFeatures()
        case "popularity":
            return _open_popularity(settings, store)
        case "retrieval":
            retriever = open_retriever(settings.retriever, settings, store)
            return RetrievalScores(retriever, k=settings.k, name=f"{settings.retriever} {store.corpus_id()}")
        case "neighbours" | "embedding":
            return _open_embedding(name, settings, store)
        case "answers":
            modes = open_modes(settings, store)
            return AnswerAgreement(none=modes["none"], single=modes["single"])
        case _:
            return _open_asking(name, settings, open_llm(settings, store))


def _open_asking(name: str, settings: Settings, llm: IdentifiedLLM) -> Signal:
    """One of the signals that ask the model. Only a draft is asked for as an answer of the settings would be."""
    if name == "draft":
        return DraftUncertainty(llm, mode=settings.mode, prompt=open_prompt(settings))
    signal = _open_asking_briefly(name, settings, llm)
    return signal if settings.mode == "short" and settings.prompt is None else MeasuringOnly(signal)


def _open_asking_briefly(name: str, settings: Settings, llm: IdentifiedLLM) -> Signal:
    """One of the signals that ask with prompts of their own, which are for short answers."""
    match name:
        case "ask":
            return AskMarker(llm)
        case "self-assessment":
            return SelfAssessment(llm)
        case "confidence":
            return VerbalisedConfidence(llm)
        case "samples":
            return SampleAgreement(llm, mode=settings.mode)
        case "prompts":
            return PromptAgreement(llm)
    raise AssertionError(name)


def _open_popularity(settings: Settings, store: Store) -> Popularity:
    if settings.popularity is not None:
        return Popularity.load(settings.popularity)
    require_chunks(store)
    return corpus_popularity(store.chunks())


def _open_embedding(name: str, settings: Settings, store: Store) -> Signal:
    """One of the signals that look at the question's embedding."""
    embedder = CachedEmbedder(open_embedder(settings), store)
    if name == "embedding":
        return QuestionEmbedding(embedder)
    if settings.outcomes is None:
        raise ConfigError(
            "the signal neighbours needs outcomes of past questions", "name their file in `outcomes` (--outcomes)"
        )
    solved = read_outcomes(settings.outcomes)
    benefits = [right(outcome, "single") - right(outcome, "none") for outcome in solved]
    questions = [outcome.question for outcome in solved]
    return PastOutcomes.of(embedder, questions, benefits)


def open_gate(settings: Settings, store: Store) -> Gate:
    """The gate of the settings: a calibrated one from its file, or one by name; of several the first that can work.

    Raises:
        ConfigError: there is no such gate, none can work with the model, or a calibrated one is of another model.
    """
    names = gate_names(settings)
    if not names:
        raise ConfigError("no gate is named", f"name the file of a calibrated gate, or one of {', '.join(GATES)}")
    if settings.gate_bound is not None and (refusing := [name for name in names if not _has_bound(name)]):
        raise ConfigError(
            f"the gate {refusing[0]} has no bound that could be {settings.gate_bound}",
            "leave gate_bound (--gate-bound) out: it is for gates by name that compare a number",
        )
    gates = [_open_named(name, settings, store) if name in GATES else _load(name, settings, store) for name in names]
    needed = frozenset[Capability]().union(*(gate.needs for gate in gates))
    asked = offered(open_llm(settings, store)) if needed & {"logprobs", "samples"} else frozenset[Capability]()
    return usable(gates, asked | {"popularity", "embedder", "passages"})


def gate_names(settings: Settings) -> list[str]:
    """The gates of the settings, each one of `GATES` or the file of a calibrated one; the first that can work decides.

    >>> gate_names(Settings(gate="gate.json, always"))
    ['gate.json', 'always']
    """
    return [name for part in settings.gate.split(",") if (name := part.strip())]


def _has_bound(name: str) -> bool:
    return name == "random" or name in NAMED


def _open_named(name: str, settings: Settings, store: Store) -> SignalGate:
    bound, mode = settings.gate_bound, settings.when_needed
    if name in {"never", "always"}:
        return SignalGate((), Fixed("none" if name == "never" else mode))
    if name == "random":
        rate = 0.5 if bound is None else bound
        if not 0 <= rate <= 1:
            raise ConfigError(f"the gate random cannot retrieve for a share of {rate}", "set gate_bound from 0 to 1")
        return SignalGate((), AtRandom(rate, settings.seed or 0, mode))
    if bound is not None and isnan(bound):
        raise ConfigError("a gate cannot compare with nan", "set gate_bound to a number")
    named = NAMED[name]
    usual = _CORPUS_BOUND if name == "popularity" and settings.popularity is None else named.bound
    rule = Threshold(named.feature, usual if bound is None else bound, named.side, mode)
    return SignalGate(open_signals([named.signal], settings, store), rule)


def _load(name: str, settings: Settings, store: Store) -> SignalGate:
    if not Path(name).suffix:
        raise ConfigError(
            f"there is no gate {name!r}", f"name the file of a calibrated gate, or one of {', '.join(GATES)}"
        )
    saved = SavedGate.load(Path(name))
    signals = open_signals(saved.signals, settings, store)
    rule = saved.checked(gate_bindings(settings, store, signals), allow_mismatch=settings.allow_mismatch)
    return SignalGate(signals, rule)
