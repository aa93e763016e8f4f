"""Groups of consecutive passages, each for one entry of a memory, cut where the content says so.

Cut by counting, one passage more would move every later boundary, and each group behind it would be written anew. Here
a boundary depends on the passages near it (as in content-defined chunking), so that a changed document changes the
groups that it stands in and seldom their neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

from ragloom.components.tokenizing import searchable
from ragloom.types import Chunk, content_id


class Passage(NamedTuple):
    """A text to write an entry from, and the title of its document."""

    title: str
    text: str

    @property
    def label(self) -> str:
        """The title before what the passage says, on one line; nothing where there is none."""
        title = " ".join(self.title.split())
        return f"{title}: " if title else ""


Group = Sequence[Passage]
Chunks = tuple[Chunk, ...]


def grouped(chunks: Sequence[Chunk], *, group_tokens: int, count_tokens: Callable[[str], int]) -> list[Chunks]:
    """All chunks in their order, in groups of at most that many tokens; a larger chunk is a group by itself.

    A document that is larger than a group shares none with another; smaller ones stay whole.

    Args:
        chunks: those of a document follow each other.
        group_tokens: most tokens of a group; most groups have at least a third of it.
        count_tokens: how they are counted.
    """
    found: list[Chunks] = []
    for run in _runs(chunks, group_tokens, count_tokens):
        sizes = [sum(count_tokens(searchable(chunk)) for chunk in unit) for unit in run]
        keys = [content_id(*(text for chunk in unit for text in (chunk.title, chunk.text))) for unit in run]
        parts = split_by_content(sizes, keys, most=group_tokens, least=group_tokens // 3)
        found += [tuple(chunk for unit in run[part.start : part.stop] for chunk in unit) for part in parts]
    return found


def split_by_content(sizes: Sequence[int], keys: Sequence[str], *, most: int, least: int) -> list[range]:
    """Consecutive ranges of items, each of at most the size `most` unless it is one item.

    What is too large is cut in two before the item with the lowest key, among those that leave `least` on both sides
    where there are such, and so on. Keys are hashes, so that items that come or go move boundaries next to them only.

    >>> split_by_content([1, 1, 1, 1], ["d", "c", "a", "b"], most=2, least=1)
    [range(0, 2), range(2, 4)]
    """
    ends = [0, *accumulate(sizes)]
    found = []
    waiting = [range(len(sizes))] if sizes else []
    while waiting:
        part = waiting.pop()
        start, stop = part.start, part.stop
        if ends[stop] - ends[start] <= most or len(part) == 1:
            found.append(part)
            continue
        inner = range(start + 1, stop)
        roomy = [cut for cut in inner if min(ends[cut] - ends[start], ends[stop] - ends[cut]) >= least]
        # Of equal items, the one next to the middle: peeled off one by one, they would take quadratic time.
        cut = min(roomy or inner, key=lambda place: (keys[place], abs(2 * place - start - stop)))
        waiting += [range(cut, stop), range(start, cut)]
    return found


def passages(group: Sequence[Chunk]) -> list[Passage]:
    """The texts of a group by document, without what overlapping chunks repeat."""
    return [Passage(run[0].title, _joined(run)) for run in by_document(group)]


def by_document(chunks: Sequence[Chunk]) -> Iterator[Chunks]:
    """The chunks of each document; one made by hand, without a document, stands for itself."""
    for _, run in groupby(chunks, key=lambda chunk: (chunk.document_id, "" if chunk.document_id else chunk.id)):
        yield tuple(run)


def _runs(chunks: Sequence[Chunk], group_tokens: int, count_tokens: Callable[[str], int]) -> Iterator[list[Chunks]]:
    """Units that may share groups: the chunks of a large document, or small documents that follow each other."""
    small: list[Chunks] = []
    for document in by_document(chunks):
        if sum(count_tokens(searchable(chunk)) for chunk in document) <= group_tokens:
            small.append(document)
            continue
        if small:
            yield small
            small = []
        yield [(chunk,) for chunk in document]
    if small:
        yield small


def _joined(run: Chunks) -> str:
    text, end = run[0].text, run[0].start + len(run[0].text)
    for before, chunk in pairwise(run):
        overlaps = before.start < chunk.start <= end
        text += chunk.text[end - chunk.start :] if overlaps else f"\n{chunk.text}"
        end = chunk.start + len(chunk.text)
    return text
