"""A language model on this machine: llama.cpp's server in a process of its own, started on demand, stopped with us.

The server runs the model in native code; should that crash, only the server is lost, and it is started anew. It
listens on this machine only, on a port that is free, and ends with the process that started it, however that ends.

How the server is set, and why (SmolLM2, two cores):
- One request at a time. Four at once gave 10 % more throughput, but a reply then depended on what else was asked.
- No flash attention, and none of the server's own cache of old prompts in memory. So a reply is the same bit for bit
  whether or not the beginning of its prompt was read before; with flash attention 1 reply in 14 differed, while the
  prompts are read only 15 % faster.
- The beginning that a prompt shares with the one before is not read again.
- OpenMP threads sleep while they wait: spinning, they slowed a busy machine tenfold.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any, Unpack
from urllib.parse import urlsplit

from ragloom.components.completions import Api, clean, render
from ragloom.components.llm import OpenAILLM
from ragloom.components.local_models import CATALOGUE, EXTRA, digest, model_file
from ragloom.components.prices import Price
from ragloom.errors import ConfigError, EndpointUnreachable, InputError, LLMError
from ragloom.types import Message, Options, Reply

DEFAULT = "smollm2"
_START_S = 300.0  # longest time for loading a model
_KILLED_WITH_PARENT = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server is set.

    Attributes:
        path: a GGUF file.
        name: what the model is called in replies.
        context_tokens: longest prompt and reply together.
        threads: of one request.
        host, port: where it listens; port 0 for any that is free.
    """

    path: str
    name: str
    context_tokens: int = 8192
    threads: int = 1
    host: str = "127.0.0.1"
    port: int = 0


# ---- The model as an LLM


