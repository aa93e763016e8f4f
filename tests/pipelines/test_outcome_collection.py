import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path

import killed_collection
import pytest
from killed_collection import CITIES, QUESTIONS, Length, parts, reply, settings

from ragloom.components.datasets import Question
from ragloom.components.gating import Capability, Observation, SignalMissing
from ragloom.components.llm import ScriptedLLM
from ragloom.errors import BadReply, ConfigError, EndpointUnreachable, InputError
from ragloom.pipelines.batch import BatchReport, answer_batch
from ragloom.pipelines.outcome_collection import begin_outcomes, collect, outcomes_of
from ragloom.pipelines.outcomes import Outcome, read_outcomes, write_outcomes
from ragloom.pipelines.report import answers_table
from ragloom.pipelines.run_identity import begin_batch
from ragloom.run import Budget
from ragloom.store import Store
from ragloom.types import Answer, Message

DRIVER = Path(killed_collection.__file__)


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "workspace") as store:
        yield store


def go(store: Store, llm: ScriptedLLM, questions: Sequence[Question] = QUESTIONS, **options) -> tuple[str, BatchReport]:
    signals, modes = parts(llm, store)
    run_id = begin_outcomes(settings(store), questions, store, signals=signals, modes=modes)
    return run_id, collect(run_id, signals, modes, store, **{"workers": 1, "progress": False} | options)


def timeless(outcomes: list[Outcome]) -> list[Outcome]:
    """Without what a clock says."""
    return [
        replace(row, usage={mode: replace(used, seconds=0.0) for mode, used in row.usage.items()}) for row in outcomes
    ]


def test_a_row_holds_what_was_measured_and_what_each_mode_answered(store: Store):
    run_id, report = go(store, ScriptedLLM(reply))
    first, second, *_ = outcomes = outcomes_of(store, run_id)
    assert [row.question_id for row in outcomes] == list(CITIES)
    assert (first.question, first.golds) == ("What is the capital of France?", ("Paris",))
    assert first.answers == {"none": "Rome, I think", "single": "Paris"}
    assert second.answers == {"none": "Rome, I think", "single": "Rome"}
    assert first.features == {"question_characters": 30.0, "draft_words": 3.0}
    assert (report.answered, report.done, report.failed, report.stopped) == (5, 5, 0, "")


def test_an_answer_that_a_signal_made_is_not_asked_for_again_and_its_usage_counts_for_its_mode(store: Store):
    llm = ScriptedLLM(reply)
    run_id, report = go(store, llm)
    assert llm.calls == 2 * len(QUESTIONS)  # a draft and a reading each
    assert report.usage.cache_hits == 0
    for row in outcomes_of(store, run_id):
        assert {mode: used.calls for mode, used in row.usage.items()} == {"none": 1, "single": 1}
        assert row.usage["none"].tokens < row.usage["single"].tokens


def test_both_modes_answers_of_one_signal_count_for_themselves(store: Store):
    llm = ScriptedLLM(reply)
    _, modes = parts(llm, store)

    @dataclass(frozen=True)
    class Both:
        needs: frozenset[Capability] = frozenset()
        features: tuple[str, ...] = ()
        identity: str = ""

        def __call__(self, question: str, /) -> Observation:
            return Observation({}, {mode: pipeline(question) for mode, pipeline in modes.items()})

    run_id = begin_outcomes(settings(store), QUESTIONS, store, signals=[Both()], modes=modes)
    collect(run_id, [Both()], modes, store, workers=1, progress=False)
    assert llm.calls == 10
    for row in outcomes_of(store, run_id):
        assert [used.calls for used in row.usage.values()] == [1, 1]


def test_a_finished_collection_asks_nothing(store: Store):
    run_id, _ = go(store, ScriptedLLM(reply))
    llm = ScriptedLLM(reply)
    again, report = go(store, llm)
    assert (again, report.answered, report.done, llm.calls) == (run_id, 0, 5, 0)


def test_other_signals_modes_or_questions_are_another_run_and_how_a_gate_decides_is_none(store: Store):
    signals, modes = parts(ScriptedLLM(reply), store)

    def begun(**changed: object) -> str:
        arguments = {"settings": settings(store), "questions": QUESTIONS, "signals": signals, "modes": modes} | changed
        return begin_outcomes(arguments.pop("settings"), arguments.pop("questions"), store, **arguments)

    first = begun()
    assert begun(settings=settings(store).model_copy(update={"gate": "never", "workers": 3})) == first
    others = [
        begun(signals=[Length()]),
        begun(signals=[Length(identity="other"), *signals[1:]]),
        begun(modes=["none"]),
        begun(questions=QUESTIONS[:3]),
        begun(settings=settings(store).model_copy(update={"k": 7})),
    ]
    assert len({first, *others}) == 6


