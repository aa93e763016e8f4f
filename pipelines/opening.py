"""From settings to the pipeline that answers questions."""

from __future__ import annotations

import os
from collections.abc import Callable

from ragloom.errors import ConfigError
from ragloom.pipelines.clue_opening import open_clue_answering, open_memory_only, open_summarising
from ragloom.pipelines.context import open_reading
from ragloom.pipelines.gates import open_gate, open_modes
from ragloom.pipelines.question_answering import Adaptive, ClosedBook
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import RetrieverName, open_notes, open_reader
from ragloom.store import Store
from ragloom.types import Pipeline

_WITHOUT_CONTEXT = {"closed-book", "notes", "memory", "summary"}
_RETRIEVERS: dict[str, RetrieverName] = {"hybrid": "fused", "graph": "graph", "ircot": "ircot"}


def open_pipeline(settings: Settings, store: Store, *, on_text: Callable[[str], None] | None = None) -> Pipeline:
    """The pipeline of the settings, ready for questions.

    Args:
        settings: what it is made of.
        store: the workspace; if it is writable, replies are kept in it.
        on_text: called with each piece of an answer as it is written, by pipelines that write one answer only.

    Raises:
        ConfigError: settings that do not go together, or that lack something.
        InputError: there are no documents.
    """
    if settings.pipeline in _WITHOUT_CONTEXT and (settings.select or settings.order):
        raise ConfigError(
            f"the pipeline {settings.pipeline} has no passages to select or order",
            "leave --select and --order out, or use another pipeline",
        )
    if settings.pipeline in _OPENERS:
        return _OPENERS[settings.pipeline](settings, store)
    reader = open_reader(settings, store, on_text=on_text)
    if settings.pipeline == "closed-book":
        return ClosedBook(reader)
    return open_reading(_RETRIEVERS.get(settings.pipeline, settings.retriever), settings, store, reader)


def sent_on(pipeline: Pipeline) -> Pipeline:
    """The pipeline, whose traces go to the OpenTelemetry collector of the environment where one is set.

    Raises:
        ConfigError: it is set, and the packages that send are not installed.
    """
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return pipeline
    from ragloom.components.adapters.opentelemetry import traced_from_environment

    return traced_from_environment(pipeline)


def _open_adaptive(settings: Settings, store: Store) -> Adaptive:
    return Adaptive(open_gate(settings, store), open_modes(settings, store))


_OPENERS: dict[str, Callable[[Settings, Store], Pipeline]] = {
    "adaptive": _open_adaptive,
    "notes": open_notes,
    "clues": open_clue_answering,
    "memory": open_memory_only,
    "summary": open_summarising,
}
