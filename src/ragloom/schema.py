"""The tables of a workspace, and documents and chunks as their rows."""

import json

from ragloom.errors import InputError
from ragloom.tables import Row, Table
from ragloom.types import Chunk, Document, Metadata, content_id

VERSION = 2

META = Table("meta", ("name",), ("value",))
DOCUMENTS = Table("documents", ("source",), ("id", "origin", "splitting", "title", "text", "meta", "chunks"))
CHUNKS = Table("chunks", ("source", "position"), ("id", "document_id", "start", "title", "text", "meta"))
MODELS = Table("models", ("model",), ("dimension",))
VECTORS = Table("vectors", ("model", "key"), ("data",))
REPLIES = Table("replies", ("key",), ("reply",))
ATTEMPTS = Table("attempts", ("id",), ("key", "model", "run_id", "status", "started", "usage", "error"))
RUNS = Table("runs", ("id",), ("kind", "config", "created", "items", "content"))
ITEMS = Table("items", ("run_id", "question_id"), ("position", "status", "question", "result"))
EXTRACTIONS = Table("extractions", ("extractor", "chunk_id"), ("extraction", "error"))
DERIVED = Table("derived", ("name", "parameters"), ("corpus", "folder", "files"))

TRUTH = (DOCUMENTS, CHUNKS, MODELS, VECTORS, REPLIES, ATTEMPTS, RUNS, ITEMS, EXTRACTIONS)
TABLES = (META, *TRUTH, DERIVED)
INDEXES = ("CREATE INDEX documents_id ON documents (id)",)
_ADDED = {2: (EXTRACTIONS,)}  # by the version that brought them


def added_since(version: int) -> frozenset[Table]:
    """The tables that a workspace of that version lacks."""
    return frozenset(table for later, tables in _ADDED.items() if later > version for table in tables)


def document_row(document: Document, origin: str, splitting: str, chunks: int) -> Row:
    """The document's row.

    Raises:
        InputError: it cannot be stored as it is; the message names its source.
    """
    source, title, text = document.source, document.title, document.text
    if not source:
        raise InputError(f"the document {document.id} has no source", "give it one that is its own")
    meta = _meta(source, document.meta)
    for name, value in (("source", source), ("title", title), ("text", text), ("meta", meta)):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{source!r}: its {name} has half a character (a lone surrogate) at {error.start}",
                "mend the file's encoding",
            ) from error
    if document.id != content_id(source, title, text):
        raise InputError(f"{source!r}: its id is not that of its content", "make it with ragloom.types.document")
    return (source, document.id, origin, splitting, title, text, meta, chunks)


def document_of(row: Row) -> Document:
    """The document in the row."""
    source, id_, _, _, title, text, meta, _ = row
    return Document(id_, text, title, source, json.loads(meta))


def chunk_row(document: Document, position: int, chunk: Chunk) -> Row:
    """The row of the document's chunk at that position.

    Raises:
        ValueError: it is not that.
    """
    source = document.source
    if (chunk.document_id, chunk.position) != (document.id, position):
        raise ValueError(f"{source!r}: chunk {position} is chunk {chunk.position} of {chunk.document_id!r}")
    if not document.text.startswith(chunk.text, chunk.start):
        raise ValueError(f"{source!r}: chunk {position} is not what stands at {chunk.start}")
    meta = _meta(source, chunk.meta)
    return (source, position, chunk.id, chunk.document_id, chunk.start, chunk.title, chunk.text, meta)


def chunk_of(row: Row) -> Chunk:
    """The chunk in the row."""
    _, position, id_, document_id, start, title, text, meta = row
    return Chunk(id_, text, title, document_id, position, start, json.loads(meta))


def _meta(source: str, meta: Metadata) -> str:
    try:
        return json.dumps(dict(meta), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source!r}: its meta is not JSON ({error})", "keep to JSON values") from error
