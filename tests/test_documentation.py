"""What the documentation tells its readers to do works, block by block."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from documentation import ROOT, Reader, blocks
from scripted_endpoint import ScriptedEndpoint, answers_from

from ragloom.__main__ import main

PAGES = sorted(page for page in (ROOT / "docs").glob("*.md") if any(block.kind != "text" for block in blocks(page)))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as it is after the tutorial."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "docs").symlink_to(ROOT / "docs")
    questions = (ROOT / "docs" / "sample" / "questions.jsonl").read_text(encoding="utf-8")
    (folder / "questions.jsonl").write_text(questions, encoding="utf-8")
    (folder / "labelled.jsonl").write_text("".join(_labelled(questions, times=4)), encoding="utf-8")
    workspace = ("--workspace", str(folder / "workspace"))
    assert main(["index", str(folder / "docs/sample/corpus"), *workspace]) == 0
    # Every index is made once, rather than for each page that needs it.
    assert main(["eval", str(folder / "questions.jsonl"), "--retrievers", "fused", "graph", *workspace]) == 0
    return folder


def _labelled(questions: str, times: int) -> Iterator[str]:
    """The questions that have answers, so many times: there are few, and a gate needs more."""
    for number in range(times):
        for question in map(json.loads, questions.splitlines()):
            if question["answers"]:
                yield json.dumps(question | {"id": f"{question['id']}-{number}"}) + "\n"


def _somewhat_able(questions: Path) -> Callable[[str], str]:
    """A model that answers every question right from passages, every other one without, and writes digests."""
    asked = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines()]
    right = {question["question"]: question["answers"][0] for question in asked if question["answers"]}
    known = dict(list(right.items())[::2])

    def answer(prompt: str) -> str:
        if "\nDigest #" in prompt:
            return max(prompt.rpartition("[1]")[2].splitlines(), key=len)
        return answers_from(right if "[1]" in prompt else known)(prompt)

    return answer


@pytest.fixture
def reader(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    folder = tmp_path / "reader"
    shutil.copytree(sample, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    with ScriptedEndpoint(_somewhat_able(folder / "questions.jsonl")) as endpoint:
        monkeypatch.setenv("RAGLOOM_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("RAGLOOM_MODEL", "scripted")
        person = Reader(folder, endpoint.base_url, monkeypatch.setenv)
        yield person
        person.leave()


@pytest.mark.model
@pytest.mark.usefixtures("event_loop_of_the_thread")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page: Path, reader: Reader, request: pytest.FixtureRequest) -> None:
    if page.stem == "scheduling":
        request.getfixturevalue("prefect_server")  # else each of its commands starts one, for the user's own history
    for block in blocks(page):
        reader.follow(block)
