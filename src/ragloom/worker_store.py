"""A workspace as a worker of a cluster has it: read where it lies, and what would be written is sent to its one writer.

SQLite takes one writer, on one machine. So a worker reads the workspace, under the same path or as a copy, and hands
back what it did: answers, and the record of its calls. `Store.take_in` enters that, all or nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from ragloom.errors import StoreError
from ragloom.store import Attempt, Done, Item, Status, Store, StoredRun, now
from ragloom.types import Reply, Usage
from ragloom.workspace import open_for_reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WorkerStore(Store):
    """A workspace that is read, with a part of a run whose questions it is given. What is written stays in memory.

    Of the ledger and the run it shows only this part. Vectors of questions are not kept: they are made again.

    Args:
        folder: of the workspace.
        run_id: of the run.
        items: the questions of the part.
    """

    def __init__(self, folder: Path, run_id: str, items: Iterable[Item]) -> None:
        super().__init__(folder, open_for_reading(folder), writable=False)
        self.writable = True  # as far as those can tell who keep replies
        self._run_id = run_id
        self._items = {item.question_id: item for item in items}
        self._attempts: list[Attempt] = []
        self._replies: dict[str, Reply] = {}
        self._writing = Lock()

    def done(self) -> Done:
        """What there is to be sent: settled calls, kept replies and answers."""
        with self._writing:
            return Done(
                [attempt for attempt in self._attempts if attempt.status != "open"],
                dict(self._replies),
                [item for item in self._items.values() if item.status != "pending"],
            )

    # ---- What is otherwise written into the workspace

    def reply(self, key: str) -> Reply | None:
        """See `Store.reply`."""
        return self._replies.get(key) or super().reply(key)

    def begin_attempt(self, key: str, *, model: str, run_id: str = "") -> int:
        """See `Store.begin_attempt`; the writer gives it an id of its own."""
        with self._writing:
            number = len(self._attempts) + 1
            self._attempts.append(Attempt(number, key, model, run_id, "open", now(), Usage(), ""))
        return number

    def finish_attempt(self, attempt: int, reply: Reply | None, *, error: str = "", keep: bool = True) -> None:
        """See `Store.finish_attempt`."""
        usage = Usage() if reply is None else reply.usage
        with self._writing:
            begun = self._attempts[attempt - 1]
            status: Literal["ok", "error"] = "error" if error else "ok"
            self._attempts[attempt - 1] = replace(begun, status=status, usage=usage, error=error)
            if reply is not None and keep and not error:
                self._replies[begun.key] = reply

    def attempts(self, *, run_id: str | None = None) -> list[Attempt]:
        """See `Store.attempts`."""
        return [attempt for attempt in self._attempts if run_id is None or attempt.run_id == run_id]

    def run(self, run_id: str) -> StoredRun:
        """See `Store.run`; nothing but the counts is known here."""
        self._check_run(run_id)
        counts: dict[Status, int] = {"pending": 0, "done": 0, "failed": 0}
        counts.update(Counter(item.status for item in self._items.values()))
        return StoredRun(run_id, "", {}, "", counts)

    def items(self, run_id: str, *, status: Collection[str] | None = None) -> list[Item]:
        """See `Store.items`."""
        self._check_run(run_id)
        return [item for item in self._items.values() if status is None or item.status in status]

    def commit_item(
        self, run_id: str, question_id: str, *, status: Literal["done", "failed"], result: Mapping[str, Any]
    ) -> None:
        """See `Store.commit_item`."""
        self._check_run(run_id)
        with self._writing:
            self._items[question_id] = replace(self._items[question_id], status=status, result=result)

    def put_vectors(self, model: str, vectors: Mapping[str, NDArray[np.float32]]) -> None:
        """Keeps nothing."""

    def _check_run(self, run_id: str) -> None:
        if run_id != self._run_id:
            raise StoreError(f"this worker has a part of the run {self._run_id!r}, not of {run_id!r}")
