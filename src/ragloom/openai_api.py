"""An OpenAI-compatible endpoint: every pipeline of a service is a model there."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ragloom.chat_format import AnswerText, ApiError, ChatReply, ChatRequest, Mode, api_error, read_request
from ragloom.errors import DeadlineExceeded, RagloomError
from ragloom.http_guard import Guard
from ragloom.serving import Answered, Service, Work

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """The requests of the API.

    Args:
        service: answers.
        mode: of its readers.
        most_tokens: longest answer.
        answer_s: longest time for an answer, waiting for its turn included.
        sources: whether answers end in a list of their sources where the request does not say.
    """

    service: Service
    mode: Mode
    most_tokens: int
    answer_s: float = 300.0
    sources: bool = False

    async def health(self, _: Request) -> Response:
        """That the server runs."""
        return JSONResponse({"status": "ok"})

    async def models(self, _: Request) -> Response:
        """The pipelines."""
        return JSONResponse({"object": "list", "data": [_model(name) for name in self.service.pipelines]})

    async def model(self, request: Request) -> Response:
        """One pipeline."""
        return JSONResponse(_model(self._known(request.path_params["name"])))

    async def chat(self, request: Request) -> Response:
        """An answer, whole or piece by piece."""
        asked = read_request(await request.body(), most_tokens=self.most_tokens)
        self._known(asked.model)
        reply = ChatReply(
            f"chatcmpl-{uuid4().hex}",
            int(time.time()),
            asked,
            self.sources if asked.sources is None else asked.sources,
        )
        work = _Heard(self.service, asked, self.answer_s)
        try:
            return await self._response(work, reply)
        except RagloomError as error:
            work.stop()
            raise _logged(error, reply.id) from error
        except asyncio.CancelledError:  # the client went away
            work.stop()
            raise

    async def _response(self, work: _Heard, reply: ChatReply) -> Response:
        headers = {"x-request-id": reply.id}
        first = await work.next()
        if first is None:
            work.answered()  # what fails before the first piece has a status; what fails later is told in the stream
        if reply.request.stream:
            events = self._events(work, first, reply)
            return _Stream(events, work.stop, headers=headers, media_type="text/event-stream")
        while first is not None:
            first = await work.next()
        return JSONResponse(reply.completion(work.answered()), headers=headers)

    async def _events(self, work: _Heard, first: str | None, reply: ChatReply) -> AsyncIterator[str]:
        yield _event(reply.first())
        text = AnswerText(self.mode)
        piece = first
        try:
            while piece is not None:
                if new := text.add(piece):
                    yield _event(reply.piece(new))
                piece = await work.next()
            answered = work.answered()
        except RagloomError as error:
            yield _event(_logged(error, reply.id).body)
            return
        if rest := text.finish(answered.answer.text) + reply.ending(answered):
            yield _event(reply.piece(rest))
        yield _event(reply.last(answered))
        if reply.request.include_usage:
            yield _event(reply.usage(answered))
        yield "data: [DONE]\n\n"

    def _known(self, name: str) -> str:
        if name not in self.service.pipelines:
            raise ApiError(
                404,
                f"there is no model {name[:80]!r}; there are {', '.join(self.service.pipelines)}",
                code="model_not_found",
                param="model",
            )
        return name


class _Heard:
    """The work on one question, its pieces heard in the event loop."""

    def __init__(self, service: Service, asked: ChatRequest, answer_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + answer_s
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        try:
            self._work: Work = service.begin(asked.model, asked.question, on_text=self._put)
        except RagloomError as error:
            raise api_error(error) from error
        self._work.done.add_done_callback(lambda _: self._put(None))

    async def next(self) -> str | None:
        """The next piece; None when there is none to come."""
        try:
            async with asyncio.timeout_at(self._ends):
                return await self._pieces.get()
        except TimeoutError:
            self.stop()
            raise DeadlineExceeded("the answer took longer than it may", "raise --timeout") from None

    def answered(self) -> Answered:
        """What came out, once there is no piece to come.

        Raises:
            RagloomError: the question was not answered.
        """
        try:
            return self._work.done.result(0)
        except RagloomError:
            raise
        except Exception as error:
            raise RagloomError(f"unexpected error: {error!r}") from error

    def stop(self) -> None:
        """End what is not over."""
        self._work.stop()

    def _put(self, piece: str | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)


class _Stream(StreamingResponse):
    """A stream that ends its work, however it ends."""

    def __init__(self, events: AsyncIterator[str], stop: Callable[[], None], **further: Any) -> None:
        super().__init__(events, **further)
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stop()


def endpoint_app(endpoint: Endpoint, *, token: str = "", hosts: frozenset[str] = frozenset()) -> Guard:
    """The ASGI application.

    Args:
        endpoint: what it serves.
        token: what clients must show; empty for none.
        hosts: names that the server goes by, besides `localhost` and every IP address.
    """
    app = Starlette(
        routes=[
            Route("/health", endpoint.health),
            Route("/v1/models", endpoint.models),
            Route("/v1/models/{name}", endpoint.model),
            Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
        ],
        exception_handlers={ApiError: _respond, HTTPException: _respond_http, Exception: _respond_bug},
    )
    return Guard(app, _refuse, token, hosts, total_s=endpoint.answer_s + 60)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "ragloom"}


def _event(data: Any) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _logged(error: RagloomError, request_id: str) -> ApiError:
    told = api_error(error)
    told.headers["x-request-id"] = request_id
    if told.status >= 500:
        _log.warning("%s: %s: %s", request_id, type(error).__name__, error)
    return told


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    await _response(error)(scope, receive, send)


def _response(error: ApiError) -> Response:
    return JSONResponse(error.body, status_code=error.status, headers=error.headers)


def _respond(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - for mypy
    return _response(error)


def _respond_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for mypy
    path = request.url.path[:80]
    return _response(ApiError(error.status_code, f"{error.detail}: {request.method} {path}", headers=error.headers))


def _respond_bug(_: Request, error: Exception) -> Response:
    _log.error("unexpected error: %r", error)
    return _response(ApiError(500, "unexpected error; the server's log says more", kind="server_error", code="failed"))
