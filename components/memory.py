"""A global memory of a corpus: what its passages say in fewer words, for a model to recall clues from.

The black-box memories of MemoRAG (arXiv:2409.05591, section 2; MemoRAG-Lite of its repository): no trained compression,
but entries of text, each made of a group of passages, which stand at the beginning of a prompt. How they are made is
in `memory_building`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any, Literal, get_args

from ragloom.codec import to_json
from ragloom.components.bm25 import BM25
from ragloom.components.completions import estimate_tokens
from ragloom.components.prompting import fence
from ragloom.components.records import Record, read_object
from ragloom.errors import ConfigError
from ragloom.run import span
from ragloom.types import Chunk, content_id
from ragloom.writing import write_aside

Kind = Literal["full-text", "gists", "tree", "glossary", "extractive"]
Author = Literal["model", "rules"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """What some passages say.

    Attributes:
        title: of the documents they are from, or the entity of a glossary.
        text: what they say.
        chunk_ids: the passages, in the order of their documents.
        level: 0 for one made of passages; of a summary tree, one above the entries it sums up.
        parts: places in the memory of the entries that it sums up.
        by: who wrote it; `rules` also where the model failed and sentences were taken instead.
    """

    title: str
    text: str
    chunk_ids: tuple[str, ...]
    level: int = 0
    parts: tuple[int, ...] = ()
    by: Author = "rules"


@dataclass(frozen=True, slots=True)
class Recollection:
    """What of a memory is put to a model.

    Attributes:
        text: the beginning of the prompt; of a memory that fits as a whole the same for every query.
        places: of the entries in it, in its order.
        left_out: how many entries are not in it, nor summed up by one that is.
    """

    text: str
    places: tuple[int, ...]
    left_out: int = 0


@dataclass(frozen=True)
class Memory:
    """Entries in the order of the documents, those of a tree's higher levels after those below.

    Attributes:
        kind: how it was made.
        entries: what it holds.
        made_by: identity of what wrote them.
        corpus: `Store.corpus_id` of the chunks it was made of; another one makes it stale.
    """

    kind: Kind
    entries: tuple[Entry, ...]
    made_by: str
    corpus: str = ""

    @property
    def key(self) -> str:
        """Id of the memory's content: equal keys make equal prompts."""
        return content_id(
            self.kind, self.made_by, *(text for entry in self.entries for text in (entry.title, entry.text))
        )

    # ---- Looking things up

    def search(self, query: str, k: int) -> list[int]:
        """Places of at most k entries that share words with the query, best first by BM25 over title and text."""
        return [int(hit.chunk.id) for hit in self._index(query, k)]

    def recall(
        self, query: str, *, context_tokens: int | None, count_tokens: Callable[[str], int] = estimate_tokens
    ) -> Recollection:
        """What of the memory is put to a model with the query: all of it, or what is most relevant and fits.

        Each entry stands below a heading of its number and title. Headings end in a tag that no entry contains, so that
        none can pass for another one; it is the same for every query. The order is that of the documents, a summary
        before what it sums up.

        Of a memory that does not fit, the entries most relevant to the query that fit are taken, then others in their
        order, or of a glossary those of the most passages. A tree is descended from its root, which stays, to the most
        relevant entries that fit, with the summaries on the way; one gives way where all that it sums up is there.

        The span `recall` has the numbers of entries, those `shown`, and those `left_out`.

        Args:
            query: as asked.
            context_tokens: most tokens of the text; None for no limit.
            count_tokens: how they are counted.

        Raises:
            ConfigError: not one entry fits.
        """
        with span("recall", kind=self.kind, entries=len(self.entries)) as attributes:
            places = self._outline
            if context_tokens is not None and self.entries and count_tokens(self.text) > context_tokens:
                places = self._fitting(query, context_tokens, count_tokens)
            found = Recollection(self._text(places), tuple(places), len(self.entries) - len(self._covered(places)))
            attributes |= {"shown": len(places), "left_out": found.left_out}
        return found

    @cached_property
    def text(self) -> str:
        """The whole memory as it stands in a prompt."""
        return self._text(self._outline)

    @cached_property
    def _index(self) -> BM25:
        return BM25([Chunk(str(place), entry.text, entry.title) for place, entry in enumerate(self.entries)])

    @cached_property
    def _written(self) -> list[str]:
        """Each entry below its heading."""
        tag = fence(text for entry in self.entries for text in (entry.title, entry.text))
        headings = (" ".join([f"[{place}]", *entry.title.split()]) for place, entry in enumerate(self.entries, 1))
        return [f"{heading} #{tag}\n{entry.text}" for heading, entry in zip(headings, self.entries, strict=True)]

    @cached_property
    def _tops(self) -> list[int]:
        """Places of the entries that no other sums up: all of a list, the root of a tree."""
        below = {part for entry in self.entries for part in entry.parts}
        return [place for place in range(len(self.entries)) if place not in below]

    @cached_property
    def _outline(self) -> list[int]:
        """All places, each before the parts of its entry."""
        found: list[int] = []
        waiting = self._tops[::-1]
        while waiting:
            found.append(waiting.pop())
            waiting += reversed(self.entries[found[-1]].parts)
        return found

    def _text(self, places: Iterable[int]) -> str:
        return "\n\n".join(self._written[place] for place in places)

    def _covered(self, places: Iterable[int]) -> set[int]:
        """The places, and those of all that their entries sum up."""
        found: set[int] = set()
        waiting = list(places)
        while waiting:
            place = waiting.pop()
            found.add(place)
            waiting += self.entries[place].parts
        return found

    # ---- Where not all of it fits

    def _fitting(self, query: str, context_tokens: int, count_tokens: Callable[[str], int]) -> list[int]:
        sizes = [count_tokens(f"{text}\n\n") for text in self._written]
        relevance = self._relevance(query)
        chosen: list[int] = []  # the first is given up last
        room = context_tokens
        for place in sorted(self._tops, key=lambda place: (-relevance[place], self._without_query(place), place)):
            if sizes[place] <= room:
                chosen.append(place)
                room -= sizes[place]
        chosen += self._descended(chosen, relevance, sizes, room)
        while chosen and count_tokens(self._text(self._ordered(chosen))) > context_tokens:
            chosen.pop()  # a tokenizer may take more for a whole than for its parts
        if not chosen:
            which, least = "root" if self.kind == "tree" else "shortest", min(sizes[place] for place in self._tops)
            raise ConfigError(
                f"no entry of the memory fits into {context_tokens:,} tokens: the {which} takes {least:,}",
                "raise memory_tokens, or use another kind of memory",
            )
        return self._ordered(chosen)

    def _descended(self, tops: Sequence[int], relevance: Sequence[float], sizes: Sequence[int], room: int) -> list[int]:
        """What fits beside the tops of that which they sum up, the most relevant branches first and deepest."""
        above = {part: place for place, entry in enumerate(self.entries) for part in entry.parts}
        shown: dict[int, None] = {}  # in the order in which they were found
        replaced: set[int] = set()

        def ranked(part: int) -> tuple[float, int, int]:
            return -relevance[part], -self.entries[part].level, part  # of equals the one that sums up more

        waiting = [ranked(part) for place in tops for part in self.entries[place].parts]
        heapify(waiting)
        while waiting:
            *_, place = heappop(waiting)
            if sizes[place] > room:
                continue
            shown[place] = None
            room -= sizes[place]
            for part in self.entries[place].parts:
                heappush(waiting, ranked(part))
            summary = above[place]
            while summary in shown and all(part in shown or part in replaced for part in self.entries[summary].parts):
                del shown[summary]
                replaced.add(summary)
                room += sizes[summary]
                summary = above[summary]
        return list(shown)

    def _relevance(self, query: str) -> list[float]:
        """Of each entry its BM25 score, or the best of what it sums up: a summary leaves out what it is looked for."""
        found = [0.0] * len(self.entries)
        for hit in self._index(query, max(1, len(self.entries))):
            found[int(hit.chunk.id)] = hit.score
        for place, entry in enumerate(self.entries):  # parts stand before what sums them up
            found[place] = max([found[place], *(found[part] for part in entry.parts)])
        return found

    def _without_query(self, place: int) -> int:
        return -len(self.entries[place].chunk_ids) if self.kind == "glossary" else 0

    def _ordered(self, places: Iterable[int]) -> list[int]:
        wanted = set(places)
        return [place for place in self._outline if place in wanted]

    # ---- Files

    def save(self, file: str | Path) -> None:
        """Write it as JSON; aside, and moved into place.

        Raises:
            InputError: it cannot be written there.
        """
        text = json.dumps({"format": _FORMAT, **to_json(self)}, indent=1)  # ASCII, so that lone surrogates do no harm
        write_aside(Path(file), lambda aside: aside.write_text(text + "\n", encoding="utf-8"))

    @classmethod
    def load(cls, file: str | Path) -> Memory:
        """The memory of a file, equal to the one that was saved.

        Raises:
            InputError: it cannot be read, or is no memory; names the file and the field.
        """
        record = read_object(Path(file))
        if record.fields.get("format") != _FORMAT:
            raise record.error(f"is no memory of format {_FORMAT}", "build the memory again")
        kind = _one_of(record, "kind", get_args(Kind))
        entries = tuple(_entry(part, place) for place, part in enumerate(record.parts("entries")))
        return cls(kind, entries, record.string("made_by"), record.string("corpus"))


def _entry(record: Record, place: int) -> Entry:
    parts = tuple(_whole(record, "parts", number, below=place) for number in record.numbers("parts"))
    level = _whole(record, "level", record.number("level"))
    by = _one_of(record, "by", get_args(Author))
    chunk_ids = tuple(record.strings("chunk_ids"))
    return Entry(record.string("title"), record.string("text"), chunk_ids, level, parts, by)


def _whole(record: Record, name: str, number: float, *, below: int | None = None) -> int:
    if not isinstance(number, int) or number < 0 or (below is not None and number >= below):
        wanted = "a whole number from 0" if below is None else f"places of entries before it, below {below}"
        raise record.error(f"the field {name!r} must hold {wanted}, found {number}", "build the memory again")
    return number


def _one_of(record: Record, name: str, known: Sequence[str]) -> Any:  # Any: one of the literals that were given
    if (value := record.string(name)) not in known:
        raise record.error(f"the field {name!r} must be one of {', '.join(known)}, found {value!r}")
    return value
