"""Files to documents: folders, globs and single files of text, HTML, PDF, Word, and of corpora (see `corpora`).

Text of .txt and .md is kept exactly as read, line ends included; of HTML, PDF and Word it is what a reader would see.
A document's source is the file's path below the folder that was indexed, or the file's name where it was named
itself; for records `file#id`, or `file#hash of the record` where it has no id, so that a record keeps its source
whatever is added before it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ragloom.components.corpora import Passage, read_passages
from ragloom.components.html_text import read_html
from ragloom.components.records import RECORD_FILES, Reject, cannot_read, open_file, read_text, stop
from ragloom.errors import InputError
from ragloom.types import Document, content_id, document

OnError = Literal["stop", "skip"]

_READABLE = (".txt", ".md", ".html", ".htm", ".pdf", ".docx", *sorted(RECORD_FILES))
_WORKSPACE_FILE = "ragloom.sqlite"  # a folder with it holds our own files
_WORD_LIMIT = 200_000_000  # bytes of unpacked XML; a few kilobytes of zip can hold a thousand times as much
_BROKEN_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read, and what its documents' sources begin with."""

    path: Path
    source: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or record that was left out, and why."""

    source: str
    reason: str


def read_documents(
    path: str | Path, *, text_field: str = "text", on_error: OnError = "stop", skipped: list[Skipped] | None = None
) -> Iterator[Document]:
    """The documents of a folder (with those below it), a glob or a file.

    Hidden files and folders are passed over, links to folders are not followed. In a folder, files of other types
    are skipped with a note.

    Args:
        path: a folder, a file, or a pattern such as `papers/**/*.pdf`.
        text_field: the field or column of records that holds the text.
        on_error: `skip` goes on behind a file or record that cannot be used.
        skipped: what is left out is appended here.

    Raises:
        InputError: names the file and, for records, the line.
    """
    notes = skipped if skipped is not None else []
    files, others = find_files(path)
    notes.extend(others)
    for file in files:
        yield from read_file(file, text_field=text_field, reject=rejecting(on_error, file.source, notes))


def rejecting(on_error: OnError, source: str, skipped: list[Skipped]) -> Reject:
    """What to do about errors in the file of that source: raise them, or add them to the list."""
    return stop if on_error == "stop" else lambda error: skipped.append(Skipped(source, error.problem))


def find_files(path: str | Path) -> tuple[list[InputFile], list[Skipped]]:
    """The files to read, by source, and those passed over.

    Raises:
        InputError: there is nothing at that path, or nothing in it that can be read.
    """
    root = Path(path)
    try:
        mode = root.stat().st_mode
    except FileNotFoundError:
        return _matches(root)
    except OSError as error:
        raise cannot_read(root, error) from None
    except ValueError:
        raise InputError(f"the path {str(path)!a} holds a NUL character", "check the path") from None
    if not stat.S_ISDIR(mode):
        return [_named_file(root, root.parent)], []
    if (root / "corpus.jsonl").is_file() and (root / "queries.jsonl").is_file():  # BEIR: the queries are no documents
        return [_named_file(root / "corpus.jsonl", root)], []
    return _readable(_walk(root), root)


def read_file(file: InputFile, *, text_field: str = "text", reject: Reject = stop) -> list[Document]:
    """The documents of one file; repetitions of a record are read once.

    Args:
        file: from `find_files`.
        text_field: the field or column of records that holds the text.
        reject: gets the errors of the file and of single records; nothing is read of a file that is broken as such.
    """
    documents: dict[str, tuple[Document, str]] = {}
    try:
        for read, place in _read(file, text_field, reject):
            known, first_place = documents.setdefault(read.source, (read, place))
            if known != read:
                reject(
                    InputError(
                        f"{place}: another document with the id of {first_place}", "give each its own id, or remove one"
                    )
                )
    except InputError as error:
        reject(error)
        return []
    return [read for read, _ in documents.values()]


# ---- Finding files


def _named_file(path: Path, folder: Path) -> InputFile:
    if path.suffix.lower() not in _READABLE:
        raise InputError(f"{path}: {_unread_type(path)}", f"these are: {', '.join(_READABLE)}")
    return InputFile(path, _source(path, folder))


def _unread_type(path: Path) -> str:
    return f"files {f'of the type {path.suffix}' if path.suffix else 'without an extension'} are not read"


def _source(path: Path, folder: Path) -> str:
    source = path.relative_to(folder).as_posix()
    try:
        source.encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!a}: the file's name is not valid UTF-8", "rename it") from None
    return source


def _matches(pattern: Path) -> tuple[list[InputFile], list[Skipped]]:
    """The files that match a glob; their sources are relative to its last folder without a wildcard."""
    wild = next((place for place, part in enumerate(pattern.parts) if re.search(r"[*?[]", part)), None)
    if wild is None:
        raise InputError(f"there is no file or folder {pattern}", "check the path")
    folder = Path(*pattern.parts[:wild])
    try:
        found = sorted(folder.glob(str(Path(*pattern.parts[wild:]))))
    except ValueError as error:
        raise InputError(f"{pattern} is no pattern: {error}", "a folder at any depth is written as **/") from None
    files = (path for path in found if not path.is_dir() and not _is_hidden(path.relative_to(folder)))
    return _readable(((path, _why_not(path)) for path in files), folder, pattern)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _readable(
    found: Iterable[tuple[Path, str]], folder: Path, named: Path | None = None
) -> tuple[list[InputFile], list[Skipped]]:
    """The files found that can be read, and those that cannot, with the reason."""
    files: list[InputFile] = []
    others: list[Skipped] = []
    for path, problem in found:
        source = _source(path, folder)
        if problem:
            others.append(Skipped(source, problem))
        else:
            files.append(InputFile(path, source))
    if not files:
        remedy = f"these are read: {', '.join(_READABLE)}"
        raise InputError(f"no file that can be read in {named or folder}, {len(others)} others", remedy)
    return files, others


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below the folder that is not hidden, and why it is passed over or an empty string."""

    def fail(error: OSError) -> None:
        raise cannot_read(Path(error.filename), error)

    for here, folders, names in os.walk(folder, onerror=fail):
        folders.sort()
        for name in list(folders):
            path = Path(here, name)
            if name.startswith("."):
                folders.remove(name)
            elif path.is_symlink():
                yield path, "a link to a folder is not followed"
            elif (path / _WORKSPACE_FILE).is_file():
                folders.remove(name)
                yield path, "a workspace of ragloom"
        for name in sorted(names):
            path = Path(here, name)
            if not name.startswith("."):
                yield path, _why_not(path)


