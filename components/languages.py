"""Which script and which language a text is written in, as far as its letters and its smallest words tell."""

from __future__ import annotations

import re
from collections import Counter
from unicodedata import name, normalize

_LEAST_SHARE = 0.05  # of a text's letters: a passage may quote a name in another script
_LEAST_WORDS = 3  # different ones; names have one or two ("Universidad de la República")
_LONGEST = 100_000  # characters that tell a language as well as a whole book does

# Words that hardly a sentence is without, written small. What languages share counts for each of them.
_SMALL_WORDS = {
    "en": "the of and to in is was for that with as by at from it are were has had his her which this an be who when",
    "de": "der die das und in ist war von mit den dem des ein eine einen zu auf für als im wurde er sie es nicht am",
    "fr": "le la les de des du et en est un une dans que qui pour par au aux sur il elle a été avec son sa ses était",
    "es": "el la los las de del y en es un una que por para con se su fue al como era más sus lo no ha",
    "it": "il lo la i gli le di del della e in è un una che per con si da al dei nel fu era sono non ha",
    "pt": "o a os as de do da dos das e em é um uma que por para com se foi no na ao era não seu sua",
    "nl": "de het een en van in is was op met voor dat die te zijn werd door aan bij als ook naar hij er niet",
}
_LANGUAGES = {language: frozenset(words.split()) for language, words in _SMALL_WORDS.items()}


def scripts(text: str, *, least_share: float = _LEAST_SHARE) -> frozenset[str]:
    """The scripts that at least such a share of the text's letters belong to, by their Unicode names.

    >>> sorted(scripts("Tokyo (東京)")), scripts("1951")
    (['CJK', 'LATIN'], frozenset())
    """
    letters: Counter[str] = Counter()
    for letter, number in Counter(normalize("NFKC", text)).items():
        if letter.isalpha():
            letters[name(letter, "unknown").partition(" ")[0]] += number
    return frozenset(script for script, number in letters.items() if number >= least_share * letters.total())


def language(text: str) -> str:
    """The language that most of the text's small words belong to; empty where too few tell, or two languages tie.

    >>> language("Er war der Regisseur des Films, der in Berlin gedreht wurde."), language("Low Tide, 1983")
    ('de', '')
    """
    words = [word for word in re.findall(r"[^\W\d_]+", text[:_LONGEST]) if word.islower()]
    told = {code: [word for word in words if word in small] for code, small in _LANGUAGES.items()}
    best, second = sorted(told, key=lambda code: -len(told[code]))[:2]
    tied = len(told[best]) == len(told[second])
    return "" if tied or len(set(told[best])) < _LEAST_WORDS else best
