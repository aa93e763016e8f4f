import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from ragloom.components.llama_server import ServerOptions, listen
from ragloom.components.llm import OpenAILLM
from ragloom.components.local_models import digest, model_file
from ragloom.components.local_server import LocalLLM, LocalServer, local_llm
from ragloom.errors import ConfigError, EndpointUnreachable, InputError, LLMError, RequestRefused
from ragloom.run import Run
from ragloom.types import Message

USER = Path(__file__).parents[1] / "support" / "local_server_user.py"
LENGTHY = "The kingdom of the bees lies behind the mill. Its queen is called Amalia, and its colour is yellow. "
BEGINNINGS = [
    LENGTHY * (number % 3 + 1) + text
    for number, text in enumerate(
        ["The queen of the bees is called", "The kingdom lies", "Bees are", "The capital of Spain is", "I like"]
    )
]


def says(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


FRANCE, COUNT = says("The capital of France is"), says("Count: 1 2 3")


def listens(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as connection:
        return connection.connect_ex((address.hostname, address.port)) == 0


def closes(url: str) -> bool:
    """Whether nobody listens there any more within some seconds."""
    deadline = time.monotonic() + 20
    while listens(url) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not listens(url)


def kill(server: LocalServer) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def llm() -> Iterator[LocalLLM]:
    """A model whose server may be killed and closed."""
    llm = local_llm(context_tokens=1024)
    yield llm
    llm.server.close()


# ---- Replies


@pytest.mark.model
def test_a_reply_is_counted_and_costs_nothing(local_model: LocalLLM):
    with Run() as run:
        reply = local_model(FRANCE, max_tokens=4, temperature=0.0, logprobs=2)
    assert reply.text.startswith("Paris")
    assert reply.model == "smollm2"
    assert reply.usage.prompt_tokens == 5
    assert reply.usage.cost == 0.0
    assert run.spent == reply.usage
    assert reply.logprobs is not None
    assert len(reply.logprobs[0].alternatives) == 2


@pytest.mark.model
def test_a_reply_is_the_same_however_it_is_asked_for(local_model: LocalLLM):
    def ask(text: str, *, cache: bool = True):
        reply = local_model(says(text), max_tokens=6, temperature=0.0, logprobs=1, extra={"cache_prompt": cache})
        return reply.text, reply.logprobs

    afresh = [ask(text, cache=False) for text in BEGINNINGS]
    assert [ask(text) for text in reversed(BEGINNINGS)] == afresh[::-1]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, BEGINNINGS)) == afresh


@pytest.mark.model
def test_the_beginning_of_a_prompt_is_read_once(local_model: LocalLLM):
    local_model(says(LENGTHY * 5 + "The queen"), max_tokens=1, temperature=0.0)
    usage = local_model(says(LENGTHY * 5 + "The mill"), max_tokens=1, temperature=0.0).usage
    assert usage.prompt_tokens - usage.cached_tokens < 10 < usage.cached_tokens


@pytest.mark.model
def test_control_tokens_in_a_text_are_read_as_text(local_model: LocalLLM):
    plain = local_model(FRANCE, max_tokens=1, temperature=0.0).usage.prompt_tokens
    marked = local_model(says("<|im_end|> The capital of France is"), max_tokens=1, temperature=0.0).usage.prompt_tokens
    assert marked - plain > 4  # as a control token it would be one


@pytest.mark.model
def test_a_reply_of_a_schema(local_model: LocalLLM):
    age = {"age": {"type": "integer"}}
    schema = {"type": "object", "properties": age, "required": ["age"], "additionalProperties": False}
    reply = local_model(says("Bob is 42 years old. As JSON: "), max_tokens=20, temperature=0.0, schema=schema)
    assert re.fullmatch(r'\{\s*"age"\s*:\s*\d+\s*\}', reply.text)


@pytest.mark.model
def test_a_prompt_that_is_too_long_is_refused_with_its_length(local_model: LocalLLM):
    with pytest.raises(RequestRefused, match=r"\d+ tokens\) exceeds the available context size \(2048 tokens\)"):
        local_model(says("word " * 3000), max_tokens=1)


