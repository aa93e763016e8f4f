"""The knowledge graph of a corpus: phrases and passages as nodes, counted chunk by chunk.

Everything is kept by chunk (what it is about, what it mentions, what it states), and edges are summed up from that. So
a chunk that goes takes exactly its share along, and an updated graph equals one built anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ragloom.errors import IndexMismatch
from ragloom.graph.counting import Numbering, load_counts, rearranged, renumbered, save_counts, used_columns
from ragloom.graph.extraction import Extraction, normalise
from ragloom.graph.name_matching import NameMatcher, places_beginning
from ragloom.graph.naming import is_link, names
from ragloom.graph.shares import Fact, Shares
from ragloom.graph.words import Words
from ragloom.types import Chunk

if TYPE_CHECKING:
    from ragloom.graph.counting import Counts

Extract = Callable[[Chunk], Extraction | None]

VERSION = 2  # of the files and of what is counted how, names and links included: another one makes saved graphs stale
_MATRICES = ("names", "entities", "links", "statements")


@dataclass(frozen=True, eq=False)
class KnowledgeGraph:
    """What the chunks of a corpus name, mention and state.

    Nodes of every matrix made from it are the phrases first, then the passages, both in the order given here.

    Attributes:
        extractor: identity of the extractor that read the chunks.
        chunk_ids: the passages, in the order of the corpus.
        unread: ids of chunks whose extraction failed; they have names and links, but no entities and statements.
        phrases: normalised, sorted: those that have an entry below, or stand at an end of a fact.
        facts: normalised, sorted: those that have an entry below.
        fact_ends: (facts, 2), subject and object of each fact, as places in `phrases`.
        names: (passages, phrases), 1 where the passage is about the phrase.
        entities: (passages, phrases), how often the passage mentions the phrase, as the extractor found.
        links: (passages, phrases), how often the phrase, a name of several words, is found in the words of the passage.
        statements: (passages, facts), how often the passage states the fact.
        words: the words of all passages, in which new names are looked for.
    """

    extractor: str
    chunk_ids: list[str]
    unread: frozenset[str]
    phrases: list[str]
    facts: list[Fact]
    fact_ends: NDArray[np.int32]
    names: Counts
    entities: Counts
    links: Counts
    statements: Counts
    words: Words

    @classmethod
    def empty(cls, extractor: str) -> Self:
        """The graph of no chunks."""
        none = Shares([], [])
        return cls(
            extractor=extractor,
            chunk_ids=[],
            unread=frozenset(),
            phrases=[],
            facts=[],
            fact_ends=none.fact_ends(),
            names=none.names.counts(0),
            entities=none.entities.counts(0),
            links=none.links.counts(0),
            statements=none.statements.counts(0),
            words=Words.of(none.words),
        )

    @classmethod
    def build(cls, chunks: Sequence[Chunk], extract: Extract, extractor: str) -> Self:
        """The graph of the chunks; arguments as in `updated`."""
        return cls.empty(extractor).updated(chunks, extract)

    def updated(self, chunks: Sequence[Chunk], extract: Extract) -> Self:
        """The graph of the chunks, equal to one built anew, reading only chunks that are new to it.

        Where a name appeared or is gone, links are looked for anew in the kept chunks that may have its words. Chunks
        whose extraction had failed count as new.

        Args:
            chunks: all of the corpus, in its order, each id once.
            extract: what an extractor found in a chunk, None where it failed.
        """
        ids = [chunk.id for chunk in chunks]
        kept = self._kept_rows(ids)
        about = {row: names(chunks[row]) for row in np.flatnonzero(kept < 0).tolist()}
        fresh, still, again = self._changed_names(kept, about.values())
        rows = np.flatnonzero((kept < 0) | again).tolist()
        old = self._beginning_with(chunks[row].text for row in rows) if still.any() else ()
        matcher = NameMatcher(filter(is_link, chain((self.phrases[place] for place in old if still[place]), fresh)))
        shares = Shares(self.phrases, self.facts)
        for row in rows:
            words = normalise(chunks[row].text).split()
            shares.links.append(matcher(words))
            if row in about:
                shares.append(ids[row], about[row], words, extract(chunks[row]))
        return self._with(shares, ids, kept, again)

    @cached_property
    def mentions(self) -> Counts:
        """(passages, phrases), how often the passage mentions the phrase, by `entities` or by `links`."""
        return self.entities.maximum(self.links)

    def save(self, folder: Path) -> None:
        """Write the graph to a folder, as JSON and numpy arrays."""
        texts = {
            "version": VERSION,
            "extractor": self.extractor,
            "chunk_ids": self.chunk_ids,
            "unread": sorted(self.unread),
            "phrases": self.phrases,
            "facts": self.facts,
        }
        (folder / "graph.json").write_text(json.dumps(texts), encoding="utf-8")
        np.save(folder / "fact-ends.npy", self.fact_ends, allow_pickle=False)
        for name in _MATRICES:
            save_counts(getattr(self, name), folder, name)
        self.words.save(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The graph that was saved in a folder whose files are trusted: take it from `Store.derived`.

        Raises:
            IndexMismatch: it was written by another version.
        """
        texts = json.loads((folder / "graph.json").read_text(encoding="utf-8"))
        if texts["version"] != VERSION:
            raise IndexMismatch(f"the graph in {folder} was written by another version of ragloom", "build it again")
        widths = {name: len(texts["facts" if name == "statements" else "phrases"]) for name in _MATRICES}
        return cls(
            extractor=texts["extractor"],
            chunk_ids=texts["chunk_ids"],
            unread=frozenset(texts["unread"]),
            phrases=texts["phrases"],
            facts=[(subject, relation, object_) for subject, relation, object_ in texts["facts"]],
            fact_ends=np.load(folder / "fact-ends.npy", allow_pickle=False),
            **{name: load_counts(folder, name, width) for name, width in widths.items()},
            words=Words.load(folder),
        )

    def _kept_rows(self, ids: list[str]) -> NDArray[np.int64]:
        """The row of each chunk, -1 where it is to be read."""
        rows = dict(zip(self.chunk_ids, range(len(self.chunk_ids)), strict=True))
        for id_ in self.unread:
            del rows[id_]
        kept = np.fromiter(map(rows.get, ids, repeat(-1)), np.int64, len(ids))
        new = Counter(ids[row] for row in np.flatnonzero(kept < 0).tolist())
        repeated = [self.chunk_ids[row] for row in np.flatnonzero(np.bincount(kept[kept >= 0]) > 1).tolist()]
        repeated += [id_ for id_, count in new.items() if count > 1]
        if repeated:
            raise ValueError(f"two chunks have the same id {repeated[0]!r}")
        return kept

    def _changed_names(
        self, kept: NDArray[np.int64], about: Iterable[tuple[str, ...]]
    ) -> tuple[Iterable[str], NDArray[np.bool_], NDArray[np.bool_]]:
        """What a change does to the names.

        Returns:
            Names of chunks that are read; (phrases,), whether a kept chunk is about the phrase; and (chunks,), whether
            the chunk is kept but may have to be linked anew, since a name appeared or is gone.
        """
        number, width = Numbering(self.phrases), len(self.phrases)
        fresh = {name: number[name] for name in chain.from_iterable(about)}
        before = used_columns(number.size, self.names)
        still = used_columns(number.size, self.names[kept[kept >= 0]])
        appeared = [name for name, place in fresh.items() if not before[place]]
        vanished = before & ~still
        vanished[list(fresh.values())] = False
        affected = self.links @ vanished[:width] > 0
        affected[self.words.texts_with(filter(is_link, appeared))] = True
        return fresh, still[:width], (kept >= 0) & np.append(affected, False)[kept]

    def _beginning_with(self, texts: Iterable[str]) -> Iterator[int]:
        """The places of phrases that begin with a word of the texts: a few, where the texts are few."""
        met = {word for text in texts for word in normalise(text).split()}
        return chain.from_iterable(places_beginning(word, self.phrases) for word in met)

    def _with(self, new: Shares, ids: list[str], kept: NDArray[np.int64], again: NDArray[np.bool_]) -> Self:
        """The graph of kept rows and of those that were read; `again`: kept ones whose links were."""
        phrases, facts = new.phrases, new.facts
        ends = np.concatenate([self.fact_ends, new.fact_ends()])
        rows = _with_read(kept, kept < 0, len(self.chunk_ids))
        link_rows = _with_read(kept, (kept < 0) | again, len(self.chunk_ids))
        names = rearranged(self.names, new.names.counts(phrases.size), rows)
        entities = rearranged(self.entities, new.entities.counts(phrases.size), rows)
        links = rearranged(self.links, new.links.counts(phrases.size), link_rows)
        statements = rearranged(self.statements, new.statements.counts(facts.size), rows)

        stated = used_columns(facts.size, statements)
        used = used_columns(phrases.size, names, entities, links)
        used[ends[stated]] = True
        phrase_list, phrase_places = phrases.sorted(used)
        fact_list, fact_places = facts.sorted(stated)
        fact_ends = np.empty((len(fact_list), 2), np.int32)
        fact_ends[fact_places[stated]] = phrase_places[ends[stated]]
        return type(self)(
            extractor=self.extractor,
            chunk_ids=ids,
            unread=frozenset(new.unread),
            phrases=phrase_list,
            facts=fact_list,
            fact_ends=fact_ends,
            names=renumbered(names, phrase_places, len(phrase_list)),
            entities=renumbered(entities, phrase_places, len(phrase_list)),
            links=renumbered(links, phrase_places, len(phrase_list)),
            statements=renumbered(statements, fact_places, len(fact_list)),
            words=self.words.rearranged(Words.of(new.words), rows),
        )


def _with_read(kept: NDArray[np.int64], read: NDArray[np.bool_], old: int) -> NDArray[np.int64]:
    """The kept rows, and for chunks that were read the rows that come behind the `old` ones."""
    rows = kept.copy()
    rows[read] = old + np.arange(np.count_nonzero(read))
    return rows
