"""Clues that a model recalls from a memory (MemoRAG, arXiv:2409.05591, section 2): spans, questions, and a draft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

from ragloom.components.clue_prompts import MemoryPrompt, Task
from ragloom.components.clue_reading import ClueReading, repeats
from ragloom.components.clues import Clue, Clues
from ragloom.components.completions import estimate_tokens
from ragloom.components.memory import Memory
from ragloom.components.reading import check_question
from ragloom.errors import BadReply, ConfigError
from ragloom.run import span
from ragloom.types import LLM, Message, Options, Reply

LEAST_WORDS = {"spans": 4, "questions": 3, "points": 4}  # of a clue; the published code keeps spans of more than three
MAX_TOKENS: dict[Task, int] = {"spans": 192, "questions": 128, "draft": 96, "points": 384}


@dataclass(frozen=True)
class LLMClueMaker:
    """A ClueMaker that asks a model, which is shown the memory: one call for each kind of clue, spans first.

    The prompts differ behind the memory only, so a server that keeps prefixes reads the memory once for all questions
    that it recalls the same for. Each call is a span `recall clues` with the `task`, how many lines were
    `kept`, how many entries of the memory were `shown` and `left_out`, and the `prompt_tokens` sent, those among them
    that the server had (`cached_tokens`), and their `cached_share`, None where nothing was sent.

    A reply without a usable line, or none at all (BadReply), gives no clues. The draft is searched for as well, as the
    last clue.

    Args:
        llm: the model; a light one does.
        memory_tokens: most of the memory in a prompt; of a larger one it recalls what fits, see `Memory.recall`.
        context_tokens: most tokens of the prompt, the reply not counted; None for no limit but that of the memory.
        count_tokens: how they are counted.
        spans: ask for sentences that the texts may hold.
        questions: ask for more specific questions.
        draft: ask for an answer from memory.
        options: further options of the calls.
    """

    llm: LLM
    _: KW_ONLY
    memory_tokens: int = 2048
    context_tokens: int | None = None
    count_tokens: Callable[[str], int] = estimate_tokens
    spans: bool = True
    questions: bool = True
    draft: bool = True
    options: Options = field(default_factory=lambda: Options(temperature=0.0))

    def __post_init__(self) -> None:
        if self.memory_tokens < 1:
            raise ValueError(f"memory_tokens must be at least 1, got {self.memory_tokens}")
        if not (self.spans or self.questions or self.draft):
            raise ConfigError("no kind of clues is asked for", "ask for spans, questions or a draft")

    def __call__(self, query: str, memory: Memory, /) -> Clues:
        """The clues, spans before questions, and the draft; none, and no call, for an empty memory.

        Raises:
            InputError: the question is empty or too long, or leaves no room for the memory.
        """
        if not memory.entries:
            return Clues()
        prompt, reading = self._prompt(query, memory)
        clues: list[Clue] = []
        if self.spans:
            clues += (Clue(line, "span") for line in self._lines(prompt, reading, "spans", clues))
        if self.questions:
            clues += (Clue(line, "question") for line in self._lines(prompt, reading, "questions", clues))
        draft = self._draft(prompt, reading) if self.draft else ""
        if draft and not repeats(draft, [clue.text for clue in clues]):
            clues.append(Clue(draft, "draft"))
        return Clues(tuple(clues), draft)

    def points(self, query: str, memory: Memory, /) -> list[str]:
        """What a summary should say, a point a line; raises what a call raises."""
        if not memory.entries:
            return []
        prompt, reading = self._prompt(query, memory)
        return self._lines(prompt, reading, "points", [])

    def beginning(self, memory: Memory) -> list[Message]:
        """What all its prompts begin with; nothing where not all of the memory fits, as then they differ."""
        prompt = self._recalled("", memory)
        return prompt.beginning if len(prompt.recollection.places) == len(memory.entries) else []

    def _prompt(self, query: str, memory: Memory) -> tuple[MemoryPrompt, ClueReading]:
        check_question(query)
        prompt = self._recalled(query, memory)
        return prompt, ClueReading(query, prompt.recollection.text, prompt.instructions)

    def _recalled(self, query: str, memory: Memory) -> MemoryPrompt:
        return MemoryPrompt.of(
            memory,
            query,
            memory_tokens=self.memory_tokens,
            context_tokens=self.context_tokens,
            count_tokens=self.count_tokens,
        )

    def _lines(self, prompt: MemoryPrompt, reading: ClueReading, task: Task, known: list[Clue]) -> list[str]:
        with span("recall clues", task=task) as attributes:
            reply = self._ask(prompt, task, attributes)
            if reply is None:
                return []
            lines = reading.lines(
                reply.text,
                least_words=LEAST_WORDS[task],
                known=[clue.text for clue in known],
                cut_off=reply.finish == "length",
            )
            attributes["kept"] = len(lines)
            return lines

    def _draft(self, prompt: MemoryPrompt, reading: ClueReading) -> str:
        with span("recall clues", task="draft") as attributes:
            reply = self._ask(prompt, "draft", attributes)
            draft = reading.draft(reply.text) if reply else ""
            attributes["kept"] = int(bool(draft))
            return draft

    def _ask(self, prompt: MemoryPrompt, task: Task, attributes: dict[str, object]) -> Reply | None:
        """The reply; None where the model gave none that could be read."""
        recalled = prompt.recollection
        attributes |= {"shown": len(recalled.places), "left_out": recalled.left_out, "kept": 0}
        options = Options(max_tokens=MAX_TOKENS[task], stop=prompt.stops) | self.options
        try:
            reply = self.llm(prompt.messages(task), **options)
        except BadReply:  # the span of the call says so
            return None
        sent, cached = reply.usage.prompt_tokens, reply.usage.cached_tokens
        attributes |= {"prompt_tokens": sent, "cached_tokens": cached, "cached_share": cached / sent if sent else None}
        return reply
