import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hash_embedder import HashEmbedder
from hypothesis import given
from hypothesis import strategies as st

from ragloom.codec import to_json
from ragloom.components.bm25 import BM25
from ragloom.components.collected import Notes, notes_from_json
from ragloom.components.llm import ScriptedLLM
from ragloom.components.note_claims import Claim, Draft, Note, Plan
from ragloom.components.note_taking import LLMNoteTaker
from ragloom.components.notes import NoteCollector
from ragloom.errors import BudgetExceeded, InputError
from ragloom.run import Budget, Run, reserve, span
from ragloom.types import Chunk, Hit, Message, Retriever, Usage

ALBUM = Chunk("album", "Low Tide is an album by the cellist Tamsin Orrell.", "Low Tide")
CELLIST = Chunk("cellist", "Tamsin Orrell was born in Penmarrow.", "Tamsin Orrell")
VILLAGE = Chunk("village", "Penmarrow lies on Kerrin Island.", "Penmarrow")
OTHERS = [Chunk(f"other {n}", f"Number {n} is a number.", f"Number {n}") for n in range(5)]
CORPUS = BM25([ALBUM, CELLIST, VILLAGE, *OTHERS])
QUESTION = "From where does the musician of Low Tide come?"


def model(messages: Sequence[Message]) -> str:
    """Plays a model that follows the prompts: which one it is shows in the words before the reply."""
    said = messages[-1]["content"]
    if "Better #" in said:
        first, second = (part.count("\n(") for part in said.split("Note B #"))
        return "A" if first > second else "B"
    if "Missing #" in said:
        known = said[said.index("Facts #") :]
        if "Penmarrow lies" in known:
            return "nothing"
        return "where Penmarrow lies -> Penmarrow" if "Penmarrow" in known else "her home -> Tamsin Orrell"
    passages = re.findall(r"\[(\d)\] .*\n(.*)", said)
    return "\n".join(f'[{number}] "{text}"' for number, text in passages)


def ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.chunk.id for hit in hits]


def lists(found: Mapping[str, Sequence[str]]) -> Retriever:
    """A retriever that is known: by query, the ids of its hits."""

    def retriever(query: str, k: int, /) -> list[Hit]:
        return [Hit(Chunk(id_, f"Passage {id_} says {id_}."), -rank) for rank, id_ in enumerate(found.get(query, ()))][
            :k
        ]

    return retriever


def steps_traced(run: Run) -> list[dict[str, Any]]:
    return [dict(step.attributes) for step in run.record().spans if step.name == "step"]


@dataclass
class Taker:
    """A NoteTaker after a script. Each passage makes a claim, unless told otherwise; its calls count like a model's.

    Attributes:
        plans: one for each step, the last one again after them; texts are queries.
        verdicts: of the comparisons, likewise.
        failing: steps in which the note cannot be read.
        barren: steps in which no passage makes a claim.
    """

    plans: Sequence[Plan | str] = ("next",)
    verdicts: Sequence[bool | None] = (True,)
    failing: frozenset[int] = frozenset()
    barren: frozenset[int] = frozenset()
    calls: list[str] = field(default_factory=list)

    def _call(self, name: str) -> int:
        with reserve(tokens=10, cost=0.0) as reservation:
            reservation.settle(Usage(5, 5, calls=1))
        self.calls.append(name)
        return self.calls.count(name) - 1

    def begin(self, question: str, hits: Sequence[Hit], /) -> Draft:
        self._call("begin")
        return self._draft((), hits, 0)

    def refine(self, question: str, note: Note, hits: Sequence[Hit], step: int, /) -> Draft:
        self._call("refine")
        return self._draft(note, hits, step)

    def _draft(self, note: Note, hits: Sequence[Hit], step: int) -> Draft:
        if step in self.failing:
            return Draft(note, failure="not readable")
        if step in self.barren:
            return Draft(note, unsupported=1)
        return Draft((*note, *(Claim(f"Fact {hit.chunk.id}.", hit.chunk.id, 0, 7, step) for hit in hits)))

    def plan(self, question: str, note: Note, asked: Sequence[str], /) -> Plan:
        number = self._call("plan")
        plan = self.plans[min(number, len(self.plans) - 1)]
        return plan if isinstance(plan, Plan) else Plan(("a gap",), tuple(plan.split("|")))

    def better(self, question: str, note: Note, candidate: Note, /) -> bool | None:
        number = self._call("compare")
        return self.verdicts[min(number, len(self.verdicts) - 1)]


