"""A run's trace as spans of OpenTelemetry, under the names of OpenInference, for any collector or viewer."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from openinference.semconv.trace import (
    DocumentAttributes,
    OpenInferenceSpanKindValues,
    SpanAttributes,
)
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode, Tracer

from ragloom.errors import ConfigError
from ragloom.run import Run
from ragloom.types import Answer, Hit, Pipeline, RunRecord, Span

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"

_Kind = OpenInferenceSpanKindValues
_KINDS = {
    "llm": _Kind.LLM,
    "embed": _Kind.EMBEDDING,
    "retrieve": _Kind.RETRIEVER,
    "graph": _Kind.RETRIEVER,
    "refine": _Kind.RERANKER,
    "select": _Kind.RERANKER,
    "order": _Kind.RERANKER,
}
_NAMES = {
    "query": SpanAttributes.INPUT_VALUE,
    "tokens": SpanAttributes.LLM_TOKEN_COUNT_TOTAL,
    "cached_tokens": SpanAttributes.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_READ,
    "cost": SpanAttributes.LLM_COST_TOTAL,
    "finish": SpanAttributes.LLM_FINISH_REASON,
}
_MODEL_NAMES = {_Kind.LLM: SpanAttributes.LLM_MODEL_NAME, _Kind.EMBEDDING: SpanAttributes.EMBEDDING_MODEL_NAME}

_Attribute = str | int | float | bool


def export(
    record: RunRecord,
    tracer: Tracer,
    *,
    name: str = "run",
    attributes: Mapping[str, _Attribute] | None = None,
    error: BaseException | None = None,
) -> None:
    """Send a run that has just ended: one span for the whole, below it one for each step, with the times they had.

    What OpenInference has no name for is kept as `ragloom.<name>`. Token counts stand on the spans of the calls, and
    those of the whole run as `ragloom.prompt_tokens` and so on, so that a viewer that adds up counts nothing twice.

    Args:
        record: of the run; the trace's attributes are passed on as they are, text only where the run kept some.
        tracer: of any provider. The whole becomes a child of the current span, if there is one.
        name: of the span for the whole.
        attributes: further ones of it.
        error: what the run ended with.
    """
    began = time.time_ns() - round(record.seconds * 1e9)
    whole = tracer.start_span(name, start_time=began, attributes=_of_run(record) | dict(attributes or {}))
    spans: list[trace.Span] = []
    for step in record.spans:  # a parent comes before its children
        above = trace.set_span_in_context(whole if step.parent < 0 else spans[step.parent])
        start = began + round(step.start * 1e9)
        span = tracer.start_span(step.name, context=above, start_time=start, attributes=_of_step(step))
        if "error" in step.attributes:
            span.set_status(Status(StatusCode.ERROR, str(step.attributes["error"])))
        spans.append(span)
    for span, step in zip(reversed(spans), reversed(record.spans), strict=True):
        span.end(end_time=began + round((step.start + step.seconds) * 1e9))
    if error is not None:
        whole.set_status(Status(StatusCode.ERROR, type(error).__name__))
    whole.end(end_time=began + round(record.seconds * 1e9))


def _of_run(record: RunRecord) -> dict[str, _Attribute]:
    usage = record.usage
    counts: dict[str, _Attribute] = {
        SpanAttributes.OPENINFERENCE_SPAN_KIND: _Kind.CHAIN.value,
        "ragloom.prompt_tokens": usage.prompt_tokens,
        "ragloom.completion_tokens": usage.completion_tokens,
        "ragloom.cached_tokens": usage.cached_tokens,
        "ragloom.calls": usage.calls,
        "ragloom.cache_hits": usage.cache_hits,
    }
    return counts | ({} if usage.cost is None else {"ragloom.cost": usage.cost})


def _of_step(step: Span) -> dict[str, _Attribute]:
    kind = _KINDS.get(step.name, _Kind.CHAIN)
    names = _NAMES | ({"model": _MODEL_NAMES[kind]} if kind in _MODEL_NAMES else {})
    described: dict[str, _Attribute] = {SpanAttributes.OPENINFERENCE_SPAN_KIND: kind.value}
    for name, value in step.attributes.items():
        if value is not None:
            plain = value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
            described[names.get(name, f"ragloom.{name}")] = plain
    return described


@dataclass(frozen=True)
class Traced:
    """A pipeline that sends the trace of each of its answers.

    A question that fails sends a span with the error's name. Texts stay here unless asked for.

    Attributes:
        pipeline: answers.
        tracer: of any provider, e.g. `opentelemetry.trace.get_tracer("ragloom")`.
        texts: send the question, the answer and the passages too.
    """

    pipeline: Pipeline
    tracer: Tracer
    texts: bool = False

    def __call__(self, question: str, /) -> Answer:
        """The pipeline's answer."""
        asked: dict[str, _Attribute] = {SpanAttributes.INPUT_VALUE: question} if self.texts else {}
        name = getattr(self.pipeline, "__name__", type(self.pipeline).__name__)
        with Run() as run:
            try:
                answer = self.pipeline(question)
            except BaseException as error:
                export(run.record(), self.tracer, name=name, attributes=asked, error=error)
                raise
        export(answer.run, self.tracer, name=name, attributes=asked | self._of_answer(answer))
        return answer

    def _of_answer(self, answer: Answer) -> dict[str, _Attribute]:
        described: dict[str, _Attribute] = {"ragloom.abstained": answer.abstained}
        described["ragloom.cited"] = json.dumps([citation.chunk_id for citation in answer.citations])
        for place, hit in enumerate(answer.hits):
            described |= self._of_hit(f"{SpanAttributes.RETRIEVAL_DOCUMENTS}.{place}.", hit)
        return described | ({SpanAttributes.OUTPUT_VALUE: answer.text} if self.texts else {})

    def _of_hit(self, prefix: str, hit: Hit) -> dict[str, _Attribute]:
        described: dict[str, _Attribute] = {
            prefix + DocumentAttributes.DOCUMENT_ID: hit.chunk.id,
            prefix + DocumentAttributes.DOCUMENT_SCORE: hit.score,
        }
        return described | ({prefix + DocumentAttributes.DOCUMENT_CONTENT: hit.chunk.text} if self.texts else {})


def traced_from_environment(pipeline: Pipeline) -> Pipeline:
    """The pipeline, whose traces go to the collector of OTEL_EXPORTER_OTLP_ENDPOINT where that is set.

    The other variables of OpenTelemetry (OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_HEADERS) count as usual. What waits is
    sent when the process ends. No texts are sent.

    Raises:
        ConfigError: the variable is set, and the exporter's package is missing.
    """
    if not os.environ.get(ENDPOINT_VARIABLE, "").strip():
        return pipeline
    return Traced(pipeline, _exporting_tracer())


@cache  # one for the process, whatever is opened in it
def _exporting_tracer() -> Tracer:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError(
            f"{ENDPOINT_VARIABLE} is set, and nothing here can send traces",
            "pip install 'ragloom[tracing]', or unset the variable",
        ) from None
    provider = TracerProvider()  # ends by itself with the process
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("ragloom")
