"""What an extractor finds in a chunk: entities and triples, and the node name of a phrase."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Protocol

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
        dropped: number of malformed entities and triples that were left out.
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


def normalise(phrase: str) -> str:
    """The phrase's node name: case folded, in words of letters, digits and their marks, single spaces between.

    Compatibility forms are one (NFKC), since documents write the same name with both. Empty where nothing is left.

    >>> normalise("The  Beatles' “Ob-La-Di”")
    'the beatles ob la di'
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", phrase).casefold())
    return " ".join(folded.translate(_WORDS_ONLY).split())


class _WordsOnly(dict[int, str]):
    """For `str.translate`: a letter, digit or mark (Indic vowels are marks) to itself, all else to a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = character if character.isalnum() or unicodedata.category(character)[0] == "M" else " "
        self[code] = kept
        return kept


_WORDS_ONLY = _WordsOnly()
