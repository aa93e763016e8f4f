"""Workspaces as ragloom made them before it kept extractions."""

from __future__ import annotations

from pathlib import Path

from ragloom.sqlite import SQLiteDatabase
from ragloom.tables import Row, Table
from ragloom.workspace import FILE

META = Table("meta", ("name",), ("value",))
TABLES = (
    Table("documents", ("source",), ("id", "origin", "splitting", "title", "text", "meta", "chunks")),
    Table("chunks", ("source", "position"), ("id", "document_id", "start", "title", "text", "meta")),
    Table("models", ("model",), ("dimension",)),
    Table("vectors", ("model", "key"), ("data",)),
    Table("replies", ("key",), ("reply",)),
    Table("attempts", ("id",), ("key", "model", "run_id", "status", "started", "usage", "error")),
    Table("runs", ("id",), ("kind", "config", "created", "items", "content")),
    Table("items", ("run_id", "question_id"), ("position", "status", "question", "result")),
    Table("derived", ("name", "parameters"), ("corpus", "folder", "files")),
)


def write_workspace(folder: Path, like: Path | None = None) -> None:
    """A workspace of version 1, empty or with the rows of another one."""
    rows: dict[Table, list[Row]] = {table: [] for table in TABLES}
    if like is not None:
        source = SQLiteDatabase(like / FILE, write=False)
        rows = {table: source.all_rows(table) for table in TABLES}
        source.close()
    folder.mkdir(parents=True, exist_ok=True)
    meta = [("schema_version", 1), ("store_id", "0" * 32)]
    SQLiteDatabase.create(folder / FILE, {META: meta, **rows}, ("CREATE INDEX documents_id ON documents (id)",))