def local_llm(
    name: str = DEFAULT,
    *,
    api: Api | None = None,
    context_tokens: int = 8192,
    threads: int = 1,
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
        threads: of one request.
        defaults: options of every call that does not say otherwise.
        deadline_s: longest time for a call.

    Raises:
        ConfigError: there is no such model.
    """
    own = os.environ.get("RAGLOOM_LLM_GGUF")
    name = own if own and name == DEFAULT else name
    if name not in CATALOGUE and not name.endswith(".gguf"):
        raise ConfigError(f"there is no local model {name!r}", f"name a .gguf file, or one of: {', '.join(CATALOGUE)}")
    if name in CATALOGUE and CATALOGUE[name].api is None:
        raise ConfigError(f"{name} is an embedder, not a language model", "see `ragloom models list`")
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
        """The model's reply. A server that died is started anew, once in a call.

        With `completions`, words such as `<|im_end|>` in the messages are read as the text they are. With `chat` the
        server takes them for the marks between turns, as most servers do.

        Raises:
            LLMError: one of its kinds, see `ragloom.errors`; or the server does not start, or died twice.
            BudgetExceeded: before the call was made, or because the run's seconds were over during it.
        """
        server = _shared(ServerOptions(str(self.file), self.model, self.context_tokens, self.threads))
        try:
            return self._ask(server.url(), messages, options)
        except EndpointUnreachable:
            if server.running:
                raise
        try:
            return self._ask(server.url(), messages, options)
        except EndpointUnreachable as error:
            if server.running:
                raise
            raise LLMError(
                f"the server of {self.model} died twice during a call, and last said: {server.last_words()}",
                "check that there is enough memory, or use a smaller model",
            ) from error

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


def _tokens(url: str, text: str) -> list[int]:
    """The text's tokens, none of them a control token, which the server would see in the text itself."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        body = json.dumps({"content": text, "add_special": True, "parse_special": False})
        connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
        tokens: list[int] = json.loads(connection.getresponse().read())["tokens"]
    except (OSError, HTTPException, ValueError, KeyError) as error:
        raise EndpointUnreachable(f"the local server at {url} did not answer: {error!r}") from error
    finally:
        connection.close()
    return tokens


# ---- The server, seen from here


class LocalServer:
    """A server that is started when its address is first asked for. Safe to use from several threads."""

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self._stop: weakref.finalize[..., LocalServer] = weakref.finalize(self, self._log.close)

    def url(self) -> str:
        """Where it listens, without a path; it is started if it does not run.

        Raises:
            LLMError: it cannot be started; with its last words.
        """
        with self._lock:
            if not self.running:
                self._start()
            return self._url

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def last_words(self) -> str:
        """The end of the server's log, which holds nothing but errors."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 1000))
        return " ".join(self._log.read().decode("utf-8", "replace").split()) or "nothing"

    def close(self) -> None:
        """Stop the server, for good."""
        self._stop()

    def _start(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()  # of the one that died
        ready: Future[tuple[subprocess.Popen[bytes], str]] = Future()
        command = [sys.executable, "-P", "-m", __spec__.name, json.dumps(asdict(self.options))]
        # The kernel kills the server when the thread that started it ends: let that be one that ends with us.
        threading.Thread(target=_keep, args=(command, self._log, ready), name="ragloom-server", daemon=True).start()
        self._process, said = ready.result()
        self._stop.detach()
        self._stop = weakref.finalize(self, _end, self._process, self._log, os.getpid())
        if not said:
            raise LLMError(
                f"the server of {self.options.path} did not start: {self.last_words()}",
                "check that the file is a GGUF model that llama.cpp knows, and that there is enough memory",
            )
        self._url = json.loads(said)["url"]


@cache
def _shared(options: ServerOptions) -> LocalServer:
    return LocalServer(options)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.cache_clear)  # a child has servers of its own


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


def _end(process: subprocess.Popen[bytes], log: IO[bytes], owner: int) -> None:
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


# ---- The server, seen from inside


def serve(name: str = DEFAULT, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve a model of the catalogue or a GGUF file on an OpenAI-compatible endpoint, until interrupted.

    There is no password: on another host than this machine's own address, everybody who reaches it can use it.

    Raises:
        LLMError: the model cannot be loaded, or the port is taken.
    """
    llm = local_llm(name)
    server = _listen(ServerOptions(str(llm.file), llm.model, llm.context_tokens, llm.threads, host, port))
    sys.stderr.write(f"{llm.model} at {server.listening_address}/v1 (--model {llm.model}), Ctrl-C to stop\n")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _listen(options: ServerOptions) -> Any:  # an xllamacpp.Server
    os.environ["OMP_WAIT_POLICY"] = "passive"  # read when the library is loaded
    try:
        import xllamacpp  # type: ignore[import-untyped]  # it has no annotations
    except ImportError as error:
        raise ConfigError(f"a model on this machine needs the package xllamacpp ({error})", EXTRA) from None
    params = xllamacpp.CommonParams()
    params.model.path = options.path
    params.model_alias = {options.name}
    params.hostnames, params.port = [options.host], options.port
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.n_ctx, params.n_parallel = options.context_tokens, 1
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_ram_mib = 0  # by default it grows to 8 GB
    params.cors_origins, params.cors_credentials = "localhost", False  # no other page in a browser may ask
    params.ui = params.endpoint_slots = False  # the latter shows everybody's prompts
    params.verbosity = 1  # errors
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise LLMError(
            f"the server of {options.path} did not start on {options.host}:{options.port}: {error}",
            "see the lines above; is the port free?",
        ) from None


def _run(options: ServerOptions) -> None:
    """Serve until stdin ends, which it does when the parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_KILLED_WITH_PARENT, 9)  # stdin stays open where a fork of the parent lives on
    watcher = threading.Thread(target=_exit_at_end_of_input, daemon=True)
    watcher.start()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)  # whatever the native code prints belongs into the log
        try:
            server = _listen(options)
        except (ConfigError, LLMError) as error:
            sys.exit(str(error))
        answer.write(json.dumps({"url": server.listening_address}) + "\n")
    watcher.join()


def _exit_at_end_of_input() -> None:
    os.read(0, 1)  # not sys.stdin: its lock would be held when the interpreter ends
    os._exit(0)


if __name__ == "__main__":
    _run(ServerOptions(**json.loads(sys.argv[1])))