def _why_not(path: Path) -> str:
    if path.suffix.lower() not in _READABLE:
        return _unread_type(path)
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "not a regular file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


# ---- Reading files


def _read(file: InputFile, text_field: str, reject: Reject) -> Iterator[tuple[Document, str]]:
    """Documents, and the places they stand at for messages."""
    path = file.path
    match path.suffix.lower():
        case ".txt":
            title, text = path.stem, read_text(path)
        case ".md":
            text = read_text(path)
            title = _heading(text) or path.stem
        case ".html" | ".htm":
            title, text = read_html(read_text(path))
            title = title or path.stem
        case ".pdf":
            title, text = path.stem, _read_pdf(path)
        case ".docx":
            title, text = path.stem, _read_docx(path)
        case _:
            for passage in read_passages(path, text_field=text_field, reject=reject):
                yield _record_document(passage, file.source), passage.place
            return
    if not text.strip():
        raise InputError(
            f"{path}: {'is empty' if not text else 'holds only white space'}", "remove the file or fill it"
        )
    yield document(text, title=title, source=file.source), str(path)


def _record_document(passage: Passage, source: str) -> Document:
    name = passage.id
    if name is None:
        meta = json.dumps(passage.meta, sort_keys=True)
        name = content_id(passage.title, passage.text, meta)[:16]
    return document(passage.text, title=passage.title, source=f"{source}#{name}", meta=passage.meta)


def _heading(text: str) -> str:
    """The heading that a Markdown text begins with, if it does."""
    found = re.match(r"\s*#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*(?:[\r\n]|$)", text)
    return found[1] if found else ""


def _read_pdf(path: Path) -> str:
    open_file(path).close()
    with _logging_as_it_was():
        from llama_index.readers.file import PDFReader  # type: ignore[import-untyped]

        try:
            pages = PDFReader().load_data(path)
        except Exception as error:  # noqa: BLE001 - a broken file can make pypdf raise anything
            raise InputError(f"{path}: not a PDF that can be read ({_cause(error)})", "mend or decrypt it") from None
    text = "\n\n".join(page.text for page in pages)
    if not text.strip():
        raise InputError(f"{path}: the PDF holds no text", "if its pages are scanned, run a text recognition first")
    return _BROKEN_TEXT.sub("\ufffd", text)  # left by fonts without a character table; nobody could mend the file


def _read_docx(path: Path) -> str:
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as parts:
            unpacked = sum(part.file_size for part in parts.infolist() if part.filename.endswith(".xml"))
        if unpacked > _WORD_LIMIT:
            raise InputError(f"{path}: unpacks to {unpacked:,} bytes", "is it a document at all?")
        with _logging_as_it_was():
            from llama_index.readers.file import DocxReader

            return str(DocxReader().load_data(path)[0].text)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - zip and XML readers raise a dozen kinds of error
        raise InputError(f"{path}: not a Word document that can be read ({_cause(error)})", "mend it") from None


def _cause(error: Exception) -> str:
    attempt = getattr(error, "last_attempt", None)  # llama_index tries three times and wraps what the last one raised
    return str(attempt.exception() if attempt else error)


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    """Importing llama_index's readers configures the root logger, and pypdf reports there what we raise as an error."""
    root, pypdf = logging.getLogger(), logging.getLogger("pypdf")
    before = root.level, root.handlers[:], pypdf.level
    pypdf.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
        pypdf.setLevel(before[2])
