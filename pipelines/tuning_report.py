"""What came out of a tuning, to read: the report, and the recommended settings as a file that `--config` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragloom.pipelines.evaluation import bootstrap
from ragloom.pipelines.report import SEED, Table, signed
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.tuning import Trial, Tuned
from ragloom.pipelines.tuning_runs import inert
from ragloom.pipelines.tuning_space import NOT_TUNED, Choice, Space
from ragloom.writing import write_aside

FILES = ("report.md", "best.toml")
_BINS = 3  # of a range, in the table of what each setting did

_OPTIMISM = (
    "Optimism: the score on the questions tuned on less that on those held out. That of the base is chance; that of "
    "the gain is what choosing the best of many added."
)
_RULE = (
    "Recommended are settings whose 95 % paired bootstrap interval lies above 0 and whose sign test is below 5 %, both "
    "on the questions held out. A gain of less than about {half:.3f} could not have been shown."
)
_STOPPED = (
    "Stopped: after a quarter or half of the questions it was worse than the best so far, by an interval and a sign "
    "test as on the questions held out. What a question takes is counted as if nothing had been cached."
)


def write_tuning(tuned: Tuned, folder: Path) -> list[Path]:
    """Write `report.md` and, where there is a verdict, `best.toml` into the folder, and give their paths.

    Raises:
        InputError: they cannot be written there.
    """
    texts = {"report.md": markdown(tuned)}
    if not tuned.pending:
        texts["best.toml"] = best_toml(tuned)
    for name, text in texts.items():
        write_aside(folder / name, lambda aside, text=text: _write(aside, text))  # type: ignore[misc]  # mypy#12557
    return [folder / name for name in texts]


def verdict(tuned: Tuned) -> str:
    """What is recommended and why, in a few sentences."""
    if tuned.pending:
        return f"There is no verdict yet ({tuned.pending}). Until there is, the base stays."
    if tuned.guard is None:
        return "None of the settings tried did better than the base, so the base stays."
    found = tuned.guard.verdict
    gain = (
        f"{signed(found.gain)} on {tuned.held_out} questions held out, better on {found.test.better} and worse on "
        f"{found.test.worse} (p = {found.test.p:.3f})"
    )
    if found.sure:
        return f"Trial {tuned.best.number} beats the base: {gain}."
    return (
        f"Trial {tuned.best.number} did best on the questions it was chosen by, but it does not surely beat the base: "
        f"{gain}. So the base stays."
    )


def markdown(tuned: Tuned) -> str:
    """The whole report."""
    spent = tuned.spent
    cost = "price unknown" if spent.cost is None else f"${spent.cost:.4f}"
    sections = [
        "# Tuning",
        verdict(tuned),
        f"Objective: {tuned.plan.objective}. {tuned.tuned_on} questions to tune on, {tuned.held_out} held out, seed "
        f"{tuned.plan.seed}. {len(tuned.trials) - 1} settings tried besides the base, of {_size(tuned.plan.space)}. "
        f"{_failed(tuned)}All runs together: {spent.calls} calls, {spent.tokens} tokens, {cost}."
        + (f" The search ended early: {tuned.ended}." if tuned.ended else ""),
    ]
    if tuned.guard is not None:
        sections += ["## The winner where it was not chosen", guard_table(tuned).markdown()]
    sections += ["## Recommended settings", f"```toml\n{_toml(_told(tuned.recommended.settings))}```"]
    sections += ["## Trials", trials_table(tuned).markdown()]
    sections += ["## What each setting did", effects_table(tuned).markdown()]
    return "\n\n".join(sections) + "\n"


def guard_table(tuned: Tuned) -> Table:
    """The base and the winner on both halves, and what luck had to do with it."""
    guard = tuned.guard
    if guard is None:
        return Table((), ())
    base, best = tuned.base, tuned.best
    halves = {"base": (base.scores, guard.base), f"trial {best.number}": (best.scores, guard.best)}
    rows = [
        (name, _mean(seen), _mean(unseen), f"{np.mean(seen) - np.mean(unseen):+.3f}")
        for name, (seen, unseen) in halves.items()
    ]
    gained = best.score - base.score
    rows.append(("gain", f"{gained:+.3f}", signed(guard.verdict.gain), f"{tuned.optimism or 0.0:+.3f}"))
    half = (guard.verdict.gain.high - guard.verdict.gain.low) / 2
    return Table(
        ("", f"tuned on ({tuned.tuned_on})", f"held out ({tuned.held_out})", "optimism"),
        tuple(rows),
        (_OPTIMISM, _RULE.format(half=half)),
    )


def trials_table(tuned: Tuned) -> Table:
    """All trials, the best first."""
    names = tuple(tuned.plan.space.parameters)
    order = {"done": 0, "stopped": 1, "unfinished": 2, "failed": 3}
    ranked = sorted(tuned.trials, key=lambda trial: (order[trial.status], -trial.score, trial.number))
    return Table(
        ("trial", *names, "status", str(tuned.plan.objective), "questions", "tokens each", "$ each", "run"),
        tuple(
            (
                "base" if trial.number == 0 else str(trial.number),
                *(_shown(trial, name) for name in names),
                trial.status if not trial.reason else f"{trial.status}: {trial.reason}",
                f"{trial.score:.3f}" if trial.scores else "-",
                str(len(trial.scores)),
                *_taken(trial),
                trial.run_id,
            )
            for trial in ranked
        ),
        (_STOPPED,),
    )


def effects_table(tuned: Tuned) -> Table:
    """The mean score of the finished trials by each value of each setting."""
    done = [trial for trial in tuned.trials if trial.status == "done"]
    rows = []
    for name in tuned.plan.space.parameters:
        for value, scores in _grouped(tuned.plan.space, name, done).items():
            rows.append((name, value, str(len(scores)), f"{np.mean(scores):.3f}", f"{max(scores):.3f}"))
    return Table(
        ("setting", "value", "finished trials", "mean", "best"),
        tuple(rows),
        ("Of finished trials alone, and the search stays where it is good: the means are of unequal company.",),
    )


def best_toml(tuned: Tuned) -> str:
    """The recommended settings, with the verdict and the winner, if it is another, as comments."""
    comment = [f"Tuned for {tuned.plan.objective}: {verdict(tuned)}"]
    if tuned.best is not tuned.recommended:
        changed = {name: _shown(tuned.best, name) for name in tuned.best.values}
        comment.append(f"Not recommended: {', '.join(f'{name} = {value}' for name, value in changed.items())}")
    lines = "".join(f"# {line}\n" for text in comment for line in text.splitlines())
    return f"{lines}\n{_toml(_told(tuned.recommended.settings))}"


# ---- Parts


def _told(settings: Settings) -> dict[str, Any]:
    """What was said of the settings and matters, apart from where and how far they are run."""
    return settings.model_dump(
        mode="json", exclude_unset=True, exclude_none=True, exclude={*NOT_TUNED, *inert(settings)}
    )


def _toml(values: Mapping[str, Any]) -> str:
    # JSON's strings, numbers and booleans are TOML's, but for the character DEL.
    return "".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n".replace("\x7f", "\\u007f")
        for name, value in values.items()
    )


def _shown(trial: Trial, name: str) -> str:
    value = getattr(trial.settings, name)
    return (
        "-"
        if name in inert(trial.settings) or value is None
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )


def _taken(trial: Trial) -> tuple[str, str]:
    if not trial.scores:
        return "-", "-"
    cost = "unknown" if trial.usage.cost is None else f"{trial.usage.cost / len(trial.scores):.6f}"
    return f"{trial.usage.tokens / len(trial.scores):.0f}", cost


def _grouped(space: Space, name: str, trials: Sequence[Trial]) -> dict[str, list[float]]:
    """Scores of trials by the value of a setting; of a range with many, by parts of equal width."""
    parameter = space.parameters[name]
    tried = [(getattr(trial.settings, name), trial) for trial in trials if name not in inert(trial.settings)]
    few = isinstance(parameter, Choice) or len({value for value, _ in tried}) <= _BINS
    found: dict[str, list[float]] = {}
    for value, trial in sorted(tried, key=lambda pair: (isinstance(pair[0], str), pair[0] is not None and pair[0])):
        if few or isinstance(parameter, Choice) or value is None or not parameter.low <= value <= parameter.high:
            label = _shown(trial, name)
        else:
            width = (parameter.high - parameter.low) / _BINS
            part = min(int((value - parameter.low) / width), _BINS - 1)
            label = f"{parameter.low + part * width:.3g} to {parameter.low + (part + 1) * width:.3g}"
        found.setdefault(label, []).append(trial.score)
    return found


def _mean(scores: Sequence[float]) -> str:
    found = bootstrap(scores, seed=SEED)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" if found.low < found.high else f"{found.value:.3f}"


def _failed(tuned: Tuned) -> str:
    failed = sum(trial.status == "failed" for trial in tuned.trials)
    return f"{failed} of them failed, see below why. " if failed else ""


def _size(space: Space) -> str:
    return "a space without end" if space.size is None else f"{space.size:,} in the space"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
