"""Passages of public corpora: one reader for each shape, told apart by the first record of a file.

| shape | one record |
|---|---|
| plain, HippoRAG, MuSiQue corpus, BEIR | `{"text", "title"?, "id" or "_id"?, ...}`, also as CSV columns |
| FlashRAG | `{"id", "contents"}`, the first line of the contents being the title in quotes |
| HotpotQA corpus | `{title: [sentence, ...], ...}`, all passages in one object |
| HotpotQA, 2WikiMultiHopQA questions | `{"context": [[title, [sentence, ...]], ...], ...}`: a passage each |
| MuSiQue questions | `{"paragraphs": [{"title", "paragraph_text"}, ...], ...}`: a passage each |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragloom.components.records import Record, Reject, kind, read_records, stop
from ragloom.errors import InputError
from ragloom.types import Metadata

EXPECTED = (
    "expected records with text (and title, id), contents, context or paragraphs, or an object of titles and their "
    "sentences; name another text field, or convert the file"
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of a corpus; its id is the corpus's own, where it has one. The place is for messages."""

    text: str
    title: str
    id: str | None
    place: str
    meta: Metadata = field(default_factory=dict)


Shape = Callable[[Record], Iterator[Passage]]


def read_passages(path: Path, *, text_field: str = "text", reject: Reject = stop) -> Iterator[Passage]:
    """The passages of a JSON, JSONL, CSV or TSV file in any of the shapes above.

    A CSV file with a single column has its text there, whatever the column's name.

    Args:
        path: the file.
        text_field: the field or column that holds the text.
        reject: gets the errors of single records.

    Raises:
        InputError: the file cannot be read, or its first record has none of the shapes.
    """
    shape: Shape | None = None
    for record in read_records(path, reject):
        shape = shape or _shape(record, text_field, rows=path.suffix.lower() in {".csv", ".tsv"})
        try:
            passages = list(shape(record))
            for passage in passages:
                _check_text(passage)
        except InputError as error:
            reject(error)
        else:
            yield from passages


def join_sentences(sentences: list[str], record: Mapping[str, Any]) -> str:
    """The sentences of a context as one text: those of HotpotQA bring their spaces along, those of 2Wiki do not."""
    return (" " if "evidences" in record else "").join(sentences)


def contexts(record: Record) -> Iterator[tuple[str, str]]:
    """Titles and texts in the `context` of a HotpotQA or 2WikiMultiHopQA question."""
    context = record.fields["context"]
    for pair in context if isinstance(context, list) else [None]:
        match pair:
            case [str(title), list(sentences)] if _is_list_of_strings(sentences):
                yield title, join_sentences(sentences, record.fields)
            case _:
                raise record.error("the field 'context' must be a list of [title, [sentence, ...]]")


def _shape(record: Record, text_field: str, *, rows: bool) -> Shape:
    fields = record.fields
    if rows and len(fields) == 1:
        text_field = next(iter(fields))
    if text_field in fields:
        return lambda record: _plain(record, text_field)
    for name, shape in (("contents", _flashrag), ("context", _context), ("paragraphs", _paragraphs)):
        if name in fields:
            return shape
    if _is_list_of_strings(next(iter(fields.values()), None)):
        return _titles
    found = ", ".join(f"{name[:40]!r} ({kind(value)})" for name, value in list(fields.items())[:8]) or "no field"
    raise record.error(f"unknown shape of corpus: found {found}", EXPECTED)


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _plain(record: Record, text_field: str) -> Iterator[Passage]:
    meta = record.without(text_field, "title", "id", "_id")
    yield Passage(record.string(text_field), record.string("title", ""), record.id(), record.place, meta)


def _flashrag(record: Record) -> Iterator[Passage]:
    contents = record.string("contents")
    title, line_end, text = contents.partition("\n")
    quoted = len(title) >= 2 and title[0] == title[-1] == '"'
    if not (quoted and line_end):
        title, text = '""', contents
    yield Passage(text, title[1:-1], record.id(), record.place, record.without("contents", "id", "_id"))


def _context(record: Record) -> Iterator[Passage]:
    for title, text in contexts(record):
        yield Passage(text, title, None, f"{record.place}, context")


def _paragraphs(record: Record) -> Iterator[Passage]:
    for paragraph in record.parts("paragraphs"):
        yield Passage(paragraph.string("paragraph_text"), paragraph.string("title"), None, paragraph.place)


def _titles(record: Record) -> Iterator[Passage]:
    for title in record.fields:
        yield Passage("".join(record.strings(title)), title, None, f"{record.place}, title {title!r}")


def _check_text(passage: Passage) -> None:
    if not passage.text.strip():
        problem = "is empty" if not passage.text else "holds only white space"
        raise InputError(f"{passage.place}: the text {problem}", "remove the record or fill it")
