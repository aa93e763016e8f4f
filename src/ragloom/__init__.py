"""Compose, run and measure retrieval-augmented generation pipelines.

The shared nouns are here; the parts are in `ragloom.components`, what puts them together in `ragloom.pipelines`.
"""

from ragloom.errors import RagloomError
from ragloom.run import Budget, Run, map_threads, span
from ragloom.store import Store
from ragloom.types import (
    LLM,
    Answer,
    Chunk,
    Citation,
    Document,
    Embedder,
    Hit,
    Message,
    Options,
    Pipeline,
    Reader,
    Refiner,
    Reply,
    Retriever,
    RunRecord,
    Span,
    Usage,
    content_id,
    document,
)

__all__ = [
    "LLM",
    "Answer",
    "Budget",
    "Chunk",
    "Citation",
    "Document",
    "Embedder",
    "Hit",
    "Message",
    "Options",
    "Pipeline",
    "RagloomError",
    "Reader",
    "Refiner",
    "Reply",
    "Retriever",
    "Run",
    "RunRecord",
    "Span",
    "Store",
    "Usage",
    "content_id",
    "document",
    "map_threads",
    "span",
]
