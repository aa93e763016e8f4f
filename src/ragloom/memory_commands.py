"""The commands of `ragloom memory`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ragloom.command_options import Commands, action, add_common, add_settings, command
from ragloom.console import SOME_FAILED, open_workspace, print_json, require_workspace, say

if TYPE_CHECKING:
    from ragloom.components.memory import Memory
    from ragloom.pipelines.settings import Settings

_NAMED = 10  # failures; --json has them all


def add_memory(commands: Commands) -> None:
    """The arguments of `ragloom memory`."""
    parser = command(
        commands,
        "memory",
        "what the passages say in fewer words, for clues: build it, and look at it",
        "ragloom memory build --memory gists --max-calls 500",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for add in (_add_build, _add_show):
        add_common(add(actions), default=argparse.SUPPRESS)


def run_memory(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action of the arguments and give the exit code."""
    return _ACTIONS[args.action](args, settings)


def _add_build(actions: Commands) -> argparse.ArgumentParser:
    parser = action(
        actions,
        "build",
        "build the memory of the workspace, or bring it up to date",
        "Gists and trees are written by the memory's model, which is asked about new and changed passages only. The "
        "other kinds call no model, and are also built by themselves when they are first used.",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="ask again about passages that the model failed for"
    )
    add_settings(parser, "where", "memory", "graph", "model", "batch", "budget")
    return parser


def _add_show(actions: Commands) -> argparse.ArgumentParser:
    parser = action(
        actions,
        "show",
        "show the memory, or what of it is put to a model with a question",
        "Fails where documents changed since a model wrote the memory.",
    )
    parser.add_argument("question", nargs="?", help="shows what is put to a model with it; without one, the numbers")
    add_settings(parser, "where", "memory", "graph", "model")
    return parser


def _build(args: argparse.Namespace, settings: Settings) -> int:
    from ragloom.codec import to_json
    from ragloom.graph.characters import one_line
    from ragloom.pipelines.memory_building import build_memory
    from ragloom.run import Run
    from ragloom.store import Store

    require_workspace(settings)
    with Store.open(settings.workspace) as store, Run(settings.budget):
        report = build_memory(settings, store, retry_failed=args.retry_failed)
    if args.json:
        print_json(to_json(report))
        return SOME_FAILED if report.failed else 0
    say(f"{report.entries} entries, about {report.tokens:,} tokens, key {report.key}")
    say(f"entries: {report.written} written, {report.reused} written before, {len(report.failed)} failed")
    for failure in report.failed[:_NAMED]:
        say(f"failed: {one_line(failure.titles)}: {one_line(failure.error)}")
    if len(report.failed) > _NAMED:
        say(f"and {len(report.failed) - _NAMED} more")
    if report.failed:
        say("failed passages are in the memory by their own sentences; --retry-failed asks again")
    return SOME_FAILED if report.failed else 0


def _show(args: argparse.Namespace, settings: Settings) -> int:
    from ragloom.pipelines.memory_building import StaleMemory, open_memory

    with open_workspace(settings, otherwise="going on without keeping what is built") as store:
        try:
            memory = open_memory(settings, store)
        except StaleMemory as error:
            if args.question is not None:
                raise
            _print({"kind": settings.memory, "stale": True, "missing": error.missing}, args)
            return SOME_FAILED
    if args.question is None:
        _print(_numbers(memory), args)
    else:
        _recall(memory, args, settings)
    return 0


def _recall(memory: Memory, args: argparse.Namespace, settings: Settings) -> None:
    from ragloom.codec import to_json
    from ragloom.components.reading import check_question
    from ragloom.graph.characters import visible

    check_question(args.question)
    found = memory.recall(args.question, context_tokens=settings.memory_tokens)
    if args.json:
        print_json(to_json(found))
        return
    say(f"{visible(found.text)}\n")
    say(f"{len(found.places)} of {len(memory.entries)} entries; {found.left_out} neither here nor summed up here")


def _numbers(memory: Memory) -> dict[str, Any]:
    from ragloom.components.completions import estimate_tokens

    return {
        "kind": memory.kind,
        "stale": False,
        "made by": memory.made_by,
        "key": memory.key,
        "entries": len(memory.entries),
        "by the model": sum(entry.by == "model" for entry in memory.entries),
        "levels": 1 + max((entry.level for entry in memory.entries), default=0),
        "tokens": estimate_tokens(memory.text),
    }


def _print(numbers: dict[str, Any], args: argparse.Namespace) -> None:
    if args.json:
        print_json({name.replace(" ", "_"): value for name, value in numbers.items()})
        return
    for name, value in numbers.items():
        shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        say(f"{name:14} {shown}")


_ACTIONS: dict[str, Callable[[argparse.Namespace, Settings], int]] = {"build": _build, "show": _show}
