"""What a workspace must hold after a list of operations, of which the last may have been cut short.

A writer logs each operation before it begins and `ok` once it has been acknowledged. `settle` compares a store with
such a log: only an operation that was begun and never acknowledged may be there or not, whole or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragloom.store import Store
from ragloom.types import Chunk, Document, content_id, document

RUN = "batch"
EXTRACTOR = "names"


def entry(source: str, text: str, title: str = "", *, width: int = 40) -> tuple[Document, list[Chunk]]:
    """A document and its chunks of `width` characters."""
    whole = document(text, title=title, source=source)
    pieces = [text[start : start + width] for start in range(0, len(text), width)]
    return whole, [
        Chunk(content_id(whole.id, str(place * width), piece), piece, title, whole.id, place, place * width)
        for place, piece in enumerate(pieces)
    ]


def build_index(store: Store) -> Path:
    """A derived folder whose files say which corpus they were built from, and which ones they were updated from."""

    def build(folder: Path, previous: Path | None = None) -> None:
        history = (previous / "history").read_text(encoding="utf-8") if previous else ""
        (folder / "history").write_text(f"{history}{store.corpus_id()}\n", encoding="utf-8")
        (folder / "parts").mkdir()
        (folder / "parts" / "corpus").write_text(store.corpus_id(), encoding="utf-8")
        (folder / "chunks.json").write_text(json.dumps([chunk.text for chunk in store.chunks()]), encoding="utf-8")

    return store.derived("index", {"width": 40}, build, update=build)


@dataclass
class Expected:
    """Texts by source, replies and extractions by key, results by question, attempts settled or not, and an index."""

    texts: dict[str, str] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)
    extractions: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    attempts: dict[int, bool] = field(default_factory=dict)
    derived: bool = False

    def apply(self, operation: Mapping[str, Any]) -> None:
        match operation["do"]:
            case "put":
                self.texts.update(operation["texts"])
            case "remove":
                for source in operation["sources"]:
                    self.texts.pop(source, None)
            case "extract":
                self.extractions.update(operation["found"])
            case "begin":
                self.attempts[operation["attempt"]] = False
            case "finish":
                self.attempts[operation["attempt"]] = True
                self.replies[operation["key"]] = operation["text"]
            case "item":
                self.results[operation["question"]] = operation["result"]
            case "derive":
                self.derived = True


def read_log(log: Path) -> tuple[Expected, dict[str, Any] | None, int]:
    """What was acknowledged, the operation after it, and how many there were. A torn last line was never begun."""
    expected, unacknowledged, number = Expected(), None, 0
    for line in log.read_text(encoding="utf-8").splitlines(keepends=True):
        if line == "ok\n" and unacknowledged is not None:
            expected.apply(unacknowledged)
            unacknowledged, number = None, number + 1
        elif line.endswith("\n"):
            unacknowledged = None if line == "void\n" else json.loads(line)
    return expected, unacknowledged, number


def settle(store: Store, log: Path) -> list[str]:
    """Where the store differs from the log. The log's last operation is then marked as it was found."""
    expected, unacknowledged, _ = read_log(log)
    text = log.read_text(encoding="utf-8")
    log.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    wrong = differences(store, expected)
    if unacknowledged is not None:
        mark = "void\n"
        if wrong:
            expected.apply(unacknowledged)
            wrong, mark = differences(store, expected), "ok\n"
        with log.open("a", encoding="utf-8") as file:
            file.write(mark)
    return wrong


def differences(store: Store, expected: Expected) -> list[str]:
    """What the store lacks, or has and should not."""
    wrong = store.check()
    texts = {found.source: found.text for found in store.documents()}
    if texts != expected.texts:
        wrong.append(f"documents: {sorted(set(texts.items()) ^ set(expected.texts.items()))[:3]}")
    if store.chunks() != [chunk for source in sorted(texts) for chunk in entry(source, texts[source])[1]]:
        wrong.append("the chunks are not those of the documents")
    for key, text in expected.replies.items():
        reply = store.reply(key)
        if reply is None or reply.text != text:
            wrong.append(f"reply {key}: {reply}")
    if store.extractions(EXTRACTOR, list(expected.extractions)) != expected.extractions:
        wrong.append("the extractions are others")
    if store.failed_extractions(EXTRACTOR):
        wrong.append("extractions have failed")
    results = {item.question_id: item.result for run in store.runs() for item in store.items(run.id, status={"done"})}
    if results != expected.results:
        wrong.append(f"results: {sorted(results.keys() ^ expected.results.keys())}")
    attempts = {attempt.id: attempt.status != "open" for attempt in store.attempts()}
    if attempts != expected.attempts:
        wrong.append(f"attempts: {sorted(attempts.items() ^ expected.attempts.items())}")
    if expected.derived and not any((store.folder / "derived").iterdir()):
        wrong.append("nothing is left to update derived files from")
    index = build_index(store)
    history = (index / "history").read_text(encoding="utf-8").splitlines()
    if not (index / "parts" / "corpus").read_text(encoding="utf-8") == history[-1] == store.corpus_id():
        wrong.append("the derived files are of another corpus")
    return wrong
