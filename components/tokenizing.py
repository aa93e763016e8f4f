"""The searched text of a chunk, and its tokens."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Protocol
from unicodedata import normalize

from ragloom.types import Chunk

# Lucene's list of English stop words, and the words that questions are put in.
STOP_WORDS = frozenset(
    """
    a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
    was will with

    been did do does from had has have he her his how its she were what when where which who whom whose why
    """.split()  # noqa: SIM905 - a list takes a line a word
)

_WORD = re.compile(r"\w+")
_stemming = Lock()  # a Snowball stemmer has a state of its own


def searchable(chunk: Chunk) -> str:
    """What retrieval sees of a chunk: its title on a line of its own, and its text."""
    return f"{chunk.title}\n{chunk.text}" if chunk.title else chunk.text


@dataclass(frozen=True, slots=True)
class Tokenizer:
    r"""Lower-case words (runs of `\w`) of a text in their order.

    Composed and decomposed letters (NFC, NFD) are the same.

    Attributes:
        stem: reduce English words to their Snowball stem.
        stop_words: leave out the words of `STOP_WORDS`.

    >>> Tokenizer()("Who was the director of Jaws?")
    ['director', 'jaw']
    """

    stem: bool = True
    stop_words: bool = True

    def __call__(self, text: str, /) -> list[str]:
        """The tokens of a text; none where it has no word that is kept."""
        return self._stems(self._without_stop_words(_words(text)))

    def numbered(self, texts: Iterable[str]) -> tuple[list[list[int]], dict[str, int]]:
        """The tokens of each text as numbers, and the number of each token, counted from 0 as they turn up.

        Quicker than calling the tokenizer on each text: each different word is stemmed once.
        """
        places = _Places()
        placed = [[places[word] for word in _words(text)] for text in texts]
        kept = self._without_stop_words(list(places))
        vocabulary: dict[str, int] = {}
        numbers = dict.fromkeys(places, -1)  # -1 for a word that is left out
        for word, token in zip(kept, self._stems(kept), strict=True):
            numbers[word] = vocabulary.setdefault(token, len(vocabulary))
        number_at = list(numbers.values())
        return [[number for place in text if (number := number_at[place]) >= 0] for text in placed], vocabulary

    def _without_stop_words(self, words: list[str]) -> list[str]:
        return [word for word in words if word not in STOP_WORDS] if self.stop_words else words

    def _stems(self, words: list[str]) -> list[str]:
        if not self.stem:
            return words
        with _stemming:
            stems: list[str] = _stemmer().stemWords(words)
        return stems


class _Places(dict[str, int]):
    """Words in the order in which they are first asked for, and their places in it."""

    def __missing__(self, word: str) -> int:
        place = self[word] = len(self)
        return place


class _Stemmer(Protocol):
    def stemWords(self, words: list[str], /) -> list[str]: ...  # noqa: N802 - PyStemmer's name


def _words(text: str) -> list[str]:
    return _WORD.findall(normalize("NFC", text).lower())


@cache
def _stemmer() -> _Stemmer:
    from Stemmer import Stemmer  # type: ignore[import-not-found]  # compiled, without stubs

    stemmer: _Stemmer = Stemmer("english", 0)  # its own cache is slower than stemming
    return stemmer
