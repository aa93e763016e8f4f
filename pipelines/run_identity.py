"""What a run is known by: equal settings, corpus and questions are the same run, which is gone on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragloom.codec import to_json
from ragloom.components.datasets import Question
from ragloom.errors import InputError
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_llm, open_memory_llm
from ragloom.store import Store
from ragloom.types import content_id

# Settings that decide how a run is carried out, not what it answers: changing them resumes the same run. That of the
# corpus shows in the corpus.
_CARRYING_OUT = {
    "workspace",
    "chunk_tokens",
    "workers",
    "deadline_s",
    "max_total_tokens",
    "max_calls",
    "max_cost",
    "max_seconds",
}
# Settings that only some pipelines look at.
_OF_GATES = {
    "gate",
    "gate_bound",
    "when_needed",
    "iterative",
    "retrieval_rate",
    "popularity",
    "outcomes",
    "allow_mismatch",
}
_OF_SELECTION = {"candidates", "utility", "evaluations"}
_OF_NOTES = {"note_taker", "note_tokens", "note_seconds"}
_OF_MEMORY = {"memory", "memory_tokens", "memory_model", "memory_base_url", "clue_maker", "clues_when"}
_FILES = {"prompt", "popularity", "outcomes"}
_NAMES_OR_FILES = {"gate", "order"}  # of gates there may be several


def begin_batch(settings: Settings, questions: Sequence[Question], store: Store) -> str:
    """Enter the questions as a run and give its id; the same settings, corpus and questions give the same run.

    Raises:
        InputError: no questions.
    """
    return begin(questions, store, kind="batch", config=_batch_config(settings, store))


def batch_id(settings: Settings, questions: Sequence[Question], store: Store) -> str:
    """The id that `begin_batch` gives, whether or not there is such a run yet."""
    return _run_id(_batch_config(settings, store), _items(questions))


def _batch_config(settings: Settings, store: Store) -> dict[str, Any]:
    config = answering(settings)
    if settings.pipeline != "closed-book":
        config["corpus"] = store.corpus_id()
    return config


def answering(settings: Settings) -> dict[str, Any]:
    """What the answers depend on besides the corpus, as JSON."""
    ignored = set(_CARRYING_OUT)
    if settings.pipeline != "adaptive":
        ignored |= _OF_GATES | (_OF_NOTES if settings.pipeline != "notes" else set())
    if settings.pipeline not in {"clues", "memory", "summary"}:
        ignored |= _OF_MEMORY
    if settings.select is None:
        ignored |= _OF_SELECTION
    config = settings.model_dump(mode="json", exclude=ignored, exclude_none=True)
    config["llm"] = open_llm(settings).identity
    if _OF_MEMORY & config.keys():
        config["memory_llm"] = open_memory_llm(settings).identity
    for name in _FILES & config.keys():
        config[name] = _content(Path(config[name])) or config[name]
    for name in _NAMES_OR_FILES & config.keys():
        config[name] = ",".join(map(_by_content, config[name].split(",")))
    return config


def _by_content(value: str) -> str:
    """What stands in the file, hashed; the value itself where it is a name, which has no ending as files have."""
    file = Path(value.strip())
    return (_content(file) if file.suffix else "") or value


def _content(file: Path) -> str:
    """A hash of what stands in the file; empty if there is none. What reads it will refuse it by name."""
    return content_id(file.read_text(encoding="utf-8", errors="backslashreplace")) if file.is_file() else ""


def begin(questions: Sequence[Question], store: Store, *, kind: str, config: Mapping[str, Any]) -> str:
    """Enter the questions as a run of that kind and give its id; the same configuration and questions give the same.

    Raises:
        InputError: no questions, or two with the same id.
    """
    if not questions:
        raise InputError("there are no questions to answer", "name a file that holds some")
    items = _items(questions)
    run_id = _run_id(config, items)
    store.begin_run(run_id, kind=kind, config=config, items=items)
    return run_id


def _items(questions: Sequence[Question]) -> list[tuple[str, Any]]:
    return [(question.id, to_json(question)) for question in questions]


def _run_id(config: Mapping[str, Any], items: list[tuple[str, Any]]) -> str:
    return content_id(json.dumps([config, items], sort_keys=True))[:12]
