"""Writing the entries of a memory by a model, each kept in the store as soon as it is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from tqdm import tqdm

from ragloom.components.memory_building import MemoryBuilder, Writer, Written
from ragloom.components.memory_groups import Group
from ragloom.errors import BadReply, BudgetExceeded, LLMError
from ragloom.run import map_threads
from ragloom.store import Store
from ragloom.types import content_id

FAILURES_IN_A_ROW = 10


def group_id(group: Group) -> str:
    """What a group is known by in the store: equal passages are written of once, in whatever document they stand."""
    return content_id(*(text for passage in group for text in passage))


def stored_as(writer: Writer) -> str:
    """The extractor, in the terms of the store, that the entries of a writer are kept under."""
    return f"memory {writer.identity}"


def kept_entries(store: Store, writer: Writer, groups: Sequence[Group]) -> list[Written | None]:
    """The entry of each group: as it was written, by the rules where the writer failed, None where it was not asked."""
    ids = [group_id(group) for group in groups]
    found, failed = store.extractions(stored_as(writer), ids), store.failed_extractions(stored_as(writer))
    rules = MemoryBuilder().rules

    def entry(id_: str, group: Group) -> Written | None:
        if id_ in found:
            return Written(found[id_]["text"], "model")
        return Written(rules(group), "rules") if id_ in failed else None

    return list(map(entry, ids, groups))


@dataclass
class StoredWriting:
    """Has a writer write of groups, level by level of a memory, and counts what came of it.

    Entries are committed as they come: a killed or stopped build keeps them, and the next one writes the rest. A group
    fails where the writer gives nothing of use. Where the model could not be asked, the group fails only if the model
    writes of others; ten such errors in a row end the build with the last of them.

    Attributes:
        writer: by its identity its entries are known in the store.
        store: opened for writing.
        workers: groups written of at a time.
        progress: show a bar, where there is a terminal.
        retry_failed: write again of those that failed before.
        written: groups written of now.
        reused: groups written of before.
        failed: groups that the writer failed for, now or before, each with the error.
    """

    writer: Writer
    store: Store
    workers: int = 8
    progress: bool = True
    retry_failed: bool = False
    written: int = 0
    reused: int = 0
    failed: list[tuple[Group, str]] = field(default_factory=list)
    _unasked: list[tuple[str, LLMError]] = field(default_factory=list)  # since the model last answered
    _answered: bool = False
    _stopped: Exception | None = None

    def all(self, groups: Sequence[Group]) -> list[Written]:
        """The entries of the groups, of which those are written that the store does not have.

        Raises:
            BudgetExceeded: before all were written of.
            LLMError: the model cannot be asked.
        """
        by_id = {group_id(group): group for group in groups}
        name = stored_as(self.writer)
        done = self.store.extractions(name, list(by_id)).keys()
        before = set() if self.retry_failed else set(self.store.failed_extractions(name))
        waiting = [id_ for id_ in by_id if id_ not in done and id_ not in before]
        self.reused += len(done)
        with tqdm(total=len(waiting), desc="memory", unit="entry", disable=None if self.progress else True) as bar:
            for id_, outcome in map_threads(
                lambda id_: (id_, self._attempt(by_id[id_])), self._until_stopped(waiting), workers=self.workers
            ):
                self._settle(id_, outcome)
                bar.update()
        self._finish()
        errors = self.store.failed_extractions(name)
        self.failed += [(group, errors[id_]) for id_, group in by_id.items() if id_ in errors]
        return [entry for entry in kept_entries(self.store, self.writer, groups) if entry is not None]

    def _attempt(self, group: Group) -> str | LLMError | BudgetExceeded:
        try:
            return self.writer(group)
        except (LLMError, BudgetExceeded) as error:
            return error  # raised here, it would lose what other threads have paid for

    def _until_stopped(self, ids: Sequence[str]) -> Iterator[str]:
        return takewhile(lambda _: self._stopped is None, ids)

    def _settle(self, id_: str, outcome: str | LLMError | BudgetExceeded) -> None:
        match outcome:
            case str():
                self.written += 1
                self._put({id_: {"text": outcome}})
                self._take_for_answering()
            case BadReply():
                self._put(failed={id_: str(outcome)})
                self._take_for_answering()
            case LLMError():
                self._unasked.append((id_, outcome))
                if len(self._unasked) >= FAILURES_IN_A_ROW:
                    self._stopped = outcome
            case BudgetExceeded():
                self._stopped = outcome

    def _finish(self) -> None:
        """Decide on the errors since the last answer: of single groups, or of the model."""
        if self._stopped is not None:
            raise self._stopped
        if self._unasked and not self._answered:
            raise self._unasked[-1][1]
        if self._unasked:
            self._take_for_answering()

    def _take_for_answering(self) -> None:
        """The model answers about others, so what it could not be asked about failed by itself."""
        self._answered = True
        if self._unasked:
            self._put(failed={id_: str(error) for id_, error in self._unasked})
            self._unasked = []

    def _put(self, found: dict[str, dict[str, str]] | None = None, *, failed: dict[str, str] | None = None) -> None:
        self.store.put_extractions(stored_as(self.writer), found or {}, failed=failed)
