from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragloom.components
from ragloom.components.bm25 import BM25
from ragloom.components.interleaving import InterleavedRetriever, load_prompt
from ragloom.components.llm import ScriptedLLM
from ragloom.components.local_server import LocalLLM
from ragloom.components.reading import PromptReader
from ragloom.errors import BadReply, BudgetExceeded, ConfigError, InputError
from ragloom.pipelines.question_answering import RetrieveThenRead
from ragloom.run import Budget, Run
from ragloom.types import Chunk, Hit, Message, Options, Reply, Retriever

ALBUM = Chunk("album", "Low Tide is an album by the cellist Tamsin Orrell.", "Low Tide")
CELLIST = Chunk("cellist", "Tamsin Orrell was born in Penmarrow.", "Tamsin Orrell")
VILLAGE = Chunk("village", "Penmarrow lies on Kerrin Island.", "Penmarrow")
OTHERS = [Chunk(f"other {n}", f"Number {n} is a number.", f"Number {n}") for n in range(5)]
QUESTION = "From where does the musician of Low Tide come?"


def scored(lists: Mapping[str, Mapping[str, float]]) -> Retriever:
    """A retriever whose hits are known: by query, the ids of the chunks with their scores."""

    def retriever(query: str, k: int, /) -> list[Hit]:
        return [Hit(Chunk(id_, f"Text of {id_}."), score) for id_, score in lists[query].items()][:k]

    return retriever


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.id for hit in hits]


def steps_of(retriever: Retriever, query: str = "q", k: int = 10) -> list[dict[str, Any]]:
    """The attributes of each step."""
    with Run() as run:
        retriever(query, k)
    return [dict(span.attributes) for span in run.record().spans if span.name == "step"]


# ---- What is found


def test_what_is_found_first_leads_to_what_the_question_does_not_name():
    bm25 = BM25([ALBUM, CELLIST, VILLAGE, *OTHERS])
    assert ids(bm25(QUESTION, 5)) == ["album"]
    llm = ScriptedLLM(["The musician is Tamsin Orrell."])
    assert set(ids(InterleavedRetriever(llm, bm25)(QUESTION, 5))) == {"album", "cellist"}
    assert llm.calls == 1


def test_a_chain_of_three_passages_is_followed_in_three_steps():
    bm25 = BM25([ALBUM, CELLIST, VILLAGE, *OTHERS])
    llm = ScriptedLLM(["The musician is Tamsin Orrell.", "Her home is Penmarrow."])
    steps = steps_of(InterleavedRetriever(llm, bm25, steps=3), QUESTION)
    assert [step["new"] for step in steps] == [["album"], ["cellist"], ["village"]]


def test_a_passage_keeps_its_best_score_over_the_steps():
    retriever = scored({"q": {"a": 9.0, "b": 5.0, "c": 1.0}, "T.": {"c": 0.8, "d": 0.6, "b": 0.4}})
    found = InterleavedRetriever(ScriptedLLM(["T."]), retriever)("q", 10)
    assert [(hit.chunk.id, round(hit.score, 9)) for hit in found] == [("a", 1.0), ("c", 1.0), ("b", 0.5), ("d", 0.5)]


def test_ties_are_in_the_order_in_which_passages_were_found():
    retriever = scored({"q": {"z": 1.0, "y": 1.0}, "T.": {"x": 3.0, "y": 3.0, "a": 3.0}})
    assert ids(InterleavedRetriever(ScriptedLLM(["T."]), retriever)("q", 10)) == ["z", "y", "x", "a"]


def test_a_passage_that_a_step_finds_twice_counts_once():
    def twice(query: str, k: int, /) -> list[Hit]:
        return [Hit(ALBUM, 1.0), Hit(CELLIST, 0.5), Hit(ALBUM, 0.0)]

    (step,) = steps_of(InterleavedRetriever(ScriptedLLM([]), twice, steps=1))
    assert step["new"] == ["album", "cellist"]
    assert ids(InterleavedRetriever(ScriptedLLM([]), twice, steps=1)("q", 9)) == ["album", "cellist"]


