"""What a question's wording says of how hard it is: twenty-three hand features, and terms for a TF-IDF model.

With a logistic model of both, a question is routed to no, one or several retrievals without a call to a model, which
Adaptive-RAG (arXiv:2403.14403) fine-tunes one for. The words that are looked for are English; a question in another
language has the counts that need no words, and 0 for the others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import normalize

from ragloom.components.gating import Capability, Observation
from ragloom.components.tokenizing import STOP_WORDS

_FORMS = {  # what is asked for, by the first of these words in the question; for yes or no, where it begins with a verb
    "question_how_many": r"how (?:many|much|long|old|far|often|tall|high|large|big|deep|fast|few)",
    "question_how": r"how",
    "question_who": r"who(?:m|se)?",
    "question_what": r"what",
    "question_when": r"when",
    "question_where": r"where",
    "question_which": r"which",
    "question_why": r"why",
}
_FORM = re.compile("|".join(rf"(?P<{name}>\b{words}\b)" for name, words in _FORMS.items()), re.IGNORECASE)
_YES_OR_NO = "question_yes_no"
_VERB = re.compile(
    r"(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|shall|should|may|might|must)\b", re.IGNORECASE
)

_COMPARED = "old|young|new|larg|small|bigg|long|short|tall|high|low|earli|lat|near|far|fast|great|deep|wid|strong"
_COUNTS = {  # how often it stands in the question
    "question_words": r"\w+",
    "question_numbers": r"\b\d+(?:[.,]\d+)*",
    "question_years": r"\b(?:1\d|20)\d\d(?=s?\b)",
    "question_commas": r"[,;:]",
    "question_quotes": r"[\"\u201c\u201d\u201e«»「」]|(?<!\w)['\u2018][^'\u2018\u2019]+['\u2019](?!\w)",
    "question_and": r"\b(?:and|or)\b",
    "question_of": r"\bof\b|(?<=\w)['\u2019]s\b",  # "the mother of the director of Jaws", "Jaws's director's mother"
    "question_clauses": r"(?<!^)\b(?:that|which|who|whom|whose|where|when|while)\b",
    "question_comparison": rf"\b(?:than|both|same|between|common|either|more|less|fewer|(?:{_COMPARED})er)\b",
    "question_superlative": rf"\b(?:most|least|first|last|best|worst|only|(?:{_COMPARED})est)\b",
}
_COUNTED = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _COUNTS.items()}

_WORD = re.compile(r"\w+")
_SPOKEN = re.compile(r"\w+(?:[-.'\u2019&]+\w+)*\.?")  # a word with what belongs to it: J.R.R., O'Hara, Coca-Cola


@dataclass(frozen=True)
class QuestionFeatures:
    """A Signal of the question's wording alone; asks nobody.

    Nearly all are counts: of words and marks, of what nests one question in another, and of runs of capitalised words,
    which are taken for names. What is asked for is 1 in one of `question_yes_no` ... `question_why`, or in none.
    """

    @property
    def needs(self) -> frozenset[Capability]:
        """Nothing."""
        return frozenset()

    @property
    def features(self) -> tuple[str, ...]:
        """Their names."""
        return _NAMES

    @property
    def identity(self) -> str:
        """The version of their definition: another one where what they measure changes."""
        return "1"

    def __call__(self, question: str, /) -> Observation:
        """The features, all known for any text."""
        return Observation(_measured(question))


def question_terms(question: str) -> list[str]:
    r"""The question's words and pairs of neighbouring words in lower case, for a TF-IDF model.

    A word is a run of `\w`, composed (NFC); marks are left out, since whether a question ends in one says where it is
    from, not what it asks. Digits become 0, so that numbers of one shape (years, say) are one word.

    >>> question_terms("Who won in 1994?")
    ['who', 'won', 'in', '0000', 'who won', 'won in', 'in 0000']
    """
    words = question_words(question)
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def question_words(question: str) -> list[str]:
    """The words among the `question_terms`."""
    return _WORD.findall(re.sub(r"\d", "0", normalize("NFC", question).lower()))


def _measured(question: str) -> dict[str, float]:
    text = normalize("NFC", question).strip()
    names = _names(text)
    form = _form(text)
    return {
        "question_characters": float(len(text)),
        "question_names": float(len(names)),
        "question_longest_name": float(max(map(len, names), default=0)),
        "question_lower_start": float(text[:1].islower()),
        **{name: float(len(pattern.findall(text))) for name, pattern in _COUNTED.items()},
        **{name: float(name == form) for name in (_YES_OR_NO, *_FORMS)},
    }


def _form(text: str) -> str | None:
    """The name of what is asked for."""
    if _VERB.match(text):
        return _YES_OR_NO
    found = _FORM.search(text)
    return found.lastgroup if found else None


def _names(text: str) -> list[list[str]]:
    """Runs of capitalised words with nothing but blanks between them; a first word that is no name begins none."""
    runs: list[list[str]] = []
    end = -1  # of the last capitalised word
    for found in _SPOKEN.finditer(text):
        word = found[0]
        if not word[0].isupper() or (found.start() == 0 and _begins_sentence(word)):
            continue
        if end >= 0 and not text[end : found.start()].strip():
            runs[-1].append(word)
        else:
            runs.append([word])
        end = found.end()
    return runs


def _begins_sentence(word: str) -> bool:
    return word.lower() in STOP_WORDS or _VERB.fullmatch(word) is not None


_NAMES = tuple(_measured(""))
