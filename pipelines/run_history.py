"""How the quality of a batch went from run to run, as a picture that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence

from ragloom.pipelines.evaluation import AnswerEvaluation, Interval, bootstrap
from ragloom.pipelines.report import SEED, evaluate_run
from ragloom.store import Store

_WIDTH, _HEIGHT, _LEFT, _TOP, _STEP = 720, 300, 50, 40, 60
_PLOT = _HEIGHT - _TOP - 70  # pixels from 0 to 1
_FONT = 'font-family="sans-serif" font-size="11"'
_QUALITY, _ANSWERED = "#1f5fa8", "#c05a00"


def history_plot(store: Store, run_ids: Sequence[str]) -> str:
    """An SVG: F1 with its 95 % bootstrap interval, and the share of answered questions, run by run.

    Runs without gold answers have no F1. Below each run stand its day and its tokens.

    Args:
        store: what holds the runs.
        run_ids: the oldest first; of more than ten, the last ten.
    """
    runs = [(store.run(run_id), evaluate_run(store, run_id)) for run_id in run_ids[-10:]]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 20, "F1 with 95 % interval", colour=_QUALITY, anchor="start"),
        _text(_LEFT + 150, 20, "share answered, not abstained or failed", colour=_ANSWERED, anchor="start"),
    ]
    for tenths in range(0, 11, 2):
        y = _y(tenths / 10)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 20}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 20, y + 4, f"{tenths / 10:.1f}"))
    for place, (run, found) in enumerate(runs):
        x = _LEFT + 40 + place * _STEP
        if found.scores.questions:
            parts.append(_whisker(x, bootstrap(found.scores.values["f1"], seed=SEED)))
        parts.append(f'<rect x="{x + 8}" y="{_y(_answered(found)) - 4}" width="8" height="8" fill="{_ANSWERED}"/>')
        for line, label in enumerate((run.created[5:10], run.id[:6], f"{found.usage.tokens} tok")):
            parts.append(_text(x + 4, _HEIGHT - 50 + 15 * line, label))
    return "\n".join([*parts, "</svg>"])


def _answered(found: AnswerEvaluation) -> float:
    return (found.answered - found.abstained) / max(1, found.answered + found.failed)


def _whisker(x: int, mean: Interval) -> str:
    return (
        f'<line x1="{x}" x2="{x}" y1="{_y(mean.low)}" y2="{_y(mean.high)}" stroke="{_QUALITY}" stroke-width="2"/>'
        f'<circle cx="{x}" cy="{_y(mean.value)}" r="4" fill="{_QUALITY}"/>'
        + _text(x - 6, _y(mean.value) - 7, f"{mean.value:.2f}", colour=_QUALITY, anchor="end")
    )


def _y(share: float) -> float:
    return round(_TOP + _PLOT * (1 - share), 1)


def _text(x: float, y: float, text: str, *, colour: str = "#555", anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{text}</text>'
