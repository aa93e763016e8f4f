import logging
import random
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from email.utils import formatdate
from itertools import islice
from pathlib import Path

import pytest
from scripted_endpoint import FAULTS, ScriptedEndpoint, digest_answer

from ragloom.components.endpoint import checked_url
from ragloom.components.llm import OpenAILLM
from ragloom.errors import (
    BadReply,
    BudgetExceeded,
    ConfigError,
    DeadlineExceeded,
    EmptyReply,
    EndpointUnreachable,
    LLMError,
    RateLimited,
    RequestRefused,
)
from ragloom.run import Budget, Run, map_threads
from ragloom.types import Message, Reply

HELLO: list[Message] = [{"role": "user", "content": "hello"}]


def llm_at(endpoint: ScriptedEndpoint, *, deadline_s: float = 30.0, workers: int = 8) -> OpenAILLM:
    return OpenAILLM("scripted", endpoint.base_url, deadline_s=deadline_s, backoff_s=0.001, workers=workers)


def always(fault: str) -> ScriptedEndpoint:
    return ScriptedEndpoint(script=lambda _: fault)


@pytest.fixture
def process() -> Iterator[list[subprocess.Popen[str]]]:
    """Endpoints in processes of their own, ended after the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        one.kill()
        one.communicate()


def in_process(started: list[subprocess.Popen[str]], *arguments: str) -> str:
    script = Path(__file__).parents[1] / "support" / "scripted_endpoint.py"
    one = subprocess.Popen([sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True)
    started.append(one)
    assert one.stdout is not None
    return one.stdout.readline().strip()


# ---- Every fault gives its error after its number of requests

REFUSED = [
    ("quota", RequestRefused, 1, "quota is spent"),
    ("400", RequestRefused, 1, "maximum context length is 4096"),
    ("404", RequestRefused, 1, "the models there are: scripted"),
    ("echo-key", RequestRefused, 1, "environment variable OPENAI_API_KEY"),
    ("redirect", RequestRefused, 1, "redirects are not followed"),
    ("429:3600", RateLimited, 1, "Rate limit reached"),
]
TRIED_AGAIN = [
    ("429", RateLimited, 3, "Rate limit reached"),
    ("429:0", RateLimited, 3, "Rate limit reached"),
    ("429:soon", RateLimited, 3, "Rate limit reached"),
    ("429:-5", RateLimited, 3, "Rate limit reached"),
    ("500", EndpointUnreachable, 3, "answers 500"),
    ("503:0", EndpointUnreachable, 3, "answers 503"),
    ("reset", EndpointUnreachable, 3, "broke before the answer was complete"),
    ("close", EndpointUnreachable, 3, "broke before the answer was complete"),
    ("reset-mid-body", EndpointUnreachable, 3, "broke before the answer was complete"),
    ("short-body", EndpointUnreachable, 3, "broke before the answer was complete"),
]
MALFORMED = [
    ("truncated-json", BadReply, 2, "no JSON"),
    ("html", BadReply, 2, r"no JSON \(content type text/html\)"),
    ("not-an-object", BadReply, 2, "no JSON object"),
    ("deep-json", BadReply, 2, "no JSON"),
    ("no-choices", BadReply, 2, "no choices"),
    ("null-choice", BadReply, 2, "no choices"),
    ("null-content", EmptyReply, 2, "no text"),
    ("empty-content", EmptyReply, 2, "empty text"),
    ("blank-content", EmptyReply, 2, "empty text"),
    ("dict-content", EmptyReply, 2, "no text"),
    ("no-finish", BadReply, 2, "finish_reason is 'None'"),
    ("odd-finish", BadReply, 2, "finish_reason is 'tool_calls'"),
    ("huge:9", BadReply, 2, "more than 8 MiB"),
    ("gzip-bomb:9", BadReply, 2, "more than 8 MiB"),
]
SILENT = [("hang", DeadlineExceeded, 1), ("slow-body", DeadlineExceeded, 1), ("slow-headers", DeadlineExceeded, 1)]
ACCEPTED = ["ok", "mistyped", "surrogate", "nul", "no-usage", "negative-usage", "absurd-usage", "mistyped-usage"]
STREAMED = [
    ("stream-cut", EndpointUnreachable, 1, "broke before the answer was complete"),
    ("stream-unfinished", BadReply, 1, "finish_reason is 'None'"),
    ("stream-broken-json", BadReply, 2, "no JSON"),
    ("stream-error", BadReply, 1, "broke the stream off"),
    ("stream-endless", DeadlineExceeded, 1, "did not answer within"),
]
VECTORS = {
    "nan-vector",
    "zero-vector",
    "short-vector",
    "text-vector",
    "missing-vector",
    "swapped-vectors",
    "same-index",
}


def test_the_tables_name_every_fault():
    rows = [name for name, *_ in REFUSED + TRIED_AGAIN + MALFORMED + SILENT + STREAMED] + ACCEPTED
    assert {name.partition(":")[0] for name in rows} | VECTORS == set(FAULTS)
    assert len(FAULTS) >= 30


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize(("fault", "error", "requests", "message"), REFUSED + TRIED_AGAIN + MALFORMED)
def test_a_fault_gives_its_error_after_so_many_requests(fault, error, requests, message, api):
    with always(fault) as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url, api=api, deadline_s=30.0, backoff_s=0.001)
        with pytest.raises(LLMError, match=message) as raised:
            llm(HELLO)
    assert type(raised.value) is error
    assert endpoint.count == requests


@pytest.mark.parametrize(("fault", "error", "requests"), SILENT)
def test_a_slow_server_is_left_at_the_deadline_and_not_asked_again(fault, error, requests):
    with always(fault) as endpoint:
        started = time.monotonic()
        with pytest.raises(LLMError, match=r"did not answer within 0\.4 s") as raised:
            llm_at(endpoint, deadline_s=0.4)(HELLO)
        seconds = time.monotonic() - started
    assert type(raised.value) is error
    assert endpoint.count == requests
    assert seconds < 5  # trickled at 20 bytes a second, the replies take 15 seconds and more


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize(("fault", "error", "requests", "message"), STREAMED)
def test_a_stream_that_breaks_is_not_begun_again_once_its_text_is_in_use(fault, error, requests, message, api):
    pieces: list[str] = []
    with always(fault) as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url, api=api, deadline_s=1.0, backoff_s=0.001)
        with pytest.raises(LLMError, match=message) as raised:
            llm(HELLO, on_text=pieces.append)
    assert type(raised.value) is error
    assert endpoint.count == requests
    assert bool(pieces) == (requests == 1)


@pytest.mark.parametrize("fault", ACCEPTED)
def test_what_can_be_mended_is_accepted_at_once(fault):
    with always(fault) as endpoint:
        reply = llm_at(endpoint)(HELLO)
    assert reply.text.encode("utf-8")
    assert "\0" not in reply.text
    assert reply.usage.calls == endpoint.count == 1
    assert 0 < reply.usage.tokens < 100
    assert reply.usage.estimated == fault.endswith("usage")


@pytest.mark.parametrize("fault", [name for name, *_ in TRIED_AGAIN + MALFORMED])
def test_after_a_passing_fault_the_answer_comes(fault):
    with ScriptedEndpoint(script=[fault]) as endpoint:
        assert llm_at(endpoint)(HELLO).text == digest_answer("hello")
    assert endpoint.count == 2


def test_with_a_third_of_random_faults_a_call_fails_only_after_three_of_them():
    faults = [name for name, *_ in TRIED_AGAIN]
    chance = random.Random(7)
    script = [chance.choice(faults) if chance.random() < 1 / 3 else "ok" for _ in range(1000)]
    with ScriptedEndpoint(script=script) as endpoint:
        llm = llm_at(endpoint)
        answered = []
        for number in range(200):
            try:
                answered.append(llm([{"role": "user", "content": str(number)}]).text == digest_answer(str(number)))
            except (EndpointUnreachable, RateLimited):
                answered.append(False)
    requests = iter(script)
    expected = ["ok" in list(requests_of_a_call(requests)) for _ in range(200)]
    assert answered == expected
    assert 0 < answered.count(False) < 20


def requests_of_a_call(requests: Iterator[str]) -> Iterator[str]:
    """The requests of one call: up to the first that goes well, three at most."""
    for fault in islice(requests, 3):
        yield fault
        if fault == "ok":
            return


# ---- Servers that are not there


def test_nothing_listening_is_named_with_url_and_remedy():
    with ScriptedEndpoint() as endpoint:
        llm = llm_at(endpoint)
    with pytest.raises(EndpointUnreachable, match=rf"no connection to {llm.base_url}.*; check that the server runs"):
        llm(HELLO)


def test_a_server_that_dies_between_calls_is_unreachable(process: list[subprocess.Popen[str]]):
    llm = OpenAILLM("scripted", in_process(process), backoff_s=0.001)
    assert llm(HELLO).text == digest_answer("hello")
    process[0].kill()
    process[0].wait()
    with pytest.raises(EndpointUnreachable):
        llm(HELLO)


def test_https_to_a_server_without_it_is_unreachable():
    with ScriptedEndpoint() as endpoint:
        url = endpoint.base_url.replace("http:", "https:")
        with pytest.raises(EndpointUnreachable):
            OpenAILLM("scripted", url, backoff_s=0.001)(HELLO)
    assert endpoint.count == 0


@pytest.mark.parametrize(
    "url", ["ftp://host/v1", "file:///etc/passwd", "host:8000", "http://", "http://host:99999/v1", "x"]
)
def test_only_http_urls_are_endpoints(url: str):
    with pytest.raises(ConfigError, match="is no base URL"):
        OpenAILLM("scripted", url)


@pytest.mark.parametrize("url", ["http://me:hunter2@host/v1", "http://host/v1?key=hunter2", "ftp://me:hunter2@host"])
def test_a_url_with_a_secret_is_refused_without_repeating_it(url: str):
    with pytest.raises(ConfigError) as raised:
        OpenAILLM("scripted", url)
    assert "hunter2" not in str(raised.value)


def test_the_url_comes_from_the_environment_where_none_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert checked_url(None) == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8000/v1/")
    assert checked_url(None) == "http://localhost:8000/v1"


def test_a_proxy_is_used_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch):
    with ScriptedEndpoint() as proxy, ScriptedEndpoint() as endpoint:
        monkeypatch.setenv("http_proxy", f"http://me:hunter2@127.0.0.1:{proxy.port}")
        OpenAILLM("scripted", "http://models.example/v1")(HELLO)
        OpenAILLM("scripted", endpoint.base_url)(HELLO)
    assert [request.path for request in proxy.requests] == ["http://models.example/v1/chat/completions"]
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
    assert endpoint.count == 1


# ---- Keys


def test_openai_itself_needs_a_key_and_the_message_says_where(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="put it into the environment variable MY_KEY"):
        OpenAILLM("gpt-4o-mini", "https://api.openai.com/v1", api_key_env="MY_KEY")(HELLO)


def test_the_key_is_sent_and_a_change_of_it_is_noticed(monkeypatch: pytest.MonkeyPatch):
    with ScriptedEndpoint(key="sk-right") as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url, api_key_env="MY_KEY")
        monkeypatch.delenv("MY_KEY", raising=False)
        with pytest.raises(RequestRefused, match="environment variable MY_KEY is not set"):
            llm(HELLO)
        monkeypatch.setenv("MY_KEY", "sk-wrong")
        with pytest.raises(RequestRefused, match="environment variable MY_KEY holds a key that is not accepted"):
            llm(HELLO)
        monkeypatch.setenv("MY_KEY", "sk-right")
        assert llm(HELLO).text == digest_answer("hello")


@pytest.mark.parametrize("fault", ["echo-key", "404", "500", "html", "stream-error", "hang", "ok"])
def test_the_key_is_in_no_message_log_or_trace(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    canary = "sk-canary-5f2c"
    monkeypatch.setenv("MY_KEY", canary)
    shown: list[object] = []
    with always(fault) as endpoint, Run() as run, caplog.at_level(logging.DEBUG):
        llm = OpenAILLM("scripted", endpoint.base_url, api_key_env="MY_KEY", deadline_s=0.5, backoff_s=0.001)
        try:
            shown.append(llm(HELLO, on_text=lambda _: None))
        except LLMError as error:
            shown += [
                str(error),
                repr(error),
                "".join(traceback.format_exception(error)),
                vars(error),
                error.__context__,
            ]
    assert endpoint.requests[0].headers["authorization"] == f"Bearer {canary}"
    assert canary not in f"{shown} {llm!r} {run.record()} {caplog.text}"


# ---- Limits


def test_an_unknown_model_is_named_with_those_there_are():
    message = "`scripted` does not exist; the models there are: big, small"
    with (
        ScriptedEndpoint(models=("big", "small"), strict_models=True) as endpoint,
        pytest.raises(RequestRefused, match=message),
    ):
        llm_at(endpoint)(HELLO)


def test_a_gzip_bomb_takes_no_more_memory_than_a_reply_may(process: list[subprocess.Popen[str]]):
    url = in_process(process, "--script", "gzip-bomb:100,gzip-bomb:100")
    llm = OpenAILLM("scripted", url, backoff_s=0.001)
    tracemalloc.start()
    try:
        with pytest.raises(BadReply, match="more than 8 MiB"):
            llm(HELLO)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 << 20  # the part of it that is read at once would be 64 MiB


def test_no_more_calls_are_under_way_than_there_are_workers():
    with ScriptedEndpoint(delay_s=0.02) as endpoint:
        llm = llm_at(endpoint, workers=3)
        replies = list(map_threads(lambda _: llm(HELLO), range(12), workers=12))
    assert len(replies) == endpoint.count == 12
    assert endpoint.most_at_once == 3


def test_a_rate_limit_holds_back_everybody_who_asks_there():
    with ScriptedEndpoint(script=["429:1"]) as endpoint:
        with pytest.raises(RateLimited):
            llm_at(endpoint, deadline_s=0.5)(HELLO)
        with pytest.raises(RateLimited, match="asks to wait 1 s, longer than this call may take"):
            llm_at(endpoint, deadline_s=0.5)(HELLO)
        assert endpoint.count == 1  # the second call was not even made
        list(map_threads(llm_at(endpoint), [HELLO] * 4, workers=4))
    first, *others = endpoint.arrivals
    assert len(others) == 4
    assert min(others) - first >= 1


def test_a_rate_limit_may_name_a_time_of_day():
    with ScriptedEndpoint(script=[f"429:{formatdate(time.time() + 3600)}"]) as endpoint:
        with pytest.raises(RateLimited):
            llm_at(endpoint)(HELLO)
        with pytest.raises(RateLimited, match=r"asks to wait 3[56]\d\d s"):
            llm_at(endpoint)(HELLO)
    assert endpoint.count == 1


def test_a_storm_of_rate_limits_ends_with_every_answer():
    with ScriptedEndpoint(script=["429:0.05"] * 8) as endpoint:
        replies = list(map_threads(llm_at(endpoint), [HELLO] * 8, workers=8))
    assert len(replies) == 8
    assert endpoint.count <= 24
    assert endpoint.most_at_once <= 8


def test_the_runs_seconds_end_a_call():
    with (
        always("hang") as endpoint,
        Run(Budget(seconds=0.5)) as run,
        pytest.raises(BudgetExceeded, match="seconds were over before the model answered"),
    ):
        llm_at(endpoint)(HELLO)
    assert (run.spent.calls, run.spent.estimated) == (1, True)
    assert run.seconds < 10  # the call's own deadline is 30 seconds


def test_calls_leave_no_thread_behind():
    with ScriptedEndpoint(script=["hang", "slow-body", "ok"]) as endpoint:
        llm = llm_at(endpoint, deadline_s=0.3)
        before = {thread for thread in threading.enumerate() if "accept" not in thread.name}
        outcomes: list[Reply | LLMError] = []
        for _ in range(3):
            try:
                outcomes.append(llm(HELLO))
            except LLMError as error:
                outcomes.append(error)
    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded, DeadlineExceeded, Reply]
    assert set(threading.enumerate()) <= before
