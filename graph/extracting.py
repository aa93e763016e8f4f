"""Run an extractor over chunks; what it found, and where it failed, is kept in the store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from tqdm import tqdm

from ragloom.errors import BadReply, BudgetExceeded, LLMError
from ragloom.graph.extraction import Extraction, Extractor, extraction_from_json, extraction_to_json
from ragloom.run import map_threads
from ragloom.store import Store
from ragloom.types import Chunk

FAILURES_IN_A_ROW = 10

_PAGE = 256  # most extractions put in one transaction
_COMMIT_S = 0.5  # what comes slower than this is committed one by one


@dataclass(frozen=True, slots=True)
class ExtractionReport:
    """What became of chunks.

    Attributes:
        extracted: chunks read now.
        reused: chunks read before.
        failed: chunks that the extractor failed for, now or before, each with the error.
        dropped: entities and triples left out of those read now, malformed or not from their chunk.
    """

    extracted: int
    reused: int
    failed: list[tuple[Chunk, str]]
    dropped: int


def extract(
    chunks: Sequence[Chunk],
    extractor: Extractor,
    store: Store,
    *,
    workers: int = 8,
    progress: bool = True,
    retry_failed: bool = False,
) -> ExtractionReport:
    """Have the store hold the extraction of each chunk.

    Extractions are committed as they come: a killed or stopped call keeps them, and the next one does the rest. A chunk
    fails where the reply about it is malformed. Where the model could not be asked, the chunk fails only if the model
    answers about others; ten such errors in a row end the call with the last of them.

    Args:
        chunks: in any order; one that occurs twice is read once.
        extractor: by its identity its extractions are known in the store.
        store: opened for writing.
        workers: chunks read at a time.
        progress: show a bar, where there is a terminal.
        retry_failed: read those again that the extractor failed for before.

    Raises:
        BudgetExceeded: before all chunks were read.
        LLMError: the model cannot be asked.
    """
    by_id = {chunk.id: chunk for chunk in chunks}
    done = by_id.keys() & store.extracted(extractor.identity)
    failed = {} if retry_failed else store.failed_extractions(extractor.identity)
    waiting = [chunk for id_, chunk in by_id.items() if id_ not in done and id_ not in failed]
    work = _Work(extractor, store)
    with tqdm(total=len(waiting), desc="extracting", unit="chunk", disable=None if progress else True) as bar:
        try:
            for chunk, outcome in map_threads(work.attempt, work.until_stopped(waiting), workers=workers):
                work.settle(chunk, outcome)
                bar.update()
            work.finish()
        finally:
            work.commit()
    failed |= work.failed
    unread = [(chunk, failed[id_]) for id_, chunk in by_id.items() if id_ in failed]
    return ExtractionReport(work.extracted, len(done), unread, work.dropped)


def stored_extractions(store: Store, extractor: str, chunk_ids: Sequence[str]) -> dict[str, Extraction]:
    """What the extractor of that identity found, by chunk id; without those it failed for or has not read."""
    return {id_: extraction_from_json(data) for id_, data in store.extractions(extractor, chunk_ids).items()}


Outcome = Extraction | LLMError | BudgetExceeded


@dataclass
class _Work:
    """Chunks on their way into the store."""

    extractor: Extractor
    store: Store
    extracted: int = 0
    dropped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    _found: dict[str, dict[str, Any]] = field(default_factory=dict)  # not committed yet, as the next
    _bad: dict[str, str] = field(default_factory=dict)
    _unasked: list[tuple[Chunk, LLMError]] = field(default_factory=list)  # since the model last answered
    _stopped: Exception | None = None
    _committed: float = 0.0

    def attempt(self, chunk: Chunk) -> tuple[Chunk, Outcome]:
        try:
            return chunk, self.extractor(chunk)
        except (LLMError, BudgetExceeded) as error:
            return chunk, error  # raised here, it would lose what other threads have paid for

    def until_stopped(self, chunks: Sequence[Chunk]) -> Iterator[Chunk]:
        return takewhile(lambda _: self._stopped is None, chunks)

    def settle(self, chunk: Chunk, outcome: Outcome) -> None:
        match outcome:
            case Extraction():
                self._found[chunk.id] = extraction_to_json(outcome)
                self.extracted += 1
                self.dropped += outcome.dropped
                self._fail_unasked()
            case BadReply():
                self._bad[chunk.id] = str(outcome)
                self._fail_unasked()
            case LLMError():
                self._unasked.append((chunk, outcome))
                if len(self._unasked) >= FAILURES_IN_A_ROW:
                    self._stopped = outcome
            case BudgetExceeded():
                self._stopped = outcome
        if len(self._found) >= _PAGE or time.monotonic() > self._committed + _COMMIT_S:
            self.commit()

    def finish(self) -> None:
        """Decide on the errors since the last answer: of single chunks, or of the model."""
        if self._stopped is not None:
            raise self._stopped
        if self._unasked and not (self.extracted or self.failed or self._bad):
            raise self._unasked[-1][1]
        self._fail_unasked()

    def commit(self) -> None:
        if self._found or self._bad:
            self.store.put_extractions(self.extractor.identity, self._found, failed=self._bad)
        self.failed |= self._bad
        self._found, self._bad = {}, {}
        self._committed = time.monotonic()

    def _fail_unasked(self) -> None:
        self._bad |= {chunk.id: str(error) for chunk, error in self._unasked}
        self._unasked = []
