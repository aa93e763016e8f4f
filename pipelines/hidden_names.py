"""Implicit questions made from explicit ones: names are hidden behind what other passages of the corpus say of them.

"Who directed Blood Street?" matches the passage on Blood Street. Where another passage says "Fong followed it with
Blood Street, his only film of 1990", the question becomes "Who directed the one left out of “Fong followed it with …,
his only film of 1990”?", which matches that other passage; the one with the answer is found by whoever knows the name.
So search can be measured where the words of a question lead to no answer (the implicit questions of MemoRAG,
arXiv:2409.05591), with gold passages that are already known.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ragloom.components.datasets import Question, gold_chunks
from ragloom.components.sentences import first_sentence, sentences
from ragloom.components.tokenizing import Tokenizer
from ragloom.graph.extraction import normalise
from ragloom.graph.name_matching import NameMatcher
from ragloom.graph.naming import COMMON_WORDS, is_link, names
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.types import Chunk

FEWEST, MOST = 4, 30  # words of a description: those that count, and all of them

_ENDS = r"(?:in|of|to|with|for|from|at|on|near|by|into|through|against|about|called|named|titled|entitled)"
_PRONOUN = re.compile(r"(He|She|It|They|His|Her|Its|Their)\b")
_POSSESSIVE = ("His", "Her", "Its", "Their")
_APPOSITION = re.compile(r",\s+(?:an?|the|his|her|its|their)\s+([a-z][^,.;:()]*)(?=[,.;:()]|$)(?!,?\s+and\b)")
_BEHIND_SUBJECT = re.compile(r"\s+(?!(?:and|or|of)\b)[a-z]")
_CLAUSE = re.compile(rf"(?P<clause>[^,;:]+\b{_ENDS})\s+(?:the\s+)?$")
_BRACKETED = re.compile(r"\s*\([^()]*\)")
_ARTICLE = re.compile(r"\b(?:the|an?)\s+$", re.IGNORECASE)
_FRAME = re.compile("^the one (?:that|left out of)")
_DEFINITION = re.compile(r"\b(?:is|was|are|were)\s+(?:an?|the|one of the)\s+(.+?)[.;]?$")
_CAPITAL_BEFORE = re.compile(r"[^\W\d_][\w'\u2019.&-]*\s+(?:(?:of|the|de|von|van|la)\s+)*$")


@dataclass(frozen=True, slots=True)
class HiddenName:
    """A name of a question, and what stands in its place.

    Attributes:
        name: as the question had it.
        description: words of a passage.
        chunk_id: the passage.
        elsewhere: whether it is about something else and no gold passage; else it is about what the name names.
    """

    name: str
    description: str
    chunk_id: str
    elsewhere: bool


@dataclass(frozen=True, slots=True)
class ImplicitQuestion:
    """A question whose names are hidden.

    Attributes:
        question: with descriptions in the place of names; id, answers and gold passages are those of the original.
        original: the text of the original.
        hidden: the names that were hidden, in the order of the question.
        left: normalised names that stand in it as they were, since no passage describes them.
    """

    question: Question
    original: str
    hidden: tuple[HiddenName, ...]
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Span:
    """Where a name stands in a question."""

    name: str  # normalised
    start: int
    end: int


class NameHider:
    """Makes implicit questions over a corpus.

    A name is what a passage is about, or a run of several capitalised words. Its description is a part of a sentence of
    a passage, the best that there is of:

    1. an apposition: "…, the first woman to fly over the pole";
    2. what a sentence says of its subject: "the one that won the cup in 1924";
    3. a sentence up to the name that ends it: "the one that Hank Snow died in";
    4. a sentence with a gap;
    5. where no other passage names it, how a passage about it defines it in its first sentence.

    Descriptions of 1 to 4 come from passages that are neither about the name nor gold. None holds a word of the names
    in the question, the title of a gold passage, or an answer; all have at least four words to search for, and at most
    thirty words. Of several the shortest is taken, of equal ones that which comes first in the corpus.

    Nothing is random, and no model is asked. A name takes a scan of the corpus.

    Args:
        chunks: the corpus.
    """

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = list(chunks)
        self._texts = [f" {normalise(chunk.text)} " for chunk in self._chunks]
        self._about: dict[str, set[str]] = {}
        for chunk in self._chunks:
            for name in names(chunk):
                self._about.setdefault(name, set()).add(chunk.id)
        self._words = Tokenizer()

    def __call__(self, question: Question, /) -> ImplicitQuestion | None:
        """The question with its names hidden.

        None where no other passage describes one of them, or where a gold passage's name would stay. Definitions alone
        make no implicit question: their words lead to the very passage, more directly than some names do.
        """
        gold: frozenset[str] = frozenset().union(*gold_chunks(question, self._chunks))
        spans = self._spans(question.text)
        secret = frozenset(stem for span in spans for stem in self._stems(span.name))
        untold = {normalise(answer) for answer in question.answers}.union(
            *(names(Chunk("", "", passage.title)) for passage in question.gold)
        )
        text, hidden, left = question.text, list[HiddenName](), list[str]()
        for span in reversed(spans):
            described = self._described(span.name, gold, lambda words: self._fits(words, secret, untold))
            if described is not None:
                hidden.insert(0, replace(described, name=text[span.start : span.end]))
                before = _ARTICLE.sub("", text[: span.start])
                text = before + described.description + text[span.end :]
            elif self._about.get(span.name, set()) & gold:
                return None
            else:
                left.insert(0, span.name)
        if not any(name.elsewhere for name in hidden):
            return None
        return ImplicitQuestion(replace(question, text=text), question.text, tuple(hidden), tuple(dict.fromkeys(left)))

    def _spans(self, question: str) -> list[_Span]:
        """The names in a question, where a word of them has a capital."""
        words: list[str] = []
        places: list[tuple[int, int]] = []
        for match in re.finditer(r"\w+", question):
            parts = normalise(match[0]).split()
            words += parts
            places += [match.span()] * len(parts)
        runs = map(normalise, RuleExtractor()(Chunk("", question)).entities)
        spans = []
        for first, behind in NameMatcher({*self._about, *filter(is_link, runs)}).spans(words):
            start, end = places[first][0], places[behind - 1][1]
            if any(question[place].isupper() or question[place].isdigit() for place, _ in places[first:behind]):
                closed = "(" in question[start:end] and question[end : end + 1] == ")"
                name = question[start:end].rpartition("(")[0] if closed else question[start:end]
                spans.append(_Span(normalise(name), start, end + closed))
        return spans

    def _stems(self, name: str) -> Iterator[str]:
        """The stems of a name that tell it."""
        return (stem for word in name.split() if word not in COMMON_WORDS for stem in self._words(word))

    def _described(self, name: str, gold: frozenset[str], fits: Callable[[str], bool]) -> HiddenName | None:
        """The best description of a name."""
        called = self._about.get(name, set())
        about = called & gold or called  # of several passages with that name, those that the question is about
        senses = [_senses(chunk) for chunk in self._chunks if chunk.id in called]
        found: list[tuple[int, str, Chunk]] = []
        for chunk, text in zip(self._chunks, self._texts, strict=True):
            if chunk.id in about:
                found += [(kind, words, chunk) for kind, words in _defined_in(chunk)]
            elif chunk.id not in gold | called and f" {name} " in text and _has_sense(text, senses):
                found += [(kind, words, chunk) for kind, words in _told_in(chunk, name)]
        fit = [(kind, len(words.split()), place) for place, (kind, words, _) in enumerate(found) if fits(words)]
        if not fit:
            return None
        _, description, chunk = found[min(fit)[2]]
        return HiddenName(name, description, chunk.id, elsewhere=chunk.id not in about)

    def _fits(self, description: str, secret: Collection[str], untold: Iterable[str]) -> bool:
        stems, words = self._words(_FRAME.sub("", description)), f" {normalise(description)} "
        return (
            len(stems) >= FEWEST
            and len(words.split()) <= MOST
            and not any(stem in secret for stem in stems)
            and not any(f" {text} " in words for text in untold if text)
        )


def _senses(chunk: Chunk) -> frozenset[str]:
    """The words in the parenthesis of a title, such as `song` or `play`."""
    return frozenset(word for part in _BRACKETED.findall(chunk.title) for word in normalise(part).split())


def _has_sense(text: str, senses: Sequence[frozenset[str]]) -> bool:
    """Whether a text names one of the senses of a name, where no passage has the name without a parenthesis."""
    return not senses or not all(senses) or any(f" {word} " in text for words in senses for word in words)


def _told_in(chunk: Chunk, name: str) -> Iterator[tuple[int, str]]:
    """Descriptions of a name in a passage about something else, each with its kind: the lower, the better."""
    pattern = re.compile(r"(?<!\w)" + r"\W+".join(map(re.escape, name.split())) + r"(?!\w)")
    for sentence in sentences(chunk.text):
        for match in pattern.finditer(_folded(sentence)):
            before, after = sentence[: match.start()], sentence[match.end() :].rstrip(" .;:")
            if _is_whole(before, sentence[match.start()], after):
                before, after = (_BRACKETED.sub("", part) for part in (_with_subject(before, chunk), after))
                yield from _descriptions(before, after, _title(chunk))


def _folded(sentence: str) -> str:
    """The sentence, letter by letter without case and accents."""
    return "".join(plain if len(plain := normalise(letter)) == 1 else letter for letter in sentence)


def _is_whole(before: str, first: str, after: str) -> bool:
    """Whether a name that stands between two texts begins with a capital and is no part of a longer one."""
    if not (first.isupper() or first.isdigit()):
        return False
    previous, following = _CAPITAL_BEFORE.search(before), re.match(r"(?:\s+(?:of\s+)?|-)([\w])", after)
    longer = previous and previous[0][0].isupper() and normalise(previous[0].split()[0]) not in COMMON_WORDS
    return not longer and not (following and (following[1].isupper() or following[1].isdigit()))


def _with_subject(before: str, chunk: Chunk) -> str:
    """A sentence that opens with a pronoun, with what its passage is about instead."""
    match = _PRONOUN.match(before)
    if not match or not chunk.title:
        return before
    return _title(chunk) + ("'s" if match[1] in _POSSESSIVE else "") + before[match.end() :]


def _title(chunk: Chunk) -> str:
    return _BRACKETED.sub("", chunk.title).strip()


def _descriptions(before: str, after: str, subject: str) -> Iterator[tuple[int, str]]:
    """Descriptions of a name, by what a sentence says before and after it."""
    if match := _APPOSITION.match(after):
        yield 1, f"the {match[1].strip()}"
    if before in ("", "The ") and _BEHIND_SUBJECT.match(after):
        yield 2, f"the one that {after.strip()}"
    if subject and before.startswith(subject) and (clause := _CLAUSE.fullmatch(before)):
        yield 3, f"the one that {clause['clause']}"
    yield 4, f"the one left out of “{before.strip()} … {after.strip()}”"


def _defined_in(chunk: Chunk) -> Iterator[tuple[int, str]]:
    """How the first sentence of a passage defines what the passage is about: whole, and up to its first comma."""
    if chunk.position == 0 and (match := _DEFINITION.search(first_sentence(chunk.text))):
        for definition in dict.fromkeys((match[1], match[1].partition(",")[0])):
            yield 5, f"the {definition}"