def test_an_interrupted_collection_goes_on_and_its_rows_are_those_of_an_uninterrupted_one(tmp_path: Path):
    with Store.open(tmp_path / "whole") as store:
        run_id, _ = go(store, ScriptedLLM(reply))
        expected = outcomes_of(store, run_id)
    asked: list[str] = []

    def interrupted(messages: Sequence[Message]) -> str:
        if len(asked) == 5:  # in the middle of the third question
            raise KeyboardInterrupt
        asked.append(messages[-1]["content"])
        return reply(messages)

    with Store.open(tmp_path / "interrupted") as store:
        with pytest.raises(KeyboardInterrupt):
            go(store, ScriptedLLM(interrupted))
        assert store.runs()[0].counts == {"done": 2, "pending": 3, "failed": 0}
        llm = ScriptedLLM(reply)
        run_id, report = go(store, llm)
        assert (report.answered, report.done) == (3, 5)
        assert llm.calls == 5
        assert timeless(outcomes_of(store, run_id)) == timeless(expected)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_collection_killed_again_and_again_has_each_row_once_and_asks_nothing_twice_that_was_answered(tmp_path: Path):
    for kill_at in (1, 2, 3, 4):
        killed = subprocess.run([sys.executable, DRIVER, tmp_path / "killed", "--kill-at", str(kill_at)], check=False)
        assert killed.returncode == -9
    assert subprocess.run([sys.executable, DRIVER, tmp_path / "killed"], check=False).returncode == 0
    run_id, _ = killed_collection.run(tmp_path / "whole")
    with Store.open(tmp_path / "whole") as whole, Store.open(tmp_path / "killed") as store:
        assert timeless(outcomes_of(store, run_id)) == timeless(outcomes_of(whole, run_id))
        attempts = Counter(attempt.status for attempt in store.attempts(run_id=run_id))
        assert attempts["ok"] == 10  # a draft and a reading a question
        assert 4 <= attempts["open"] <= 8  # those under way when it was killed, from two workers
        assert store.check() == []


def test_a_question_that_a_mode_cannot_answer_is_a_failed_row_and_the_others_go_on(store: Store):
    def babbles(messages: Sequence[Message]) -> str:
        if "is the capital of Spain" in messages[-1]["content"]:
            raise BadReply("the reply is empty", "ask again")
        return reply(messages)

    run_id, report = go(store, ScriptedLLM(babbles))
    (failed,) = store.items(run_id, status={"failed"})
    assert (report.done, report.failed, failed.question_id) == (4, 1, "Spain")
    assert [row.question_id for row in outcomes_of(store, run_id)] == ["France", "Italy", "Malta", "Cuba"]
    assert failed.result == {"error": "BadReply", "problem": "the reply is empty", "remedy": "ask again"}
    store.reset_failed(run_id)
    assert go(store, ScriptedLLM(reply))[1].done == 5


def test_a_reply_that_a_signal_cannot_use_is_unknown_and_its_mode_is_answered(store: Store):
    @dataclass(frozen=True)
    class Babbling:
        needs: frozenset[Capability] = frozenset()
        features: tuple[str, ...] = ("confidence_doubt",)
        identity: str = ""

        def __call__(self, question: str, /) -> Observation:
            raise BadReply("no number")

    _, modes = parts(ScriptedLLM(reply), store)
    run_id = begin_outcomes(settings(store), QUESTIONS, store, signals=[Babbling()], modes=modes)
    collect(run_id, [Babbling()], modes, store, progress=False)
    row = outcomes_of(store, run_id)[0]
    assert isnan(row.features["confidence_doubt"])
    assert row.answers["none"] == "Rome, I think"


