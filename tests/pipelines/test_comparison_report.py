"""Tables and files of a comparison made by hand."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from comparisons import judged, made_of

from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.comparison import Comparison
from ragloom.pipelines.comparison_curves import budget_curves, gate_curves
from ragloom.pipelines.comparison_files import COLUMNS, answer_row, check_folder, write_comparison
from ragloom.pipelines.comparison_report import differences, fronts, markdown, overview, tables, taken
from ragloom.pipelines.report import Table
from ragloom.types import Usage

HOSTILE = 'a "quote", a\nline; =1+1 | </script><b>\ud800\0'.encode("utf-8", "backslashreplace").decode()


def answered(right: dict[str, Sequence[int]], n: int = 8, **tokens: int) -> Comparison:
    """Variants that are right on these of n questions, at so many tokens each."""
    return made_of(
        [
            judged(question, variant, right=question in questions, tokens=tokens.get(variant, 10))
            for variant, questions in right.items()
            for question in range(n)
        ]
    )


def column(table: Table, name: str) -> list[str]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_quality_stands_beside_what_it_takes():
    table = tables(answered({"closed": [0], "single": range(4), "dear": range(3)}, closed=5, single=20, dear=90))[
        "Quality and cost"
    ]
    assert column(table, "variant") == ["closed", "single", "dear"]
    assert [cell[:5] for cell in column(table, "EM")] == ["0.125", "0.500", "0.375"]
    assert column(table, "tokens") == ["5", "20", "90"]
    assert column(table, "Pareto front") == ["tokens, seconds", "tokens, seconds", ""]


def test_what_the_cache_answered_is_counted_and_named():
    paid = judged(0, "single", right=True)
    kept = replace(paid, spent=Usage(cache_hits=1), saved=Usage(90, 10, calls=1, cost=0.5, seconds=2.0), seconds=1.0)
    used = taken([kept])
    assert (used.tokens, used.kept_tokens, used.calls, used.cost, used.seconds) == (100, 100, 1, 0.5, 3.0)
    assert kept.alone.cache_hits == 0
    old = replace(paid, spent=Usage(cache_hits=1), saved=Usage(), saved_known=False)
    assert any("1 answers hold replies from the cache" in said for said in overview(made_of([old])))


def test_differences_are_paired_and_corrected():
    found = answered({"closed": [0, 1], "better": range(8), "same": [1, 0]})
    better, same = differences(found, "closed", "em")
    assert (better.variant, better.n, better.test.better, better.test.worse) == ("better", 8, 6, 0)
    assert better.test.p == pytest.approx(2 / 2**6)
    assert better.p_holm == pytest.approx(4 / 2**6)
    assert (better.value.value, same.value.value, same.test.p) == (0.75, 0.0, 1.0)
    table = tables(found)["Differences"]
    assert column(table, "against") == ["closed", "closed", "better", "better"]
    assert "0.031 (0.062)" in table.rows[0]


def test_an_unfinished_variant_is_never_the_best_and_on_no_front():
    rows = [row for row in answered({"closed": [0], "single": [0, 1]}).rows if row.variant == "closed"]
    lucky = judged(0, "lucky", right=True, tokens=1)
    found = replace(made_of([*rows, lucky]), pending={"lucky": 7})
    assert found.best("em") == "closed"
    assert fronts(found, "em")["tokens"] == ["closed"]
    assert "lucky 7" in " ".join(overview(found))
    assert differences(found, "closed", "em")[0].n == 1


def test_questions_without_gold_answers_are_not_judged():
    found = made_of(
        [
            replace(judged(0, name, right=True), gold_answers=(), gold_passages=None, em=None, f1=None, contains=None)
            for name in ("closed", "single")
        ]
    )
    assert found.mean("closed", "em") is None
    assert column(tables(found)["Quality and cost"], "EM") == ["-", "-"]
    assert column(tables(found)["Quality and cost"], "Pareto front") == ["", ""]
    assert set(tables(found)) == {"Quality and cost"}
    assert "Questions without gold answers: 1." in " ".join(overview(found))


def test_means_say_of_how_many_judged_answers_they_are():
    unjudged = {"gold_answers": (), "gold_passages": None, "em": None, "f1": None, "contains": None, "recall": None}
    rows = [judged(question, name, right=True) for name in ("closed", "single") for question in range(3)]
    rows[0], rows[3] = replace(rows[0], **unjudged), replace(rows[3], **unjudged)
    table = tables(made_of(rows))["Quality and cost"]
    assert column(table, "n") == ["3, 2 judged"] * 2
    assert column(table, "EM") == ["1.000 [1.000, 1.000]"] * 2


def test_recall_is_shown_by_the_number_of_passages_needed():
    table = tables(answered({"closed": [], "single": [0, 3, 6, 1]}))["By number of gold passages"]
    assert table.columns == ("variant", "1 passage", "2 passages", "3 passages")
    assert table.rows[1] == ("single", "1.000 / 1.000 (3)", "0.333 / 0.333 (3)", "0.000 / 0.000 (2)")


def test_a_budget_curve_ends_at_the_quality_of_the_variant():
    found = answered({"closed": [0], "single": range(4)}, closed=5, single=20)
    capped, cumulative = budget_curves(found, "em")["single"]
    assert (capped.at(19), capped.at(20), cumulative.at(10), cumulative.at(20)) == (0.0, 0.5, 0.5, 0.5)


def test_a_gate_is_judged_by_the_answers_of_the_variants_that_it_chooses_between():
    """Its highest scores are where retrieval helps, so that half of the retrievals give all that there is to gain."""
    plain = answered({"closed": [0, 1, 2, 3], "single": range(8), "gate": range(8)})
    rows = [
        replace(row, gate="single" if place >= 4 else "none", gate_score=float(place)) if row.variant == "gate" else row
        for place, row in zip([*range(8)] * 3, plain.rows, strict=True)
    ]
    found = replace(made_of(rows), pipelines={"closed": "closed-book", "single": "single", "gate": "adaptive"})
    curve = gate_curves(found, "em")["gate"]
    assert (curve.without, curve.with_retrieval, curve.rate, curve.achieved) == ("closed", "single", 0.5, 1.0)
    assert list(curve.quality) == [0.5, 0.625, 0.75, 0.875, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert [row[0] for row in tables(found)["Gates"].rows] == ["gate", "at random"]


def test_text_of_outside_cannot_pass_for_the_reports_own():
    failed = replace(answered({"closed": [0], "single": [0]}), failures=(("single", "# no\n\n| a | b |"),))
    report = markdown(failed, tables(failed))
    assert "single failed: # no | a | b |." in report
    assert "\n# no" not in report


# ---- Files


def test_csv_and_parquet_hold_every_answer_as_it_is(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    found = made_of([judged(n, name, right=n == 0, text=HOSTILE) for name in ("closed", "single") for n in range(3)])
    written = write_comparison(found, tmp_path / "out")
    assert sorted(file.name for file in written.files) == [
        "answers.csv",
        "answers.parquet",
        "index.html",
        "report.md",
    ]
    rows = [answer_row(found, row) for row in found.rows]
    assert parquet.read_table(tmp_path / "out" / "answers.parquet").to_pylist() == rows
    with (tmp_path / "out" / "answers.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    shown = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    assert read == [{name: cell.replace("\0", "\ufffd") for name, cell in row.items()} for row in shown]
    assert list(read[0]) == list(COLUMNS)


def test_a_row_says_what_it_differs_by_from_the_baseline():
    found = answered({"closed": [0], "single": [1]}, n=2)
    assert [answer_row(found, row)["em_against_baseline"] for row in found.answers("single")] == [-1.0, 1.0]


def test_the_same_comparison_writes_the_same_files(tmp_path: Path):
    found = answered({"closed": [0], "single": range(4)}, closed=5, single=20)
    for name in ("a", "b"):
        write_comparison(found, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        if file.suffix != ".parquet":
            assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_what_cannot_be_written_is_said_beforehand(tmp_path: Path):
    questions = tmp_path / "answers.csv"
    questions.write_text("question\n")
    with pytest.raises(ConfigError, match="is read, and would be overwritten"):
        check_folder(tmp_path, [questions])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        check_folder(tmp_path / "file", [questions])


def test_without_optional_packages_the_rest_is_written_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for package in ("matplotlib", "pyarrow"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    written = write_comparison(answered({"closed": [0], "single": range(4)}, single=20), tmp_path)
    assert [file.name for file in written.files] == ["report.md", "index.html", "answers.csv"]
    assert ["ragloom[parquet]" in why or "ragloom[report]" in why for why in written.left_out] == [True, True]
    assert "matplotlib is not installed" in (tmp_path / "index.html").read_text(encoding="utf-8")
