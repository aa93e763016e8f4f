"""What an extractor finds in a chunk: entities and triples, and the node name of a phrase."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ragloom.types import Chunk


@dataclass(frozen=True, slots=True)
class Triple:
    """A statement of a chunk, in its words: who, what about it, and whom or what."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """What an extractor found in one chunk.

    Attributes:
        entities: surface forms in the order of the text, repeated where mentioned again.
        triples: in the extractor's order.
        dropped: number of entities and triples that were left out, malformed or not from the chunk.
    """

    entities: tuple[str, ...] = ()
    triples: tuple[Triple, ...] = ()
    dropped: int = 0


class Extractor(Protocol):
    """Finds entities and triples in a chunk. Safe to call from several threads; equal chunks give equal extractions."""

    @property
    def identity(self) -> str:
        """Recorded in the index: the extractor's name and everything else that its extractions depend on."""
        ...

    def __call__(self, chunk: Chunk, /) -> Extraction:
        """The chunk's extraction.

        Raises:
            LLMError: the model could not be asked, or its reply is of no use.
        """
        ...


LONGEST_PHRASE = 1000  # characters; what is longer names nothing


def extraction_of(entities: Sequence[Any], triples: Sequence[Any]) -> Extraction:
    """What a model wrote as JSON, without what is malformed.

    A number is taken as it is written, a list in a list for its elements. A phrase is one line of visible characters, a
    triple three phrases; each must keep something when it is normalised.
    """
    named = [_phrase(value) for value in _flat(entities, depth=1)]
    stated = [_triple(value) for value in _flat(triples, depth=2)]
    kept = tuple(phrase for phrase in named if phrase is not None)
    found = tuple(triple for triple in stated if triple is not None)
    return Extraction(kept, found, len(named) + len(stated) - len(kept) - len(found))


def extraction_to_json(extraction: Extraction) -> dict[str, Any]:
    """The extraction as JSON data."""
    triples = [[triple.subject, triple.relation, triple.object] for triple in extraction.triples]
    return {"entities": list(extraction.entities), "triples": triples, "dropped": extraction.dropped}


def extraction_from_json(data: Mapping[str, Any]) -> Extraction:
    """The extraction that `extraction_to_json` made the data of."""
    return Extraction(tuple(data["entities"]), tuple(Triple(*parts) for parts in data["triples"]), data["dropped"])


def _flat(values: Sequence[Any], *, depth: int) -> Iterator[Any]:
    """The values at that depth of lists in lists, which may lie deeper than they should."""
    waiting = list(reversed(values))
    while waiting:
        value = waiting.pop()
        if isinstance(value, list) and (depth == 1 or (value and all(isinstance(inner, list) for inner in value))):
            waiting += reversed(value)
        else:
            yield value


def _triple(value: Any) -> Triple | None:
    if not isinstance(value, list) or len(value) != 3:
        return None
    parts = [phrase for phrase in map(_phrase, value) if phrase is not None]
    return Triple(*parts) if len(parts) == 3 else None


def _phrase(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    phrase = str(value)
    if len(phrase) > LONGEST_PHRASE:
        return None
    visible = "".join(character if character.isprintable() else " " for character in phrase)
    phrase = " ".join(visible.split())
    return phrase if normalise(phrase) else None


def normalise(phrase: str) -> str:
    """The phrase's node name: case folded, in words of letters, digits and their marks, single spaces between.

    Compatibility forms are one (NFKD), and so are Latin, Greek and Cyrillic letters with and without their accents,
    since documents write the same name in all these ways. Empty where nothing is left.

    >>> normalise("The  Beatles' “Ob-La-Dí”")
    'the beatles ob la di'
    """
    if not phrase.isascii():
        phrase = unicodedata.normalize("NFC", _NOT_ASCII.sub(_fold, phrase))
    return " ".join(phrase.encode().translate(_ASCII_WORDS).decode().split())


_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_ASCII_WORDS = bytes(code if code >= 128 or chr(code).isalnum() else ord(" ") for code in range(256)).lower()


class _Folded(dict[int, str]):
    """For `str.translate`: a character, folded, without what is no letter, digit or mark (Indic vowels are marks)."""

    def __missing__(self, code: int) -> str:
        parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())
        self[code] = "".join(map(_in_words, parts))
        return self[code]


_FOLDED = _Folded()


def _fold(run: re.Match[str]) -> str:
    return run[0].translate(_FOLDED)


def _in_words(character: str) -> str:
    if "\u0300" <= character <= "\u036f":  # the accents of Latin, Greek and Cyrillic have a block of their own
        return ""
    return character if character.isalnum() or unicodedata.category(character)[0] == "M" else " "
