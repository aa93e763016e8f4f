"""Collect outcomes: measure labelled questions with signals, and answer each under every mode; resumable as a batch.

What gates are calibrated from (the training data of Adapt-LLM, arXiv:2404.19705, without its fine-tuning): one row for
each question, which says what each mode answers and what could have been known before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path

from ragloom.components.datasets import Question, question_from_json, read_questions
from ragloom.components.gating import MODES, Mode, Signal, observe, signals_identity
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.batch import BatchReport, work_through
from ragloom.pipelines.export import check_files
from ragloom.pipelines.gates import SignalName, gate_bindings, open_modes, open_signals
from ragloom.pipelines.outcomes import Outcome, write_outcomes
from ragloom.pipelines.run_identity import answering, begin
from ragloom.pipelines.settings import Settings
from ragloom.run import Budget, Run
from ragloom.store import Item, Store
from ragloom.types import Answer, Pipeline, Usage

KIND = "outcomes"  # of the run in the store

# Settings of how a gate decides. Outcomes are what happens whatever it decides.
_DECIDING = {"pipeline", "gate", "gate_bound", "when_needed", "retrieval_rate", "allow_mismatch"}


def begin_outcomes(
    settings: Settings,
    questions: Sequence[Question],
    store: Store,
    *,
    signals: Sequence[Signal],
    modes: Collection[Mode],
    made_with: Mapping[str, str] | None = None,
) -> str:
    """Enter labelled questions as a run and give its id; the same arguments and corpus give the same run.

    Args:
        settings: of the modes.
        questions: each with an answer.
        store: opened for writing.
        signals: what is measured.
        modes: what the questions are answered under.
        made_with: what the outcomes hold for, see `Outcome`.

    Raises:
        ConfigError: no mode, or one that there is not.
        InputError: no questions, two with the same id, or one without a gold answer.
    """
    if not modes:
        raise ConfigError("there is no mode to answer under", f"name some of {', '.join(MODES)}")
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise ConfigError(f"there is no mode {unknown[0]!r}", f"the modes are {', '.join(MODES)}")
    for question in questions:
        if not question.answers:
            raise InputError(
                f"question {question.id[:80]!r} has no gold answer: nobody could tell which mode is right",
                "label it, or leave it out",
            )
    adaptive = settings.model_copy(update={"pipeline": "adaptive"})
    config = {
        **{name: value for name, value in answering(adaptive).items() if name not in _DECIDING},
        "corpus": store.corpus_id(),
        "signals": [type(signal).__name__ for signal in signals],
        "signals_identity": signals_identity(signals),
        "modes": sorted(modes),
        "made_with": dict(made_with or {}),
    }
    return begin(questions, store, kind=KIND, config=config)


def collect(
    run_id: str,
    signals: Sequence[Signal],
    modes: Mapping[Mode, Pipeline],
    store: Store,
    *,
    workers: int = 8,
    budget: Budget | None = None,
    only: Collection[str] | None = None,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> BatchReport:
    """Measure and answer the run's pending questions; the arguments are those of `work_through`.

    A question that one mode cannot answer is a failed row: its modes could not be compared.

    Args:
        run_id: from `begin_outcomes`.
        signals: measured in order.
        modes: the pipeline of each mode. One that a signal made the answer of is not asked again.
        store: opened for writing.
        workers: questions under way at a time.
        budget: for the whole run, earlier calls included.
        only: ids of the questions to go through; None for all.
        progress: show a bar.
        stop: asked before each question.

    Raises:
        LLMError: the model failed on every question.
        SignalMissing: a signal cannot be measured with this model.
    """
    return work_through(
        run_id,
        _Collector(tuple(signals), modes),
        store,
        workers=workers,
        budget=budget,
        only=only,
        progress=progress,
        stop=stop,
    )


def outcomes_of(store: Store, run_id: str) -> list[Outcome]:
    """What the run collected so far, in the order of its questions; failed and pending ones are left out.

    Raises:
        InputError: the run is none of outcomes.
    """
    run = store.run(run_id)
    if run.kind != KIND:
        raise InputError(f"run {run_id!r} holds no outcomes, it is a {run.kind}", "name one of `ragloom gate collect`")
    made_with = run.config["made_with"]
    return [_outcome(item, made_with) for item in store.items(run_id, status={"done"})]


def collect_file(
    settings: Settings,
    questions: Path,
    out: Path | None = None,
    *,
    signals: Sequence[SignalName],
    modes: Collection[Mode],
    retry_failed: bool = False,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> BatchReport:
    """Collect the outcomes of a file of labelled questions: `collect` from settings, resuming what was begun.

    Args:
        settings: the model, the workspace and the budget.
        questions: a file of `read_questions`.
        out: JSONL for `read_outcomes`; None writes no file, the outcomes stay in the store.
        signals: what is measured.
        modes: what the questions are answered under.
        retry_failed: try failed questions again.
        progress: show a bar.
        stop: see `work_through`.
    """
    asked = read_questions(questions)
    if out is not None:
        check_files([out], read_by(settings, questions))
    with Store.open(settings.workspace) as store:
        opened = open_signals(signals, settings, store)
        made_with = gate_bindings(settings, store, opened)
        run_id = begin_outcomes(settings, asked, store, signals=opened, modes=modes, made_with=made_with)
        if retry_failed:
            store.reset_failed(run_id)
        report = collect(
            run_id,
            opened,
            chosen_modes(modes, settings, store),
            store,
            workers=settings.questions_at_once,
            budget=settings.budget,
            progress=progress,
            stop=stop,
        )
        if out is not None:
            write_outcomes(outcomes_of(store, run_id), out)
    return report


def read_by(settings: Settings, questions: Path) -> list[Path]:
    """The files that a collection reads, which its own must not replace."""
    return [questions, *(file for file in (settings.outcomes, settings.popularity) if file is not None)]


def chosen_modes(modes: Collection[Mode], settings: Settings, store: Store) -> dict[Mode, Pipeline]:
    """The pipelines of these modes, from the cheapest."""
    return {mode: pipeline for mode, pipeline in open_modes(settings, store).items() if mode in modes}


@dataclass(frozen=True, slots=True)
class _Collected:
    """What a finished item holds; the rest of its outcome stands in its question.

    Attributes:
        features: None where unknown, since JSON has no NaN.
        usage: of each mode. A reply that was kept counts as when it was made: what a mode takes is no matter of what
            happens to be known already.
    """

    answers: dict[Mode, str]
    features: dict[str, float | None]
    usage: dict[Mode, Usage]


@dataclass(frozen=True)
class _Collector:
    signals: tuple[Signal, ...]
    modes: Mapping[Mode, Pipeline]

    def __call__(self, question: Question) -> _Collected:
        features: dict[str, float | None] = {}
        answers: dict[Mode, Answer] = {}
        usage: dict[Mode, Usage] = {}
        for signal in self.signals:
            with Run() as run:
                observation = observe(signal, question.text)
            features |= {name: None if isnan(value) else value for name, value in observation.features.items()}
            for mode, answer in observation.answers.items():
                answers[mode], usage[mode] = answer, _usage(answer, run)
        for mode, pipeline in self.modes.items():
            if mode not in answers:
                with Run() as run:
                    answers[mode] = pipeline(question.text)
                usage[mode] = _taken(run)
        # An abstention is no answer, whatever its words.
        texts = {mode: "" if answers[mode].abstained else answers[mode].text for mode in self.modes}
        return _Collected(texts, features, {mode: usage[mode] for mode in self.modes})


def _usage(answer: Answer, run: Run) -> Usage:
    """What the answer took: by its own record, or, where it has none, all that its signal took."""
    return _taken(run) if answer.run.usage == Usage() else answer.run.usage


def _taken(run: Run) -> Usage:
    return replace(run.spent + run.saved, cache_hits=0)


def _outcome(item: Item, made_with: Mapping[str, str]) -> Outcome:
    question, result = question_from_json(item.question), item.result or {}
    return Outcome(
        question.id,
        question.text,
        question.answers,
        result["answers"],
        {name: nan if value is None else value for name, value in result["features"].items()},
        {mode: Usage(**usage) for mode, usage in result["usage"].items()},
        str(question.meta.get("dataset", "")),
        made_with,
    )
