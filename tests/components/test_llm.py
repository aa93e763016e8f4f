import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint, answers_from, digest_answer

from ragloom.components.completions import render
from ragloom.components.llm import Cached, OpenAILLM, Recording, Replay, ScriptedLLM
from ragloom.components.prices import Price
from ragloom.errors import BadReply, BudgetExceeded, InputError, LLMError, RequestRefused
from ragloom.run import Budget, Run, map_threads
from ragloom.store import Store
from ragloom.types import Message, Options, Reply, Usage

HELLO: list[Message] = [{"role": "user", "content": "hello"}]
SHOTS: list[Message] = [
    {"role": "system", "content": "Answer shortly."},
    {"role": "user", "content": "Capital of France? Answer:"},
    {"role": "assistant", "content": "Paris"},
    {"role": "user", "content": "Capital of Peru? Answer:"},
]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def asking(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


# ---- What is sent


def test_options_are_sent_as_the_api_names_them():
    with ScriptedEndpoint() as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url, defaults={"temperature": 0.0, "seed": 1})
        llm(HELLO, seed=2, max_tokens=5, top_p=0.5, stop=["x"], logprobs=3, extra={"id_slot": 4})
    body = endpoint.requests[0].body
    assert body == {
        "model": "scripted",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.0,
        "seed": 2,
        "max_tokens": 5,
        "top_p": 0.5,
        "stop": ["x"],
        "logprobs": True,
        "top_logprobs": 3,
        "id_slot": 4,
    }


def test_messages_become_one_text_for_a_base_model():
    text = "Answer shortly.\n\nCapital of France? Answer: Paris\n\nCapital of Peru? Answer:"
    assert render(SHOTS) == text
    with ScriptedEndpoint(lambda _: " Lima \n\nCapital of Chile? Answer:") as endpoint:
        reply = OpenAILLM("scripted", endpoint.base_url, api="completions")(SHOTS)
    assert endpoint.requests[0].body == {"model": "scripted", "prompt": text, "stop": ["\n\n"]}
    assert endpoint.requests[0].path == "/v1/completions"
    assert reply.text == "Lima"


def test_prompts_reach_the_model_unchanged_but_for_what_no_text_can_hold():
    text = "{x} {0} %s {{7*7}} ${HOME} <|im_start|> \u202e \U0001f469\u200d\U0001f52c"
    with ScriptedEndpoint() as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url)
        llm(asking(text))
        llm(asking("half \ud83d NUL \0"))
    assert [request.prompt for request in endpoint.requests] == [text, "half \ufffd NUL \ufffd"]


@pytest.mark.parametrize(
    ("refused", "formats", "told"),
    [
        (["json_schema"], ["json_schema", "json_object", "json_object"], True),
        (["json_schema", "json_object"], ["json_schema", "json_object", None, None], True),
        ([], ["json_schema", "json_schema"], False),
    ],
)
def test_a_schema_is_asked_for_in_the_way_that_the_server_takes(refused, formats, told):
    refuses = {kind: f"response_format {kind} is not supported" for kind in refused}
    with ScriptedEndpoint(lambda _: '{"a": 1}', refuses=refuses) as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url)
        for _ in range(2):
            assert llm(HELLO, schema=SCHEMA).text == '{"a": 1}'
    assert [request.body.get("response_format", {}).get("type") for request in endpoint.requests] == formats
    assert (json.dumps(SCHEMA) in endpoint.requests[-1].prompt) == told


def test_a_base_model_gets_the_schema_as_llama_cpp_takes_it():
    with ScriptedEndpoint(lambda _: '{"a":\n\n1}') as endpoint:
        reply = OpenAILLM("scripted", endpoint.base_url, api="completions")(HELLO, schema=SCHEMA)
    assert endpoint.requests[0].body["json_schema"] == SCHEMA
    assert reply.text == '{"a":\n\n1}'


def test_a_refusal_for_another_reason_is_not_held_against_the_schema():
    with ScriptedEndpoint(lambda _: '{"a": 1}', script=["400", "400", "400", "ok"]) as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url)
        with pytest.raises(RequestRefused, match="maximum context length"):
            llm(HELLO, schema=SCHEMA)
        llm(HELLO, schema=SCHEMA)
    assert endpoint.requests[-1].body["response_format"]["type"] == "json_schema"


