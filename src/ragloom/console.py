"""What commands share: the workspace they open, how they are stopped, and how they print."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ragloom.errors import ConfigError, StoreLocked

if TYPE_CHECKING:
    from ragloom.pipelines.settings import Settings
    from ragloom.store import Store
    from ragloom.types import Usage

SOME_FAILED, UNFINISHED = 1, 75  # exit codes


@contextmanager
def open_workspace(settings: Settings, *, otherwise: str) -> Iterator[Store]:
    """The workspace for writing, so that what is paid for or built is kept; where that cannot be, for reading only.

    Args:
        settings: name it.
        otherwise: what is done where another process is writing; is printed then.
    """
    from ragloom.store import Store

    require_workspace(settings)
    try:
        write = os.access(settings.workspace, os.W_OK)
        store = Store.open(settings.workspace, write=write, lock_timeout_s=0)
    except StoreLocked as error:
        print(f"ragloom: {error.problem}; {otherwise}", file=sys.stderr)  # noqa: T201
        store = Store.open(settings.workspace, write=False)
    with store:
        yield store


def require_workspace(settings: Settings) -> None:
    """See that there is a workspace.

    Raises:
        ConfigError: there is none.
    """
    if not settings.workspace.exists():
        raise ConfigError(
            f"there is no workspace at {settings.workspace}", "run `ragloom index` first, or set --workspace"
        )


class Stop:
    """True once the user asked to stop; a second time ends the process at once, which the store survives."""

    def __init__(self) -> None:
        self.exit_code = 0

    def __call__(self) -> bool:
        """Whether it was asked for."""
        return bool(self.exit_code)

    def ask(self, number: int, _: Any) -> None:
        """Handle a signal."""
        if self.exit_code:
            os._exit(self.exit_code)
        self.exit_code = 128 + number
        os.write(2, b"\nragloom: finishing the questions under way; once more to stop at once\n")


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Within it, interrupting or terminating the process only asks it to stop."""
    stop = Stop()
    earlier = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """Print the text."""
    print(text)  # noqa: T201


def print_json(value: Any) -> None:
    """Print one JSON value."""
    say(json.dumps(value, ensure_ascii=False, indent=2))


def usage_line(usage: Usage) -> str:
    """Calls, tokens, the share of those sent that the server had read before, and price in a line."""
    price = "price unknown" if usage.cost is None else f"${usage.cost:.4f}"
    cached = f" and {usage.cache_hits} kept replies" if usage.cache_hits else ""
    calls = "1 call" if usage.calls == 1 else f"{usage.calls} calls"
    read = (
        f" ({usage.cached_tokens / usage.prompt_tokens:.0%} of those sent read before)" if usage.cached_tokens else ""
    )
    return f"{calls}{cached}, {usage.tokens} tokens{read}, {price}"
