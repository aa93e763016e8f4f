"""The knowledge graph of a corpus: phrases and passages as nodes, counted chunk by chunk.

Everything is kept by chunk (what it is about, what it mentions, what it states), and edges are summed up from that. So
a chunk that goes takes exactly its share along, and an updated graph equals one built anew.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ragloom.errors import IndexMismatch
from ragloom.graph.extraction import Extraction, normalise
from ragloom.graph.name_matching import NameMatcher, Words
from ragloom.graph.naming import is_name, names
from ragloom.types import Chunk

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Fact = tuple[str, str, str]  # normalised subject, relation and object
Extract = Callable[[Chunk], Extraction | None]

_VERSION = 1
_MATRICES = ("names", "mentions", "statements")

T = TypeVar("T", str, Fact)


@dataclass(frozen=True, eq=False)
class KnowledgeGraph:
    """What the chunks of a corpus name, mention and state.

    Nodes of every matrix made from it are the phrases first, then the passages, both in the order given here.

    Attributes:
        extractor: identity of the extractor that read the chunks.
        chunk_ids: the passages, in the order of the corpus.
        phrases: normalised, sorted.
        facts: normalised, sorted.
        names: (passages, phrases), 1 where the passage is about the phrase.
        mentions: (passages, phrases), how often the passage mentions the phrase as an entity, or as the name of a
            passage, itself included.
        statements: (passages, facts), how often the passage states the fact.
        unread: ids of chunks whose extraction failed; they have names, and mentions of names, but no more.
        words: the words of all chunks, in which new names are looked for.
    """

    extractor: str
    chunk_ids: list[str]
    phrases: list[str]
    facts: list[Fact]
    names: csr_array
    mentions: csr_array
    statements: csr_array
    unread: frozenset[str]
    words: Words

    @classmethod
    def empty(cls, extractor: str) -> Self:
        """The graph of no chunks."""
        from scipy.sparse import csr_array

        return cls(
            extractor, [], [], [], *(csr_array((0, 0), dtype=np.int32) for _ in _MATRICES), frozenset(), Words.empty()
        )

    @classmethod
    def build(cls, chunks: Sequence[Chunk], extract: Extract, extractor: str) -> Self:
        """The graph of the chunks; arguments as in `updated`."""
        return cls.empty(extractor).updated(chunks, extract)

    def updated(self, chunks: Sequence[Chunk], extract: Extract) -> Self:
        """The graph of the chunks, equal to one built anew, reading only chunks that are new to it.

        Besides new chunks, those are read again in which a name appeared that was new, or one that is gone, and those
        whose extraction had failed.

        Args:
            chunks: all of the corpus, in its order, each once.
            extract: what an extractor found in a chunk, None where it failed.
        """
        ids = [chunk.id for chunk in chunks]
        place = {id_: row for row, id_ in enumerate(self.chunk_ids)}
        old_rows = np.array([place.get(id_, -1) for id_ in ids], np.int64)
        words = self.words.rearranged(
            old_rows, [chunk.text for chunk, row in zip(chunks, old_rows, strict=True) if row < 0]
        )
        named = {row: names(chunks[row]) for row in np.flatnonzero(old_rows < 0).tolist()}
        lexicon, again = self._changed_names(old_rows, named, words)
        again |= {row for row, id_ in enumerate(ids) if id_ in self.unread and old_rows[row] >= 0}
        matcher = NameMatcher(lexicon)
        rows: dict[int, _Row] = {}
        unread = set()
        for row in sorted(named.keys() | again):
            extraction = extract(chunks[row])
            if extraction is None:
                unread.add(ids[row])
            rows[row] = _read(named.get(row) or names(chunks[row]), extraction or Extraction(), matcher(words.of(row)))
        old_rows[list(again)] = -1
        return self._with_rows(ids, old_rows, rows, frozenset(unread), words)

    def save(self, folder: Path) -> None:
        """Write the graph to a folder, as JSON and numpy arrays."""
        texts = {
            "version": _VERSION,
            "extractor": self.extractor,
            "chunk_ids": self.chunk_ids,
            "phrases": self.phrases,
            "facts": self.facts,
            "unread": sorted(self.unread),
        }
        (folder / "graph.json").write_text(json.dumps(texts), encoding="utf-8")
        for name in _MATRICES:
            matrix = getattr(self, name)
            for part in ("indptr", "indices", "data"):
                np.save(folder / f"{name}-{part}.npy", getattr(matrix, part), allow_pickle=False)
        self.words.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The graph that was saved in a folder whose files are trusted: take it from `Store.derived`.

        Raises:
            IndexMismatch: it was written by another version.
        """
        from scipy.sparse import csr_array

        texts = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
        if texts["version"] != _VERSION:
            raise IndexMismatch(f"the graph in {folder} is of version {texts['version']}", "build it again")
        facts = [(subject, relation, object_) for subject, relation, object_ in texts["facts"]]
        matrices = []
        for name, width in zip(_MATRICES, (len(texts["phrases"]),) * 2 + (len(facts),), strict=True):
            parts = (
                np.load(folder / f"{name}-{part}.npy", allow_pickle=False) for part in ("data", "indices", "indptr")
            )
            matrices.append(csr_array(tuple(parts), shape=(len(texts["chunk_ids"]), width)))
        return cls(
            texts["extractor"],
            texts["chunk_ids"],
            texts["phrases"],
            facts,
            *matrices,
            frozenset(texts["unread"]),
            Words.load(folder),
        )

    def _changed_names(
        self, old_rows: NDArray[np.int64], named: Mapping[int, tuple[str, ...]], words: Words
    ) -> tuple[set[str], set[int]]:
        """All names of the new state, and the kept rows in which an appeared or vanished one is mentioned."""
        kept = np.flatnonzero(old_rows >= 0)
        still = np.zeros(len(self.phrases), bool)
        still[self.names[old_rows[kept]].indices] = True
        before = np.zeros(len(self.phrases), bool)
        before[self.names.indices] = True
        lexicon = {self.phrases[column] for column in np.flatnonzero(still)}
        known = {self.phrases[column] for column in np.flatnonzero(before)}
        new = {name for row_names in named.values() for name in row_names}
        again = set(words.rows_with(new - known, among=kept).tolist())
        vanished = before & ~still
        vanished[[self._column(name) for name in new & known]] = False
        if vanished.any():
            mentioning = self.mentions[old_rows[kept]] @ vanished.astype(np.int32)
            again |= set(kept[mentioning > 0].tolist())
        return lexicon | new, again

    def _column(self, phrase: str) -> int:
        return bisect_left(self.phrases, phrase)

    def _with_rows(
        self,
        ids: list[str],
        old_rows: NDArray[np.int64],
        rows: Mapping[int, _Row],
        unread: frozenset[str],
        words: Words,
    ) -> Self:
        """The graph whose row i is the old row `old_rows[i]`, or where that is -1 the new `rows[i]`."""
        phrases = _Merged(
            self.phrases,
            {phrase for row in rows.values() for phrase in (*row.names, *row.mentions)}
            | {end for row in rows.values() for fact in row.facts for end in (fact[0], fact[2])},
        )
        facts = _Merged(self.facts, {fact for row in rows.values() for fact in row.facts})
        matrices = [
            _combined(
                getattr(self, name), old_rows, {row: getattr(new, attribute) for row, new in rows.items()}, merged
            )
            for name, attribute, merged in (
                ("names", "names", phrases),
                ("mentions", "mentions", phrases),
                ("statements", "facts", facts),
            )
        ]
        kept_facts = _used(len(facts.items), matrices[2])
        fact_list = [facts.items[column] for column in np.flatnonzero(kept_facts)]
        ends = [phrases.place(end) for fact in fact_list for end in (fact[0], fact[2])]
        kept_phrases = _used(len(phrases.items), matrices[0], matrices[1])
        kept_phrases[ends] = True
        phrase_list = [phrases.items[column] for column in np.flatnonzero(kept_phrases)]
        shrunk = [
            _shrunk(matrix, kept)
            for matrix, kept in zip(matrices, (kept_phrases, kept_phrases, kept_facts), strict=True)
        ]
        return type(self)(self.extractor, ids, phrase_list, fact_list, *shrunk, unread, words)


