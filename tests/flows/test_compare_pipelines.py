import json
from pathlib import Path

import pytest
from comparisons import CAPITALS, index_capitals, know, write_questions
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from scripted_endpoint import ScriptedEndpoint

from ragloom.errors import ConfigError
from ragloom.flows.compare_pipelines import compare_pipelines
from ragloom.flows.slices import BatchStopped
from ragloom.pipelines.settings import Settings

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def ready(settings: Settings, endpoint: ScriptedEndpoint) -> Settings:
    endpoint.answer = know
    index_capitals(settings.workspace)
    return settings


def test_a_comparison_stops_at_its_budget_goes_on_and_is_shown(
    tmp_path: Path, ready: Settings, endpoint: ScriptedEndpoint
):
    file, out = write_questions(tmp_path / "capitals.jsonl"), tmp_path / "out"
    few = ready.model_copy(update={"max_calls": 2, "workers": 1})
    named = {"questions": [str(file)], "pipelines": ["closed-book", "single"]}
    with pytest.raises(BatchStopped, match="closed-book 1, single 1"):
        compare_pipelines(few, str(out), **named)
    assert "Unfinished" in (out / "report.md").read_text(encoding="utf-8")
    state = compare_pipelines(ready, str(out), **named, baseline="single", return_state=True)
    result = state.result()
    assert endpoint.count == 2 * len(CAPITALS)
    assert (result["variants"], result["failed"]) == (["closed-book", "single"], 0)
    assert {Path(name).name for name in result["files"]} >= {"report.md", "index.html", "answers.csv"}
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        )
    artifacts = {artifact.key: str(artifact.data) for artifact in found}
    rows = json.loads(artifacts["compare-pipelines-quality"])
    assert [(row["variant"], row["EM"][:5]) for row in rows] == [("closed-book", "0.333"), ("single", "1.000")]
    assert artifacts["compare-pipelines-report"] == (out / "report.md").read_text(encoding="utf-8")


def test_what_cannot_be_compared_ends_the_flow_before_a_model_is_asked(
    tmp_path: Path, ready: Settings, endpoint: ScriptedEndpoint
):
    file = str(write_questions(tmp_path / "capitals.jsonl"))
    with pytest.raises(ConfigError, match="needs two variants"):
        compare_pipelines(ready, str(tmp_path / "out"), questions=[file], pipelines=["single"])
    variants = tmp_path / "variants.toml"
    variants.write_text("[a]\nworkers = 1\n[b]\nworkers = 2\n")
    with pytest.raises(ConfigError, match="the variants 'a' and 'b' are the same"):
        compare_pipelines(ready, str(tmp_path / "out"), questions=[file], variants=str(variants))
    assert endpoint.count == 0
