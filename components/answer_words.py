"""The words of short answers: how two answers are compared, and whether one says that the answer is not known."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MARKS = re.compile(r"^[\W_]+|[\W_]+$")
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc", "'''")

# What models say for want of an answer. Of one word, and in scripts without spaces, it must be all they say.
UNKNOWING = (
    *("i don't know", "i do not know", "i dont know", "i'm not sure", "i am not sure", "i'm not certain"),
    *("i am not certain", "i have no idea", "i'm unable to", "i am unable to", "i cannot answer", "i can't answer"),
    *("i don't have", "i do not have", "no idea", "not sure", "not known", "no answer", "it is not known"),
    *("it is unknown", "unknown", "unsure", "n/a"),
    *("ich weiß es nicht", "ich weiß nicht", "je ne sais pas", "no lo sé", "no sé", "não sei", "non lo so", "nie wiem"),
    *("ik weet het niet", "jag vet inte", "bilmiyorum", "я не знаю", "не знаю", "لا أعرف", "मुझे नहीं पता"),
    *("不知道", "我不知道", "わかりません", "分かりません", "知りません", "모르겠습니다"),
)


def normalise(text: str) -> str:
    """The text as SQuAD's scorer compares it: lower case, no punctuation, no English articles, single spaces.

    >>> normalise("The  Eiffel Tower, in Paris.")
    'eiffel tower in paris'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def word_f1(one: str, other: str) -> float:
    """Harmonic mean of the shares of words that two normalised texts have in common; 1 for two without words.

    >>> word_f1("low tide", "low tide album")
    0.8
    """
    ours, theirs = one.split(), other.split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def bare(text: str) -> str:
    """The text without spaces, quotes and punctuation of any script around it, and without case.

    >>> bare(' «Rosé!» ')
    'rosé'
    """
    return _MARKS.sub("", text).casefold()


def comparable(text: str) -> str:
    """An answer as answers of a model are compared with each other: normalised, but never empty unless it was.

    The blood group "A" and the sign "+" are answers as well, though SQuAD's normalisation leaves nothing of them.

    >>> comparable("The Nile."), comparable("東京。"), comparable("A"), comparable("+")
    ('nile', '東京', 'a', '+')
    """
    return normalise(bare(text)) or bare(text) or text.strip()


def admission(text: str, phrases: Sequence[str] = UNKNOWING) -> str:
    """The phrase by which the text says that its answer is not known; empty where it does not.

    The text is such a phrase, or begins with one of several words; quotes and punctuation around it do not matter.

    >>> admission("I don\u2019t know who that was."), admission("Unknown"), admission("Unknown Pleasures")
    ("i don't know", 'unknown', '')
    """
    said = bare(text.translate(_APOSTROPHES))
    return next((phrase for phrase in phrases if _opens(bare(phrase.translate(_APOSTROPHES)), said)), "")


def _opens(phrase: str, said: str) -> bool:
    if not said.startswith(phrase):
        return False
    rest = said[len(phrase) :]
    return not rest or (" " in phrase and not rest[0].isalnum())