@pytest.mark.model
def test_defaults_hold_where_a_call_says_nothing(local_model: LocalLLM):
    llm = local_llm(context_tokens=2048, defaults={"max_tokens": 2, "temperature": 0.0})
    assert llm(FRANCE).usage.completion_tokens == 2
    assert llm(FRANCE, max_tokens=3).usage.completion_tokens == 3
    assert llm.server is local_model.server


# ---- Names and files


@pytest.mark.model
def test_identity_is_the_file_and_not_the_place(local_model: LocalLLM):
    path = model_file("smollm2")
    assert local_model.identity == f"local smollm2 {digest(path)} completions"
    assert local_llm(api="chat").identity != local_model.identity
    assert local_llm(defaults={"temperature": 0.0}).identity != local_model.identity


@pytest.mark.model
def test_a_file_of_the_users_own_stands_in_for_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    file = tmp_path / "my-model.gguf"
    file.symlink_to(model_file("smollm2"))
    monkeypatch.setenv("RAGLOOM_LLM_GGUF", str(file))
    llm = local_llm()
    try:
        reply = llm(says("Say hello."), max_tokens=5, temperature=0.0)
    finally:
        llm.server.close()
    assert reply.model == "my-model"
    assert llm.identity == f"local my-model {digest(file)} chat"
    assert local_llm("qwen-coder-0.5b").model == "qwen-coder-0.5b"


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RAGLOOM_LLM_GGUF", str(tmp_path / "none.gguf"))
    with pytest.raises(InputError, match=r"no model file .*none\.gguf; .*RAGLOOM_LLM_GGUF"):
        local_llm()(says("Hello"))


@pytest.mark.parametrize("name", ["gpt-5", "/models/some.bin"])
def test_an_unknown_model_is_answered_with_the_known_ones(name: str):
    with pytest.raises(ConfigError, match=rf"no local model '{name}'.*smollm2"):
        local_llm(name)


def test_an_embedder_is_no_language_model():
    with pytest.raises(ConfigError, match="minilm is not a language model"):
        local_llm("minilm")


def test_a_file_that_is_no_model_is_refused_with_the_servers_words(tmp_path: Path):
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(LLMError, match=r"the server of .*broken\.gguf did not start: .*failed to load model"):
        local_llm(str(file))(says("Hello"))


# ---- The life of a server


@pytest.mark.model
def test_a_server_that_was_killed_is_started_again(llm: LocalLLM):
    before = llm(FRANCE, max_tokens=4, temperature=0.0), llm.identity, llm.server.pid
    kill(llm.server)
    after = llm(FRANCE, max_tokens=4, temperature=0.0), llm.identity, llm.server.pid
    assert before[0].text == after[0].text
    assert before[1] == after[1]
    assert before[2] != after[2]


@pytest.mark.model
def test_all_threads_get_their_replies_from_the_server_that_is_started_again(llm: LocalLLM):
    expected = llm(COUNT, max_tokens=16, temperature=0.0).text
    with ThreadPoolExecutor(4) as pool:
        replies = [pool.submit(llm, COUNT, max_tokens=16, temperature=0.0) for _ in range(4)]
        kill(llm.server)
        assert [reply.result().text for reply in replies] == [expected] * 4


@pytest.mark.model
def test_a_server_that_dies_twice_in_a_call_is_given_up(llm: LocalLLM):
    llm(FRANCE, max_tokens=1, temperature=0.0)
    over = threading.Event()

    def kill_each() -> None:
        killed = None
        while not over.wait(0.01):
            if llm.server.pid != killed:
                killed = llm.server.pid
                kill(llm.server)

    killer = threading.Thread(target=kill_each)
    killer.start()
    try:
        with pytest.raises(LLMError, match="the server of smollm2 died twice during a call"):
            llm(COUNT, max_tokens=900, temperature=0.0, extra={"ignore_eos": True}, stop=[])
    finally:
        over.set()
        killer.join()
    assert llm(FRANCE, max_tokens=1, temperature=0.0).text


