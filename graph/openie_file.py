"""Import of extractions that others have released, as files in HippoRAG's format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ragloom.components.records import Record, kind, open_file, read_object
from ragloom.components.tokenizing import searchable
from ragloom.graph.extraction import Extraction, extraction_of, extraction_to_json
from ragloom.store import Store
from ragloom.types import Chunk


@dataclass(frozen=True, slots=True)
class OpenIEReport:
    """What became of a file.

    Attributes:
        extractor: identity that the extractions are stored under; equal files have equal ones.
        imported: chunks that now have an extraction.
        failed: chunks of which the file holds neither an entity nor a triple.
        missing: chunks that the file does not have.
        unmatched: places of the records whose passage is no chunk.
        dropped: malformed entities and triples left out.
    """

    extractor: str
    imported: int
    failed: list[Chunk]
    missing: list[Chunk]
    unmatched: list[str]
    dropped: int


def import_openie(path: str | Path, chunks: Sequence[Chunk], store: Store) -> OpenIEReport:
    """Store the extractions of a file for the chunks that are its passages, all or none.

    The file is JSON with a list `docs`, of which each has `extracted_entities`, `extracted_triples`, and its passage as
    `passage` or as `title` and `text`. A passage and a chunk are the same where title and text are, but for white
    space; of two records of a passage the last counts.

    Raises:
        InputError: the file cannot be read or is not of that format; the message names the record. Nothing is stored.
    """
    path = Path(path)
    extractor = f"openie {_digest(path)}"
    of_passage = _by_passage(chunks)
    found: dict[str, Extraction] = {}
    unmatched = []
    for record in read_object(path).parts("docs"):
        extraction = extraction_of(_list(record, "extracted_entities"), _list(record, "extracted_triples"))
        matches = of_passage.get(_key(_passage(record)), [])
        found |= {chunk.id: extraction for chunk in matches}
        if not matches:
            unmatched.append(record.place)
    read = {id_: extraction for id_, extraction in found.items() if extraction.entities or extraction.triples}
    failed = dict.fromkeys(found.keys() - read.keys(), f"{path.name} holds neither entities nor triples of it")
    store.put_extractions(extractor, {id_: extraction_to_json(one) for id_, one in read.items()}, failed=failed)
    return OpenIEReport(
        extractor,
        len(read),
        [chunk for chunk in chunks if chunk.id in failed],
        [chunk for chunk in chunks if chunk.id not in found],
        unmatched,
        sum(extraction.dropped for extraction in read.values()),
    )


def _digest(path: Path) -> str:
    with open_file(path) as file:
        return blake2b(file.read(), digest_size=16).hexdigest()


def _by_passage(chunks: Sequence[Chunk]) -> dict[str, list[Chunk]]:
    found = defaultdict(list)
    for chunk in chunks:
        found[_key(searchable(chunk))].append(chunk)
    return found


def _key(passage: str) -> str:
    return " ".join(passage.split())


def _passage(record: Record) -> str:
    if "passage" in record.fields:
        return record.string("passage")
    return f"{record.string('title', '')}\n{record.string('text')}"


def _list(record: Record, name: str) -> list[Any]:
    value = record.fields.get(name)
    if not isinstance(value, list):
        found = kind(value) if name in record.fields else "no such field"
        raise record.error(f"the field {name!r} must be a list, found {found}", "is it an OpenIE file of HippoRAG?")
    return value
