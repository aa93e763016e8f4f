"""`ragloom flow`: run a flow now, or stay and run it on a schedule."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from ragloom.components.datasets import read_questions
from ragloom.components.ingestion import find_files
from ragloom.errors import ConfigError, RagloomError
from ragloom.flows.batch_qa import batch_qa
from ragloom.flows.build_graph import build_graph
from ragloom.flows.calibrate_gate import calibrate_gate
from ragloom.flows.evaluate import evaluate
from ragloom.flows.index_corpus import index_corpus
from ragloom.pipelines.export import check_export, check_writable
from ragloom.pipelines.gate_building import read_objective
from ragloom.pipelines.report import Table
from ragloom.pipelines.settings import Settings

SOME_FAILED = 1
_Result = dict[str, Any]


def run_flow(args: argparse.Namespace, settings: Settings) -> int:
    """Run the flow that the command line names, or with `--cron` serve it until interrupted; gives the exit code.

    What can be wrong is looked for before Prefect is started, which takes a while.

    Raises:
        ConfigError: paths or a schedule that cannot work, or a schedule without a server.
        InputError: a file that is missing or cannot be read.
        RagloomError: Prefect's server does not answer; or what ended the flow.
    """
    flow, parameters, summary = _FLOWS[args.name](args)
    parameters["settings"] = settings.model_dump(mode="json")
    if not args.debug:
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).addFilter(_without_traceback)
    if args.cron is not None:
        return _serve(flow, args.cron, parameters)
    with _ended_by_sigterm():
        _require_server()
        result = flow(**parameters)
    print(json.dumps(result, ensure_ascii=False, indent=2) if args.json else summary(result, args))  # noqa: T201
    return SOME_FAILED if result.get("failed") else 0


# ---- The flows' parameters and results


def _index(args: argparse.Namespace) -> tuple[Flow[..., _Result], _Result, Callable[..., str]]:
    if not args.paths:
        raise ConfigError("nothing to index", "name files, folders or globs: ragloom flow index PATH...")
    for path in args.paths:
        find_files(path)
    return index_corpus, {"inputs": args.paths}, _index_summary


def _index_summary(result: _Result, args: argparse.Namespace) -> str:
    counts = ", ".join(f"{result[name]} {name}" for name in ("added", "changed", "removed", "unchanged"))
    return f"{result['chunks']} chunks. Documents: {counts}, {len(result['skipped'])} skipped"


def _build_graph(args: argparse.Namespace) -> tuple[Flow[..., _Result], _Result, Callable[..., str]]:
    if len(args.paths) > 1:
        raise ConfigError(
            f"a graph is built from one file of extractions or from none, got {len(args.paths)}",
            "ragloom flow build-graph [FILE]",
        )
    for path in args.paths:
        find_files(path)
    return build_graph, dict(zip(("openie",), args.paths, strict=False)), _build_graph_summary


def _build_graph_summary(result: _Result, args: argparse.Namespace) -> str:
    sizes = ", ".join(f"{result[name]} {name}" for name in ("passages", "phrases", "facts", "edges"))
    return f"{sizes}. Extractor {result['extractor']}: {len(result['failed'])} passages failed"


def _batch(args: argparse.Namespace) -> tuple[Flow[..., _Result], _Result, Callable[..., str]]:
    if len(args.paths) != 1:
        raise ConfigError(
            f"a batch takes one file of questions, got {len(args.paths)}", "ragloom flow batch questions.jsonl"
        )
    _read(args.paths)
    if args.out is not None:
        check_export(args.out, Path(args.paths[0]))
    if args.report is not None:
        check_writable(args.report, Path(args.paths[0]))
    files = {name: str(path) for name, path in (("out", args.out), ("report", args.report)) if path is not None}
    return batch_qa, {"questions": args.paths[0], **files}, _batch_summary


def _batch_summary(result: _Result, args: argparse.Namespace) -> str:
    usage = result["usage"]
    cost = "price unknown" if usage["cost"] is None else f"${usage['cost']:.4f}"
    tokens = usage["prompt_tokens"] + usage["completion_tokens"]
    counts = (
        f"run {result['run_id']}: {result['done']} answered ({result['answered']} now), {result['failed']} failed, "
        f"{result['pending']} pending; {usage['calls']} calls and {usage['cache_hits']} kept replies, {tokens} tokens, "
        f"{cost} in {result['seconds']:.1f} s"
    )
    files = (f"{name}: {path}" for name, path in (("answers", args.out), ("report", args.report)) if path is not None)
    return "\n".join([counts, *files])


def _evaluate(args: argparse.Namespace) -> tuple[Flow[..., _Result], _Result, Callable[..., str]]:
    _read(args.paths)
    return evaluate, {"questions": args.paths}, _evaluate_summary


def _evaluate_summary(result: _Result, args: argparse.Namespace) -> str:
    return Table(result["columns"], result["rows"], result["notes"]).markdown()


def _calibrate_gate(args: argparse.Namespace) -> tuple[Flow[..., _Result], _Result, Callable[..., str]]:
    if len(args.paths) != 1 or args.out is None:
        raise ConfigError(
            "calibrating a gate takes one file of labelled questions, and --out for the gate",
            "ragloom flow calibrate-gate labelled.jsonl --out gate.json",
        )
    _read(args.paths)
    for file in filter(None, (args.out, args.report)):
        check_writable(file, Path(args.paths[0]))
    read_objective(args.objective, args.costs)
    parameters = {
        "questions": args.paths[0],
        "gate": str(args.out),
        "signals": args.signals,
        "modes": args.modes,
        "objective": args.objective,
        "costs": args.costs,
        "report": None if args.report is None else str(args.report),
    }
    return calibrate_gate, parameters, _calibrate_gate_summary


def _calibrate_gate_summary(result: _Result, args: argparse.Namespace) -> str:
    table = Table(**result["table"])
    return "\n".join([result["reason"], "", table.markdown(), "", f"gate: {args.out}"])


_FLOWS = {
    "index": _index,
    "build-graph": _build_graph,
    "batch": _batch,
    "evaluate": _evaluate,
    "calibrate-gate": _calibrate_gate,
}


def _read(files: Iterable[str]) -> None:
    for file in files:
        read_questions(Path(file))


# ---- Prefect


def _serve(flow: Flow[..., _Result], cron: str, parameters: _Result) -> int:
    try:
        CronSchedule(cron=cron)
    except ValueError:
        raise ConfigError(
            f"--cron {cron!r} is no schedule", 'five fields: minute hour day month weekday, e.g. "0 3 * * *" (UTC)'
        ) from None
    if not PREFECT_API_URL.value():
        raise ConfigError(
            "a schedule needs a Prefect server that stays",
            "start one with `prefect server start` and set PREFECT_API_URL=http://127.0.0.1:4200/api",
        )
    _require_server()
    # One run at a time: a second would wait for the workspace in vain.
    flow.serve(name="ragloom", cron=cron, parameters=parameters, limit=1, entrypoint_type=EntrypointType.MODULE_PATH)
    return 0


def _require_server() -> None:
    """Start the embedded server, or see that the one at PREFECT_API_URL answers."""
    url = PREFECT_API_URL.value()
    try:
        with get_client(sync_client=True) as client:
            problem = client.api_healthcheck()
    except (RuntimeError, ValueError) as error:  # the embedded server did not come up, or is switched off
        problem = error
    if problem is None:
        return
    if url:
        remedy = "start it with `prefect server start`, or unset PREFECT_API_URL to use the embedded server"
        raise RagloomError(f"Prefect's server at {url} does not answer: {problem}", remedy) from None
    remedy = "raise PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, or use `ragloom batch`, which needs no server"
    raise RagloomError(f"Prefect's embedded server did not start: {problem}", remedy) from None


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End as Python ends, which stops the embedded server. Prefect hands the signal on to what was set before it."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    earlier = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Let our own errors be logged as the sentences they are."""
    if record.exc_info and isinstance(record.exc_info[1], RagloomError):
        record.exc_info = None
    return True
