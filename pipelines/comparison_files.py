"""A comparison as files: the report in Markdown and as a page, and every answer as CSV and Parquet."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragloom.pipelines.comparison import Comparison, Judged, Metric
from ragloom.pipelines.comparison_page import page
from ragloom.pipelines.comparison_report import markdown, tables
from ragloom.pipelines.export import check_writable
from ragloom.pipelines.report import Table
from ragloom.writing import write_aside

# A row is one variant's answer to one question. `alone` is what it would have taken if no other had asked before:
# what it took in its run, and, of that, what the replies that came from the cache had taken when they were made.
COLUMNS: dict[str, type] = {
    "set": str,
    "question_id": str,
    "question": str,
    "gold_answers": str,
    "gold_passages": int,
    "variant": str,
    "status": str,
    "answer": str,
    "abstained": bool,
    "em": float,
    "f1": float,
    "contains": float,
    "recall": float,
    "passages": int,
    "citations": int,
    "gate": str,
    "gate_score": float,
    "prompt_tokens_alone": int,
    "completion_tokens_alone": int,
    "calls_alone": int,
    "cost_alone": float,
    "seconds_alone": float,
    "kept_tokens": int,
    "kept_calls": int,
    "kept_known": bool,
    "em_against_baseline": float,
    "f1_against_baseline": float,
    "error": str,
}
FILES = ("report.md", "index.html", "answers.csv", "answers.parquet")


@dataclass(frozen=True, slots=True)
class Written:
    """The files that were written, what was left out and why, and the tables of the report by their headings."""

    files: tuple[Path, ...]
    left_out: tuple[str, ...]
    tables: Mapping[str, Table]


def check_folder(folder: Path, read: list[Path]) -> None:
    """See that the files can be written there, before anything is paid for.

    Raises:
        ConfigError: one of them is read.
        InputError: they cannot be written there.
    """
    for name in FILES:
        for source in read:
            check_writable(folder / name, source)


def write_comparison(comparison: Comparison, folder: Path, *, metric: Metric = "f1") -> Written:
    """Write `report.md`, `index.html`, `answers.csv` and, with pyarrow, `answers.parquet` into the folder.

    Each is written aside and moved into place. Without matplotlib the page has no plots, and says so.

    Raises:
        InputError: they cannot be written there.
    """
    rows = [answer_row(comparison, row) for row in comparison.rows]
    found = tables(comparison, metric=metric)
    left_out = []
    files = [folder / "report.md", folder / "index.html", folder / "answers.csv"]
    write_aside(files[0], lambda aside: _write(aside, markdown(comparison, found)))
    write_aside(files[1], lambda aside: _write(aside, page(comparison, found, metric=metric)))
    write_aside(files[2], lambda aside: _write_csv(rows, aside))
    if importlib.util.find_spec("pyarrow") is None:
        left_out.append("answers.parquet needs pyarrow: pip install 'ragloom[parquet]'")
    else:
        files.append(folder / "answers.parquet")
        write_aside(files[3], lambda aside: _write_parquet(rows, aside))
    if importlib.util.find_spec("matplotlib") is None:
        left_out.append("the plots of index.html need matplotlib: pip install 'ragloom[report]'")
    return Written(tuple(files), tuple(left_out), found)


def answer_row(comparison: Comparison, row: Judged) -> dict[str, Any]:
    """An answer, flat, with the `COLUMNS`; what is not known is None."""
    alone = row.alone
    baseline = comparison.by_variant[comparison.baseline].get(row.key)
    same = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
    return (
        dict.fromkeys(COLUMNS)
        | same
        | {
            "gold_answers": "; ".join(row.gold_answers),
            "passages": len(row.passages),
            "citations": len(row.citations),
            "prompt_tokens_alone": alone.prompt_tokens,
            "completion_tokens_alone": alone.completion_tokens,
            "calls_alone": alone.calls,
            "cost_alone": alone.cost,
            "seconds_alone": row.seconds_alone,
            "kept_tokens": row.saved.tokens,
            "kept_calls": row.saved.calls,
            "kept_known": row.saved_known,
            "em_against_baseline": None if baseline is None else _minus(row.em, baseline.em),
            "f1_against_baseline": None if baseline is None else _minus(row.f1, baseline.f1),
        }
    )


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """What is not known is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(_plain(rows))


def _plain(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows without NUL, which no reader of CSV takes."""
    for row in rows:
        yield {
            name: value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
            for name, value in row.items()
        }


def _write_parquet(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path)
