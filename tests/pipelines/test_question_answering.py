from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Unpack

import pytest

from ragloom.components.gate_rules import Fixed, Threshold
from ragloom.components.gating import Decision, Mode, SignalGate
from ragloom.components.reading import PromptReader
from ragloom.errors import BudgetExceeded, ConfigError, InputError
from ragloom.pipelines.question_answering import NOTHING_FOUND, Adaptive, ClosedBook, RetrieveThenRead
from ragloom.run import Budget, Run, reserve
from ragloom.types import Answer, Chunk, Hit, Message, Options, Pipeline, Reply, Usage

CHUNKS = [Chunk(str(number), f"Passage of {number}.") for number in range(9)]


def first(query: str, k: int, /) -> list[Hit]:
    return [Hit(chunk, -rank) for rank, chunk in enumerate(CHUNKS[:k])]


def nothing(query: str, k: int, /) -> list[Hit]:
    return []


def backwards(query: str, hits: list[Hit], /) -> list[Hit]:
    return hits[::-1]


@dataclass(frozen=True)
class Best:
    number: int

    def __call__(self, query: str, hits: list[Hit], /) -> list[Hit]:
        return hits[: self.number]


def one(messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
    with reserve(tokens=10, cost=0.5) as reservation:
        reservation.settle(Usage(prompt_tokens=6, completion_tokens=1, calls=1, cost=0.25))
    return Reply("one [1]")


def ids(answer: Answer) -> str:
    return "".join(hit.chunk.id for hit in answer.hits)


def test_passages_are_retrieved_refined_in_order_and_read():
    pipeline = RetrieveThenRead(first, PromptReader(one), k=4, refiners=(backwards, Best(3)))
    answer = pipeline("Which?")
    assert answer.text == "one"
    assert ids(answer) == "321"
    assert answer.citations[0].chunk_id == "3"


def test_the_run_record_holds_the_steps_and_what_they_took():
    record = RetrieveThenRead(first, PromptReader(one), k=4, refiners=(backwards, Best(3)))("Which?").run
    assert [(step.name, dict(step.attributes)) for step in record.spans] == [
        ("retrieve", {"k": 4, "found": 4}),
        ("refine", {"refiner": "backwards", "given": 4, "kept": 4}),
        ("refine", {"refiner": "Best", "given": 4, "kept": 3}),
        ("read", {"mode": "short", "passages": 3, "dropped": 0, "bad_citations": 0}),
    ]
    assert record.usage == Usage(prompt_tokens=6, completion_tokens=1, calls=1, cost=0.25)
    assert record.seconds >= sum(step.seconds for step in record.spans)


def test_each_question_has_its_own_record_inside_the_run_around_it():
    pipeline = ClosedBook(PromptReader(one))
    with Run(Budget(calls=2)) as run:
        answers = [pipeline("First?"), pipeline("Second?")]
        with pytest.raises(BudgetExceeded, match="budget of 2 calls"):
            pipeline("Third?")
    assert [answer.run.usage.calls for answer in answers] == [1, 1]
    assert run.spent.calls == 2
    assert [len(answer.run.spans) for answer in answers] == [1, 1]


def test_closed_book_gives_the_reader_no_passages():
    answer = ClosedBook(PromptReader(one))("Which?")
    assert (answer.text, answer.hits, answer.citations) == ("one", (), ())


def test_where_nothing_is_found_the_model_is_not_asked():
    answer = RetrieveThenRead(nothing, PromptReader(one))("Which?")
    assert (answer.text, answer.abstained, answer.run.usage.calls) == (NOTHING_FOUND, True, 0)
    emptied = RetrieveThenRead(first, PromptReader(one), refiners=(Best(0),))("Which?")
    said = "none of the 5 passages found was kept"
    assert (emptied.text, emptied.abstained, emptied.run.usage.calls) == (said, True, 0)


def test_a_plain_function_is_a_reader():
    def count(question: str, hits: Sequence[Hit], /) -> Answer:
        return Answer(f"{len(hits)} passages")

    assert RetrieveThenRead(first, count, k=2)("Which?").text == "2 passages"


@pytest.mark.parametrize("pipeline", [ClosedBook(PromptReader(one)), RetrieveThenRead(nothing, PromptReader(one))])
def test_an_empty_question_is_refused(pipeline: ClosedBook | RetrieveThenRead):
    with pytest.raises(InputError, match="the question is empty"):
        pipeline("  ")


def test_k_must_be_positive():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        RetrieveThenRead(first, PromptReader(one), k=0)


def known(messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
    return Reply("by heart")


MODES: dict[Mode, Pipeline] = {
    "none": ClosedBook(PromptReader(known)),
    "single": RetrieveThenRead(first, PromptReader(one), k=2),
}


def asked(feature: float) -> Adaptive:
    def gate(question: str, /) -> Decision:
        return Threshold("doubt", 0.5)(question, {"doubt": feature})

    return Adaptive(gate, MODES)


@pytest.mark.parametrize(("doubt", "text", "passages"), [(0.4, "by heart", ""), (0.6, "one", "01"), (nan, "one", "01")])
def test_a_question_is_answered_as_the_gate_decides(doubt: float, text: str, passages: str):
    answer = asked(doubt)("Which?")
    assert (answer.text, ids(answer)) == (text, passages)


def test_the_decision_stands_in_the_trace_before_the_steps_of_the_answer():
    def gate(question: str, /) -> Decision:
        return Decision("single", 0.75, "unsure", {"doubt": 0.75, "popularity_log": nan}, {"none": 0.1, "single": 0.2})

    spans = Adaptive(gate, MODES)("Which?").run.spans
    assert [(step.name, step.parent) for step in spans] == [
        ("gate", -1),
        ("answer", -1),
        ("retrieve", 1),
        ("read", 1),
    ]
    assert spans[0].attributes == {
        "mode": "single",
        "score": 0.75,
        "reason": "unsure",
        "features": {"doubt": 0.75, "popularity_log": None},
        "utilities": {"none": 0.1, "single": 0.2},
    }


def test_what_the_answer_took_counts_once():
    with Run() as run:
        answer = asked(1.0)("Which?")
    assert answer.run.usage == run.record().usage
    assert answer.run.usage.calls == 1


def test_an_answer_that_the_gate_made_is_not_made_again():
    draft = Answer("a draft")

    def gate(question: str, /) -> Decision:
        return Decision("none", answers={"none": draft})

    answer = Adaptive(gate, {"none": ClosedBook(PromptReader(one))})("Which?")
    assert answer.text == "a draft"
    assert answer.run.usage.calls == 0
    assert answer.run.spans[-1].attributes == {"mode": "none", "made_by_gate": True}


def test_retrieval_that_finds_nothing_is_answered_without_passages_and_marked():
    modes: dict[Mode, Pipeline] = MODES | {"single": RetrieveThenRead(nothing, PromptReader(one))}
    answer = Adaptive(SignalGate((), Fixed("single")), modes)("Which?")
    assert answer.text == "by heart"
    assert answer.run.spans[-2].attributes == {"mode": "none", "retrieval_empty": True}


def test_a_mode_without_a_pipeline_is_named():
    with pytest.raises(ConfigError, match="decided on 'iterative', and there is no pipeline for it"):
        Adaptive(SignalGate((), Fixed("iterative")), MODES)("Which?")
    with pytest.raises(ConfigError, match="no pipeline for 'none'"):
        Adaptive(SignalGate((), Fixed("single")), {"single": MODES["single"]})
