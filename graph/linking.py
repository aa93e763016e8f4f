"""Phrases of the graph that a question names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragloom.graph.extraction import normalise
from ragloom.graph.name_matching import NameMatcher

_WORD = re.compile(r"\w+")


class QuestionLinker:
    """Finds phrases that a question names: the longest match at each word, where a word of it has a capital.

    Ordinary words are titles too ("Area", "Adolescence"), and would lead astray; a question that is written without
    capitals is matched as it is.

    Args:
        phrases: normalised, of the graph.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        self._matcher = NameMatcher(phrases)

    def __call__(self, question: str, /) -> list[str]:
        """The phrases, in the order of the question, each once."""
        words: list[str] = []
        capitals: list[bool] = []
        for word in _WORD.findall(question):
            parts = normalise(word).split()
            words += parts
            capitals += [word[0].isupper() or word[0].isdigit()] * len(parts)
        spans = self._matcher.spans(words)
        if any(capitals[1:]):
            spans = [(start, end) for start, end in spans if any(capitals[start:end])]
        return list(dict.fromkeys(" ".join(words[start:end]) for start, end in spans))
