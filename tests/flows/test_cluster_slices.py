"""How slices are handed out, budgets shared and what workers did entered; the workers are threads of this process."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger
from scripted_endpoint import ScriptedEndpoint

from ragloom.components.datasets import Question
from ragloom.components.splitting import WholePassages
from ragloom.errors import ConfigError, RequestRefused
from ragloom.flows.cluster_slices import work_on_cluster
from ragloom.pipelines.answering_apart import Outcome, Part, answer_part
from ragloom.pipelines.batch import BatchReport, answer_run
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.run_identity import begin_batch
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

MANY = [Question(id=f"q{number}", text=f"What is the capital of France, asked {number}?") for number in range(40)]


@pytest.fixture(autouse=True)
def without_a_flow() -> Iterator[None]:
    with disable_run_logger():
        yield


def work(settings: Settings, *, at_once: int = 3, answer: object = None) -> BatchReport:
    with Store.open(settings.workspace) as store:
        run_id = begin_batch(settings, MANY, store)
        answer = answer or (lambda part: answer_part(part, settings))
        return work_on_cluster(answer, run_id, settings, store, slice_size=10, at_once=at_once)


def results(settings: Settings) -> list[str]:
    with Store.open(settings.workspace, write=False) as store:
        (run,) = store.runs()
        return [json.dumps({**(item.result or {}), "run": None}) for item in store.items(run.id)]


def test_answers_are_those_of_one_process(
    tmp_path: Path, settings: Settings, endpoint: ScriptedEndpoint, corpus: Path
) -> None:
    both = [
        settings.model_copy(update={"pipeline": "single", "workspace": tmp_path / name}) for name in ("one", "cluster")
    ]
    for each in both:
        with Store.open(each.workspace) as store:
            index_corpus([corpus], store, splitter=WholePassages(), progress=False)
    with Store.open(both[0].workspace) as store:
        answer_run(begin_batch(both[0], MANY, store), both[0], store, progress=False)
    calls = endpoint.count
    report = work(both[1])
    assert (report.answered, report.done, report.stopped) == (40, 40, "")
    assert results(both[0]) == results(both[1])
    assert (calls, endpoint.count, report.usage.calls) == (40, 80, 40)
    with Store.open(both[1].workspace, write=False) as store:
        assert [attempt.status for attempt in store.attempts()] == ["ok"] * 40
        assert store.check() == []


def test_what_is_done_is_not_asked_again(settings: Settings, endpoint: ScriptedEndpoint) -> None:
    work(settings)
    report = work(settings)
    assert (endpoint.count, report.answered, report.done) == (40, 0, 40)


@pytest.mark.parametrize("limit", [0, 2, 17, 39])
def test_a_budget_holds_over_all_workers_and_is_used_up(
    limit: int, settings: Settings, endpoint: ScriptedEndpoint
) -> None:
    report = work(settings.model_copy(update={"max_calls": limit}))
    assert endpoint.count == report.done == limit
    assert report.pending == 40 - limit
    assert report.stopped == f"the run's budget does not cover the next call: {limit} of {limit} calls are spent"
    assert work(settings).done == 40
    assert endpoint.count == 40


def test_a_budget_of_tokens_is_not_overspent(settings: Settings, endpoint: ScriptedEndpoint) -> None:
    report = work(settings.model_copy(update={"max_total_tokens": 3000}))
    assert report.out_of_budget
    assert 0 < report.done < 40
    assert report.usage.tokens <= 3000


def test_a_refusing_model_ends_the_run_and_nothing_is_lost(settings: Settings, endpoint: ScriptedEndpoint) -> None:
    endpoint.key = "another"
    with pytest.raises(RequestRefused, match="key"):
        work(settings)
    assert endpoint.count <= 3 * 10
    with Store.open(settings.workspace, write=False) as store:
        assert store.runs()[0].counts["pending"] == 40
        assert {attempt.status for attempt in store.attempts()} == {"error"}
    endpoint.key = None
    assert work(settings).done == 40


def test_a_failing_question_is_a_failed_row(settings: Settings, endpoint: ScriptedEndpoint) -> None:
    endpoint.script = ["ok", "400"]
    report = work(settings)
    assert (report.done, report.failed) == (39, 1)


def test_a_slice_that_comes_back_twice_is_entered_once(settings: Settings, endpoint: ScriptedEndpoint) -> None:
    def twice(part: Part) -> Outcome:
        answer_part(part, settings)
        return answer_part(part, settings)

    assert work(settings, answer=twice).done == 40
    assert endpoint.count == 80


def test_a_worker_that_dies_costs_at_most_its_share_on_top(settings: Settings, endpoint: ScriptedEndpoint) -> None:
    tight = settings.model_copy(update={"max_calls": 20})
    shares = []

    def dies_once(part: Part) -> Outcome:
        if not shares:
            shares.append(part.share.calls)
            answer_part(part, tight)  # which nobody hears of
        return answer_part(part, tight)

    assert work(tight, at_once=4, answer=dies_once).done == 20
    assert shares == [5]
    assert endpoint.count == 20 + 5


def test_workers_of_another_ragloom_are_told_apart(settings: Settings, endpoint: ScriptedEndpoint) -> None:
    with pytest.raises(ConfigError, match=r"has ragloom .*, and the flow 0.0.0; install the same on both"):
        work(settings, answer=lambda part: answer_part(replace(part, version="0.0.0"), settings))
    assert endpoint.count == 0


def test_a_copy_with_other_documents_is_refused(
    tmp_path: Path, settings: Settings, endpoint: ScriptedEndpoint, corpus: Path
) -> None:
    settings = settings.model_copy(update={"pipeline": "single"})
    copy = settings.model_copy(update={"workspace": tmp_path / "copy"})
    for each in (settings, copy):
        with Store.open(each.workspace) as store:
            index_corpus([corpus], store, splitter=WholePassages(), progress=False)
        (corpus / "later.md").write_text("Later.", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds other documents than the flow's"):
        work(settings, answer=lambda part: answer_part(part, copy))
    assert endpoint.count == 0


def test_a_retrieval_rate_needs_the_whole_run(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="workers see their slice"):
        work(settings.model_copy(update={"pipeline": "adaptive", "gate": "random", "retrieval_rate": 0.5}))