def test_the_newer_name_of_max_tokens_is_learnt():
    refuses = {"max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}
    with ScriptedEndpoint(refuses=refuses) as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url)
        assert llm(HELLO, max_tokens=1).finish == "length"
        llm(HELLO, max_tokens=1)
    assert ["max_tokens" in request.body for request in endpoint.requests] == [True, False, False]


def test_a_model_that_wants_no_temperature_is_asked_without():
    refuses = {"temperature": "Unsupported value: 'temperature' does not support 0 with this model."}
    with ScriptedEndpoint(refuses=refuses) as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url)
        llm(HELLO, temperature=0.0, seed=1)
        llm(HELLO, temperature=0.0, seed=1)
    assert ["temperature" in request.body for request in endpoint.requests] == [True, False, False]
    assert all(request.body["seed"] == 1 for request in endpoint.requests)


# ---- What comes back


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_reply_is_the_same_streamed_or_not(api, streamed):
    pieces: list[str] = []
    options: Options = {"on_text": pieces.append} if streamed else {}
    with ScriptedEndpoint(lambda _: "one two three") as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url, api=api)
        reply = llm(asking("count for me"), logprobs=2, **options)
    assert (reply.text, reply.finish, reply.model) == ("one two three", "stop", "scripted")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.calls) == (3, 3, 1)
    assert not reply.usage.estimated
    assert reply.logprobs is not None
    assert "".join(token.token for token in reply.logprobs) == "one two three"
    assert reply.logprobs[0].alternatives == (("one", -0.25), ("other0", -2.0))
    assert pieces == (["one", " two", " three"] if streamed else [])


def test_a_reply_cut_off_says_so():
    with ScriptedEndpoint(lambda _: "one two three") as endpoint:
        reply = OpenAILLM("scripted", endpoint.base_url)(HELLO, max_tokens=2)
    assert (reply.text, reply.finish) == ("one two", "length")


def test_no_messages_are_a_callers_mistake():
    with pytest.raises(ValueError, match="at least one message"):
        OpenAILLM("scripted", "http://localhost:1/v1")([])


# ---- What it costs


def test_cost_comes_from_the_price_and_is_unknown_without_one():
    with ScriptedEndpoint(lambda _: "one two") as endpoint, Run() as run:
        priced = OpenAILLM("scripted", endpoint.base_url, price=Price(1.0, 10.0))(HELLO)
        unpriced = OpenAILLM("scripted", endpoint.base_url)(HELLO)
    assert priced.usage.cost == pytest.approx((1 * 1.0 + 2 * 10.0) / 1e6)
    assert unpriced.usage.cost is None
    assert run.spent.cost is None
    assert run.spent.calls == 2


def test_a_call_leaves_a_span():
    with ScriptedEndpoint(lambda _: "one two") as endpoint, Run() as run:
        OpenAILLM("scripted", endpoint.base_url, price=Price(0.0))(HELLO)
    (step,) = run.record().spans
    assert step.name == "llm"
    assert dict(step.attributes) == {
        "model": "scripted",
        "tokens": 3,
        "cached_tokens": 0,
        "cost": 0.0,
        "finish": "stop",
        "cached": False,
    }


def test_a_malformed_reply_was_paid_and_counts():
    with ScriptedEndpoint(script=["null-content"]) as endpoint, Run() as run:
        reply = OpenAILLM("scripted", endpoint.base_url, backoff_s=0.001)(HELLO)
    assert reply.usage.calls == run.spent.calls == 2


def test_the_call_that_would_go_over_the_budget_is_not_made():
    with ScriptedEndpoint() as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url)
        with Run(Budget(tokens=100)), pytest.raises(BudgetExceeded):
            llm(HELLO, max_tokens=100)
        with Run(Budget(cost=1.0)), pytest.raises(BudgetExceeded, match="price is unknown"):
            llm(HELLO)
        with Run(Budget(tokens=100)):
            llm(HELLO, max_tokens=50)
    assert endpoint.count == 1


