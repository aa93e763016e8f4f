"""A language model on this machine, in a process of its own that is started on demand and stopped with us.

The server runs the model in native code; should that crash, only the server is lost, and it is started anew. It
listens on this machine only, on a port that is free, and ends with the process that started it, however that ends.
How it is set is said in `llama_server`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any, Unpack
from urllib.parse import urlsplit
from uuid import uuid4

from ragloom.components.completions import Api, clean, render
from ragloom.components.llama_server import ServerOptions, listen
from ragloom.components.llm import OpenAILLM
from ragloom.components.local_models import CATALOGUE, digest, model_file
from ragloom.components.prices import Price
from ragloom.components.server_states import StateFolder
from ragloom.errors import ConfigError, EndpointUnreachable, InputError, LLMError
from ragloom.types import Message, Options, Reply

DEFAULT = "smollm2"
_START_S = 300.0  # longest time for loading a model
_OTHER_S = 600.0  # longest time for a request that no model works on; it may wait for one that a model does


# ---- The model as an LLM


def local_llm(
    name: str = DEFAULT,
    *,
    api: Api | None = None,
    context_tokens: int = 8192,
    threads: int = 2,
    defaults: Options | None = None,
    deadline_s: float = 600.0,
) -> LocalLLM:
    """A model of the catalogue, or of a GGUF file, running on this machine; it costs nothing.

    The model is downloaded and its server is started with the first call. All models of equal settings in a process
    share one server.

    Args:
        name: of the catalogue, or a path that ends in `.gguf`. Where RAGLOOM_LLM_GGUF names such a file, it stands in
            for the default model.
        api: `completions` for models without a chat template, and for those too small to heed one; None for what is
            known to suit a model of the catalogue, `chat` for a file.
        context_tokens: longest prompt and reply together.
        threads: of one request. Of two cores with other work, two were 1.2 to 1.4 times as fast as one; the replies are
            the same.
        defaults: options of every call that does not say otherwise.
        deadline_s: longest time for a call.

    Raises:
        ConfigError: there is no such model.
    """
    own = os.environ.get("RAGLOOM_LLM_GGUF")
    name = own if own and name == DEFAULT else name
    if name not in CATALOGUE and not name.endswith(".gguf"):
        known_names = ", ".join(model.name for model in CATALOGUE.values() if model.api is not None)
        raise ConfigError(
            f"there is no local model {name!r}",
            f"name a .gguf file or one of {known_names}, or set a base URL for a model behind an endpoint",
        )
    if name in CATALOGUE and CATALOGUE[name].api is None:
        raise ConfigError(f"{name} is not a language model", "see `ragloom models list`")
    known = CATALOGUE[name].api if name in CATALOGUE else None
    return LocalLLM(name, api or known or "chat", context_tokens, threads, defaults or Options(), deadline_s)


@dataclass(frozen=True)
class LocalLLM:
    """A model on this machine. Use `local_llm`, which says what the attributes are."""

    name: str
    api: Api
    context_tokens: int
    threads: int
    defaults: Options = field(default_factory=Options)
    deadline_s: float = 600.0

    @property
    def identity(self) -> str:
        """Model, hash of its file, API, and defaults: not where the server happens to listen."""
        asked = json.dumps(self.defaults, sort_keys=True, default=list) if self.defaults else ""
        return f"local {self.model} {digest(self.file)} {self.api} {asked}".rstrip()

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The model's reply. A server that died is started anew, once in a call, unless `on_text` got a part of it.

        With `completions`, words such as `<|im_end|>` in the messages are read as the text they are. With `chat` the
        server takes them for the marks between turns, as most servers do.

        Raises:
            LLMError: one of its kinds, see `ragloom.errors`; or the server does not start, or died twice.
            BudgetExceeded: before the call was made, or because the run's seconds were over during it.
        """
        streamed = threading.Event()
        if "on_text" in options:
            options["on_text"] = _telling(options["on_text"], streamed)
        server = self.server
        url = server.url()
        try:
            return self._ask(url, messages, options)
        except EndpointUnreachable:
            if streamed.is_set() or server.lives(url):
                raise
        url = server.url()
        try:
            return self._ask(url, messages, options)
        except EndpointUnreachable as error:
            if streamed.is_set() or server.lives(url):
                raise
            raise LLMError(
                f"the server of {self.model} died twice during a call, and last said: {server.last_words()}",
                "check that there is enough memory, or use a smaller model",
            ) from error

    def save_state(self, messages: Sequence[Message], file: Path) -> int:
        """Read the messages, and put what the model made of them into a file: of SmolLM2 23 kB a token.

        Asks for a reply of one token, which a run counts.

        Returns:
            The number of tokens that were read.

        Raises:
            LLMError: as for a call; or another thread's prompt came in between.
            BudgetExceeded: as for a call.
        """
        # A reply that cannot be empty, whatever the messages are.
        read = self(messages, max_tokens=1, temperature=0.0, extra={"grammar": 'root ::= "x"'}).usage.prompt_tokens
        saved = self.server.save(file)
        if saved != read:
            file.unlink()
            raise LLMError(
                f"{self.model} read another prompt of {saved} tokens while the state of {read} was to be saved",
                "save it while nobody else asks the model",
            )
        return read

    def restore_state(self, file: Path) -> int:
        """Have the server take what it made of a prompt from a file: the next prompt is read from where they part.

        The file must be one that `save_state` wrote, with this very model: the native code believes what it reads.

        Returns:
            The number of tokens that need not be read.

        Raises:
            LLMError: the server does not take it.
        """
        return self.server.restore(file)

    @property
    def server(self) -> LocalServer:
        """The server, which may not have been started yet."""
        options = ServerOptions(str(self.file), self.model, self.context_tokens, self.threads)
        return _servers.setdefault(options, LocalServer(options))

    @property
    def model(self) -> str:
        """What it is called in replies and prices."""
        return self.name if self.name in CATALOGUE else Path(self.name).stem

    @property
    def file(self) -> Path:
        """The GGUF file, verified and if need be downloaded."""
        if self.name in CATALOGUE:
            return model_file(self.name)
        file = Path(self.name).expanduser()
        if not file.is_file():
            raise InputError(
                f"there is no model file {file}", "check the path, or RAGLOOM_LLM_GGUF if it came from there"
            )
        return file

    def _ask(self, url: str, messages: Sequence[Message], options: Options) -> Reply:
        options = Options(**{**self.defaults, **options})
        if self.api == "completions" and messages:
            options["extra"] = {**options.get("extra", {}), "prompt": _tokens(url, clean(render(messages)))}
        llm = OpenAILLM(
            model=self.model,
            base_url=f"{url}/v1",
            api_key_env="",
            api=self.api,
            deadline_s=self.deadline_s,
            backoff_s=0.05,  # nobody else is there to be spared
            workers=1,
            price=Price(0.0),
        )
        return llm(messages, **options)


