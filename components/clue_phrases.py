"""Clues without a model: names and phrases of the entries that fit the question (pseudo-relevance feedback).

What the question only describes is often named where it is described. So the entries that share its words are looked
up, and what they name that the question does not is searched for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from math import log
from typing import Literal

from ragloom.components.clue_reading import repeats
from ragloom.components.clues import Clue, Clues
from ragloom.components.memory import Entry, Memory
from ragloom.components.tokenizing import STOP_WORDS, Tokenizer
from ragloom.run import span

_SPOKEN = re.compile(r"\w+(?:[-.'\u2019&]\w+)*")
_WITHIN = re.compile(r"[\w,;:][ \"'(\u2018-\u201f]*$")  # what a word within a sentence stands behind
_stems = Tokenizer()


def capitalised_runs(text: str) -> Iterator[str]:
    """Runs of capitalised words with nothing but blanks between them, as they are written.

    A stop word begins and ends none, and a word at the start of a sentence is a run only with a second one.

    >>> list(capitalised_runs("The cellist Tamsin Orrell lives in Ashby. Critics like her."))
    ['Tamsin Orrell', 'Ashby']
    """
    run: list[re.Match[str]] = []
    for word in _SPOKEN.finditer(text):
        if run and text[run[-1].end() : word.start()].strip(" "):
            yield from _name(text, run)
            run = []
        if word[0][0].isupper() and word[0].lower() not in STOP_WORDS:
            run.append(word)
        elif run:
            yield from _name(text, run)
            run = []
    yield from _name(text, run)


def _name(text: str, run: list[re.Match[str]]) -> Iterator[str]:
    if len(run) > 1 or (run and _WITHIN.search(text, max(0, run[0].start() - 8), run[0].start())):
        yield text[run[0].start() : run[-1].end()]


@dataclass(frozen=True)
class PhraseClues:
    """A ClueMaker that takes names and phrases from the entries that fit the question best; asks no model.

    Candidates are the titles of the entries, the names in them, and their runs of at most `phrase_words` content words.
    What holds no word besides those of the question is left out. A candidate counts, for every entry that has it, its
    occurrences times the mean inverse document frequency (over the memory) of its words that the question lacks,
    divided by the rank of the entry; a name or title `name_weight` times that. Ties are in the order of the entries
    and their texts.

    Args:
        entries: how many of the memory's entries are looked at, best first.
        most: clues.
        phrase_words: longest phrase that is no name; 0 for names and titles alone.
        name_weight: how much more a name counts than a phrase.
        query: what a clue is: the phrase alone, or with the words of the question behind it.
        names: of a text, as they are written in it.
    """

    _: KW_ONLY
    entries: int = 3
    most: int = 5
    phrase_words: int = 2
    name_weight: float = 3.0
    query: Literal["phrase", "phrase and question"] = "phrase"
    names: Callable[[str], Iterable[str]] = capitalised_runs
    _table: list[_Frequencies] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("entries", 1), ("most", 1), ("phrase_words", 0), ("name_weight", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.query not in ("phrase", "phrase and question"):
            raise ValueError(f"query must be 'phrase' or 'phrase and question', got {self.query!r}")

    def __call__(self, query: str, memory: Memory, /) -> Clues:
        """The best candidates, best first; no draft."""
        with span("phrases") as attributes:
            places = memory.search(query, self.entries)
            scores = self._scores(query, [memory.entries[place] for place in places], self._frequencies(memory))
            kept: list[str] = []
            for phrase in sorted(scores, key=lambda phrase: -scores[phrase]):  # stable
                if len(kept) < self.most and not self._is_covered(phrase, kept):
                    kept.append(phrase)
            attributes |= {"shown": len(places), "candidates": len(scores), "kept": len(kept)}
        behind = "" if self.query == "phrase" else f" {query}"
        return Clues(tuple(Clue(phrase + behind, "phrase") for phrase in kept))

    def _scores(self, query: str, entries: list[Entry], frequencies: _Frequencies) -> dict[str, float]:
        asked = frozenset(_stems(query))
        scores: dict[str, float] = {}
        for rank, entry in enumerate(entries, 1):
            for phrase, weight in self._candidates(entry):
                new = set(_stems(phrase)) - asked
                if new:
                    rarity = sum(map(frequencies.inverse, sorted(new))) / len(new)
                    scores[phrase] = scores.get(phrase, 0.0) + weight * rarity / rank
        return scores

    def _candidates(self, entry: Entry) -> Iterator[tuple[str, float]]:
        """Names and phrases of an entry, as often as they occur, with their weights."""
        if entry.title:
            yield entry.title, self.name_weight
        for name in self.names(entry.text):
            yield name, self.name_weight
        for phrase in _phrases(entry.text, self.phrase_words):
            yield phrase, 1.0

    def _is_covered(self, phrase: str, kept: list[str]) -> bool:
        """Whether its words stand in a better one, or it is like one."""
        stems = set(_stems(phrase))
        return repeats(phrase, kept) or any(stems <= set(_stems(other)) for other in kept)

    def _frequencies(self, memory: Memory) -> _Frequencies:
        """Those of the memory; the last one's are kept, since nearly always there is one."""
        known = next((table for table in self._table if table.memory is memory), None)
        if known is None:
            known = _Frequencies.of(memory)
            self._table[:] = [known]
        return known


@dataclass(frozen=True, eq=False)
class _Frequencies:
    """In how many entries of a memory each word stands."""

    memory: Memory
    entries_with: Counter[str]

    @classmethod
    def of(cls, memory: Memory) -> _Frequencies:
        counts: Counter[str] = Counter()
        for entry in memory.entries:
            counts.update(set(_stems(f"{entry.title}\n{entry.text}")))
        return cls(memory, counts)

    def inverse(self, stem: str) -> float:
        """The inverse document frequency of a word, above 0."""
        return log(1 + (len(self.memory.entries) + 1) / (self.entries_with[stem] + 1))


def _phrases(text: str, longest: int) -> Iterator[str]:
    """Runs of content words, of every length up to the longest, as they are written."""
    run: list[re.Match[str]] = []
    for word in _SPOKEN.finditer(text):
        if word[0].lower() in STOP_WORDS:
            run = []
            continue
        if run and text[run[-1].end() : word.start()].strip(" "):
            run = []
        run.append(word)
        for length in range(1, min(longest, len(run)) + 1):
            yield text[run[-length].start() : word.end()]
