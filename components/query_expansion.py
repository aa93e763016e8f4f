"""Other queries from a model that sees no memory: what clues have to be compared with, at equal calls."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from functools import cache
from pathlib import Path

from ragloom.components.clue_making import LEAST_WORDS
from ragloom.components.clue_reading import ClueReading
from ragloom.components.clue_retrieval import Fusion, search_with_clues
from ragloom.components.clues import Clue
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import check_question
from ragloom.errors import BadReply
from ragloom.run import span
from ragloom.types import LLM, Hit, Options, Reply, Retriever


@cache
def _prompt(name: str, phrase: str) -> Prompt:
    return Prompt.load(Path(__file__).parent / "prompts" / f"query-{name}.txt", phrase=phrase)


@dataclass(frozen=True)
class HyDE:
    """A Retriever that searches for the question together with passages that a model makes up to answer it.

    Hypothetical document embeddings (arXiv:2212.10496) average the vectors of the question and the passages; here their
    words are joined to one query, which any retriever can take. A passage that the model does not give, or says that it
    cannot guess, is left out, and without one the question is searched for alone. Each call is a span `expand`.

    Args:
        llm: writes the passages.
        retriever: finds chunks.
        passages: how many are written, a call each, from seeds 0, 1, and so on; the paper has 8.
        options: of the calls; with more than one passage the temperature must be above 0, or all are the same.
    """

    llm: LLM
    retriever: Retriever
    _: KW_ONLY
    passages: int = 1
    options: Options = field(default_factory=lambda: Options(temperature=0.7, max_tokens=128))

    def __post_init__(self) -> None:
        if self.passages < 1:
            raise ValueError(f"passages must be at least 1, got {self.passages}")

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first.

        Raises:
            InputError: the question is empty or too long.
        """
        check_question(query)
        written = (self._passage(query, seed) for seed in range(self.passages))
        return self.retriever("\n".join([query, *filter(None, written)]), k)

    def _passage(self, query: str, seed: int) -> str:
        prompt = _prompt("passage", "unknown")
        with span("expand", seed=seed) as attributes:
            reply = _reply(self.llm, prompt, query, Options(seed=seed) | self.options)
            passage = "" if reply is None else " ".join(reply.text.split())
            usable = not passage.casefold().startswith(prompt.phrase.casefold())
            attributes["words"] = len(passage.split()) if usable else 0
            return passage if usable else ""


@dataclass(frozen=True)
class Decomposition:
    """A Retriever that searches for the question and for the simpler questions that a model takes it apart into.

    What part of the gain of clues comes of asking several questions, without a memory. One call, a span `decompose`;
    the lists are fused as a `ClueRetriever` does.

    Args:
        llm: takes the question apart.
        retriever: finds chunks for the question and for each of the simpler ones.
        per_query: hits of each search.
        fusion: how the lists become one.
        options: of the call.
    """

    llm: LLM
    retriever: Retriever
    _: KW_ONLY
    per_query: int = 3
    fusion: Fusion = "weighted"
    options: Options = field(default_factory=lambda: Options(temperature=0.0, max_tokens=128))

    def __post_init__(self) -> None:
        if self.per_query < 1:
            raise ValueError(f"per_query must be at least 1, got {self.per_query}")

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """At most k hits, best first.

        Raises:
            ValueError: k below 1.
            InputError: the question is empty or too long.
        """
        check_question(query)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        clues = [Clue(question, "question") for question in self._questions(query)]
        return search_with_clues(self.retriever, query, clues, k, per_query=self.per_query, fusion=self.fusion)

    def _questions(self, query: str) -> list[str]:
        prompt = _prompt("questions", "simple")
        with span("decompose") as attributes:
            reply = _reply(self.llm, prompt, query, self.options)
            questions = (
                [] if reply is None or prompt.phrase.casefold() in reply.text.casefold() else _read(query, reply)
            )
            attributes["kept"] = len(questions)
            return questions


def _read(query: str, reply: Reply) -> list[str]:
    prompt = _prompt("questions", "simple")
    shown = "\n".join(turn["content"] for turn in prompt.messages("", ())[:-1])
    reading = ClueReading(query, instructions=shown)
    return reading.lines(reply.text, least_words=LEAST_WORDS["questions"], cut_off=reply.finish == "length")


def _reply(llm: LLM, prompt: Prompt, query: str, options: Options) -> Reply | None:
    try:
        return llm(prompt.messages(query, ()), **options)
    except BadReply:  # the span of the call says so
        return None
