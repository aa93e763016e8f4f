"""`ragloom gate` as its users meet it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint, answers_from

from ragloom.pipelines.outcomes import read_outcomes

Ragloom = Callable[..., tuple[int, str, str]]
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Malta": "Valletta"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEndpoint]:
    """A model that reads what stands in passages, and knows nothing else."""
    read = {f"{city} is the capital": city for city in CAPITALS.values()}
    with ScriptedEndpoint(answers_from(read)) as endpoint:
        for name, value in {"MODEL": "scripted", "BASE_URL": endpoint.base_url, "K": "1"}.items():
            monkeypatch.setenv(f"RAGLOOM_{name}", value)
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        yield endpoint


@pytest.fixture
def indexed(ragloom: Ragloom, endpoint: ScriptedEndpoint) -> Ragloom:
    notes = [{"title": land, "text": f"{city} is the capital of {land}."} for land, city in CAPITALS.items()]
    write_lines("notes.jsonl", notes)
    assert ragloom("index", "notes.jsonl", "--no-dense")[0] == 0
    labelled = [
        {"id": land, "question": f"What is the capital of {land}?", "answers": [city]}
        for land, city in CAPITALS.items()
    ]
    write_lines("labelled.jsonl", labelled)
    return ragloom


def write_lines(name: str, lines: list[dict[str, object]]) -> None:
    Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_outcomes_are_collected_and_written(indexed: Ragloom, endpoint: ScriptedEndpoint):
    code, out, _ = indexed(
        "gate", "collect", "labelled.jsonl", "--signals", "question,draft", "--out", "outcomes.jsonl"
    )
    assert code == 0
    assert "4 outcomes (4 now), 0 failed, 0 pending; 8 calls, " in out
    assert out.endswith("outcomes: outcomes.jsonl\n")
    rows = read_outcomes(Path("outcomes.jsonl"))
    assert [row.question_id for row in rows] == list(CAPITALS)
    assert [row.answers["single"] for row in rows] == list(CAPITALS.values())
    assert {"draft_margin", "question_words"} <= rows[0].features.keys()
    assert {mode: usage.calls for mode, usage in rows[0].usage.items()} == {"none": 1, "single": 1}
    assert endpoint.count == 8


def test_a_collection_within_its_budget_is_gone_on_with(indexed: Ragloom, endpoint: ScriptedEndpoint):
    arguments = ("gate", "collect", "labelled.jsonl", "--out", "outcomes.jsonl", "--workers", "1")
    code, out, _ = indexed(*arguments, "--max-calls", "5")
    assert code == 75
    assert "2 outcomes (2 now), 0 failed, 2 pending" in out
    assert "the same command goes on from here" in out
    assert len(read_outcomes(Path("outcomes.jsonl"))) == 2
    code, out, _ = indexed(*arguments, "--json")
    assert (code, json.loads(out)["done"], endpoint.count) == (0, 4, 8)
    assert len(read_outcomes(Path("outcomes.jsonl"))) == 4


def test_a_question_that_fails_is_left_out_and_said(indexed: Ragloom, endpoint: ScriptedEndpoint):
    endpoint.answer = lambda prompt: "" if "capital of Spain." in prompt else "Rome"
    code, out, _ = indexed("gate", "collect", "labelled.jsonl", "--out", "outcomes.jsonl")
    assert code == 1
    assert "1 failed" in out
    assert "--retry-failed tries them again" in out
    assert [row.question_id for row in read_outcomes(Path("outcomes.jsonl"))] == ["France", "Italy", "Malta"]
    endpoint.answer = lambda prompt: "Rome"
    assert indexed("gate", "collect", "labelled.jsonl", "--out", "outcomes.jsonl", "--retry-failed")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--signals", "question,mood"], 2, "there is no signal 'mood'"),
        (["--modes", "none,twice"], 2, "there is no mode 'twice'"),
        (["--modes", ","], 2, "there is no mode to answer under"),
        (["--out", "labelled.jsonl"], 2, "holds the questions"),
        (["--workspace", "elsewhere"], 2, "there is no workspace at elsewhere"),
    ],
)
def test_a_collection_that_cannot_work_is_refused_before_it_asks(
    arguments: list[str], code: int, problem: str, indexed: Ragloom, endpoint: ScriptedEndpoint
):
    ended, _, err = indexed("gate", "collect", "labelled.jsonl", "--out", "outcomes.jsonl", *arguments)
    assert ended == code
    assert problem in err
    assert "Traceback" not in err
    assert endpoint.count == 0


def test_questions_without_answers_are_refused(indexed: Ragloom, endpoint: ScriptedEndpoint):
    write_lines("unlabelled.jsonl", [{"id": "q1", "question": "Why?"}])
    code, _, err = indexed("gate", "collect", "unlabelled.jsonl", "--out", "outcomes.jsonl")
    assert code == 65
    assert "question 'q1' has no gold answer" in err
    assert endpoint.count == 0
