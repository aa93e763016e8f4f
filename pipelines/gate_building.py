"""From outcomes to a saved gate and to reports on gates; no model is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path

from ragloom.components.gate_file import SavedGate
from ragloom.components.gating import MODES, Decision, Mode
from ragloom.components.question_features import QuestionFeatures
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.calibration import calibrate
from ragloom.pipelines.gate_evaluation import replay
from ragloom.pipelines.gate_objectives import COSTS, Objective
from ragloom.pipelines.gate_report import gates_table, write_gate_report
from ragloom.pipelines.gate_saving import saved_gate
from ragloom.pipelines.gates import SignalName, signals_of
from ragloom.pipelines.outcomes import Outcome, with_features
from ragloom.pipelines.report import Table

_OBJECTIVES = "use accuracy, price=0.02, rate=0.6, cost=3, match=single:0.01 or risk=0.2"


@dataclass(frozen=True, slots=True)
class GateBuilt:
    """A gate that was calibrated and saved.

    Attributes:
        signals: what it measures of a question.
        gain: False where no gate was better than a fixed mode, which is then what was saved.
        reason: what was chosen, and why.
        objective: what for, in words.
        table: the gate beside fixed modes, random gates and oracles; on each row it is the one that never saw the row.
        warnings: what to know before using it.
    """

    signals: tuple[SignalName, ...]
    gain: bool
    reason: str
    objective: str
    table: Table
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        warnings = [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([f"{self.reason} (objective: {self.objective})", *warnings, "", self.table.markdown()])


def build_gate(
    outcomes: Sequence[Outcome],
    path: Path,
    *,
    modes: Sequence[Mode] | None = None,
    objective: str = "accuracy",
    costs: str | None = None,
    report: Path | None = None,
) -> GateBuilt:
    """Calibrate a gate on the outcomes and save it, bound to the model and prompts they were collected with.

    Args:
        outcomes: where no row has features, those of the question's wording are added.
        path: file of the gate.
        modes: that the gate may choose; None for all that every question was answered under.
        objective, costs: see `read_objective`.
        report: file of a report in Markdown; None for none.

    Raises:
        ConfigError: an objective or costs that cannot be, or scikit-learn is not installed.
        InputError: too few outcomes, some of them of another model than others, or a file cannot be written.
    """
    aim, prices = read_objective(objective, costs)
    outcomes = [_only(modes, outcome) for outcome in _measured(outcomes)]
    calibration = calibrate(outcomes, objective=aim, costs=prices)
    signals = signals_of(calibration.rule.features)
    bound_to, warnings = _bindings(outcomes, signals), list(calibration.warnings)
    if not bound_to:
        warnings.append(
            "the outcomes do not say what they were collected with: the gate holds for any model and prompt"
        )
    saved_gate(calibration, outcomes, signals=signals, bound_to=bound_to).save(path)
    gates = {"calibrated, out of fold": calibration.decisions}
    if report is not None:
        write_gate_report(report, outcomes, gates, metric=calibration.metric, costs=calibration.costs)
    table = gates_table(outcomes, gates, metric=calibration.metric, costs=calibration.costs)
    return GateBuilt(signals, calibration.gain, calibration.reason, str(calibration.objective), table, tuple(warnings))


def _bindings(outcomes: Sequence[Outcome], signals: Sequence[SignalName]) -> dict[str, str]:
    """What a gate of these signals holds for."""
    made_with = outcomes[0].made_with
    for outcome in outcomes:
        names = [*made_with, *outcome.made_with]
        if other := [name for name in names if outcome.made_with.get(name) != made_with.get(name)]:
            raise InputError(
                f"the outcomes were not all collected with the same {other[0]}: see {outcomes[0].question_id!r} and "
                f"{outcome.question_id!r}",
                "calibrate on outcomes of one collection",
            )
    holding = {"model", "modes", *(f"signal {name}" for name in signals)}
    return {name: value for name, value in made_with.items() if name in holding}


def _only(modes: Sequence[Mode] | None, outcome: Outcome) -> Outcome:
    """The outcome without what was answered under other modes."""
    if modes is None:
        return outcome
    return replace(outcome, answers={mode: text for mode, text in outcome.answers.items() if mode in modes})


def replayed(
    outcomes: Sequence[Outcome], gates: Sequence[Path]
) -> tuple[tuple[Outcome, ...], dict[str, list[Decision]]]:
    """What saved gates decide on the outcomes' stored features, by their files' names; and the outcomes.

    Raises:
        InputError: a gate decides by a feature that no outcome has.
    """
    outcomes = _measured(outcomes)
    decisions = {}
    for path in gates:
        rule = SavedGate.load(path).rule
        if missing := [name for name in rule.features if not any(name in outcome.features for outcome in outcomes)]:
            raise InputError(
                f"{path} decides by {missing[0]}, which the outcomes do not have",
                f"collect them with --signals {','.join(signals_of(rule.features))}",
            )
        decisions[str(path)] = replay(rule, outcomes)
    return outcomes, decisions


def _measured(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """The outcomes, with what costs nothing to measure where nothing was."""
    return tuple(outcomes) if any(row.features for row in outcomes) else with_features(outcomes, (QuestionFeatures(),))


def read_objective(text: str, costs: str | None = None) -> tuple[Objective, Mapping[Mode, float]]:
    """The objective and the costs that stand in texts, such as `price=0.02` and `none=0,single=1,iterative=4`.

    `rate` limits the retrieval rate: the mean of costs that are 1 for each mode that retrieves.

    Raises:
        ConfigError: there is no such objective or mode, or a number cannot be one.
    """
    name, _, value = text.strip().partition("=")
    if name == "rate" and costs is not None:
        raise ConfigError(f"--objective {text} counts retrievals, and costs would change that", "leave one of them out")
    prices = read_costs(costs)
    try:
        match name:
            case "accuracy" if not value:
                return Objective(), prices
            case "price":
                return Objective(price=_number(value)), prices
            case "cost":
                return Objective(cost_limit=_number(value)), prices
            case "rate":
                if _number(value) > 1:
                    raise ValueError("a share is at most 1")
                return Objective(cost_limit=_number(value)), {mode: float(mode != "none") for mode in MODES}
            case "risk":
                return Objective(risk=_number(value)), prices
            case "match":
                mode, _, margin = value.partition(":")
                return Objective(match=_mode(mode), margin=_number(margin or "0")), prices
    except ValueError as error:
        raise ConfigError(f"the objective {text!r} cannot be: {error}", _OBJECTIVES) from None
    raise ConfigError(f"there is no objective {text!r}", _OBJECTIVES)


def read_costs(text: str | None) -> Mapping[Mode, float]:
    """The costs of the text, and the usual ones of modes that it does not name.

    Raises:
        ConfigError: there is no such mode, or a number cannot be a cost.
    """
    costs, named = dict(COSTS), set[Mode]()
    for entry in (text or "").split(","):
        if entry.strip():
            mode, _, cost = entry.partition("=")
            try:
                if _mode(mode) in named:
                    raise ValueError("the mode is named twice")
                named.add(_mode(mode))
                costs[_mode(mode)] = _number(cost)
            except ValueError as error:
                raise ConfigError(f"the cost {entry.strip()!r} cannot be: {error}", "write none=0,single=1") from None
    return costs


def _mode(text: str) -> Mode:
    found = next((mode for mode in MODES if mode == text.strip()), None)
    if found is None:
        raise ValueError(f"there is no mode {text.strip()!r}, only {', '.join(MODES)}")
    return found


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = nan
    if not (isfinite(number) and number >= 0):
        raise ValueError(f"{text.strip()!r} is not a number from 0")
    return number
