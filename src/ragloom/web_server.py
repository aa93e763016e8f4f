"""A web server in a thread of its own, so that the process that runs it stays free to be told to stop."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ragloom.errors import ConfigError

if TYPE_CHECKING:
    from ragloom.http_guard import App

LARGEST_HEAD = 16 << 10  # bytes of a request's line and headers
MOST_CONNECTIONS = 512


class WebServer:
    """Serves an ASGI application while its `with` block runs. Requests under way at the end get a grace time.

    Args:
        app: what is served.
        host: to listen on.
        port: 0 for one that is free.
        grace_s: seconds.
        idle_s: longest time for a request's line and headers to arrive, and for a connection to say nothing.

    Raises:
        ConfigError: the host and port cannot be listened on.
    """

    def __init__(
        self, app: App, *, host: str = "127.0.0.1", port: int = 0, grace_s: float = 20.0, idle_s: int = 10
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=256)
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"cannot listen on {host}, port {port}: {error}", "choose another --port") from None
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=_Impatient,
                ws="none",
                lifespan="auto",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=LARGEST_HEAD,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_keep_alive=idle_s,
                timeout_graceful_shutdown=max(1, round(grace_s)),
            )
        )
        self._thread = threading.Thread(target=self._run, name="ragloom-web", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def wait(self, seconds: float) -> bool:
        """Wait for the server to end by itself, which it does only after a failure; whether it did."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._server.run(sockets=[self._socket])


class _Impatient(H11Protocol):
    """Closes connections whose request does not come, or comes too slowly; uvicorn waits for the first one for ever."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # Any: uvicorn's own annotation differs between versions
        super().connection_made(transport)
        self._rearm()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._rearm()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def _rearm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self.loop.call_later(self.timeout_keep_alive, self._close_idle)

    def _close_idle(self) -> None:
        waiting = self.cycle is None or self.cycle.response_complete
        if waiting and not self.transport.is_closing():
            self.transport.close()
