"""What a chunk is about: the names that stand for it, from its title or from the subject of its first sentence."""

from __future__ import annotations

import re

from ragloom.graph.extraction import normalise
from ragloom.types import Chunk

MONTHS_AND_DAYS = frozenset(
    """
    january february march april may june july august september october november december
    monday tuesday wednesday thursday friday saturday sunday
    """.split()  # noqa: SIM905 - a list takes a line a word
)

# Single words that open sentences or fill them; alone they name nothing.
COMMON_WORDS = frozenset(
    """
    a about according additionally after all also although among an and another are as at based be because been before
    being below between both build built but by currently despite did do does during each early five following for
    formerly four from generally had has have he her here his how however i if in including initially into is it its
    later like located many may more most my no not of often on once one or originally other our over she since so some
    sometimes such than that the their then there these they this those three through thus to today two under until
    up upon us usually was we were what when where which while who whom whose why will with within without you your

    first second third fourth fifth
    """.split()  # noqa: SIM905 - a list takes a line a word
).union(MONTHS_AND_DAYS)

# Nothing is given back of what no letter or digit opens (`*+`): a row of dots would take as long as a book.
_OPENING = r"\W*+(?:(?:The|A|An)\s+)?(.{2,120}?)"
_END = r"\s*[(\u2013\u2014;:]|\s+(?:is|was|are|were|has|had|refers|may)\b|(?<=\w{3})\.(?:\s|$)"
# The subject ends at a bracket, a dash or a colon, at its verb, or with a sentence that has none, but not at an initial
# ("Alexander B. H. Cox"); its first part also at a comma or another name.
_SUBJECT = re.compile(rf"{_OPENING}(?={_END})")
_FIRST_PART = re.compile(rf"{_OPENING}(?={_END}|,|\s+(?:or|also)\b)")
_TRAILING = re.compile(r"\W+$")
_QUOTED = re.compile(r'["“”]([^"“”]+)["“”]')
_PARTICLES = frozenset(
    """
    a al an and at bin by da das de del den der di dos du el for from ibn in la le of on or s the to van von with y
    """.split()  # noqa: SIM905 - a list takes a line a word
)


def is_name(phrase: str) -> bool:
    """Whether a normalised phrase can name something: more than two characters, not a number, not a common word."""
    return len(phrase) > 2 and phrase not in COMMON_WORDS and not phrase.replace(" ", "").isdigit()


def is_link(name: str) -> bool:
    """Whether a name counts wherever its words stand.

    One of a single word is as often an ordinary word ("Adolescence"), and counts where it is found as an entity; but in
    scripts without capitals nothing tells the two apart, and fewer entities are found.
    """
    return " " in name or not name.islower()


def names(chunk: Chunk) -> tuple[str, ...]:
    """The normalised names of what the chunk is about, each once.

    A title gives itself, and itself without a closing parenthesis: "Brand (play)" is also called Brand. Without a
    title the subject of the first sentence stands in, if it looks like a name: whole, up to its first comma, and for a
    person also with the middle names left out. Many chunks that start in the middle of a text have no name.
    """
    title = chunk.title.strip()
    found = (title, _without_parenthesis(title)) if title else _subjects(chunk.text)
    return tuple(dict.fromkeys(name for phrase in found if is_name(name := normalise(phrase))))


def _without_parenthesis(title: str) -> str:
    if not title.endswith(")"):
        return title
    start = title.find("(", title.rfind(")", 0, -1) + 1)
    return title[:start].rstrip() if start >= 0 else title


def _subjects(text: str) -> list[str]:
    opening = " ".join(text.lstrip()[:400].split())[:200]
    matches = (pattern.match(opening) for pattern in (_SUBJECT, _FIRST_PART))
    found = []
    for phrase in dict.fromkeys(_TRAILING.sub("", match[1]).lstrip() for match in matches if match):
        words = phrase.split()
        if not _reads_as_name(words):
            continue
        nickname = _QUOTED.search(phrase)
        plain = _QUOTED.sub(" ", phrase).split() if nickname and nickname.start() else words
        found += [phrase, " ".join(plain)]
        if 3 <= len(plain) <= 5 and "," not in phrase and all(word[0].isupper() for word in plain):
            found.append(f"{plain[0]} {plain[-1]}")
            if nickname:
                found.append(f"{nickname[1]} {plain[-1]}")
    return found


def _reads_as_name(words: list[str]) -> bool:
    first = words[0].lstrip("\"'\u201c\u2018(") if words else ""
    if not first or len(words) > 12 or not (first[0].isupper() or first[0].isdigit()):
        return False
    plain = [word for word in words if word[0].islower() and word not in _PARTICLES]
    if normalise(first) in COMMON_WORDS:  # "In Bruges" can be a name, "In Canada, the series" is none
        return len(words) > 1 and not plain and not any(word.endswith(",") for word in words)
    return len(plain) <= len(words) // 2
