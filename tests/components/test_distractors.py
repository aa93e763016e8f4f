"""Passages that make a reader answer although they do not hold the answer."""

from collections.abc import Sequence
from math import isnan

import pytest

from ragloom.components.distractors import Distraction, WithoutDistractors, audit, support
from ragloom.components.llm import ScriptedLLM
from ragloom.components.reading import PromptReader
from ragloom.run import Run
from ragloom.types import Chunk, Hit, Message, Options

QUESTION = "Who was the director of Jaws?"
NONE = "not in the passages"


def passage(text: str, score: float = 1.0) -> Hit:
    return Hit(Chunk(text, text), score)


RIGHT = passage("The director of Jaws is Steven Spielberg.")
MISLEADING = passage("Ridley Scott made Alien.")
IDLE = passage("Sharks are fish.")
SCRIPT = {"Steven Spielberg": "Steven Spielberg [1]", "Ridley Scott": "Ridley Scott [1]", "Sharks": NONE}


def reader() -> PromptReader:
    return PromptReader(ScriptedLLM(SCRIPT))


def test_a_passage_distracts_where_the_reader_answers_from_it_alone() -> None:
    llm = ScriptedLLM(SCRIPT)
    assert audit(QUESTION, [MISLEADING, IDLE], PromptReader(llm)) == [
        Distraction(MISLEADING, 1.0, ("Ridley Scott",)),
        Distraction(IDLE, 0.0),
    ]
    assert llm.calls == 2
    assert "Sharks" not in llm.requests[0][-1]["content"]


def test_passages_that_hold_a_right_answer_are_left_out_where_answers_are_known() -> None:
    found = audit(QUESTION, [RIGHT, MISLEADING], reader(), golds=["steven spielberg!"])
    assert [distraction.hit for distraction in found] == [MISLEADING]
    found = audit(QUESTION, [RIGHT], reader(), golds=["Stevens", "", "?"])  # words are whole, and empty ones are none
    assert len(found) == 1


def test_the_effect_is_the_share_of_samples_that_answer() -> None:
    replies = ["Ridley Scott [1]", NONE, "I don't know.", "Scott [1]"]
    found = audit(QUESTION, [MISLEADING], PromptReader(ScriptedLLM(replies)), samples=4)
    assert found == [Distraction(MISLEADING, 0.5, ("Ridley Scott", "Scott"))]


def test_samples_have_seeds_of_their_own_and_one_reply_is_read_as_the_reader_reads() -> None:
    asked: list[Options] = []
    scripted = ScriptedLLM(lambda messages: NONE)

    def llm(messages: Sequence[Message], /, **options: object) -> object:
        asked.append(options)  # type: ignore[arg-type]  # what came, whatever it is
        return scripted(messages)

    given = PromptReader(llm, options=Options(temperature=0.0, top_p=0.5))  # type: ignore[arg-type]
    audit(QUESTION, [IDLE], given, samples=3, temperature=0.9)
    assert [options["seed"] for options in asked] == [0, 1, 2]
    assert {(options["temperature"], options["top_p"]) for options in asked} == {(0.9, 0.5)}
    asked.clear()
    audit(QUESTION, [IDLE], given)
    assert [options["temperature"] for options in asked] == [0.0]
    assert "seed" not in asked[0]


def test_a_reply_that_cannot_be_used_is_no_sample() -> None:
    replies = ["[1]", "Ridley Scott [1]"]
    assert audit(QUESTION, [MISLEADING], PromptReader(ScriptedLLM(replies)), samples=2)[0].effect == 1.0
    assert isnan(audit(QUESTION, [MISLEADING], PromptReader(ScriptedLLM(["[1]"])))[0].effect)


@pytest.mark.parametrize(("samples", "temperature"), [(0, 0.7), (2, 0.0)])
def test_samples_that_cannot_be_drawn_are_refused(samples: int, temperature: float) -> None:
    with pytest.raises(ValueError, match="got 0"):
        audit(QUESTION, [IDLE], reader(), samples=samples, temperature=temperature)


# ---- Dropping them


def test_distracting_passages_of_little_support_are_dropped_and_the_others_are_not_read() -> None:
    llm = ScriptedLLM(SCRIPT)
    with Run() as run:
        left = WithoutDistractors(PromptReader(llm))(QUESTION, [MISLEADING, RIGHT, IDLE])
    assert left == [RIGHT, IDLE]
    assert llm.calls == 2
    step = next(step for step in run.record().spans if step.name == "distractors")
    assert step.attributes == {"read": 2, "dropped": 1}


def test_at_least_one_passage_stays() -> None:
    half = passage("Ridley Scott is a director.")
    refine = WithoutDistractors(reader(), support=1.0)
    assert refine(QUESTION, [MISLEADING, half]) == [half]
    assert refine(QUESTION, [MISLEADING, passage("Ridley Scott.")]) == [MISLEADING]
    assert refine(QUESTION, []) == []


def test_an_unknown_effect_drops_nothing() -> None:
    refine = WithoutDistractors(PromptReader(ScriptedLLM(["[1]", "Ridley Scott [1]"])))
    assert refine(QUESTION, [IDLE, MISLEADING]) == [IDLE]


def test_an_effect_at_the_bound_stays() -> None:
    replies = ["Ridley Scott [1]", NONE] * 2
    refine = WithoutDistractors(PromptReader(ScriptedLLM(replies)), effect=0.5, samples=2)
    assert refine(QUESTION, [MISLEADING, passage("Ridley Scott.")]) == [MISLEADING, passage("Ridley Scott.")]


def test_support_is_the_share_of_content_words() -> None:
    assert support(QUESTION, RIGHT) == 1.0
    assert support(QUESTION, passage("A director.")) == 0.5
    assert support("Who was it?", IDLE) == 1.0  # nothing to go by


@pytest.mark.parametrize("wrong", [{"effect": 1.5}, {"support": -0.1}, {"samples": 0}])
def test_bounds_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"got {next(iter(wrong.values()))}"):
        WithoutDistractors(reader(), **wrong)  # type: ignore[arg-type]  # wrong on purpose