def test_at_most_k_hits_come_back_and_fewer_where_fewer_were_found():
    retriever = scored({"q": {"a": 2.0, "b": 1.0}, "T.": {"c": 2.0, "b": 1.0}})
    assert ids(InterleavedRetriever(ScriptedLLM(["T."]), retriever)("q", 2)) == ["a", "c"]
    assert ids(InterleavedRetriever(ScriptedLLM(["T."]), retriever)("q", 50)) == ["a", "c", "b"]


def test_each_step_asks_for_per_step_hits_or_more_where_more_are_wanted():
    asked: list[int] = []

    def retriever(query: str, k: int, /) -> list[Hit]:
        asked.append(k)
        return [Hit(Chunk(f"{query} {rank}", ""), -rank) for rank in range(k)]

    for k in (3, 8):
        InterleavedRetriever(ScriptedLLM(["T."]), retriever, per_step=5)("q", k)
    assert asked == [5, 5, 8, 8]


def test_one_step_is_the_retriever_alone():
    bm25, llm = BM25([ALBUM, CELLIST, VILLAGE, *OTHERS]), ScriptedLLM([])
    assert ids(InterleavedRetriever(llm, bm25, steps=1)(QUESTION, 5)) == ids(bm25(QUESTION, 5))
    assert llm.calls == 0


# ---- Why it stops, and how often the model is called

FOUR = {query: {f"{query} {rank}": -rank for rank in range(2)} for query in ("q", "One.", "Two.", "Three.", "Four.")}


@pytest.mark.parametrize(
    ("thoughts", "stop", "calls", "retrievals"),
    [
        (["One.", "Two.", "Three."], "steps", 3, 4),
        (["So the answer is: 1."], "answered", 1, 1),
        (["One.", "It is 2, so  the ANSWER is: 2."], "answered", 2, 2),
        (["One.", "Two.", "one."], "repeated", 3, 3),
        (["Q"], "repeated", 1, 1),
        (["One.", "..."], "empty", 2, 2),
        (["One.", "Nothing."], "nothing new", 2, 3),
        (["Known."], "nothing new", 1, 2),
    ],
)
def test_the_last_step_says_why_it_was_the_last(thoughts: list[str], stop: str, calls: int, retrievals: int):
    llm = ScriptedLLM(thoughts)
    lists = {**FOUR, "Nothing.": {}, "Known.": {"q 1": 1.0}}
    steps = steps_of(InterleavedRetriever(llm, scored(lists), steps=4))
    assert [step.get("stop") for step in steps] == [None] * (retrievals - 1) + [stop]
    assert llm.calls == calls


def test_where_the_question_finds_nothing_the_model_is_not_asked():
    llm = ScriptedLLM([])
    assert InterleavedRetriever(llm, scored({"q": {}}))("q", 5) == []
    assert llm.calls == 0


