"""`ragloom serve` as a process: what it says, whom it lets in, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from openai import OpenAI
from scripted_endpoint import ScriptedEndpoint
from serve_process import serve
from served import QUESTION, cited

from ragloom.errors import ConfigError
from ragloom.serve_commands import token_of

PROCESS = Path(__file__).parent / "support" / "serve_process.py"
ASKED = [{"role": "user", "content": QUESTION}]


@contextmanager
def running(sample_workspace: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its base URL."""
    process = subprocess.Popen(
        [sys.executable, PROCESS, "--port", "0", "--workspace", sample_workspace, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENAI_API_KEY": "none"},
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"at (http://\S+/v1)", line):
                yield process, found[1]
                break
        else:
            pytest.fail("it did not begin to serve")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_it_serves_until_it_is_terminated_and_keeps_replies_where_asked_to(sample_workspace: Path):
    with ScriptedEndpoint(cited) as model:
        options = ("--offer", "single", "--base-url", model.base_url, "--model", "scripted", "--sources", "--keep")
        with running(sample_workspace, *options) as (process, url):
            with OpenAI(base_url=url, api_key="none") as openai:
                answers = [openai.chat.completions.create(model="single", messages=ASKED) for _ in range(2)]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        assert model.count == 1
    texts = {answer.choices[0].message.content for answer in answers}
    assert len(texts) == 1
    assert texts.pop().startswith("Ines Corvale\n\nSources:\n[")
    assert [answer.choices[0].message.ragloom["calls"] for answer in answers] == [1, 0]


def test_a_model_that_hangs_does_not_keep_it_from_ending(sample_workspace: Path):
    with ScriptedEndpoint(script=lambda _: "hang") as model:
        options = ("--offer", "single", "--base-url", model.base_url, "--model", "scripted", "--timeout", "1")
        with running(sample_workspace, *options) as (process, url):
            data = json.dumps({"model": "single", "messages": ASKED}).encode()
            with pytest.raises(OSError, match="504"):
                urlopen(Request(f"{url}/chat/completions", data, {"Content-Type": "application/json"}), timeout=30)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "rag.example"])
def test_beyond_this_machine_a_token_is_needed(sample_workspace: Path, host: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAGLOOM_SERVE_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="set the environment variable RAGLOOM_SERVE_TOKEN"):
        serve("--workspace", str(sample_workspace), "--host", host)


def test_a_token_comes_from_the_environment_and_is_long():
    token = "0123456789abcdef"
    assert token_of("0.0.0.0", "NAME", {"NAME": token}) == token_of("127.0.0.1", "NAME", {"NAME": token}) == token
    assert token_of("localhost", "NAME", {}) == token_of("::1", "NAME", {}) == ""
    for bad in ("short", "0123456789abcde\n0", "0123456789abcdeä"):
        with pytest.raises(ConfigError, match="at least 16 printable ASCII characters") as refused:
            token_of("127.0.0.1", "NAME", {"NAME": bad})
        assert bad not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--offer", "best"), "there is no pipeline 'best'"),
        (("--workspace", "nowhere"), "there is no workspace at nowhere"),
        (("--retrieval-rate", "0.5"), "a retrieval rate is kept over a batch"),
    ],
)
def test_what_cannot_be_served_is_told_at_once(sample_workspace: Path, arguments: tuple[str, ...], told: str):
    with pytest.raises(ConfigError, match=told):
        serve("--workspace", str(sample_workspace), *arguments)


def test_a_taken_port_is_told(sample_workspace: Path):
    with (
        ScriptedEndpoint() as taken,
        pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1, port {taken.port}"),
    ):
        serve("--workspace", str(sample_workspace), "--offer", "closed-book", "--port", str(taken.port))


@pytest.mark.model
def test_the_local_model_answers_a_chat_client(sample_workspace: Path):
    options = ("--offer", "single", "--k", "1")
    with running(sample_workspace, *options) as (_, url), OpenAI(base_url=url, api_key="none") as openai:
        whole = openai.chat.completions.create(model="single", messages=ASKED)
        chunks = list(openai.chat.completions.create(model="single", messages=ASKED, stream=True))
    message = whole.choices[0].message
    assert message.content.strip()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == message.content
    assert chunks[-1].choices[0].delta.ragloom["citations"] == message.ragloom["citations"]
    assert (message.ragloom["calls"], message.ragloom["cost"]) == (1, 0.0)
    assert 0 < whole.usage.completion_tokens <= 48
