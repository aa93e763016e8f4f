"""Whether a calibrated gate still sees questions like those it was calibrated on, from the answers of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

from ragloom.components.gate_file import SavedGate
from ragloom.pipelines.drift import drift, unknown_share
from ragloom.pipelines.gates import GATES
from ragloom.pipelines.settings import Settings
from ragloom.store import Store


def gate_warnings(run_id: str, settings: Settings, store: Store) -> tuple[str, ...]:
    """What to know of the gates of a run's settings after its questions were answered; no model is asked.

    The scores of the answered questions, and how many of their words are strange to the gate, are compared with those
    of the calibration questions, see `drift`. Gates by name have nothing to be compared with.
    """
    if settings.pipeline != "adaptive":
        return ()
    names = [name.strip() for name in settings.gate.split(",")]
    answered = [
        (str(item.question["text"]), _score(item.result))
        for item in store.items(run_id, status={"done"})
        if item.result is not None
    ]
    questions, scores = [text for text, _ in answered], [score for _, score in answered]
    return tuple(warning for name in names if name not in GATES for warning in _warnings(Path(name), questions, scores))


def _warnings(path: Path, questions: list[str], scores: list[float]) -> Iterator[str]:
    gate = SavedGate.load(path)
    found = drift(gate.scores, scores)
    if found.drifted:
        yield f"{path}: its scores have drifted since calibration (stability index {found.psi:.2f}); {found.advice}"
    words = frozenset(gate.words)
    shares = [unknown_share(question, words) for question in questions]
    strange = drift(gate.unknown_shares, shares)
    if strange.drifted and fmean(shares) > fmean(gate.unknown_shares):  # questions it knows well are no trouble
        yield (
            f"{path}: these questions are not like those it was calibrated on (stability index of unknown words "
            f"{strange.psi:.2f}); {strange.advice}"
        )


def _score(result: Mapping[str, Any]) -> float:
    """The score of the gate in an answer's trace; NaN where it knew none."""
    for step in result.get("run", {}).get("spans", ()):
        if step["name"] == "gate":
            score = step["attributes"].get("score")
            return nan if score is None else float(score)
    return nan
