"""What a set of chunks covers of a question: a utility that costs microseconds and no model.

The set function that stands in for CORAG's reranker (arXiv:2411.00744): relevance, less redundancy, plus coverage of
what the question asks for, plus bridges, by which one chunk leads to the next.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import log

from ragloom.components.combinations import Combination
from ragloom.components.fusion import min_max
from ragloom.components.tokenizing import Tokenizer, searchable
from ragloom.types import Chunk, Hit

Names = Callable[[Chunk], Iterable[str]]

NAME_WEIGHT = 2.0  # of the words of a name: other words of a question stand in passages about anything

_WORD = re.compile(r"\w+")
_Rows = tuple[tuple[float, ...], ...]


def title(chunk: Chunk) -> tuple[str, ...]:
    """The chunk's title as the name of what it is about; none where it has none."""
    return (chunk.title,) if chunk.title else ()


def nothing(chunk: Chunk) -> tuple[str, ...]:
    """No entities."""
    return ()


@dataclass(frozen=True, slots=True)
class SetCoverage:
    """A Utility of sets, the sum of

    - the relevance of each chunk: the hit's score, from 0 for the worst candidate to 1 for the best, and `asked` for
      one that the question names;
    - `terms`, times the share of the question's words that stand in some chunk, rare ones among the candidates
      counting more;
    - for each chunk its best bridge from another one: `bridge` where that one names it, `shared` times the rarity of
      the rarest name that both hold and the question does not; times how well that one is anchored, by its relevance
      or by being named in the question;
    - less `redundancy` times each chunk's largest overlap with another: the part of the shorter one's words;
    - less `length` for each 1,000 characters.

    It is not monotone: a chunk that adds nothing lowers it. The order of a combination makes no difference.

    What a chunk is worth depends on the candidates it stands among: `prepared` measures them once. Called as it is, it
    takes each combination for the candidates, which is slower and compares combinations on scales of their own.

    Args:
        names: of what a chunk is about.
        entities: names in a chunk's text. Names of several words are found in texts without them.
        words: what counts as the same word.
    """

    names: Names = title
    entities: Names = nothing
    _: KW_ONLY
    asked: float = 0.6
    terms: float = 3.0
    bridge: float = 1.0
    shared: float = 0.5
    redundancy: float = 0.2
    length: float = 0.15
    words: Tokenizer = field(default_factory=Tokenizer)

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> list[float]:
        """The worth of each combination on its own scale."""
        return [self.prepared(query, hits)(query, [hits])[0] for hits in combinations]

    def prepared(self, query: str, hits: Sequence[Hit], /) -> PreparedCoverage:
        """The utility for combinations of these hits.

        Raises:
            ValueError: the score of a hit is no finite number.
        """
        chunks = [hit.chunk for hit in hits]
        question, *passages = (self._passage(chunk) for chunk in (Chunk("", query), *chunks))
        named = [question.names(passage) for passage in passages]
        relevance = min_max(hits)
        own = (
            score + self.asked * is_named - self.length * len(chunk.text) / 1000
            for score, is_named, chunk in zip(relevance, named, chunks, strict=True)
        )
        anchors = [max(score, float(is_named)) for score, is_named in zip(relevance, named, strict=True)]
        stems = [frozenset(self.words(searchable(chunk))) for chunk in chunks]
        in_names = frozenset(stem for name in question.entities for stem in self.words(name))
        terms, weights = _terms(self.words(query), in_names, stems)
        return PreparedCoverage(
            {chunk.id: place for place, chunk in enumerate(chunks)},
            tuple(own),
            terms,
            tuple(self.terms * weight for weight in weights),
            self._bridges(question, passages, anchors),
            tuple(tuple(self.redundancy * _overlap(a, b) for b in stems) for a in stems),
        )

    def _passage(self, chunk: Chunk) -> _Passage:
        about = frozenset(map(_normal, self.names(chunk))) - {""}
        entities = frozenset(map(_normal, self.entities(chunk))) - {""}
        return _Passage(f" {_normal(chunk.text)} ", about, about | entities)

    def _bridges(self, question: _Passage, passages: Sequence[_Passage], anchors: Sequence[float]) -> _Rows:
        """(passages, passages): how well the first leads to the second."""
        rarities = _rarities(question, passages)

        def bridge(start: _Passage, end: _Passage) -> float:
            if start.about & end.about:
                return 0.0
            if start.names(end):
                return self.bridge
            return self.shared * max((rarities[name] for name in start.entities & end.entities), default=0.0)

        return tuple(
            tuple(anchor * bridge(start, end) for end in passages)
            for start, anchor in zip(passages, anchors, strict=True)
        )


