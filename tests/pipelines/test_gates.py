"""Gates and notes from settings, over a small workspace and an endpoint that answers from a script."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.components.datasets import Question
from ragloom.components.gating import SignalGate
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.batch import answer_file, open_batch_pipeline
from ragloom.pipelines.gates import GATES, SIGNALS, open_gate, open_signals
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.opening import open_pipeline
from ragloom.pipelines.run_identity import begin_batch
from ragloom.pipelines.settings import Settings
from ragloom.run import Run
from ragloom.store import Store
from ragloom.types import Answer

QUESTION = "Who built the mill of Quarry End?"


def reply(prompt: str) -> str:
    last = prompt.rpartition("Question")[2]
    if "Quarry" not in last:
        return "Paris"
    return "Ilse Tarn [1]" if "Ilse Tarn" in prompt else "I do not know"


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(answer=reply, logprobs=False) as endpoint:
        yield endpoint


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "mill.txt").write_text("The mill of Quarry End was built by the engineer Ilse Tarn.", encoding="utf-8")
    with Store.open(tmp_path / "workspace") as store:
        index_corpus([corpus], store)
        yield store


def settings(endpoint: ScriptedEndpoint, **values: Any) -> Settings:
    return Settings(base_url=endpoint.base_url, model="scripted", pipeline="adaptive", **values)


def answered(endpoint: ScriptedEndpoint, store: Store, question: str, **values: Any) -> Answer:
    return open_pipeline(settings(endpoint, **values), store)(question)


def decision(answer: Answer) -> Any:
    return answer.run.spans[0].attributes


def test_a_question_that_the_model_asks_for_help_with_is_answered_from_passages(
    endpoint: ScriptedEndpoint, store: Store
):
    answer = answered(endpoint, store, QUESTION)
    assert answer.text == "Ilse Tarn"
    assert [hit.chunk.text[:8] for hit in answer.hits] == ["The mill"]
    assert decision(answer)["mode"] == "single"
    assert decision(answer)["features"] == {"ask_marker": 1.0}


def test_a_draft_that_will_do_is_the_answer_and_costs_one_call(endpoint: ScriptedEndpoint, store: Store):
    answer = answered(endpoint, store, "What is the capital of France?")
    assert (answer.text, answer.hits, answer.run.usage.calls) == ("Paris", (), 1)
    assert decision(answer)["mode"] == "none"


@pytest.mark.parametrize(
    ("gate", "passages"),
    [("never", 0), ("always", 1), ("prompts", 1), ("samples", 1), ("retrieval", 1), ("popularity", 1)],
)
def test_gates_go_by_name(endpoint: ScriptedEndpoint, store: Store, gate: str, passages: int):
    assert len(answered(endpoint, store, QUESTION, gate=gate).hits) == passages


def test_a_gate_can_lead_to_notes(endpoint: ScriptedEndpoint, store: Store):
    answer = answered(
        endpoint, store, QUESTION, gate="always", when_needed="iterative", note_taker="rules", retriever="graph",
        walk_from="bm25",
    )  # fmt: skip
    assert answer.text == "Ilse Tarn"
    assert {"gate", "collect", "read note"} <= {step.name for step in answer.run.spans}


def test_a_model_without_log_probabilities_is_refused_when_the_gate_is_opened(endpoint: ScriptedEndpoint, store: Store):
    with pytest.raises(ConfigError, match="no gate can work here, for want of logprobs"):
        open_gate(settings(endpoint, gate="draft"), store)


def test_the_first_gate_of_a_chain_that_can_work_is_taken(endpoint: ScriptedEndpoint, store: Store):
    gate = open_gate(settings(endpoint, gate="draft, samples, always"), store)
    with Run() as run:
        assert gate(QUESTION).features.keys() == {"samples_disagree", "samples_meanings"}
    assert run.record().usage.calls + run.record().usage.cache_hits == 3


def test_gates_that_ask_nothing_open_without_a_call(endpoint: ScriptedEndpoint, store: Store):
    for name in ("never", "always", "random", "popularity", "retrieval"):
        open_gate(settings(endpoint, gate=name), store)
    assert not endpoint.requests


def test_every_gate_but_those_that_lack_something_opens(endpoint: ScriptedEndpoint, store: Store):
    opened = [open_gate(settings(endpoint, gate=name), store) for name in GATES if name not in {"draft", "neighbours"}]
    assert all(isinstance(gate, SignalGate) for gate in opened)


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        ("oracle", "there is no gate 'oracle'"),
        ("neighbours", "the signal neighbours needs outcomes"),
        ("gate.json", "gate.json"),
    ],
)
def test_a_gate_that_cannot_be_opened_is_named(endpoint: ScriptedEndpoint, store: Store, gate: str, problem: str):
    with pytest.raises((ConfigError, InputError), match=problem):
        open_gate(settings(endpoint, gate=gate), store)


@pytest.mark.parametrize(
    ("gate", "bound", "problem"),
    [
        ("random", 2.0, "cannot retrieve for a share of 2.0"),
        ("random", float("nan"), "cannot retrieve for a share of nan"),
        ("prompts", float("nan"), "cannot compare with nan"),
        ("always", 0.5, "the gate always has no bound"),
        ("gate.json", 0.5, "the gate gate.json has no bound"),
        (" , ", None, "no gate is named"),
    ],
)
def test_a_bound_that_a_gate_cannot_have_is_refused(
    endpoint: ScriptedEndpoint, store: Store, gate: str, bound: float | None, problem: str
):
    with pytest.raises(ConfigError, match=problem):
        open_gate(settings(endpoint, gate=gate, gate_bound=bound), store)


def test_signals_are_opened_in_order_and_once(endpoint: ScriptedEndpoint, store: Store):
    names = [name for name in SIGNALS if name != "neighbours"]
    signals = open_signals(names, settings(endpoint), store)
    features = [name for signal in signals for name in signal.features]
    assert len(signals) == len(names)
    assert len(set(features)) == len(features)
    with pytest.raises(ConfigError, match="named twice"):
        open_signals(["ask", "ask"], settings(endpoint), store)


def test_notes_by_rules_call_the_model_only_for_the_answer(endpoint: ScriptedEndpoint, store: Store):
    chosen = settings(endpoint, note_taker="rules").model_copy(update={"pipeline": "notes"})
    answer = open_pipeline(chosen, store)(QUESTION)
    assert answer.text == "Ilse Tarn"
    assert answer.citations[0].document_id == answer.hits[0].chunk.document_id
    assert answer.run.usage.calls == 1


def test_a_batch_keeps_its_retrieval_rate_exactly_and_resumes_to_the_same_plan(
    endpoint: ScriptedEndpoint, store: Store, tmp_path: Path
):
    lines = [json.dumps({"id": str(n), "question": f"What of {n}, in Quarry End?"}) for n in range(10)]
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    chosen = settings(endpoint, gate="prompts", retrieval_rate=0.3, workspace=tmp_path / "workspace")
    store.close()
    assert answer_file(chosen, file, tmp_path / "out.jsonl", progress=False).done == 10
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(row["gate"] == "single" for row in rows) == 3
    assert all((row["passages"] > 0) == (row["gate"] == "single") for row in rows)
    asked = len(endpoint.requests)
    assert answer_file(chosen, file, progress=False).answered == 0
    assert len(endpoint.requests) == asked


def test_what_planning_a_batch_took_is_reported(endpoint: ScriptedEndpoint, store: Store, tmp_path: Path):
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(f'{{"question": "What of {n}?"}}\n' for n in range(5)), encoding="utf-8")
    chosen = settings(endpoint, gate="ask", retrieval_rate=0.4, workspace=tmp_path / "workspace")
    store.close()
    report = answer_file(chosen, file, progress=False)
    assert report.usage.calls == len(endpoint.requests) >= 5


def test_a_gate_without_scores_cannot_keep_a_retrieval_rate(endpoint: ScriptedEndpoint, store: Store):
    chosen = settings(endpoint, gate="always", retrieval_rate=0.3)
    run_id = begin_batch(chosen, [Question(id_, QUESTION) for id_ in "ab"], store)
    with pytest.raises(ConfigError, match="the gate always gives no scores to rank the questions by"):
        open_batch_pipeline(run_id, chosen, store)


def test_a_retrieval_rate_needs_a_gate(endpoint: ScriptedEndpoint, store: Store):
    chosen = settings(endpoint, retrieval_rate=0.3).model_copy(update={"pipeline": "single"})
    run_id = begin_batch(chosen, [Question("q", QUESTION)], store)
    with pytest.raises(ConfigError, match="the pipeline single has no gate to keep it"):
        open_batch_pipeline(run_id, chosen, store)


def test_where_retrieval_means_notes_a_retrieval_rate_is_kept_with_notes(endpoint: ScriptedEndpoint, store: Store):
    chosen = settings(
        endpoint, gate="retrieval", gate_bound=2.0, when_needed="iterative", retrieval_rate=1.0, note_taker="rules"
    )
    run_id = begin_batch(chosen, [Question("q", QUESTION)], store)
    assert decision(open_batch_pipeline(run_id, chosen, store)(QUESTION))["mode"] == "iterative"


@pytest.mark.parametrize("gate", ["ask", "prompts"])
def test_a_short_answer_of_a_gate_does_not_stand_for_a_long_one(endpoint: ScriptedEndpoint, store: Store, gate: str):
    answer = answered(endpoint, store, "What is the capital of France?", gate=gate, mode="long")
    assert decision(answer)["mode"] == "none"
    assert "made_by_gate" not in next(step for step in answer.run.spans if step.name == "answer").attributes


def test_a_batch_begins_anew_where_a_gate_of_its_chain_was_calibrated_again(
    endpoint: ScriptedEndpoint, store: Store, tmp_path: Path
):
    file = tmp_path / "gate.json"
    chosen = settings(endpoint, gate=f"draft, {file}")
    runs = []
    for text in ("one", "one", "other"):
        file.write_text(text, encoding="utf-8")
        runs.append(begin_batch(chosen, [Question("q", QUESTION)], store))
    assert runs[0] == runs[1] != runs[2]


def test_a_file_of_a_batch_may_be_of_another_encoding(endpoint: ScriptedEndpoint, store: Store, tmp_path: Path):
    file = tmp_path / "views.csv"
    file.write_bytes("name,count\nMünster,5".encode("latin-1"))
    begin_batch(settings(endpoint, gate="popularity", popularity=file), [Question("q", QUESTION)], store)
