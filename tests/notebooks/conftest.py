"""Notebooks run where they lie, with no history and no progress bars."""

from pathlib import Path

import pytest
from notebooks import FOLDER


@pytest.fixture
def in_notebooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The working folder is that of the notebooks, and IPython's own folder one that is thrown away."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
