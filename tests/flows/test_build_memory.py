import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from scripted_endpoint import ScriptedEndpoint

from ragloom.flows.build_memory import build_memory
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.memory_building import open_memory
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_memory_is_built_with_its_failures_as_an_artifact(
    settings: Settings, corpus: Path, endpoint: ScriptedEndpoint
) -> None:
    for file in corpus.iterdir():
        file.write_text(file.read_text(encoding="utf-8") + "It is old and large, they say. " * 100, encoding="utf-8")
    endpoint.answer = lambda prompt: "Sorry." if "Rome" in prompt else "Madrid and Paris are the capital."
    with Store.open(settings.workspace) as store:
        index_corpus([corpus], store, progress=False)
    by_model = settings.model_copy(update={"memory": "gists"})
    state = build_memory(by_model, return_state=True)
    report = state.result()
    assert report["failed"]
    with Store.open(settings.workspace, write=False) as store:
        assert open_memory(by_model, store).key == report["key"]
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        )
    artifacts = {artifact.key: str(artifact.data) for artifact in found}
    (row,) = json.loads(artifacts["build-memory"])
    assert row["entries"] == str(report["entries"])
    assert row["failed"] == str(len(report["failed"]))
    assert "Italy" in artifacts["build-memory-failed"]