FOUND = {"q": ["a", "b"], "1": ["b", "c"], "2": ["d"], "3": ["e"], "known": ["a", "b"]}


# ---- What is found


def test_a_fact_that_the_question_does_not_name_is_found_after_the_one_that_does():
    assert ids(CORPUS(QUESTION, 5)) == ["album"]
    llm = ScriptedLLM(model)
    notes = NoteCollector(LLMNoteTaker(llm), CORPUS, steps=2)(QUESTION)
    assert [step.new for step in notes.steps] == [("album",), ("cellist",), ("village",)]
    assert [claim.text for claim in notes.note] == [ALBUM.text, CELLIST.text, VILLAGE.text]
    assert [(claim.chunk_id, claim.step) for claim in notes.note] == [("album", 0), ("cellist", 1), ("village", 2)]
    assert notes.stop == "max_steps"
    assert notes.asked == ("Tamsin Orrell", "Penmarrow")


def test_it_ends_when_nothing_is_missing():
    notes = NoteCollector(LLMNoteTaker(ScriptedLLM(model)), CORPUS, steps=5)(QUESTION)
    assert (notes.stop, notes.gaps) == ("complete", ())
    assert len(notes.steps) == 4


def test_a_step_takes_the_best_new_passages_over_all_its_queries():
    retriever = lists({"q": ["a"], "x": ["a", "b", "c"], "y": ["c", "d"]})
    notes = NoteCollector(Taker(["x|y"]), retriever, k=3, steps=1)("q")
    assert ids(notes.hits) == ["a", "c", "b", "d"]
    assert notes.hits[1].score == pytest.approx(1 / 63 + 1 / 61)
    assert ids(NoteCollector(Taker(["x|y"]), retriever, k=2, steps=1)("q").hits) == ["a", "c", "b"]


def test_a_passage_that_a_list_holds_twice_counts_once():
    retriever = lists({"q": ["a", "a", "b"]})
    notes = NoteCollector(Taker(), retriever, steps=0)("q")
    assert [(hit.chunk.id, round(1 / hit.score)) for hit in notes.hits] == [("a", 61), ("b", 62)]


# ---- Why it ends, and what it costs

ENDS: list[tuple[dict[str, Any], dict[str, Any], str, list[str]]] = [
    ({"plans": ["1", "2", "3"]}, {"steps": 2}, "max_steps", ["first", "better", "better"]),
    ({}, {"steps": 0}, "max_steps", ["first"]),
    ({"plans": ["1", "2"], "verdicts": [False]}, {}, "no_growth", ["first", "not better", "not better"]),
    ({"plans": ["1", "2"], "barren": {1, 2}}, {}, "no_growth", ["first", "nothing added", "nothing added"]),
    ({"plans": ["known"]}, {"failures": 1}, "no_new_passages", ["first", "nothing new"]),
    ({"plans": ["1", "unheard"]}, {"failures": 1}, "no_new_passages", ["first", "better", "nothing new"]),
    ({"plans": ["1", " Q!"]}, {}, "no_new_queries", ["first", "better", ""]),
    ({"plans": ["1|1", "1"]}, {}, "no_new_queries", ["first", "better", ""]),
    ({"plans": [Plan(failure="?")]}, {}, "no_new_queries", ["first", "unreadable"]),
    ({"plans": ["1", Plan(complete=True)]}, {}, "complete", ["first", "better", ""]),
    ({"plans": ["1", "2"]}, {"most_passages": 3}, "passages_cap", ["first", "better"]),
    ({"plans": ["1"]}, {"most_passages": 1}, "passages_cap", ["first"]),
    ({"plans": ["1", "2", "3"], "failing": {1, 2, 3}}, {"failures": 1}, "max_steps", ["first", *["unreadable"] * 3]),
    ({"plans": ["1", "2", "3"], "verdicts": [None]}, {"failures": 1}, "max_steps", ["first", *["unreadable"] * 3]),
    (
        {"plans": ["1", "2", "3"], "verdicts": [False, True]},
        {},
        "max_steps",
        ["first", "not better", "better", "better"],
    ),
    ({"plans": ["1", Plan(complete=True)], "failing": {0}}, {}, "complete", ["unreadable", "better", ""]),
]


