"""The tables of a workspace."""

from ragloom.database import Table

VERSION = 1

META = Table("meta", ("name",), ("value",))
DOCUMENTS = Table("documents", ("source",), ("id", "origin", "splitting", "title", "text", "meta", "chunks"))
CHUNKS = Table("chunks", ("source", "position"), ("id", "document_id", "start", "title", "text", "meta"))
MODELS = Table("models", ("model",), ("dimension",))
VECTORS = Table("vectors", ("model", "key"), ("data",))
REPLIES = Table("replies", ("key",), ("reply",))
ATTEMPTS = Table("attempts", ("id",), ("key", "model", "run_id", "status", "started", "usage", "error"))
RUNS = Table("runs", ("id",), ("kind", "config", "created", "items", "content"))
ITEMS = Table("items", ("run_id", "question_id"), ("position", "status", "question", "result"))
DERIVED = Table("derived", ("name", "parameters"), ("corpus", "folder", "files"))

TRUTH = (DOCUMENTS, CHUNKS, MODELS, VECTORS, REPLIES, ATTEMPTS, RUNS, ITEMS)
TABLES = (META, *TRUTH, DERIVED)
INDEXES = ("CREATE INDEX documents_id ON documents (id)",)