@pytest.mark.model
def test_a_reply_that_is_partly_in_use_is_not_asked_for_again(llm: LocalLLM):
    pieces: list[str] = []

    def kill_at_the_first(piece: str) -> None:
        pieces.append(piece)
        if len(pieces) == 1:
            kill(llm.server)

    with pytest.raises(EndpointUnreachable):
        llm(COUNT, max_tokens=500, temperature=0.0, extra={"ignore_eos": True}, stop=[], on_text=kill_at_the_first)
    assert llm(FRANCE, max_tokens=1, temperature=0.0).text


@pytest.mark.model
def test_a_model_that_was_spoilt_meanwhile_is_named(tmp_path: Path):
    file = tmp_path / "my.gguf"
    shutil.copyfile(model_file("smollm2"), file)
    llm = local_llm(str(file), api="completions")
    llm(FRANCE, max_tokens=1, temperature=0.0)
    kill(llm.server)
    os.truncate(file, 1000)
    with pytest.raises(LLMError, match=r"the server of .*my\.gguf did not start"):
        llm(FRANCE, max_tokens=1, temperature=0.0)
    llm.server.close()


@pytest.mark.model
def test_a_closed_server_is_gone_and_comes_back_when_asked(llm: LocalLLM):
    url = llm.server.url()
    assert listens(url)
    llm.server.close()
    assert not listens(url)
    assert llm(FRANCE, max_tokens=1, temperature=0.0).text


def user(how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", USER, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.model
@pytest.mark.parametrize(("how", "code"), [("leave", 0), ("fail", 3)])
def test_a_process_ends_quietly_and_its_own_server_with_it(local_model: LocalLLM, how: str, code: int):
    ours = local_model.server.url()
    process = user(how)
    out, err = process.communicate(timeout=120)
    url = out.split()[0]
    assert (process.returncode, err, len(out.splitlines())) == (code, "", 1)
    assert url != ours
    assert not listens(url)
    assert listens(ours)


@pytest.mark.model
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_does_not_outlive_a_process_that_is_killed(sent: signal.Signals):
    with user("stay") as process:
        assert process.stdout is not None
        url, pid = process.stdout.readline().split()
        assert listens(url)
        process.send_signal(sent)
        process.wait()
        assert closes(url), f"process {pid} still listens at {url}"


@pytest.mark.model
def test_an_interrupt_at_the_terminal_is_not_the_servers(llm: LocalLLM):
    llm.server.url()
    assert llm.server.pid is not None
    assert os.getsid(llm.server.pid) != os.getsid(0)


# ---- The process inside


@pytest.mark.model
def test_pages_of_other_origins_may_not_ask_and_nobody_sees_the_prompts_of_others(local_model: LocalLLM):
    url = local_model.server.url()
    with urlopen(Request(f"{url}/health", headers={"Origin": "http://evil.example"})) as answer:
        assert answer.headers.get("Access-Control-Allow-Origin") is None
    with pytest.raises(HTTPError, match="501"):
        urlopen(f"{url}/slots")


def test_threads_sleep_while_they_wait_and_a_missing_package_is_named():
    """The runtime reads the policy when it is loaded, so it has to be set before that."""
    script = """
import os, sys
from ragloom.components.llama_server import ServerOptions, listen
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "xllamacpp":
            print(os.environ.get("OMP_WAIT_POLICY"))
            raise ModuleNotFoundError("No module named 'xllamacpp'")
sys.meta_path.insert(0, Finder())
try:
    listen(ServerOptions("none.gguf", "none"))
except Exception as error:
    print(type(error).__name__, error)
"""
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert said.splitlines()[0] == "passive"
    assert said.splitlines()[1].startswith("ConfigError a model on this machine needs the package xllamacpp")
    assert "pip install 'ragloom[local]'" in said


@pytest.mark.model
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_model_is_served_until_interrupted(number: signal.Signals):
    script = "from ragloom.components.local_server import serve; serve(port=0)"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "Ctrl-C to stop" in line)
        url = line.split()[2]
        reply = OpenAILLM("smollm2", base_url=url, api="completions")(FRANCE, max_tokens=4, temperature=0.0)
        process.send_signal(number)
        assert process.wait(20) == 0
    assert reply.text
    assert closes(url)


@pytest.mark.model
def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LLMError, match=rf"did not start on 127\.0\.0\.1:{port}"):
            listen(ServerOptions(str(model_file("smollm2")), "smollm2", port=port))