def _telling(on_text: Callable[[str], None], told: threading.Event) -> Callable[[str], None]:
    def tell(text: str) -> None:
        told.set()
        on_text(text)

    return tell


def _tokens(url: str, text: str) -> list[int]:
    """The text's tokens, none of them a control token, which the server would see in the text itself."""
    tokens: list[int] = _post(
        url, "/tokenize", {"content": text, "add_special": True, "parse_special": False}, "tokens"
    )
    return tokens


def _post(url: str, path: str, body: Mapping[str, Any], wanted: str) -> Any:
    """The wanted field of the server's answer: what no endpoint of OpenAI has."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=_OTHER_S)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        if "error" in answer:
            raise LLMError(f"the local server refuses {path}: {answer['error']['message']}")
        return answer[wanted]
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise EndpointUnreachable(f"the local server at {url} did not answer: {error!r}") from error
    finally:
        connection.close()


# ---- The server


class LocalServer:
    """A server that is started when its address is first asked for. Safe to use from several threads."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""
        self._states: StateFolder | None = None
        self._log: IO[bytes] | None = None
        self._stop: weakref.finalize[..., LocalServer] | None = None

    def url(self) -> str:
        """Where it listens, without a path; it is started if it does not run.

        Raises:
            LLMError: it cannot be started; with its last words.
        """
        return self._running()[0]

    def lives(self, url: str) -> bool:
        """Whether the server that listened there still runs. One whose connections broke gets a second to end."""
        with self._lock:
            if self._process is None or self._url != url:
                return False
            try:
                self._process.wait(1)
            except subprocess.TimeoutExpired:
                return True
            return False

    @property
    def pid(self) -> int | None:
        """The process that was started last."""
        return None if self._process is None else self._process.pid

    def last_words(self) -> str:
        """The end of the server's log, which holds nothing but errors."""
        if self._log is None:
            return "nothing"
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 1000))
        return " ".join(self._log.read().decode("utf-8", "replace").split()) or "nothing"

    def save(self, file: Path) -> int:
        """Move what the server made of the prompt before into a file; the number of its tokens."""
        url, states, name = *self._running(), uuid4().hex
        tokens: int = _post(url, "/slots/0?action=save", {"filename": name}, "n_saved")
        states.take(name, file)
        return tokens

    def restore(self, file: Path) -> int:
        """Have the server take it from there; the number of tokens."""
        url, states = self._running()
        with states.hand(file) as name:
            tokens: int = _post(url, "/slots/0?action=restore", {"filename": name}, "n_restored")
        return tokens

    def close(self) -> None:
        """Stop the server, if it runs."""
        with self._lock:
            if self._stop is not None:
                self._stop()
            self._process = self._log = None

    def _running(self) -> tuple[str, StateFolder]:
        """Address and folder of the same server, which is started if it does not run."""
        with self._lock:
            if self._states is None or self._process is None or self._process.poll() is not None:
                self._states = self._start()
            return self._url, self._states

    def _start(self) -> StateFolder:
        if self._stop is not None:
            self._stop()  # the one before died: only its pipe, its log and its folder are left
        self._log = log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        states = StateFolder.make()
        options = json.dumps(asdict(replace(self.options, states=str(states.path))))
        ready: Future[tuple[subprocess.Popen[bytes], str]] = Future()
        command = [sys.executable, "-P", "-m", "ragloom.components.llama_server", options]
        # The kernel kills the server when the thread that started it ends: let that be one that ends with us.
        threading.Thread(target=_keep, args=(command, log, ready), name="ragloom-server", daemon=True).start()
        self._process, said = ready.result()
        self._stop = weakref.finalize(self, _end, self._process, log, states, os.getpid())
        if not said:
            raise LLMError(
                f"the server of {self.options.path} did not start: {self.last_words()}",
                "check that the file is a GGUF model that llama.cpp knows, and that there is enough memory",
            )
        self._url = json.loads(said)["url"]
        return states


