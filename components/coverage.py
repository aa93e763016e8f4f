"""What a set of chunks covers of a question: a utility that costs microseconds and no model.

The set function that stands in for CORAG's reranker (arXiv:2411.00744): relevance, less redundancy, plus coverage of
what the question asks for, plus bridges, by which one chunk leads to the next.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import fsum, isfinite, log
from operator import itemgetter, mul

from ragloom.components.combinations import Combination, relevance
from ragloom.components.tokenizing import Tokenizer
from ragloom.types import Chunk, Hit

Names = Callable[[Chunk], Iterable[str]]

NAME_WEIGHT = 2.0  # of the words of a name: other words of a question stand in passages about anything

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_Rows = tuple[tuple[float, ...], ...]


def title(chunk: Chunk) -> tuple[str, ...]:
    """The chunk's title as the name of what it is about; none where it has none."""
    return (chunk.title,) if chunk.title else ()


def no_entities(chunk: Chunk) -> tuple[str, ...]:
    """None: the names of other chunks are the only ones that are looked for in a text."""
    return ()


@dataclass(frozen=True, slots=True)
class SetCoverage:
    """A RelativeUtility of sets. A set is worth the sum of

    - the square of each chunk's relevance, which is 0 for the lowest score among the candidates and 1 for the highest,
      and `asked` for a chunk that the question names;
    - `terms` times the share of the question's words that some chunk holds, rare ones among the candidates and those of
      names counting more;
    - for each chunk its best bridge from another one, times the relevance of that one, or 1 if the question names it. A
      chunk bridges to one that it names (`bridge`), and to one with a name that both hold and the question does not
      (`shared`, times the rarity of the name). A bridge holds better (`answer`, times the rarity) the more of the
      question the second chunk says in a sentence with such a name, of what the first has not;

    less `redundancy` times each chunk's largest overlap with another one, the part of the shorter one's words, and
    `length` for every 1,000 characters. So a chunk that adds nothing lowers it. The order makes no difference.

    The defaults were chosen on the 251 questions of `benchmarks/selection.py`, with greedy selection: what reaches
    higher sums there by searching more keeps no more of what is needed.

    Candidates without a usable score count as the least relevant. Called without `prepared`, it takes each combination
    for all the candidates there are.

    Args:
        names: of what a chunk is about.
        entities: names in a chunk's text. A name of several words is found in texts where it is no entity.
        words: what counts as the same word, and which words count.

    Raises:
        ValueError: a weight is negative or not finite.
    """

    names: Names = title
    entities: Names = no_entities
    _: KW_ONLY
    asked: float = 0.6
    terms: float = 3.0
    bridge: float = 1.0
    shared: float = 0.5
    answer: float = 2.0
    redundancy: float = 0.2
    length: float = 0.15
    words: Tokenizer = field(default_factory=Tokenizer)

    def __post_init__(self) -> None:
        for name in ("asked", "terms", "bridge", "shared", "answer", "redundancy", "length"):
            weight = getattr(self, name)
            if not (isfinite(weight) and weight >= 0):
                raise ValueError(f"{name} must be a number from 0, got {weight}")

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> list[float]:
        """The worth of each combination, as if there were no other candidates."""
        return [self.prepared(query, hits)(query, [hits])[0] for hits in combinations]

    def prepared(self, query: str, hits: Sequence[Hit], /) -> PreparedCoverage:
        """The utility for combinations of these hits."""
        question, *passages = (self._passage(chunk) for chunk in (Chunk("", query), *(hit.chunk for hit in hits)))
        shares = self._shares(question, passages)
        named = [question.names(passage) for passage in passages]
        scores = relevance(hits)
        anchors = [1.0 if is_named else score for score, is_named in zip(scores, named, strict=True)]
        return PreparedCoverage(
            {hit.chunk.id: place for place, hit in enumerate(hits)},
            tuple(
                score**2 + self.asked * is_named - self.length * len(hit.chunk.text) / 1000
                for score, is_named, hit in zip(scores, named, hits, strict=True)
            ),
            tuple(sum(1 << bit for bit, word in enumerate(shares) if word in passage.stems) for passage in passages),
            tuple(self.terms * share for share in shares.values()),
            _table(passages, lambda end, start: self.redundancy * _overlap(end.stems, start.stems)),
            self._bridges(question, passages, anchors, shares),
        )

    def _passage(self, chunk: Chunk) -> _Passage:
        heading = frozenset(self.words(chunk.title))
        sentences = [
            _Sentence(f" {_normal(sentence)} ", heading.union(self.words(sentence)))
            for sentence in _SENTENCE_END.split(chunk.text)
        ]
        about, entities = (
            frozenset(name for written in found(chunk) if (name := _normal(written)))
            for found in (self.names, self.entities)
        )
        stems = heading.union(*(sentence.stems for sentence in sentences))
        text = "".join(sentence.text for sentence in sentences)
        return _Passage(tuple(sentences), text, stems, about, about | entities)

    def _shares(self, question: _Passage, passages: Sequence[_Passage]) -> dict[str, float]:
        """The question's words that some passage holds, by rarity, twice that in a name; together 1."""
        in_names = {stem for name in question.entities for stem in self.words(name)}
        counts = {word: sum(word in passage.stems for passage in passages) for word in sorted(question.stems)}
        weights = {
            word: log((len(passages) + 1) / (count + 0.5)) * (NAME_WEIGHT if word in in_names else 1.0)
            for word, count in counts.items()
            if count
        }
        total = fsum(weights.values())
        return {word: weight / total for word, weight in weights.items()}

    def _bridges(
        self, question: _Passage, passages: Sequence[_Passage], anchors: Sequence[float], shares: Mapping[str, float]
    ) -> _Rows:
        """(passages, passages): how well the second leads to the first."""
        rarities = _rarities(question, passages)

        def bridge(end: _Passage, start: _Passage) -> float:
            if start.about & end.about:  # they are of one document
                return 0.0
            both = [name for name in start.entities & end.entities if rarities[name]]
            rarity = max((rarities[name] for name in both), default=0.0)
            told = max((_told(sentence, start, shares) for sentence in end.with_names(both)), default=0.0)
            return max(self.bridge * start.names(end), self.shared * rarity) + self.answer * rarity * told

        return tuple(tuple(map(mul, anchors, row)) for row in _table(passages, bridge))


