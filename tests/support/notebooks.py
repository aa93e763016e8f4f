"""Notebooks run in this process: a kernel for each would start an interpreter and import everything again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

FOLDER = Path(__file__).parents[2] / "notebooks"


@dataclass(frozen=True)
class Shown:
    """What the cells of a notebook show, in their order.

    Attributes:
        text: what they print, and their values as text.
        html: of the values and of what is displayed.
    """

    text: str
    html: str


def read_notebook(name: str) -> nbformat.NotebookNode:
    """One of the project's notebooks."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def run_notebook(name: str) -> Shown:
    """What the notebook shows, run from top to bottom in the current folder; raises what a cell raises."""
    texts, pages = [], []
    with a_shell() as shell:
        for cell in read_notebook(name).cells:
            if cell.cell_type == "code":
                shown = run_cell(shell, cell.source)
                texts.append(shown.text)
                pages.append(shown.html)
    return Shown("\n".join(texts), "\n".join(pages))


def run_cell(shell: InteractiveShell, source: str) -> Shown:
    """What one cell shows."""
    with capture_output() as captured:
        done = shell.run_cell(source)
    done.raise_error()
    data: list[dict[str, Any]] = [output.data for output in captured.outputs]
    if done.result is not None:
        data.append(shell.display_formatter.format(done.result)[0])
    values = (each.get("text/plain", "") for each in data)
    return Shown("\n".join([captured.stdout, *values]), "\n".join(each.get("text/html", "") for each in data))


@contextmanager
def a_shell() -> Iterator[InteractiveShell]:
    """IPython, as a kernel has it; it keeps no history, and leaves nothing behind."""
    main = sys.modules["__main__"]
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = InteractiveShell.instance(config=config)
    try:
        yield shell
    finally:
        InteractiveShell.clear_instance()
        shell.restore_sys_module_state()
        sys.modules["__main__"] = main
