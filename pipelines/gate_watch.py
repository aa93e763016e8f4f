"""Whether a calibrated gate still sees questions like those it was calibrated on, from the answers of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

from ragloom.components.gate_file import SavedGate
from ragloom.components.gating import EMBEDDING
from ragloom.pipelines.drift import drift, unknown_share
from ragloom.pipelines.gates import GATES, gate_names
from ragloom.pipelines.settings import Settings
from ragloom.store import Store


def gate_warnings(run_id: str, settings: Settings, store: Store) -> tuple[str, ...]:
    """What to know of the gates of a run's settings after its questions were answered; no model is asked.

    The scores of the answered questions, and how many of their words are strange to the gate, are compared with those
    of the calibration questions, see `drift`. Gates by name have nothing to be compared with.
    """
    if settings.pipeline != "adaptive":
        return ()
    files = [Path(name) for name in gate_names(settings) if name not in GATES]
    items = list(store.items(run_id, status={"done"}))
    questions = [str(item.question["text"]) for item in items]
    decisions = [_decision(item.result or {}) for item in items]
    return tuple(warning for file in files for warning in _warnings(file, questions, decisions))


def _warnings(path: Path, questions: list[str], decisions: list[Mapping[str, Any]]) -> Iterator[str]:
    gate = SavedGate.load(path)
    found = drift(gate.scores, [_score(decision) for decision in decisions if _is_of(gate, decision)])
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


def _decision(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an answer's trace says of its gate."""
    spans = result.get("run", {}).get("spans", ())
    return next((step["attributes"] for step in spans if step["name"] == "gate"), {})


def _is_of(gate: SavedGate, decision: Mapping[str, Any]) -> bool:
    """Whether the gate can have decided so, and not another one of a chain: what it looks at was measured."""
    seen = decision.get("features", {})
    return all(name in seen for name in gate.rule.features if not name.startswith(EMBEDDING))  # see `traced`


def _score(decision: Mapping[str, Any]) -> float:
    """NaN where the gate knew none."""
    score = decision.get("score")
    return nan if score is None else float(score)
