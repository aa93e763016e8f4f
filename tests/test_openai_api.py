"""The endpoint as its clients meet it: over sockets, with the official client, LangChain and LlamaIndex."""

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from documentation import ROOT, blocks
from openai import APIStatusError, AuthenticationError, InternalServerError, NotFoundError, OpenAI
from served import QUESTION, Served, cited, serving, until

from ragloom.chat_format import ApiError
from ragloom.http_guard import Guard
from ragloom.store import Store

ASKED = [{"role": "user", "content": QUESTION}]
TOKEN = "a-long-random-token-of-the-tests"


@pytest.fixture(scope="module")
def served(sample_workspace: Path) -> Iterator[Served]:
    with serving(sample_workspace, hosts=frozenset({"rag.example"})) as served:
        yield served


def client(served: Served, token: str = "none") -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key=token, max_retries=0)


def post(served: Served, body: bytes | dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and body of a raw request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        with urlopen(Request(f"{served.url}/v1/chat/completions", data, sent), timeout=30) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "single", "messages": ASKED, **more}


# ---- Clients


def test_the_official_client_gets_an_answer_with_citations_and_usage(served: Served):
    with client(served) as openai:
        completion = openai.chat.completions.create(model="single", messages=ASKED)
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Ines Corvale", "stop")
    [annotation] = choice.message.annotations
    assert annotation.url_citation.title == "Gannet Point Light"
    assert annotation.url_citation.url.startswith("ragloom:gannet-point-light.md#char=")
    assert (annotation.url_citation.start_index, annotation.url_citation.end_index) == (0, len("Ines Corvale"))
    [source] = choice.message.ragloom["citations"]
    assert "Ines Corvale" in source["quote"]
    assert source["source"] == "gannet-point-light.md"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 100


def test_a_stream_adds_up_to_the_answer_and_ends_in_citations_and_usage(served: Served):
    with client(served) as openai:
        whole = openai.chat.completions.create(model="graph", messages=ASKED)
        stream = openai.chat.completions.create(
            model="graph", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content for chunk in chunks[1:-2]]
    assert pieces == ["Ines", " Corvale"]
    assert "".join(pieces) == whole.choices[0].message.content
    last = chunks[-2].choices[0]
    assert last.finish_reason == "stop"
    assert last.delta.ragloom["citations"] == whole.choices[0].message.ragloom["citations"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


@pytest.mark.parametrize("name", ["closed-book", "single", "graph", "ircot", "notes"])
def test_every_pipeline_answers_streamed_and_whole_alike(served: Served, name: str):
    with client(served) as openai:
        whole = openai.chat.completions.create(model=name, messages=ASKED).choices[0].message.content
        stream = openai.chat.completions.create(model=name, messages=ASKED, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole


def test_models_are_the_pipelines_whose_indexes_are_there(served: Served):
    with client(served) as openai:
        names = [model.id for model in openai.models.list()]
        assert openai.models.retrieve("graph").id == "graph"
    assert {"closed-book", "single", "graph"} <= set(names)
    assert "hybrid" not in names  # the workspace has no vectors


def test_a_langchain_chain_gets_an_answer_with_its_sources(served: Served):
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        model="single", base_url=f"{served.url}/v1", api_key="none", extra_body={"ragloom": {"sources": True}}
    )
    chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | model | StrOutputParser()
    answer = chain.invoke({"question": QUESTION})
    assert answer.startswith("Ines Corvale\n\nSources:\n[")
    assert "Gannet Point Light (gannet-point-light.md, characters " in answer
    assert "".join(chain.stream({"question": QUESTION})) == answer


def documented(name: str) -> Any:
    """The class that the page on serving shows; its other lines are run in test_documentation."""
    [block] = [each.text for each in blocks(ROOT / "docs" / "serving.md") if f"class {name}(" in each.text]
    names: dict[str, Any] = {}
    exec(block[: re.search(r"^\w+ = ", block, re.MULTILINE).start()], names)
    return names[name]


def test_a_langchain_chain_gets_a_message_with_its_citations(served: Served):
    from langchain_core.prompts import ChatPromptTemplate

    model = documented("ChatRagloom")(model="single", base_url=f"{served.url}/v1", api_key="none")
    chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | model
    message = chain.invoke({"question": QUESTION})
    assert message.content == "Ines Corvale"
    [cited] = message.additional_kwargs["ragloom"]["citations"]
    assert cited["source"] == "gannet-point-light.md"
    assert "Ines Corvale" in cited["quote"]
    chunks = list(chain.stream({"question": QUESTION}))
    assert "".join(chunk.content for chunk in chunks) == "Ines Corvale"
    [last] = [chunk for chunk in chunks if chunk.additional_kwargs]
    assert last.additional_kwargs["ragloom"]["citations"] == [cited]


def test_a_llama_index_query_engine_gets_an_answer_with_source_nodes(served: Served):
    response = documented("Ragloom")(base_url=f"{served.url}/v1", model="single").query(QUESTION)
    assert str(response) == "Ines Corvale"
    [cited] = response.source_nodes
    assert cited.metadata["source"] == "gannet-point-light.md"
    assert "Ines Corvale" in cited.text


def test_only_the_last_message_is_asked(served: Served):
    turns = [{"role": "system", "content": "Be a pirate."}, {"role": "user", "content": "Hello"}]
    turns += [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": [{"type": "text", "text": QUESTION}]}]
    status, body = post(served, chat(messages=turns))
    assert status == 200
    assert body["choices"][0]["message"]["ragloom"]["ignored_messages"] == 3
    prompt = served.model.requests[-1].prompt
    assert QUESTION in prompt
    assert "pirate" not in prompt


def test_a_cut_answer_says_so(sample_workspace: Path):
    with serving(sample_workspace, max_tokens=1) as short:
        _, body = post(short, chat())
    assert body["choices"][0]["finish_reason"] == "length"


# ---- Requests that are refused


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"stop": ["\n"]}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"frobnicate": 1}, "frobnicate"),
        ({"\ud800": 1}, "\ufffd"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"model": 7}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, "messages"),
        ({"messages": [{"role": ["user"], "content": "hi"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0]",
        ),
        ({"ragloom": {"trace": True}}, "ragloom.trace"),
    ],
)
def test_what_is_not_supported_is_refused_by_its_name(served: Served, more: dict[str, Any], param: str):
    before = served.model.count
    status, body = post(served, chat(**more))
    assert (status, body["error"]["param"], body["error"]["type"]) == (400, param, "invalid_request_error")
    assert served.model.count == before


