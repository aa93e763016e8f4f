"""Signals of agreement: does a model say the same again, when it draws another sample or is asked in other words?

An answer that says that it is not known agrees with no other: models that do not know say so quite consistently, and
that shall not look like knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ragloom.components.answer_words import admission, comparable, word_f1
from ragloom.components.asking import asking_identity, gate_prompt
from ragloom.components.gating import Capability, Observation
from ragloom.components.llm import IdentifiedLLM, request_key
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import Mode, PromptReader, packaged_prompt
from ragloom.run import current_run
from ragloom.types import Answer, Chunk, Options, Pipeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAME_MEANING = 0.6  # word F1 from which two samples count as the same answer


@dataclass(frozen=True, kw_only=True)
class SampleAgreement:
    """Draws several closed-book answers, and measures how much they differ.

    - `samples_disagree`: 1 - the share of the largest cluster, from 0 to 1 - 1 / samples. Two answers belong together
      where the F1 of their words is 0.6 or more, and so do answers that a third one connects.
    - `samples_meanings`: about how many different answers there are, from 1 to `samples`, see `meanings`.

    One call a sample. Each has a seed of its own, so that a cache keeps different ones.

    Args:
        llm: the model.
        samples: how many are drawn, at least 2.
        seed: of the first; the others follow.
        mode: as in `PromptReader`.
        prompt: as in `PromptReader`.
        options: of the calls, with a temperature above 0.
    """

    llm: IdentifiedLLM = field(kw_only=False)
    samples: int = 3
    seed: int = 0
    mode: Mode = "short"
    prompt: Prompt | None = None
    options: Options = field(default_factory=lambda: Options(temperature=0.7))
    needs: ClassVar[frozenset[Capability]] = frozenset({"samples"})
    features: ClassVar[tuple[str, ...]] = ("samples_disagree", "samples_meanings")

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError(f"samples must be at least 2, got {self.samples}")
        if self.options.get("temperature", 1.0) <= 0:
            raise ValueError(f"the temperature of samples must be above 0, got {self.options['temperature']}")

    @property
    def identity(self) -> str:
        """Model, mode, prompt, options, number of samples and seed."""
        prompt = self.prompt or packaged_prompt(self.mode, closed_book=True)
        asked = asking_identity(self.llm, prompt, self.options)
        return f"{self.mode} {asked} {self.samples} samples from {self.seed}"

    def __call__(self, question: str, /) -> Observation:
        """The measurements.

        Raises:
            BadReply: a sample is empty or malformed.
        """
        answers = [self._draw(question, self.seed + number) for number in range(self.samples)]
        similarity = similarities([answer.text for answer in answers], [_admits(answer) for answer in answers])
        largest = max(len(cluster) for cluster in clusters(similarity))
        disagree = 1 - largest / self.samples
        return Observation({"samples_disagree": disagree, "samples_meanings": meanings(similarity)})

    def _draw(self, question: str, seed: int) -> Answer:
        options = self.options | Options(seed=seed)
        return PromptReader(self.llm, mode=self.mode, prompt=self.prompt, options=options)(question, ())


def similarities(answers: Sequence[str], unknowing: Sequence[bool]) -> NDArray[np.float64]:
    """(n, n): F1 of the words of each two answers; 0 between an unknowing answer and any other, 1 with itself."""
    words = [comparable(answer) for answer in answers]
    similarity = np.eye(len(words))
    for row in range(len(words)):
        for column in range(row):
            if not (unknowing[row] or unknowing[column]):
                similarity[row, column] = similarity[column, row] = word_f1(words[row], words[column])
    return similarity


def clusters(similarity: NDArray[np.float64]) -> list[list[int]]:
    """The answers, by their numbers, that belong together: connected by similarities of `SAME_MEANING` or more."""
    found: list[list[int]] = []
    for number, row in enumerate(similarity):
        near = [cluster for cluster in found if row[cluster].max() >= SAME_MEANING]
        found = [cluster for cluster in found if cluster not in near]
        found.append([*(member for cluster in near for member in cluster), number])
    return found


def meanings(similarity: NDArray[np.float64]) -> float:
    """About how many meanings there are: the sum of max(0, 1 - l) over the eigenvalues l of the graph's Laplacian.

    The graph has an edge between each two answers, weighted by their similarity, and its Laplacian is normalised
    (EigV of arXiv:2305.19187, which takes similarities from an NLI model). 1 for equal answers, n for n that have
    nothing in common.

    Args:
        similarity: (n, n), symmetric, from 0 to 1, with 1 on the diagonal.
    """
    scale = 1 / np.sqrt(similarity.sum(axis=1))
    # With S as the normalised similarities the Laplacian is I - S, so that 1 - l are the eigenvalues of S.
    return float(np.maximum(np.linalg.eigvalsh(similarity * np.outer(scale, scale)), 0).sum())


@dataclass(frozen=True, kw_only=True)
class PromptAgreement:
    """Asks closed-book in two ways: `prompts_disagree` is 0 where both answers are the same, normalised, else 1.

    Two calls. The first is that of `ClosedBook(PromptReader(llm))`, whose answer is handed on as that of mode `none`.

    Args:
        llm: the model.
        prompt: of the first call, as in `PromptReader`.
        paraphrase: of the second, instead of the packaged `gate-paraphrase.txt`.
        options: of the calls; at temperature 0 the signal is as repeatable as the model.
    """

    llm: IdentifiedLLM = field(kw_only=False)
    prompt: Prompt | None = None
    paraphrase: Prompt | None = None
    options: Options = field(default_factory=lambda: Options(temperature=0.0))
    needs: ClassVar[frozenset[Capability]] = frozenset()
    features: ClassVar[tuple[str, ...]] = ("prompts_disagree",)

    @property
    def identity(self) -> str:
        """Model, both prompts, and options."""
        return " and ".join(asking_identity(self.llm, prompt, self.options) for prompt in self._prompts)

    @property
    def _prompts(self) -> tuple[Prompt, Prompt]:
        first = self.prompt or packaged_prompt("short", closed_book=True)
        return first, self.paraphrase or gate_prompt("paraphrase")

    def __call__(self, question: str, /) -> Observation:
        """1 or 0, and the first answer.

        Raises:
            BadReply: an answer is empty or malformed.
        """
        first, second = (
            PromptReader(self.llm, prompt=prompt, options=self.options)(question, ()) for prompt in self._prompts
        )
        return Observation({"prompts_disagree": _disagree(first, second)}, {"none": first})


@dataclass(frozen=True)
class AnswerAgreement:
    """Answers without and with passages: `answers_disagree` is 0 where both answers are the same, normalised, else 1.

    It saves nothing, since both answers have been made, and are handed on; it serves to keep the better one.

    Args:
        none: answers closed-book.
        single: answers from passages retrieved once.
    """

    none: Pipeline
    single: Pipeline
    needs: ClassVar[frozenset[Capability]] = frozenset({"passages"})
    features: ClassVar[tuple[str, ...]] = ("answers_disagree",)

    @property
    def identity(self) -> str:
        """The parts of both pipelines, see `parts_identity`."""
        return f"{parts_identity(self.none)} and {parts_identity(self.single)}"

    def __call__(self, question: str, /) -> Observation:
        """1 or 0, and both answers."""
        none, single = (_run_within(pipeline, question) for pipeline in (self.none, self.single))
        return Observation({"answers_disagree": _disagree(none, single)}, {"none": none, "single": single})


def _run_within(pipeline: Pipeline, question: str) -> Answer:
    answer = pipeline(question)
    run = current_run()
    if run is not None:
        run.include(answer.run)
    return answer


def _admits(answer: Answer) -> bool:
    return answer.abstained or bool(admission(answer.text))


def _disagree(one: Answer, other: Answer) -> float:
    agree = not _admits(one) and not _admits(other) and comparable(one.text) == comparable(other.text)
    return float(not agree)


def parts_identity(part: object) -> str:
    """What a pipeline's answers depend on, as far as its parts say; equal on every machine.

    A reader is known by model, prompts and options, what has an `identity` by that, another dataclass by its fields,
    numbers and texts by themselves, and everything else, such as a retriever's corpus, by the name of its class only.
    """
    if isinstance(part, PromptReader):
        return _reader_identity(part)
    if isinstance(identity := getattr(part, "identity", None), str):
        return identity
    if isinstance(part, str | int | float | None):
        return repr(part)
    if isinstance(part, tuple):
        return f"({', '.join(map(parts_identity, part))})"
    if is_dataclass(part):
        return (
            f"{type(part).__name__}({', '.join(parts_identity(getattr(part, entry.name)) for entry in fields(part))})"
        )
    return getattr(part, "__name__", type(part).__name__)


def _reader_identity(reader: PromptReader) -> str:
    prompts = [reader.prompt or packaged_prompt(reader.mode, closed_book=closed) for closed in (True, False)]
    asked = (request_key(prompt.messages("", [Chunk("", "")]), reader.options) for prompt in prompts)
    limits = f"{reader.max_tokens} {reader.context_tokens}"
    return f"{reader.mode} {parts_identity(reader.llm)} {limits} {' '.join(asked)}"