@pytest.mark.parametrize(("script", "settings", "stop", "verdicts"), ENDS)
def test_the_last_step_says_why_it_was_the_last(
    script: dict[str, Any], settings: dict[str, Any], stop: str, verdicts: list[str]
):
    with Run() as run:
        notes = NoteCollector(Taker(**script), lists(FOUND), **settings)("q")
    assert (notes.stop, [step.verdict for step in notes.steps]) == (stop, verdicts)
    traced = steps_traced(run)
    assert [step["verdict"] for step in traced] == verdicts
    assert [step.get("stop") for step in traced] == [None] * (len(verdicts) - 1) + [stop]
    assert [step["new"] for step in traced] == [list(step.new) for step in notes.steps]


@pytest.mark.parametrize(("script", "settings", "stop", "verdicts"), ENDS)
def test_each_step_makes_the_calls_of_its_kind_and_no_others(
    script: dict[str, Any], settings: dict[str, Any], stop: str, verdicts: list[str]
):
    taker = Taker(**script)
    notes = NoteCollector(taker, lists(FOUND), **settings)("q")
    compared = sum(verdict in ("better", "not better") for verdict in verdicts)
    compared += sum(step.failure == "the comparison gave no verdict" for step in notes.steps)
    compared -= 0 in taker.failing  # the first claims come to an empty note
    assert taker.calls.count("compare") == compared
    assert taker.calls.count("begin") == 1
    assert taker.calls.count("plan") == len(verdicts) - 1
    assert taker.calls.count("refine") == sum(bool(step.new) for step in notes.steps[1:])
    assert notes.usage.calls == len(taker.calls)


def test_a_model_is_asked_once_for_the_first_note_and_four_times_a_step():
    llm = ScriptedLLM(model)
    notes = NoteCollector(LLMNoteTaker(llm), CORPUS, steps=2)(QUESTION)
    assert [step.verdict for step in notes.steps] == ["first", "better", "better"]
    assert llm.calls == notes.usage.calls == 1 + 2 * 4
    llm = ScriptedLLM(model)
    NoteCollector(LLMNoteTaker(llm), CORPUS, steps=5)(QUESTION)
    assert llm.calls == 1 + 2 * 4 + 1  # a plan that says that nothing is missing


def test_failures_count_in_a_row_unless_all_shall_count():
    script: dict[str, Any] = {"plans": ["1", "2", "3", "4"], "verdicts": [False, True, False]}
    found = {**FOUND, "4": ["f"], "next": ["g"]}
    in_a_row = NoteCollector(Taker(**script), lists(found), steps=3, failures=2)("q")
    assert (in_a_row.stop, len(in_a_row.steps)) == ("max_steps", 4)
    script["plans"] = ["1", "2", "3", "4", "next"]
    in_all = NoteCollector(Taker(**script), lists(found), steps=4, failures=2, fail_mode="cumulative")("q")
    assert (in_all.stop, len(in_all.steps)) == ("no_growth", 4)


def test_replies_that_cannot_be_used_are_counted_and_are_no_failures():
    notes = NoteCollector(Taker(["1", "2", "3"], failing=frozenset({1, 3})), lists(FOUND), failures=1)("q")
    assert sum(bool(step.failure) for step in notes.steps) == 2
    assert [step.failure for step in notes.steps] == ["", "not readable", "", "not readable"]


def test_a_note_that_lost_a_claim_is_not_accepted():
    class Forgetful(Taker):
        def _draft(self, note: Note, hits: Sequence[Hit], step: int) -> Draft:
            draft = super()._draft(note, hits, step)
            return replace(draft, note=draft.note[1:] if note else draft.note)

    taker = Forgetful(["1"])
    notes = NoteCollector(taker, lists({"q": ["a"], "1": ["b", "c", "d"]}), steps=1)("q")
    assert ([claim.chunk_id for claim in notes.note], notes.steps[1].verdict) == (["a"], "nothing added")
    assert "compare" not in taker.calls


