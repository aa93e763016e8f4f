"""What every request to the endpoint passes before it is heard: host, token, size, time, and whether the client stays.

A server on this machine is reached by every web page that a browser on it shows. A page can send a request to
127.0.0.1, and after DNS rebinding read the reply too. So the Host header must name this server, and questions must be
of a content type that pages may send to strangers only after asking, which is never answered.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from ragloom.chat_format import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY = 1 << 20  # bytes
_HEARD_OUT = 16 << 20  # bytes of a body too large: a client that is cut off while it sends never reads why
OPEN_PATHS = {"/health"}  # without a token


@dataclass(frozen=True)
class Guard:
    """An ASGI application around another one. The inner one is cancelled when its client goes away.

    Args:
        app: the inner one.
        refuse: sends an error as a response.
        token: what clients must show; empty for none.
        hosts: names that the server goes by, besides `localhost` and every IP address.
        body_s: longest time for the body to arrive.
        total_s: longest time for a request, the slow reading of its reply included.
    """

    app: App
    refuse: Callable[[ApiError, Scope, Receive, Send], Awaitable[None]]
    token: str = field(default="", repr=False)
    hosts: frozenset[str] = frozenset()
    body_s: float = 20.0
    total_s: float = 900.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            headers = _headers(scope)
            self._check(scope, headers)
            body = await self._body(headers, receive)
        except ApiError as error:
            await self.refuse(error, scope, receive, send)
            return
        if body is not None:
            await self._serve(scope, receive, send, body)

    def _check(self, scope: Scope, headers: dict[str, list[str]]) -> None:
        if not all(_is_here(host, self.hosts) for host in headers.get("host", [""])):
            raise ApiError(421, "the Host header names another server", code="wrong_host")
        if self.token and scope["path"] not in OPEN_PATHS:
            shown = headers.get("authorization", [""])[0]
            if not hmac.compare_digest(shown.encode(), f"Bearer {self.token}".encode()):
                raise ApiError(
                    401,
                    "a token is needed: send it as `Authorization: Bearer ...`, with the openai client as its api_key",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        kind = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            raise ApiError(415, "the Content-Type must be application/json", code="wrong_content_type")

    async def _body(self, headers: dict[str, list[str]], receive: Receive) -> bytes | None:
        """The whole body; None if the client went away in the middle of it."""
        too_large = ApiError(413, f"the body is larger than {LARGEST_BODY:,} bytes", code="too_large")
        said = headers.get("content-length", ["0"])[0]
        if said.isdecimal() and int(said) > _HEARD_OUT:
            raise too_large
        body, size = b"", 0
        try:
            async with asyncio.timeout(self.body_s):
                while size <= _HEARD_OUT:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    piece = bytes(message.get("body", b""))
                    size += len(piece)
                    body = body + piece if size <= LARGEST_BODY else b""
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise ApiError(408, f"the body did not arrive within {self.body_s:g} s", code="slow_body") from None
        if size > LARGEST_BODY:
            raise too_large
        return body

    async def _serve(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def given() -> Message:
            if not parts:
                await asyncio.Event().wait()  # for ever: that the client went is noticed here
            return parts.pop()

        work = asyncio.ensure_future(self.app(scope, given, send))
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait({work, gone}, timeout=self.total_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        if not work.cancelled():
            work.result()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers(scope: Scope) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return headers


def _is_here(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header means this server. An address needs no rebinding, and cannot be rebound."""
    name = host.strip().lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
