"""Clues without a model: names and phrases of sentences that fit the question (pseudo-relevance feedback).

What the question only describes is often named where it is described. So the sentences of a memory that share its words
are looked up, and what they name that the question does not is searched for.
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
from ragloom.components.sentences import sentences
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
    """A ClueMaker that takes names and phrases from the sentences that fit the question best; asks no model.

    Of the entries that fit the question, those sentences are looked at whose words, with those of their headings, have
    most of the question's: by the sum of the inverse document frequencies (over the memory) of the words they share.
    A heading is the title of an entry about one thing, or the title that begins a line of an entry about several.

    Candidates are the headings, the names in the sentences, and their runs of at most `phrase_words` content words.
    What holds no word besides those of the question is left out. A candidate counts, for every sentence that has it,
    the fit of the sentence times the mean inverse document frequency of the words that the question lacks, by its rank;
    a name or heading `name_weight` times that. Ties are in the order of the sentences and their words.

    Measured by `benchmarks/implicit_questions.py`: names of whole entries, which are of several passages, lead astray.

    Args:
        entries: how many of the memory's entries are looked at, best first.
        sentences: how many of their sentences.
        most: clues.
        phrase_words: longest phrase that is no name; 0 for names and headings alone.
        name_weight: how much more a name counts than a phrase.
        query: what a clue is: the phrase with the question behind it, which finds what is asked about it, or the phrase
            alone.
        names: of a text, as they are written in it.
    """

    _: KW_ONLY
    entries: int = 10
    sentences: int = 5
    most: int = 5
    phrase_words: int = 2
    name_weight: float = 3.0
    query: Literal["phrase", "phrase and question"] = "phrase and question"
    names: Callable[[str], Iterable[str]] = capitalised_runs
    _table: list[_Frequencies] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, least in (("entries", 1), ("sentences", 1), ("most", 1), ("phrase_words", 0), ("name_weight", 0)):
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
        for rank, (heading, sentence, fit) in enumerate(self._best(asked, entries, frequencies), 1):
            for phrase, weight in self._candidates(heading, sentence):
                new = set(_stems(phrase)) - asked
                if new:
                    rarity = frequencies.rarity(new) / len(new)
                    scores[phrase] = scores.get(phrase, 0.0) + fit * weight * rarity / rank
        return scores

    def _best(
        self, asked: frozenset[str], entries: list[Entry], frequencies: _Frequencies
    ) -> list[tuple[str, str, float]]:
        """The sentences that fit best, with their headings and how well they fit."""
        found = dict.fromkeys(pair for entry in entries for pair in _headed(entry))
        fits = [
            (heading, text, frequencies.rarity(asked.intersection(_stems(f"{heading}\n{text}"))))
            for heading, text in found
        ]
        return sorted(fits, key=lambda fit: -fit[2])[: self.sentences]  # stable

    def _candidates(self, heading: str, sentence: str) -> Iterator[tuple[str, float]]:
        """Names and phrases of a sentence, as often as they occur, with their weights."""
        if heading:
            yield heading, self.name_weight
        for name in self.names(sentence):
            yield name, self.name_weight
        for phrase in _phrases(sentence, self.phrase_words):
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

    def rarity(self, stems: Iterable[str]) -> float:
        """The sum of the inverse document frequencies of words, each above 0."""
        entries = len(self.memory.entries) + 1
        return sum(log(1 + entries / (self.entries_with[stem] + 1)) for stem in sorted(stems))  # as always rounded


def _headed(entry: Entry) -> Iterator[tuple[str, str]]:
    """The sentences of an entry, each with its heading; without one where it could be from any of several passages."""
    titles = entry.title.split("; ")
    for line in entry.text.splitlines():
        begun = next((title for title in titles if line.startswith(f"{title}: ")), "")
        heading = begun or (entry.title if len(titles) == 1 else "")
        for sentence in sentences(line.removeprefix(f"{begun}: ") if begun else line):
            yield heading, sentence


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
