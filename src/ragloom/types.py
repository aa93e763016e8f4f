"""The shared nouns: plain data, and the roles that any function of the right shape can play."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, Unpack

if TYPE_CHECKING:  # numpy takes a third of a second to import, and only the annotations need it
    import numpy as np
    from numpy.typing import NDArray

Metadata = Mapping[str, Any]  # JSON values only: str, int, float, bool, None, lists and objects of them


def content_id(*parts: str) -> str:
    """A 32-digit hexadecimal id of the parts: equal parts give equal ids, on every machine.

    Each part is hashed with its length, so that ("ab", "c") and ("a", "bc") differ.

    >>> content_id("ab", "c") == content_id("a", "bc")
    False
    """
    digest = blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


# ---- Documents and what is found in them


@dataclass(frozen=True, slots=True)
class Document:
    """A text to search, as it was read.

    Attributes:
        id: content id of source, title and text.
        text: the whole text, exactly as read.
        title: may be empty.
        source: where it came from, unique in a workspace, e.g. `notes/plan.md` or `corpus.jsonl#42`.
        meta: further JSON values, kept but not searched.
    """

    id: str
    text: str
    title: str = ""
    source: str = ""
    meta: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document, the unit of retrieval.

    Attributes:
        id: content id of document id, start and text.
        text: the passage; `document.text[start:start + len(text)]`.
        title: its document's title.
        document_id: the document it was cut from; empty for a chunk made by hand.
        position: 0 for the document's first chunk, 1 for its second, and so on.
        start: offset of the first character in the document's text.
        meta: its document's meta.
    """

    id: str
    text: str
    title: str = ""
    document_id: str = ""
    position: int = 0
    start: int = 0
    meta: Metadata = field(default_factory=dict)


def document(text: str, *, title: str = "", source: str = "", meta: Metadata | None = None) -> Document:
    """A Document with its content id."""
    return Document(content_id(source, title, text), text, title, source, meta or {})


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved chunk and how well it matches: higher is better, comparable within one list only."""

    chunk: Chunk
    score: float


# ---- Talking to models


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Options(TypedDict, total=False):
    """What a call to an LLM may ask for; what is left out is the model's own default.

    Keys:
        max_tokens: longest reply, in tokens.
        temperature: 0 for the most likely reply.
        top_p: sample from the smallest set of tokens with this probability mass.
        stop: the reply ends before any of these.
        seed: equal seeds give equal samples where the server can.
        logprobs: token log-probabilities, with this many alternatives each (0: only the chosen token's).
        schema: the reply is JSON of this JSON schema.
        extra: further fields of the request, passed on as they are (e.g. `id_slot`, `grammar` of llama.cpp).
        on_text: called with each piece of the reply as it arrives; does not change the reply.
    """

    max_tokens: int
    temperature: float
    top_p: float
    stop: Sequence[str]
    seed: int
    logprobs: int
    schema: Mapping[str, Any]
    extra: Mapping[str, Any]
    on_text: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Usage:
    """What calls to models took. Adds up with `+`.

    Attributes:
        prompt_tokens: tokens sent, those in `cached_tokens` included.
        completion_tokens: tokens received.
        cached_tokens: tokens sent that the server had in its prefix cache.
        calls: requests that reached a model; a hit in ragloom's own cache is none.
        cache_hits: replies taken from ragloom's own cache.
        cost: in US dollars; None where a price is unknown.
        seconds: summed time of the calls, which may have run side by side.
        estimated: True where a server did not say and tokens were counted here.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    calls: int = 0
    cache_hits: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0
    estimated: bool = False

    @property
    def tokens(self) -> int:
        """Tokens sent and received."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.calls + other.calls,
            self.cache_hits + other.cache_hits,
            None if self.cost is None or other.cost is None else self.cost + other.cost,
            self.seconds + other.seconds,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of a reply, its natural-log probability, and the likeliest alternatives with theirs."""

    token: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said.

    Attributes:
        text: never empty.
        usage: what the call took.
        logprobs: one per token of the reply where asked for, else None.
        finish: `stop`, or `length` where `max_tokens` cut the reply off.
        model: the model's name as the server gave it.
    """

    text: str
    usage: Usage = Usage()
    logprobs: tuple[TokenLogprob, ...] | None = None
    finish: Literal["stop", "length"] = "stop"
    model: str = ""


# ---- Answers


@dataclass(frozen=True, slots=True)
class Citation:
    """A place in the passages that supports an answer.

    Attributes:
        number: the passage's number in the prompt, from 1, as written in the answer.
        chunk_id, document_id: what was cited.
        start, end: character offsets in the document's text: of the answer where the passage holds it, else of the
            passage.
        by: `model` where the model cited it, `match` where it did not and the passage holds the answer's words.
    """

    number: int
    chunk_id: str
    document_id: str
    start: int
    end: int
    by: Literal["model", "match"] = "model"


@dataclass(frozen=True, slots=True)
class Span:
    """One step of a run.

    Attributes:
        name: what was done, e.g. `retrieve`.
        start: seconds since the run began.
        seconds: how long it took.
        parent: place of the enclosing span in the record, -1 for none.
        attributes: JSON values; text of documents and replies only where the run keeps text.
    """

    name: str
    start: float
    seconds: float
    parent: int = -1
    attributes: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run took and did.

    Attributes:
        usage: total of what it spent.
        seconds: wall time.
        spans: its steps in the order they began.
        saved: what the replies that it took from ragloom's cache took when they were made; no part of `usage`.
    """

    usage: Usage = Usage()
    seconds: float = 0.0
    spans: tuple[Span, ...] = ()
    saved: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, what it rests on, and what it took.

    Attributes:
        text: the answer without citation marks.
        hits: the passages the reader was given, in the prompt's order.
        citations: the passages the answer rests on.
        abstained: the reader says that the passages do not hold the answer.
        run: usage, time and trace.
    """

    text: str
    hits: tuple[Hit, ...] = ()
    citations: tuple[Citation, ...] = ()
    abstained: bool = False
    run: RunRecord = RunRecord()


# ---- Roles: any callable of the shape will do


class LLM(Protocol):
    """Answers a conversation. Safe to call from several threads."""

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply: ...


class Embedder(Protocol):
    """Turns n texts into float32 vectors (n, d) of length 1."""

    @property
    def model(self) -> str:
        """Name of the model; vectors of different names are never compared."""
        ...

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]: ...


class Retriever(Protocol):
    """Finds at most k chunks for a query, best first; fewer where fewer match."""

    def __call__(self, query: str, k: int, /) -> list[Hit]: ...


class Refiner(Protocol):
    """Reorders, filters or replaces hits."""

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]: ...


class Reader(Protocol):
    """Answers a question from hits, which may be none."""

    def __call__(self, question: str, hits: Sequence[Hit], /) -> Answer: ...


class Pipeline(Protocol):
    """Answers a question."""

    def __call__(self, question: str, /) -> Answer: ...
