"""The notebook runs from top to bottom, without a model and without a network, and keeps no outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "quick_start.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(output.get("text") or output.data["text/plain"] for output in outputs)


def test_it_keeps_no_outputs_and_is_short(notebook: nbformat.NotebookNode) -> None:
    assert len(notebook.cells) < 15
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_it_runs_from_top_to_bottom(notebook: nbformat.NotebookNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    text = printed(notebook)
    assert "Ines Corvale\n[1] gannet-point-light.md" in text
    assert "calls: 1 the first time, 0 the second" in text
    assert "second look recall@2 0.87" in text
    assert "budget of 100 tokens does not cover the next call" in text