@pytest.mark.parametrize("budget", [Budget(calls=5), Budget(tokens=60), Budget(cost=60e-6)])
def test_workers_racing_for_the_last_of_a_budget_do_not_go_over_it(budget: Budget):
    gate = threading.Barrier(8)
    with ScriptedEndpoint(lambda _: "a b c d e f g h", delay_s=0.005) as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url, price=Price(1.0, 1.0))

        def work(_: int) -> int:
            gate.wait()
            done = 0
            try:
                while True:
                    llm(HELLO, max_tokens=8)
                    done += 1
            except BudgetExceeded:
                return done

        with Run(budget) as run:
            done = sum(map_threads(work, range(8), workers=8))
    assert done == endpoint.count == run.spent.calls
    assert run.spent.cost is not None
    assert run.spent.tokens <= (budget.tokens or run.spent.tokens)
    assert run.spent.cost <= (budget.cost or run.spent.cost) * (1 + 1e-9)
    assert done in ({5} if budget.calls else {4, 5, 6})  # 9 tokens each, of the 14 that are set aside


# ---- Cached


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "workspace") as opened:
        yield opened


def test_what_was_asked_before_costs_nothing_and_says_so(store: Store):
    pieces: list[str] = []
    with ScriptedEndpoint() as endpoint:
        llm = Cached(OpenAILLM("scripted", endpoint.base_url), store)
        first = llm(HELLO, logprobs=1)
        with Run(Budget(calls=0)) as run:
            second = llm(HELLO, logprobs=1, on_text=pieces.append, extra={"id_slot": 3})
    assert endpoint.count == 1
    assert (second.text, second.logprobs, second.model) == (first.text, first.logprobs, first.model)
    assert second.usage == run.spent == Usage(cache_hits=1)
    assert run.saved == run.record().saved == first.usage
    assert run.record().spans[0].attributes["cached"] is True
    assert pieces == [first.text]


def test_a_later_process_finds_what_was_kept(tmp_path: Path):
    with ScriptedEndpoint() as endpoint:
        for _ in range(2):
            with Store.open(tmp_path) as store:
                assert Cached(OpenAILLM("scripted", endpoint.base_url), store)(HELLO).text == digest_answer("hello")
    assert endpoint.count == 1


@pytest.mark.parametrize(
    "other",
    [{"seed": 2}, {"max_tokens": 9}, {"schema": SCHEMA}, {"stop": ["x"]}, {"extra": {"grammar": "x"}}, {"logprobs": 0}],
)
def test_what_can_change_the_reply_is_asked_anew(store: Store, other: Options):
    scripted = ScriptedLLM(['{"a": 1}', '{"a": 2}'])
    llm = Cached(scripted, store)
    llm(HELLO)
    llm(HELLO, **other)
    assert scripted.calls == 2


def test_a_models_defaults_can_change_the_reply_too(store: Store):
    with ScriptedEndpoint() as endpoint:
        for defaults in ({"max_tokens": 1}, {"max_tokens": 2}, {"max_tokens": 2, "extra": {"cache_prompt": True}}):
            Cached(OpenAILLM("scripted", endpoint.base_url, defaults=defaults), store)(HELLO)
    assert endpoint.count == 2


def test_models_do_not_share_replies(store: Store):
    for identity in ("one", "two"):
        assert Cached(ScriptedLLM([identity], identity=identity), store)(HELLO).text == identity


def test_a_reply_that_does_not_fit_its_schema_is_not_kept(store: Store):
    scripted = ScriptedLLM(["no", '{"a": 1}'])
    llm = Cached(scripted, store)
    assert [llm(HELLO, schema=SCHEMA).text for _ in range(3)] == ["no", '{"a": 1}', '{"a": 1}']
    assert scripted.calls == 2


def test_every_call_is_in_the_ledger_with_how_it_ended(store: Store):
    with ScriptedEndpoint(script=["ok", "null-content", "null-content"]) as endpoint:
        llm = Cached(OpenAILLM("scripted", endpoint.base_url, backoff_s=0.001), store)
        with Run(id="monday"):
            llm(HELLO)
        with pytest.raises(BadReply):
            llm(asking("other"))
    first, second = store.attempts()
    assert (first.run_id, first.usage.calls, first.error) == ("monday", 1, "")
    assert (second.run_id, second.error) == ("", "EmptyReply")


