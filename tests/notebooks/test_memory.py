"""The notebook runs from top to bottom on recorded replies. It needs the book, which is downloaded like a model."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "memory.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_keeps_no_outputs_and_is_short(notebook: nbformat.NotebookNode) -> None:
    assert len(notebook.cells) < 15
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.model
def test_it_runs_from_top_to_bottom(notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no reply is recorded for a prompt, prompts have changed: run benchmarks/memory_book.py --record."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "\n".join(output.get("text") or output.data["text/plain"] for output in outputs)
    assert len(re.findall(r"^     clue: .+\n     answer: .+", text, re.MULTILINE)) == 20
    sent, most = re.search(r"([\d,]+) tokens sent for clues, .* at most (\d+) a question", text).groups()
    assert 20 * int(most) < int(sent.replace(",", "")) / 20
