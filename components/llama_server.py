"""llama.cpp's server as a process: `python -m ragloom.components.llama_server OPTIONS`, with the options as JSON.

It says in one line on stdout where it listens, once it does, and ends when its stdin does. How it is set, and why
(SmolLM2, two cores):

- One request at a time. Four at once gave 10 % more throughput, but a reply then depended on what else was asked.
- No flash attention, and none of the server's own cache of old prompts in memory. So a reply is the same bit for bit
  whether or not the beginning of its prompt was read before; with flash attention 1 reply in 14 was not, while prompts
  are read only 15 % faster.
- The beginning that a prompt shares with the one before is not read again.
- What it made of a prompt can be put into a file and taken from there, only where `states` names a folder: a client of
  the server could fill the disk with it, or make the native code read a file. Replies stay the same bit for bit. The
  list of slots is not needed for that, and off: it shows everybody's prompts.
- OpenMP threads sleep while they wait: spinning, they slowed a busy machine tenfold.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

from ragloom.components.local_models import EXTRA
from ragloom.errors import ConfigError, LLMError

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
        states: a folder that clients may have it write its state to, and read one from; empty for none.
    """

    path: str
    name: str
    context_tokens: int = 8192
    threads: int = 2
    host: str = "127.0.0.1"
    port: int = 0
    states: str = ""


def listen(options: ServerOptions) -> Any:  # an xllamacpp.Server
    """A server that has loaded its model and listens, until the object that is returned is gone.

    Raises:
        ConfigError: xllamacpp is not installed.
        LLMError: the model cannot be loaded, or the port is taken; the reason was written to stderr.
    """
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
    params.ui = params.endpoint_slots = False
    if options.states:
        params.slot_save_path = options.states + os.sep  # the name is put right behind it
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
            server = listen(options)
        except (ConfigError, LLMError) as error:
            sys.exit(str(error))
        answer.write(json.dumps({"url": server.listening_address}) + "\n")
    watcher.join()


def _exit_at_end_of_input() -> None:
    os.read(0, 1)  # not sys.stdin: its lock would be held when the interpreter ends
    os._exit(0)


if __name__ == "__main__":
    _run(ServerOptions(**json.loads(sys.argv[1])))
