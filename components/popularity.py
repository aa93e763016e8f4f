"""How well known what a question asks about is: models know the popular, and retrieval mends the rest.

The gate of Mallen et al. (arXiv:2212.10511) and its threshold. Popularity is a count for each name: monthly page views
where there are any, else in how many documents of the corpus the name stands.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, log10, nan
from pathlib import Path
from typing import Self
from unicodedata import normalize

import numpy as np

from ragloom.components.gate_rules import Threshold
from ragloom.components.gating import Capability, Decision, Observation
from ragloom.components.records import Record, read_records
from ragloom.components.tokenizing import STOP_WORDS, searchable
from ragloom.types import Chunk, content_id

_FEATURE = "popularity_log"
_WORD = re.compile(r"\w+")


class Popularity:
    """A Signal: the popularity of what the question asks about, log10(1 + count), from a table of names.

    What it asks about is the longest name, in words, that stands in the question, whatever its capitals. Names that are
    capitalised there go before all others, for tables have many that are also words: Genre in "What genre is Train?".
    Of equally long ones it is the least popular, and so it is where the table has one name twice. Names of nothing but
    stop words ("It") are passed over, since they stand in questions about anything. NaN where no name is found: rules
    then retrieve.

    Args:
        table: a count of 0 or more for each name.

    Raises:
        ValueError: a count is negative or not finite.
    """

    def __init__(self, table: Mapping[str, float]) -> None:
        counts: dict[str, float] = {}
        for name, count in table.items():
            if not 0 <= count < inf:
                raise ValueError(f"a count must be 0 or more, got {count} for {name!r}")
            if key := _key(name):
                counts[key] = min(count, counts.get(key, inf))
        self._counts = counts
        self._names = _Names(counts)
        self._identity = content_id(*(f"{name} {float(counts[name])}" for name in sorted(counts)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """The popularity of a JSON, JSONL, CSV or TSV file whose records have a `name` and a `count`.

        Raises:
            InputError: the file cannot be read, or a record has no name or no usable count; names the record.
        """
        table: dict[str, float] = {}
        for record in read_records(path):
            name = record.string("name")
            table[name] = min(_count(record), table.get(name, inf))
        return cls(table)

    @property
    def needs(self) -> frozenset[Capability]:
        """A table of popularities."""
        return frozenset(("popularity",))

    @property
    def features(self) -> tuple[str, ...]:
        """Its one name."""
        return (_FEATURE,)

    @property
    def identity(self) -> str:
        """A hash of the table."""
        return self._identity

    def __call__(self, question: str, /) -> Observation:
        """The popularity."""
        name, _ = self._linked(question)
        return Observation({_FEATURE: log10(1 + self._counts[name]) if name else nan})

    def relation(self, question: str) -> str:
        """The question's wording around what it asks about, which stands for a relation; empty where that is unknown.

        >>> Popularity({"Jaws": 90_000}).relation("Who was the director of Jaws?")
        'who was the director of _'
        """
        return self._linked(question)[1]

    def _linked(self, question: str) -> tuple[str, str]:
        """The name that the question asks about, and the wording around it; empty where there is none."""
        spelt = _spelt(question)
        words = [word.lower() for word in spelt]

        def rank(found: tuple[str, int, int]) -> tuple[bool, int, float, int]:
            name, start, end = found
            inner = spelt[max(start, 1) : end]  # the question's first word has a capital whatever it is
            return not any(word[0].isupper() for word in inner), start - end, self._counts[name], start

        name, start, end = min(self._names(words), key=rank, default=("", 0, 0))
        return name, " ".join((*words[:start], "_", *words[end:])) if name else ""


def corpus_popularity(chunks: Iterable[Chunk]) -> Popularity:
    """The popularity of titles: in how many documents of the corpus each stands, its own included.

    For where there are no page views. What many texts mention, a model has read of more often than what one text does,
    and it answers accordingly (arXiv:2211.08411). A title counts without its closing parenthesis: Brand (play).
    """
    chunks = list(chunks)
    names = _Names(filter(None, (_key(re.sub(r"\s*\([^()]*\)\s*$", "", chunk.title)) for chunk in chunks)))
    mentioned: defaultdict[str, set[str]] = defaultdict(set)
    for chunk in chunks:
        mentioned[chunk.document_id or chunk.id].update(name for name, _, _ in names(_lower_words(searchable(chunk))))
    return Popularity(Counter(name for found in mentioned.values() for name in found))


# ---- Where to stop retrieving


def popularity_bound(
    popularity: Sequence[float], right_direct: Sequence[float], right_retrieved: Sequence[float]
) -> float:
    """Below which popularity to retrieve, so that most of the questions are answered right.

    The rule of Mallen et al. (section 6): of the edges of ten bins that hold as many questions each, the one with the
    most right answers, retrieved below it and direct from it on. The first and the last bin are open: -inf is never to
    retrieve, inf is always. Of equal edges the lowest, which retrieves least. Pass one relation's questions at a time
    for a bound of its own.

    Args:
        popularity: of each question, on the scale of the bound; NaN where unknown, which no bound changes.
        right_direct: how right each answer without retrieval is, from 0 to 1.
        right_retrieved: how right each answer with retrieval is.

    Raises:
        ValueError: the lengths differ, or no popularity is known.
    """
    known, direct, retrieved = (np.asarray(row, np.float64) for row in (popularity, right_direct, right_retrieved))
    if not len(known) == len(direct) == len(retrieved):
        raise ValueError(f"expected a value for each question, got {len(known)}, {len(direct)} and {len(retrieved)}")
    if np.isnan(known).all():
        raise ValueError("the popularity of no question is known")
    edges: list[float] = [-inf, *np.nanquantile(known, np.arange(1, 10) / 10).tolist(), inf]
    gains = [float((retrieved - direct)[known < edge].sum()) for edge in edges]
    return edges[int(np.argmax(gains))]


@dataclass(frozen=True)
class PopularityBounds:
    """A Rule that retrieves below a bound of popularity, which is another for each relation.

    Attributes:
        relation: of a question, e.g. `Popularity.relation`.
        bounds: by relation.
        otherwise: for relations that have none.
    """

    relation: Callable[[str], str]
    bounds: Mapping[str, float]
    otherwise: float

    @classmethod
    def fit(
        cls,
        relation: Callable[[str], str],
        questions: Sequence[str],
        popularity: Sequence[float],
        right_direct: Sequence[float],
        right_retrieved: Sequence[float],
        *,
        fewest: int = 10,
    ) -> Self:
        """The bounds that are best on labelled questions; see `popularity_bound`.

        Args:
            relation: of a question.
            questions: their texts.
            popularity: of each question; NaN where unknown.
            right_direct: how right each answer without retrieval is.
            right_retrieved: how right each answer with retrieval is.
            fewest: questions of known popularity that a relation needs for a bound of its own: one for each bin.
        """
        rows: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for question, *row in zip(questions, popularity, right_direct, right_retrieved, strict=True):
            if not isnan(row[0]):
                rows[relation(question)].append((row[0], row[1], row[2]))
        bounds = {
            name: popularity_bound(*zip(*group, strict=True)) for name, group in rows.items() if len(group) >= fewest
        }
        return cls(relation, bounds, popularity_bound(popularity, right_direct, right_retrieved))

    @property
    def features(self) -> tuple[str, ...]:
        """The popularity."""
        return (_FEATURE,)

    def __call__(self, question: str, features: Mapping[str, float], /) -> Decision:
        """Retrieve once, or `none`; retrieve where the popularity is unknown."""
        bound = self.bounds.get(self.relation(question), self.otherwise)
        return Threshold(_FEATURE, bound, side="below")(question, features)


# ---- Names


class _Names:
    """Finds names in a sequence of words.

    Args:
        names: lower-case words with blanks between them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._lengths: defaultdict[str, set[int]] = defaultdict(set)  # in words, by first word
        for name in self._names:
            first, *others = name.split()
            self._lengths[first].add(len(others) + 1)

    def __call__(self, words: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        """Every name that stands there, also within another, with its first word's place and that behind its last."""
        for start, word in enumerate(words):
            for length in self._lengths.get(word, ()):
                end = start + length
                if end <= len(words) and (name := " ".join(words[start:end])) in self._names:
                    yield name, start, end


def _key(name: str) -> str:
    """The name's words; empty for one that names nothing alone."""
    words = _lower_words(name)
    return "" if STOP_WORDS.issuperset(words) else " ".join(words)


def _spelt(text: str) -> list[str]:
    """The words of a text, composed (NFC), with their capitals."""
    return _WORD.findall(normalize("NFC", text))


def _lower_words(text: str) -> list[str]:
    return [word.lower() for word in _spelt(text)]


def _count(record: Record) -> float:
    value = record.fields.get("count")
    try:
        count = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else nan
    except (ValueError, OverflowError):  # a whole number of JSON may have hundreds of digits
        count = nan
    if not (isfinite(count) and count >= 0):
        raise record.error(f"the field 'count' must be a number of 0 or more, found {value!r:.80}")
    return count
