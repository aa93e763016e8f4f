import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ragloom.components.datasets import GoldPassage, Question, question_from_json
from ragloom.components.llm import Cached, ScriptedLLM
from ragloom.components.reading import PromptReader
from ragloom.errors import BadReply, ConfigError, EndpointUnreachable, InputError, RequestRefused
from ragloom.pipelines.batch import BatchReport, answer_batch
from ragloom.pipelines.estimating import estimate_batch
from ragloom.pipelines.export import export_run
from ragloom.pipelines.question_answering import ClosedBook
from ragloom.pipelines.run_identity import begin_batch
from ragloom.pipelines.settings import Settings
from ragloom.run import Budget
from ragloom.store import Store
from ragloom.types import Answer, Pipeline, RunRecord, Usage


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "workspace") as store:
        yield store


def settings(store: Store, **values) -> Settings:
    """Of a model that is never asked: these tests bring their own pipelines."""
    return Settings(pipeline="closed-book", workspace=store.folder, base_url="http://127.0.0.1:9/v1", **values)


def questions(count: int) -> list[Question]:
    return [Question(f"q{number}", f"What is {number}?", (str(number),)) for number in range(count)]


def begin(store: Store, count: int = 10) -> str:
    return begin_batch(settings(store), questions(count), store)


def echo(question: str) -> Answer:
    return Answer(question.rsplit(maxsplit=1)[-1].strip("?"))


def answer(run_id: str, pipeline: Pipeline, store: Store, **options) -> BatchReport:
    return answer_batch(run_id, pipeline, store, **{"workers": 2, "progress": False} | options)


def texts(store: Store, run_id: str) -> list[str | None]:
    return [item.result and item.result.get("text") for item in store.items(run_id)]


def test_every_question_is_answered_once_and_in_order(store: Store):
    run_id = begin(store)
    report = answer(run_id, echo, store)
    assert texts(store, run_id) == [str(number) for number in range(10)]
    assert (report.answered, report.done, report.failed, report.pending, report.stopped) == (10, 10, 0, 0, "")


def test_a_finished_run_asks_nothing(store: Store):
    run_id = begin(store)
    answer(run_id, echo, store)
    again = answer(begin(store), lambda question: pytest.fail(f"asked {question}"), store)
    assert (again.run_id, again.answered, again.done) == (run_id, 0, 10)


def test_other_settings_or_questions_are_another_run(store: Store):
    run_id = begin_batch(settings(store), questions(3), store)
    assert begin_batch(settings(store, workers=3, max_calls=9), questions(3), store) == run_id
    assert begin_batch(settings(store, mode="long"), questions(3), store) != run_id
    assert begin_batch(settings(store), questions(4), store) != run_id


def test_no_questions_are_refused(store: Store):
    with pytest.raises(InputError, match="no questions"):
        begin_batch(settings(store), [], store)


def test_a_question_that_cannot_be_answered_is_a_row_and_the_others_go_on(store: Store):
    def picky(question: str) -> Answer:
        if "3" in question:
            raise InputError("three is too much", "ask for two")
        if "4" in question:
            raise KeyError("four")
        return echo(question)

    run_id = begin(store)
    report = answer(run_id, picky, store)
    assert (report.done, report.failed) == (8, 2)
    failed = {item.question_id: item.result for item in store.items(run_id, status={"failed"})}
    assert failed == {
        "q3": {"error": "InputError", "problem": "three is too much", "remedy": "ask for two"},
        "q4": {"error": "KeyError", "problem": "KeyError('four')", "remedy": ""},
    }


def test_failed_questions_are_tried_again_only_on_request(store: Store):
    def broken(question: str) -> Answer:
        if "3" in question:
            raise InputError("not now")
        return echo(question)

    run_id = begin(store)
    answer(run_id, broken, store)
    assert answer(run_id, echo, store).failed == 1
    store.reset_failed(run_id)
    assert answer(run_id, echo, store).done == 10


def test_a_model_that_fails_now_and_then_fails_those_questions(store: Store):
    def flaky(question: str) -> Answer:
        if "3" in question:
            raise EndpointUnreachable("gone for a moment")
        return echo(question)

    run_id = begin(store)
    report = answer(run_id, flaky, store, workers=1)
    assert (report.done, report.failed, report.stopped) == (9, 1, "")


def test_a_model_that_is_gone_stops_the_run_and_the_questions_stay_pending(store: Store):
    asked = []

    def dies(question: str) -> Answer:
        asked.append(question)
        if len(asked) > 3:
            raise EndpointUnreachable("nobody there", "start the server")
        return echo(question)

    run_id = begin(store)
    report = answer(run_id, dies, store, workers=1)
    assert (report.done, report.failed, report.pending) == (3, 0, 7)
    assert report.stopped == "5 questions in a row failed: nobody there; start the server"
    assert len(asked) == 8
    assert answer(run_id, echo, store).done == 10


def test_a_model_that_never_answered_is_an_error(store: Store):
    def refuse(question: str) -> Answer:
        raise RequestRefused("wrong key")

    run_id = begin(store, 2)
    with pytest.raises(RequestRefused, match="wrong key"):
        answer(run_id, refuse, store)
    assert store.run(run_id).counts["pending"] == 2


