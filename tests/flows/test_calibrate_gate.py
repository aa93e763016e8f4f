import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from scripted_endpoint import ScriptedEndpoint, digest_answer

from ragloom.__main__ import main
from ragloom.components.gate_file import SavedGate
from ragloom.errors import ConfigError, InputError
from ragloom.flows.calibrate_gate import calibrate_gate
from ragloom.flows.slices import BatchStopped
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.outcome_collection import collect_file
from ragloom.pipelines.outcomes import read_outcomes
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

pytest.importorskip("sklearn")
pytestmark = pytest.mark.usefixtures("prefect_server")

NUMBERS = range(30)
_NAMED = ("workspace", "model", "base-url", "api-key-env", "retriever", "k")


@pytest.fixture
def labelled(tmp_path: Path, settings: Settings, endpoint: ScriptedEndpoint) -> Path:
    """Questions about towns, of which the model knows none, and sums, which it can do; passages have the towns only."""
    towns = {f"In which year was the town of Number{n} founded?": str(1500 + n) for n in NUMBERS}
    sums = {f"What is {n} and {n} together?": str(2 * n) for n in NUMBERS}
    corpus, file = tmp_path / "towns.jsonl", tmp_path / "labelled.jsonl"
    corpus.write_text(
        "\n".join(
            json.dumps({"text": f"The town of Number{n} was founded in {1500 + n}, and {n} died."}) for n in NUMBERS
        )
    )
    lines = [{"question": question, "answers": [answer]} for question, answer in (towns | sums).items()]
    file.write_text("\n".join(json.dumps(line) for line in lines))

    def answer(prompt: str) -> str:
        asked = prompt.rsplit("Question:", 1)[-1]
        found = next((year for town, year in towns.items() if town in asked and f"founded in {year}" in prompt), None)
        known = next((total for question, total in sums.items() if question in asked and "town of" not in prompt), None)
        return found or known or digest_answer(prompt)

    endpoint.answer = answer
    with Store.open(settings.workspace) as store:
        index_corpus([corpus], store, progress=False)
    return file


@pytest.fixture
def by_keywords(settings: Settings) -> Settings:
    return settings.model_copy(update={"retriever": "bm25", "k": 1})


def test_the_gate_learns_what_retrieval_is_for_and_everything_is_shown(
    tmp_path: Path, labelled: Path, by_keywords: Settings
):
    gate, outcomes, report = tmp_path / "gate.json", tmp_path / "outcomes.jsonl", tmp_path / "gate.md"
    state = calibrate_gate(
        str(labelled), by_keywords, str(gate), outcomes=str(outcomes), report=str(report), return_state=True
    )
    result = state.result()
    assert (result["gain"], result["signals"]) == (True, ["question"])
    assert len(read_outcomes(outcomes)) == 2 * len(NUMBERS)
    assert SavedGate.load(gate).rule("What is 3 and 3 together?", {}).mode in {"none", "single"}
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        )
    artifacts = {artifact.key: str(artifact.data) for artifact in found}
    names = [row["gate"] for row in json.loads(artifacts["calibrate-gate"])]
    assert names[:3] == ["never (none)", "always (single)", "calibrated, out of fold"]
    assert artifacts["calibrate-gate-report"] == report.read_text(encoding="utf-8")


def test_a_flow_goes_on_with_what_the_command_line_collected(
    tmp_path: Path, labelled: Path, by_keywords: Settings, endpoint: ScriptedEndpoint
):
    few = by_keywords.model_copy(update={"max_calls": 30})
    with pytest.raises(BatchStopped, match="budget of 30 calls"):
        calibrate_gate(str(labelled), few, str(tmp_path / "gate.json"))
    assert not (tmp_path / "gate.json").exists()
    collect_file(by_keywords, labelled, signals=["question"], modes=["none", "single"], progress=False)
    asked = endpoint.count
    calibrate_gate(str(labelled), by_keywords, str(tmp_path / "gate.json"))
    assert endpoint.count == asked
    assert (tmp_path / "gate.json").exists()


def test_the_command_line_runs_the_flow_and_shows_the_gate(
    tmp_path: Path, labelled: Path, by_keywords: Settings, capsys: pytest.CaptureFixture[str]
):
    gate = tmp_path / "gate.json"
    options = [f"--{name}={getattr(by_keywords, name.replace('-', '_'))}" for name in _NAMED]
    assert main(["flow", "calibrate-gate", str(labelled), "--out", str(gate), *options]) == 0
    said = capsys.readouterr().out
    assert "| calibrated, out of fold |" in said
    assert said.endswith(f"gate: {gate}\n")
    assert main(["flow", "calibrate-gate", str(labelled), "--out", str(gate), "--objective", "speed", *options]) == 2
    assert "there is no objective 'speed'" in capsys.readouterr().err


def test_what_cannot_work_ends_the_flow_before_the_model_is_asked(
    tmp_path: Path, labelled: Path, by_keywords: Settings, endpoint: ScriptedEndpoint
):
    with pytest.raises(ConfigError, match="there is no objective 'speed'"):
        calibrate_gate(str(labelled), by_keywords, str(tmp_path / "gate.json"), objective="speed")
    (tmp_path / "unlabelled.jsonl").write_text('{"question": "Why?"}')
    with pytest.raises(InputError, match="has no gold answer"):
        calibrate_gate(str(tmp_path / "unlabelled.jsonl"), by_keywords, str(tmp_path / "gate.json"))
    questions = labelled.read_text(encoding="utf-8")
    for files in ({"outcomes": str(labelled)}, {"report": str(labelled)}):
        with pytest.raises(ConfigError, match="is read, and would be overwritten"):
            calibrate_gate(str(labelled), by_keywords, str(tmp_path / "gate.json"), **files)
    with pytest.raises(ConfigError, match=r"gate\.json would hold two of the files"):
        calibrate_gate(str(labelled), by_keywords, str(tmp_path / "gate.json"), report=str(tmp_path / "gate.json"))
    assert labelled.read_text(encoding="utf-8") == questions
    assert endpoint.count == 0
