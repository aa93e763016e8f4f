"""The notebook finds what the search does not, draws why, and hands the graph to networkx."""

import pytest
from notebooks import run_notebook


@pytest.mark.usefixtures("in_notebooks")
def test_it_runs_from_top_to_bottom() -> None:
    shown = run_notebook("exploring_the_graph")
    assert "<svg" in shown.html
    search, walk = shown.html.split("<table>")[2:4]
    assert "Ines Corvale</bdi>" not in search
    assert "Ines Corvale</bdi>" in walk
    assert "(matches the question) -> mentions 'ines corvale' -> is the name of \"Ines Corvale\"" in shown.text
    assert "odile tarn - " in shown.text
