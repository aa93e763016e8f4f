"""What commands share: the workspace they open, and how they print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ragloom.errors import ConfigError, StoreLocked

if TYPE_CHECKING:
    from ragloom.pipelines.settings import Settings
    from ragloom.store import Store

SOME_FAILED = 1  # the exit code


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


def say(text: str) -> None:
    """Print the text."""
    print(text)  # noqa: T201


def print_json(value: Any) -> None:
    """Print one JSON value."""
    say(json.dumps(value, ensure_ascii=False, indent=2))
