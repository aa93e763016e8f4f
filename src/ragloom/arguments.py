"""The arguments of the command line, and what `--help` says of them."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

from ragloom.command_options import (
    ANSWERING_GROUPS,
    MODE_GROUPS,
    SETTINGS_OF,
    Commands,
    action,
    add_aim,
    add_collecting,
    add_common,
    add_costs,
    add_settings,
    comma_separated,
    command,
    port,
    positive,
)
from ragloom.compare_commands import add_compare, add_compared
from ragloom.memory_commands import add_memory
from ragloom.serve_commands import add_serve
from ragloom.tune_commands import add_tune


def command_line() -> argparse.ArgumentParser:
    """The parser of all commands; `command` is the name of the one to run."""
    parser = argparse.ArgumentParser(
        prog="ragloom",
        description="Index documents, ask questions, run batches, and measure the answers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ragloom {version('ragloom')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        *(_add_index, _add_ask, _add_batch, _add_eval, _add_graph, add_memory),
        *(add_compare, add_tune, _add_gate, add_serve, _add_flow, _add_models, _add_doctor),
    ):
        add(commands)
    return parser


_EPILOG = """\
A first session:
  ragloom models pull smollm2 minilm          once: the small local model and embedder
  ragloom index notes/                        into the folder ./workspace
  ragloom ask "Who chaired the meeting?"
  ragloom batch questions.jsonl --out answers.jsonl

