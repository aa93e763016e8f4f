"""HTTP that keeps a total deadline and a size limit, as the transport of the openai client.

The timeouts of HTTP clients start anew with every byte, so that a server that sends one byte now and then holds a call
for ever. Here every read and write waits at most until the deadline of the call it belongs to. No timer, no thread.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import openai

from ragloom.errors import BadReply, DeadlineExceeded, EndpointUnreachable

if TYPE_CHECKING or int(openai.__version__.split(".")[0]) >= 3:
    import httpcore2 as httpcore
    import httpx2 as httpx
else:  # openai 2 speaks through httpx, which httpx2 continues under another name
    import httpcore
    import httpx

CONNECT_S = 5.0
LARGEST_BODY = 8 << 20  # bytes, decompressed
_WRITE_BYTES = 1 << 16
_LONGEST_WAIT_S = 1e6  # sockets refuse an infinite timeout

_deadline: ContextVar[float] = ContextVar("ragloom_deadline", default=math.inf)


@contextmanager
def deadline(at: float) -> Iterator[None]:
    """Every request inside the block ends before `at`, a reading of `time.monotonic`, or raises DeadlineExceeded."""
    token = _deadline.set(at)
    try:
        yield
    finally:
        _deadline.reset(token)


def http_client(base_url: str) -> httpx.Client:
    """A client for the requests to one server. It follows no redirect: it would carry the prompt to another host."""
    return httpx.Client(
        transport=_Transport(_connections(base_url), base_url),
        follow_redirects=False,
        timeout=None,  # noqa: S113 - the deadline holds instead
        trust_env=False,  # proxies are chosen below, and a netrc file would replace the key
        headers={"Accept-Encoding": "identity"},  # replies are small, and a bomb needs compression
    )


def _connections(base_url: str) -> httpcore.ConnectionPool:
    url = urlsplit(base_url)
    host = url.hostname or ""
    common: dict[str, Any] = {  # arguments of both kinds of pool
        "ssl_context": httpx.create_ssl_context() if url.scheme == "https" else None,
        "max_connections": None,  # the endpoint limits its calls itself
        "keepalive_expiry": 30.0,
        "network_backend": _Backend(),
    }
    proxy_url = getproxies().get(url.scheme)
    if proxy_url is None or host in {"localhost", "127.0.0.1", "::1"} or proxy_bypass(host):
        return httpcore.ConnectionPool(**common)
    proxy = httpx.Proxy(proxy_url)
    return httpcore.HTTPProxy(proxy_url=str(proxy.url), proxy_auth=proxy.raw_auth, **common)


def _left() -> float:
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded("out of time")
    return min(left, _LONGEST_WAIT_S)


class _Stream(httpcore.NetworkStream):
    """A connection whose every wait ends with the deadline."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_BYTES):  # in slices: a wait starts anew with every part that is sent
            self._stream.write(buffer[start : start + _WRITE_BYTES], _left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> _Stream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, min(CONNECT_S, _left())))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens connections as `_Stream`s."""

    def __init__(self) -> None:
        self._plain = httpcore.SyncBackend()

    def connect_tcp(  # signature of its base
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> _Stream:
        stream = self._plain.connect_tcp(host, port, min(CONNECT_S, _left()), local_address, socket_options)
        return _Stream(stream)


class _Body(httpx.SyncByteStream):
    """A response's body, decompressed, up to the size limit."""

    def __init__(self, pieces: Iterable[bytes], base_url: str, *, compressed: bool) -> None:
        self._pieces = pieces
        self._base_url = base_url
        self._inflate = zlib.decompressobj(wbits=47) if compressed else None  # 47: gzip or zlib, by its header

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        with _named_errors(self._base_url):
            for piece in self._pieces:
                data = piece
                if self._inflate is not None:
                    data = self._inflate.decompress(piece, LARGEST_BODY + 1 - size)
                size += len(data)
                if size > LARGEST_BODY:
                    raise BadReply(f"{self._base_url} sent more than {LARGEST_BODY >> 20} MiB in one reply")
                yield data

    def close(self) -> None:
        self._pieces.close()  # type: ignore[attr-defined]  # httpcore's streams have it, its annotation says Iterable


class _Transport(httpx.BaseTransport):
    """Sends a request through the connections and says in our own errors what went wrong."""

    def __init__(self, connections: httpcore.ConnectionPool, base_url: str) -> None:
        self._connections = connections
        self._base_url = base_url

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        with _named_errors(self._base_url):
            response = self._connections.handle_request(
                httpcore.Request(method=request.method, url=url, headers=request.headers.raw, content=request.stream)
            )
        headers = httpx.Headers(response.headers)
        encoding = headers.pop("content-encoding", "identity")
        if encoding not in {"identity", "gzip", "deflate"}:
            response.close()
            raise BadReply(f"{self._base_url} compresses its replies in an unknown way ({encoding[:20]})")
        pieces = cast("Iterable[bytes]", response.stream)  # annotated for the asynchronous pool, too
        body = _Body(pieces, self._base_url, compressed=encoding != "identity")
        return httpx.Response(response.status, headers=headers, stream=body, extensions=response.extensions)

    def close(self) -> None:
        self._connections.close()


@contextmanager
def _named_errors(base_url: str) -> Iterator[None]:
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ProxyError) as error:
        _left()  # a connection that had less than its 5 seconds is a matter of the deadline
        raise EndpointUnreachable(
            f"no connection to {base_url}: {error or 'timed out'}", "check that the server runs and the URL is right"
        ) from None
    except (httpcore.ReadTimeout, httpcore.WriteTimeout):
        raise DeadlineExceeded("out of time") from None
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise EndpointUnreachable(
            f"the connection to {base_url} broke before the answer was complete: {error}", "look at the server's log"
        ) from None
    except zlib.error:
        raise BadReply(f"{base_url} sent a reply whose compression is broken") from None
