"""Traces as OpenTelemetry spans, seen through the SDK's own exporter."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, StatusCode, Tracer

from ragloom import span
from ragloom.components.adapters.opentelemetry import ENDPOINT_VARIABLE, Traced, export, traced_from_environment
from ragloom.components.bm25 import BM25
from ragloom.components.fusion import ReciprocalRankFusion
from ragloom.components.llm import ScriptedLLM
from ragloom.components.reading import PromptReader
from ragloom.errors import InputError, LLMError
from ragloom.pipelines.question_answering import RetrieveThenRead
from ragloom.types import Answer, Chunk, Hit, Pipeline, RunRecord, Span, Usage

CHUNKS = [
    Chunk("a", "The Museum of Varrow was opened in 1961.", "Varrow"),
    Chunk("b", "The Museum of Ostrel.", "Ostrel"),
]
QUESTION = "When was the Museum of Varrow opened?"


def traced(**settings: Any) -> tuple[Tracer, Callable[[], dict[str, ReadableSpan]]]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test"), lambda: {step.name: step for step in exporter.get_finished_spans()}


def backwards(query: str, hits: list[Hit], /) -> list[Hit]:
    return hits[::-1]


def pipeline(script: Any = None) -> Pipeline:
    llm = ScriptedLLM(script or (lambda _: "1961 [1]"))
    return RetrieveThenRead(ReciprocalRankFusion([BM25(CHUNKS)]), PromptReader(llm), k=2, refiners=(backwards,))


def attributes(step: ReadableSpan) -> dict[str, Any]:
    return dict(step.attributes or {})


def test_an_answers_steps_are_spans_of_the_kinds_of_openinference():
    tracer, spans = traced()
    assert Traced(pipeline(), tracer)(QUESTION).text == "1961"
    kinds = {name: attributes(step)["openinference.span.kind"] for name, step in spans().items()}
    assert kinds == {
        "RetrieveThenRead": "CHAIN",
        "retrieve": "RETRIEVER",
        "refine": "RERANKER",
        "read": "CHAIN",
        "llm": "LLM",
    }


def test_a_call_says_its_model_tokens_and_finish_and_the_whole_what_it_rests_on():
    tracer, spans = traced()
    answer = Traced(pipeline(), tracer)(QUESTION)
    call, whole = attributes(spans()["llm"]), attributes(spans()["RetrieveThenRead"])
    assert call["llm.model_name"] == "scripted"
    assert call["llm.token_count.total"] == answer.run.usage.tokens
    assert call["llm.token_count.prompt_details.cache_read"] == 0
    assert call["llm.finish_reason"] == "stop"
    assert "llm.token_count.total" not in whole
    assert whole["ragloom.prompt_tokens"] + whole["ragloom.completion_tokens"] == answer.run.usage.tokens
    assert whole["ragloom.calls"] == 1
    ids = [whole[f"retrieval.documents.{place}.document.id"] for place in range(len(answer.hits))]
    assert ids == [hit.chunk.id for hit in answer.hits]
    assert json.loads(whole["ragloom.cited"]) == [answer.citations[0].chunk_id]


def test_texts_stay_here_unless_asked_for():
    for texts in (False, True):
        tracer, spans = traced()
        Traced(pipeline(), tracer, texts=texts)(QUESTION)
        sent = json.dumps([attributes(step) for step in spans().values()])
        assert [text in sent for text in (QUESTION, "was opened in 1961", '"1961"')] == [texts] * 3


def test_parents_and_times_are_those_of_the_trace():
    tracer, spans = traced()
    before = time.time_ns()
    with tracer.start_as_current_span("request"):
        answer = Traced(pipeline(), tracer)(QUESTION)
    found = spans()
    parents = {name: step.parent.span_id if step.parent else None for name, step in found.items()}
    ids = {name: step.context.span_id for name, step in found.items() if step.context}
    assert parents["request"] is None
    assert parents["RetrieveThenRead"] == ids["request"]
    assert parents["read"] == ids["RetrieveThenRead"]
    assert parents["llm"] == ids["read"]
    whole, call = found["RetrieveThenRead"], found["llm"]
    assert before <= times(whole)[0] <= times(call)[0] <= times(call)[1] <= times(whole)[1] <= time.time_ns()
    (step,) = [step for step in answer.run.spans if step.name == "llm"]
    assert times(call)[1] - times(call)[0] == pytest.approx(step.seconds * 1e9, abs=2)
    assert times(call)[0] - times(whole)[0] == pytest.approx(step.start * 1e9, abs=2)


def times(step: ReadableSpan) -> tuple[int, int]:
    assert step.start_time is not None
    assert step.end_time is not None
    return step.start_time, step.end_time


VALUES = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5) | st.lists(st.integers(0, 9))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["llm", "embed", "retrieve", "step"]),
            st.integers(-1, 9),
            st.dictionaries(st.sampled_from(["model", "tokens", "cost", "query", "error", "other"]), VALUES),
        ),
        max_size=8,
    )
)
def test_every_trace_can_be_sent_whole(steps: list[tuple[str, int, dict[str, Any]]]):
    spans = tuple(
        Span(name, 0.1, 0.2, min(parent, place - 1), told) for place, (name, parent, told) in enumerate(steps)
    )
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    export(RunRecord(Usage(1, 2, cost=None), 1.0, spans), provider.get_tracer("test"))
    sent = exporter.get_finished_spans()
    assert sorted(step.name for step in sent) == sorted(["run", *(step.name for step in spans)])
    ids = {step.context.span_id for step in sent if step.context}
    assert all(step.parent is None or step.parent.span_id in ids for step in sent)


def test_a_failure_is_sent_with_its_name_and_passes_through():
    tracer, spans = traced()
    with pytest.raises(InputError):
        Traced(pipeline(), tracer)(" ")
    whole = spans()["RetrieveThenRead"]
    assert (whole.status.status_code, whole.status.description) == (StatusCode.ERROR, "InputError")


def test_the_steps_of_a_failed_function_are_sent():
    def failing(question: str, /) -> Answer:
        with span("retrieve", query=question), span("llm", model="m"):
            raise LLMError("gone")

    tracer, spans = traced()
    with pytest.raises(LLMError):
        Traced(failing, tracer)(QUESTION)
    assert {name: step.status.description for name, step in spans().items()} == {
        "failing": "LLMError",
        "retrieve": "LLMError",
        "llm": "LLMError",
    }
    assert attributes(spans()["retrieve"])["input.value"] == QUESTION


def test_threads_send_traces_of_their_own():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    answering = Traced(pipeline(), provider.get_tracer("test"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(answering, [QUESTION] * 40))
    traces: dict[int, list[str]] = {}
    for step in exporter.get_finished_spans():
        assert step.context is not None
        traces.setdefault(step.context.trace_id, []).append(step.name)
    assert len(traces) == 40
    assert {len(names) for names in traces.values()} == {6}


def test_a_tracer_that_does_nothing_is_no_matter():
    assert Traced(pipeline(), NoOpTracer())(QUESTION).text == "1961"


# ---- From the environment


def test_without_a_collector_the_pipeline_is_as_it_was(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)
    answering = pipeline()
    assert traced_from_environment(answering) is answering


def test_a_collector_of_the_environment_gets_the_spans(monkeypatch: pytest.MonkeyPatch):
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(ENDPOINT_VARIABLE, f"http://127.0.0.1:{server.server_port}")
        code = (
            "from ragloom import Answer, span\n"
            "from ragloom.components.adapters.opentelemetry import traced_from_environment\n"
            "def answering(question, /):\n"
            "    with span('retrieve'):\n"
            "        return Answer(question)\n"
            "traced_from_environment(answering)('why?')\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        server.shutdown()
    assert b"answering" in b"".join(bodies)
    assert b"why?" not in b"".join(bodies)
