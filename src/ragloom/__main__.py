"""The command line: each command calls a function of the library and prints. Heavy imports wait for their command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ragloom.arguments import command_line
from ragloom.console import (
    SOME_FAILED,
    UNFINISHED,
    open_workspace,
    print_json,
    require_workspace,
    say,
    stoppable,
    usage_line,
)
from ragloom.errors import ConfigError, RagloomError

if TYPE_CHECKING:
    from ragloom.pipelines.settings import Settings
    from ragloom.store import Store
    from ragloom.types import Answer

INTERRUPTED, BUG = 130, 70


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code; errors are printed in one line and its remedy, without a traceback."""
    args = command_line().parse_args(arguments)
    try:
        return _COMMANDS[args.command](args)
    except RagloomError as error:
        if args.debug:
            raise
        _print_error(args, type(error).__name__, error.problem, error.remedy)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the last place before a traceback
        if args.debug:
            raise
        _print_error(
            args, type(error).__name__, f"unexpected error: {error!r}", "run it again with --debug for details"
        )
        return BUG


def _print_error(args: argparse.Namespace, kind: str, problem: str, remedy: str) -> None:
    if args.json:
        print(json.dumps({"error": kind, "problem": problem, "remedy": remedy}), file=sys.stderr)  # noqa: T201
        return
    print(f"ragloom: {problem}", file=sys.stderr)  # noqa: T201
    if remedy:
        print(f"         {remedy}", file=sys.stderr)  # noqa: T201


# ---- Commands


def _index(args: argparse.Namespace) -> int:
    from ragloom.codec import to_json
    from ragloom.components.splitting import WholePassages
    from ragloom.pipelines.indexing import index_corpus, open_bm25, open_dense, remove_sources
    from ragloom.pipelines.wiring import open_embedder
    from ragloom.store import Store

    settings = _settings(args)
    if not (args.inputs or args.remove):
        raise ConfigError("nothing to index", "name files, folders or globs, or sources to --remove")
    with Store.open(settings.workspace) as store:
        removed = remove_sources(args.remove, store) if args.remove else 0
        report = index_corpus(args.inputs, store, splitter=WholePassages(settings.chunk_tokens), on_error=args.on_error)
        open_bm25(store)
        if not args.no_dense:
            open_dense(store, open_embedder(settings))
    if args.json:
        print_json({**to_json(report), "removed_by_name": removed})
    else:
        for skipped in report.skipped:
            say(f"skipped {skipped.source}: {skipped.reason}")
        say(
            f"{report.chunks} chunks in {settings.workspace}. Documents: {report.added} added, "
            f"{report.changed} changed, {report.removed + removed} removed, {report.unchanged} unchanged, "
            f"{len(report.skipped)} skipped"
        )
    failed = report.skipped and args.on_error == "skip"  # else they are only files of kinds that are not read
    return SOME_FAILED if failed else 0


def _ask(args: argparse.Namespace) -> int:
    from ragloom.codec import to_json
    from ragloom.pipelines.opening import open_pipeline, sent_on
    from ragloom.run import Run

    settings = _settings(args)
    # A pipeline of several answers, such as drafts, shows only the one that it settles on.
    stream = (
        not args.json
        and sys.stdout.isatty()
        and settings.pipeline in {"closed-book", "single", "hybrid", "graph", "ircot"}
    )
    with open_workspace(settings, otherwise="answering without keeping the reply") as store, Run(settings.budget):
        pipeline = sent_on(open_pipeline(settings, store, on_text=_stream if stream else None))
        answer = pipeline(args.question)
        if args.json:
            print_json(to_json(answer))
        else:
            _print_answer(answer, store, streamed=stream, trace=args.trace)
    return 0


def _batch(args: argparse.Namespace) -> int:
    from ragloom.codec import to_json
    from ragloom.pipelines.batch import answer_file
    from ragloom.pipelines.estimating import estimate_file

    settings = _settings(args)
    if settings.pipeline != "closed-book":
        require_workspace(settings)
    if args.estimate:
        estimate = estimate_file(settings, args.questions, sample=args.sample)
        print_json(to_json(estimate)) if args.json else _print_estimate(estimate)
        return 0
    with stoppable() as stop:
        report = answer_file(settings, args.questions, args.out, retry_failed=args.retry_failed, stop=stop)
    if args.json:
        print_json(to_json(report))
    else:
        say(
            f"run {report.run_id}: {report.done} answered ({report.answered} now), {report.failed} failed, "
            f"{report.pending} pending; {usage_line(report.usage)} in {report.seconds:.1f} s"
        )
        if args.out:
            say(f"answers: {args.out}")
        if report.failed:
            say("failed questions are rows with their error; --retry-failed tries them again")
        for warning in report.warnings:
            say(f"warning: {warning}")
        if report.stopped:
            say(f"stopped: {report.stopped}; the same command goes on from here")
    if report.stopped:
        return stop.exit_code or UNFINISHED
    return SOME_FAILED if report.failed else 0


