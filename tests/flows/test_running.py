import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from scripted_endpoint import ScriptedEndpoint

from ragloom.__main__ import main
from ragloom.pipelines.batch import answer_file
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

NOWHERE = "http://127.0.0.1:9/api"  # the discard port: nobody listens


def command(*arguments: object, settings: Settings) -> list[str]:
    options = [
        *("--workspace", settings.workspace),
        *("--pipeline", settings.pipeline),
        *("--model", settings.model),
        *("--base-url", settings.base_url),
        *("--embedder", settings.embedder),
        *("--embedding-base-url", settings.embedding_base_url),
        *(("--memory-base-url", settings.memory_base_url) if settings.memory_base_url else ()),
    ]
    return ["flow", *(str(argument) for argument in (*arguments, *options))]


def flow(*arguments: object, settings: Settings) -> int:
    return main(command(*arguments, settings=settings))


@pytest.mark.usefixtures("prefect_server")
def test_the_command_line_indexes_answers_and_evaluates(
    tmp_path: Path, settings: Settings, corpus: Path, questions: Path, capsys: pytest.CaptureFixture[str]
):
    out, report = tmp_path / "answers.jsonl", tmp_path / "report.md"
    single = settings.model_copy(update={"pipeline": "single"})
    assert flow("index", corpus, settings=single) == 0
    assert "3 chunks. Documents: 3 added" in capsys.readouterr().out
    assert flow("build-graph", settings=single) == 0
    assert "3 passages, " in capsys.readouterr().out
    assert flow("batch", questions, "--out", out, "--report", report, settings=single) == 0
    said = capsys.readouterr().out
    assert "3 answered (3 now), 0 failed, 0 pending; 3 calls" in said
    assert said.endswith(f"answers: {out}\nreport: {report}\n")
    assert out.is_file()
    assert report.is_file()
    assert flow("evaluate", settings=single) == 0
    assert "| run | pipeline |" in capsys.readouterr().out


@pytest.mark.usefixtures("prefect_server")
def test_json_is_the_only_thing_on_standard_output(
    settings: Settings, questions: Path, capsys: pytest.CaptureFixture[str]
):
    assert flow("batch", questions, "--json", settings=settings) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 3


@pytest.mark.usefixtures("prefect_server")
def test_pipelines_are_compared_by_the_command_line(
    tmp_path: Path, settings: Settings, corpus: Path, questions: Path, capsys: pytest.CaptureFixture[str]
):
    with Store.open(settings.workspace) as store:
        index_corpus([corpus], store, progress=False)
    out = tmp_path / "comparison"
    named = ["--pipelines", "closed-book,single", "--baseline", "single", "--limit", 2, "--metric", "em", "--out", out]
    assert flow("compare", questions, *named, settings=settings) == 0
    said = capsys.readouterr().out
    assert "| closed-book | 2 |" in said
    assert f"written: {out / 'index.html'}\n" in said
    assert (out / "index.html").is_file()


@pytest.mark.usefixtures("prefect_server")
def test_a_stopped_batch_is_said_in_a_line_without_traceback(
    settings: Settings, questions: Path, capsys: pytest.CaptureFixture[str]
):
    assert flow("batch", questions, "--max-calls", 1, settings=settings) == 75
    captured = capsys.readouterr()
    assert "1 answered, 0 failed, 2 pending: the run's budget of 1 calls" in captured.err
    assert "run the flow again" in captured.err
    assert "Traceback" not in captured.err + captured.out


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["index"], 2, "nothing to index"),
        (["index", "no/such/folder"], 65, "no/such/folder"),
        (["build-graph", "a.json", "b.json"], 2, "one file of extractions or from none, got 2"),
        (["build-graph", "missing.json"], 65, "missing.json"),
        (["batch"], 2, "one file of questions, got 0"),
        (["batch", "a.jsonl", "b.jsonl"], 2, "one file of questions, got 2"),
        (["batch", "missing.jsonl"], 65, "missing.jsonl"),
        (["evaluate", "missing.jsonl"], 65, "missing.jsonl"),
        (["calibrate-gate", "labelled.jsonl"], 2, "--out for the gate"),
        (["calibrate-gate", "missing.jsonl", "--out", "gate.json"], 65, "missing.jsonl"),
        (["compare", "q.jsonl", "--pipelines", "single,hybrid"], 2, "--out, the folder for its report"),
        (["compare", "missing.jsonl", "--out", "c"], 2, "a comparison needs two variants at least, got 0"),
        (["compare", "missing.jsonl", "--pipelines", "single,hybrid", "--out", "c"], 65, "missing.jsonl"),
        (["compare", "q.jsonl", "--variants", "missing.toml", "--out", "c"], 2, "missing.toml"),
        (["evaluate", "--cron", "every night"], 2, "--cron 'every night' is no schedule"),
        (["evaluate", "--cron", "0 25 * * *"], 2, "--cron '0 25 * * *' is no schedule"),
        (["evaluate", "--cron", "0 0 30 2 *"], 2, "--cron '0 0 30 2 *' never comes"),
        (["evaluate", "--cron", "0 3 * * *", "--timezone", "Mars/Olympus"], 2, "'Mars/Olympus' is no time zone"),
        (["evaluate", "--cron", "0 3 * * *"], 2, "PREFECT_API_URL"),
    ],
)
def test_what_cannot_work_is_said_before_a_server_is_started(
    arguments: list[str], code: int, problem: str, settings: Settings, capsys: pytest.CaptureFixture[str]
):
    with temporary_settings({PREFECT_API_URL: None}):
        assert flow(*arguments, settings=settings) == code
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("name", ["base_url", "embedding_base_url", "memory_base_url"])
@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1:9/v1", "http://127.0.0.1:9/v1?key=secret"])
def test_an_address_with_a_secret_is_kept_from_prefect(
    name: str, url: str, settings: Settings, questions: Path, capsys: pytest.CaptureFixture[str]
):
    assert flow("batch", questions, settings=settings.model_copy(update={name: url})) == 2
    captured = capsys.readouterr()
    assert f"{name} holds more than an address" in captured.err
    assert "secret" not in captured.err


