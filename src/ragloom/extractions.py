"""What extractors found in chunks, and where they failed: the one never read as the other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from ragloom import schema
from ragloom.tables import Database


class Extractions:
    """The table of extractions by extractor and chunk id.

    Rows outlive their chunks, as vectors and replies do: ids are of content, so that a row is never another chunk's,
    and a document that comes back need not be paid for again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def found(self, extractor: str, chunk_ids: Sequence[str]) -> dict[str, Any]:
        """See `Store.extractions`."""
        rows = self._database.rows_among(schema.EXTRACTIONS, extractor, chunk_ids)
        return {chunk_id: json.loads(extraction) for _, chunk_id, extraction, _ in rows if extraction is not None}

    def read(self, extractor: str) -> set[str]:
        """See `Store.extracted`."""
        return set(self._database.keys_among(schema.EXTRACTIONS, extractor, "extraction IS NOT NULL"))

    def failed(self, extractor: str) -> dict[str, str]:
        """See `Store.failed_extractions`."""
        rows = self._database.rows(schema.EXTRACTIONS, "extractor = ? AND extraction IS NULL", (extractor,))
        return {chunk_id: error for _, chunk_id, _, error in rows}

    def put(self, extractor: str, found: Mapping[str, Any], failed: Mapping[str, str]) -> None:
        """See `Store.put_extractions`."""
        with self._database.transaction(durable=False) as database:
            for chunk_id, extraction in found.items():
                database.replace(schema.EXTRACTIONS, (extractor, chunk_id, _json(chunk_id, extraction), ""))
            for chunk_id, error in failed.items():
                message = error.encode(errors="backslashreplace").decode()
                database.replace(schema.EXTRACTIONS, (extractor, chunk_id, None, message))

    def fingerprint(self, extractor: str) -> str:
        """See `Store.extraction_id`."""
        hashes = self._database.row_hashes(schema.EXTRACTIONS, "extractor = ? AND extraction IS NOT NULL", (extractor,))
        return blake2b(b"".join(hashes), digest_size=16).hexdigest()


def _json(chunk_id: str, extraction: Any) -> str:
    if extraction is None:
        raise ValueError(f"the extraction of chunk {chunk_id} is None; one that failed needs an error that says why")
    return json.dumps(extraction, allow_nan=False)  # ASCII, so that half a character (a lone surrogate) does no harm
