"""Text, JSON, JSONL, CSV and TSV files, read strictly: an error names file and line, nothing is silently dropped.

Text is UTF-8 and kept exactly as read, line ends included; only a byte order mark at the start of the file goes.
"""

from __future__ import annotations

import csv
import json
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import float_info
from typing import Any, BinaryIO, NoReturn, TypeGuard

from ragloom.errors import InputError

Fields = dict[str, Any]  # Any: whatever JSON can hold

# Told of everything that cannot be used: raises to stop there, or notes it and returns to go on without it.
Reject = Callable[[InputError], None]

RECORD_FILES = {".json", ".jsonl", ".csv", ".tsv"}

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number", float: "a number"}


def stop(error: InputError) -> NoReturn:
    """A `Reject` that stops at the first error."""
    raise error


@dataclass(frozen=True, slots=True)
class Record:
    """A line of a JSONL file, an object of a JSON file or a row of a CSV file.

    Attributes:
        fields: by name.
        place: where it stands, for messages: `corpus.jsonl, line 3`.
    """

    fields: Fields
    place: str

    def error(self, problem: str, remedy: str = "") -> InputError:
        """An error that names the place."""
        return InputError(f"{self.place}: {problem}", remedy)

    def string(self, name: str, default: str | None = None) -> str:
        """The field, which must be a string; the default, unless that is None, where it is missing or null."""
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.error(f"the field {name!r} must be a string, found {self._found(name)}")
        return value

    def strings(self, name: str) -> list[str]:
        """The field, which must be a list of strings."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise self.error(f"the field {name!r} must be a list of strings, found {self._found(name)}")
        return value

    def number(self, name: str) -> float:
        """The field, which must be a number that is a finite float."""
        value = self.fields.get(name)
        if not _is_number(value):
            raise self.error(f"the field {name!r} must be a finite number, found {self._found(name)}")
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """The field, which must be a list of numbers that are finite floats."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(map(_is_number, value)):
            raise self.error(f"the field {name!r} must be a list of finite numbers, found {self._found(name)}")
        return tuple(value)

    def inner(self, name: str) -> Record:
        """The field, which must be an object, as a record."""
        value = self.fields.get(name)
        if not isinstance(value, dict):
            raise self.error(f"the field {name!r} must be an object, found {self._found(name)}")
        return Record(value, f"{self.place}, {name}")

    def parts(self, name: str) -> list[Record]:
        """The field, which must be a list of objects, as records."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self.error(f"the field {name!r} must be a list of objects, found {self._found(name)}")
        return [Record(entry, f"{self.place}, {name}[{position}]") for position, entry in enumerate(value)]

    def id(self) -> str | None:
        """What stands under `id` or `_id`, a string or a whole number; None where there is neither."""
        name = next((name for name in ("id", "_id") if self.fields.get(name) is not None), None)
        if name is None:
            return None
        value = self.fields[name]
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise self.error(f"the field {name!r} must be a string or a whole number, found {self._found(name)}")
        return str(value)

    def without(self, *names: str) -> Fields:
        """The fields but for these."""
        return {name: value for name, value in self.fields.items() if name not in names}

    def _found(self, name: str) -> str:
        if name not in self.fields:
            return "no such field"
        value = self.fields[name]
        if isinstance(value, str) and not value.strip():
            return "an empty one"
        if isinstance(value, list):
            return "a list that holds " + (", ".join(sorted({kind(entry) for entry in value})) or "nothing")
        return kind(value)


def _is_number(value: object) -> TypeGuard[float]:
    # compared, not converted: an integer of JSON may be too large for a float
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= float_info.max


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    return _KINDS.get(type(value), "null")


def read_records(path: Path, reject: Reject = stop) -> Iterator[Record]:
    """The records of a file, by its extension.

    JSONL, CSV and TSV are read line by line. JSON is a list of objects, or one object, which is then the only record.
    The first row of CSV and TSV names the columns.

    Args:
        path: a file with one of the extensions in `RECORD_FILES`.
        reject: gets the errors of single records.

    Raises:
        InputError: the file cannot be read, is not of its format, or holds no record.
    """
    read = {".json": _read_json, ".jsonl": _read_jsonl, ".csv": _read_csv, ".tsv": _read_csv}[path.suffix.lower()]
    empty = True
    for entry in read(path):
        empty = False
        try:
            record = _usable(entry)
        except InputError as error:
            reject(error)
        else:
            yield record
    if empty:
        raise InputError(f"{path}: holds no records", "remove the file or fill it")


def read_object(path: Path) -> Record:
    """The object that a JSON file holds, with strings that may not be storable as they are.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    found = _object(_read_value(path), str(path))
    if isinstance(found, InputError):
        raise found
    return found