def test_hardly_a_new_word_is_no_growth_unless_it_contradicts():
    claims = tuple(Claim(f"Fact {word} stands here.", "a", 0, 7) for word in "abcdefgh")
    echo = Claim("Fact abc stands here.", "c", 0, 7, 1)

    class Echoing(Taker):
        conflicts: tuple[str, ...] = ()

        def _draft(self, note: Note, hits: Sequence[Hit], step: int) -> Draft:
            return Draft((*claims, replace(echo, conflicts=self.conflicts)) if step else claims)

    taker = Echoing(["1"])
    assert NoteCollector(taker, lists(FOUND), steps=1, novelty=0.5)("q").steps[1].verdict == "nothing added"
    assert NoteCollector(taker, lists(FOUND), steps=1, novelty=0.05)("q").steps[1].verdict == "better"
    taker.conflicts = ("a",)
    assert NoteCollector(taker, lists(FOUND), steps=1, novelty=0.5)("q").steps[1].verdict == "better"


def test_it_ends_when_the_draft_answer_stays_for_two_steps():
    drafts: list[int] = []

    def answer(question: str, note: Note) -> str:
        drafts.append(len(note))
        return "" if len(note) < 3 else "Penmarrow"

    found = {"q": ["a"], **{str(n): [f"p{n}"] for n in range(9)}}
    plans = [str(n) for n in range(9)]
    notes = NoteCollector(Taker(plans), lists(found), steps=8, answer=answer)("q")
    assert notes.stop == "answer_stable"
    assert [step.answer for step in notes.steps] == ["", "", "Penmarrow", "Penmarrow", "Penmarrow"]
    assert drafts == [1, 2, 3, 4, 5]


def test_a_query_in_other_words_is_dropped_where_there_is_an_embedder():
    taker = Taker(["low tide of orrell|orrell tide of low|some quite different thing"])
    found = {"q": ["a"], "low tide of orrell": ["b"]}
    notes = NoteCollector(taker, lists(found), steps=1, embedder=HashEmbedder())("q")
    assert notes.asked == ("low tide of orrell", "some quite different thing")


def test_its_steps_stand_in_the_trace_under_what_called_it():
    with Run() as run, span("collect"):
        NoteCollector(Taker(["1"]), lists(FOUND), steps=1)("q")
    record = run.record()
    assert [(step.name, step.parent) for step in record.spans] == [
        ("collect", -1),
        ("retrieve", 0),
        ("step", 0),
        ("step", 0),
        ("retrieve", 3),
    ]
    assert record.usage.calls == 4


# ---- Nothing to be found


def test_where_nothing_is_found_one_rewrite_is_tried():
    for verdict, found, stop in (("nothing new", {}, "nothing_found"), ("better", {"1": ["a"]}, "max_steps")):
        taker = Taker(["1"])
        notes = NoteCollector(taker, lists(found), steps=1)("q")
        assert (notes.stop, notes.steps[1].verdict) == (stop, verdict)
        assert taker.calls == ["plan"] if not found else ["plan", "refine"]


def test_where_nothing_is_found_and_no_rewrite_comes_it_says_so():
    notes = NoteCollector(Taker([Plan(complete=True)]), lists({}))("q")
    assert (notes.stop, notes.note, notes.hits) == ("nothing_found", (), ())


# ---- Budgets


