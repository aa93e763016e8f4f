"""Prefect for tests: a home folder of its own, and one embedded server for the whole session."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint, answers_from

# Prefect reads its settings when it is first imported, from the user's home and environment unless told otherwise.
_home = tempfile.TemporaryDirectory(prefix="ragloom-prefect-")
for name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[name]
os.environ["PREFECT_HOME"] = _home.name

from prefect.logging.configuration import setup_logging  # noqa: E402
from prefect.testing.utilities import prefect_test_harness  # noqa: E402

from ragloom.pipelines.settings import Settings  # noqa: E402

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid"}


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        setup_logging()  # its console keeps the stderr of now: that of a test with capsys would be closed for the next
        yield


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(answers_from({f"capital of {land}?": city for land, city in CAPITALS.items()})) as endpoint:
        yield endpoint


@pytest.fixture
def settings(tmp_path: Path, endpoint: ScriptedEndpoint) -> Settings:
    return Settings(
        workspace=tmp_path / "workspace",
        pipeline="closed-book",
        model="scripted",
        base_url=endpoint.base_url,
        api_key_env="RAGLOOM_TEST_KEY",
        embedder="scripted",
        embedding_base_url=endpoint.base_url,
        workers=2,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for land, city in CAPITALS.items():
        (folder / f"{land}.md").write_text(f"# {land}\n\n{city} is the capital of {land}.\n", encoding="utf-8")
    return folder


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    lines = [
        {
            "id": land,
            "question": f"What is the capital of {land}?",
            "answers": [city],
            "supporting_titles": [land],
        }
        for land, city in CAPITALS.items()
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    return file
