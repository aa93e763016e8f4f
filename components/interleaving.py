"""Interleaved retrieval and thought (IRCoT, arXiv:2212.10509), as HippoRAG combines it (arXiv:2405.14831, section 3).

A question often does not name what its answer depends on. So a model writes one sentence about what was found, and that
sentence is searched for next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from ragloom.components.completions import estimate_tokens
from ragloom.components.fusion import min_max
from ragloom.components.passage_prompts import Prompt
from ragloom.components.sentences import first_sentence
from ragloom.errors import BadReply
from ragloom.run import span
from ragloom.types import LLM, Hit, Options, Retriever

Stop = Literal["steps", "answered", "repeated", "empty", "nothing new"]


def load_prompt(path: str | Path) -> Prompt:
    """The prompt for a thought from a file; `components/prompts/thought.txt` is one, and says how they are written.

    Raises:
        ConfigError: names the file, the line and what is wrong there.
    """
    return Prompt.load(path, phrase="answer", slots=("passages", "thoughts"))


@cache
def _packaged_prompt() -> Prompt:
    return load_prompt(Path(__file__).parent / "prompts" / "thought.txt")


@dataclass(frozen=True)
class InterleavedRetriever:
    """A Retriever that searches for the question, then for a thought about what was found, and so on.

    Each step is a span `step` with its number, the `query`, how many passages were `found`, the ids of those that were
    `new`, the `thought` written about them, and in the last one why it was the last (`stop`):

    - `steps`: they are used up,
    - `answered`: the thought holds the phrase that announces the answer,
    - `repeated`: the thought, but for case and spaces, was searched for before, as a thought or as the question,
    - `empty`: the thought has no words, or the model gave no usable reply (BadReply),
    - `nothing new`: the step found only passages that were known, or none.

    The model is called once after each step that none of `steps` and `nothing new` ends, so at most `steps - 1` times,
    and not at all where the question finds nothing. A budget that runs out ends the retrieval with its error, as it
    does in readers.

    Differences to the published loop: it goes on after `nothing new`, `repeated` and `empty` until its steps are used
    up, which costs calls and may find more. With 2 steps what is found is the same, unless the thought is empty.
    HippoRAG's code searches for the whole reply, where only its first sentence is kept here, as in IRCoT itself: what a
    model adds to it rests on passages that were not retrieved yet.

    Scores of different queries are not comparable, so each step's are brought to 0 for its last hit and 1 for its best,
    as HippoRAG's own scores are; a passage keeps its best. Ties are in the order in which passages were found.

    Args:
        llm: writes the thoughts.
        retriever: finds passages for the question and for each thought.
        steps: most retrievals; published results use 2 for HotpotQA and 2WikiMultiHopQA, 4 for MuSiQue.
        per_step: hits of each retrieval, and most passages shown to the model, the best so far. Where more hits are
            asked of this retriever, each retrieval gets as many.
        prompt: instead of the packaged one; see `load_prompt`.
        max_tokens: longest reply.
        context_tokens: most tokens of the prompt, the reply not counted; None for no limit. Passages that do not fit
            are left out, the last ones first.
        count_tokens: how they are counted.
        options: further options of the calls.
    """

    llm: LLM
    retriever: Retriever
    _: KW_ONLY
    steps: int = 2
    per_step: int = 10
    prompt: Prompt | None = None
    max_tokens: int = 64
    context_tokens: int | None = None
    count_tokens: Callable[[str], int] = estimate_tokens
    options: Options = field(default_factory=lambda: Options(temperature=0.0))

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("per_step", self.per_step)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first.

        Raises:
            ValueError: k below 1, or a score of the retriever is no finite number.
            InputError: the question does not fit `context_tokens`.
            ConfigError: no passage fits `context_tokens`.
            BudgetExceeded: before a thought that the run's budget does not cover.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        prompt = self.prompt or _packaged_prompt()
        found: dict[str, Hit] = {}
        queries: list[str] = [query]
        stop: Stop | None = None
        while stop is None:
            with span("step", number=len(queries), query=queries[-1]) as attributes:
                hits = self.retriever(queries[-1], max(k, self.per_step))
                new = _keep_best(found, hits)
                attributes |= {"found": len(hits), "new": new}
                if not new:
                    stop = "nothing new"
                elif len(queries) == self.steps:
                    stop = "steps"
                else:
                    thought = attributes["thought"] = self._think(prompt, queries, _ranked(found)[: self.per_step])
                    stop = _reason_to_stop(thought, queries, prompt.phrase)
                    queries.append(thought)
                if stop is not None:
                    attributes["stop"] = stop
        return _ranked(found)[:k]

    def _think(self, prompt: Prompt, queries: Sequence[str], hits: Sequence[Hit]) -> str:
        """The next thought, after those that were searched for; empty where the model gave none."""
        question, *thoughts = queries
        so_far = "".join(f" {thought}" for thought in thoughts)
        passages = [hit.chunk for hit in hits]
        fitting = prompt.fitting(
            question, passages, context_tokens=self.context_tokens, count_tokens=self.count_tokens, thoughts=so_far
        )
        options = Options(max_tokens=self.max_tokens) | self.options
        try:
            reply = self.llm(prompt.messages(question, passages[:fitting], thoughts=so_far), **options)
        except BadReply:  # the span of the call says so
            return ""
        return first_sentence(reply.text)


def _reason_to_stop(thought: str, queries: Sequence[str], announcement: str) -> Stop | None:
    if not re.search(r"\w", thought):
        return "empty"
    if _folded(announcement) in _folded(thought):
        return "answered"
    return "repeated" if _folded(thought) in map(_folded, queries) else None


def _keep_best(found: dict[str, Hit], hits: Sequence[Hit]) -> list[str]:
    """Add the hits of a step, or raise the scores of those found before; gives the ids of the new ones."""
    new = list(dict.fromkeys(hit.chunk.id for hit in hits if hit.chunk.id not in found))
    for hit, score in zip(hits, min_max(hits), strict=True):
        known = found.get(hit.chunk.id)
        if known is None or score > known.score:
            found[hit.chunk.id] = Hit(hit.chunk, score)  # an id that is there keeps its place
    return new


def _ranked(found: dict[str, Hit]) -> list[Hit]:
    return sorted(found.values(), key=lambda hit: -hit.score)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
