"""The notebook calibrates a gate on outcomes that were collected from the small local model; it asks no model."""

import pytest
from notebooks import run_notebook


@pytest.mark.usefixtures("in_notebooks")
def test_it_runs_from_top_to_bottom() -> None:
    shown = run_notebook("calibrating_a_gate")
    assert shown.html.count("<table>") == 3
    assert "margin above 0.75" in shown.html
    assert "out of fold" in shown.text
    assert "What is the capital of" in shown.text
    assert "Group capitals" in shown.text
