"""Flow runs that Prefect holds Running although their process is gone.

A process that is killed tells nobody. So a flow run holds a lock on a file in its workspace, which the operating system
takes back when the process dies, however it dies. Where the lock is free and Prefect still holds the run in the very
state in which the file was made, the run is dead. What another machine runs is not judged: its locks may not show here.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import Flow, State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.logging.loggers import flow_run_logger
from prefect.states import Crashed

from ragloom.errors import StoreError, StoreLocked
from ragloom.lease import Lease

FOLDER = "flow-runs"  # of a workspace; its files are named <flow run>.<state>

_held: dict[UUID, tuple[Path, Lease]] = {}  # of this process


@dataclass(frozen=True, slots=True)
class DeadRun:
    """A flow run that is set to Crashed: its id and name in Prefect, and what became of its process."""

    id: str
    name: str
    reason: str


def reconcile(workspace: Path) -> list[DeadRun]:
    """Set to Crashed what Prefect holds Running of this workspace though its process is gone; gives those runs.

    A run that lives is never touched, nor one that the server does not know, or that was begun on another machine.
    """
    files = sorted((workspace / FOLDER).glob("*.*"))
    if not files:
        return []
    with get_client(sync_client=True) as client:
        return [dead for file in files if (dead := _settled(file, client)) is not None]


def note_process(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A hook for when a flow begins to run: reconcile its workspace, and hold the lock of this run."""
    logger = flow_run_logger(flow_run, flow)
    workspace = Path(flow_run.parameters["settings"]["workspace"])
    try:
        for dead in reconcile(workspace):
            logger.warning("flow run %s is set to Crashed: %s", dead.name, dead.reason)
        file = workspace / FOLDER / f"{flow_run.id}.{state.id}"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _held[flow_run.id] = file, Lease.take(file, timeout_s=0)
    except (OSError, StoreError) as error:  # such as a workspace that is only read
        logger.warning("if this run is killed, Prefect will hold it Running for ever: %s", error)


def forget_process(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A hook for when a flow run has ended, which Prefect knows by now."""
    if flow_run.id in _held:
        file, lease = _held.pop(flow_run.id)
        lease.release()  # before the file goes: Windows removes none that is open
        file.unlink(missing_ok=True)


def _settled(file: Path, client: SyncPrefectClient) -> DeadRun | None:
    holder = _holder(file)
    if holder.get("host") != socket.gethostname():
        return None
    try:
        lease = Lease.take(file, timeout_s=0)
    except StoreLocked:
        return None  # it lives
    try:
        dead = _crashed(client.read_flow_run(UUID(file.stem)), UUID(file.suffix[1:]), holder, client)
    except Exception as error:
        file.write_text(json.dumps(holder), encoding="utf-8")  # the lease has put this process there
        lease.release()
        if isinstance(error, ObjectNotFound):
            return None  # another server's
        raise
    lease.release()
    file.unlink(missing_ok=True)
    return dead


def _crashed(flow_run: FlowRun, noted: UUID, holder: Mapping[str, Any], client: SyncPrefectClient) -> DeadRun | None:
    state = flow_run.state
    # Running in another state than the noted one, it was begun again since, by a process with a file of its own.
    if state is None or not (state.is_cancelling() or (state.is_running() and state.id == noted)):
        return None
    reason = (
        f"its process {holder['pid']} on {holder['host']} is gone without a word. What it had done stands in the "
        "workspace, and the next run goes on from there."
    )
    client.set_flow_run_state(flow_run.id, Crashed(message=reason[0].upper() + reason[1:]), force=True)
    return DeadRun(str(flow_run.id), flow_run.name, reason)


def _holder(file: Path) -> Mapping[str, Any]:
    """Who took the lock, as `Lease` notes it."""
    try:
        holder: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # its holder is about to write who it is, or has just gone
    return holder
