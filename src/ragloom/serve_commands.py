"""The command `ragloom serve`."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import TYPE_CHECKING

from ragloom.command_options import ANSWERING_GROUPS, Commands, add_settings, comma_separated, command, port, positive
from ragloom.console import require_workspace, stoppable
from ragloom.errors import ConfigError, RagloomError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from ragloom.pipelines.settings import Settings
    from ragloom.serving import Service

_SHORTEST_TOKEN = 16


def add_serve(commands: Commands) -> None:
    """The arguments of `ragloom serve`."""
    parser = command(
        commands,
        "serve",
        "serve every pipeline as a model of an OpenAI-compatible endpoint, or as tools of an MCP server",
        "ragloom serve --port 8100\n  ragloom serve --mcp",
    )
    parser.add_argument("--mcp", action="store_true", help="an MCP server on stdin and stdout instead of an endpoint")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; others than this need a token")
    parser.add_argument("--port", type=port, default=8100, help="0 for one that is free (default: 8100)")
    parser.add_argument(
        "--token-env",
        default="RAGLOOM_SERVE_TOKEN",
        metavar="NAME",
        help="environment variable of the token that clients must show (default: RAGLOOM_SERVE_TOKEN)",
    )
    parser.add_argument(
        "--allow-host", nargs="+", default=[], metavar="NAME", help="further names that clients reach this server by"
    )
    parser.add_argument(
        "--offer",
        type=comma_separated,
        default=[],
        metavar="PIPELINE,...",
        help="what is served; missing indexes are built (default: every pipeline whose indexes are there)",
    )
    parser.add_argument("--queue", type=positive, default=64, metavar="N", help="questions that may wait (default: 64)")
    parser.add_argument(
        "--timeout", type=positive, default=300, metavar="SECONDS", help="longest time for an answer (default: 300)"
    )
    parser.add_argument("--sources", action="store_true", help="end answers in a list of their sources")
    parser.add_argument(
        "--keep", action="store_true", help="keep replies in the workspace, which nobody else can write to then"
    )
    add_settings(parser, "where", *ANSWERING_GROUPS, "batch", "budget")


def run_serve(args: argparse.Namespace, settings: Settings) -> int:
    """Serve until interrupted, and give the exit code."""
    from ragloom.serving import BuiltStore, Service, open_pipelines
    from ragloom.store import Store

    if settings.retrieval_rate is not None:
        raise ConfigError(
            "a retrieval rate is kept over a batch, and a server never sees all its questions",
            "leave --retrieval-rate out; a gate's bound decides question by question",
        )
    require_workspace(settings)
    token = "" if args.mcp else token_of(args.host, args.token_env, os.environ)
    kind = Store if args.offer else BuiltStore
    with kind.open(settings.workspace, write=args.keep) as store:
        pipelines, left_out = open_pipelines(settings, store, args.offer)
        for name, reason in left_out.items():
            _note(f"without {name}: {reason}")
        workers = settings.questions_at_once
        with Service(store, pipelines, budget=settings.budget, workers=workers, queue=args.queue) as service:
            if args.mcp:
                return _serve_mcp(service, args, settings)
            return _serve_http(service, args, settings, token)


def token_of(host: str, name: str, environment: Mapping[str, str]) -> str:
    """The token that clients must show; empty for none.

    Args:
        host: listened on.
        name: of the environment variable that holds it.
        environment: where it is looked up.

    Raises:
        ConfigError: there is none, and the host is not this machine's own; or it is too short to be kept secret.
    """
    token = environment.get(name, "")
    if not token and not _is_loopback(host):
        raise ConfigError(
            f"on {host} everybody who reaches it could ask, at your cost",
            f"set the environment variable {name} to a long random token, or listen on 127.0.0.1",
        )
    if token and (len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise ConfigError(
            f"the token in {name} must be at least {_SHORTEST_TOKEN} printable ASCII characters",
            "make one with `python -c 'import secrets; print(secrets.token_urlsafe())'`",
        )
    return token


def _serve_http(service: Service, args: argparse.Namespace, settings: Settings, token: str) -> int:
    from ragloom.components.reading import MAX_TOKENS
    from ragloom.openai_api import Endpoint, endpoint_app
    from ragloom.web_server import WebServer

    most_tokens = settings.max_tokens or MAX_TOKENS[settings.mode]
    endpoint = Endpoint(service, settings.mode, most_tokens, args.timeout, args.sources)
    hosts = frozenset(name.lower() for name in (args.host, *args.allow_host))
    app = endpoint_app(endpoint, token=token, hosts=hosts)
    with stoppable() as stop, WebServer(app, host=args.host, port=args.port) as server:
        _note(f"{', '.join(service.pipelines)} at {server.url}/v1{' with a token' if token else ''}, Ctrl-C to stop")
        while not stop() and not server.wait(0.2):
            pass
    if not stop():
        raise RagloomError("the server ended by itself", "its last words are above")
    return 0


def _serve_mcp(service: Service, args: argparse.Namespace, settings: Settings) -> int:
    try:
        from ragloom.mcp_server import mcp_server
    except ImportError:
        raise ConfigError("the package mcp is not installed", "pip install 'ragloom[mcp]'") from None

    pipeline = settings.pipeline if settings.pipeline in service.pipelines else next(iter(service.pipelines))
    mcp_server(service, pipeline=pipeline, answer_s=args.timeout).run("stdio")
    return 0


def _note(text: str) -> None:
    """For the operator; stdout is the protocol's where MCP is spoken."""
    print(f"ragloom: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
