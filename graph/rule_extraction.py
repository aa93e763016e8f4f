"""Entities by rules: runs of capitalised words, quick and without a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from ragloom.graph.extraction import Extraction, normalise
from ragloom.graph.naming import COMMON_WORDS, MONTHS_AND_DAYS, is_name
from ragloom.types import Chunk

_JOINT = r"(?:of|the|de|la|von|van|der|du|da|di|del|le|for|in|on|at|&|y|al|el|bin|ibn)"
_SENTENCE_START = re.compile(r"(?:^|[.!?][\"')\]]*\s+|\n\s*)[\"'(\u201c]*$")


@dataclass(frozen=True, slots=True)
class RuleExtractor:
    """An Extractor that takes runs of capitalised words for entities, and finds no triples.

    Words of a run may be joined by a few particles ("Order of the British Empire"). Common words, months and days are
    cut from its ends, and dates are no entities. A single capitalised word at the start of a sentence counts only where
    it is also written with a capital further inside, since there every word has one. In scripts without capitals
    nothing is found.

    >>> RuleExtractor()(Chunk("", "In 1944 Phoebe Atwood Taylor wrote Dead Ernest. Critics praised it.")).entities
    ('Phoebe Atwood Taylor', 'Dead Ernest')
    """

    @property
    def identity(self) -> str:
        """The version of the rules: another one finds other entities."""
        return "rules 1"

    def __call__(self, chunk: Chunk, /) -> Extraction:
        """The chunk's entities; its title is not read, see `ragloom.graph.naming`."""
        inside: set[str] = set()
        found: list[tuple[str, str, bool]] = []
        for run in _runs().finditer(chunk.text):
            words = run[0].split()
            kept = _without_common_ends(words)
            entity = re.sub(r"['\u2019]s$", "", " ".join(kept))
            name = normalise(entity)
            if not is_name(name) or all(word in MONTHS_AND_DAYS or word[0].isdigit() for word in name.split()):
                continue
            opens = len(kept) == 1 == len(words) and _opens_sentence(chunk.text, run.start())
            found.append((entity, name, opens))
            if not opens:
                inside.update(name.split())
        return Extraction(tuple(entity for entity, name, opens in found if not opens or name in inside))


@cache
def _runs() -> re.Pattern[str]:
    # The re module has no class of capital letters, so it is spelled out: those of the basic plane.
    capitals = "".join(chr(code) for code in range(0x10000) if chr(code).isupper())
    word = rf"(?:(?:[A-Z]\.){{1,4}}|[0-9{capitals}][\w\u2019'&-]*)"
    return re.compile(rf"\b{word}(?:(?:\s+{_JOINT})*\s+{word})*")


def _without_common_ends(words: list[str]) -> list[str]:
    first, last = 0, len(words)
    while first < last and (normalise(words[first]) in COMMON_WORDS or (first and words[first].isdigit())):
        first += 1  # a number too, behind a word that was cut: "In 1944 Phoebe Taylor"
    while last > first and normalise(words[last - 1]) in MONTHS_AND_DAYS:
        last -= 1
    return words[first:last]


def _opens_sentence(text: str, start: int) -> bool:
    return _SENTENCE_START.search(text, max(0, start - 6), start) is not None
