"""Reading: a model answers a question from numbered passages, and its citations are mapped back to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from ragloom.components.completions import estimate_tokens
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reordering import best_first
from ragloom.errors import ConfigError, EmptyReply, InputError
from ragloom.run import span
from ragloom.types import LLM, Answer, Chunk, Citation, Hit, Options

Mode = Literal["short", "long", "yes-no"]

MAX_QUESTION_CHARACTERS = 100_000
MAX_TOKENS: dict[Mode, int] = {"short": 48, "long": 512, "yes-no": 16}

_CITATION = re.compile(r"\s*\[([0-9]{1,9}(?:\s*,\s*[0-9]{1,9})*)\]")


def check_question(question: str) -> None:
    """Refuse a question that no reader can answer.

    Raises:
        InputError: it is empty, too long, or no valid text.
    """
    if not question.strip():
        raise InputError("the question is empty", "ask something")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InputError(
            f"the question has {len(question):,} characters, at most {MAX_QUESTION_CHARACTERS:,} can be asked",
            "put long texts into the corpus, and ask about them",
        )
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the question is no valid text: character {error.start} is half of a surrogate pair",
            "read it from its file as UTF-8",
        ) from None


@cache
def packaged_prompt(mode: Mode, *, closed_book: bool = False) -> Prompt:
    """The prompt that comes with ragloom for a mode; `closed_book` for one without passages."""
    name = f"closed-book-{mode}.txt" if closed_book else f"{mode}.txt"
    return Prompt.load(Path(__file__).parent / "prompts" / name)


@dataclass(frozen=True, kw_only=True)
class PromptReader:
    """Answers from numbered passages with one call to a model; without passages, from what the model knows.

    Passages stand in the prompt in the order given. Where they do not all fit `context_tokens`, those of the lowest
    scores are dropped, of equal ones the last: an order of them, such as `sides`, puts good passages at the end.

    Each call is a span `read`, with the number of passages shown, of those `dropped`, and `bad_citations` (numbers the
    model cited that no passage has).

    Args:
        llm: the model.
        mode: `short` asks for a few words, `long` for sentences, `yes-no` for one of the two words.
        prompt: instead of the packaged one for the mode, with passages as well as without.
        max_tokens: longest reply; by default what the mode needs.
        context_tokens: most tokens of the prompt, the reply not counted; None for no limit.
        count_tokens: how they are counted.
        options: further options of the call.
    """

    llm: LLM = field(kw_only=False)
    mode: Mode = "short"
    prompt: Prompt | None = None
    max_tokens: int | None = None
    context_tokens: int | None = None
    count_tokens: Callable[[str], int] = estimate_tokens
    options: Options = field(default_factory=lambda: Options(temperature=0.0))

    def __post_init__(self) -> None:
        if self.mode not in MAX_TOKENS:
            raise ConfigError(f"there is no reading mode {self.mode!r}", f"the modes are {', '.join(MAX_TOKENS)}")

    def __call__(self, question: str, hits: Sequence[Hit], /) -> Answer:
        """The answer, with the passages that were shown and those it rests on.

        Raises:
            InputError: the question is empty or too long.
            ConfigError: no passage fits `context_tokens`, or the prompt has no place for passages.
            EmptyReply: the reply cites, but says nothing.
        """
        check_question(question)
        prompt = self.prompt or packaged_prompt(self.mode, closed_book=not hits)
        if hits and prompt.passage is None:
            raise ConfigError(f"{prompt.source} has no slot {{passages}}", "add it to its '## user'")
        with span("read", mode=self.mode) as attributes:
            shown = self._fitting(prompt, question, hits)
            attributes |= {"passages": len(shown), "dropped": len(hits) - len(shown)}
            options = Options(max_tokens=self.max_tokens or MAX_TOKENS[self.mode]) | self.options
            reply = self.llm(prompt.messages(question, [hit.chunk for hit in shown]), **options)
            text, numbers = _split_citations(reply.text)
            text = self._tidy(text)
            cited = [number for number in numbers if 1 <= number <= len(shown)]
            attributes["bad_citations"] = len(numbers) - len(cited)
            abstained = _says(prompt.phrase, text, cited)
            citations = () if abstained else tuple(_citations(text, cited, shown))
            return Answer(text, shown, citations, abstained)

    def _fitting(self, prompt: Prompt, question: str, hits: Sequence[Hit]) -> tuple[Hit, ...]:
        """The best hits that fit the context, in the order given."""
        ranked = best_first([hit.score for hit in hits])
        fitting = prompt.fitting(
            question,
            [hit.chunk for hit in hits],
            context_tokens=self.context_tokens,
            count_tokens=self.count_tokens,
            best_first=ranked,
        )
        return tuple(hits[place] for place in sorted(ranked[:fitting]))

    def _tidy(self, text: str) -> str:
        """The answer as its mode wants it: one line where it is short, one word where it is yes or no."""
        if self.mode == "long":
            return text
        if self.mode == "yes-no" and (word := re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)):
            return word[1].lower()
        return text.partition("\n")[0].rstrip()


def _split_citations(reply: str) -> tuple[str, list[int]]:
    """The reply without its citation marks, and the numbers in them, each once, in order."""
    numbers = [int(number) for marks in _CITATION.findall(reply) for number in marks.split(",")]
    text = _CITATION.sub("", reply).strip()
    if not text:
        raise EmptyReply("the reply holds citations, but no answer", "ask again, or use a larger model")
    return text, list(dict.fromkeys(numbers))


def _says(abstention: str, text: str, cited: Sequence[int]) -> bool:
    """Whether a reply is the abstention. It may stand in a sentence of a reply that cites nothing."""
    phrase, said = abstention.casefold().strip(" ."), text.casefold()
    return said.startswith(phrase) or (phrase in said and not cited)


def _citations(answer: str, cited: Sequence[int], shown: Sequence[Hit]) -> Iterator[Citation]:
    """The cited passages in the reply's order; if it cites none, those that hold the answer's words, best hit first."""
    pattern = _literally(answer)
    for number in cited:
        yield _citation(number, shown[number - 1].chunk, pattern, "model")
    if cited or pattern is None:
        return
    for place in best_first([hit.score for hit in shown]):
        chunk = shown[place].chunk
        if pattern.search(chunk.title) or pattern.search(chunk.text):
            yield _citation(place + 1, chunk, pattern, "match")


def _literally(answer: str) -> re.Pattern[str] | None:
    """Matches the answer's words in a text; None for an answer that texts do not hold, such as yes."""
    words = answer.strip(" \t\n.,;:!?\"'").split()
    if not words or " ".join(words).casefold() in ("yes", "no"):
        return None
    return re.compile(r"(?<!\w)" + r"\s+".join(map(re.escape, words)) + r"(?!\w)", re.IGNORECASE)


def _citation(number: int, chunk: Chunk, pattern: re.Pattern[str] | None, by: Literal["model", "match"]) -> Citation:
    found = pattern.search(chunk.text) if pattern is not None else None
    start, end = found.span() if found else (0, len(chunk.text))
    return Citation(number, chunk.id, chunk.document_id, chunk.start + start, chunk.start + end, by)
