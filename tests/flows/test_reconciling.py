import json
import os
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from httpx import TransportError
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelling, Running

from ragloom.errors import InputError
from ragloom.flows.reconciling import FOLDER, reconcile
from ragloom.flows.steps import job
from ragloom.lease import Lease
from ragloom.pipelines.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")


@job
def look_around(settings: Settings) -> dict[str, int]:
    """What a reconciliation at the same time would see and do."""
    return {
        "reconciled": len(reconcile(settings.workspace)),
        "files": len(list((settings.workspace / FOLDER).iterdir())),
    }


@job
def fail(settings: Settings) -> None:
    raise InputError(f"nothing in {settings.workspace}")


def running(settings: Settings) -> tuple[UUID, UUID]:
    """A flow run that Prefect holds Running, and its state."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(look_around, parameters={"settings": settings.model_dump(mode="json")})
        set_to = client.set_flow_run_state(run.id, Running(), force=True).state
    assert set_to is not None
    return run.id, set_to.id


def lock(settings: Settings, run_id: UUID, state_id: UUID) -> Lease:
    file = settings.workspace / FOLDER / f"{run_id}.{state_id}"
    file.parent.mkdir(parents=True, exist_ok=True)
    return Lease.take(file, timeout_s=0)


def killed(settings: Settings) -> UUID:
    """A flow run as a killed process leaves it behind: Running, and its lock free."""
    run_id, state_id = running(settings)
    lock(settings, run_id, state_id).release()
    return run_id


def state_of(run_id: UUID) -> State:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run_id).state
    assert state is not None
    return state


def files(settings: Settings) -> list[Path]:
    return list((settings.workspace / FOLDER).glob("*"))


def test_a_killed_run_is_set_to_crashed_and_its_process_named(settings: Settings):
    run_id = killed(settings)
    (dead,) = reconcile(settings.workspace)
    assert dead.id == str(run_id)
    assert f"process {os.getpid()} on " in dead.reason
    state = state_of(run_id)
    assert state.is_crashed()
    assert f"process {os.getpid()} on " in str(state.message)
    assert reconcile(settings.workspace) == []
    assert files(settings) == []


def test_a_living_run_is_not_touched(settings: Settings):
    run_id, state_id = running(settings)
    lease = lock(settings, run_id, state_id)
    assert reconcile(settings.workspace) == []
    assert state_of(run_id).is_running()
    lease.release()


def test_what_another_machine_runs_is_not_judged(settings: Settings):
    run_id = killed(settings)
    (file,) = files(settings)
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"host": "another"}), encoding="utf-8")
    assert reconcile(settings.workspace) == []
    assert state_of(run_id).is_running()
    assert files(settings) == [file]


def test_a_run_that_was_begun_again_since_is_not_touched(settings: Settings):
    run_id = killed(settings)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Running(), force=True)
    assert reconcile(settings.workspace) == []
    assert state_of(run_id).is_running()
    assert files(settings) == []


def test_a_killed_run_that_was_cancelled_since_is_set_to_crashed(settings: Settings):
    run_id = killed(settings)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling(), force=True)
    assert [dead.id for dead in reconcile(settings.workspace)] == [str(run_id)]


def test_a_run_of_another_server_is_left_to_it(settings: Settings):
    lock(settings, uuid4(), uuid4()).release()
    (file,) = files(settings)
    holder = json.loads(file.read_text("utf-8")) | {"pid": 4711}
    file.write_text(json.dumps(holder), encoding="utf-8")
    assert reconcile(settings.workspace) == []
    assert json.loads(file.read_text("utf-8")) == holder


def test_a_server_that_does_not_answer_leaves_everything_to_the_next_time(settings: Settings):
    run_id = killed(settings)
    (file,) = files(settings)
    before = file.read_text("utf-8")
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(TransportError),
    ):
        reconcile(settings.workspace)
    assert file.read_text("utf-8") == before
    assert [dead.id for dead in reconcile(settings.workspace)] == [str(run_id)]


def test_a_workspace_without_flow_runs_has_none_to_reconcile(settings: Settings):
    assert reconcile(settings.workspace) == []


def test_a_flow_run_holds_its_lock_as_long_as_it_runs(settings: Settings):
    assert look_around(settings) == {"reconciled": 0, "files": 1}
    assert files(settings) == []


def test_a_failed_flow_run_leaves_no_lock(settings: Settings):
    with pytest.raises(InputError):
        fail(settings)
    assert files(settings) == []


def test_a_flow_begins_with_reconciling_its_workspace(settings: Settings):
    run_id = killed(settings)
    assert look_around(settings) == {"reconciled": 0, "files": 1}
    assert state_of(run_id).is_crashed()