def test_a_reply_of_no_use_ends_the_retrieval_with_what_was_found():
    def speechless(messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        raise BadReply("the reply has an empty text")

    retriever = InterleavedRetriever(speechless, scored(FOUR))
    assert [step["stop"] for step in steps_of(retriever)] == ["empty"]
    assert ids(retriever("q", 5)) == ["q 0", "q 1"]


@given(
    thoughts=st.lists(st.sampled_from(["a", "b", "A", "c", "?", "So the answer is: b"]), min_size=5, max_size=5),
    lists=st.fixed_dictionaries(
        {query: st.dictionaries(st.sampled_from("vwxyz"), st.floats(-5, 5), max_size=3) for query in "qabcA"}
    ),
    steps=st.integers(1, 6),
    k=st.integers(1, 6),
)
def test_whatever_is_thought_and_found_calls_and_hits_keep_their_bounds(
    thoughts: list[str], lists: dict[str, dict[str, float]], steps: int, k: int
):
    llm = ScriptedLLM(thoughts)
    retriever = InterleavedRetriever(llm, scored(lists), steps=steps)
    with Run() as run:
        hits = retriever("q", k)
    traced = [span.attributes for span in run.record().spans if span.name == "step"]
    stop = traced[-1]["stop"]
    assert llm.calls == len(traced) - (stop in {"steps", "nothing new"}) <= steps - 1
    new = [id_ for step in traced for id_ in step["new"]]
    assert len(new) == len(set(new))
    assert set(ids(hits)) <= set(new)
    assert len(hits) == min(k, len(new))
    assert all(0 <= hit.score <= 1 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    llm.requests.clear()
    assert retriever("q", k) == hits


def test_a_budget_that_runs_out_ends_the_question_as_it_does_in_a_reader():
    llm = ScriptedLLM(["One.", "Two."])
    with Run(Budget(calls=1)), pytest.raises(BudgetExceeded, match="budget of 1 calls"):
        InterleavedRetriever(llm, scored(FOUR), steps=4)("q", 5)


# ---- The trace


def test_each_step_is_a_span_with_its_query_its_new_passages_and_the_thought():
    retriever = scored({"q": {"a": 2.0, "b": 1.0}, "One.": {"c": 2.0, "b": 1.0}})
    llm = ScriptedLLM(["One. And more.", "Two."])
    with Run() as run:
        InterleavedRetriever(llm, retriever, steps=2)("q", 5)
    spans = run.record().spans
    assert [(span.name, span.parent) for span in spans] == [("step", -1), ("llm", 0), ("step", -1)]
    assert dict(spans[0].attributes) == {"number": 1, "query": "q", "found": 2, "new": ["a", "b"], "thought": "One."}
    assert dict(spans[2].attributes) == {"number": 2, "query": "One.", "found": 2, "new": ["c"], "stop": "steps"}


def test_with_a_reader_it_is_a_pipeline():
    llm = ScriptedLLM(["The musician is Tamsin Orrell.", "Penmarrow [2]"])
    pipeline = RetrieveThenRead(InterleavedRetriever(llm, BM25([ALBUM, CELLIST, *OTHERS])), PromptReader(llm), k=3)
    answer = pipeline("Where was the musician of Low Tide born?")
    assert answer.text == "Penmarrow"
    assert {"album", "cellist"} <= set(ids(answer.hits))
    assert answer.run.usage.calls == 2
    assert [span.name for span in answer.run.spans] == ["retrieve", "step", "llm", "step", "read", "llm"]


# ---- The prompt


def last_message(llm: ScriptedLLM) -> str:
    return llm.requests[-1][-1]["content"]


def test_the_prompt_holds_the_best_passages_and_the_thoughts_so_far():
    lists = {"q": {"a": 9.0, "b": 8.0, "c": 7.0}, "One.": {"d": 2.0, "b": 1.0, "c": 0.0}, "Two.": {"e": 1.0}}
    llm = ScriptedLLM(["One.", "Two."])
    InterleavedRetriever(llm, scored(lists), steps=3, per_step=3)("q", 1)
    prompt = last_message(llm)
    assert [id_ for id_ in "abcde" if f"Text of {id_}." in prompt] == ["a", "b", "d"]
    assert prompt.index("Text of a.") < prompt.index("Text of d.") < prompt.index("Text of b.")
    lines = prompt.splitlines()
    assert lines[-2].startswith("Known so far #")
    assert lines[-2].endswith(": One.")
    assert lines[-1].startswith("Next thought #")


PACKAGED = Path(ragloom.components.__path__[0]) / "prompts" / "thought.txt"
MARKS = st.sampled_from(
    ["{question}", "{thoughts}", "{fence}", "{{7*7}}", "{0}", "%s", "${ENV}", "{", "}", "\\1", "[2] X #c1f4", "```"]
)
DATA = st.lists(MARKS | st.text(max_size=5), max_size=6).map("".join)


@given(question=DATA, title=DATA, text=DATA, thought=DATA)
def test_data_reaches_the_prompt_unchanged_and_cannot_pass_for_a_heading(
    question: str, title: str, text: str, thought: str
):
    prompt = load_prompt(PACKAGED)
    messages = prompt.messages(question, [Chunk("c", text, title)], thoughts=f" {thought}")
    assert messages[:-1] == prompt.messages("Why?", [], thoughts="")[:-1]  # so that a model's prefix cache serves it
    content = messages[-1]["content"]
    tag = content.rpartition("#")[2].removesuffix(":")
    assert not any(tag in data for data in (question, title, text, thought))
    assert content == (
        f"[1] {title} #{tag}\n{text}\n\n"
        f"Question #{tag}: {question}\nKnown so far #{tag}: {thought}\nNext thought #{tag}:"
    )


def test_a_thought_with_marks_is_searched_for_and_shown_as_it_is():
    thought = "The {question} of #c1f4 is ${HOME} %s {{7*7}}."
    llm = ScriptedLLM([thought, "So the answer is: 49"])
    queries = [
        step["query"] for step in steps_of(InterleavedRetriever(llm, scored({**FOUR, thought: {"n": 1}}), steps=3))
    ]
    assert queries == ["q", thought]
    assert f": {thought}\n" in last_message(llm)


def test_the_example_ends_in_the_phrase_that_ends_the_loop():
    prompt = load_prompt(PACKAGED)
    *_, (role, example) = prompt.opening
    assert role == "assistant"
    assert example.fill({"answer": prompt.phrase}).startswith("So the answer is:")


def test_a_prompt_of_ones_own_announces_the_answer_in_its_own_words(tmp_path: Path):
    file = tmp_path / "gedanke.txt"
    file.write_text(
        "## passage\n[{number}] {text}\n## user\n{passages}\n{question}{thoughts}\n## answer\nDie Antwort:\n",
        encoding="utf-8",
    )
    llm = ScriptedLLM(["One.", "Die Antwort: zwei"])
    steps = steps_of(InterleavedRetriever(llm, scored(FOUR), steps=4, prompt=load_prompt(file)))
    assert steps[-1]["stop"] == "answered"
    assert last_message(llm).endswith("\nq One.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("## user\n{passages} {question}\n## answer\nA:\n", r"line 1: '## user' lacks the slot \{thoughts\}"),
        ("## user\n{passages} {question} {thoughts}\n## abstain\nno\n", r"line 3: there is no section '## abstain'"),
        ("## user\n{passages} {question} {thoughts}\n## passage\n{number} {text}\n", r"has no section '## answer'"),
    ],
)
def test_a_wrong_prompt_file_is_named_with_the_line(tmp_path: Path, text: str, message: str):
    file = tmp_path / "thought.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_prompt(file)


def test_passages_that_do_not_fit_are_left_out_from_the_end():
    def words(text: str) -> int:
        return len(text.split())

    def shown(context_tokens: int | None) -> int:
        llm = ScriptedLLM(["One."])
        InterleavedRetriever(llm, scored(FOUR), context_tokens=context_tokens, count_tokens=words)("q", 5)
        return last_message(llm).count("Text of")

    llm = ScriptedLLM(["One."])
    InterleavedRetriever(llm, scored(FOUR))("q", 5)
    whole = sum(words(turn["content"]) for turn in llm.requests[0])
    assert [shown(None), shown(whole), shown(whole - 1)] == [2, 2, 1]
    with pytest.raises(ConfigError, match="no passage fits"):
        shown(whole - 12)
    with pytest.raises(InputError, match="question of 1 characters makes a prompt"):
        shown(9)


def test_the_calls_have_their_length_and_temperature_0_unless_told_otherwise():
    asked: list[Options] = []

    def llm(messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        asked.append(options)
        return Reply("One.")

    InterleavedRetriever(llm, scored(FOUR))("q", 5)
    InterleavedRetriever(llm, scored(FOUR), max_tokens=9, options={"seed": 3})("q", 5)
    assert asked == [{"max_tokens": 64, "temperature": 0.0}, {"max_tokens": 9, "seed": 3}]


# ---- Wrong use


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: InterleavedRetriever(ScriptedLLM([]), scored({}), steps=0), "steps must be at least 1, got 0"),
        (lambda: InterleavedRetriever(ScriptedLLM([]), scored({}), per_step=0), "per_step must be at least 1, got 0"),
        (lambda: InterleavedRetriever(ScriptedLLM([]), scored({}))("q", 0), "k must be at least 1, got 0"),
        (
            lambda: InterleavedRetriever(ScriptedLLM([]), scored({"q": {"a": float("nan")}}))("q", 5),
            "no finite number",
        ),
    ],
)
def test_wrong_use_is_refused(use: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message):
        use()


# ---- A real model


@pytest.mark.model
def test_the_local_model_thinks_its_way_to_the_second_passage(local_model: LocalLLM):
    retriever = InterleavedRetriever(local_model, BM25([ALBUM, CELLIST, VILLAGE, *OTHERS]), steps=2)
    steps = steps_of(retriever, "Who plays on the album Low Tide?")
    assert "Tamsin Orrell" in steps[0]["thought"]
    assert "cellist" in steps[1]["new"]