def test_a_model_that_answers_badly_fails_the_question(store: Store):
    def babble(question: str) -> Answer:
        raise BadReply("no JSON")

    run_id = begin(store, 2)
    assert answer(run_id, babble, store).failed == 2


def test_a_request_to_stop_finishes_what_is_under_way(store: Store):
    stop = threading.Event()

    def stops(question: str) -> Answer:
        stop.set()
        return echo(question)

    run_id = begin(store)
    report = answer(run_id, stops, store, stop=stop.is_set)
    assert 1 <= report.done <= 3
    assert report.stopped == "stopped on request"
    assert report.done + report.pending == 10


def priced(store: Store) -> ClosedBook:
    llm = ScriptedLLM(lambda messages: "a word")
    return ClosedBook(PromptReader(Cached(llm, store)))


def test_a_budget_stops_the_run_before_it_is_overspent_and_more_budget_goes_on(store: Store):
    run_id = begin(store)
    report = answer(run_id, priced(store), store, budget=Budget(calls=4))
    assert (report.done, report.pending, report.usage.calls) == (4, 6, 4)
    assert "budget of 4 calls" in report.stopped
    again = answer(run_id, priced(store), store, budget=Budget(calls=4))
    assert (again.done, again.usage.calls) == (4, 0)  # the budget is the run's, not the call's
    assert answer(run_id, priced(store), store, budget=Budget(calls=10)).done == 10


def test_an_estimate_is_for_what_is_left_and_its_sample_is_kept(store: Store):
    def costly(question: str) -> Answer:
        number = int(question.rsplit(maxsplit=1)[-1].strip("?"))
        usage = Usage(prompt_tokens=100 + number, completion_tokens=10, calls=2, cost=0.01)
        return replace(echo(question), run=RunRecord(usage, 0.5))

    run_id = begin(store, 100)
    estimate = estimate_batch(run_id, costly, store, sample=20, workers=2, progress=False)
    assert (estimate.sample, estimate.remaining) == (20, 80)
    assert (estimate.calls.low, estimate.calls.expected, estimate.calls.high) == (160, 160, 160)
    assert estimate.cost is not None
    assert estimate.cost.expected == pytest.approx(0.8)
    actual = sum(110 + number for number in range(100)) - sum(
        110 + int(item.question_id[1:]) for item in store.items(run_id, status={"done"})
    )
    assert estimate.tokens.low <= actual <= estimate.tokens.high
    assert estimate.seconds.low <= estimate.seconds.expected <= estimate.seconds.high
    assert store.run(run_id).counts["done"] == 20


def test_questions_of_the_sample_that_failed_are_not_left(store: Store):
    def often_failing(question: str) -> Answer:
        if question.endswith(("1?", "3?", "5?", "7?", "9?")):
            raise InputError("no passage")
        return replace(echo(question), run=RunRecord(Usage(calls=1), 0.1))

    run_id = begin(store, 100)
    estimate = estimate_batch(run_id, often_failing, store, sample=20, progress=False)
    assert estimate.sample < 20
    assert estimate.remaining == store.run(run_id).counts["pending"] == 80


def test_an_estimate_does_not_invent_a_price(store: Store):
    def unpriced(question: str) -> Answer:
        return replace(echo(question), run=RunRecord(Usage(calls=1, cost=None), 0.1))

    assert estimate_batch(begin(store), unpriced, store, sample=3, progress=False).cost is None


def test_answers_are_exported_as_jsonl_and_parquet_alike(store: Store, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")

    def picky(question: str) -> Answer:
        if "3" in question:
            raise InputError("three is too much")
        return echo(question)

    run_id = begin(store)
    answer(run_id, picky, store)
    export_run(store, run_id, tmp_path / "answers.jsonl")
    export_run(store, run_id, tmp_path / "answers.parquet")
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    assert [row["id"] for row in rows] == [f"q{number}" for number in range(10)]
    assert (rows[2]["answer"], rows[2]["gold_answers"], rows[2]["status"]) == ("2", ["2"], "done")
    assert (rows[3]["answer"], rows[3]["error"]) == (None, "InputError: three is too much")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "answers.parquet", "workspace"]


def test_an_unknown_ending_is_refused(store: Store, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"answers\.xlsx: unknown ending '\.xlsx'; use \.jsonl or \.parquet"):
        export_run(store, begin(store), tmp_path / "answers.xlsx")


def test_a_stored_question_comes_back_as_it_was(store: Store):
    asked = Question("q", "What is it?", ("a", "b"), (GoldPassage("T", "text"), GoldPassage("T")), {"hops": 2})
    run_id = begin_batch(settings(store), [asked], store)
    assert question_from_json(store.items(run_id)[0].question) == asked


@pytest.mark.parametrize("name", ["prompt.txt", "prompt"])
def test_an_edited_prompt_makes_another_run_whatever_its_file_is_called(store: Store, tmp_path: Path, name: str):
    file = tmp_path / name
    file.write_text("Theirs.", encoding="utf-8")
    first = begin_batch(settings(store, prompt=file), questions(1), store)
    assert begin_batch(settings(store, prompt=file), questions(1), store) == first
    file.write_text("Mine.", encoding="utf-8")
    assert begin_batch(settings(store, prompt=file), questions(1), store) != first
