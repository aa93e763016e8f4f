"""Gates in a report to read: what each is worth beside never, always, random and an oracle.

A gate must beat one that draws at random as often: on some questions a score that predicts the failure of closed-book
answers well does not, since what the model cannot answer the retriever often cannot find either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np

from ragloom.components.gate_rules import Fixed
from ragloom.components.gating import Decision, Mode
from ragloom.errors import InputError
from ragloom.pipelines.evaluation import bootstrap, paired_bootstrap
from ragloom.pipelines.gate_evaluation import (
    GateEvaluation,
    at_random,
    decided_values,
    evaluate_gate,
    mean_cost,
    mix_of,
    oracle,
    replay,
)
from ragloom.pipelines.gate_objectives import COSTS
from ragloom.pipelines.outcomes import Outcome, modes_of
from ragloom.pipelines.report import SEED, Table, signed
from ragloom.writing import write_aside

PERCENTS = range(0, 101, 10)  # of the questions, where curves are shown
_HOW_OFTEN: Mapping[Mode, str] = {"none": "never", "single": "always", "iterative": "always"}

Gates = Mapping[str, Sequence[Decision]]  # by name: a decision for each outcome, in their order
Evaluations = Mapping[str, GateEvaluation]  # by the name of the gate


def write_gate_report(
    path: Path,
    outcomes: Sequence[Outcome],
    gates: Gates,
    *,
    metric: str = "contains",
    costs: Mapping[Mode, float] = COSTS,
) -> None:
    """Write what the gates are worth in Markdown: on all questions, and on each group where there are several.

    Raises:
        InputError: there are no outcomes, some lack an answer, or the file cannot be written.
        ConfigError: no such metric, or no cost of a mode.
        ValueError: a gate's decisions are not as many as the outcomes.
    """
    text = gate_report(outcomes, gates, metric=metric, costs=costs)
    write_aside(path, lambda aside: _write(aside, text))


def gate_report(
    outcomes: Sequence[Outcome],
    gates: Gates,
    *,
    metric: str = "contains",
    costs: Mapping[Mode, float] = COSTS,
) -> str:
    """The text of `write_gate_report`."""
    _, always, *_ = _modes(outcomes)
    evaluations = {
        name: evaluate_gate(outcomes, decisions, metric=metric, costs=costs, retrieval=always)
        for name, decisions in gates.items()
    }
    tables = {
        "Accuracy and cost": gates_table(outcomes, gates, metric=metric, costs=costs),
        "What retrieval changes": effects_table(evaluations),
        "Scores": scores_table(evaluations),
        "Accuracy against retrieval": curves_table(evaluations),
        "Calls and seconds": spent_table(evaluations),
    }
    for group in dict.fromkeys(outcome.group for outcome in outcomes):
        places = [place for place, outcome in enumerate(outcomes) if outcome.group == group]
        if len(places) < len(outcomes):
            theirs = {name: [decisions[place] for place in places] for name, decisions in gates.items()}
            shown = gates_table([outcomes[place] for place in places], theirs, metric=metric, costs=costs)
            tables[f"Group {_line(group) or 'without a name'}"] = Table(shown.columns, shown.rows, shown.notes[:1])
    sections = [f"## {title}\n\n{table.markdown()}" for title, table in tables.items() if table.rows]
    return "\n\n".join([f"# Gates on {len(outcomes)} questions", *sections]) + "\n"


# ---- Tables


@dataclass(frozen=True, slots=True)
class _System:
    """A gate, or what gates are compared with.

    Attributes:
        name: for a row.
        values: how right it is, a question each.
        mix: share of the questions for each mode.
        drawn: values of a random gate of the same mix; none for what is no gate.
    """

    name: str
    values: tuple[float, ...]
    mix: Mapping[Mode, float]
    drawn: tuple[float, ...] = ()


def gates_table(
    outcomes: Sequence[Outcome],
    gates: Gates,
    *,
    metric: str = "contains",
    costs: Mapping[Mode, float] = COSTS,
) -> Table:
    """Accuracy, retrieval and cost: of never and always, of each gate above a random one, and of oracles.

    The random gate has the same share of each mode; its accuracy is the expectation, not that of one draw.

    Raises:
        InputError: there are no outcomes, or some lack the answers without passages, or with.
    """
    modes = _modes(outcomes)
    systems = _systems(outcomes, gates, modes, metric)
    always = systems[1 : len(modes)]
    return Table(
        (
            *("gate", metric, *(f"against {system.name}" for system in always), "against random"),
            *("retrieved", "cost", f"share of {' / '.join(modes)}"),
        ),
        tuple(
            (
                system.name,
                _accuracy(system.values),
                *(_difference(system.values, other.values) for other in always),
                _difference(system.values, system.drawn or system.values),
                f"{1 - system.mix['none']:.1%}",
                f"{mean_cost(system.mix, costs):.2f}",
                " / ".join(f"{system.mix[mode]:.2f}" for mode in modes),
            )
            for system in systems
        ),
        (
            f"{len(outcomes)} questions; means and differences with their 95 % (paired) bootstrap interval.",
            f"Costs a question: {', '.join(f'{mode} {costs[mode]:g}' for mode in modes if mode in costs)}.",
            "What a gate's own signals take is not in its cost.",
        ),
    )


def effects_table(evaluations: Evaluations) -> Table:
    """What retrieval did where gates decided on it, and what it would have done where they did not."""
    rows = [
        (_line(name), what, str(effects.helped), str(effects.unchanged), str(effects.hurt))
        for name, found in evaluations.items()
        for what, effects in (("retrieved", found.retrieved), ("skipped", found.skipped))
    ]
    notes = [
        f"Retrieval for all would make {_number(found.rescue)} of the wrong closed-book answers right (rescue rate), "
        f"and {_number(found.distraction)} of the right ones wrong (distraction rate)."
        for found in list(evaluations.values())[:1]  # of the questions, the same for every gate
    ]
    return Table(("gate", "questions", "helped", "unchanged", "hurt"), tuple(rows), tuple(notes))


def scores_table(evaluations: Evaluations) -> Table:
    """How well the gates' scores rank questions and, where they are probabilities, predict."""
    rows = []
    for name, ranking in ((name, found.ranking) for name, found in evaluations.items()):
        numbers = (
            *(ranking.failure_auroc, ranking.failure_precision, ranking.benefit_auroc, ranking.benefit_precision),
            *(ranking.brier, ranking.calibration_error, ranking.area, ranking.risk_area),
        )
        rows.append((_line(name), *(_number(number) for number in numbers)))
    return Table(
        (
            *("gate", "AUROC failure", "AUPRC failure", "AUROC benefit", "AUPRC benefit"),
            *("Brier", "ECE", "area under accuracy", "AURC"),
        ),
        tuple(rows),
        (
            "Failure: the closed-book answer is wrong.",
            "Benefit: retrieval makes the answer better, not worse; the other questions are left out.",
            "Brier score and expected calibration error (ECE): of scores from 0 to 1, read as chances of failure.",
            "Area under accuracy: its mean over all retrieval rates, those with high scores retrieved for first.",
            "AURC: mean error over all shares answered, those with low scores answered first; lower is better.",
        ),
    )