_servers: dict[ServerOptions, LocalServer] = {}  # of this process

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_servers.clear)  # a child has servers of its own


def _keep(command: list[str], log: IO[bytes], ready: Future[tuple[subprocess.Popen[bytes], str]]) -> None:
    """Start a server, pass on the line it says when it is ready, and wait for its end, so that no zombie is left."""
    try:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us: a batch finishes the questions under way
        )
    except OSError as error:
        ready.set_exception(LLMError(f"cannot start {command[0]}: {error}"))
        return
    assert process.stdout is not None  # noqa: S101 - for mypy
    too_slow = threading.Timer(_START_S, process.kill)
    too_slow.start()
    with process.stdout as said:
        line = said.readline().decode("utf-8")
    too_slow.cancel()
    if not line:
        process.wait()
    ready.set_result((process, line))
    process.wait()


def _end(process: subprocess.Popen[bytes], log: IO[bytes], states: StateFolder, owner: int) -> None:
    if os.getpid() != owner:  # a forked copy of us
        return
    assert process.stdin is not None  # noqa: S101 - for mypy
    process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
    states.remove()


def serve(name: str = DEFAULT, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve a model of the catalogue or a GGUF file on an OpenAI-compatible endpoint, until interrupted.

    There is no password: on another host than this machine's own address, everybody who reaches it can use it.

    Raises:
        LLMError: the model cannot be loaded, or the port is taken.
    """
    llm = local_llm(name)
    server = listen(ServerOptions(str(llm.file), llm.model, llm.context_tokens, llm.threads, host, port))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # by hand: a shell starts background jobs deaf to the first
        signal.signal(number, lambda *_: stop.set())
    sys.stderr.write(f"{llm.model} at {server.listening_address}/v1 (--model {llm.model}), Ctrl-C to stop\n")
    stop.wait()