def _eval(args: argparse.Namespace) -> int:
    from ragloom.codec import to_json
    from ragloom.pipelines.report import answers_table, retrieval_table
    from ragloom.run import Run
    from ragloom.store import Store

    settings = _settings(args)
    if not (args.questions or args.run_id):
        raise ConfigError("nothing to evaluate", "name a file of questions, or a run with --run")
    require_workspace(settings)
    with Store.open(settings.workspace, write=not args.run_id) as store:
        if args.run_id:
            table = answers_table(store, args.run_id)
        else:
            with Run(settings.budget):
                table = retrieval_table(settings, store, args.questions, retrievers=args.retrievers, ks=args.at)
    print_json(to_json(table)) if args.json else say(table.markdown())
    return 0


def _graph(args: argparse.Namespace) -> int:
    from ragloom.graph_commands import run_graph

    return run_graph(args, _settings(args))


def _memory(args: argparse.Namespace) -> int:
    from ragloom.memory_commands import run_memory

    return run_memory(args, _settings(args))


def _compare(args: argparse.Namespace) -> int:
    from ragloom.compare_commands import run_compare

    return run_compare(args, _settings(args))


def _tune(args: argparse.Namespace) -> int:
    from ragloom.tune_commands import run_tune

    return run_tune(args, _settings(args))


def _serve(args: argparse.Namespace) -> int:
    from ragloom.serve_commands import run_serve

    return run_serve(args, _settings(args))


def _gate(args: argparse.Namespace) -> int:
    from ragloom.gate_commands import run_gate

    return run_gate(args, _settings(args))


def _flow(args: argparse.Namespace) -> int:
    from ragloom.flows.running import run_flow

    return run_flow(args, _settings(args))


def _models(args: argparse.Namespace) -> int:
    from ragloom.components.local_models import CATALOGUE, is_pulled, pull

    if args.action == "list":
        rows = [
            {"name": name, "pulled": is_pulled(name), "licence": model.licence, "provenance": model.provenance}
            for name, model in CATALOGUE.items()
        ]
        if args.json:
            print_json(rows)
        for row in () if args.json else rows:
            say(f"{row['name']:18} {'pulled' if row['pulled'] else '-':7} {row['licence']:12} {row['provenance']}")
    elif args.action == "pull":
        pulled = []
        for name in args.names:
            pulled.append({"name": name, "path": str(path := pull(name))})
            if not args.json:
                say(f"{name}: {path}")
        if args.json:
            print_json(pulled)
    else:
        from ragloom.components.local_server import serve

        serve(args.name, host=args.host, port=args.port)
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from ragloom.store import Store, salvage

    settings = _settings(args)
    if args.salvage:
        problems = salvage(settings.workspace, args.salvage)
    else:
        with Store.open(settings.workspace, write=False) as store:
            problems = store.check()
    if args.json:
        print_json({"workspace": str(settings.workspace), "problems": problems})
    elif args.salvage:
        say("\n".join([f"salvaged {settings.workspace} into {args.salvage}; lost:", *(problems or ["nothing"])]))
    else:
        say("\n".join(problems) if problems else f"{settings.workspace} is healthy")
    return SOME_FAILED if problems else 0


# ---- What is printed


def _stream(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _print_answer(answer: Answer, store: Store, *, streamed: bool, trace: bool) -> None:
    say("" if streamed else answer.text)
    if answer.abstained:
        say("(the passages do not hold the answer)" if answer.hits else "(no answer)")
    chunks = {hit.chunk.id: hit.chunk for hit in answer.hits}
    for citation in answer.citations:
        document, chunk = store.document(citation.document_id), chunks[citation.chunk_id]
        quote = " ".join(document.text[max(citation.start - 60, chunk.start) : citation.end + 60].split())
        shown = quote if len(quote) <= 240 else quote[:239] + "…"
        place = f"{document.source}, characters {citation.start}-{citation.end}"
        say(f"\n[{citation.number}] {f'{chunk.title} ({place})' if chunk.title else place}")
        say(f"    {shown}")
    say(f"\n{usage_line(answer.run.usage)} in {answer.run.seconds:.2f} s")
    if trace:
        depths: list[int] = []
        for step in answer.run.spans:
            depths.append(depth := 0 if step.parent < 0 else depths[step.parent] + 1)
            say(f"{'  ' * depth}{step.seconds * 1000:9.1f} ms  {step.name}  {json.dumps(dict(step.attributes))}")


def _print_estimate(estimate: Any) -> None:
    say(f"{estimate.sample} questions answered as a sample; the {estimate.remaining} others will take about")
    lines = [("calls", "", estimate.calls), ("tokens", "", estimate.tokens), ("seconds", "", estimate.seconds)]
    for name, unit, value in [*lines, ("cost", "$", estimate.cost)]:
        if value is None:
            say(f"  {name:8} unknown: the model has no price in the table")
        else:
            say(f"  {name:8} {unit}{value.expected:,.4g}  ({unit}{value.low:,.4g} to {unit}{value.high:,.4g})")


def _settings(args: argparse.Namespace) -> Settings:
    from ragloom.pipelines.settings import Settings, load_settings

    return load_settings({name: getattr(args, name, None) for name in Settings.model_fields}, file=args.config)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "index": _index,
    "ask": _ask,
    "batch": _batch,
    "eval": _eval,
    "graph": _graph,
    "memory": _memory,
    "gate": _gate,
    "compare": _compare,
    "tune": _tune,
    "serve": _serve,
    "flow": _flow,
    "models": _models,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(main())
