from collections.abc import Callable
from typing import Any

import pytest

from ragloom.components.bm25 import BM25
from ragloom.components.clue_making import LLMClueMaker
from ragloom.components.clue_phrases import PhraseClues
from ragloom.components.clue_retrieval import ClueRetriever
from ragloom.components.draft_reading import DraftReader
from ragloom.components.llm import ScriptedLLM
from ragloom.components.memory import Entry, Memory
from ragloom.components.reading import PromptReader
from ragloom.errors import InputError
from ragloom.pipelines.clue_answering import (
    NO_POINTS,
    NOTHING_RECALLED,
    ClueAnswering,
    MemoryOnly,
    Summarising,
)
from ragloom.pipelines.question_answering import NOTHING_FOUND
from ragloom.types import Answer, Chunk

MEMORY = Memory(
    "extractive",
    (Entry("Varn Bridge", "The Varn Bridge was designed by Edda Halloran.", ("bridge",)),),
    "rules",
)
CHUNKS = [
    Chunk("bridge", "Edda Halloran designed the Varn Bridge.", "Varn Bridge", "d1", 0),
    Chunk("sister", "Mina of Tolmouth painted birds.", "Registry", "d2", 1),
    Chunk("house", "Halloran, Edda: resident of Tolmouth.", "Registry", "d2", 3),
    *(Chunk(f"other {n}", f"Number {n} is a number.", f"Number {n}", "d3", n) for n in range(5)),
]
BM = BM25(CHUNKS)
QUESTION = "Where did whoever planned that crossing have a home?"
SPANS = "The registry has Edda Halloran as a resident"


def answering(
    light: ScriptedLLM, strong: ScriptedLLM, *, hint: bool = False, k: int = 5, **kinds: bool
) -> Callable[[str], Answer]:
    reader = PromptReader(strong)
    retriever = ClueRetriever(MEMORY, BM, LLMClueMaker(light, **kinds))
    return ClueAnswering(retriever, DraftReader(reader) if hint else reader, k=k)


def spans_of(answer: Answer, name: str) -> list[dict[str, Any]]:
    return [dict(span.attributes) for span in answer.run.spans if span.name == name]


# ---- Answers


def test_a_light_model_recalls_and_a_strong_one_answers_from_passages_in_document_order():
    light, strong = ScriptedLLM([SPANS, "Who designed the Varn Bridge?", "Tolmouth"]), ScriptedLLM(["Tolmouth [3]"])
    answer = answering(light, strong)(QUESTION)
    assert (light.calls, strong.calls) == (3, 1)
    assert [hit.chunk.id for hit in answer.hits] == ["bridge", "sister", "house"]
    assert answer.text == "Tolmouth"
    assert [citation.chunk_id for citation in answer.citations] == ["house"]
    assert answer.run.usage.calls == 4
    assert [span["kind"] for span in spans_of(answer, "clue")] == ["span", "question", "draft"]


def test_the_best_passages_are_kept_before_they_are_put_in_order():
    light = ScriptedLLM([f"{SPANS}\nMina painted birds of Tolmouth"])
    answer = answering(light, ScriptedLLM(["Tolmouth [1]"]), k=2, questions=False, draft=False)(QUESTION)
    assert [hit.chunk.id for hit in answer.hits] == ["sister", "house"]


def test_a_draft_is_a_hint_and_its_conflict_with_the_evidence_is_traced():
    light, strong = ScriptedLLM([SPANS, "nothing", "in Ashby"]), ScriptedLLM(["Tolmouth [1]"])
    answer = answering(light, strong, hint=True)(QUESTION)
    assert "in Ashby" in strong.requests[0][-1]["content"]
    assert answer.text == "Tolmouth"
    assert spans_of(answer, "draft") == [{"text": "in Ashby", "draft_f1": 0.0, "draft_conflict": True}]


def test_without_a_draft_reader_the_draft_is_not_shown():
    light, strong = ScriptedLLM([SPANS, "nothing", "in Ashby"]), ScriptedLLM(["Tolmouth [1]"])
    answering(light, strong)(QUESTION)
    assert "Ashby" not in strong.requests[0][-1]["content"]


def test_nothing_found_is_an_abstention_that_asks_no_reader():
    strong = ScriptedLLM([])
    answer = answering(ScriptedLLM(["..."] * 3), strong)("Quantum chromodynamics?")
    assert (answer.text, answer.abstained, strong.calls) == (NOTHING_FOUND, True, 0)


