"""A run's answers as a file: JSONL or Parquet for programs, Markdown for people."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ragloom.errors import ConfigError, InputError
from ragloom.store import Item, Store
from ragloom.writing import beside, write_aside


def check_export(path: Path, questions: Path) -> None:
    """See that the answers to a file of questions can be written there, before they are paid for.

    Raises:
        ConfigError: another ending than `.jsonl` and `.parquet`, Parquet without pyarrow, or the questions' own file.
        InputError: the file cannot be written there.
    """
    _writer(path)
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise _no_pyarrow()
    check_writable(path, questions)


def check_writable(path: Path, source: Path) -> None:
    """See that a file can be written there, and is not one that is read. Raises as `check_export`."""
    if path.exists() and source.exists() and path.samefile(source):
        raise ConfigError(f"{path} is read, and would be overwritten", "name another file")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder", "name a file")
    with beside(path):
        pass


def check_files(written: Sequence[Path], read: Sequence[Path]) -> None:
    """See that files can be written, that no two of them are one, and that none is read. Raises as `check_export`."""
    for place, path in enumerate(written):
        for source in read:
            check_writable(path, source)
        if path.resolve() in [other.resolve() for other in written[:place]]:
            raise ConfigError(f"{path} would hold two of the files that are written", "write them to two files")


def export_run(store: Store, run_id: str, path: Path) -> None:
    """Write a row for each question of the run, in the order of the questions, to a `.jsonl` or `.parquet` file.

    The file is written aside and moved into place. Columns: id, question, status (done, failed, pending), answer,
    abstained, citations (number, document, chunk, start, end, title, source of the decision), number of passages read,
    the mode that a gate decided on, gold answers, prompt and completion tokens, calls, cost in US dollars, seconds,
    error.

    Raises:
        ConfigError: another ending, or Parquet without pyarrow.
        InputError: the file cannot be written there.
    """
    write = _writer(path)
    rows = (answer_row(item) for item in store.items(run_id))
    write_aside(path, lambda aside: write(rows, aside))


def answer_row(item: Item) -> dict[str, Any]:
    """A question and what became of it, flat."""
    result = item.result or {}
    row: dict[str, Any] = {
        "id": item.question_id,
        "question": item.question["text"],
        "status": item.status,
        "answer": result.get("text"),
        "abstained": result.get("abstained"),
        "citations": _citations(result),
        "passages": len(result.get("hits", ())),
        "gate": _gate(result),
        "gold_answers": list(item.question.get("answers", ())),
        "error": f"{result['error']}: {result['problem']}" if "error" in result else None,
    }
    record = result.get("run", {})
    usage = record.get("usage", {})
    for name in ("prompt_tokens", "completion_tokens", "calls", "cost"):
        row[name] = usage.get(name)
    row["seconds"] = record.get("seconds")
    return row


def _gate(result: Mapping[str, Any]) -> str | None:
    """The mode that a gate decided on, where there was one."""
    steps = result.get("run", {}).get("spans", ())
    return next((step["attributes"]["mode"] for step in steps if step["name"] == "gate"), None)


def _citations(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    titles = {hit["chunk"]["id"]: hit["chunk"]["title"] for hit in result.get("hits", ())}
    return [{**citation, "title": titles.get(citation["chunk_id"], "")} for citation in result.get("citations", ())]


def _writer(path: Path) -> Callable[[Iterator[dict[str, Any]], Path], None]:
    writers = {".jsonl": _write_jsonl, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise ConfigError(f"cannot write answers to {path}: unknown ending {path.suffix!r}", "use .jsonl or .parquet")
    return writers[path.suffix]


def _no_pyarrow() -> ConfigError:
    return ConfigError("writing Parquet needs pyarrow", "pip install 'ragloom[parquet]', or write .jsonl")


def _write_jsonl(rows: Iterator[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(rows: Iterator[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise _no_pyarrow() from None
    texts, numbers, citation = (
        pa.string(),
        pa.int64(),
        pa.struct(
            [
                ("number", pa.int64()),
                ("chunk_id", pa.string()),
                ("document_id", pa.string()),
                ("start", pa.int64()),
                ("end", pa.int64()),
                ("by", pa.string()),
                ("title", pa.string()),
            ]
        ),
    )
    schema = pa.schema(
        [
            ("id", texts),
            ("question", texts),
            ("status", texts),
            ("answer", texts),
            ("abstained", pa.bool_()),
            ("citations", pa.list_(citation)),
            ("passages", numbers),
            ("gate", texts),
            ("gold_answers", pa.list_(texts)),
            ("error", texts),
            ("prompt_tokens", numbers),
            ("completion_tokens", numbers),
            ("calls", numbers),
            ("cost", pa.float64()),
            ("seconds", pa.float64()),
        ]
    )
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
