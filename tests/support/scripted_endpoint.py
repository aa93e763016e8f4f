"""A real HTTP server on loopback that speaks the OpenAI API from a script, counts what it is asked, and can misbehave.

Raw sockets, because resets, trickled bytes and wrong lengths need them. In a test:

    with ScriptedEndpoint(script=["429:0", "reset"]) as endpoint:
        llm = OpenAILLM("scripted", base_url=endpoint.base_url)

As a process of its own, which prints its base URL and ends with its parent:

    python tests/support/scripted_endpoint.py --log requests.log --delay-ms 20
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import itertools
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Body = dict[str, Any]


def digest_answer(prompt: str) -> str:
    """The default reply: a function of the prompt alone."""
    return f"reply {hashlib.sha256(prompt.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def answers_from(mapping: Mapping[str, str]) -> Callable[[str], str]:
    """Replies with the value of the first key that occurs in the prompt, else as `digest_answer`."""

    def answer(prompt: str) -> str:
        return next((reply for key, reply in mapping.items() if key in prompt), None) or digest_answer(prompt)

    return answer


@dataclass
class Request:
    """One request as it came over the wire."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: Body
    connection: socket.socket
    prompt: str = field(init=False)

    def __post_init__(self) -> None:
        messages = self.body.get("messages")
        if messages:
            self.prompt = "\n\n".join(message["content"] for message in messages)
        else:
            text = self.body.get("prompt", self.body.get("input", ""))
            self.prompt = text if isinstance(text, str) else "\n".join(text)