def test_clues_without_a_model_cost_the_call_of_the_reader_alone():
    strong = ScriptedLLM(["Tolmouth [1]"])
    retriever = ClueRetriever(MEMORY, BM, PhraseClues())
    answer = ClueAnswering(retriever, DraftReader(PromptReader(strong)))("Where did the Varn planner have a home?")
    assert answer.run.usage.calls == 1
    assert "house" in [hit.chunk.id for hit in answer.hits]


# ---- From memory


def test_an_answer_from_memory_alone_rests_on_no_passage():
    llm = ScriptedLLM(["Edda Halloran"])
    answer = MemoryOnly(MEMORY, LLMClueMaker(llm, spans=False, questions=False))("Who designed the Varn Bridge?")
    assert (answer.text, answer.hits, answer.citations, answer.abstained) == ("Edda Halloran", (), (), False)
    assert answer.run.usage.calls == 1


def test_a_memory_that_holds_no_answer_says_so():
    answer = MemoryOnly(MEMORY, PhraseClues())("Who designed the Varn Bridge?")
    assert (answer.text, answer.abstained) == (NOTHING_RECALLED, True)


# ---- Summaries

POINTS = """
- Edda Halloran, who designed the Varn Bridge
- Mina of Tolmouth painted birds
- The moon is made of green cheese
"""


def summary(writer: ScriptedLLM | None) -> Answer:
    points = LLMClueMaker(ScriptedLLM([POINTS])).points
    return Summarising(MEMORY, points, BM, writer and PromptReader(writer, mode="long"))("Summarise the registry.")


def test_each_point_that_a_passage_bears_out_is_put_down_with_its_evidence():
    answer = summary(None)
    assert answer.text == "Edda Halloran, who designed the Varn Bridge\nMina of Tolmouth painted birds"
    assert [hit.chunk.id for hit in answer.hits] == ["bridge", "sister", "house"]
    assert [(citation.number, citation.chunk_id) for citation in answer.citations] == [(1, "bridge"), (2, "sister")]
    assert [span["kept"] for span in spans_of(answer, "point")] == [True, True, False]
    assert answer.run.usage.calls == 1


@pytest.mark.parametrize(("year", "kept"), [("1874", True), ("1847", False)])
def test_a_point_whose_numbers_stand_in_none_of_its_passages_is_left_out(year: str, kept: bool) -> None:
    passages = BM25([Chunk("quay", "The salt house on the quay of Tolmouth was built in 1874.", "Tolmouth", "d")])
    point = f"The salt house on the quay of Tolmouth was built in {year}"
    answer = Summarising(MEMORY, lambda question, memory: [point], passages)("Summarise the salt house.")
    assert answer.text == (point if kept else NO_POINTS)


def test_a_writer_gets_the_points_and_their_evidence_in_document_order():
    writer = ScriptedLLM(["Edda Halloran designed the bridge [1]. Mina painted birds [2]."])
    answer = summary(writer)
    prompt = writer.requests[0][-1]["content"]
    assert (
        prompt.index("[1] Varn Bridge")
        < prompt.index("[2] Registry")
        < prompt.index("- Mina of Tolmouth painted birds")
    )
    assert "green cheese" not in prompt
    assert answer.text == "Edda Halloran designed the bridge. Mina painted birds."
    assert [citation.chunk_id for citation in answer.citations] == ["bridge", "sister"]
    assert answer.run.usage.calls == 2


def test_points_that_nothing_bears_out_make_no_summary():
    points = LLMClueMaker(ScriptedLLM(["The moon is made of green cheese"])).points
    answer = Summarising(MEMORY, points, BM, PromptReader(ScriptedLLM([])))("Summarise the registry.")
    assert (answer.text, answer.abstained, answer.hits) == (NO_POINTS, True, ())


# ---- What cannot be asked


def test_impossible_numbers_and_empty_questions_are_refused():
    retriever = ClueRetriever(MEMORY, BM, PhraseClues())
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ClueAnswering(retriever, PromptReader(ScriptedLLM([])), k=0)
    with pytest.raises(ValueError, match="per_point must be at least 1, got 0"):
        Summarising(MEMORY, lambda query, memory: [], BM, per_point=0)
    with pytest.raises(ValueError, match=r"support must be from 0 to 1, got 1\.5"):
        Summarising(MEMORY, lambda query, memory: [], BM, support=1.5)
    for pipeline in (
        ClueAnswering(retriever, PromptReader(ScriptedLLM([]))),
        MemoryOnly(MEMORY, PhraseClues()),
        Summarising(MEMORY, lambda query, memory: [], BM),
    ):
        with pytest.raises(InputError, match="the question is empty"):
            pipeline(" ")  # type: ignore[operator]  # each is a pipeline
