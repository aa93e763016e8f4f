import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from scripted_endpoint import ScriptedEndpoint

from ragloom.errors import InputError
from ragloom.flows.build_graph import build_graph
from ragloom.pipelines.graph_indexing import open_graph
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


def index(settings: Settings, corpus: Path) -> None:
    with Store.open(settings.workspace) as store:
        index_corpus([corpus], store, progress=False)


def test_the_graph_follows_the_documents(settings: Settings, corpus: Path):
    index(settings, corpus)
    first = build_graph(settings)
    assert (first["passages"], first["extracted"], first["failed"]) == (3, None, [])
    (corpus / "Spain.md").unlink()
    index(settings, corpus)
    assert build_graph(settings)["passages"] == 2
    with Store.open(settings.workspace, write=False) as store:
        assert {"france", "italy"} <= set(open_graph(store).phrases)


def test_a_model_is_asked_once_and_its_failures_are_an_artifact(
    settings: Settings, corpus: Path, endpoint: ScriptedEndpoint
):
    endpoint.answer = lambda prompt: "no JSON" if "Rome" in prompt else '{"entities": ["Paris"], "triples": []}'
    index(settings, corpus)
    by_model = settings.model_copy(update={"extractor": "llm", "workers": 1})
    state = build_graph(by_model, return_state=True)
    asked = endpoint.count
    assert build_graph(by_model)["reused"] == 2
    assert endpoint.count == asked
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        )
    artifacts = {artifact.key: str(artifact.data) for artifact in found}
    (row,) = json.loads(artifacts["build-graph"])
    assert (row["passages"], row["extracted"], row["failed"]) == ("3", "2", "1")
    assert "Italy" in artifacts["build-graph-failed"]


def test_a_workspace_without_documents_ends_the_flow(settings: Settings):
    with pytest.raises(InputError, match="there are no documents"):
        build_graph(settings)