class _Row(NamedTuple):
    """What one chunk adds to the graph."""

    names: Mapping[str, int]
    mentions: Mapping[str, int]
    facts: Mapping[Fact, int]


def _read(about: Iterable[str], extraction: Extraction, matched: Iterable[str]) -> _Row:
    mentions = Counter(name for entity in extraction.entities if is_name(name := normalise(entity)))
    for name in matched:
        mentions.setdefault(name, 1)  # an entity of the same words was counted already
    facts: Counter[Fact] = Counter()
    for triple in extraction.triples:
        fact = (normalise(triple.subject), normalise(triple.relation), normalise(triple.object))
        if fact[0] and fact[2]:
            facts[fact] += 1
    return _Row(dict.fromkeys(about, 1), mentions, facts)


class _Merged(Generic[T]):
    """Two sorted lists as one, and where their items went."""

    def __init__(self, old: list[T], fresh: set[T]) -> None:
        new = sorted(item for item in fresh if not _holds(old, item))
        before = np.array([bisect_left(old, item) for item in new], np.int64)
        self.items = sorted(old + new)  # quick: it is two sorted runs
        self.places_of_old = np.arange(len(old)) + np.searchsorted(before, np.arange(len(old)), side="right")

    def place(self, item: T) -> int:
        """Where the item is; it must be there."""
        return bisect_left(self.items, item)


def _holds(items: Sequence[T], item: T) -> bool:
    place = bisect_left(items, item)
    return place < len(items) and items[place] == item


def _combined(
    old: csr_array, old_rows: NDArray[np.int64], rows: Mapping[int, Mapping[T, int]], merged: _Merged[T]
) -> csr_array:
    """The matrix of old and new rows in their new order, over the merged columns."""
    from scipy.sparse import csr_array, vstack

    width = len(merged.items)
    moved = csr_array((old.data, merged.places_of_old[old.indices], old.indptr), shape=(old.shape[0], width))
    order = np.where(old_rows >= 0, old_rows, 0)
    order[list(rows)] = old.shape[0] + np.arange(len(rows))
    counts = [sorted((merged.place(item), count) for item, count in row.items()) for row in rows.values()]
    starts = np.cumsum([0, *map(len, counts)])
    flat = np.array([pair for row in counts for pair in row], np.int32).reshape(-1, 2)
    fresh = csr_array((flat[:, 1], flat[:, 0], starts), shape=(len(rows), width))
    return csr_array(vstack([moved, fresh], format="csr", dtype=np.int32)[order])


def _used(width: int, *matrices: csr_array) -> NDArray[np.bool_]:
    used = np.zeros(width, bool)
    for matrix in matrices:
        used[matrix.indices] = True
    return used


def _shrunk(matrix: csr_array, kept: NDArray[np.bool_]) -> csr_array:
    """The matrix without columns that are not kept; those are empty."""
    from scipy.sparse import csr_array

    places = (np.cumsum(kept) - 1).astype(np.int32)
    indptr = matrix.indptr.astype(np.int64)
    return csr_array((matrix.data, places[matrix.indices], indptr), shape=(matrix.shape[0], int(kept.sum())))