def curves_table(evaluations: Evaluations) -> Table:
    """Accuracy where a share of the questions is retrieved for, and error where a share is answered."""
    curves = [found.ranking.curve for found in evaluations.values()]
    risks = [found.ranking.risks for found in evaluations.values()]
    rows = [
        (
            f"{percent} %",
            *(_number(_at(percent, curve)) for curve in curves),
            *(_number(_at(percent, (risk[0], *risk)) if percent else None) for risk in risks),
        )
        for percent in PERCENTS
    ]
    names = [_line(name) for name in evaluations]
    return Table(
        ("share", *(f"{name}: accuracy" for name in names), *(f"{name}: error" for name in names)),
        tuple(rows) if evaluations else (),
        (
            "Accuracy: that share of the questions, those with the highest scores, is retrieved for.",
            "Error: of the gate's answers, where only that share, those with the lowest scores, is answered.",
        ),
    )


def spent_table(evaluations: Evaluations) -> Table:
    """What questions took, for the gates whose rows all say so."""
    return Table(
        ("gate", "calls", "tokens", "seconds p50 / p95"),
        tuple(
            (
                _line(name),
                *(f"{found.spent.calls:.2f}", f"{found.spent.tokens:.0f}"),
                f"{found.spent.seconds_p50:.2f} / {found.spent.seconds_p95:.2f}",
            )
            for name, found in evaluations.items()
            if found.spent is not None
        ),
        ("Of a question under the mode decided on; what the gate's own signals took is not in it.",),
    )


def _modes(outcomes: Sequence[Outcome]) -> tuple[Mode, ...]:
    """The modes to compare: `none`, and one or two that retrieve."""
    if not outcomes:
        raise InputError("there are no outcomes to judge gates on", "collect some")
    modes = modes_of(outcomes)
    if "none" not in modes or len(modes) < 2:
        raise InputError(
            f"all outcomes have answers of {', '.join(modes) or 'no mode'} only",
            "collect those of none, and of single or iterative, for every question",
        )
    return modes


def _systems(outcomes: Sequence[Outcome], gates: Gates, modes: Sequence[Mode], metric: str) -> list[_System]:
    """Never and always of each kind; each gate, and the random one of its mix; the oracles."""

    def judged(name: str, decisions: Sequence[Decision]) -> _System:
        return _System(name, decided_values(outcomes, decisions, metric=metric), mix_of(decisions))

    systems = [judged(f"{_HOW_OFTEN[mode]} ({mode})", replay(Fixed(mode), outcomes)) for mode in modes]
    for name, decisions in gates.items():
        gate = judged(_line(name), decisions)
        drawn = at_random(outcomes, gate.mix, metric=metric)
        systems += [replace(gate, drawn=drawn), _System("random, same shares", drawn, gate.mix)]
    for last in range(2, len(modes) + 1):
        best = oracle(outcomes, modes[:last], metric=metric)
        systems.append(judged(f"oracle ({', '.join(modes[:last])})", best))
    return systems


def _accuracy(values: Sequence[float]) -> str:
    interval = bootstrap(values, seed=SEED)
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _difference(values: Sequence[float], others: Sequence[float]) -> str:
    return "" if values is others else signed(paired_bootstrap(values, others, seed=SEED))


def _at(percent: int, curve: Sequence[float]) -> float:
    """The curve's height at a percentage of its width."""
    return float(np.interp(percent / 100 * (len(curve) - 1), np.arange(len(curve)), curve))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _line(text: str) -> str:
    """A name on one line and without markup."""
    return " ".join(escape(text, quote=False).split())


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
