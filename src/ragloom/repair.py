"""Find out what is damaged in a workspace, and save the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ragloom import schema
from ragloom.tables import Database, Row, Table


def problems(database: Database, *, quick: bool) -> list[str]:
    """What is wrong with the rows, one line each: by its own check, hashes, tallies, and what belongs together."""
    found = database.damage(quick=quick)
    good: dict[Table, list[Row]] = {}
    for table in schema.TABLES:
        good[table], wrong = database.problems(table)
        found += wrong
    return found + list(_incomplete(good))


def copy(database: Database, new: Database) -> list[str]:
    """Every good row into an empty database; returns what was lost, one line each."""
    good: dict[Table, list[Row]] = {}
    lost: list[str] = []
    for table in schema.TRUTH:
        good[table], wrong = database.problems(table)
        lost += wrong
    lost += _incomplete(good)
    whole = _whole_documents(good)
    good[schema.DOCUMENTS] = [row for row in good[schema.DOCUMENTS] if row[0] in whole]
    good[schema.CHUNKS] = [row for row in good[schema.CHUNKS] if row[0] in whole]
    runs = {row[0] for row in good[schema.RUNS]}
    good[schema.ITEMS] = [row for row in good[schema.ITEMS] if row[0] in runs]
    models = {row[0] for row in good[schema.MODELS]}
    good[schema.VECTORS] = [row for row in good[schema.VECTORS] if row[0] in models]
    for table in schema.TRUTH:
        with new.transaction(durable=True):
            new.insert(table, good[table])
    return lost


def _whole_documents(good: dict[Table, list[Row]]) -> set[str]:
    chunks = Counter(row[0] for row in good[schema.CHUNKS])
    return {row[0] for row in good[schema.DOCUMENTS] if chunks[row[0]] == row[-1]}


def _incomplete(good: dict[Table, list[Row]]) -> Iterable[str]:
    whole = _whole_documents(good)
    for source in sorted({row[0] for row in good[schema.DOCUMENTS]} - whole):
        yield f"document {source!r}: chunks are missing; index it again"
    for source in sorted({row[0] for row in good[schema.CHUNKS]} - {row[0] for row in good[schema.DOCUMENTS]}):
        yield f"document {source!r}: only chunks of it are left; index it again"
    questions = Counter(row[0] for row in good[schema.ITEMS])
    for run_id, *_, items, _ in good[schema.RUNS]:
        if questions[run_id] != items:
            missing = items - questions[run_id]
            yield f"run {run_id!r}: {missing} of {items} questions are missing; begin it again to add them"
    for run_id in sorted(questions.keys() - {row[0] for row in good[schema.RUNS]}):
        yield f"run {run_id!r}: only its questions are left; begin it again"
    for model in sorted({row[0] for row in good[schema.VECTORS]} - {row[0] for row in good[schema.MODELS]}):
        yield f"model {model!r}: its vectors are of unknown dimension; they are computed again"
