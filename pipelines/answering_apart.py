"""Answer a part of a run in another process, on this machine or another one, for the flow that holds the run.

In a SQLite workspace that flow is the one writer, and gets back what to write; in one that machines share, it is
written at once. Either way the part may spend its share of the run's budget and no more.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragloom.errors import ConfigError, RagloomError
from ragloom.pipelines.batch import BatchReport, answer_run
from ragloom.pipelines.settings import Settings
from ragloom.run import Budget, Run
from ragloom.store import Done, Item, Store
from ragloom.types import Usage
from ragloom.worker_store import WorkerStore
from ragloom.workspace import is_shared

UNLIMITED = {"max_total_tokens": None, "max_calls": None, "max_cost": None, "max_seconds": None}


@dataclass(frozen=True, slots=True)
class Part:
    """Questions of a run to be answered elsewhere.

    Attributes:
        run_id: of the run.
        items: the questions.
        share: what answering them may spend.
        corpus: fingerprint of the chunks that they are answered from, as in `Store.corpus_id`; empty for none.
        version: of the ragloom that asks.
    """

    run_id: str
    items: Sequence[Item]
    share: Budget
    corpus: str
    version: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a part.

    Attributes:
        report: None where nothing could be answered.
        error: why, where that is so.
        spent: what it took.
        done: what is still to be written; None where it has been.
        worker: machine and process.
    """

    report: BatchReport | None
    error: RagloomError | None
    spent: Usage
    done: Done | None
    worker: str


def version() -> str:
    """Of this ragloom."""
    from importlib.metadata import version as installed  # reads files

    return installed("ragloom")


def answer_part(part: Part, settings: Settings) -> Outcome:
    """Answer those of the questions that are still pending.

    Raises:
        ConfigError: this is another ragloom, or another corpus.
        StoreError: the workspace cannot be read here.
    """
    if part.version != version():
        raise ConfigError(
            f"the worker {_here()} has ragloom {version()}, and the flow {part.version}", "install the same on both"
        )
    folder = settings.workspace
    with Store.open(folder) if is_shared(folder) else _apart(folder, part) as store:
        if part.corpus and store.corpus_id() != part.corpus:
            raise ConfigError(
                f"the workspace {folder} of the worker {_here()} holds other documents than the flow's",
                "copy it anew, or give both the same one",
            )
        return _answered(part, settings.model_copy(update=UNLIMITED), store)


def _apart(folder: Path, part: Part) -> WorkerStore:
    return WorkerStore(folder, part.run_id, part.items)


def _answered(part: Part, settings: Settings, store: Store) -> Outcome:
    report, problem = None, None
    with Run(part.share) as run:
        try:
            ids = {item.question_id for item in part.items}
            report = answer_run(part.run_id, settings, store, only=ids, progress=False)
        except RagloomError as error:
            problem = error
    done = store.done() if isinstance(store, WorkerStore) else None
    return Outcome(report, problem, run.spent, done, _here())


def _here() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