def test_what_was_found_is_kept_when_the_own_budget_is_used_up():
    full = NoteCollector(Taker(["1", "2", "3"]), lists(FOUND))("q")
    for calls in range(full.usage.calls):
        notes = NoteCollector(Taker(["1", "2", "3"]), lists(FOUND), budget=Budget(calls=calls))("q")
        assert notes.stop == "budget"
        assert notes.usage.calls == calls
        assert notes.steps == full.steps[: (calls + 2) // 3 if calls else 0]
        assert ids(notes.hits)[:2] == ["a", "b"]


def test_when_its_seconds_are_over_it_ends_with_what_there_is():
    notes = NoteCollector(Taker(), lists(FOUND), budget=Budget(seconds=0))("q")
    assert (notes.stop, ids(notes.hits)) == ("deadline", ["a", "b"])


@pytest.mark.parametrize("own", [None, Budget(calls=100), Budget(tokens=10_000)])
def test_the_budget_around_it_ends_it_with_its_error(own: Budget | None):
    kept: list[Notes] = []
    with pytest.raises(BudgetExceeded, match="budget of 4 calls"), Run(Budget(calls=4)) as run:
        NoteCollector(Taker(["1", "2", "3"]), lists(FOUND), budget=own)("q", on_step=kept.append)
    assert [len(notes.steps) for notes in kept] == [1, 2]
    assert steps_traced(run)[-1]["error"] == "BudgetExceeded"


def test_of_two_budgets_the_own_one_ends_it_quietly():
    with Run(Budget(calls=6)):
        assert NoteCollector(Taker(["1", "2", "3"]), lists(FOUND), budget=Budget(calls=4))("q").stop == "budget"


def test_a_budget_holds_for_all_parts_of_a_collection_together():
    first = NoteCollector(Taker(["1", "2", "3"]), lists(FOUND), budget=Budget(calls=4))("q")
    more = NoteCollector(Taker(["2", "3"]), lists(FOUND), budget=Budget(calls=8))("q", notes=first)
    assert (more.stop, more.usage.calls, len(more.steps)) == ("budget", 8, 3)


# ---- Going on


def parts(collector: Callable[[], NoteCollector], question: str) -> list[Notes]:
    kept: list[Notes] = []
    full = collector()(question, on_step=kept.append)
    assert kept[-1] == full
    return kept


@pytest.mark.parametrize("answer", [None, lambda question, note: f"{len(note) // 2}"])
def test_a_model_s_collection_that_goes_on_equals_one_that_was_not_interrupted(answer: Any):
    def collector() -> NoteCollector:
        return NoteCollector(LLMNoteTaker(ScriptedLLM(model)), CORPUS, steps=5, answer=answer)

    kept = parts(collector, QUESTION)
    assert len(kept) == 4
    for notes in kept:
        read = notes_from_json(json.loads(json.dumps(to_json(notes))))
        resumed = collector()(QUESTION, notes=read)
        assert resumed == kept[-1]
        assert resumed.usage.calls == kept[-1].usage.calls


@dataclass
class Deaf:
    """A taker whose plan depends on what was asked, so that it needs no memory; every second query finds nothing."""

    verdicts: Mapping[int, bool | None]

    def begin(self, question: str, hits: Sequence[Hit], /) -> Draft:
        return Taker().begin(question, hits)

    def plan(self, question: str, note: Note, asked: Sequence[str], /) -> Plan:
        return Plan((f"gap {len(asked)}",), (f"query {len(asked)}",))

    def refine(self, question: str, note: Note, hits: Sequence[Hit], step: int, /) -> Draft:
        return Taker().refine(question, note, hits, step)

    def better(self, question: str, note: Note, candidate: Note, /) -> bool | None:
        return self.verdicts.get(candidate[-1].step, True)


@given(st.dictionaries(st.integers(1, 6), st.sampled_from([True, False, None])), st.integers(0, 7), st.integers(1, 3))
def test_a_collection_that_goes_on_equals_one_that_was_not_interrupted(
    verdicts: dict[int, bool | None], steps: int, failures: int
):
    found = {"q": ["a"], "query 0": ["a"], "query 1": ["b"], "query 2": ["c"], "query 4": ["d", "a"], "query 5": ["e"]}

    def collector() -> NoteCollector:
        return NoteCollector(Deaf(verdicts), lists(found), steps=steps, failures=failures)

    kept = parts(collector, "q")
    for notes in kept:
        assert collector()("q", notes=notes) == kept[-1]


def test_a_collection_whose_budget_ran_out_goes_on_where_the_step_began():
    def collector(calls: int) -> NoteCollector:
        return NoteCollector(LLMNoteTaker(ScriptedLLM(model)), CORPUS, steps=5, budget=Budget(calls=calls))

    full = collector(100)(QUESTION)
    for calls in range(full.usage.calls):
        stopped = collector(calls)(QUESTION)
        assert stopped.stop == "budget"
        resumed = collector(100)(QUESTION, notes=stopped)
        assert resumed == full
        assert resumed.usage.calls == full.usage.calls + calls - [0, 1, 5, 9][len(stopped.steps)]


def test_more_steps_can_be_asked_for_later_and_what_is_complete_stays_so():
    short = NoteCollector(LLMNoteTaker(ScriptedLLM(model)), CORPUS, steps=1)(QUESTION)
    assert short.stop == "max_steps"
    long = NoteCollector(LLMNoteTaker(ScriptedLLM(model)), CORPUS, steps=5)
    assert long(QUESTION, notes=short) == long(QUESTION)
    silent = NoteCollector(LLMNoteTaker(ScriptedLLM([])), CORPUS, steps=9)
    assert silent(QUESTION, notes=long(QUESTION)).stop == "complete"


# ---- What always holds


class Random:
    """A taker that says whatever hypothesis says."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw

    def _note(self, note: Note, hits: Sequence[Hit], step: int) -> Draft:
        kept = self.draw(st.sampled_from([note, note, note[1:]]))
        new = tuple(
            Claim(self.draw(st.text(max_size=8)), hit.chunk.id, 0, 1, step) for hit in hits if self.draw(st.booleans())
        )
        return Draft(kept + new, failure=self.draw(st.sampled_from(["", "", "?"])))

    def begin(self, question: str, hits: Sequence[Hit], /) -> Draft:
        return self._note((), hits, 0)

    def plan(self, question: str, note: Note, asked: Sequence[str], /) -> Plan:
        queries = self.draw(
            st.lists(st.sampled_from(["q", "Q?", "one", "One", "two", "three", " ", "four"]), max_size=2)
        )
        return Plan((), tuple(queries), self.draw(st.booleans()))

    def refine(self, question: str, note: Note, hits: Sequence[Hit], step: int, /) -> Draft:
        return self._note(note, hits, step)

    def better(self, question: str, note: Note, candidate: Note, /) -> bool | None:
        return self.draw(st.sampled_from([True, True, False, None]))


@given(st.data())
def test_whatever_taker_and_retriever_do_the_promises_are_kept(data: st.DataObject):
    shown: list[list[str]] = []

    def retriever(query: str, k: int, /) -> list[Hit]:
        found = data.draw(st.lists(st.sampled_from("abcdefghijkl"), max_size=k))
        return [Hit(Chunk(id_, "text"), 0.0) for id_ in found]

    class Watched(Random):
        def _note(self, note: Note, hits: Sequence[Hit], step: int) -> Draft:
            shown.append(ids(hits))
            return super()._note(note, hits, step)

    k, most, steps = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9)), data.draw(st.integers(0, 5))
    collector = NoteCollector(Watched(data), retriever, k=k, most_passages=most, steps=steps)
    kept: list[Notes] = []
    notes = collector("q", on_step=kept.append)
    words = [" ".join(re.findall(r"\w+", query.casefold())) for query in ("q", *notes.asked)]
    assert len(set(words)) == len(words)
    assert "" not in words
    assert len(set(ids(notes.hits))) == len(notes.hits) <= most
    assert all(len(step.new) <= k for step in notes.steps)
    assert sum(map(len, shown)) == len({id_ for hits in shown for id_ in hits}) <= len(notes.hits)
    assert len(notes.steps) <= steps + 1
    assert notes.stop
    sizes = [len(state.note) for state in kept]
    assert sizes == sorted(sizes)
    assert all(set(before.note) <= set(after.note) for before, after in pairwise(kept))
    assert notes_from_json(json.loads(json.dumps(to_json(notes)))) == notes


# ---- Wrong use


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"failures": 0}, "failures must be at least 1, got 0"),
        ({"most_passages": 0}, "most_passages must be at least 1, got 0"),
        ({"novelty": 1.5}, "novelty must be from 0 to 1, got 1.5"),
        ({"fail_mode": "none"}, "fail_mode must be 'consecutive' or 'cumulative', got 'none'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        NoteCollector(Taker(), lists({}), **settings)


def test_an_empty_question_and_the_notes_of_another_question_are_refused():
    collector = NoteCollector(Taker(), lists({}))
    with pytest.raises(InputError, match="the question is empty"):
        collector("  ")
    with pytest.raises(ValueError, match="those of another question: 'p'"):
        collector("q", notes=Notes("p"))


@pytest.mark.parametrize("data", [{}, [], {"question": "q", "note": 3}, {**to_json(Notes("q")), "usage": {"x": 1}}])
def test_what_is_no_notes_is_not_read_as_such(data: Any):
    with pytest.raises(ValueError, match="not the JSON of notes"):
        notes_from_json(data)