@dataclass(frozen=True, slots=True, eq=False)
class PreparedCoverage:
    """The utility of combinations of certain hits for one question; the question is not looked at again.

    Attributes:
        places: of the chunks, by id.
        own: (chunks,), what each is worth by itself.
        terms: (chunks,), the question's words that each holds, as bits.
        weights: of the words.
        overlaps: (chunks, chunks), what is lost by having both; 0 for a chunk and itself.
        bridges: (chunks, chunks), how well the second leads to the first; 0 for a chunk and itself.
    """

    places: Mapping[str, int]
    own: tuple[float, ...]
    terms: tuple[int, ...]
    weights: tuple[float, ...]
    overlaps: _Rows
    bridges: _Rows

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> list[float]:
        """The worth of each combination.

        Raises:
            ValueError: a chunk is none of those that this was prepared for.
        """
        try:
            return [self._worth([self.places[hit.chunk.id] for hit in hits]) for hits in combinations]
        except KeyError as error:
            raise ValueError(f"the coverage was not prepared for the chunk {error}") from None

    def _worth(self, places: list[int]) -> float:
        places.sort()  # sums of floats depend on the order
        held, worth = 0, 0.0
        for place in places:
            held |= self.terms[place]
            worth += self.own[place]
        if len(places) > 1:
            chosen = itemgetter(*places)
            for place in places:
                worth += max(chosen(self.bridges[place])) - max(chosen(self.overlaps[place]))
        for weight in self.weights:
            if held & 1:
                worth += weight
            held >>= 1
        return worth


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence: its words with a space on either side of each, and its stems with those of its title."""

    text: str
    stems: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Passage:
    """A chunk, or the question; names are normalised.

    Attributes:
        sentences: of the text.
        text: of all sentences.
        stems: of all sentences.
        about: names of what it is about.
        entities: those, and the names that it holds.
    """

    sentences: tuple[_Sentence, ...]
    text: str
    stems: frozenset[str]
    about: frozenset[str]
    entities: frozenset[str]

    def names(self, other: _Passage) -> bool:
        """Whether it holds a name of what the other is about; one of a single word has to be an entity here."""
        return any(name in self.entities or (" " in name and f" {name} " in self.text) for name in other.about)

    def with_names(self, names: Collection[str]) -> Iterator[_Sentence]:
        """The sentences with one of the names; all of them where the passage is about it."""
        about = not self.about.isdisjoint(names)
        for sentence in self.sentences:
            if about or any(f" {name} " in sentence.text for name in names):
                yield sentence


def _normal(name: str) -> str:
    """Its words in lower case and without accents, a space between."""
    if not name.isascii():
        letters = unicodedata.normalize("NFKD", name)
        name = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(_WORD.findall(name.casefold()))


def _rarities(question: _Passage, passages: Sequence[_Passage]) -> dict[str, float]:
    """Of each name of a passage: 1 if two have it, less the more there are, 0 if the question has it."""
    counts = Counter(name for passage in passages for name in passage.entities)
    most = len(passages) + 1
    return {
        name: 0.0 if count < 2 or f" {name} " in question.text else log(most / count) / log(most / 2)
        for name, count in counts.items()
    }


def _told(sentence: _Sentence, start: _Passage, shares: Mapping[str, float]) -> float:
    """The share of the question that the sentence says and the first passage does not."""
    return fsum(share for word, share in shares.items() if word in sentence.stems and word not in start.stems)


def _overlap(words: frozenset[str], others: frozenset[str]) -> float:
    """The part of the words of the shorter one that the other has, too."""
    return len(words & others) / max(1, min(len(words), len(others)))


def _table(passages: Sequence[_Passage], value: Callable[[_Passage, _Passage], float]) -> _Rows:
    """(passages, passages): the value of each pair; 0 for a passage and itself."""
    return tuple(tuple(0.0 if first is second else value(first, second) for second in passages) for first in passages)
