"""`ragloom memory` as its users meet it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.store import Store

Ragloom = Callable[..., tuple[int, str, str]]
QUIET = " It is quiet there, and few come by in winter, when the river freezes and the wheel stands still." * 12
NOTES = {
    "Lower Mill": f"Lower Mill was built by Ada Quill in 1871.{QUIET}",
    "Pier": f"The pier {{burned}} down in %s winter of 1902.\x1b[2J{QUIET}",
}


@pytest.fixture
def indexed(ragloom: Ragloom) -> Ragloom:
    write_notes(NOTES)
    assert ragloom("index", "notes.jsonl", "--no-dense")[0] == 0
    return ragloom


def write_notes(notes: dict[str, str]) -> None:
    lines = [
        json.dumps({"id": str(number), "title": title, "text": notes[title]}) for number, title in enumerate(notes)
    ]
    Path("notes.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_show_tells_the_numbers_of_the_memory(indexed: Ragloom) -> None:
    code, out, err = indexed("memory", "show")
    assert (code, err) == (0, "")
    assert "kind           extractive\n" in out
    assert "stale          no\n" in out
    shown = json.loads(indexed("memory", "show", "--json", "--memory", "full-text")[1])
    assert (shown["kind"], shown["stale"], shown["by_the_model"], shown["levels"]) == ("full-text", False, 0, 1)
    assert shown["entries"] == 2


def test_show_prints_what_is_put_to_a_model_with_a_question(indexed: Ragloom) -> None:
    question = "Who built Lower Mill?"
    code, out, _ = indexed("memory", "show", question)
    assert code == 0
    assert "Lower Mill was built by Ada Quill in 1871." in out
    assert "\x1b" not in out
    shown = json.loads(
        indexed("memory", "show", question, "--json", "--memory", "full-text", "--memory-tokens", "450")[1]
    )
    assert (shown["places"], shown["left_out"]) == ([0], 1)


def test_build_without_a_model_follows_the_documents(indexed: Ragloom) -> None:
    assert "1 written, 0 written before, 0 failed" in indexed("memory", "build")[1]
    assert "0 written, 1 written before, 0 failed" in indexed("memory", "build")[1]
    write_notes({"Lower Mill": "Lower Mill burned down."})
    indexed("index", "notes.jsonl", "--no-dense")
    assert json.loads(indexed("memory", "build", "--json")[1])["written"] == 1
    assert "Lower Mill burned down." in indexed("memory", "show", "Mill?")[1]


def test_a_model_is_asked_once_and_again_where_it_failed(indexed: Ragloom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    reply = "Ada Quill built Lower Mill in 1871, and the pier burned down in 1902."
    with ScriptedEndpoint(answer=lambda _: "I do not know how.") as endpoint:
        model = ("--memory", "gists", "--base-url", endpoint.base_url, "--memory-model", "light")
        code, out, _ = indexed("memory", "show", *model)
        assert (code, "stale          yes\n" in out, "missing        1\n" in out) == (1, True, True)
        code, _, err = indexed("memory", "show", "Who?", *model)
        assert code == 65
        assert "light chat was not built" in err
        code, out, _ = indexed("memory", "build", *model)
        assert code == 1
        assert "failed: Lower Mill; Pier: none of 2 replies says anything of the passages" in out
        endpoint.answer = lambda _: reply
        assert indexed("memory", "build", *model)[0] == 1
        assert endpoint.count == 2
        code, out, _ = indexed("memory", "build", "--retry-failed", *model)
        assert (code, endpoint.count) == (0, 3)
        assert "1 written, 0 written before, 0 failed" in out
        assert reply in indexed("memory", "show", "Who?", *model)[1]


def test_a_build_that_its_budget_stops_says_so(indexed: Ragloom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    with ScriptedEndpoint() as endpoint:
        code, _, err = indexed(
            "memory", "build", "--memory", "tree", "--base-url", endpoint.base_url, "--max-calls", "0"
        )
    assert code == 75
    assert "budget of 0 calls" in err


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("show", " "), 65, "the question is empty"),
        (("show", "Who?", "--memory-tokens", "5"), 2, "no entry of the memory fits into 5 tokens"),
        (("show", "--memory", "gossip"), 2, "argument memory = 'gossip'"),
        (("show", "--workspace", "absent"), 2, "there is no workspace at absent"),
        (("build", "--workspace", "absent"), 2, "there is no workspace at absent"),
        (("build", "--workspace", "empty"), 65, "there are no documents in empty"),
    ],
)
def test_bad_input_is_named_in_one_line(indexed: Ragloom, arguments: tuple[str, ...], code: int, problem: str) -> None:
    Store.open("empty").close()
    found, out, err = indexed("memory", *arguments)
    assert found == code, err
    assert problem in err
    assert "Traceback" not in err + out
