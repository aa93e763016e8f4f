"""The notebook compares four pipelines on recorded replies, and shows the tables of the report."""

import re

import pytest
from notebooks import run_notebook


@pytest.mark.usefixtures("in_notebooks")
def test_it_runs_from_top_to_bottom() -> None:
    shown = run_notebook("comparing_pipelines")
    assert len(re.findall(r"16 answered, 0 failed", shown.text)) == 4
    assert shown.html.count("<table>") == 2
    assert "Pareto front" in shown.html
    assert "Ines Corvale" in shown.text
    assert "index.html" in shown.text
