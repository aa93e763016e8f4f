"""A global memory of a corpus: what its passages say in fewer words, for a model to recall clues from.

The black-box memories of MemoRAG (arXiv:2409.05591, section 2; MemoRAG-Lite of its repository): no trained compression,
but entries of text, each made of a group of passages, which stand at the beginning of a prompt. How they are made is
in `memory_building`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ragloom.types import content_id

Kind = Literal["full-text", "gists", "tree", "glossary", "extractive"]


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
    by: Literal["model", "rules"] = "rules"


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
