"""Entries of a memory without a model: the sentences that say most of what their passages say."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from heapq import heapify, heappop, heappush
from itertools import groupby
from math import sqrt
from typing import NamedTuple

from ragloom.components.completions import estimate_tokens
from ragloom.components.memory_groups import Group
from ragloom.components.sentences import sentences
from ragloom.components.tokenizing import Tokenizer

_BREAK = re.compile(r"(?<=\S)[ \t]*\n[ \t]*(?=(\w))")
_NAME = re.compile(r"\w*\d\w*|(?<=[^\W_] )[^\W\d_a-z]\w+")  # a number, or no small letter within a sentence


@dataclass(frozen=True)
class ExtractiveWriter:
    """A Writer that takes the sentences in which the words of a passage come together; it calls no model.

    A word weighs as many different sentences of its passage as hold it, the title being one, names and numbers twice
    that. The sentence whose words weigh most is taken, for the root of their number, until nothing more fits; words
    that were taken weigh nothing from then on, and passages that were taken from are marked down. Ties are in the order
    of the text. Depends on nothing but the passages, so that an entry changes only with them.

    A longer sentence than 400 characters is cut into several at white space. A line that begins in a small letter goes
    on with the sentence of the line before, as in texts that are wrapped.

    Args:
        entry_tokens: most tokens of the text; one sentence is taken even where it has more.
        count_tokens: how they are counted.
        words: what counts as the same word, and which words count.
    """

    entry_tokens: int = 256
    _: KW_ONLY
    count_tokens: Callable[[str], int] = estimate_tokens
    words: Tokenizer = field(default_factory=Tokenizer)

    def __post_init__(self) -> None:
        if self.entry_tokens < 1:
            raise ValueError(f"entry_tokens must be at least 1, got {self.entry_tokens}")

    @property
    def identity(self) -> str:
        """The version of the rules, and the number of tokens."""
        return f"extractive 2 {self.entry_tokens} {self.words}"

    def __call__(self, passages: Group, /) -> str:
        """The sentences in their order, a line for each passage, behind its title where there are several."""
        said = (
            _Sentence(number, text)
            for number, passage in enumerate(passages)
            for text in sentences(_unwrapped(passage.text))
        )
        found = list(dict.fromkeys(said))
        titles = [passage.label if len(passages) > 1 else "" for passage in passages]
        chosen: list[int] = []
        room = self.entry_tokens
        for place in _best_first(found, self._weights(passages, found)):
            size = self.count_tokens(f"{titles[found[place].passage]}{found[place].text}\n")
            if size <= room or not chosen:
                chosen.append(place)
                room -= size
        lines = groupby((found[place] for place in sorted(chosen)), key=lambda sentence: sentence.passage)
        return "\n".join(titles[number] + " ".join(each.text for each in line) for number, line in lines)

    def _weights(self, passages: Group, found: Sequence[_Sentence]) -> list[dict[int, float]]:
        """What the words of each sentence weigh, by their numbers."""
        texts = [*(sentence.text for sentence in found), *(passage.title for passage in passages)]
        names = [" ".join(_NAME.findall(sentence.text)) for sentence in found]
        words = [set(numbers) for numbers in self.words.numbered([*texts, *names])[0]]
        said = [Counter(title) for title in words[len(found) : len(texts)]]
        for sentence, its in zip(found, words, strict=False):
            said[sentence.passage].update(its)
        return [
            {word: said[sentence.passage][word] * (2.0 if word in named else 1.0) for word in its}
            for sentence, its, named in zip(found, words, words[len(texts) :], strict=False)
        ]


class _Sentence(NamedTuple):
    passage: int
    text: str


def _best_first(found: Sequence[_Sentence], weights: Sequence[dict[int, float]]) -> Iterator[int]:
    """Places of the sentences in the order in which they are taken."""
    taken: defaultdict[int, set[int]] = defaultdict(set)
    times = Counter[int]()

    def gain(place: int) -> float:
        number = found[place].passage
        new = sum(weight for word, weight in weights[place].items() if word not in taken[number])
        return new / sqrt(len(weights[place]) or 1) / (1 + times[number])

    waiting = [(-gain(place), place) for place in range(len(found))]
    heapify(waiting)
    while waiting:
        worth, place = heappop(waiting)
        now = -gain(place)  # gains only fall, so one that has not fallen is still the highest
        if now > worth:
            heappush(waiting, (now, place))
            continue
        yield place
        taken[found[place].passage].update(weights[place])
        times[found[place].passage] += 1


def _unwrapped(text: str) -> str:
    return _BREAK.sub(lambda found: " " if found[1].islower() else found[0], text)
