"""What holds for all notebooks: short, without outputs, and clear about what they miss."""

import shutil
from pathlib import Path

import nbformat
import pytest
from notebooks import FOLDER, a_shell, read_notebook, run_cell, run_notebook

from ragloom.errors import InputError, LLMError

NAMES = sorted(file.stem for file in FOLDER.glob("*.ipynb"))
REPLAYED = ("comparing_pipelines", "six_techniques")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_keeps_no_outputs_and_is_short(name: str) -> None:
    notebook = read_notebook(name)
    nbformat.validate(notebook)
    assert len(notebook.cells) < 15
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_all_that_was_recorded_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.glob("*.jsonl")) < 300_000


@pytest.mark.usefixtures("in_notebooks")
@pytest.mark.parametrize("name", [*REPLAYED, "calibrating_a_gate"])
def test_without_its_recording_a_notebook_says_what_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(FOLDER.parent / "docs" / "sample", tmp_path / "docs" / "sample")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    with pytest.raises(InputError, match=rf"{name}\.jsonl"):
        run_notebook(name)


@pytest.mark.usefixtures("in_notebooks")
def test_a_question_that_was_not_recorded_says_so_and_what_to_do() -> None:
    cells = [cell.source for cell in read_notebook("six_techniques").cells if cell.cell_type == "code"]
    with a_shell() as shell:
        run_cell(shell, cells[0])
        with pytest.raises(LLMError, match=r"no reply is recorded for the prompt .* record it with Recording"):
            run_cell(shell, "RetrieveThenRead(bm25, reader)('Who rang the bell?')")
