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
        words = _words(text)
        if self.stop_words:
            words = [word for word in words if word not in STOP_WORDS]
        return self._stems(words) if self.stem else words

    def numbered(self, texts: Iterable[str]) -> tuple[list[list[int]], dict[str, int]]:
        """The tokens of each text as numbers, and the number of each token, counted from 0 as they turn up.

        Each different word is looked at once, so that it takes half the time of calling the tokenizer on each text.
        """
        numbers = _Numbers(self)
        return [
            [number for word in _words(text) if (number := numbers[word]) >= 0] for text in texts
        ], numbers.of_tokens

    def _stems(self, words: list[str]) -> list[str]:
        with _stemming:
            stems: list[str] = _stemmer().stemWords(words)
        return stems


class _Numbers(dict[str, int]):
    """The number of each word's token; -1 for a word that is left out."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self.of_tokens: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        tokens = self._tokenizer(word)
        number = self.of_tokens.setdefault(tokens[0], len(self.of_tokens)) if tokens else -1
        self[word] = number
        return number


class _Stemmer(Protocol):
    def stemWords(self, words: list[str], /) -> list[str]: ...  # noqa: N802 - PyStemmer's name


def _words(text: str) -> list[str]:
    return _WORD.findall(normalize("NFC", text).lower())


@cache
def _stemmer() -> _Stemmer:
    from Stemmer import Stemmer  # type: ignore[import-not-found]  # compiled, without stubs

    stemmer: _Stemmer = Stemmer("english")
    return stemmer
