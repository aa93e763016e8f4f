"""The commands of `ragloom gate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ragloom.console import (
    SOME_FAILED,
    UNFINISHED,
    print_json,
    require_workspace,
    say,
    stoppable,
    usage_line,
)

if TYPE_CHECKING:
    import argparse

    from ragloom.pipelines.settings import Settings


def run_gate(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action of the arguments and give the exit code."""
    return _ACTIONS[args.action](args, settings)


def _collect(args: argparse.Namespace, settings: Settings) -> int:
    from ragloom.codec import to_json
    from ragloom.pipelines.outcome_collection import collect_file

    require_workspace(settings)
    with stoppable() as stop:
        report = collect_file(
            settings,
            args.questions,
            args.out,
            signals=args.signals,
            modes=args.modes,
            retry_failed=args.retry_failed,
            stop=stop,
        )
    if args.json:
        print_json(to_json(report))
    else:
        say(
            f"run {report.run_id}: {report.done} outcomes ({report.answered} now), {report.failed} failed, "
            f"{report.pending} pending; {usage_line(report.usage)} in {report.seconds:.1f} s"
        )
        say(f"outcomes: {args.out}")
        if report.failed:
            say("failed questions are left out; --retry-failed tries them again")
        if report.stopped:
            say(f"stopped: {report.stopped}; the same command goes on from here")
    if report.stopped:
        return stop.exit_code or UNFINISHED
    return SOME_FAILED if report.failed else 0


def _calibrate(args: argparse.Namespace, settings: Settings) -> int:
    from ragloom.codec import to_json
    from ragloom.pipelines.export import check_files
    from ragloom.pipelines.gate_building import build_gate
    from ragloom.pipelines.outcomes import read_outcomes

    outcomes = read_outcomes(args.outcomes_file)
    check_files([file for file in (args.out, args.report) if file], [args.outcomes_file])
    built = build_gate(
        outcomes, args.out, modes=args.modes, objective=args.objective, costs=args.costs, report=args.report
    )
    if args.json:
        print_json({**to_json(built), "gate": str(args.out)})
        return 0
    say(f"{built}\n\ngate: {args.out}")
    if args.report:
        say(f"report: {args.report}")
    return 0


def _report(args: argparse.Namespace, settings: Settings) -> int:
    from ragloom.codec import to_json
    from ragloom.pipelines.export import check_files
    from ragloom.pipelines.gate_building import read_costs, replayed
    from ragloom.pipelines.gate_report import gates_table, write_gate_report
    from ragloom.pipelines.outcomes import read_outcomes

    outcomes = read_outcomes(args.outcomes_file)
    outcomes, gates = replayed(outcomes, args.gates)
    costs = read_costs(args.costs)
    if args.out:
        check_files([args.out], [args.outcomes_file, *args.gates])
        write_gate_report(args.out, outcomes, gates, costs=costs)
    table = gates_table(outcomes, gates, costs=costs)
    print_json(to_json(table)) if args.json else say(table.markdown())
    if args.out and not args.json:
        say(f"\nreport: {args.out}")
    return 0


_ACTIONS: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
    "collect": _collect,
    "calibrate": _calibrate,
    "report": _report,
}
