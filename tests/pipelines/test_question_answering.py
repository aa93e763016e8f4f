from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import pytest

from ragloom.components.reading import PromptReader
from ragloom.errors import BudgetExceeded, InputError
from ragloom.pipelines.question_answering import NOTHING_FOUND, ClosedBook, RetrieveThenRead
from ragloom.run import Budget, Run, reserve
from ragloom.types import Answer, Chunk, Hit, Message, Options, Reply, Usage

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
    assert (emptied.abstained, emptied.run.usage.calls) == (True, 0)


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
