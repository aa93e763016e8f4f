"""What is compared in tests: three capitals, a model that knows one of them, and passages that hold all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ragloom.pipelines.comparison import Comparison, Judged, Passage
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.settings import Settings
from ragloom.store import Store
from ragloom.types import Citation, Span, Usage

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid"}
KNOWN = "France"


def know(prompt: str) -> str:
    """The model: it reads what stands in the prompt, and knows one capital by heart."""
    asked = prompt.rsplit("capital of ", 1)[-1]
    land = next((land for land in CAPITALS if asked.startswith(land)), "")
    passages = prompt.rsplit("Question:", 1)[0]
    read = f"{CAPITALS.get(land, '?')} is the capital of {land}" in passages
    return CAPITALS[land] if read or land == KNOWN else "Atlantis"


def settings_for(workspace: Path, base_url: str, **changes: object) -> Settings:
    values = {
        "workspace": workspace,
        "model": "scripted",
        "base_url": base_url,
        "api_key_env": "RAGLOOM_TEST_KEY",
        "workers": 1,
        "k": 1,
        **changes,
    }
    return Settings.model_validate(values)


def index_capitals(workspace: Path) -> None:
    corpus = workspace.parent / f"{workspace.name}-corpus.jsonl"
    lines = [
        json.dumps({"title": land, "text": f"{city} is the capital of {land}."}) for land, city in CAPITALS.items()
    ]
    corpus.write_text("\n".join(lines), encoding="utf-8")
    with Store.open(workspace) as store:
        index_corpus([corpus], store, progress=False)


def write_questions(file: Path) -> Path:
    lines = [
        json.dumps(
            {
                "id": land,
                "question": f"What is the capital of {land}?",
                "answers": [city],
                "supporting_titles": [land],
            }
        )
        for land, city in CAPITALS.items()
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def judged(
    question: int, variant: str, *, right: bool, text: str = "an answer", tokens: int = 10, **more: object
) -> Judged:
    """An answer by hand; `text` is everything in it that can come from outside."""
    return Judged(
        "set",
        f"q{question}",
        f"{text} {question}?",
        (text,),
        1 + question % 3,
        variant,
        "done",
        **{
            "answer": text,
            "em": float(right),
            "f1": float(right),
            "contains": float(right),
            "recall": float(right),
            "passages": ("chunk",),
            "spent": Usage(tokens, 0, calls=1),
            "seconds": tokens / 10,
            "citations": (Citation(1, "chunk", "document", 0, 3),),
            "spans": (
                Span("retrieve", 0.0, 0.1, -1, {"query": text}),
                Span("read", 0.1, 0.4, -1, {}),
                Span("llm", 0.2, 0.3, 1, {"tokens": str(tokens)}),
            ),
            **more,  # type: ignore[arg-type]
        },
    )


def made_of(rows: Sequence[Judged], text: str = "a passage") -> Comparison:
    """A comparison of these answers, of which the first variant is the baseline."""
    variants = tuple(dict.fromkeys(row.variant for row in rows))
    return Comparison(
        variants,
        variants[0],
        ("set",),
        tuple(rows),
        {name: "closed-book" if name == "closed" else "single" for name in variants},
        texts={"chunk": Passage(text, text)},
    )
