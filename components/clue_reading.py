"""What of a model's reply can be searched for.

Small models number their lines and quote them, repeat themselves, go on with the prompt, answer in another language, or
copy their instructions. What is left of a reply after all that is clues; it may be nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from unicodedata import normalize

from ragloom.components.answer_words import admission
from ragloom.components.languages import language, scripts
from ragloom.components.tokenizing import STOP_WORDS

MOST_CLUES = 8  # of one reply
LONGEST = 64  # words of a clue; what follows is cut
ALIKE = 0.9  # least F1 of the words of two clues that are taken for one
_LOOP = 12  # words of the longest repetition that is looked for
_COPIED = 4  # words in a row that show where a text was copied from

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_CODE_FENCE = re.compile(r"^\s*(?:```|~~~).*$", re.MULTILINE)
_MARK = re.compile(
    r"(?:[\s>#*+\-\u2010-\u2015\u2022\u25aa\u25cf\u25e6\u00b7]+|\(?\d{1,2}[.):](?:\s+|$)|\[\d{1,2}\]\s*|[a-h][.)]\s+)+"
)
_LABEL = re.compile(
    r"(?:(?:sub|surrogate)?[\s-]?questions?|quer(?:y|ies)|search|clues?|spans?|passages?|sentences?|(?:key )?points?|"
    r"answers?|draft|[qa])\s*#?\d{0,2}\s*[*_]*:\s*",
    re.IGNORECASE,
)
_QUOTES = "\"'`\u2018\u2019\u201a-\u201f\u00ab\u00bb\u300c-\u300f"
_INNER_QUOTE = re.compile('["\u201c-\u201f\u00ab\u00bb\u300c-\u300f]')
_TAG = re.compile(r"(?<!\w)#[0-9a-f]{4,8}\b")  # as `prompting.fence` makes them
_AROUND = " \t*_,;`"


def words(text: str) -> list[str]:
    """The words in lower case; in scripts without spaces every character is one.

    >>> words("It's 東京.")
    ['it', 's', '東', '京']
    """
    return _WORD.findall(normalize("NFC", text).casefold())


def alike(one: str, other: str) -> bool:
    """Whether two texts say the same: nearly the same words, stop words aside, and none lacks a name of the other."""
    if words(one) == words(other):
        return True
    ours, theirs = _content(one), _content(other)
    shared = ours & theirs
    return 2 * len(shared) >= ALIKE * (len(ours) + len(theirs)) and _names(one) | _names(other) <= shared


def repeats(clue: str, known: Sequence[str]) -> bool:
    """Whether a clue is like one that is known."""
    return any(alike(clue, other) for other in known)


@dataclass(frozen=True)
class ClueReading:
    """Reads replies to one question.

    Attributes:
        question: nothing that only repeats it is a clue.
        memory: what the model was shown. What stands in it is a clue, whatever it looks like.
        instructions: what else the model was shown.
    """

    question: str
    memory: str = ""
    instructions: str = ""

    def lines(self, text: str, *, least_words: int, known: Sequence[str] = (), cut_off: bool = False) -> list[str]:
        """The clues of a reply, in its order, at most `MOST_CLUES`.

        Args:
            text: the reply.
            least_words: a line of fewer words is none; of scripts without spaces two characters are a word.
            known: clues of earlier replies; none of these is like one of them.
            cut_off: the reply was ended by its length, so the last of several lines is unfinished.
        """
        written = list(_lines(_own(text)))
        if cut_off and len(written) > 1:
            written.pop()
        kept: list[str] = []
        for line in written:
            clue = _unlooped(line)
            if len(kept) == MOST_CLUES:
                break
            if _size(clue) < least_words or line.endswith((":", "\uff1a")) or not self._is_usable(clue):
                continue
            if not repeats(clue, (*known, *kept)):
                kept.append(clue)
        return kept

    def draft(self, text: str) -> str:
        """The first line of a reply that can be an answer; empty where none can, as one that says it knows none."""
        drafts = (_unlooped(line) for line in _lines(_own(text)) if not line.endswith((":", "\uff1a")))
        return next((draft for draft in drafts if words(draft) and self._is_usable(draft)), "")

    def _is_usable(self, clue: str) -> bool:
        said = words(clue)
        if alike(clue, self.question) or admission(clue):
            return False
        return _row(said) in self._memory_row or not (self._is_copied(said) or self._is_foreign(clue))

    def _is_copied(self, said: list[str]) -> bool:
        """Whether half of its runs of four words stand in the instructions, or all of a text that has fewer."""
        if len(said) < _COPIED:
            return _row(said) in self._instructions_row
        runs = [_row(said[start : start + _COPIED]) for start in range(len(said) - _COPIED + 1)]
        return 2 * sum(run in self._instructions_row for run in runs) >= len(runs)

    def _is_foreign(self, clue: str) -> bool:
        """Whether it is in a script or a language that neither the question nor the memory has."""
        own_scripts = scripts(clue, least_share=0.5)
        if own_scripts and self._scripts and not own_scripts & self._scripts:
            return True
        own = language(clue)
        return bool(own and self._languages) and own not in self._languages

    @cached_property
    def _memory_row(self) -> str:
        return _row(words(self.memory))

    @cached_property
    def _instructions_row(self) -> str:
        return _row(words(self.instructions))

    @cached_property
    def _scripts(self) -> frozenset[str]:
        return scripts(self.question) | scripts(self.memory)

    @cached_property
    def _languages(self) -> frozenset[str]:
        return frozenset(filter(None, (language(self.question), language(self.memory))))


def _own(text: str) -> str:
    """The reply up to the first line with a tag: from there it goes on with the prompt, with tags of its own making."""
    found = _TAG.search(text)
    return text[: text.rfind("\n", 0, found.start()) + 1] if found else text


def _row(said: Sequence[str]) -> str:
    """Words one behind the other, to be found as whole words."""
    return f" {' '.join(said)} "


def _size(text: str) -> float:
    return sum(0.5 if _IS_UNSPACED.match(word) else 1.0 for word in words(text))


def _content(text: str) -> frozenset[str]:
    said = frozenset(words(text))
    return said - STOP_WORDS or said


def _names(text: str) -> frozenset[str]:
    """The capitalised words but for the first one, which is capitalised in every sentence."""
    capitalised = (word.casefold() for word in _WORD.findall(normalize("NFC", text))[1:] if word[0].isupper())
    return frozenset(word for word in capitalised if word not in STOP_WORDS)


def _lines(text: str) -> Iterator[str]:
    """The lines with words, bare."""
    body = _CODE_FENCE.sub("", text).strip()
    for line in _listed(body) or body.splitlines():
        bare = _bare(" ".join(line.split()))
        if _WORD.search(bare):
            yield bare


def _listed(text: str) -> list[str]:
    """The texts of a JSON array or object, without their names; none where the reply is no such thing."""
    closing = {"[": "]", "{": "}"}.get(text[:1])
    if closing is None:
        return []
    try:
        return list(_texts(json.loads(text[: text.rfind(closing) + 1])))
    except (ValueError, RecursionError):
        return []


def _texts(value: object) -> Iterator[str]:
    """The texts of a JSON value, at whatever depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _bare(line: str) -> str:
    """The line without bullets, numbers, labels, and what is put around all of it."""
    before = ""
    while line != before:
        before = line
        for opening in (_MARK, _LABEL):
            if found := opening.match(line):
                line = line[found.end() :]
        line = line.strip(_AROUND)
        if len(line) > 1 and re.fullmatch(f"[{_QUOTES}].*[{_QUOTES}]", line) and not _INNER_QUOTE.search(line[1:-1]):
            line = line[1:-1]
    return line


def _unlooped(text: str) -> str:
    """The text up to its `LONGEST` words, and to where it begins to repeat itself.

    A run of three words or more that is said twice in a row is a repetition, and a shorter one that is said thrice.
    """
    found = list(_WORD.finditer(text))[: LONGEST + 1]
    said = [match[0].casefold() for match in found]
    for start in range(len(said)):
        for length in range(1, min(_LOOP, len(said) - start) + 1):
            run = said[start : start + length]
            times = 2 if length > 2 else 3
            if said[start : start + times * length] == run * times:
                return text[: found[start + length - 1].end()]
    return text[: found[LONGEST - 1].end()] if len(found) > LONGEST else text