def test_what_changes_nothing_is_accepted(served: Served):
    status, _ = post(
        served,
        chat(temperature=0.7, top_p=1, seed=3, user="me", n=1, stop=[], tools=[], max_tokens=4096, logprobs=None)
        | {"response_format": {"type": "text"}, "stream": False},
    )
    assert status == 200


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"nul", b"[" * 100_000, b"\xff\xfe", b'{"model": 1e99999}'])
def test_broken_json_is_a_bad_request(served: Served, data: bytes):
    status, body = post(served, data)
    assert status == 400
    assert body["error"]["message"]


@pytest.mark.parametrize("question", ["", " \n", "\ud83d", "x" * 100_001])
def test_a_question_that_cannot_be_asked_is_a_bad_request_even_in_a_stream(served: Served, question: str):
    status, body = post(served, chat(messages=[{"role": "user", "content": question}], stream=True))
    assert (status, body["error"]["code"]) == (400, "bad_question")


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(served: Served):
    with client(served) as openai, pytest.raises(NotFoundError, match=r"there is no model 'gpt-4'.*single"):
        openai.chat.completions.create(model="gpt-4", messages=ASKED)


def test_nothing_stored_is_reachable_by_a_path_or_an_id(served: Served, sample_workspace: Path):
    with Store.open(sample_workspace, write=False) as store:
        chunk = store.chunks()[0]
    paths = [
        "/",
        "/docs",
        "/openapi.json",
        "/v1/files",
        "/v1/documents",
        "/metrics",
        "/v1/models/..%2f..%2fetc%2fpasswd",
    ]
    paths += [f"/v1/{kind}/{id_}" for kind in ("files", "chat/completions", "models") for id_ in (chunk.id, "1")]
    for path in paths:
        with pytest.raises(HTTPError) as refused:
            urlopen(served.url + path, timeout=30)
        with refused.value as error:
            assert error.code in {404, 405}
            body = error.read().decode()
        assert set(json.loads(body)) == {"error"}
        assert chunk.text[:40] not in body


# ---- Who may ask


