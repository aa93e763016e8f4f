"""How a model's server is asked: one place for deadline, retries, rate limits and the words of an error.

A failure of the connection, of the server (5xx) or of its rate limit costs nothing and is tried three times in all; a
malformed reply, which was paid, twice; everything else once. In particular a server that is silent until the deadline
is not asked again: it may still be working, and would work twice.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache, partial
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ragloom.errors import (
    BadReply,
    BudgetExceeded,
    ConfigError,
    DeadlineExceeded,
    EmptyReply,
    EndpointUnreachable,
    RagloomError,
    RateLimited,
    RequestRefused,
)
from ragloom.run import current_run

if TYPE_CHECKING:  # openai takes seconds to import
    from openai import APIStatusError, OpenAI

T = TypeVar("T")

OPENAI_URL = "https://api.openai.com/v1"
_ATTEMPTS: dict[type[RagloomError], int] = {EndpointUnreachable: 3, RateLimited: 3, BadReply: 2, EmptyReply: 2}
_LONGEST_BACKOFF_S = 20.0


def checked_url(base_url: str | None) -> str:
    """The endpoint to use where a user gave this one or none.

    Raises:
        ConfigError: not a plain http or https URL, or one with a secret in it.
    """
    url = (base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).strip().rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{_shown(url)} is no base URL of a model's server", "write it like http://localhost:8000/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"the base URL of {parts.hostname} holds a user name, a query or a fragment",
            "give the plain URL, and the key in an environment variable",
        )
    return url


def _shown(url: str) -> str:
    return repr(re.sub(r"//.*@", "//", url)[:100])  # what stands before an @ may be a password


@cache
def endpoint(base_url: str, api_key_env: str, key: str, workers: int) -> Endpoint:
    """The one Endpoint of these arguments in this process: its users share connections, limits and pauses."""
    return Endpoint(base_url, api_key_env, key, workers)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=endpoint.cache_clear)  # a child must not talk through its parent's connections


def open_endpoint(base_url: str | None, api_key_env: str, *, workers: int) -> Endpoint:
    """The endpoint with the key that the environment holds now.

    Raises:
        ConfigError: the URL cannot work, or it is OpenAI's and there is no key.
    """
    url, key = checked_url(base_url), os.environ.get(api_key_env, "").strip()
    if not key and url == OPENAI_URL:
        raise ConfigError(
            f"there is no key for {url}", f"put it into the environment variable {api_key_env}, or give a base URL"
        )
    return endpoint(url, api_key_env, key, workers)


def our_error(error: BaseException) -> RagloomError | None:
    """The error that the transport raised: openai 2 wraps it in its own, openai 3 lets it pass."""
    told: BaseException | None = error
    while told is not None and not isinstance(told, RagloomError):
        told = told.__cause__
    return told


@dataclass(frozen=True, slots=True)
class _Failure:
    error: RagloomError
    wait_s: float | None = None  # what the server asks for


class Endpoint:
    """A server of models. Use `open_endpoint`.

    Args:
        base_url: where it is.
        api_key_env: the name of the environment variable that held the key; for messages.
        key: empty for none.
        workers: most calls under way at once.
    """

    def __init__(self, base_url: str, api_key_env: str, key: str, workers: int) -> None:
        self.base_url = base_url
        self._api_key_env = api_key_env
        self._key = key
        self._slots = BoundedSemaphore(workers)
        self._lock = Lock()
        self._client: OpenAI | None = None
        self._paused_until = 0.0

    def call(
        self,
        attempt: Callable[[OpenAI], T],
        *,
        deadline_s: float,
        backoff_s: float,
        repeatable: Callable[[], bool] = lambda: True,
    ) -> T:
        """What `attempt` returns, which is called again where a failure allows it.

        Args:
            attempt: makes one request. What it raises as BadReply is a malformed reply.
            deadline_s: for all attempts and the pauses between them, not for waiting until a worker is free; less
                where the current run has fewer seconds left.
            backoff_s: mean pause before the second attempt; it doubles with each further one.
            repeatable: asked after a failure whether a further attempt may be made.

        Raises:
            EndpointUnreachable, RateLimited, DeadlineExceeded, RequestRefused, BadReply: the last attempt failed so.
            BudgetExceeded: the current run's seconds were over before the answer was there.
        """
        with self._slots:
            client = self._open()  # the first time takes as long as importing openai does
            run = current_run()
            left = deadline_s if run is None else min(deadline_s, run.seconds_left())
            ends = time.monotonic() + left
            number = 0
            while True:
                self._wait_until_welcome(ends)
                number += 1
                outcome = self._try(partial(attempt, client), ends)
                if not isinstance(outcome, _Failure):
                    return outcome
                if outcome.wait_s:
                    self._pause(outcome.wait_s)  # everybody: the limit is the server's, not one thread's
                # Full jitter, so that those who failed together do not come back together.
                pause = min(2 * backoff_s * 2 ** (number - 1) * random.random(), _LONGEST_BACKOFF_S)
                welcome = max(time.monotonic() + pause, self._paused_until)
                last = number >= _ATTEMPTS.get(type(outcome.error), 1) or welcome >= ends
                if last or not repeatable():
                    raise self._final(outcome.error, deadline_s)
                time.sleep(pause)

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _wait_until_welcome(self, ends: float) -> None:
        while (wait := self._paused_until - time.monotonic()) > 0:
            if time.monotonic() + wait >= ends:
                raise RateLimited(
                    f"{self.base_url} asks to wait {wait:.0f} s, longer than this call may take", "resume later"
                )
            time.sleep(wait)

    def _try(self, attempt: Callable[[], T], ends: float) -> T | _Failure:
        from openai import APIStatusError, OpenAIError

        from ragloom.components.transport import deadline

        try:
            with deadline(ends):
                return attempt()
        except APIStatusError as error:
            return self._refusal(error, ends)
        except (OpenAIError, RagloomError) as error:
            return _Failure(our_error(error) or BadReply(f"{self.base_url}: {self._clean(str(error))}"))

    def _open(self) -> OpenAI:
        with self._lock:
            if self._client is None:
                from openai import OpenAI

                from ragloom.components.transport import http_client

                self._client = OpenAI(
                    base_url=self.base_url,
                    api_key=self._key or "none",  # the client insists on one, servers without keys ignore it
                    max_retries=0,
                    timeout=None,
                    http_client=http_client(self.base_url),
                )
            return self._client

    def _final(self, error: RagloomError, deadline_s: float) -> RagloomError:
        if not isinstance(error, DeadlineExceeded):
            return error
        run = current_run()
        if run is not None and run.seconds_left() <= 0:
            return BudgetExceeded(
                "the run's seconds were over before the model answered", "raise the budget and resume"
            )
        return DeadlineExceeded(
            f"{self.base_url} did not answer within {deadline_s:g} s", "raise deadline_s, or ask for fewer max_tokens"
        )

    # ---- Answers with an error status

    def _refusal(self, error: APIStatusError, ends: float) -> _Failure:
        status = error.status_code
        told = f"{self.base_url} answers {status}: {self._words(error)}"
        if status == 429 and "insufficient_quota" not in {error.code, error.type}:
            return _Failure(RateLimited(told, "resume later, or with fewer workers"), _retry_after(error))
        if status == 408 or status >= 500:
            return _Failure(EndpointUnreachable(told, "look at the server's log"), _retry_after(error))
        if status == 429:
            remedy = "the quota is spent: raise it with the provider"
        elif status in {401, 403}:
            state = "holds a key that is not accepted" if self._key else "is not set"
            remedy = f"the environment variable {self._api_key_env} {state}"
        elif status == 404:
            remedy = self._models_there(ends)
        elif status < 400:
            location = _shown(error.response.headers.get("location", ""))
            remedy = f"redirects are not followed: make {location} the base URL if you trust it"
        else:
            remedy = ""
        return _Failure(RequestRefused(told, remedy))

    def _words(self, error: APIStatusError) -> str:
        body: Any = error.body  # what a server puts into its error is anything
        return self._clean(str((body.get("message") if isinstance(body, dict) else body) or "no reason given"))

    def _models_there(self, ends: float) -> str:
        from ragloom.components.transport import deadline

        try:
            with deadline(ends):
                entries: Any = self._open().models.with_raw_response.list().http_response.json()["data"]
            names = sorted(self._clean(str(entry["id"])) for entry in entries)
        except Exception:  # noqa: BLE001 - it is only for the message of an error that is reported anyway
            return "check the model's name, and that the base URL ends in /v1"
        return f"the models there are: {', '.join(names[:20])}" + (", ..." if len(names) > 20 else "")

    def _clean(self, text: str) -> str:
        """A server's words in one short line, without the key, which some servers repeat."""
        if self._key:
            text = text.replace(self._key, "[key]")
        return " ".join(text.split())[:300]


def _retry_after(error: APIStatusError) -> float | None:
    """Seconds that the server asks to wait; None where it says nothing of use."""
    headers = error.response.headers
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        else:
            seconds = float(headers["retry-after"])
    except KeyError:
        return None
    except ValueError:
        try:
            seconds = parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time()
        except (KeyError, ValueError, OverflowError):
            return None
    return seconds if 0 <= seconds < 1e9 else None
