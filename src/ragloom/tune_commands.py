"""The command `ragloom tune`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ragloom.command_options import ANSWERING_GROUPS, Commands, add_settings, command, positive
from ragloom.console import UNFINISHED, print_json, require_workspace, say, stoppable

if TYPE_CHECKING:
    from ragloom.pipelines.settings import Settings
    from ragloom.pipelines.tuning import Trial, Tuned


def add_tune(commands: Commands) -> None:
    """The arguments of `ragloom tune`."""
    parser = command(
        commands,
        "tune",
        "search for better settings under a limit, and check the best on questions held out; the same command resumes",
        "ragloom tune questions.jsonl --space space.toml --objective f1 --max-cost 2 --out tuning\n"
        "  ragloom tune labelled.jsonl --space space.toml --objective recall@5 --out tuning",
    )
    parser.add_argument("questions", type=Path, help="JSONL with id, question, answers; or a public dataset's")
    parser.add_argument(
        "--space", type=Path, required=True, metavar="FILE", help="TOML: settings of all, and [space] to search"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="for the report and the recommended settings"
    )
    parser.add_argument(
        "--objective",
        default="f1",
        metavar="METRIC",
        help="em, f1 or contains; or recall@5 and the like, of retrieval alone, without a model (default: f1)",
    )
    parser.add_argument(
        "--per-1000-tokens", type=_price, default=0.0, metavar="PRICE", help="less so much for each 1,000 tokens"
    )
    parser.add_argument("--per-dollar", type=_price, default=0.0, metavar="PRICE", help="less so much for each dollar")
    parser.add_argument(
        "--trials", type=positive, default=30, metavar="N", help="settings to try besides the base (default: 30)"
    )
    parser.add_argument(
        "--split-seed", type=int, default=0, metavar="N", help="of the search and of what is held out (default: 0)"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N questions")
    parser.add_argument("--retry-failed", action="store_true", help="try failed questions again")
    add_settings(parser, "where", *ANSWERING_GROUPS, "batch", "budget")


def run_tune(args: argparse.Namespace, settings: Settings) -> int:
    """Run what the arguments say and give the exit code."""
    from ragloom.components.datasets import read_questions
    from ragloom.pipelines.export import check_writable
    from ragloom.pipelines.tuning import TuningPlan, tune
    from ragloom.pipelines.tuning_report import FILES, write_tuning
    from ragloom.pipelines.tuning_runs import Objective
    from ragloom.pipelines.tuning_space import read_space
    from ragloom.store import Store

    plan = TuningPlan(
        read_space(args.space, settings),
        read_questions(args.questions)[: args.limit],
        Objective(args.objective, args.per_1000_tokens, args.per_dollar),
        args.trials,
        args.split_seed,
    )
    for name in FILES:
        for source in (args.questions, args.space):
            check_writable(args.out / name, source)
    require_workspace(plan.space.base)
    with stoppable() as stop, Store.open(plan.space.base.workspace) as store:
        tuned = tune(plan, store, retry_failed=args.retry_failed, announce=_announce, stop=stop)
    if tuned.base.status != "done":
        say(f"the base is not answered yet: {tuned.ended}; the same command goes on from here")
        return stop.exit_code or UNFINISHED
    _print(args, tuned, write_tuning(tuned, args.out))
    return (stop.exit_code or UNFINISHED) if tuned.pending else 0


def _announce(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def _print(args: argparse.Namespace, tuned: Tuned, written: list[Path]) -> None:
    from ragloom.codec import to_json
    from ragloom.pipelines.tuning_report import guard_table, trials_table, verdict

    if args.json:
        guard = tuned.guard
        print_json(
            {
                "verdict": verdict(tuned),
                "sure": guard is not None and guard.verdict.sure,
                "recommended": tuned.recommended.number,
                "best": tuned.best.number,
                "optimism": tuned.optimism,
                "guard": None if guard is None else to_json(guard),
                "questions": {"tuned_on": tuned.tuned_on, "held_out": tuned.held_out},
                "trials": list(map(_trial_json, tuned.trials)),
                "spent": to_json(tuned.spent),
                "ended": tuned.ended,
                "pending": tuned.pending,
                "files": list(map(str, written)),
            }
        )
        return
    say(verdict(tuned))
    if tuned.guard is not None:
        say(f"\n{guard_table(tuned).markdown()}")
    say(f"\n{trials_table(tuned).markdown()}\n")
    for file in written:
        say(f"written: {file}")
    if tuned.ended:
        say(f"the search ended early: {tuned.ended}; the same command with a higher limit goes on from here")


def _trial_json(trial: Trial) -> dict[str, object]:
    from ragloom.codec import to_json

    return {
        "number": trial.number,
        "values": dict(trial.values),
        "run": trial.run_id,
        "status": trial.status,
        "score": trial.score if trial.scores else None,
        "questions": len(trial.scores),
        "usage": to_json(trial.usage),
        "reason": trial.reason,
    }


def _price(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