def read_text(path: Path) -> str:
    """The whole file.

    Raises:
        InputError: it cannot be read, is not valid UTF-8, or holds a NUL character.
    """
    with open_file(path) as file:
        text = _decode(file.read(), str(path)).removeprefix("\ufeff")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}, line {line}: holds a NUL character", "is it a text file?")
    return text


def open_file(path: Path) -> BinaryIO:
    """The file, opened for reading bytes.

    Raises:
        InputError: it is missing, no regular file (reading a pipe would wait for ever), or may not be read.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is {_special(mode)}, not a file", "name a regular file")
        return path.open("rb")
    except OSError as error:
        raise cannot_read(path, error) from None


def cannot_read(path: Path, error: OSError) -> InputError:
    """The error of a file or folder that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no file or folder {path}", "check the path")
    return InputError(f"cannot read {path}: {error.strerror or error}", "check the file and its permissions")


def _special(mode: int) -> str:
    names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a device")


def _decode(data: bytes, place: str, offset: int = 0) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{place}: byte {offset + error.start} (0x{data[error.start]:02x}) is not valid UTF-8",
            "save the file as UTF-8",
        ) from None


# ---- Formats: each yields records, and the errors of single ones in their place


def _read_jsonl(path: Path) -> Iterator[Record | InputError]:
    offset = 0
    with open_file(path) as file:
        for number, data in enumerate(file, 1):  # only LF ends a line: JSON strings may hold other line ends
            place = f"{path}, line {number}"
            try:
                line = _decode(data, place, offset)
                line = line.removeprefix("\ufeff") if number == 1 else line
                if line.strip():
                    yield _object(_parse(line.rstrip(), place), place)
            except InputError as error:
                yield error
            offset += len(data)


def _read_json(path: Path) -> Iterator[Record | InputError]:
    value = _read_value(path)
    if isinstance(value, dict):
        yield Record(value, str(path))
        return
    if not isinstance(value, list):
        raise InputError(f"{path}: expected a list of objects or one object, found {kind(value)}")
    for number, entry in enumerate(value, 1):
        place = f"{path}, record {number}"
        yield _object(entry, place)


def _read_value(path: Path) -> Any:
    with open_file(path) as file:
        return _parse(_decode(file.read(), str(path)).removeprefix("\ufeff"), str(path), lines=True)


def _read_csv(path: Path) -> Iterator[Record | InputError]:
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is less than a long document
    with open_file(path) as file:
        rows = csv.reader(_csv_lines(path, file), delimiter="\t" if _has_tabs(path) else ",", strict=True)
        try:
            names = _column_names(path, next(rows, []))
            for row in rows:
                record = Record(dict(zip(names, row, strict=False)), f"{path}, line {rows.line_num}")
                if len(row) == len(names):
                    yield record
                elif row:
                    yield record.error(f"{len(row)} fields in {len(names)} columns", "quote fields that hold a comma")
        except csv.Error as error:
            raise InputError(f"{path}, line {rows.line_num}: {error}", "mend the quoting") from None


def _csv_lines(path: Path, file: BinaryIO) -> Iterator[str]:
    offset = 0
    for number, data in enumerate(file, 1):
        line = _decode(data, f"{path}, line {number}", offset)
        yield line.removeprefix("\ufeff") if number == 1 else line
        offset += len(data)


def _has_tabs(path: Path) -> bool:
    return path.suffix.lower() == ".tsv"


def _column_names(path: Path, names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise InputError(f"{path}, line 1: a column name appears twice", "give each column its own name")
    if len(names) == 1 and re.search(r"[;\t]", names[0]):
        raise InputError(f"{path}, line 1: one column only, {names[0]!r}", "separate the columns by commas")
    return names


def _object(value: Any, place: str) -> Record | InputError:
    if isinstance(value, dict):
        return Record(value, place)
    return InputError(f"{place}: expected an object, found {kind(value)}")


def _parse(text: str, place: str, *, lines: bool = False) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f", line {error.lineno}" if lines else ""
        raise InputError(f"{place}{where}: not valid JSON at column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists in lists in lists
        raise InputError(f"{place}: not usable JSON: {error}") from None


def _fields(pairs: list[tuple[str, Any]]) -> Fields:
    fields = dict(pairs)
    if len(fields) != len(pairs):  # json keeps the last one; in a corpus keyed by title that loses a passage
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice[:80]!r} appears twice in one object")
    return fields


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_fields, parse_constant=_no_number)


def _usable(entry: Record | InputError) -> Record:
    """The record, unless it is an error or holds text that cannot be stored."""
    if isinstance(entry, InputError):
        raise entry
    for name, value in entry.fields.items():
        for text in (name, *_strings(value)):
            if bad := _UNSTORABLE.search(text):
                what = "a NUL character" if bad[0] == "\0" else f"half a surrogate pair (U+{ord(bad[0]):04X})"
                raise entry.error(f"the field {name[:80]!a} holds {what}", "mend or remove it")
    return entry


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _strings(entry)
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield name
            yield from _strings(entry)
