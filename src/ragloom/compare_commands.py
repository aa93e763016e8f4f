"""The command `ragloom compare`."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from ragloom.command_options import (
    ANSWERING_GROUPS,
    Commands,
    add_settings,
    comma_separated,
    command,
    positive,
)
from ragloom.console import SOME_FAILED, UNFINISHED, print_json, say, stoppable

if TYPE_CHECKING:
    import argparse

    from ragloom.pipelines.comparing import Plan, VariantRun
    from ragloom.pipelines.comparison import Comparison
    from ragloom.pipelines.comparison_files import Written
    from ragloom.pipelines.settings import Settings


def add_compare(commands: Commands) -> None:
    """The arguments of `ragloom compare`."""
    parser = command(
        commands,
        "compare",
        "answer the same questions with several pipelines, and report what each is worth; the same command resumes",
        "ragloom compare questions.jsonl --pipelines closed-book,single,hybrid --limit 50 --out comparison\n"
        "  ragloom compare --variants variants.toml --baseline single --out comparison",
    )
    parser.add_argument(
        "questions", type=Path, nargs="*", help="JSONL with id, question, answers; or a public dataset's"
    )
    add_compared(parser, required=True)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="for the report, the page and the rows"
    )
    parser.add_argument(
        "--estimate", action="store_true", help="answer a sample and predict what each variant will take"
    )
    parser.add_argument("--sample", type=positive, default=5, metavar="N", help="questions in the sample (default: 5)")
    parser.add_argument("--report-only", action="store_true", help="report on what is answered; asks no model")
    parser.add_argument("--retry-failed", action="store_true", help="try failed questions again")
    groups = [group for group in ANSWERING_GROUPS if group != "pipeline"]
    add_settings(parser, "where", *groups, "batch", "budget")


def add_compared(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Options of what is compared, for the command and the flow."""
    which = parser.add_mutually_exclusive_group(required=required)
    which.add_argument(
        "--pipelines", type=comma_separated, metavar="NAME,...", help="pipelines that differ in nothing else"
    )
    which.add_argument(
        "--variants", type=Path, metavar="FILE", help="TOML: settings of all, and a table for each variant's own"
    )
    parser.add_argument("--baseline", metavar="NAME", help="what the others are compared with (default: the first)")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N questions of each file")
    parser.add_argument(
        "--metric",
        choices=("em", "f1", "contains"),
        default="f1",
        help="of the Pareto front and the curves (default: f1)",
    )


def run_compare(args: argparse.Namespace, settings: Settings) -> int:
    """Run what the arguments say and give the exit code."""
    from ragloom.pipelines.comparing import answer_plan, plan_of
    from ragloom.pipelines.comparison import compared
    from ragloom.pipelines.comparison_files import check_folder, write_comparison
    from ragloom.pipelines.comparison_paths import with_paths

    plan = plan_of(
        settings,
        args.questions,
        pipelines=args.pipelines or (),
        variants=args.variants,
        limit=args.limit,
        baseline=args.baseline,
    )
    check_folder(args.out, [each.questions for each in plan.sets])
    if args.estimate:
        return _estimate(args, plan)
    runs: list[VariantRun] = []
    with stoppable() as stop:
        if not args.report_only:
            runs = answer_plan(plan, retry_failed=args.retry_failed, announce=_announce, stop=stop)
    comparison = with_paths(compared(plan, runs=runs), plan)
    written = write_comparison(comparison, args.out, metric=args.metric)
    _print(args, comparison, written)
    if comparison.pending:
        return stop.exit_code or UNFINISHED
    return SOME_FAILED if any(row.status == "failed" for row in comparison.rows) else 0


def _announce(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def _print(args: argparse.Namespace, comparison: Comparison, written: Written) -> None:
    from ragloom.codec import to_json
    from ragloom.pipelines.comparison_report import MAIN_TABLES, overview

    found = written.tables
    if args.json:
        runs: dict[str, dict[str, str]] = defaultdict(dict)
        for (variant, name), run_id in comparison.run_ids.items():
            runs[variant][name] = run_id
        print_json(
            {
                "variants": list(comparison.variants),
                "baseline": comparison.baseline,
                "questions": len(comparison.questions),
                "failures": [list(failure) for failure in comparison.failures],
                "pending": dict(comparison.pending),
                "runs": runs,
                "tables": {heading: to_json(table) for heading, table in found.items()},
                "files": [str(file) for file in written.files],
                "left_out": list(written.left_out),
            }
        )
        return
    for sentence in overview(comparison):
        say(sentence)
    shown = [found[heading].markdown() for heading in MAIN_TABLES if heading in found]
    say("\n" + "\n\n".join(shown) + "\n")
    for file in written.files:
        say(f"written: {file}")
    for reason in written.left_out:
        say(f"left out: {reason}")
    if comparison.pending:
        say("the same command goes on from here")


def _estimate(args: argparse.Namespace, plan: Plan) -> int:
    from ragloom.codec import to_json
    from ragloom.pipelines.comparing import estimate_plan

    found = estimate_plan(plan, sample=args.sample, announce=_announce)
    if args.json:
        print_json([{"variant": variant, "set": name, **to_json(each)} for variant, name, each in found])
        return 0
    for variant, name, each in found:
        cost = "price unknown" if each.cost is None else f"${each.cost.expected:.4f}"
        say(
            f"{variant} on {name}: {each.remaining} questions left, about {each.calls.expected:.0f} calls, "
            f"{each.tokens.expected:.0f} tokens, {cost}, {each.seconds.low:.0f} to {each.seconds.high:.0f} s"
        )
    seconds = sum(each.seconds.expected for _, _, each in found)
    say(f"all together about {seconds / 60:.0f} minutes; the samples' answers are kept")
    return 0
