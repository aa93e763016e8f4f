"""The command line as its users meet it: exit codes, one line and a remedy for each error, never a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.store import Store

Ragloom = Callable[..., tuple[int, str, str]]


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEndpoint]:
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    with ScriptedEndpoint(answer=lambda prompt: "Ada Quill [1]", key="right", strict_models=True) as endpoint:
        yield endpoint


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "mill.md").write_text("The mill was built by Ada Quill in 1871.", encoding="utf-8")
    (folder / "pier.txt").write_text("The pier {burned} down in %s winter of 1902.", encoding="utf-8")
    return folder


def model(endpoint: ScriptedEndpoint, *more: str) -> tuple[str, ...]:
    return ("--base-url", endpoint.base_url, "--model", "scripted", "--pipeline", "single", *more)


def write_questions(tmp_path: Path, count: int = 3) -> Path:
    file = tmp_path / "questions.jsonl"
    lines = [
        json.dumps({"id": f"q{n}", "question": f"Who built mill number {n}?", "answers": ["Ada Quill"]})
        for n in range(count)
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_index_then_ask_gives_an_answer_with_its_source_and_cost(
    ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint
):
    code, out, _ = ragloom("index", notes, "--no-dense")
    assert code == 0
    assert "2 chunks in workspace. Documents: 2 added" in out
    code, out, _ = ragloom("ask", "Who built the mill?", *model(endpoint))
    assert code == 0
    assert out.startswith("Ada Quill\n")
    assert "[1] mill (mill.md, characters 22-31)" in out or "[1] mill.md, characters 22-31" in out
    assert "1 call, " in out


def test_documents_reach_the_model_as_they_are(ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint):
    ragloom("index", notes, "--no-dense")
    ragloom("ask", "When did the {pier} burn? {{7*7}} ${HOME} %s", *model(endpoint))
    prompt = endpoint.requests[-1].prompt
    assert "The pier {burned} down in %s winter of 1902." in prompt
    assert "When did the {pier} burn? {{7*7}} ${HOME} %s" in prompt


def test_json_output_is_one_value(ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint):
    code, out, _ = ragloom("index", notes, "--no-dense", "--json")
    assert json.loads(out)["added"] == 2
    code, out, _ = ragloom("ask", "Who built the mill?", *model(endpoint), "--json")
    answer = json.loads(out)
    assert (code, answer["text"], answer["citations"][0]["number"]) == (0, "Ada Quill", 1)


def test_a_batch_is_answered_once_exported_and_measured(ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint):
    questions = write_questions(Path())
    ragloom("index", notes, "--no-dense")
    code, out, _ = ragloom("batch", questions, "--out", "answers.jsonl", *model(endpoint))
    assert code == 0
    assert "3 answered (3 now), 0 failed, 0 pending" in out
    asked = len(endpoint.requests)
    code, out, _ = ragloom("batch", questions, "--out", "answers.jsonl", *model(endpoint), "--json")
    assert (code, json.loads(out)["answered"], len(endpoint.requests)) == (0, 0, asked)
    run_id = json.loads(out)["run_id"]
    rows = [json.loads(line) for line in Path("answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["answer"] for row in rows] == ["Ada Quill"] * 3
    code, out, _ = ragloom("eval", "--run", run_id)
    assert code == 0
    assert "1.000 [1.000, 1.000]" in out


def test_an_estimate_keeps_its_sample(ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint):
    questions = write_questions(Path(), 20)
    ragloom("index", notes, "--no-dense")
    code, out, _ = ragloom("batch", questions, "--estimate", "--sample", "4", *model(endpoint))
    assert code == 0
    assert "4 questions answered as a sample; the 16 others will take about" in out
    assert "cost     unknown" in out
    _, out, _ = ragloom("batch", questions, *model(endpoint), "--json")
    assert json.loads(out)["answered"] == 16


def test_a_spent_budget_stops_with_a_code_of_its_own_and_resumes(
    ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint
):
    questions = write_questions(Path())
    ragloom("index", notes, "--no-dense")
    code, out, _ = ragloom("batch", questions, *model(endpoint), "--max-calls", "1")
    assert code == 75
    assert "2 pending" in out
    assert "budget of 1 calls" in out
    assert ragloom("batch", questions, *model(endpoint), "--max-calls", "3")[0] == 0


def test_eval_measures_retrieval(ragloom: Ragloom, notes: Path):
    lines = [
        {"id": "a", "question": "Who built the mill?", "supporting_titles": ["mill"]},
        {"id": "b", "question": "When did the pier burn down?", "supporting_titles": ["pier"]},
    ]
    Path("questions.json").write_text(json.dumps(lines), encoding="utf-8")
    ragloom("index", notes, "--no-dense")
    code, out, _ = ragloom("eval", "questions.json", "--retrievers", "bm25", "--json")
    table = json.loads(out)
    row = dict(zip(table["columns"], table["rows"][0], strict=True))
    assert (code, row["retriever"], row["n"], row["recall@5"]) == (0, "bm25", "2", "1.000")


def test_ircot_thinks_between_its_retrievals(ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint):
    ragloom("index", notes, "--no-dense")
    ircot = (*model(endpoint)[:4], "--pipeline", "ircot")
    code, out, _ = ragloom("ask", "Who built the mill?", *ircot, "--json")
    answer = json.loads(out)
    assert (code, answer["text"], answer["run"]["usage"]["calls"]) == (0, "Ada Quill", 2)
    assert "Next thought" in endpoint.requests[0].prompt
    _, out, _ = ragloom("ask", "Who built a mill?", *ircot, "--steps", "1", "--json")
    assert json.loads(out)["run"]["usage"]["calls"] == 1


def test_eval_measures_ircot_within_its_budget(ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint):
    lines = [{"question": "Who built the mill?", "supporting_titles": ["mill"]}]
    Path("questions.json").write_text(json.dumps(lines), encoding="utf-8")
    ragloom("index", notes, "--no-dense")
    measure = ("eval", "questions.json", "--retrievers", "bm25", "ircot", *model(endpoint)[:4])
    code, _, err = ragloom(*measure, "--max-calls", "0")
    assert (code, len(endpoint.requests)) == (75, 0)
    assert "budget of 0 calls" in err
    code, out, _ = ragloom(*measure)
    assert (code, len(endpoint.requests)) == (0, 1)
    assert "ircot: bm25, then with thoughts of scripted, at most 2 retrievals" in out


def test_doctor_finds_a_healthy_workspace_and_a_damaged_one(ragloom: Ragloom, notes: Path):
    ragloom("index", notes, "--no-dense")
    assert ragloom("doctor")[:2] == (0, "workspace is healthy\n")
    database = Path("workspace/ragloom.sqlite")
    content = database.read_bytes()
    place = content.index(b"Ada Quill")
    database.write_bytes(content[:place] + b"Eve" + content[place + 3 :])
    code, out, _ = ragloom("doctor")
    assert code == 1
    assert "chunks" in out
    code, _, err = ragloom("index", notes, "--no-dense")
    assert code == 74
    assert "ragloom:" in err
    code, out, _ = ragloom("doctor", "--salvage", "saved")
    assert code == 1
    with Store.open("saved") as saved:
        assert saved.check() == []
    database.write_bytes(content[: len(content) // 2])  # cannot even be opened
    code, _, err = ragloom("doctor")
    assert code == 74
    assert "`ragloom doctor --salvage FOLDER`" in err
    assert ragloom("doctor", "--salvage", "saved-again")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("index",), 2, "nothing to index"),
        (("index", "absent"), 65, "absent"),
        (("index", "empty"), 65, "empty"),
        (("index", "blank.txt"), 65, "blank.txt"),
        (("index", "latin.txt"), 65, "latin.txt"),
        (("index", "nul.txt"), 65, "nul.txt"),
        (("index", "broken.jsonl"), 65, "broken.jsonl"),
        (("index", "surrogate.jsonl"), 65, "surrogate.jsonl"),
        (("index", "twice.jsonl"), 65, "twice.jsonl"),
        (("ask", "Who?", "--workspace", "absent"), 2, "there is no workspace at absent"),
        (("ask", "Who?", "--k", "0"), 2, "argument k = '0'"),
        (("eval",), 2, "nothing to evaluate"),
        (("batch", "absent.jsonl"), 65, "absent.jsonl"),
        (("eval", "--run", "absent"), 74, "absent"),
        (("eval", "questions.jsonl", "--workspace", "absent"), 2, "there is no workspace at absent"),
        (("batch", "questions.jsonl", "--workspace", "absent"), 2, "there is no workspace at absent"),
        (("batch", "questions.jsonl", "--pipeline", "single", "--workspace", "empty"), 65, "no documents in empty"),
        (("batch", "questions.jsonl", "--pipeline", "single", "--out", "questions.jsonl"), 2, "would be overwritten"),
        (("batch", "questions.jsonl", "--pipeline", "single", "--out", "a.csv"), 2, "unknown ending '.csv'"),
        (("batch", "questions.jsonl", "--pipeline", "single", "--out", "nul.txt/a.jsonl"), 65, "nul.txt/a.jsonl"),
        (("doctor", "--salvage", "new", "--workspace", "absent"), 74, "no workspace at absent"),
    ],
)
def test_bad_input_is_named_in_one_line(
    ragloom: Ragloom, notes: Path, arguments: tuple[str, ...], code: int, problem: str
):
    ragloom("index", notes, "--no-dense")
    write_questions(Path())
    Path("empty").mkdir()
    Path("blank.txt").write_text(" \n\t ", encoding="utf-8")
    Path("latin.txt").write_bytes("Zürich".encode("latin-1"))
    Path("nul.txt").write_bytes(b"a\0b")
    Path("broken.jsonl").write_text('{"text": "fine"}\n{"text": \n', encoding="utf-8")
    Path("surrogate.jsonl").write_text('{"text": "\\ud800"}\n', encoding="utf-8")
    Path("twice.jsonl").write_text('{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}\n', encoding="utf-8")
    found, out, err = ragloom(*arguments)
    assert found == code, err
    assert problem in err
    assert "Traceback" not in err + out
    assert err.startswith("ragloom: ")
    assert len(err.splitlines()) <= 2


def test_a_broken_line_is_named_and_nothing_of_its_file_is_stored(ragloom: Ragloom, tmp_path: Path):
    Path("broken.jsonl").write_text('{"text": "fine"}\n{"text": \n', encoding="utf-8")
    code, _, err = ragloom("index", "broken.jsonl", "--no-dense")
    assert code == 65
    assert "line 2" in err or ":2" in err
    with Store.open("workspace") as store:
        assert store.chunks() == []


def test_a_file_of_a_kind_that_is_not_read_is_no_failure(ragloom: Ragloom, notes: Path):
    (notes / "picture.png").write_bytes(b"\x89PNG")
    code, out, _ = ragloom("index", notes, "--no-dense")
    assert code == 0
    assert "skipped picture.png" in out


def test_what_is_skipped_is_listed(ragloom: Ragloom, notes: Path):
    (notes / "blank.txt").write_text("", encoding="utf-8")
    code, out, _ = ragloom("index", notes, "--no-dense", "--on-error", "skip")
    assert code == 1
    assert "skipped blank.txt" in out
    assert "2 added" in out


def test_a_wrong_key_names_its_variable_and_never_the_key(
    ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
):
    ragloom("index", notes, "--no-dense")
    monkeypatch.setenv("OPENAI_API_KEY", "canary-5731")
    code, out, err = ragloom("ask", "Who built the mill?", *model(endpoint))
    assert code == 69
    assert "OPENAI_API_KEY" in err
    assert "canary" not in out + err


def test_an_unknown_model_and_an_unreachable_endpoint_say_so(ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint):
    ragloom("index", notes, "--no-dense")
    code, _, err = ragloom(
        "ask", "Who built the mill?", *model(endpoint)[:2], "--model", "other", "--pipeline", "single"
    )
    assert code == 69
    assert "other" in err
    assert "scripted" in err  # what the server has
    code, _, err = ragloom(
        "ask", "Who?", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--pipeline", "closed-book"
    )
    assert code == 69
    assert "127.0.0.1:9" in err


@pytest.mark.parametrize("question", ["", "  ", "why " * 300_000])
def test_an_empty_or_endless_question_is_refused(
    ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint, question: str
):
    ragloom("index", notes, "--no-dense")
    code, _, err = ragloom("ask", question, *model(endpoint))
    assert code == 65
    assert "question" in err
    assert endpoint.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(ragloom: Ragloom, notes: Path, tmp_path: Path):
    tmp_path.chmod(0o500)
    code, _, err = ragloom("index", notes, "--no-dense")
    tmp_path.chmod(0o700)
    assert code == 74
    assert "workspace" in err


def test_a_question_can_be_asked_while_a_batch_is_writing(ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint):
    ragloom("index", notes, "--no-dense")
    with Store.open("workspace"):
        code, out, err = ragloom("ask", "Who built the mill?", *model(endpoint))
    assert (code, out.splitlines()[0]) == (0, "Ada Quill")
    assert "answering without keeping the reply" in err


def test_an_unexpected_error_has_no_traceback_unless_asked_for(
    ragloom: Ragloom, notes: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object, **__: object) -> None:
        raise LookupError("deep inside")

    monkeypatch.setattr(Store, "open", broken)
    code, out, err = ragloom("index", notes)
    assert code == 70
    assert "deep inside" in err
    assert "Traceback" not in out + err
    with pytest.raises(LookupError):
        ragloom("index", notes, "--debug")


def test_interrupting_a_batch_finishes_what_is_under_way_and_keeps_it(notes: Path, tmp_path: Path):
    questions = write_questions(tmp_path, 200)
    with ScriptedEndpoint(delay_s=0.05) as endpoint:
        environment = {**os.environ, "OPENAI_API_KEY": "key"}
        ragloom = (sys.executable, "-m", "ragloom")
        subprocess.run([*ragloom, "index", notes, "--no-dense"], cwd=tmp_path, check=True, capture_output=True)
        batch = subprocess.Popen(
            [*ragloom, "batch", questions, *model(endpoint, "--workers", "2"), "--json"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while len(endpoint.requests) < 5:
            time.sleep(0.01)
        batch.send_signal(signal.SIGINT)
        out, err = batch.communicate()
        asked = len(endpoint.requests)
    assert batch.returncode == 130, err
    report = json.loads(out)
    assert report["stopped"] == "stopped on request"
    assert report["done"] == asked
    assert report["done"] + report["pending"] == 200


def test_a_batch_that_cannot_be_written_asks_nothing_and_leaves_the_questions(
    ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint
):
    questions = write_questions(Path())
    before = questions.read_bytes()
    ragloom("index", notes, "--no-dense")
    for out in ("questions.jsonl", "notes/../questions.jsonl", "answers.csv", "notes"):
        assert ragloom("batch", questions, "--out", out, *model(endpoint))[0] in (2, 65)
    assert questions.read_bytes() == before
    assert not endpoint.requests


def test_a_workspace_that_cannot_be_written_can_be_asked(
    ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
):
    ragloom("index", notes, "--no-dense")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    assert ragloom("ask", "Who built the mill?", *model(endpoint))[0] == 0


@pytest.mark.parametrize("option", [("eval", "q.json", "--at"), ("batch", "q.jsonl", "--estimate", "--sample")])
@pytest.mark.parametrize("number", ["0", "-1", "two"])
def test_numbers_below_1_are_wrong_usage(
    ragloom: Ragloom, option: tuple[str, ...], number: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as caught:
        ragloom(*option, number)
    assert caught.value.code == 2
    assert f"'{number}' is not a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("models", "serve"), ("serve",)])
def test_a_port_that_cannot_be_is_wrong_usage(
    ragloom: Ragloom, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
):
    with pytest.raises(SystemExit):
        ragloom(*command, "--port", "99999")
    assert "they are numbers from 0 to 65535" in capsys.readouterr().err


def test_an_unknown_run_is_answered_with_those_there_are(ragloom: Ragloom, notes: Path, endpoint: ScriptedEndpoint):
    ragloom("index", notes, "--no-dense")
    assert "its runs are: none" in ragloom("eval", "--run", "absent")[2]
    run_id = json.loads(ragloom("batch", write_questions(Path()), *model(endpoint), "--json")[1])["run_id"]
    assert f"its runs are: {run_id}" in ragloom("eval", "--run", "absent")[2]


def test_json_is_understood_before_and_behind_an_action(ragloom: Ragloom):
    first, second = ragloom("models", "--json", "list"), ragloom("models", "list", "--json")
    assert first == second
    assert {row["name"] for row in json.loads(first[1])} >= {"smollm2", "minilm"}


def test_help_lists_what_a_setting_may_be_even_where_it_may_be_left_out():
    shown = subprocess.run(
        [sys.executable, "-m", "ragloom", "ask", "--help"], check=True, capture_output=True, text=True
    ).stdout
    assert "--mode short|long|yes-no" in shown
    assert "--api chat|completions" in shown
    assert "--select top-k|greedy-fill|" in shown


def test_help_teaches():
    shown = subprocess.run(
        [sys.executable, "-m", "ragloom", "--help"], check=True, capture_output=True, text=True
    ).stdout
    assert "ragloom index notes/" in shown
    assert "Exit codes" in shown