def test_a_signal_that_the_model_cannot_give_ends_the_collection(store: Store):
    @dataclass(frozen=True)
    class Missing:
        needs: frozenset[Capability] = frozenset()
        features: tuple[str, ...] = ("draft_margin",)
        identity: str = ""

        def __call__(self, question: str, /) -> Observation:
            raise SignalMissing("the server leaves out log-probabilities", "use another signal")

    llm = ScriptedLLM(reply)
    _, modes = parts(llm, store)
    run_id = begin_outcomes(settings(store), QUESTIONS, store, signals=[Missing()], modes=modes)
    with pytest.raises(SignalMissing, match="log-probabilities"):
        collect(run_id, [Missing()], modes, store, progress=False)
    assert store.run(run_id).counts["pending"] == 5
    assert llm.calls == 0


def test_a_model_that_is_gone_stops_the_collection_and_the_questions_stay_pending(store: Store):
    def gone(messages: Sequence[Message]) -> str:
        raise EndpointUnreachable("nobody there")

    with pytest.raises(EndpointUnreachable):
        go(store, ScriptedLLM(gone))
    assert store.runs()[0].counts["pending"] == 5


def test_a_budget_is_held_and_more_budget_goes_on(store: Store):
    run_id, report = go(store, ScriptedLLM(reply), budget=Budget(calls=5))
    assert (report.done, report.pending) == (2, 3)
    assert "budget of 5 calls" in report.stopped
    assert go(store, ScriptedLLM(reply), budget=Budget(calls=10))[1].done == 5
    assert Counter(attempt.status for attempt in store.attempts(run_id=run_id)) == {"ok": 10, "error": 1}


def test_slices_make_up_the_whole(store: Store):
    for land in CITIES:
        run_id, report = go(store, ScriptedLLM(reply), only={land})
        assert report.answered == 1
    assert len(outcomes_of(store, run_id)) == 5


def test_an_abstention_is_no_answer(store: Store):
    modes = {"none": lambda question: Answer("Paris? the passages do not say", abstained=True)}
    run_id = begin_outcomes(settings(store), QUESTIONS, store, signals=[], modes=modes)
    collect(run_id, [], modes, store, progress=False)
    assert {row.answers["none"] for row in outcomes_of(store, run_id)} == {""}


def test_questions_that_nothing_can_be_learnt_from_are_refused_before_anything_runs(store: Store):
    llm = ScriptedLLM(reply)
    with pytest.raises(InputError, match="question 'q2' has no gold answer"):
        go(store, llm, [*QUESTIONS, Question("q2", "Why?")])
    with pytest.raises(InputError, match="several questions have the id 'France'"):
        go(store, llm, [*QUESTIONS, Question("France", "Where is France?", ("Europe",))])
    with pytest.raises(InputError, match="no questions"):
        go(store, llm, [])
    with pytest.raises(ConfigError, match="no mode"):
        begin_outcomes(settings(store), QUESTIONS, store, signals=[], modes=[])
    with pytest.raises(ConfigError, match="there is no mode 'twice'"):
        begin_outcomes(settings(store), QUESTIONS, store, signals=[], modes=["none", "twice"])
    assert (llm.calls, store.runs()) == (0, [])


def test_the_same_question_under_two_ids_is_asked_once_and_is_two_rows(store: Store):
    llm = ScriptedLLM(reply)
    run_id, _ = go(store, llm, [*QUESTIONS, replace(QUESTIONS[0], id="again")])
    rows = outcomes_of(store, run_id)
    assert llm.calls == 10
    assert (rows[-1].question_id, rows[-1].answers) == ("again", rows[0].answers)


def test_a_batch_holds_no_outcomes(store: Store):
    run_id = begin_batch(settings(store), QUESTIONS, store)
    answer_batch(run_id, lambda question: Answer("Paris"), store, progress=False)
    with pytest.raises(InputError, match="holds no outcomes, it is a batch"):
        outcomes_of(store, run_id)


def test_outcomes_are_no_answers_to_report_on(store: Store):
    run_id, _ = go(store, ScriptedLLM(reply))
    with pytest.raises(InputError, match="holds no answers, but outcomes"):
        answers_table(store, [run_id])


def test_rows_come_back_from_their_file_as_they_were(store: Store, tmp_path: Path):
    run_id, _ = go(store, ScriptedLLM(reply), [replace(QUESTIONS[0], meta={"dataset": "capitals"})])
    rows = outcomes_of(store, run_id)
    assert rows[0].group == "capitals"
    write_outcomes(rows, tmp_path / "outcomes.jsonl")
    assert list(read_outcomes(tmp_path / "outcomes.jsonl")) == rows
