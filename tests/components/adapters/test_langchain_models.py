"""LangChain's chat models and embeddings as ours, against a loopback endpoint, and ours as theirs."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from made_chunks import SeededEmbedder
from scripted_endpoint import ScriptedEndpoint

from ragloom import Budget, Run
from ragloom.components.adapters.foreign import model_error
from ragloom.components.adapters.langchain import LangChainEmbedder, LangChainLLM, RagloomChatModel, RagloomEmbeddings
from ragloom.components.llm import OpenAILLM, ScriptedLLM
from ragloom.errors import (
    BadReply,
    BudgetExceeded,
    DeadlineExceeded,
    EmptyReply,
    EndpointUnreachable,
    InputError,
    LLMError,
    RateLimited,
    RequestRefused,
)
from ragloom.types import Message, Reply, TokenLogprob, Usage

ASK: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of France?"}]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda _: "Paris, I think.") as server:
        yield server


def chat_openai(endpoint: ScriptedEndpoint, **settings: Any) -> ChatOpenAI:
    settings = {"max_retries": 0, "timeout": 10.0, "model": "scripted"} | settings
    return ChatOpenAI(base_url=endpoint.base_url, api_key="sk-secret", **settings)


# ---- Their chat model as our LLM


def test_a_chat_model_replies_with_usage_finish_and_the_servers_model(endpoint: ScriptedEndpoint):
    with Run() as run:
        reply = LangChainLLM(chat_openai(endpoint))(ASK)
    direct = OpenAILLM("scripted", base_url=endpoint.base_url)(ASK)
    assert (reply.text, reply.finish, reply.model) == (direct.text, direct.finish, direct.model)
    assert reply.usage.tokens == direct.usage.tokens
    assert (reply.usage.calls, reply.usage.estimated) == (1, False)
    assert run.spent == reply.usage
    (step,) = run.record().spans
    assert (step.name, step.attributes["tokens"]) == ("llm", reply.usage.tokens)


def test_options_are_passed_on(endpoint: ScriptedEndpoint):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    LangChainLLM(chat_openai(endpoint))(
        ASK, max_tokens=7, temperature=0.5, top_p=0.9, stop=["\n"], seed=3, schema=schema, extra={"user": "u"}
    )
    body = endpoint.requests[0].body
    assert body["messages"] == ASK
    sent = {name: body[name] for name in ("temperature", "top_p", "stop", "seed", "user")}
    assert sent == {"temperature": 0.5, "top_p": 0.9, "stop": ["\n"], "seed": 3, "user": "u"}
    assert 7 in {body.get("max_tokens"), body.get("max_completion_tokens")}
    assert body["response_format"]["json_schema"]["schema"] == schema


def test_log_probabilities_are_those_of_our_own_client(endpoint: ScriptedEndpoint):
    theirs = LangChainLLM(chat_openai(endpoint))(ASK, logprobs=2)
    ours = OpenAILLM("scripted", base_url=endpoint.base_url)(ASK, logprobs=2)
    assert theirs.logprobs == ours.logprobs
    assert theirs.logprobs is not None


def test_a_reply_can_be_followed_as_it_arrives(endpoint: ScriptedEndpoint):
    pieces: list[str] = []
    reply = LangChainLLM(chat_openai(endpoint, stream_usage=True))(ASK, on_text=pieces.append, logprobs=0)
    assert len(pieces) > 1
    assert "".join(pieces) == reply.text == "Paris, I think."
    assert not reply.usage.estimated
    assert reply.logprobs is not None
    assert "".join(token.token for token in reply.logprobs) == reply.text


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", RateLimited),
        ("quota", RequestRefused),
        ("400", RequestRefused),
        ("404", RequestRefused),
        ("500", EndpointUnreachable),
        ("close", EndpointUnreachable),
        ("empty-content", EmptyReply),
        ("odd-finish", BadReply),
        ("echo-key", RequestRefused),
    ],
)
def test_errors_are_of_our_kinds_and_keep_the_key(fault: str, kind: type[LLMError]):
    with ScriptedEndpoint(script=[fault]) as endpoint, Run() as run, pytest.raises(LLMError) as raised:
        LangChainLLM(chat_openai(endpoint))(ASK)
    assert type(raised.value) is kind
    assert "sk-secret" not in str(raised.value)
    assert run.record().spans[0].attributes["error"] == kind.__name__
    assert run.spent.calls == (1 if issubclass(kind, BadReply) else 0)


def test_a_silent_server_is_a_deadline_and_is_counted():
    with ScriptedEndpoint(script=["hang"]) as endpoint, Run() as run, pytest.raises(DeadlineExceeded):
        LangChainLLM(chat_openai(endpoint, timeout=0.2))(ASK)
    assert (run.spent.calls, run.spent.estimated) == (1, True)


def test_missing_usage_is_estimated():
    with ScriptedEndpoint(script=["no-usage"]) as endpoint:
        usage = LangChainLLM(chat_openai(endpoint))(ASK).usage
    assert usage.estimated
    assert usage.prompt_tokens > 5


def test_a_call_beyond_the_budget_is_not_made(endpoint: ScriptedEndpoint):
    llm = LangChainLLM(chat_openai(endpoint))
    with Run(Budget(calls=1)):
        llm(ASK)
        with pytest.raises(BudgetExceeded):
            llm(ASK)
    assert endpoint.count == 1


def test_identities_tell_models_endpoints_and_settings_apart_and_hold_no_key(endpoint: ScriptedEndpoint):
    models = [chat_openai(endpoint), chat_openai(endpoint, model="other"), chat_openai(endpoint, temperature=0.5)]
    elsewhere = ChatOpenAI(base_url="http://127.0.0.1:9/v1", api_key="sk-secret", model="scripted")
    identities = [LangChainLLM(model).identity for model in [*models, elsewhere]]
    identities.append(LangChainLLM(models[0], name="second").identity)
    assert len(set(identities)) == 5
    assert identities[0] == LangChainLLM(chat_openai(endpoint)).identity
    assert not any("sk-secret" in identity for identity in identities)


@pytest.mark.parametrize(
    ("metadata", "finish"),
    [
        ({"stop_reason": "end_turn"}, "stop"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"finish_reason": "STOP"}, "stop"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"done_reason": "length"}, "length"),
        ({}, "stop"),
    ],
)
def test_how_a_reply_ended_is_understood_in_the_words_of_several_providers(metadata: dict[str, str], finish: str):
    said = AIMessage(content=[{"type": "text", "text": "Paris"}], response_metadata=metadata)
    assert LangChainLLM(GenericFakeChatModel(messages=iter([said])))(ASK).finish == finish


class Refused(Exception):
    def __init__(self, status: int | None = None, response_status: int | None = None) -> None:
        super().__init__("words")
        self.status_code = status
        self.response = type("Response", (), {"status_code": response_status})()


class ReadTimeout(Exception):
    pass


class ConnectFailed(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Refused(status=503), EndpointUnreachable),
        (Refused(response_status=422), RequestRefused),
        (Refused(status=408), EndpointUnreachable),
        (ReadTimeout(), DeadlineExceeded),
        (TimeoutError(), DeadlineExceeded),
        (ConnectFailed(), EndpointUnreachable),
        (ConnectionResetError(), EndpointUnreachable),
        (ValueError("temperature"), LLMError),
        (BudgetExceeded("spent"), BudgetExceeded),
    ],
)
def test_errors_of_any_client_are_sorted_by_status_time_and_connection(error: Exception, kind: type[Exception]):
    assert type(model_error(error, "model")) is kind


# ---- Our LLM as their chat model

LOGPROB = st.floats(-50, 0)
TOKENS = st.builds(
    TokenLogprob,
    st.text("abc ", min_size=1, max_size=3),
    LOGPROB,
    st.lists(st.tuples(st.text("abc", max_size=3), LOGPROB), max_size=2).map(tuple),
)
REPLIES = st.builds(
    Reply,
    st.text("abc \n\u00e9{}", min_size=1).filter(str.strip),
    st.builds(
        lambda sent, got, cached: Usage(sent, got, min(cached, sent), calls=1, cost=None),
        *[st.integers(0, 9999)] * 3,
    ),
    st.none() | st.lists(TOKENS, min_size=1, max_size=3).map(tuple),
    st.sampled_from(["stop", "length"]),
    st.just("some-model"),
)


@given(REPLIES, st.booleans())
def test_a_reply_comes_back_through_a_chat_model_as_it_was(reply: Reply, streamed: bool):
    through = LangChainLLM(RagloomChatModel(llm=lambda messages, **options: _say(reply, options)))
    back = through(ASK, on_text=lambda _: None) if streamed else through(ASK)
    assert (back.text, back.logprobs, back.finish, back.model) == (
        reply.text,
        reply.logprobs,
        reply.finish,
        reply.model,
    )
    assert back.usage.prompt_tokens == reply.usage.prompt_tokens
    assert back.usage.completion_tokens == reply.usage.completion_tokens
    assert back.usage.cached_tokens == reply.usage.cached_tokens


def _say(reply: Reply, options: Any) -> Reply:
    if "on_text" in options:
        for letter in reply.text:
            options["on_text"](letter)
    return reply


def test_messages_and_options_arrive():
    arrived: dict[str, Any] = {}

    def llm(messages: Any, **options: Any) -> Reply:
        arrived.update(messages=messages, options=options)
        return Reply("Paris")

    model = RagloomChatModel(llm=llm).bind(max_tokens=5, logprobs=True, top_logprobs=3, id_slot=2)
    conversation = [SystemMessage("Be brief."), HumanMessage([{"type": "text", "text": "Hello"}]), AIMessage("Hi")]
    assert model.invoke(conversation, stop=["\n"]).text == "Paris"
    assert arrived["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ]
    assert arrived["options"] == {"max_tokens": 5, "stop": ["\n"], "logprobs": 3, "extra": {"id_slot": 2}}


@pytest.mark.parametrize(
    "message",
    [
        ToolMessage("42", tool_call_id="1"),
        HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
    ],
)
def test_what_our_models_cannot_take_is_refused(message: Any):
    with pytest.raises(InputError, match="cannot be passed on"):
        RagloomChatModel(llm=ScriptedLLM(["never"])).invoke([message])


def test_a_stream_of_our_model_arrives_in_pieces_also_asynchronously(endpoint: ScriptedEndpoint):
    model = RagloomChatModel(llm=OpenAILLM("scripted", base_url=endpoint.base_url))

    async def arriving() -> list[AIMessageChunk]:
        return [piece async for piece in model.astream("Capital of France?")]

    for pieces in (list(model.stream("Capital of France?")), asyncio.run(arriving())):
        assert len(pieces) > 3
        assert "".join(str(piece.text) for piece in pieces) == "Paris, I think."
        assert pieces[-1].usage_metadata is not None


def test_a_stream_that_nobody_reads_on_ends_the_call():
    handed: list[int] = []

    def llm(messages: Any, **options: Any) -> Reply:
        for number in range(1_000_000):
            handed.append(number)
            options["on_text"]("piece ")
        return Reply("never")

    stream = RagloomChatModel(llm=llm).stream("go on")
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(handed) < 1_000_000


def test_an_error_of_our_model_ends_its_stream():
    with pytest.raises(LLMError, match="the script has 0 replies"):
        list(RagloomChatModel(llm=ScriptedLLM([])).stream("question"))


# ---- Embeddings


def test_embeddings_go_both_ways_without_loss():
    embedder = SeededEmbedder()
    back = LangChainEmbedder(RagloomEmbeddings(embedder), "seeded")
    assert back.model == embedder.model
    np.testing.assert_allclose(back(["one", "two"]), embedder(["one", "two"]), rtol=1e-5)
    assert back([]).shape == (0, 0)
    assert RagloomEmbeddings(embedder).embed_documents([]) == []
    np.testing.assert_allclose(RagloomEmbeddings(embedder).embed_query("one"), embedder(["one"])[0])


def openai_embeddings(endpoint: ScriptedEndpoint) -> LangChainEmbedder:
    settings: dict[str, Any] = {"model": "scripted", "check_embedding_ctx_length": False, "max_retries": 0}
    return LangChainEmbedder(OpenAIEmbeddings(base_url=endpoint.base_url, api_key="none", **settings), "scripted")


def test_embeddings_of_an_endpoint_are_scaled_counted_and_traced(endpoint: ScriptedEndpoint):
    with Run(Budget(calls=1)) as run:
        vectors = openai_embeddings(endpoint)(["one", "two", "three"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert vectors.dtype == np.float32
    assert run.spent.calls == 1
    assert run.record().spans[0].attributes["texts"] == 3


@pytest.mark.parametrize("vectors", [[[0.0, 0.0]], [[1.0], [1.0]], [[float("nan"), 1.0]], [1.0], [["text"]], []])
def test_embeddings_that_are_none_are_bad_replies(vectors: list[Any]):
    class Odd(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return vectors

        def embed_query(self, text: str) -> list[float]:
            return []

    with pytest.raises(BadReply, match="odd gave"):
        LangChainEmbedder(Odd(), "odd")(["one"])


def test_embeddings_that_fail_raise_our_errors():
    with ScriptedEndpoint(script=["500"]) as endpoint, pytest.raises(EndpointUnreachable, match="scripted"):
        openai_embeddings(endpoint)(["one"])
