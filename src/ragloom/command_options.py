"""What commands of the command line share: how they begin, the settings as flags, what a value must be."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from ragloom.pipelines.settings import Settings

SETTINGS_OF = {  # the groups of settings that commands take, by their headings in --help
    "where": ("workspace",),
    "documents": ("chunk_tokens",),
    "retrieval": ("retriever", "steps"),
    "walk": ("walk_from",),
    "graph": ("extractor",),
    "pipeline": ("pipeline",),
    "reading": ("k", "mode", "prompt", "context_tokens"),
    "context": ("select", "candidates", "utility", "evaluations", "order"),
    "notes": ("note_taker", "note_tokens", "note_seconds"),
    "memory": ("memory", "memory_tokens", "memory_model", "memory_base_url"),
    "clues": ("clue_maker", "clues_when"),
    "gate": ("gate", "gate_bound", "when_needed", "allow_mismatch"),
    "what gates look at": ("iterative", "popularity", "outcomes"),
    "model": ("model", "base_url", "api", "api_key_env", "max_tokens", "seed", "deadline_s"),
    "embedder": ("embedder", "embedding_base_url"),
    "batch": ("workers", "retrieval_rate"),
    "budget": ("max_total_tokens", "max_calls", "max_cost", "max_seconds"),
}

MODE_GROUPS = ("reading", "context", "retrieval", "walk", "graph", "notes", "what gates look at", "model", "embedder")
ANSWERING_GROUPS = ("pipeline", "gate", "memory", "clues", *MODE_GROUPS)

Commands = Any  # argparse keeps the type of what add_subparsers returns to itself


def command(commands: Commands, name: str, purpose: str, example: str) -> argparse.ArgumentParser:
    """The parser of a command. Its help begins with the purpose and ends with the example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=purpose,
        description=purpose[0].upper() + purpose[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common(parser)
    return parser


def action(actions: Commands, name: str, purpose: str, details: str) -> argparse.ArgumentParser:
    """The parser of an action of a command that has several; without the common options, see `add_common`."""
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}. {details}"
    )
    return parser


def add_common(parser: argparse.ArgumentParser, **default: Any) -> None:
    """The options that every command takes."""
    parser.add_argument("--json", action="store_true", help="print one JSON value instead of text", **default)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error", **default)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file of settings instead of ./ragloom.toml", **default
    )


def add_settings(parser: argparse.ArgumentParser, *groups: str) -> None:
    """The settings of these groups as options, described and with their defaults."""
    for group in groups:
        section = parser.add_argument_group(group)
        for name in SETTINGS_OF[group]:
            field = Settings.model_fields[name]
            if field.annotation is bool:
                section.add_argument(_flag(name), action="store_true", default=None, help=field.description)
                continue
            default = "" if field.default is None else f" (default: {field.default})"
            kinds = (field.annotation, *get_args(field.annotation))  # a choice that may be left out is a union
            choices = [option for kind in kinds for option in get_args(kind) if isinstance(option, str)]
            section.add_argument(
                _flag(name),
                metavar="|".join(choices) if choices else name.rsplit("_")[-1].upper(),
                help=f"{field.description}{default}",
            )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def add_collecting(parser: argparse.ArgumentParser) -> None:
    """Options of collecting outcomes for gates."""
    parser.add_argument(
        "--signals",
        type=comma_separated,
        default="question",
        metavar="NAME,...",
        help="what is measured: question, draft, ask, self-assessment, confidence, samples, prompts, popularity, "
        "retrieval, neighbours, embedding, answers (default: question)",
    )
    parser.add_argument(
        "--modes",
        type=comma_separated,
        default="none,single",
        metavar="MODE,...",
        help="none, single, iterative (default: none,single)",
    )


def add_aim(parser: argparse.ArgumentParser) -> None:
    """Options of what a gate is calibrated for."""
    parser.add_argument(
        "--objective",
        default="accuracy",
        metavar="WHAT",
        help="accuracy; price=0.02, less so much for each unit of cost; rate=0.6 or cost=3, at most that; "
        "match=single:0.01, the cheapest within that of a mode; risk=0.2 (default: accuracy)",
    )
    add_costs(parser)


def add_costs(parser: argparse.ArgumentParser) -> None:
    """The option of what answering costs."""
    parser.add_argument(
        "--costs", metavar="MODE=COST,...", help="of answering under each mode (default: none=0,single=1,iterative=4)"
    )


def positive(text: str) -> int:
    """The type of options that count something, from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def port(text: str) -> int:
    """The type of options that name a port; 0 is any that is free."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: they are numbers from 0 to 65535")
    return int(text)


def comma_separated(text: str) -> list[str]:
    """The type of options that take several values."""
    return [name.strip() for name in text.split(",") if name.strip()]
