"""The state of a local model that has read a memory, kept with the index, so that nobody reads the memory twice.

All prompts for clues begin with the same memory (arXiv:2409.05591), and reading it is nearly all of their work. The
server keeps what it made of the prompt before, but only of that: a reader's prompt in between, a restart, another
process, and the memory would be read anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import Unpack

from ragloom.components.llm import Cached, IdentifiedLLM
from ragloom.components.local_server import LocalLLM
from ragloom.errors import LLMError, StoreError
from ragloom.run import span
from ragloom.store import Store
from ragloom.types import Message, Options, Reply, content_id

_log = logging.getLogger(__name__)
_FILE = "state"


class ReadAhead:
    """A local model that takes the beginning of its prompts as read, from the store once it was read the first time.

    Replies are the same bit for bit. A state that is damaged, or of another model, memory, or version of the runtime,
    is not used but made anew, and the one it replaces is removed: there is one for each model. Where none can be had,
    the log says so, and the model reads all of its prompt.

    The first call of all reads the beginning by itself, which a run counts as one more call. Each call takes up the
    state again (8 ms for 32 MB), since the model may have been asked something else before. Threads that ask the same
    model something else at the same time make it read the beginning again.

    Args:
        llm: the model.
        beginning: the messages that the prompts begin with, the last of them perhaps in part.
        store: where the state is kept.
    """

    def __init__(self, llm: LocalLLM, beginning: Sequence[Message], store: Store) -> None:
        self.llm = llm
        self._beginning = list(beginning)
        self._store = store
        self._lock = Lock()
        self._state: Path | None = None

    @property
    def identity(self) -> str:
        """That of the model."""
        return self.llm.identity

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The model's reply."""
        with span("take up state", model=self.llm.model) as attributes:
            attributes["tokens"] = self._take_up()
        return self.llm(messages, **options)

    def _take_up(self) -> int:
        try:
            with self._lock:
                self._state = self._state or self._kept()
            return self.llm.restore_state(self._state)
        except (LLMError, StoreError) as error:
            _log.warning("%s reads its memory again: %s", self.llm.model, error)
            self._state = None
            return 0

    def _kept(self) -> Path:
        """The file of the state, verified just now, and made where it has to be."""
        read = content_id(
            self.llm.identity,
            f"{self.llm.context_tokens} {_runtime()}",
            json.dumps([[message["role"], message["content"]] for message in self._beginning]),
        )

        def make(folder: Path) -> None:
            self.llm.save_state(self._beginning, folder / _FILE)

        return self._store.derived("memory-state", {"model": self.llm.model}, make, made_from=read) / _FILE


def _runtime() -> str:
    """What wrote a state: no other version need understand it."""
    try:
        return version("xllamacpp")
    except PackageNotFoundError:  # the server says so when it is started
        return ""


def read_ahead(llm: IdentifiedLLM, beginning: Sequence[Message], store: Store) -> IdentifiedLLM:
    """The model, which takes the beginning of its prompts as read where it runs on this machine and there is one."""
    if not beginning:
        return llm
    if isinstance(llm, Cached):
        return Cached(read_ahead(llm.llm, beginning, store), store)
    return ReadAhead(llm, beginning, store) if isinstance(llm, LocalLLM) else llm
