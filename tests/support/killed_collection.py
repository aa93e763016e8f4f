"""Collect outcomes with a scripted model, and be killed on the way.

    python killed_collection.py FOLDER --kill-at 5

With `--kill-at N` the process kills itself during its N-th call to the model; with 0 it lives.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragloom import Chunk
from ragloom.components.bm25 import BM25
from ragloom.components.datasets import Question
from ragloom.components.gating import Capability, Mode, Observation, Signal
from ragloom.components.llm import Cached, ScriptedLLM
from ragloom.components.reading import PromptReader
from ragloom.pipelines.batch import BatchReport
from ragloom.pipelines.outcome_collection import begin_outcomes, collect
from ragloom.pipelines.question_answering import ClosedBook, RetrieveThenRead
from ragloom.pipelines.settings import Settings
from ragloom.store import Store
from ragloom.types import LLM, Message, Pipeline

CITIES = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Malta": "Valletta", "Cuba": "Havana"}
QUESTIONS = [Question(land, f"What is the capital of {land}?", (city,)) for land, city in CITIES.items()]
CHUNKS = [Chunk(land, f"{city} is the capital of {land}.", document_id=land) for land, city in CITIES.items()]


@dataclass(frozen=True)
class Length:
    """A signal without a model."""

    needs: frozenset[Capability] = frozenset()
    features: tuple[str, ...] = ("question_characters",)
    identity: str = ""

    def __call__(self, question: str, /) -> Observation:
        return Observation({"question_characters": float(len(question))})


@dataclass(frozen=True)
class Draft:
    """A signal whose draft is the answer without passages."""

    llm: LLM
    needs: frozenset[Capability] = frozenset()
    features: tuple[str, ...] = ("draft_words",)
    identity: str = ""

    def __call__(self, question: str, /) -> Observation:
        draft = PromptReader(self.llm)(question, ())
        return Observation({"draft_words": float(len(draft.text.split()))}, {"none": draft})


def reply(messages: Sequence[Message]) -> str:
    """Knows Rome, and reads what stands in passages."""
    asked = messages[-1]["content"]
    return next((city for city in CITIES.values() if f"{city} is the capital" in asked), "Rome, I think")


def settings(store: Store) -> Settings:
    """Of a model that is never asked: the parts are made here."""
    return Settings(workspace=store.folder, base_url="http://127.0.0.1:9/v1", retriever="bm25")


def parts(llm: ScriptedLLM, store: Store) -> tuple[list[Signal], dict[Mode, Pipeline]]:
    """Signals, and the pipelines of two modes."""
    cached = Cached(llm, store)
    reader = PromptReader(cached)
    return [Length(), Draft(cached)], {
        "none": ClosedBook(reader),
        "single": RetrieveThenRead(BM25(CHUNKS), reader, k=1),
    }


def run(folder: Path, script: Callable[[Sequence[Message]], str] = reply) -> tuple[str, BatchReport]:
    """Collect, or go on collecting, in that workspace."""
    with Store.open(folder) as store:
        signals, modes = parts(ScriptedLLM(script), store)
        run_id = begin_outcomes(settings(store), QUESTIONS, store, signals=signals, modes=modes)
        return run_id, collect(run_id, signals, modes, store, workers=2, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill-at", type=int, default=0)
    arguments = parser.parse_args()
    calls: list[int] = []

    def deadly(messages: Sequence[Message]) -> str:
        calls.append(1)
        if len(calls) == arguments.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return reply(messages)

    run(arguments.folder, deadly)


if __name__ == "__main__":
    main()