def test_without_the_token_there_is_nothing_but_health(sample_workspace: Path):
    with serving(sample_workspace, token=TOKEN) as guarded:
        with client(guarded, "another-token-of-the-same-length") as stranger:
            with pytest.raises(AuthenticationError, match="a token is needed"):
                stranger.chat.completions.create(model="single", messages=ASKED)
            with pytest.raises(AuthenticationError):
                stranger.models.list()
        assert post(guarded, chat(), Authorization="Bearer \u00e4")[0] == 401
        assert guarded.model.count == 0
        with urlopen(f"{guarded.url}/health", timeout=30) as response:
            assert json.load(response) == {"status": "ok"}
        with client(guarded, TOKEN) as friend:
            answer = friend.chat.completions.create(model="single", messages=ASKED)
        assert answer.choices[0].message.content == "Ines Corvale"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 421) for name in ("evil.example", "evil.example:8100", "", "localhost.evil.example")),
        *((name, 200) for name in ("localhost:1", "127.0.0.1", "[::1]:8100", "rag.example")),
    ],
)
def test_a_host_header_that_names_another_server_is_refused(served: Served, host: str, status: int):
    assert post(served, chat(), Host=host)[0] == status


def test_a_web_page_of_another_site_cannot_ask(served: Served):
    assert post(served, chat(), Content_Type="text/plain")[0] == 415
    preflight = Request(
        f"{served.url}/v1/chat/completions", method="OPTIONS", headers={"Origin": "https://evil.example"}
    )
    with pytest.raises(HTTPError) as refused:
        urlopen(preflight, timeout=30)
    with refused.value as error:
        assert error.code == 405
        assert not [name for name in error.headers if name.lower().startswith("access-control")]


def test_a_body_beyond_a_megabyte_is_refused_announced_or_not(served: Served):
    assert post(served, chat(user="x" * (1 << 20)))[0] == 413
    pieces = b"".join(b"10000\r\n" + b"x" * 0x10000 + b"\r\n" for _ in range(17)) + b"0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + pieces
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_client_that_sends_too_much_reads_why_unless_it_never_ends(served: Served):
    assert post(served, chat(user="x" * (8 << 20)))[0] == 413  # it is cut off in the middle of sending otherwise
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_huge_headers_are_refused(served: Served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 60_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_connection_that_says_nothing_or_too_little_is_closed(sample_workspace: Path):
    with serving(sample_workspace, idle_s=1) as served:
        for said in (b"", b"GET /health HTTP/1.1\r\nHost: loc"):
            with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
                connection.sendall(said)
                assert connection.recv(1) == b""


def test_a_body_that_does_not_come_is_refused():
    sent: list[Any] = []

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    async def refuse(error: ApiError, *_: Any) -> None:
        sent.append(error.status)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    asyncio.run(Guard(never, refuse, body_s=0.01)(scope, never, never))  # type: ignore[arg-type]  # it gets nowhere
    assert sent == [408]


# ---- Under load, and when things break


def test_a_hundred_at_once_are_all_answered(sample_workspace: Path):
    with serving(sample_workspace, queue=100, workers=4) as busy, client(busy) as openai:

        def ask(_: int) -> str | None:
            return openai.chat.completions.create(model="single", messages=ASKED).choices[0].message.content

        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(ask, range(100)))
        assert answers == ["Ines Corvale"] * 100
        assert busy.model.most_at_once <= 4
        until(lambda: busy.service.under_way == 0)


def test_a_full_queue_turns_clients_away_with_a_time_to_come_back(sample_workspace: Path):
    go_on = threading.Event()

    def slowly(prompt: str) -> str:
        go_on.wait(30)
        return cited(prompt)

    with serving(sample_workspace, answer=slowly, workers=1, queue=1) as busy, client(busy) as openai:
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(openai.chat.completions.create, model="single", messages=ASKED) for _ in range(2)]
            until(lambda: busy.service.under_way == 2)
            with pytest.raises(InternalServerError) as refused:
                openai.chat.completions.create(model="single", messages=ASKED)
            go_on.set()
        assert refused.value.status_code == 503
        assert refused.value.response.headers["retry-after"] == "2"
        assert refused.value.code == "overloaded"
        assert [each.result().choices[0].message.content for each in waiting] == ["Ines Corvale"] * 2


