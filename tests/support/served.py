"""A running endpoint over the sample corpus, for tests: real sockets, a scripted model behind it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripted_endpoint import ScriptedEndpoint

from ragloom.openai_api import Endpoint, endpoint_app
from ragloom.pipelines.graph_indexing import open_graph
from ragloom.pipelines.indexing import index_corpus, open_bm25
from ragloom.pipelines.settings import Settings
from ragloom.serving import BuiltStore, Service, open_pipelines
from ragloom.store import Store
from ragloom.web_server import WebServer

CORPUS = Path(__file__).parents[2] / "docs" / "sample" / "corpus"
QUESTION = "Who designed Gannet Point Light?"


@dataclass(frozen=True)
class Served:
    """What a test talks to."""

    url: str
    port: int
    service: Service
    model: ScriptedEndpoint


def cited(prompt: str) -> str:
    """The scripted model: it knows one name, and cites the first passage that says what it is asked."""
    for number, passage in re.findall(r"\[([0-9]+)\]((?:(?!\n\[[0-9]).)*)", prompt, re.DOTALL):
        if "designed" in passage and "Ines Corvale" in passage:
            return f"Ines Corvale [{number}]"
    return "Ines Corvale"


def build_workspace(folder: Path) -> Path:
    """A workspace with the sample corpus, its keyword index and its graph; without vectors."""
    with Store.open(folder) as store:
        index_corpus([CORPUS], store, progress=False)
        open_bm25(store)
        open_graph(store, progress=False)
    return folder


@contextmanager
def serving(
    workspace: Path,
    *,
    answer: Callable[[str], str] = cited,
    script: list[str] | Callable[[int], str] = (),  # type: ignore[assignment]  # nothing goes wrong
    queue: int = 64,
    token: str = "",
    hosts: frozenset[str] = frozenset(),
    idle_s: int = 10,
    endpoint: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Served]:
    """An endpoint on a free port."""
    with ScriptedEndpoint(answer=answer, script=script) as model:
        made_of = Settings(
            workspace=workspace, base_url=model.base_url, model="scripted", walk_from="bm25", api_key_env="", **settings
        )
        with BuiltStore.open(workspace, write=False) as store:
            pipelines, _ = open_pipelines(made_of, store)
            service = Service(store, pipelines, budget=made_of.budget, workers=made_of.questions_at_once, queue=queue)
            api = Endpoint(service, made_of.mode, made_of.max_tokens or 48, **(endpoint or {}))
            app = endpoint_app(api, token=token, hosts=hosts)
            with service, WebServer(app, grace_s=5, idle_s=idle_s) as server:
                yield Served(server.url, server.port, service, model)


def until(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Wait for something that another thread brings about."""
    tick = threading.Event()
    for _ in range(round(within_s * 100)):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("it did not happen in time")
