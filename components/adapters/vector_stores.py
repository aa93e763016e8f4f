"""Vectors past one machine: a vector store of somebody else's, kept in step with our chunks.

`LangChainVectors` of `adapters.langchain` and `LlamaIndexVectors` of `adapters.llama_index` make one of theirs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ragloom.codec import to_json
from ragloom.errors import IndexMismatch, InputError
from ragloom.types import Chunk, Hit, content_id


class ChunkVectors(Protocol):
    """A vector store as a Retriever that chunks can be put into and removed from."""

    @property
    def model(self) -> str:
        """What the vectors are made with."""
        ...

    def put(self, chunks: Sequence[Chunk], /) -> None:
        """Embed chunks that the store does not hold, and add them."""
        ...

    def remove(self, chunk_ids: Sequence[str], /) -> None:
        """Take chunks out; those it does not hold are passed over."""
        ...

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first."""
        ...


@dataclass(frozen=True, slots=True)
class IndexedVectors:
    """What `index_into` did, in chunks."""

    added: int
    changed: int
    unchanged: int
    removed: int


def index_into(vectors: ChunkVectors, chunks: Iterable[Chunk], ledger: Path, *, batch: int = 256) -> IndexedVectors:
    """Make a vector store hold these chunks and no others of ours: only what is new or changed is embedded.

    Vector stores cannot all say what they hold, so a ledger on this side does: a file with a line before and after each
    batch. A run that is killed goes on with the batch it was in, whose chunks are taken out before they are put in
    again, so that nothing is doubled. One process at a time may write.

    Args:
        vectors: the store.
        chunks: all that it should hold, by ids that differ.
        ledger: of this store and no other; made where it is missing.
        batch: chunks put at a time.

    Raises:
        IndexMismatch: the ledger was begun with another model.
        InputError: the ledger cannot be read.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    held = _Ledger.read(ledger, vectors.model)
    wanted = {chunk.id: chunk for chunk in chunks}
    gone = [chunk_id for chunk_id in held.revisions if chunk_id not in wanted]
    for page in _pages(gone, batch):
        vectors.remove(page)
        held.write({"removed": page})
    revisions = {chunk_id: _revision(chunk) for chunk_id, chunk in wanted.items()}
    due = [chunk_id for chunk_id in wanted if held.revisions.get(chunk_id) != revisions[chunk_id]]
    changed = [chunk_id for chunk_id in due if held.revisions.get(chunk_id)]
    for page in _pages(due, batch):
        known = [chunk_id for chunk_id in page if chunk_id in held.revisions]
        if known:
            vectors.remove(known)
        held.write({"begun": page})
        vectors.put([wanted[chunk_id] for chunk_id in page])
        held.write({"put": {chunk_id: revisions[chunk_id] for chunk_id in page}})
    return IndexedVectors(len(due) - len(changed), len(changed), len(wanted) - len(due), len(gone))


def _pages(items: Sequence[str], size: int) -> Iterator[list[str]]:
    return (list(items[first : first + size]) for first in range(0, len(items), size))


def _revision(chunk: Chunk) -> str:
    return content_id(json.dumps(to_json(chunk), sort_keys=True))


class _Ledger:
    """What a vector store holds: revisions by chunk id, empty where it is not known whether a batch arrived."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.revisions: dict[str, str] = {}

    @classmethod
    def read(cls, file: Path, model: str) -> _Ledger:
        """The ledger in the file, begun where there is none; nothing is changed in a file that is no ledger."""
        ledger = cls(file)
        whole, torn = _lines(file)
        for number, line in enumerate(whole, 1):
            try:
                entry = json.loads(line)
                built = entry["model"] if number == 1 else model
                ledger._apply(entry)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise _no_ledger(file, number, f"{type(error).__name__}: {error}") from None
            if built != model:
                raise IndexMismatch(
                    f"{file} is of vectors of {built}, and these are of {model}", "use a new store with a new ledger"
                )
        begin = {"model": model}
        if torn and not whole and not json.dumps(begin).startswith(torn):
            raise _no_ledger(file, 1, "no line is whole")
        if torn:  # by a kill or a full disk
            os.truncate(file, file.stat().st_size - len(torn.encode()))
        if not whole:
            file.parent.mkdir(parents=True, exist_ok=True)
            ledger.write(begin)
        return ledger

    def write(self, entry: dict[str, Any]) -> None:
        """Append a line, and see it on the disk."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._apply(entry)

    def _apply(self, entry: dict[str, Any]) -> None:
        for chunk_id in entry.get("removed", ()):
            self.revisions.pop(chunk_id, None)
        self.revisions |= dict.fromkeys(entry.get("begun", ()), "")
        self.revisions |= entry.get("put", {})


def _lines(file: Path) -> tuple[list[str], str]:
    """The whole lines of a file, none where it is missing, and the part of a line that it ends with."""
    try:
        *whole, torn = file.read_bytes().decode().split("\n") if file.exists() else [""]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the ledger {file}: {error}", "is it another file?") from None
    return whole, torn


def _no_ledger(file: Path, line: int, reason: str) -> InputError:
    return InputError(f"{file}, line {line}: no entry of a ledger: {reason}", "is it another file?")
