"""Where words that a model says it copied stand in a text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from unicodedata import combining, normalize

OVERLAP = 0.8  # least share of a quote's words that stand in the text, in their order
_MOST_WORDS = 200  # of a quote that is looked for with slips; a longer one must be exact

_SIGNS = str.maketrans(
    dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", '"')
    | dict.fromkeys("\u2018\u2019\u201a\u201b\u2032`\u00b4", "'")
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)
_WORD = re.compile(r"\w+")
_NEGATIONS = frozenset({"not", "no", "never", "neither", "nor", "none", "without"})


def find_quote(quote: str, text: str) -> tuple[int, int] | None:
    """Start and end of the quote in the text, or None where it does not stand there.

    White space, case, accents and the forms of quotation marks and dashes make no difference. Where the quote does not
    stand there so, a run of the text with at least four fifths of its words in their order will do; but numbers and
    negations must be the same, since with another number it is another fact.

    Takes time in proportion to the length of the text. Where words of a quote repeat, difflib may pair them badly and
    find less than there is.

    >>> find_quote("the “Low Tide” album", 'She made the "Low  Tide" album.')
    (9, 30)
    >>> find_quote("she made a Low Tide album", 'She made the "Low  Tide" album.')
    (0, 30)
    """
    folded, places = _folded(text)
    wanted = _folded(quote)[0].strip()
    for form in (wanted, wanted.strip("\"' .,;:-")):
        if form and (start := folded.find(form)) >= 0:
            return places[start][0], places[start + len(form) - 1][1]
    words = _WORD.findall(wanted)
    if not 0 < len(words) <= _MOST_WORDS:
        return None
    spans = [match.span() for match in _WORD.finditer(folded)]
    found = _run(words, [folded[start:end] for start, end in spans])
    return None if found is None else (places[spans[found[0]][0]][0], places[spans[found[1]][1] - 1][1])


def _folded(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text with signs and letters in one form, and for each of its characters the place it came from."""
    letters: list[str] = []
    places: list[tuple[int, int]] = []
    for place, character in enumerate(text):
        if character.isspace():
            if letters and letters[-1] == " ":
                places[-1] = (places[-1][0], place + 1)
                continue
            form = " "
        else:
            form = normalize("NFKD", character.translate(_SIGNS)).casefold().translate(_SIGNS)
        for letter in form:
            if combining(letter):
                if places:
                    places[-1] = (places[-1][0], place + 1)
                continue
            letters.append(letter)
            places.append((place, place + 1))
    return "".join(letters), places


def _run(words: Sequence[str], text: Sequence[str]) -> tuple[int, int] | None:
    """First and last word of the run of the text that is most like the words; the first of equal ones."""
    start = _likeliest(words, text)
    margin = len(words) // 4
    low, high = max(0, start - margin), start + len(words) + margin
    blocks = SequenceMatcher(None, words, text[low:high], autojunk=False).get_matching_blocks()[:-1]
    missing = set(range(len(words))) - {block.a + n for block in blocks for n in range(block.size)}
    if len(missing) > (1 - OVERLAP) * len(words) + 1e-9 or any(_decisive(words[place]) for place in missing):
        return None
    first, last = low + blocks[0].b, low + blocks[-1].b + blocks[-1].size - 1
    known = Counter(words)
    known.subtract(text[first : last + 1])
    if any(number < 0 and _decisive(word) for word, number in known.items()):
        return None
    return first, last


def _decisive(word: str) -> bool:
    return word in _NEGATIONS or any(character.isdigit() for character in word)


def _likeliest(words: Sequence[str], text: Sequence[str]) -> int:
    """Where the run of as many words begins that shares most of them, their order aside."""
    left, shared, best, best_start = Counter(words), 0, -1, 0
    for end, word in enumerate(text):
        left[word] -= 1
        shared += left[word] >= 0
        gone = end - len(words)
        if gone >= 0:
            shared -= left[text[gone]] >= 0
            left[text[gone]] += 1
        if shared > best:
            best, best_start = shared, max(0, gone + 1)
    return best_start
