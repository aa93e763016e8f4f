"""Reading with a draft at hand: an unverified answer is shown to the reader as what it is, before the passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ragloom.components.answer_words import comparable, word_f1
from ragloom.components.passage_prompts import Prompt
from ragloom.components.prompting import Template, fence, read_sections
from ragloom.components.reading import PromptReader, packaged_prompt
from ragloom.run import span
from ragloom.types import Answer, Hit

CONFLICT = 0.3  # of draft and answer, the token-F1 below which they say different things


@cache
def _hint() -> Template:
    (section,) = read_sections(Path(__file__).parent / "prompts" / "clue-hint.txt", ("hint",))
    return Template.parse(section, required=("draft", "fence"))


@dataclass(frozen=True)
class DraftReader:
    """A Reader that can be shown a draft; without one, or without passages to check it, it reads as its reader does.

    The draft stands before the passages, below a heading that calls it unverified and says that the passages win.
    The span `draft` has its `text`, `draft_f1`, the share of words that draft and answer have in common, and
    `draft_conflict`: it is below 0.3, and neither holds the other. An abstention is in conflict with nothing.

    Args:
        reader: with any prompt that has passages.
    """

    reader: PromptReader

    def __call__(self, question: str, hits: Sequence[Hit], /, draft: str = "") -> Answer:
        """The answer; raises what the reader raises."""
        if not (draft and hits):
            return self.reader(question, hits)
        prompt = self.reader.prompt or packaged_prompt(self.reader.mode)
        with span("draft", text=draft) as attributes:
            answer = replace(self.reader, prompt=_with_draft(prompt, question, hits, draft))(question, hits)
            attributes.update(compared(draft, answer))
            return answer


def compared(draft: str, answer: Answer) -> dict[str, float | bool]:
    """How far a draft agrees with the answer, as attributes of a span."""
    ours, theirs = comparable(draft), comparable(answer.text)
    f1 = word_f1(ours, theirs)
    held = f" {theirs} " in f" {ours} " or f" {ours} " in f" {theirs} "
    return {"draft_f1": f1, "draft_conflict": f1 < CONFLICT and not held and not answer.abstained}


def _with_draft(prompt: Prompt, question: str, hits: Sequence[Hit], draft: str) -> Prompt:
    """The prompt with the hint before its last message.

    The hint is filled here, with a tag of its own that draft, question and passages do not hold; the reader's prompt
    finds its tag among question and passages.
    """
    shown = [text for hit in hits for text in (hit.chunk.title, hit.chunk.text)]
    hint = _hint().fill({"draft": " ".join(draft.split()), "fence": fence((draft, question, *shown))})
    return replace(prompt, user=Template((f"{hint}\n\n", *prompt.user.parts)))
