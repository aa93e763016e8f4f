from collections.abc import Callable

import pytest

from ragloom.components.bm25 import BM25
from ragloom.components.llm import ScriptedLLM
from ragloom.components.query_expansion import Decomposition, HyDE
from ragloom.errors import BadReply, InputError
from ragloom.run import Run
from ragloom.types import LLM, Chunk, Hit, Message, Options, Reply, Retriever

CHUNKS = [
    Chunk("bridge", "Edda Halloran designed the Varn Bridge.", "Varn Bridge"),
    Chunk("house", "Halloran was a resident of Tolmouth.", "Registry"),
    *(Chunk(str(n), f"Number {n} is a number.") for n in range(5)),
]
BM = BM25(CHUNKS)
QUESTION = "Where did the planner of that crossing dwell?"


def ids(hits: list[Hit]) -> list[str]:
    return [hit.chunk.id for hit in hits]


def failing(messages: object) -> str:
    raise BadReply("nothing but spaces")


def test_a_made_up_passage_finds_what_the_question_does_not():
    llm = ScriptedLLM(["Halloran lived\nin a house in Tolmouth."])
    assert BM(QUESTION, 5) == []
    assert ids(HyDE(llm, BM)(QUESTION, 5)) == ["house", "bridge"]
    assert llm.calls == 1


def test_question_and_passages_are_one_query_and_every_passage_has_a_seed_of_its_own():
    queries: list[str] = []
    seeds: list[int] = []

    def llm(messages: list[Message], /, **options: object) -> Reply:
        seeds.append(Options(**options)["seed"])  # type: ignore[typeddict-item]  # the options of a call
        return Reply(f"Passage {len(seeds)}.")

    def retriever(query: str, k: int, /) -> list[Hit]:
        queries.append(query)
        return []

    HyDE(llm, retriever, passages=3)("Who?", 5)  # type: ignore[arg-type]  # options are looked at above
    assert queries == ["Who?\nPassage 1.\nPassage 2.\nPassage 3."]
    assert seeds == [0, 1, 2]


@pytest.mark.parametrize("script", [["No idea."], failing])
def test_without_a_passage_the_question_is_searched_for_alone(script: object):
    llm = ScriptedLLM(script)  # type: ignore[arg-type]  # a list or a function
    assert HyDE(llm, BM)("the Varn Bridge", 5) == BM("the Varn Bridge", 5)
    assert llm.calls == 1


def test_each_simpler_question_finds_its_part():
    llm = ScriptedLLM(["1. Who designed the Varn Bridge?\n2. Which town was Halloran a resident of?"])
    assert ids(Decomposition(llm, BM)(QUESTION, 5)) == ["bridge", "house"]
    assert llm.calls == 1


@pytest.mark.parametrize("script", [["nothing simpler"], ["Sure"], ["The Varn bridge?"], failing])
def test_what_cannot_be_taken_apart_is_searched_for_alone(script: object):
    llm = ScriptedLLM(script)  # type: ignore[arg-type]  # a list or a function
    with Run() as run:
        assert Decomposition(llm, BM)("the Varn Bridge", 5) == BM("the Varn Bridge", 5)
    (span,) = (span for span in run.record().spans if span.name == "decompose")
    assert span.attributes["kept"] == 0


def test_the_example_of_the_prompt_is_no_question():
    llm = ScriptedLLM(["Who is the cellist of the album Low Tide?\nWho designed the Varn Bridge?"])
    with Run() as run:
        Decomposition(llm, BM)(QUESTION, 5)
    assert [span.attributes["text"] for span in run.record().spans if span.name == "clue"] == [
        "Who designed the Varn Bridge?"
    ]


@pytest.mark.parametrize("make", [HyDE, Decomposition])
def test_an_empty_question_is_refused(make: Callable[[LLM, Retriever], Retriever]):
    with pytest.raises(InputError, match="the question is empty"):
        make(ScriptedLLM([]), BM)(" ", 5)


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match="passages must be at least 1, got 0"):
        HyDE(ScriptedLLM([]), BM, passages=0)
    with pytest.raises(ValueError, match="per_query must be at least 1, got 0"):
        Decomposition(ScriptedLLM([]), BM, per_query=0)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        Decomposition(ScriptedLLM([]), BM)("Who?", 0)