class ScriptedEndpoint:
    """The server; a context manager.

    Args:
        answer: the reply to a prompt (messages joined by blank lines).
        script: fault of the first request, of the second, and so on; "ok" for none. Or a function of the request's
            number from 1. Requests for the list of models take nothing from it. `FAULTS` lists what there is.
        log: a file to append two lines to for each request: {"event": "arrive" | "finish", ...}.
        delay_s: how long each reply takes.
        key: what the client must send; None for no check.
        models: what `/v1/models` lists; others are refused where `strict_models`.
        logprobs: whether log-probabilities are given where they are asked for, or left out as some servers do.
        refuses: kinds of `response_format`, or names of request fields, that are refused with 400 and these words.
        dimension: of the embeddings.
    """

    def __init__(
        self,
        answer: Callable[[str], str] = digest_answer,
        *,
        script: Sequence[str] | Callable[[int], str] = (),
        log: Path | None = None,
        delay_s: float = 0.0,
        key: str | None = None,
        models: Sequence[str] = ("scripted",),
        strict_models: bool = False,
        logprobs: bool = True,
        refuses: Mapping[str, str] | None = None,
        dimension: int = 8,
        port: int = 0,
    ) -> None:
        self.answer = answer
        self.script = script
        self.delay_s = delay_s
        self.key = key
        self.models = models
        self.strict_models = strict_models
        self.logprobs = logprobs
        self.refuses = refuses or {}
        self.dimension = dimension
        self.requests: list[Request] = []
        self.arrivals: list[float] = []
        self.most_at_once = 0
        self.closing = threading.Event()
        self._at_once = 0
        self._lock = threading.Lock()
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log is not None else None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        _shut(self._listener)
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                _shut(connection)
        for thread in list(self._threads):
            thread.join()
        if self._log is not None:
            os.close(self._log)

    @property
    def count(self) -> int:
        """Requests so far, those for the list of models not counted."""
        return len(self.requests)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as lines:
                while not self.closing.is_set() and self._serve_one(connection, lines):
                    pass
        except OSError:
            pass  # the client went away, or we are closing
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _serve_one(self, connection: socket.socket, lines: Any) -> bool:
        if not lines.peek(1)[:1].isupper():
            return False  # closed, or no HTTP: the beginning of TLS
        head = lines.readline(65536).decode("latin-1").split()
        if len(head) != 3:
            return False
        headers: dict[str, str] = {}
        while (line := lines.readline(65536).decode("latin-1")).strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        line_ended = line.endswith("\n")
        length = int(headers.get("content-length", 0))
        data = lines.read(length)
        if not line_ended or len(data) < length:
            return False  # the client died before it had sent its request
        body = json.loads(data) if data else {}
        if head[1].endswith("/models"):
            _send_json(connection, {"object": "list", "data": [{"id": m, "object": "model"} for m in self.models]})
            return True
        with self._lock:
            request = Request(len(self.requests) + 1, head[0], head[1], headers, body, connection)
            self.requests.append(request)
            self.arrivals.append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        self._note("arrive", request)
        try:
            self.closing.wait(self.delay_s)
            return self._reply(request)
        finally:
            with self._lock:
                self._at_once -= 1
            self._note("finish", request)

    def _note(self, event: str, request: Request) -> None:
        if self._log is not None:
            entry = {
                "event": event,
                "number": request.number,
                "time": time.time(),
                "path": request.path,
                "model": request.body.get("model"),
                "prompt": hashlib.sha256(request.prompt.encode("utf-8", "surrogatepass")).hexdigest(),
            }
            os.write(self._log, (json.dumps(entry) + "\n").encode())  # one write: lines of several threads never mix

    def _fault_of(self, number: int) -> str:
        if callable(self.script):
            return self.script(number)
        return self.script[number - 1] if number <= len(self.script) else "ok"

    def _reply(self, request: Request) -> bool:
        """Whether the connection stays open."""
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            sent = request.headers.get("authorization", "").removeprefix("Bearer ")
            return _send_error(request.connection, 401, f"Incorrect API key provided: {sent}", "invalid_api_key")
        model = request.body.get("model")
        if self.strict_models and model not in self.models:
            return _send_error(request.connection, 404, f"The model `{model}` does not exist", "model_not_found")
        kind = request.body.get("response_format", {}).get("type")
        for refused in self.refuses.keys() & {kind, *request.body}:
            return _send_error(request.connection, 400, self.refuses[refused], "invalid_request_error")
        name, _, parameter = self._fault_of(request.number).partition(":")
        return FAULTS[name](self, request, parameter)

    # ---- Well-formed bodies, which the faults then spoil

    def completion(self, request: Request, text: str | None = None) -> Body:
        """The body of a chat or text completion."""
        text = self.answer(request.prompt) if text is None else text
        for stop in _stops(request.body):
            text = text.partition(stop)[0]
        tokens = re.findall(r"\s*\S+", text)
        finish = "stop"
        limit = request.body.get("max_completion_tokens", request.body.get("max_tokens"))
        if limit is not None and len(tokens) > limit:
            text, finish, tokens = "".join(tokens[:limit]), "length", tokens[:limit]
        usage = {
            "prompt_tokens": len(request.prompt.split()),
            "completion_tokens": len(tokens),
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        chat = request.path.endswith("chat/completions")
        choice: Body = {"index": 0, "finish_reason": finish, "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        asked = request.body.get("logprobs")
        if self.logprobs and asked is not None and asked is not False:
            top = request.body.get("top_logprobs", asked if not chat else 0)
            choice["logprobs"] = _chat_logprobs(tokens, top) if chat else _text_logprobs(tokens, top)
        return {"id": "x", "object": "completion", "model": request.body["model"], "choices": [choice], "usage": usage}

    def embeddings(self, request: Request) -> Body:
        """The body of an embeddings reply; vectors are functions of the texts and not of length 1."""
        texts = request.body["input"]
        texts = [texts] if isinstance(texts, str) else texts
        data = [{"index": i, "object": "embedding", "embedding": self._vector(text)} for i, text in enumerate(texts)]
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": request.body["model"], "data": data, "usage": usage}

    def _vector(self, text: str) -> list[float]:
        digest = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * self.dimension)
        return [value / 1000 for value in struct.unpack(f">{self.dimension}h", digest)]

    def body(self, request: Request) -> Body:
        """The well-formed reply."""
        return self.embeddings(request) if request.path.endswith("embeddings") else self.completion(request)

    def chunks(self, request: Request, text: str | None = None) -> Iterator[Body]:
        """The well-formed reply in the pieces of a stream."""
        body = self.completion(request, text)
        choice = body["choices"][0]
        chat = "message" in choice
        text = choice["message"]["content"] if chat else choice["text"]
        logprobs = choice["logprobs"]
        for position, piece in enumerate(re.findall(r"\s*\S+", text)):
            part: Body = {"index": 0, "finish_reason": None}
            part |= {"delta": {"content": piece}} if chat else {"text": piece}
            if logprobs is not None:
                part["logprobs"] = {
                    name: [values[position]] for name, values in logprobs.items() if isinstance(values, list)
                }
            yield body | {"choices": [part], "usage": None}
        last = {"index": 0, "finish_reason": choice["finish_reason"]} | ({"delta": {}} if chat else {"text": ""})
        yield body | {"choices": [last], "usage": None}
        if request.body.get("stream_options", {}).get("include_usage"):
            yield body | {"choices": []}


def _stops(body: Body) -> list[str]:
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else stop


def _chat_logprobs(tokens: list[str], top: int) -> Body:
    def entry(token: str, logprob: float) -> Body:
        return {"token": token, "logprob": logprob, "bytes": None}

    others = [entry(f"other{rank}", -2.0 - rank) for rank in range(max(0, top - 1))]
    return {
        "content": [entry(token, -0.25) | {"top_logprobs": [entry(token, -0.25), *others][:top]} for token in tokens]
    }


def _text_logprobs(tokens: list[str], top: int) -> Body:
    others = {f"other{rank}": -2.0 - rank for rank in range(max(0, top - 1))}
    return {
        "tokens": tokens,
        "token_logprobs": [-0.25] * len(tokens),
        "top_logprobs": [{token: -0.25} | others for token in tokens] if top else None,
        "text_offset": list(itertools.accumulate((len(token) for token in tokens[:-1]), initial=0)) if tokens else [],
    }


# ---- Sending


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed already
        connection.shutdown(socket.SHUT_RDWR)


def _head(status: int, kind: str = "application/json", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def _send(
    connection: socket.socket, status: int, data: bytes, kind: str = "application/json", **headers: object
) -> bool:
    connection.sendall(_head(status, kind, Content_Length=len(data), **headers) + data)
    return True


def _send_json(connection: socket.socket, body: object, status: int = 200, **headers: object) -> bool:
    return _send(connection, status, json.dumps(body).encode(), **headers)


def _send_error(connection: socket.socket, status: int, message: str, code: str, **headers: object) -> bool:
    error = {"message": message, "type": code, "code": code, "param": None}
    return _send_json(connection, {"error": error}, status, **headers)


def _event(data: str) -> bytes:
    piece = f"data: {data}\n\n".encode()
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def _begin_stream(connection: socket.socket) -> None:
    connection.sendall(_head(200, "text/event-stream", Transfer_Encoding="chunked"))


def _end_stream(connection: socket.socket) -> bool:
    connection.sendall(b"0\r\n\r\n")
    return True


# ---- Faults: each answers one request and says whether the connection stays open

Fault = Callable[[ScriptedEndpoint, Request, str], bool]


def _ok(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    if not request.body.get("stream"):
        return _send_json(request.connection, endpoint.body(request))
    return _stream(request, endpoint.chunks(request))


def _stream(request: Request, chunks: Iterable[Body]) -> bool:
    _begin_stream(request.connection)
    for chunk in chunks:
        request.connection.sendall(_event(json.dumps(chunk)))
    request.connection.sendall(_event("[DONE]"))
    return _end_stream(request.connection)


def _status(status: int, message: str, code: str) -> Fault:
    def fault(_: ScriptedEndpoint, request: Request, parameter: str) -> bool:
        wait = {"Retry_After": parameter} if parameter else {}
        return _send_error(request.connection, status, message, code, **wait)

    return fault


def _reset_now(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _reset(_: ScriptedEndpoint, request: Request, __: str) -> bool:
    return _reset_now(request.connection)


def _close(_: ScriptedEndpoint, __: Request, ___: str) -> bool:
    return False


def _reset_mid_body(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    data = json.dumps(endpoint.body(request)).encode()
    request.connection.sendall(_head(200, Content_Length=len(data)) + data[: len(data) // 2])
    return _reset_now(request.connection)


def _short_body(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    data = json.dumps(endpoint.body(request)).encode()
    request.connection.sendall(_head(200, Content_Length=len(data) + 100) + data)
    return False


def _hang(endpoint: ScriptedEndpoint, _: Request, seconds: str) -> bool:
    endpoint.closing.wait(float(seconds or 3600))
    return False


def _trickle(endpoint: ScriptedEndpoint, connection: socket.socket, data: bytes) -> bool:
    for byte in data:
        connection.sendall(bytes([byte]))
        if endpoint.closing.wait(0.05):
            return False
    return True


def _slow_body(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    data = json.dumps(endpoint.body(request)).encode()
    request.connection.sendall(_head(200, Content_Length=len(data)))
    return _trickle(endpoint, request.connection, data)


def _slow_headers(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    data = json.dumps(endpoint.body(request)).encode()
    return _trickle(endpoint, request.connection, _head(200, Content_Length=len(data), X_Padding="x" * 1000) + data)


def _truncated_json(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    return _send(request.connection, 200, json.dumps(endpoint.body(request)).encode()[:-20])


def _html(_: ScriptedEndpoint, request: Request, __: str) -> bool:
    return _send(request.connection, 200, b"<html><body>Please log in</body></html>", "text/html")


def _mistyped(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    return _send(request.connection, 200, json.dumps(endpoint.body(request)).encode(), "text/plain")


def _spoiled(spoil: Callable[[Body], None]) -> Fault:
    """The well-formed body after `spoil`."""

    def fault(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
        body = endpoint.body(request)
        spoil(body)
        return _send_json(request.connection, body)

    return fault


def _replaced(body: object) -> Fault:
    def fault(_: ScriptedEndpoint, request: Request, __: str) -> bool:
        return _send_json(request.connection, body)

    return fault


def _content(value: object) -> Fault:
    def spoil(body: Body) -> None:
        choice = body["choices"][0]
        if "message" in choice:
            choice["message"]["content"] = value
        else:
            choice["text"] = value

    return _spoiled(spoil)


def _usage(value: object) -> Fault:
    def spoil(body: Body) -> None:
        body["usage"] = value

    return _spoiled(spoil)


def _finish(value: object) -> Fault:
    def spoil(body: Body) -> None:
        body["choices"][0]["finish_reason"] = value

    return _spoiled(spoil)


def _vectors(spoil: Callable[[list[Body]], Any]) -> Fault:
    def spoil_body(body: Body) -> None:
        spoil(body["data"])

    return _spoiled(spoil_body)


def _stream_cut(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    _begin_stream(request.connection)
    request.connection.sendall(_event(json.dumps(next(endpoint.chunks(request)))))
    return False


def _stream_unfinished(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    _begin_stream(request.connection)
    request.connection.sendall(_event(json.dumps(next(endpoint.chunks(request)))))
    return _end_stream(request.connection)


def _stream_broken_json(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    _begin_stream(request.connection)
    request.connection.sendall(_event(json.dumps(next(endpoint.chunks(request)))[:-5]))
    return _end_stream(request.connection)


def _stream_error(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    _begin_stream(request.connection)
    request.connection.sendall(_event(json.dumps(next(endpoint.chunks(request)))))
    request.connection.sendall(_event(json.dumps({"error": {"message": "engine died", "type": "server_error"}})))
    return _end_stream(request.connection)


def _stream_endless(endpoint: ScriptedEndpoint, request: Request, _: str) -> bool:
    _begin_stream(request.connection)
    piece = _event(json.dumps(next(endpoint.chunks(request))))
    while not endpoint.closing.wait(0.005):
        request.connection.sendall(piece)
    return False


def _huge(endpoint: ScriptedEndpoint, request: Request, megabytes: str) -> bool:
    body = endpoint.completion(request, "x" * (int(megabytes or 10) << 20))
    return _send_json(request.connection, body)


def _gzip_bomb(endpoint: ScriptedEndpoint, request: Request, megabytes: str) -> bool:
    data = json.dumps(endpoint.completion(request, "x" * (int(megabytes or 190) << 20))).encode()
    return _send(request.connection, 200, gzip.compress(data), Content_Encoding="gzip")


def _redirect(_: ScriptedEndpoint, request: Request, port: str) -> bool:
    location = f"http://127.0.0.1:{port or 9}{request.path}"
    return _send(request.connection, 307, b"", Location=location)


def _echo_key(_: ScriptedEndpoint, request: Request, __: str) -> bool:
    sent = request.headers.get("authorization", "")
    return _send_error(request.connection, 401, f"Incorrect API key provided: {sent}", "invalid_api_key")


def _swap(data: list[Body]) -> None:
    data.reverse()  # the order of arrival says nothing; `index` does


def _same_index(data: list[Body]) -> None:
    data[-1]["index"] = data[0]["index"]


FAULTS: dict[str, Fault] = {
    "ok": _ok,
    "429": _status(429, "Rate limit reached", "rate_limit_exceeded"),
    "quota": _status(429, "You exceeded your current quota", "insufficient_quota"),
    "400": _status(400, "This model's maximum context length is 4096 tokens", "context_length_exceeded"),
    "404": _status(404, "The model does not exist", "model_not_found"),
    "500": _status(500, "The server had an error", "server_error"),
    "503": _status(503, "Overloaded", "server_error"),
    "reset": _reset,
    "close": _close,
    "reset-mid-body": _reset_mid_body,
    "short-body": _short_body,
    "hang": _hang,
    "slow-body": _slow_body,
    "slow-headers": _slow_headers,
    "truncated-json": _truncated_json,
    "html": _html,
    "mistyped": _mistyped,
    "not-an-object": _replaced(["no", "object"]),
    "deep-json": lambda _, request, __: _send(request.connection, 200, b"[" * 200_000),
    "no-choices": _spoiled(lambda body: body.update(choices=[])),
    "null-choice": _spoiled(lambda body: body.update(choices=[None])),
    "null-content": _content(None),
    "empty-content": _content(""),
    "blank-content": _content(" \n"),
    "dict-content": _content({"text": "no string"}),
    "surrogate": _content("half \ud83d of a pair"),
    "nul": _content("nul\x00inside"),
    "no-finish": _finish(None),
    "odd-finish": _finish("tool_calls"),
    "no-usage": _usage(None),
    "negative-usage": _usage({"prompt_tokens": -5, "completion_tokens": -5}),
    "absurd-usage": _usage({"prompt_tokens": 10**18, "completion_tokens": 10**18}),
    "mistyped-usage": _usage({"prompt_tokens": "many", "completion_tokens": True}),
    "stream-cut": _stream_cut,
    "stream-unfinished": _stream_unfinished,
    "stream-broken-json": _stream_broken_json,
    "stream-error": _stream_error,
    "stream-endless": _stream_endless,
    "huge": _huge,
    "gzip-bomb": _gzip_bomb,
    "redirect": _redirect,
    "echo-key": _echo_key,
    "nan-vector": _vectors(lambda data: data[0].update(embedding=[float("nan")] * len(data[0]["embedding"]))),
    "zero-vector": _vectors(lambda data: data[0].update(embedding=[0.0] * len(data[0]["embedding"]))),
    "short-vector": _vectors(lambda data: data[0].update(embedding=data[0]["embedding"][:-1])),
    "text-vector": _vectors(lambda data: data[0].update(embedding="no list")),
    "missing-vector": _vectors(lambda data: data.pop()),
    "swapped-vectors": _vectors(_swap),
    "same-index": _vectors(_same_index),
}


# ---- As a process


def main() -> None:
    """Serve until the parent process ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="file to append a line to for each arrival and finish")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="how long each reply takes")
    parser.add_argument("--script", default="", help='faults of the first requests, e.g. "429:0,reset,ok"')
    parser.add_argument("--answers", type=Path, help="JSON object: a part of the prompt -> the reply")
    parser.add_argument("--model", action="append", help="a model's name to list; may be repeated")
    parser.add_argument("--key", help="the key to ask for")
    parser.add_argument("--dimension", type=int, default=8, help="of the embeddings")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    options = parser.parse_args()
    answers = json.loads(options.answers.read_text(encoding="utf-8")) if options.answers else {}
    parent = os.getppid()
    with ScriptedEndpoint(
        answers_from(answers),
        script=options.script.split(",") if options.script else (),
        log=options.log,
        delay_s=options.delay_ms / 1000,
        key=options.key,
        models=options.model or ["scripted"],
        dimension=options.dimension,
        port=options.port,
    ) as endpoint:
        sys.stdout.write(endpoint.base_url + "\n")
        sys.stdout.flush()
        while os.getppid() == parent:  # a parent that was killed cannot end us
            time.sleep(0.2)


if __name__ == "__main__":
    main()
