"""`ragloom flow`: run a flow now, or stay and run it on a schedule; and reconcile those that were killed."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from prefect import Flow

from ragloom.components.datasets import read_questions
from ragloom.components.ingestion import find_files
from ragloom.errors import ConfigError, RagloomError
from ragloom.flows.batch_qa import batch_qa
from ragloom.flows.build_graph import build_graph
from ragloom.flows.build_memory import build_memory
from ragloom.flows.calibrate_gate import calibrate_gate
from ragloom.flows.clusters import Cluster, check_cluster
from ragloom.flows.compare_pipelines import compare_pipelines
from ragloom.flows.connecting import check_server, connected
from ragloom.flows.evaluate import evaluate
from ragloom.flows.index_corpus import index_corpus
from ragloom.flows.reconciling import reconcile
from ragloom.flows.scheduling import next_run, serve
from ragloom.pipelines.comparing import plan_of
from ragloom.pipelines.comparison_files import check_folder
from ragloom.pipelines.comparison_report import MAIN_TABLES
from ragloom.pipelines.export import check_export, check_writable
from ragloom.pipelines.gate_building import read_objective
from ragloom.pipelines.report import Table
from ragloom.pipelines.settings import Settings

SOME_FAILED = 1
_Result = dict[str, Any]
_Asked = tuple[Flow[..., _Result], _Result, Callable[..., str]]  # the flow, its parameters, its result in words


def run_flow(args: argparse.Namespace, settings: Settings) -> int:
    """Run the flow that the command line names, or with `--cron` serve it until interrupted; gives the exit code.

    What can be wrong is looked for before Prefect is started, which takes a while.

    Raises:
        ConfigError: paths or a schedule that cannot work, a schedule without a server, or a secret in an address.
        InputError: a file that is missing or cannot be read.
        RagloomError: Prefect's server does not answer; or what ended the flow.
    """
    _check_no_secrets(settings)
    if args.name == "reconcile":
        return _reconcile(settings, as_json=args.json)
    if args.name != "batch" and (args.on or args.cluster or args.cluster_workers):
        raise ConfigError(f"{args.name} runs on this machine only", "--on, --cluster, --cluster-workers are for batch")
    flow, parameters, summary = _FLOWS[args.name](args, settings)
    parameters["settings"] = settings.model_dump(mode="json")
    if not args.debug:
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).addFilter(_without_traceback)
    if args.cron is not None:
        first = next_run(args.cron, args.timezone)
        check_server()
        print(f"{flow.name}/{args.deployment}: the next run is at {first}", file=sys.stderr)  # noqa: T201
        serve(flow, parameters, deployment=args.deployment, cron=args.cron, timezone=args.timezone)
        return 0
    with _ended_by_sigterm(), connected():
        result = flow(**parameters)
    print(json.dumps(result, ensure_ascii=False, indent=2) if args.json else summary(result, args))  # noqa: T201
    return SOME_FAILED if result.get("failed") else 0


# ---- The flows' parameters and results


def _index(args: argparse.Namespace, _: Settings) -> _Asked:
    if not args.paths:
        raise ConfigError("nothing to index", "name files, folders or globs: ragloom flow index PATH...")
    for path in args.paths:
        find_files(path)
    return index_corpus, {"inputs": args.paths, "on_error": args.on_error, "dense": not args.no_dense}, _index_summary


def _index_summary(result: _Result, args: argparse.Namespace) -> str:
    counts = ", ".join(f"{result[name]} {name}" for name in ("added", "changed", "removed", "unchanged"))
    return f"{result['chunks']} chunks. Documents: {counts}, {len(result['skipped'])} skipped"


def _build_graph(args: argparse.Namespace, _: Settings) -> _Asked:
    if len(args.paths) > 1:
        raise ConfigError(
            f"a graph is built from one file of extractions or from none, got {len(args.paths)}",
            "ragloom flow build-graph [FILE]",
        )
    for path in args.paths:
        find_files(path)
    openie = args.paths[0] if args.paths else None
    return build_graph, {"openie": openie, "retry_failed": args.retry_failed}, _build_graph_summary


def _build_graph_summary(result: _Result, args: argparse.Namespace) -> str:
    sizes = ", ".join(f"{result[name]} {name}" for name in ("passages", "phrases", "facts", "edges"))
    return f"{sizes}. Extractor {result['extractor']}: {len(result['failed'])} passages failed"


def _build_memory(args: argparse.Namespace, _: Settings) -> _Asked:
    if args.paths:
        raise ConfigError(f"a memory is built of the workspace, not of {args.paths[0]}", "ragloom flow build-memory")
    return build_memory, {"retry_failed": args.retry_failed}, _build_memory_summary


def _build_memory_summary(result: _Result, args: argparse.Namespace) -> str:
    counts = ", ".join(f"{result[name]} {name}" for name in ("entries", "written", "reused", "tokens"))
    return f"{counts}. Memory {result['kind']} by {result['made_by']}: {len(result['failed'])} passages failed"


def _batch(args: argparse.Namespace, _: Settings) -> _Asked:
    if len(args.paths) != 1:
        raise ConfigError(
            f"a batch takes one file of questions, got {len(args.paths)}", "ragloom flow batch questions.jsonl"
        )
    _read(args.paths)
    if args.out is not None:
        check_export(args.out, Path(args.paths[0]))
    if args.report is not None:
        check_writable(args.report, Path(args.paths[0]))
    more: _Result = {name: str(path) for name in ("out", "report") if (path := getattr(args, name)) is not None}
    if (cluster := _cluster(args)) is not None:
        more["cluster"] = asdict(cluster)
    return batch_qa, {"questions": args.paths[0], "retry_failed": args.retry_failed, **more}, _batch_summary


def _cluster(args: argparse.Namespace) -> Cluster | None:
    if args.on is None:
        if args.cluster or args.cluster_workers:
            raise ConfigError("a cluster needs its kind", "--on dask or --on ray")
        return None
    cluster = Cluster(args.on, args.cluster, args.cluster_workers or 2)
    check_cluster(cluster)
    return cluster


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


def _evaluate(args: argparse.Namespace, _: Settings) -> _Asked:
    _read(args.paths)
    return evaluate, {"questions": args.paths}, _evaluate_summary


def _evaluate_summary(result: _Result, args: argparse.Namespace) -> str:
    return Table(result["columns"], result["rows"], result["notes"]).markdown()


def _calibrate_gate(args: argparse.Namespace, _: Settings) -> _Asked:
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


def _compare(args: argparse.Namespace, settings: Settings) -> _Asked:
    if args.out is None:
        raise ConfigError(
            "a comparison needs --out, the folder for its report",
            "ragloom flow compare questions.jsonl --pipelines closed-book,single --out comparison",
        )
    plan = plan_of(
        settings,
        [Path(file) for file in args.paths],
        pipelines=args.pipelines or (),
        variants=args.variants,
        limit=args.limit,
        baseline=args.baseline,
    )
    check_folder(args.out, [each.questions for each in plan.sets])
    for variant in plan.variants.values():
        _check_no_secrets(variant)
    _read(str(each.questions) for each in plan.sets)
    parameters = {
        "out": str(args.out),
        "questions": args.paths,
        "pipelines": args.pipelines,
        "variants": None if args.variants is None else str(args.variants),
        **{name: getattr(args, name) for name in ("baseline", "limit", "metric", "retry_failed")},
    }
    return compare_pipelines, parameters, _compare_summary


def _compare_summary(result: _Result, args: argparse.Namespace) -> str:
    found = result["tables"]
    shown = [Table(**found[heading]).markdown() for heading in MAIN_TABLES if heading in found]
    return "\n".join(["\n\n".join(shown), "", *(f"written: {file}" for file in result["files"])])


_FLOWS = {
    "index": _index,
    "build-graph": _build_graph,
    "build-memory": _build_memory,
    "batch": _batch,
    "evaluate": _evaluate,
    "calibrate-gate": _calibrate_gate,
    "compare": _compare,
}


def _read(files: Iterable[str]) -> None:
    for file in files:
        read_questions(Path(file))


# ---- Around the flow


def _reconcile(settings: Settings, *, as_json: bool) -> int:
    with connected():
        dead = reconcile(settings.workspace)
    if as_json:
        print(json.dumps([asdict(each) for each in dead], indent=2))  # noqa: T201
    else:
        lines = [f"{each.name} is set to Crashed: {each.reason}" for each in dead]
        print("\n".join(lines or [f"no flow run of {settings.workspace} is held Running without a process"]))  # noqa: T201
    return 0


def _check_no_secrets(settings: Settings) -> None:
    """Prefect keeps the parameters of its runs, and shows them."""
    for name in ("base_url", "embedding_base_url", "memory_base_url"):
        url = urlsplit(getattr(settings, name) or "")
        if url.username or url.password or url.query:
            raise ConfigError(
                f"{name} holds more than an address, and Prefect would keep it",
                "put the key into the environment, and the name of its variable into api_key_env",
            )


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