def test_a_variant_with_a_secret_in_an_address_is_kept_from_prefect(
    tmp_path: Path, settings: Settings, questions: Path, capsys: pytest.CaptureFixture[str]
):
    variants = tmp_path / "variants.toml"
    variants.write_text('[a]\nk = 1\n[b]\nbase_url = "http://me:secret@127.0.0.1:9/v1"\n', encoding="utf-8")
    assert flow("compare", questions, "--variants", variants, "--out", tmp_path / "out", settings=settings) == 2
    captured = capsys.readouterr()
    assert "base_url holds more than an address" in captured.err
    assert "secret" not in captured.err


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_a_flow_does_not_write_over_its_questions(
    option: str, settings: Settings, questions: Path, capsys: pytest.CaptureFixture[str]
):
    assert flow("batch", questions, option, questions, settings=settings) == 2
    assert "is read, and would be overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("schedule", [[], ["--cron", "0 3 * * *"]])
def test_a_server_that_does_not_answer_is_named(
    schedule: list[str], settings: Settings, capsys: pytest.CaptureFixture[str]
):
    with temporary_settings({PREFECT_API_URL: NOWHERE}):
        assert flow("evaluate", *schedule, settings=settings) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"ragloom: Prefect's server at {NOWHERE} does not answer")
    assert "prefect server start" in captured.err


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/api", "http://127.0.0.1:{port}", "127.0.0.1:{port}/api"])
def test_an_address_at_which_something_else_answers_is_told_from_prefects(
    url: str, settings: Settings, capsys: pytest.CaptureFixture[str]
):
    with pages() as port, temporary_settings({PREFECT_API_URL: url.format(port=port)}):
        assert flow("evaluate", "--cron", "0 3 * * *", settings=settings) == 2
    captured = capsys.readouterr()
    assert f"PREFECT_API_URL={url.format(port=port)} is not Prefect's API" in captured.err
    assert "http://127.0.0.1:4200/api" in captured.err


@contextmanager
def pages() -> Iterator[int]:
    """A web server that answers every request with a page, as Prefect's own does outside of /api; its port."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow  # a process with an embedded server of its own
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_ended_flow_leaves_no_server_and_is_resumed(
    how: signal.Signals, tmp_path: Path, settings: Settings, endpoint: ScriptedEndpoint
):
    endpoint.delay_s = 0.2
    file, log = tmp_path / "many.jsonl", tmp_path / "log"
    file.write_text("\n".join(f'{{"question": "What is {n}?"}}' for n in range(40)), encoding="utf-8")
    arguments = command("batch", file, "--workers", settings.workers, settings=settings)
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-m", "ragloom", *arguments], stderr=errors)
    while endpoint.count < 5 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(how)
    assert process.wait(timeout=30) == (143 if how is signal.SIGTERM else -how)
    (port,) = set(re.findall(r"View at http://127\.0\.0\.1:(\d+)/runs", log.read_text(encoding="utf-8")))
    wait_until_nobody_listens(int(port))
    endpoint.delay_s = 0
    assert answer_file(settings, file, progress=False).done == 40
    assert 40 <= endpoint.count <= 40 + settings.workers


def wait_until_nobody_listens(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.1)
    pytest.fail("the server was left behind")
