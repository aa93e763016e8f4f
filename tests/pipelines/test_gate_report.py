"""A report of gates, to read."""

from pathlib import Path

import pytest

from ragloom.components.gate_rules import AtRandom, Fixed, Threshold
from ragloom.components.gating import MODES, Mode
from ragloom.errors import InputError
from ragloom.pipelines.gate_evaluation import evaluate_gate, oracle, replay
from ragloom.pipelines.gate_report import curves_table, gate_report, gates_table, write_gate_report
from ragloom.pipelines.outcomes import Outcome, read_outcomes
from ragloom.pipelines.report import Table
from ragloom.types import Usage

PUBLIC_ROWS = Path(__file__).parents[3] / "shared" / "datasets" / "gating" / "llama-3.1-8b_dev.jsonl"


def outcome(number: int, *rights: int, group: str = "", usage: bool = False) -> Outcome:
    answers: dict[Mode, str] = {
        mode: "right" if is_right else "wrong" for mode, is_right in zip(MODES, rights, strict=False)
    }
    took = Usage(prompt_tokens=10, calls=1, seconds=0.5)
    return Outcome(
        str(number),
        f"what is {number}?",
        ("right",),
        answers,
        {"unsure": number / 10},
        dict.fromkeys(answers, took) if usage else {},
        group,
    )


FOUR = [outcome(1, 1, 0, 0), outcome(2, 1, 1, 1), outcome(3, 0, 1, 1), outcome(4, 0, 0, 1)]
UNSURE = Threshold("unsure", 0.25)


def column(table: Table, name: str) -> dict[str, str]:
    place = table.columns.index(name)
    return {row[0]: row[place] for row in table.rows}


def value(cell: str) -> float:
    return float(cell.split(" ", maxsplit=1)[0])


def test_a_gate_stands_between_what_knows_nothing_and_what_knows_all() -> None:
    table = gates_table(FOUR, {"unsure": replay(UNSURE, FOUR)})
    assert {name: value(cell) for name, cell in column(table, "contains").items()} == {
        "never (none)": 0.5,
        "always (single)": 0.5,
        "always (iterative)": 0.75,
        "unsure": 0.75,
        "random, same shares": 0.5,
        "oracle (none, single)": 0.75,
        "oracle (none, single, iterative)": 1,
    }
    assert column(table, "retrieved")["unsure"] == column(table, "retrieved")["random, same shares"] == "50.0%"
    assert column(table, "cost")["unsure"] == "0.50"
    assert column(table, "share of none / single / iterative")["oracle (none, single, iterative)"] == (
        "0.50 / 0.25 / 0.25"
    )


def test_gates_are_compared_with_always_and_with_random_question_by_question() -> None:
    table = gates_table(FOUR, {"unsure": replay(UNSURE, FOUR)})
    assert value(column(table, "against always (single)")["unsure"]) == 0.25
    assert value(column(table, "against always (iterative)")["unsure"]) == 0
    assert value(column(table, "against random")["unsure"]) == 0.25
    assert [name for name, cell in column(table, "against random").items() if cell] == ["unsure"]
    assert column(table, "against always (single)")["always (single)"] == ""


def test_the_same_decisions_differ_by_nothing() -> None:
    table = gates_table(FOUR, {"all": replay(Fixed("single"), FOUR)})
    assert column(table, "against always (single)")["all"] == "+0.000 [+0.000, +0.000]"


def test_outcomes_without_iterative_answers_are_compared_with_single_ones() -> None:
    rows = [outcome(1, 1, 0), outcome(2, 0, 1)]
    table = gates_table(rows, {})
    assert [row[0] for row in table.rows] == ["never (none)", "always (single)", "oracle (none, single)"]


def test_curves_end_at_never_and_always() -> None:
    rows = curves_table({"unsure": evaluate_gate(FOUR, replay(UNSURE, FOUR))}).rows
    assert [row[0] for row in rows] == [f"{percent} %" for percent in range(0, 101, 10)]
    assert rows[0] == ("0 %", "0.500", "-")
    assert rows[5] == ("50 %", "0.750", "0.000")
    assert rows[10] == ("100 %", "0.500", "0.250")


def test_a_report_has_its_groups(tmp_path: Path) -> None:
    rows = [outcome(number, 1, 0, group=group) for number, group in enumerate(["nq", "nq", "", "<b>|\n# x"])]
    write_gate_report(tmp_path / "report.md", rows, {"any |\n# thing": replay(AtRandom(0.5), rows)})
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles == [
        "# Gates on 4 questions",
        *("## Accuracy and cost", "## What retrieval changes", "## Scores", "## Accuracy against retrieval"),
        *("## Group nq", "## Group without a name", "## Group &lt;b&gt;| # x"),
    ]
    assert "| any \\| # thing |" in text
    assert list(tmp_path.iterdir()) == [tmp_path / "report.md"]


def test_a_single_group_is_not_shown_twice() -> None:
    rows = [outcome(1, 1, 0, group="nq", usage=True)]
    text = gate_report(rows, {"never": replay(Fixed("none"), rows)})
    assert "## Group" not in text
    assert "## Calls and seconds" in text
    assert "| never | 1.00 | 10 | 0.50 / 0.50 |" in text


def test_a_report_without_gates_shows_what_a_gate_could_reach() -> None:
    text = gate_report(FOUR, {})
    assert "oracle (none, single)" in text
    assert "## Scores" not in text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there are no outcomes"),
        ([outcome(1, 1)], "all outcomes have answers of none only"),
        ([outcome(1, 1, 1), Outcome("2", "what?", ("right",), {"single": "right"})], "have answers of single only"),
    ],
)
def test_what_cannot_be_compared_is_refused(rows: list[Outcome], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gate_report(rows, {})


def test_the_accuracies_of_the_public_rows() -> None:
    if not PUBLIC_ROWS.exists():
        pytest.skip("the public outcomes are not beside the project: ../shared/datasets/gating")
    rows = read_outcomes(PUBLIC_ROWS)
    found = {
        group: [
            round(evaluate_gate(theirs, decisions).accuracy, 3)
            for theirs in [[row for row in rows if row.group == group]]
            for decisions in [*(replay(Fixed(mode), theirs) for mode in MODES), oracle(theirs, ["none", "single"])]
        ]
        for group in ("nq", "trivia", "2wikimultihopqa")
    }
    assert found == {
        "nq": [0.386, 0.446, 0.46, 0.544],
        "trivia": [0.672, 0.672, 0.67, 0.76],
        "2wikimultihopqa": [0.28, 0.344, 0.448, 0.444],
    }
