"""Prefect's server: the one at PREFECT_API_URL, seen to answer, or an embedded one for the time of a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from httpx import NetworkError, TimeoutException, TransportError
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, get_current_settings

from ragloom.errors import ConfigError, RagloomError
from ragloom.flows.embedded_server import embedded_server

START = "start one with `prefect server start` and set PREFECT_API_URL=http://127.0.0.1:4200/api"


@contextmanager
def connected() -> Iterator[None]:
    """See that the server answers, or start an embedded one where no address is set.

    Raises:
        RagloomError: it does not answer, is no Prefect server, or does not start; or it went away.
    """
    if url := PREFECT_API_URL.value():
        check_server()
        try:
            yield
        except TransportError as error:  # models' endpoints have errors of their own
            raise RagloomError(
                f"Prefect's server at {url} went away: {error}",
                "what was done stands in the workspace; start the server and run the same command again",
            ) from None
    elif get_current_settings().server.ephemeral.enabled:
        with embedded_server():
            yield
    else:
        raise ConfigError("there is no Prefect server, and embedded ones are switched off in Prefect's settings", START)


def check_server() -> None:
    """See that a Prefect server answers at PREFECT_API_URL.

    Raises:
        ConfigError: no address is set, or what answers there is something else.
        RagloomError: nothing answers.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise ConfigError("a schedule needs a Prefect server that stays", START)
    problem: Exception | None
    try:
        with get_client(sync_client=True) as client:
            if (problem := client.api_healthcheck()) is None:
                client.api_version()  # the server's own pages are healthy, too
                return
    except ValueError as error:  # no JSON
        problem = error
    if isinstance(problem, NetworkError | TimeoutException):
        raise RagloomError(
            f"Prefect's server at {url} does not answer: {problem}",
            "start it with `prefect server start`, or unset PREFECT_API_URL to use an embedded one",
        ) from None
    raise ConfigError(
        f"what answers at PREFECT_API_URL={url} is not Prefect's API ({problem})",
        "it begins with http and ends in /api: http://127.0.0.1:4200/api",
    ) from None