@dataclass(frozen=True, slots=True, eq=False)
class PreparedCoverage:
    """The utility of combinations of certain hits for one question; the question is not looked at again.

    Attributes:
        places: of the chunks, by id.
        own: what each is worth by itself.
        terms: the question's words that each holds, as bits.
        weights: of the words.
        bridges: (chunks, chunks), how well the first leads to the second.
        overlaps: (chunks, chunks), what is lost by having both.
    """

    places: dict[str, int]
    own: tuple[float, ...]
    terms: tuple[int, ...]
    weights: tuple[float, ...]
    bridges: _Rows
    overlaps: _Rows

    def __call__(self, query: str, combinations: Sequence[Combination], /) -> list[float]:
        """The worth of each combination.

        Raises:
            KeyError: a chunk is none of those that this was prepared for.
        """
        return [self._worth([self.places[hit.chunk.id] for hit in hits]) for hits in combinations]

    def _worth(self, places: Sequence[int]) -> float:
        held = 0
        worth = 0.0
        for place in places:
            held |= self.terms[place]
            worth += self.own[place]
            others = [other for other in places if other != place]
            if others:
                worth += max(self.bridges[other][place] for other in others)
                worth -= max(self.overlaps[other][place] for other in others)
        return worth + sum(weight for bit, weight in enumerate(self.weights) if held >> bit & 1)


@dataclass(frozen=True, slots=True)
class _Passage:
    """A chunk, or the question, by its names, all normalised.

    Attributes:
        text: its words, a space on either side of each.
        about: names of what it is about.
        entities: those, and the names that it holds.
    """

    text: str
    about: frozenset[str]
    entities: frozenset[str]

    def names(self, other: _Passage) -> bool:
        """Whether it holds a name of what the other is about; one of a single word has to be an entity here."""
        return any(name in self.entities or (" " in name and f" {name} " in self.text) for name in other.about)


def _normal(name: str) -> str:
    """Its words in lower case and without accents, a space between."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return " ".join(_WORD.findall("".join(letter for letter in letters if not unicodedata.combining(letter))))


def _rarities(question: _Passage, passages: Sequence[_Passage]) -> dict[str, float]:
    """Of each name of a passage: 1 if two have it, less the more there are, 0 if the question has it."""
    counts = Counter(name for passage in passages for name in passage.entities)
    most = len(passages) + 1
    return {
        name: 0.0 if count < 2 or f" {name} " in question.text else log(most / count) / log(most / 2)
        for name, count in counts.items()
    }


def _terms(
    asked: Iterable[str], in_names: frozenset[str], passages: Sequence[frozenset[str]]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The question's words that each passage holds, as bits, and the weights of the words, 1 together.

    A word weighs by its rarity, and twice that in a name.
    """
    counts = {word: sum(word in passage for passage in passages) for word in dict.fromkeys(asked)}
    rarities = {word: log((len(passages) + 1) / (count + 0.5)) for word, count in counts.items() if count}
    weights = [rarity * (NAME_WEIGHT if word in in_names else 1.0) for word, rarity in rarities.items()]
    held = (sum(1 << bit for bit, word in enumerate(rarities) if word in passage) for passage in passages)
    total = sum(weights)
    return tuple(held), tuple(weight / total for weight in weights)


def _overlap(words: frozenset[str], others: frozenset[str]) -> float:
    """The part of the words of the shorter one that the other has, too."""
    return len(words & others) / max(1, min(len(words), len(others)))
