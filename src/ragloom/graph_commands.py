"""The commands of `ragloom graph`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ragloom.console import SOME_FAILED, open_workspace, print_json, require_workspace, say

if TYPE_CHECKING:
    import argparse
    from contextlib import AbstractContextManager

    from ragloom.graph.exporting import Format
    from ragloom.pipelines.settings import Settings
    from ragloom.store import Store


_FORMATS: dict[str, Format] = {".json": "networkx-json", ".parquet": "parquet"}  # of exports, by their endings
_FAILURES = 10  # named; --json has them all


def run_graph(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action of the arguments and give the exit code."""
    return _ACTIONS[args.action](args, settings)


def _build(args: argparse.Namespace, settings: Settings) -> int:
    from ragloom.codec import to_json
    from ragloom.graph.characters import one_line
    from ragloom.pipelines.graph_building import build_graph
    from ragloom.run import Run
    from ragloom.store import Store

    require_workspace(settings)
    with Store.open(settings.workspace) as store, Run(settings.budget):
        report = build_graph(settings, store, openie=args.openie, retry_failed=args.retry_failed)
    if args.json:
        print_json(to_json(report))
        return SOME_FAILED if report.failed else 0
    say(f"{report.phrases} phrases and {report.facts} facts of {report.passages} passages, with {report.edges} edges")
    if report.extracted is not None:
        say(f"passages: {report.extracted} read, {report.reused} read before, {len(report.failed)} failed")
    if report.dropped:
        say(f"{report.dropped} malformed entities and triples were left out")
    if report.unmatched:
        say(f"{report.unmatched} records of {args.openie} are no passages here")
    for failure in report.failed[:_FAILURES]:
        say(f"failed: {one_line(failure.title) or failure.chunk_id}: {one_line(failure.error)}")
    if len(report.failed) > _FAILURES:
        say(f"and {len(report.failed) - _FAILURES} more")
    if report.failed:
        say("failed passages are in the graph by their names; --retry-failed tries them again")
    if args.openie:
        say(f"use it with --extractor '{report.extractor}'")
    return SOME_FAILED if report.failed else 0


def _show(args: argparse.Namespace, settings: Settings) -> int:
    from ragloom.codec import to_json
    from ragloom.components.reading import check_question
    from ragloom.graph.drawing import page
    from ragloom.graph.explaining import explain
    from ragloom.pipelines.wiring import open_graph_index
    from ragloom.writing import write_aside

    check_question(args.question)
    with _open(settings) as store:
        index = open_graph_index(settings, store)
        walk = index.walk(args.question, settings.k)
    explanation = explain(walk, index.graph, index.chunks, paths=args.paths)
    write_aside(args.output, lambda aside: aside.write_text(page(explanation), encoding="utf-8"))
    if args.json:
        print_json({**to_json(explanation), "page": str(args.output)})
    else:
        say(f"{explanation}\n\nto look at: {args.output}")
    return 0


def _stats(args: argparse.Namespace, settings: Settings) -> int:
    from ragloom.codec import to_json
    from ragloom.graph.statistics import statistics
    from ragloom.pipelines.wiring import open_knowledge_graph

    with _open(settings) as store:
        found = to_json(statistics(open_knowledge_graph(settings, store), hubs=args.hubs))
    if args.json:
        print_json(found)
        return 0
    hubs = found.pop("hubs")
    for name, value in found.items():
        say(f"{name.replace('_', ' '):22} {_number(value)}")
    for hub in hubs:
        say(f"{'hub':22} {hub['phrase']} ({hub['passages']:,} passages)")
    return 0


def _export(args: argparse.Namespace, settings: Settings) -> int:
    from ragloom.codec import to_json
    from ragloom.graph.exporting import export_graph
    from ragloom.pipelines.wiring import open_knowledge_graph

    form = args.form or _FORMATS.get(args.output.suffix, "graphml")
    with _open(settings) as store:
        graph = open_knowledge_graph(settings, store)
        report = export_graph(graph, store.chunks(), args.output, form, overwrite=args.overwrite)
    if args.json:
        print_json(to_json(report))
        return 0
    say(f"{report.nodes} nodes and {report.edges} edges in {args.output}")
    if report.replaced:
        say(f"{report.replaced} characters that {form} cannot hold were replaced by visible ones")
    return 0


def _open(settings: Settings) -> AbstractContextManager[Store]:
    return open_workspace(settings, otherwise="going on without keeping what is built")


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.1f}" if isinstance(value, float) else str(value)


_ACTIONS: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
    "build": _build,
    "show": _show,
    "stats": _stats,
    "export": _export,
}
