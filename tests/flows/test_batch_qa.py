import json
import re
import sqlite3
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from scripted_endpoint import ScriptedEndpoint, answers_from

from ragloom.errors import ConfigError, RequestRefused
from ragloom.flows.batch_qa import batch_qa
from ragloom.flows.slices import BatchStopped
from ragloom.pipelines.batch import answer_file
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


def many(folder: Path, count: int) -> str:
    file = folder / "many.jsonl"
    lines = [json.dumps({"id": f"q{number}", "question": f"What is {number}?"}) for number in range(count)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return str(file)


def run_id_of(state: State) -> UUID:
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


def artifacts_of(state: State) -> dict[str | None, Artifact]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id_of(state)]))
        )
    return {artifact.key: artifact for artifact in found}


def test_a_flow_answers_as_the_plain_batch_does(tmp_path: Path, settings: Settings, questions: Path):
    elsewhere = settings.model_copy(update={"workspace": tmp_path / "elsewhere"})
    plain = answer_file(elsewhere, questions, tmp_path / "plain.jsonl", progress=False)
    result = batch_qa(str(questions), settings, out=str(tmp_path / "flow.jsonl"))
    assert (result["run_id"], result["answered"], result["done"]) == (plain.run_id, 3, 3)
    by_flow, by_batch = (
        [re.sub(r'"seconds": [\d.e-]+', "", line) for line in (tmp_path / name).read_text("utf-8").splitlines()]
        for name in ("flow.jsonl", "plain.jsonl")
    )
    assert by_flow == by_batch
    assert "Paris" in by_flow[0]


def test_a_flow_after_a_batch_asks_nothing(settings: Settings, endpoint: ScriptedEndpoint, questions: Path):
    plain = answer_file(settings, questions, progress=False)
    asked = endpoint.count
    result = batch_qa(str(questions), settings)
    assert endpoint.count == asked
    assert (result["run_id"], result["answered"], result["done"]) == (plain.run_id, 0, 3)


def test_quality_and_the_report_are_artifacts(tmp_path: Path, settings: Settings, questions: Path):
    state = batch_qa(str(questions), settings, report=str(tmp_path / "report.md"), return_state=True)
    artifacts = artifacts_of(state)
    (row,) = json.loads(str(artifacts["batch-qa-quality"].data))
    assert row["answered/abstained/failed"] == "3/0/0"
    assert row["EM"].startswith("1.000")
    assert row["calls"] == "3"
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert artifacts["batch-qa-report"].data == report
    assert "What is the capital of Italy?" in report


def test_a_slice_is_a_task(
    tmp_path: Path, settings: Settings, endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
):
    assert batch_qa(many(tmp_path, 70), settings, slice_size=12)["answered"] == 70
    assert endpoint.count == 70
    slices = [record.getMessage() for record in caplog.records if record.getMessage().startswith("slice ")]
    assert slices == [f"slice {number} of 3: {size} answered" for number, size in ((1, 22), (2, 24), (3, 24))]
    assert [record.name for record in caplog.records].count("prefect.task_runs") == 3


def test_what_prefect_keeps_of_a_flow_is_json_without_secrets(
    settings: Settings, questions: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(settings.api_key_env, "canary-5f2c")
    state = batch_qa(str(questions), settings, return_state=True)
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id_of(state))
    assert run.parameters["questions"] == str(questions)
    assert run.parameters["settings"] == settings.model_dump(mode="json")
    assert "canary" not in run.model_dump_json()


@pytest.mark.parametrize("accepted", [True, False])
def test_no_key_lands_in_prefects_database(
    accepted: bool,
    settings: Settings,
    endpoint: ScriptedEndpoint,
    questions: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    key = f"canary-{uuid4().hex}"
    monkeypatch.setenv(settings.api_key_env, key)
    endpoint.key = key if accepted else "another"  # whose refusal says the key that it got
    state = batch_qa(str(questions), settings, return_state=True)
    assert state.is_completed() is accepted
    assert all(request.headers["authorization"] == f"Bearer {key}" for request in endpoint.requests)
    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=10)
    kept = everything_in_prefects_database()
    assert str(run_id_of(state)) in kept
    assert str(questions) in kept
    for form in (key, b64encode(key.encode()).decode().strip("="), quote(key, safe="")):
        assert form not in kept


