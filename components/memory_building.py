"""The entries of memories: one for each group of passages, and what stands above them in a tree (spec M0 to M4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Protocol

from ragloom.components.completions import estimate_tokens
from ragloom.components.extractive_memory import ExtractiveWriter
from ragloom.components.memory import Author, Entry
from ragloom.components.memory_groups import Group, Passage, by_document, grouped, passages, split_by_content
from ragloom.types import Chunk, content_id

MOST_PARTS, LEAST_PARTS = 10, 5  # of an entry of a tree


class Writer(Protocol):
    """Says in fewer words what some passages say. Safe to call from several threads."""

    @property
    def identity(self) -> str:
        """Everything besides the passages that the text depends on."""
        ...

    def __call__(self, passages: Group, /) -> str:
        """The text.

        Raises:
            BadReply: a model gave none that can be used.
            LLMError: a model could not be asked.
        """
        ...


@dataclass(frozen=True, slots=True)
class Written:
    """The text of an entry, and who wrote it."""

    text: str
    by: Author


WriteAll = Callable[[Sequence[Group]], Sequence[Written]]  # one text for each group


@dataclass(frozen=True)
class MemoryBuilder:
    """Makes the entries of memories from chunks.

    Attributes:
        group_tokens: most tokens of the passages that one entry is written from; MemoRAG-Lite's are 4,096, more than
            the small local models read at once.
        entry_tokens: most tokens of an entry; what is no longer is taken as it is, without a model.
        count_tokens: how they are counted.
    """

    group_tokens: int = 1024
    entry_tokens: int = 256
    _: KW_ONLY
    count_tokens: Callable[[str], int] = estimate_tokens

    def __post_init__(self) -> None:
        if not 1 <= self.entry_tokens <= self.group_tokens:
            raise ValueError(
                "entry_tokens and group_tokens must be 1 <= entry_tokens <= group_tokens, got "
                f"{self.entry_tokens} and {self.group_tokens}"
            )

    @property
    def rules(self) -> ExtractiveWriter:
        """What writes entries without a model, and where the model fails."""
        return ExtractiveWriter(self.entry_tokens, count_tokens=self.count_tokens)

    def full_text(self, chunks: Sequence[Chunk]) -> tuple[Entry, ...]:
        """All that the chunks say, each group an entry, or several where it has passages of several documents."""
        return _each_once(
            Entry(run[0].title, passages(run)[0].text, _ids(run))
            for group in self._grouped(chunks)
            for run in by_document(group)
        )

    def extractive(self, chunks: Sequence[Chunk]) -> tuple[Entry, ...]:
        """The sentences of each group that say most."""
        rules = self.rules
        return self.gists(chunks, lambda groups: [Written(rules(group), "rules") for group in groups])

    def gists(self, chunks: Sequence[Chunk], write: WriteAll) -> tuple[Entry, ...]:
        """What was written of each group."""
        groups = self._grouped(chunks)
        written = self._write([passages(group) for group in groups], write)
        return _each_once(
            Entry(_heading(group), each.text, _ids(group), by=each.by)
            for group, each in zip(groups, written, strict=True)
        )

    def tree(self, chunks: Sequence[Chunk], write: WriteAll) -> tuple[Entry, ...]:
        """The gists, what was written of five to ten of them each, and so on up to one entry, the root."""
        entries = list(self.gists(chunks, write))
        begin, level = 0, 0
        while len(entries) - begin > 1:
            below, level = range(begin, len(entries)), level + 1
            keys = [content_id(entries[place].title, entries[place].text) for place in below]
            parts = split_by_content([1] * len(below), keys, most=MOST_PARTS, least=LEAST_PARTS)
            groups = [[entries[begin + number] for number in part] for part in parts]
            written = self._write([[Passage(each.title, each.text) for each in group] for group in groups], write)
            entries += [
                _above(group, tuple(begin + number for number in part), each, level)
                for group, part, each in zip(groups, parts, written, strict=True)
            ]
            begin = below.stop
        return tuple(entries)

    def _grouped(self, chunks: Sequence[Chunk]) -> list[tuple[Chunk, ...]]:
        return grouped(chunks, group_tokens=self.group_tokens, count_tokens=self.count_tokens)

    def _write(self, groups: Sequence[Group], write: WriteAll) -> list[Written]:
        """A text for each group; what is short enough stays as it is."""
        plain = [_plain(group) for group in groups]
        short = [self.count_tokens(text) <= self.entry_tokens for text in plain]
        longer = iter(write([group for group, is_short in zip(groups, short, strict=True) if not is_short]))
        return [
            Written(text, "rules") if is_short else next(longer) for text, is_short in zip(plain, short, strict=True)
        ]


def glossary(facts: Mapping[str, Sequence[tuple[str, str]]]) -> tuple[Entry, ...]:
    """An entry for each entity: its facts, a line each.

    Args:
        facts: for each entity, in the order of the entries, pairs of a chunk's id and a fact that the chunk states;
            empty where the chunk only names the entity.
    """
    return tuple(
        Entry(
            entity,
            "\n".join(dict.fromkeys(" ".join(fact.split()) for _, fact in stated if fact)),
            tuple(dict.fromkeys(chunk_id for chunk_id, _ in stated)),
        )
        for entity, stated in facts.items()
    )


def _each_once(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Entries that say the same as one of all their passages, without those that say nothing.

    What documents repeat would crowd out the rest.
    """
    equal: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if not entry.text.strip():
            continue
        equal.setdefault((entry.title, entry.text), []).append(entry)
    return tuple(
        replace(same[0], chunk_ids=tuple(id_ for entry in same for id_ in entry.chunk_ids)) for same in equal.values()
    )


def _plain(group: Group) -> str:
    """The passages as they are, behind their titles where there are several."""
    if len(group) == 1:
        return group[0].text
    return "\n".join(passage.label + passage.text for passage in group)


def _above(parts: Sequence[Entry], places: tuple[int, ...], written: Written, level: int) -> Entry:
    titles = {part.title for part in parts}
    title = titles.pop() if len(titles) == 1 else ""  # all of them would be most of the memory
    return Entry(title, written.text, tuple(id_ for part in parts for id_ in part.chunk_ids), level, places, written.by)


def _heading(group: Iterable[Chunk]) -> str:
    return "; ".join(dict.fromkeys(chunk.title for chunk in group if chunk.title))


def _ids(group: Iterable[Chunk]) -> tuple[str, ...]:
    return tuple(chunk.id for chunk in group)