Every setting can also stand in the environment (RAGLOOM_K=8) or in ./ragloom.toml (k = 8); an argument wins over
the environment, which wins over the file. Keys of hosted models are read from the environment only.
Exit codes: 0 done, 1 some failed, 2 wrong usage, 65 bad input, 69 model unavailable, 74 workspace trouble,
75 stopped or locked: try again, 130 interrupted."""


def _add_index(commands: Commands) -> None:
    parser = command(
        commands,
        "index",
        "read documents into the workspace; run it again after they changed",
        "ragloom index notes/ papers/*.pdf corpus.jsonl --on-error skip",
    )
    parser.add_argument(
        "inputs", nargs="*", metavar="PATH", help="txt, md, html, pdf, docx, csv, jsonl or json; folders, globs"
    )
    parser.add_argument(
        "--on-error", choices=("stop", "skip"), default="stop", help="at a document that cannot be read"
    )
    parser.add_argument("--no-dense", action="store_true", help="no embeddings: only BM25 retrieval")
    parser.add_argument("--remove", nargs="+", default=[], metavar="SOURCE", help="take documents out by their source")
    add_settings(parser, "where", "documents", "embedder")


def _add_ask(commands: Commands) -> None:
    parser = command(
        commands, "ask", "answer one question, with citations", 'ragloom ask "Who founded the observatory?" --k 8'
    )
    parser.add_argument("question")
    parser.add_argument("--trace", action="store_true", help="show each step with its time and numbers")
    add_settings(parser, "where", *ANSWERING_GROUPS, "budget")


def _add_batch(commands: Commands) -> None:
    parser = command(
        commands,
        "batch",
        "answer a file of questions, each once; the same command resumes",
        "ragloom batch questions.jsonl --out answers.parquet --max-cost 5",
    )
    parser.add_argument("questions", type=Path, help="JSONL with id, question, answers; or a public dataset's file")
    parser.add_argument("--out", type=Path, metavar="FILE", help="answers as .jsonl or .parquet")
    parser.add_argument(
        "--estimate", action="store_true", help="answer a sample and predict calls, tokens, cost and time"
    )
    parser.add_argument(
        "--sample", type=positive, default=10, metavar="N", help="questions in the sample (default: 10)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try failed questions again")
    add_settings(parser, "where", *ANSWERING_GROUPS, "batch", "budget")


def _add_eval(commands: Commands) -> None:
    parser = command(
        commands,
        "eval",
        "measure retrieval on labelled questions, or the answers of runs",
        "ragloom eval questions.json; ragloom eval --run 32103111650e --run 939c0cdffc41",
    )
    parser.add_argument("questions", type=Path, nargs="*", help="labelled questions: measures retrieval")
    parser.add_argument(
        "--run", dest="run_id", action="append", metavar="ID", help="measures a run's answers; give two to compare"
    )
    parser.add_argument(
        "--retrievers",
        nargs="+",
        choices=("bm25", "dense", "fused", "graph", "ircot", "notes", "clues"),
        default=("bm25", "dense", "fused"),
        help="what is measured, the first being what the others are compared with (default: bm25 dense fused); "
        "ircot, notes and clues ask the model where they are set so, and retrieve with --retriever",
    )
    parser.add_argument(
        "--at", type=positive, nargs="+", default=(2, 5, 10), metavar="K", help="cut-offs (default: 2 5 10)"
    )
    add_settings(
        parser, "where", "retrieval", "walk", "graph", "notes", "memory", "clues", "embedder", "model", "budget"
    )


def _add_graph(commands: Commands) -> None:
    parser = command(
        commands,
        "graph",
        "the knowledge graph: build it, see why passages are found, measure and export it",
        'ragloom graph show "Where was the director of Fist Power born?"',
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for add in (_add_graph_build, _add_graph_show, _add_graph_stats, _add_graph_export):
        add_common(add(actions), default=argparse.SUPPRESS)


def _add_graph_build(actions: Commands) -> argparse.ArgumentParser:
    parser = action(
        actions,
        "build",
        "build the graph of the workspace, or bring it up to date",
        "Only what is new is read. Graphs by rules are also built by themselves when they are first used.",
    )
    parser.add_argument(
        "--import", dest="openie", type=Path, metavar="FILE", help="take entities and triples from a file of HippoRAG's"
    )
    parser.add_argument("--retry-failed", action="store_true", help="read passages again that the extractor failed for")
    add_settings(parser, "where", "graph", "model", "batch", "budget")
    return parser


def _add_graph_show(actions: Commands) -> argparse.ArgumentParser:
    parser = action(
        actions,
        "show",
        "show why the passages for a question are found",
        "Prints the strongest paths from the question to each passage, and writes a page to look at: one file that "
        "needs no network.",
    )
    parser.add_argument("question")
    parser.add_argument("-k", "--k", metavar="K", help="passages (default: 5)")
    parser.add_argument("--paths", type=positive, default=3, metavar="N", help="paths to each (default: 3)")
    parser.add_argument(
        "--output", type=Path, default=Path("graph.html"), metavar="FILE", help="the page (default: graph.html)"
    )
    add_settings(parser, "where", "graph", "walk", "embedder", "model")
    return parser


def _add_graph_stats(actions: Commands) -> argparse.ArgumentParser:
    parser = action(actions, "stats", "print the graph in numbers", "Builds it first where that is needed.")
    parser.add_argument("--hubs", type=positive, default=10, metavar="N", help="largest hubs named (default: 10)")
    add_settings(parser, "where", "graph", "model")
    return parser


def _add_graph_export(actions: Commands) -> argparse.ArgumentParser:
    parser = action(
        actions,
        "export",
        "write the graph for other programs",
        "As GraphML (Gephi, yEd, Cytoscape), JSON for networkx.node_link_graph, or a folder with two Parquet tables.",
    )
    parser.add_argument(
        "--format",
        dest="form",
        choices=("graphml", "networkx-json", "parquet"),
        help="by default as the output ends: .json, .parquet, and else graphml",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a file; a folder for parquet")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    add_settings(parser, "where", "graph", "model")
    return parser


def _add_gate(commands: Commands) -> None:
    parser = command(
        commands,
        "gate",
        "gates that retrieve only where it helps: collect outcomes, calibrate a gate from them, report on it",
        "ragloom gate collect labelled.jsonl --signals question,draft --out outcomes.jsonl\n"
        "  ragloom gate calibrate outcomes.jsonl --out gate.json --objective price=0.02\n"
        "  ragloom gate report outcomes.jsonl --gate gate.json\n"
        '  ragloom ask "Who founded the observatory?" --pipeline adaptive --gate gate.json',
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for add in (_add_gate_collect, _add_gate_calibrate, _add_gate_report):
        add_common(add(actions), default=argparse.SUPPRESS)


def _add_gate_collect(actions: Commands) -> argparse.ArgumentParser:
    parser = action(
        actions,
        "collect",
        "answer labelled questions under each mode, and measure what gates could decide by",
        "Each question once; the same command resumes. 200 questions are enough for a threshold, 500 for a model.",
    )
    parser.add_argument("questions", type=Path, help="JSONL with id, question, answers; or a public dataset's file")
    add_collecting(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the outcomes, as .jsonl")
    parser.add_argument("--retry-failed", action="store_true", help="try failed questions again")
    add_settings(parser, "where", *MODE_GROUPS, "batch", "budget")
    return parser


def _add_gate_calibrate(actions: Commands) -> argparse.ArgumentParser:
    parser = action(
        actions,
        "calibrate",
        "choose a gate by cross-validation on outcomes, and save it",
        "No model is called; the gate holds for the model and prompts that the outcomes were collected "
        "with. Where no gate is better than a fixed mode, the fixed mode is what is saved.",
    )
    parser.add_argument("outcomes_file", type=Path, metavar="OUTCOMES", help="JSONL of `ragloom gate collect`")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the gate, as .json")
    parser.add_argument(
        "--modes",
        type=comma_separated,
        metavar="MODE,...",
        help="that the gate may choose (default: all that were collected)",
    )
    add_aim(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="a report in Markdown")
    return parser


def _add_gate_report(actions: Commands) -> argparse.ArgumentParser:
    parser = action(
        actions,
        "report",
        "replay gates on outcomes, beside never, always, at random and at best",
        "No model is called.",
    )
    parser.add_argument("outcomes_file", type=Path, metavar="OUTCOMES", help="JSONL of `ragloom gate collect`")
    parser.add_argument(
        "--gate", dest="gates", type=Path, action="append", default=[], metavar="FILE", help="may be repeated"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the report, in Markdown")
    add_costs(parser)
    return parser


def _add_flow(commands: Commands) -> None:
    parser = command(
        commands,
        "flow",
        "the same as Prefect flows, at once or on a schedule",
        'ragloom flow batch questions.jsonl --out answers.jsonl --cron "0 3 * * *"',
    )
    parser.add_argument(
        "name",
        choices=(
            *("index", "build-graph", "build-memory", "batch", "evaluate", "calibrate-gate", "compare", "reconcile"),
        ),
        help="reconcile: set to Crashed what Prefect holds Running although its process was killed",
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="what to index, the questions, or extractions of HippoRAG's to import"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="answers as .jsonl or .parquet; a gate as .json; a comparison's folder"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="a report in Markdown")
    parser.add_argument(
        "--on-error", choices=("stop", "skip"), default="stop", help="index: at a document that cannot be read"
    )
    parser.add_argument("--no-dense", action="store_true", help="index: no embeddings, only BM25 retrieval")
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="batch, build-graph, build-memory, compare: try again what failed before",
    )
    add_collecting(parser)
    add_aim(parser)
    add_compared(parser, required=False)
    parser.add_argument(
        "--on", choices=("dask", "ray"), help="batch: have workers of a cluster answer, see docs/scale.md"
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="of --on, e.g. tcp://host:8786 (default: processes of this machine)"
    )
    parser.add_argument(
        "--cluster-workers", type=positive, metavar="N", help="of --on: slices of questions under way (default: 2)"
    )
    parser.add_argument("--cron", metavar="WHEN", help="stay and run on this schedule; needs `prefect server start`")
    parser.add_argument("--timezone", metavar="ZONE", help="of --cron, e.g. Europe/Berlin (default: UTC)")
    parser.add_argument(
        "--deployment", default="ragloom", metavar="NAME", help="of --cron in Prefect (default: ragloom)"
    )
    add_settings(parser, *SETTINGS_OF)


def _add_models(commands: Commands) -> None:
    parser = command(commands, "models", "the local models: list, pull, serve", "ragloom models pull smollm2 minilm")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="names, licences, where they come from")
    pull = actions.add_parser("pull", help="fetch models into the cache, checksums verified")
    pull.add_argument("names", nargs="+", metavar="NAME")
    serve = actions.add_parser("serve", help="serve a model on an OpenAI-compatible endpoint until interrupted")
    serve.add_argument("name", nargs="?", default="smollm2")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=port, default=8080)
    for each in actions.choices.values():  # `models list --json` as well as `models --json list`
        add_common(each, default=argparse.SUPPRESS)


def _add_doctor(commands: Commands) -> None:
    parser = command(commands, "doctor", "check a workspace, row by row", "ragloom doctor --workspace workspace")
    parser.add_argument("--salvage", type=Path, metavar="FOLDER", help="copy every good row into a new workspace")
    add_settings(parser, "where")
