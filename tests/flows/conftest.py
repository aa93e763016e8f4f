"""Settings, documents and questions for flows."""

import json
from collections.abc import Iterator
from pathlib import Path

import prefect_server  # noqa: F401 - before anything else imports Prefect
import pytest
from scripted_endpoint import ScriptedEndpoint, answers_from

from ragloom.pipelines.settings import Settings

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid"}


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
