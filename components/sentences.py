"""The sentences of a text, by rules that any language with marks and spaces can do with."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LONGEST = 400  # characters of a sentence; where marks are missing, a whole page would be one
_PIECE = re.compile(rf"\S.{{0,{_LONGEST - 1}}}(?!\S)|\S{{1,{_LONGEST}}}")

# A sentence ends at its mark, unless a lower-case letter follows. It is unfinished where an initial or a title stands
# before the mark, or nothing but the number of a list.
_END = re.compile(r"[.!?\u2026]+[^\w\s]*(?=\s+[^\sa-z])|[\u3002\uff01\uff1f]")
_UNFINISHED = re.compile(r"^[\W\d]*$|\b(?:[^\W\d_]|Mr|Mrs|Ms|Dr|St|Mt|Jr|Sr|Prof|Gen|Col|Capt|Lt|Rev|No|vs|ca)\.$")


def first_sentence(text: str) -> str:
    """The first sentence of the text, or of its first line with words where that ends before.

    Initials, titles such as Dr. and the number of a list end no sentence.

    >>> first_sentence("It was J. K. Rowling who wrote it. She lives in Edinburgh.")
    'It was J. K. Rowling who wrote it.'
    """
    line = next(filter(re.compile(r"\w").search, text.splitlines()), "").strip()
    ends = (match.end() for match in _END.finditer(line))
    return next((line[:end] for end in ends if not _UNFINISHED.search(line[:end])), line)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, white space made single spaces; none is longer than 400 characters.

    >>> list(sentences("Dr. Low came. He\\n\\nleft!"))
    ['Dr. Low came.', 'He', 'left!']
    """
    for line in text.splitlines():
        rest = " ".join(line.split())
        while sentence := first_sentence(rest):
            rest = rest[rest.index(sentence) + len(sentence) :].lstrip()
            yield from _PIECE.findall(sentence)
