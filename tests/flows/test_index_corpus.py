import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from ragloom.errors import InputError
from ragloom.flows.index_corpus import index_corpus
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_retriever
from ragloom.store import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_documents_are_indexed_and_both_indexes_answer(settings: Settings, corpus: Path):
    first = index_corpus([str(corpus)], settings)
    assert (first["added"], first["chunks"], first["skipped"]) == (3, 3, [])
    again = index_corpus([str(corpus)], settings)
    assert (again["added"], again["unchanged"]) == (0, 3)
    with Store.open(settings.workspace, write=False) as store:
        assert open_retriever("bm25", settings, store)("capital of Italy", 1)[0].chunk.text.count("Rome") == 1
        assert len(open_retriever("dense", settings, store)("capital of Italy", 3)) == 3


def test_what_was_skipped_is_an_artifact(settings: Settings, corpus: Path):
    (corpus / "broken.txt").write_bytes(b"caf\xe9 \xff")
    state = index_corpus([str(corpus)], settings, on_error="skip", dense=False, return_state=True)
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        )
    artifacts = {artifact.key: str(artifact.data) for artifact in found}
    (row,) = json.loads(artifacts["index-corpus"])
    assert (row["added"], row["skipped"]) == ("3", "1")
    assert "broken.txt" in artifacts["index-corpus-skipped"]


def test_a_broken_document_ends_the_flow_unless_skipped(settings: Settings, corpus: Path):
    (corpus / "broken.txt").write_bytes(b"caf\xe9 \xff")
    with pytest.raises(InputError, match=r"broken\.txt"):
        index_corpus([str(corpus)], settings)