def everything_in_prefects_database() -> str:
    """Every value of every row of every table."""
    file = str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition(":///")[2]
    with closing(sqlite3.connect(file)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in database.execute(f'SELECT * FROM "{table}"')]
    return "\n".join(
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for row in rows for value in row
    )


def test_the_history_shows_what_changed_since_the_last_run(
    tmp_path: Path, settings: Settings, endpoint: ScriptedEndpoint, questions: Path
):
    first = artifacts_of(batch_qa(str(questions), settings, return_state=True))
    assert "There is no run before this one." in str(first["batch-qa-history"].data)
    endpoint.answer = answers_from({"capital of France?": "Lyon", "Italy?": "Rome", "Spain?": "Madrid"})
    other = settings.model_copy(update={"max_tokens": 99})
    second = str(artifacts_of(batch_qa(str(questions), other, return_state=True))["batch-qa-history"].data)
    assert second.startswith("![F1 and share of answers by run](data:image/svg+xml;base64,")
    assert "1 of 3 changed." in second
    assert "| What is the capital of France? | Paris | Lyon |" in second
    assert "| max_tokens |  | 99 |" in second
    third = str(artifacts_of(batch_qa(str(questions), other, return_state=True))["batch-qa-history"].data)
    assert "as the last time" in third


def test_failed_questions_are_answered_again_when_asked_for(
    settings: Settings, endpoint: ScriptedEndpoint, questions: Path
):
    endpoint.script = ["400"]  # the first question is too long
    assert batch_qa(str(questions), settings)["failed"] == 1
    assert batch_qa(str(questions), settings)["failed"] == 1
    assert batch_qa(str(questions), settings, retry_failed=True)["done"] == 3


def test_a_spent_budget_ends_the_flow_after_its_artifacts(tmp_path: Path, settings: Settings):
    tight = settings.model_copy(update={"max_calls": 4})
    file, out = many(tmp_path, 12), tmp_path / "answers.jsonl"
    state = batch_qa(file, tight, out=str(out), return_state=True)
    assert state.is_failed()
    assert "4 answered, 0 failed, 8 pending: the run's budget of 4 calls" in str(state.message)
    assert {"batch-qa-quality", "batch-qa-report"} <= set(artifacts_of(state))
    assert out.read_text(encoding="utf-8").count('"done"') == 4
    assert batch_qa(file, settings)["done"] == 12


def test_a_budget_in_seconds_holds_for_all_slices_together(
    tmp_path: Path, settings: Settings, endpoint: ScriptedEndpoint
):
    endpoint.delay_s = 0.15
    brief = settings.model_copy(update={"max_seconds": 1.5})
    with pytest.raises(BatchStopped, match=r"pending: the run's .*seconds"):
        batch_qa(many(tmp_path, 40), brief, slice_size=10)


def test_a_slice_that_dies_is_tried_once_more(settings: Settings, endpoint: ScriptedEndpoint, questions: Path):
    endpoint.script = ["500"] * 9  # three questions, three tries each: the first try of the task gets no answer
    assert batch_qa(str(questions), settings)["done"] == 3
    assert endpoint.count == 12


def test_a_refusing_model_ends_the_flow_without_a_second_try(
    settings: Settings, endpoint: ScriptedEndpoint, questions: Path
):
    endpoint.key = "another"
    with pytest.raises(RequestRefused, match="key"):
        batch_qa(str(questions), settings)
    assert endpoint.count == 3
    with Store.open(settings.workspace, write=False) as store:
        (run,) = store.runs()
        assert run.counts["pending"] == 3


def test_the_questions_are_not_overwritten(settings: Settings, endpoint: ScriptedEndpoint, questions: Path):
    before = questions.read_text("utf-8")
    for files in ({"out": str(questions)}, {"report": str(questions)}):
        with pytest.raises(ConfigError, match="is read, and would be overwritten"):
            batch_qa(str(questions), settings, **files)
    assert questions.read_text("utf-8") == before
    assert endpoint.count == 0