def test_a_client_that_leaves_a_stream_frees_its_place_and_stops_the_model(sample_workspace: Path):
    with serving(sample_workspace, script=["stream-endless"], workers=1, queue=1) as left, client(left) as openai:
        with openai.chat.completions.create(model="single", messages=ASKED, stream=True) as stream:
            assert next(stream).choices[0].delta.role == "assistant"
            assert next(stream).choices[0].delta.content == "Ines"
        until(lambda: left.service.under_way == 0)  # the model would have written on for ever
        after = openai.chat.completions.create(model="single", messages=ASKED)
        assert after.choices[0].message.content == "Ines Corvale"


def test_a_client_that_leaves_the_queue_is_never_answered(sample_workspace: Path):
    go_on = threading.Event()

    def slowly(prompt: str) -> str:
        go_on.wait(30)
        return cited(prompt)

    body = json.dumps(chat()).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with serving(sample_workspace, answer=slowly, workers=1) as busy:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(post, busy, chat())
            until(lambda: busy.model.count == 1)
            with socket.create_connection(("127.0.0.1", busy.port), timeout=30) as connection:
                connection.sendall(head.encode() + body)
                until(lambda: busy.service.under_way == 2)
            until(lambda: busy.service.under_way == 1)
            go_on.set()
            assert first.result()[0] == 200
        assert busy.model.count == 1


def test_an_answer_that_takes_too_long_is_a_timeout(sample_workspace: Path):
    with serving(sample_workspace, script=["stream-endless"], endpoint={"answer_s": 0.2}) as slow:
        status, body = post(slow, chat())
        assert (status, body["error"]["code"]) == (504, "timeout")
        until(lambda: slow.service.under_way == 0)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("404", 502, "bad_reply"), ("503", 503, "model_unavailable"), ("400", 502, "bad_reply")],
)
def test_a_failing_model_is_told_without_details_of_it(
    sample_workspace: Path, fault: str, status: int, code: str, caplog: pytest.LogCaptureFixture
):
    with serving(sample_workspace, script=lambda _: fault, deadline_s=1) as broken, client(broken) as openai:
        with pytest.raises(APIStatusError) as refused:
            openai.chat.completions.create(model="single", messages=ASKED)
        assert (refused.value.status_code, refused.value.code) == (status, code)
        assert broken.model.base_url not in refused.value.message
        assert "Traceback" not in refused.value.response.text
        assert broken.model.base_url in caplog.text  # the operator learns it
        assert refused.value.response.headers["x-request-id"] in caplog.text


def test_a_model_that_breaks_off_ends_the_stream_in_an_error(sample_workspace: Path):
    from openai import APIError

    with serving(sample_workspace, script=["stream-error"]) as broken, client(broken) as openai:
        stream = openai.chat.completions.create(model="single", messages=ASKED, stream=True)
        with pytest.raises(APIError, match="did not answer well"):
            list(stream)


def test_a_spent_budget_is_a_quota_that_is_not_tried_again(sample_workspace: Path):
    with serving(sample_workspace, max_total_tokens=10) as poor:
        openai = OpenAI(base_url=f"{poor.url}/v1", api_key="none", max_retries=5)
        with openai, pytest.raises(APIStatusError) as refused:
            openai.chat.completions.create(model="single", messages=ASKED)
        assert (refused.value.status_code, refused.value.code) == (429, "budget_exceeded")
        assert poor.model.count == 0


def test_each_request_has_the_whole_budget(sample_workspace: Path):
    with serving(sample_workspace, max_calls=1) as poor:
        assert [post(poor, chat())[0] for _ in range(3)] == [200] * 3


def test_answers_under_way_are_finished_when_the_server_stops(sample_workspace: Path):
    go_on = threading.Event()

    def slowly(prompt: str) -> str:
        go_on.wait(30)
        return cited(prompt)

    with ThreadPoolExecutor(1) as pool:
        with serving(sample_workspace, answer=slowly) as stopping:
            last = pool.submit(post, stopping, chat())
            until(lambda: stopping.model.count == 1)
            threading.Timer(0.3, go_on.set).start()
        assert last.result()[0] == 200


def test_others_can_write_to_the_workspace_meanwhile(served: Served, sample_workspace: Path):
    with Store.open(sample_workspace, lock_timeout_s=0) as store:
        store.remove_documents([])
    assert post(served, chat())[0] == 200
