"""Files and folders that users name are written aside and moved into place, so that nobody ever reads half of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ragloom.errors import InputError

Result = TypeVar("Result")


def write_aside(path: Path, write: Callable[[Path], Result]) -> Result:
    """Have a file or folder written under another path, and move it to this one.

    What is there is replaced, by a folder even a folder with everything in it; so see to it first that this is wanted.
    A file replaces no folder.

    Args:
        path: its folder is made where it is missing.
        write: is called with the path to write.

    Returns:
        What `write` does.

    Raises:
        InputError: it cannot be written there.
    """
    with beside(path) as aside:
        result = write(aside)
        if path.is_dir() and aside.is_dir():
            path.rename(aside.with_name(f"{path.name}.replaced"))
        aside.replace(path)
        return result


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """The path of a file of that name in a temporary folder next to it.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            yield Path(folder) / path.name
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}", "name another file") from None
