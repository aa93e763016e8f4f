"""Documents to chunks: by sentences, or whole where they are short. Every chunk knows its exact place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from ragloom.types import Chunk, Document, content_id

if TYPE_CHECKING:
    from llama_index.core.node_parser import SentenceSplitter

_LEAST_TOKENS = 16  # a single character can take 4 tokens
_BLOCK = 500_000  # characters split at a time: the tokens of a whole book would take a hundred times its size


class Splitter(Protocol):
    """Cuts a document into chunks; none where it holds only white space."""

    @property
    def identity(self) -> str:
        """Name and parameters: chunks made under another identity are made anew."""
        ...

    def __call__(self, document: Document, /) -> list[Chunk]:
        """The chunks, in the order of the text."""
        ...


@dataclass(frozen=True)
class SentenceSplitting:
    """Chunks of whole sentences, as many as fit, the last ones repeated at the start of the next chunk.

    The work is llama_index's SentenceSplitter. Together the chunks hold all of the text but white space at their ends.

    Args:
        chunk_tokens: longest chunk, in tokens of OpenAI's cl100k; a longer sentence is cut at commas, then words.
        overlap_tokens: most that is repeated.
    """

    chunk_tokens: int = 256
    overlap_tokens: int = 32

    def __post_init__(self) -> None:
        if self.chunk_tokens < _LEAST_TOKENS:
            raise ValueError(f"chunk_tokens must be at least {_LEAST_TOKENS}, got {self.chunk_tokens}")
        if not 0 <= self.overlap_tokens < self.chunk_tokens:
            raise ValueError(
                f"overlap_tokens must be from 0 to below chunk_tokens = {self.chunk_tokens}, got {self.overlap_tokens}"
            )

    @property
    def identity(self) -> str:
        """Name and parameters."""
        return repr(self)

    def __call__(self, document: Document, /) -> list[Chunk]:
        """The chunks, in the order of the text."""
        splitter = _sentence_splitter(self.chunk_tokens, self.overlap_tokens)
        places = dict.fromkeys(  # of a text that repeats itself, the last pieces may all stand at its end
            (first + start, text)
            for first, block in _blocks(document.text)
            for start, text in _placed(block, splitter.split_text(block))
        )
        return [_chunk(document, position, start, text) for position, (start, text) in enumerate(places)]


@dataclass(frozen=True)
class WholePassages:
    """One chunk for a short document, its text unchanged; a longer one is split by sentences.

    Args:
        max_tokens: of the longest document kept whole, and of the longest chunk of any other.
        overlap_tokens: as in SentenceSplitting.
    """

    max_tokens: int = 512
    overlap_tokens: int = 32

    def __post_init__(self) -> None:
        SentenceSplitting(self.max_tokens, self.overlap_tokens)

    @property
    def identity(self) -> str:
        """Name and parameters."""
        return repr(self)

    def __call__(self, document: Document, /) -> list[Chunk]:
        """The chunks, in the order of the text."""
        if not document.text.strip():
            return []
        if _fits(document.text, self.max_tokens):
            return [_chunk(document, 0, 0, document.text)]
        return SentenceSplitting(self.max_tokens, self.overlap_tokens)(document)


def _chunk(document: Document, position: int, start: int, text: str) -> Chunk:
    id_ = content_id(document.id, str(start), text)
    return Chunk(id_, text, document.title, document.id, position, start, document.meta)


def _fits(text: str, tokens: int) -> bool:
    longest = 128  # characters in one token; spares a book the counting
    return len(text) <= longest * tokens and len(_tokenizer()(text)) <= tokens


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Consecutive parts of the text and their offsets, cut at the last blank line, line or space before the limit."""
    start = 0
    while len(text) - start > _BLOCK:
        ends = (text.rfind(mark, start, start + _BLOCK) for mark in ("\n\n", "\n", " "))
        end = next((end for end in ends if end > start), start + _BLOCK)
        yield start, text[start:end]
        start = end
    if start < len(text):
        yield start, text[start:]


def _placed(text: str, pieces: list[str]) -> Iterator[tuple[int, str]]:
    """The pieces with their offsets in the text.

    A piece begins at the latest place where it stands that leaves nothing but white space between it and the piece
    before. So nothing of the text is left out even where it repeats itself, and a piece's own place is always among
    those looked at.
    """
    end = 0
    for piece in pieces:
        latest = end
        while text[latest : latest + 1].isspace():
            latest += 1
        start = text.rindex(piece, 0, latest + len(piece))
        yield start, piece
        end = start + len(piece)


@cache
def _sentence_splitter(chunk_tokens: int, overlap_tokens: int) -> SentenceSplitter:
    from llama_index.core.node_parser import SentenceSplitter

    return SentenceSplitter(
        chunk_size=chunk_tokens,
        chunk_overlap=overlap_tokens,
        tokenizer=_tokenizer(),
    )


@cache
def _tokenizer() -> Callable[[str], list[int]]:
    from llama_index.core.utils import get_tokenizer

    return get_tokenizer()  # cl100k, from a file that llama_index brings along