def test_threads_that_ask_the_same_at_once_make_one_call(store: Store):
    with ScriptedEndpoint(delay_s=0.05) as endpoint:
        llm = Cached(OpenAILLM("scripted", endpoint.base_url), store)
        replies = list(map_threads(llm, [HELLO] * 8, workers=8))
    assert endpoint.count == 1
    assert {reply.text for reply in replies} == {digest_answer("hello")}
    assert sorted(reply.usage.cache_hits for reply in replies) == [0] + [1] * 7


def test_a_failure_is_not_kept_for_those_who_wait(store: Store):
    with ScriptedEndpoint(script=["400"], delay_s=0.05) as endpoint:
        llm = Cached(OpenAILLM("scripted", endpoint.base_url), store)

        def ask(_: int) -> bool:
            try:
                return bool(llm(HELLO).text)
            except RequestRefused:
                return False

        assert sorted(map_threads(ask, range(4), workers=4)) == [False, True, True, True]
    assert endpoint.count == 2


# ---- Recording, Replay, ScriptedLLM


def test_a_recording_replays_without_the_model(tmp_path: Path):
    path = tmp_path / "replies.jsonl"
    with ScriptedEndpoint(answers_from({"x": "line\nbreak \u2028 and 漢字"})) as endpoint:
        llm = Recording(OpenAILLM("scripted", endpoint.base_url, price=Price(1.0)), path)
        originals = [llm(asking(text), logprobs=2, seed=1) for text in ("x", "y", "half \ud83d")]
    with Run() as run:
        replay = Replay.load(path)
        replies = [replay(asking(text), logprobs=2, seed=1) for text in ("x", "y", "half \ud83d")]
    assert replies == originals
    assert run.spent == originals[0].usage + originals[1].usage + originals[2].usage


def test_a_prompt_that_was_not_recorded_is_named(tmp_path: Path):
    path = tmp_path / "replies.jsonl"
    Recording(ScriptedLLM(["yes"]), path)(asking("recorded?"))
    with pytest.raises(LLMError, match=r"no reply is recorded for the prompt \w{32} that ends in 'not recorded\?'"):
        Replay.load(path)(asking("not recorded?"))


@pytest.mark.parametrize("line", ["", "no JSON", "[]", '{"key": 1}', '{"key": "k", "reply": {"text": "x"}}'])
def test_a_broken_recording_is_named_by_file_and_line(tmp_path: Path, line: str):
    path = tmp_path / "replies.jsonl"
    Recording(ScriptedLLM(["yes"]), path)(HELLO)
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"replies\.jsonl, line 2: no recorded reply"):
        Replay.load(path)


def test_a_missing_recording_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"cannot read the recorded replies .*nowhere\.jsonl"):
        Replay.load(tmp_path / "nowhere.jsonl")


def shout(messages: Sequence[Message]) -> str:
    return messages[-1]["content"].upper()


@pytest.mark.parametrize(
    ("script", "replies"),
    [
        (["one", Reply("two", finish="length")], ["one", "two"]),
        ({"fir": "one", "sec": "two"}, ["one", "two"]),
        (shout, ["FIRST", "SECOND"]),
    ],
)
def test_a_script_is_a_list_a_mapping_or_a_function(script, replies):
    llm = ScriptedLLM(script)
    assert [llm(asking(text)).text for text in ("first", "second")] == replies
    assert llm.calls == 2
    assert llm.requests[1] == asking("second")


@pytest.mark.parametrize(
    ("script", "message"),
    [([], "the script has 0 replies, and this is call 1"), ({"x": "y"}, "no reply to the prompt that ends in 'hello'")],
)
def test_a_script_that_ends_says_so(script, message):
    with pytest.raises(LLMError, match=message):
        ScriptedLLM(script)(HELLO)


def test_a_scripted_call_counts_like_any_other():
    with Run(Budget(calls=1, cost=0.0)) as run:
        llm = ScriptedLLM(["one", "two"])
        reply = llm(HELLO)
        with pytest.raises(BudgetExceeded):
            llm(HELLO)
    assert run.spent == reply.usage
    assert (reply.usage.calls, reply.usage.cost, reply.usage.estimated) == (1, 0.0, True)
