"""The notebook shows what each technique does to a question, on replies recorded from the small local model."""

import re

import pytest
from notebooks import run_notebook


@pytest.mark.usefixtures("in_notebooks")
def test_it_runs_from_top_to_bottom() -> None:
    shown = run_notebook("six_techniques")
    assert "mode none, score 0.5922" in shown.html
    assert "mode single, score 0.9403" in shown.html
    assert "then searched for:\n   Ines Corvale place born" in shown.text
    assert "176 tokens of 200" in shown.text
    assert "<svg" in shown.html
    without, with_clues = re.findall(r"^with.*clues: +(\[.*)", shown.text, re.MULTILINE)
    assert "Ines Corvale" not in without
    assert "Ines Corvale" in with_clues
    orders = dict(re.findall(r"^(relevance|sides|reverse) +\[.*\]  (.+)", shown.text, re.MULTILINE))
    assert orders.keys() == {"relevance", "sides", "reverse"}
    assert orders["reverse"] != orders["relevance"]
