"""Prompts as files: text with slots, parsed once and filled by concatenation, so that data stays data.

Braces and template marks in a document or a question reach the model as they are: what fills a slot is never looked at
for slots again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ragloom.errors import ConfigError
from ragloom.types import content_id

_HEADING = re.compile(r"## (.*?)\s*")
_SLOT = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Section:
    """The text under one `## name` heading of a prompt file, without the blank lines around it.

    Attributes:
        source: the file.
        line: of the heading, from 1.
        text_line: of the first line of the text.
    """

    name: str
    text: str
    source: str
    line: int
    text_line: int

    def error(self, problem: str, remedy: str) -> ConfigError:
        """A ConfigError that names the file and the line of the heading."""
        return ConfigError(f"{self.source}, line {self.line}: {problem}", remedy)


def read_sections(path: str | Path, names: Collection[str]) -> list[Section]:
    """The sections of a prompt file, in its order. What stands before the first heading is a comment.

    Raises:
        ConfigError: the file cannot be read, or a heading is none of `names`.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the prompt file {path}: {error}") from None
    headings = [(number, match[1]) for number, line in enumerate(lines) if (match := _HEADING.fullmatch(line))]
    ends = [number for number, _ in headings[1:]] + [len(lines)]
    sections = []
    for (start, name), end in zip(headings, ends, strict=False):
        body = "\n".join(lines[start + 1 : end])
        text = body.lstrip("\n")
        sections.append(Section(name, text.rstrip("\n"), str(path), start + 1, start + 2 + len(body) - len(text)))
    for section in sections:
        if section.name not in names:
            raise section.error(
                f"there is no section '## {section.name}'", f"the sections are {', '.join(sorted(names))}"
            )
    return sections


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a template, written `{name}` in the file."""

    name: str


@dataclass(frozen=True, slots=True)
class Template:
    """Text with slots."""

    parts: tuple[str | Slot, ...]

    @classmethod
    def parse(cls, section: Section, *, required: Collection[str] = (), optional: Collection[str] = ()) -> Template:
        """The section's text, in which `{word}` is a slot and every other brace is itself.

        Raises:
            ConfigError: a slot that is neither required nor optional, or a required one that is missing.
        """
        pieces = _SLOT.split(section.text)  # text and slot names take turns
        slots = pieces[1::2]
        for name in slots:
            if name not in required and name not in optional:
                known = ", ".join(f"{{{slot}}}" for slot in (*required, *optional)) or "none"
                line = section.text_line + section.text[: section.text.index(f"{{{name}}}")].count("\n")
                raise ConfigError(
                    f"{section.source}, line {line}: there is no slot {{{name}}} in a '## {section.name}'",
                    f"the slots there are: {known}",
                )
        for name in required:
            if name not in slots:
                raise section.error(f"'## {section.name}' lacks the slot {{{name}}}", "write it where the data belongs")
        parts = (Slot(piece) if place % 2 else piece for place, piece in enumerate(pieces))
        return cls(tuple(part for part in parts if part))

    @property
    def slots(self) -> frozenset[str]:
        """Names of the slots."""
        return frozenset(part.name for part in self.parts if isinstance(part, Slot))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with a value for each slot."""
        return "".join(part if isinstance(part, str) else values[part.name] for part in self.parts)


def fence(data: Iterable[str], *, length: int = 4) -> str:
    """A short tag that occurs nowhere in the data, to mark what is prompt and what is data.

    It is derived from the data, so that equal questions make equal prompts, which can be cached; and no text can hold
    its own tag, however it was written, because a tag found in the data is passed over.
    """
    texts = tuple(data)
    # Longer after a while: a text of some megabytes holds every tag of four digits.
    tags = (content_id(str(attempt), *texts)[: length + attempt // 16] for attempt in count())
    return next(tag for tag in tags if not any(tag in text for text in texts))
