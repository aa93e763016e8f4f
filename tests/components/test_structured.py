import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragloom.components.llm import ScriptedLLM
from ragloom.components.structured import complete_json, parse_json
from ragloom.errors import BadReply
from ragloom.types import Message

ANY = {"type": ["object", "array"]}
NAMES = {
    "type": "object",
    "properties": {"names": {"type": "array", "items": {"type": "string"}}},
    "required": ["names"],
    "additionalProperties": False,
}
ASK: list[Message] = [{"role": "user", "content": "Name two."}]


@pytest.mark.parametrize(
    "text",
    [
        '{"names": ["a", "b"]}',
        '\ufeff {"names": ["a", "b"]} \n',
        'Sure!\n```json\n{"names": ["a", "b"]}\n```\nAnything else?',
        'Here: {"names": ["a", "b"]} as you asked {really}.',
        "{'names': ['a', 'b'],}",
        '{"names": ["a", "b"',
        '{"wrong": 1}\n```\n{"names": ["a", "b"]}\n```',
    ],
)
def test_what_small_models_write_is_read(text: str):
    assert parse_json(text, NAMES) == {"names": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it is no JSON"),
        ("I cannot do that.", "it is no JSON"),
        ('{"names": "a"}', r"\$\.names breaks 'type' of the schema"),
        ("{}", r"\$ breaks 'required' of the schema"),
        ('{"names": [], "more": 1}', r"\$ breaks 'additionalProperties' of the schema"),
        ("[" * 100_000, ""),
        ('{"a":' * 10_000, ""),
    ],
)
def test_what_does_not_fit_is_a_bad_reply_that_names_place_and_rule(text: str, problem: str):
    with pytest.raises(BadReply, match=f"not of the form asked for: {problem}"):
        parse_json(text, NAMES)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_never_gets_through(number: str):
    with pytest.raises(BadReply):
        parse_json(f'{{"names": {number}}}', {"type": "object", "properties": {"names": {"type": "number"}}})


def test_the_text_of_a_reply_is_not_in_the_message():
    with pytest.raises(BadReply) as raised:
        parse_json('{"names": "secret"}', NAMES)
    assert "secret" not in str(raised.value)


def test_many_triples_are_read_whole():
    triples = [["a", "b", str(number)] for number in range(100_000)]
    assert parse_json(json.dumps(triples), {"type": "array"}) == triples


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(json_values) | st.dictionaries(st.text(), json_values), st.sampled_from(["", "Sure: ", "```json\n"]))
def test_what_was_written_as_json_is_read_back(value: object, before: str):
    assert parse_json(before + json.dumps(value) + ("\n```" if "`" in before else ""), ANY) == value


@given(st.text() | st.text(alphabet='{}[]",:\\`ntrue123.eE-+ \n\ud800\0'))
@example("[" * 5000 + "]" * 5000)
@example('{"a": ' + "1" * 5000 + "}")
@example("```\n" * 50)
def test_any_text_is_parsed_or_a_bad_reply(text: str):
    try:
        value = parse_json(text, ANY)
    except BadReply:
        return
    json.dumps(value, allow_nan=False)


@given(json_values, st.integers(0, 200))
def test_a_reply_that_is_cut_off_is_mended_or_a_bad_reply(value: object, length: int):
    with contextlib.suppress(BadReply):
        assert isinstance(parse_json(json.dumps([value])[:length], ANY), list | dict)


def test_a_good_reply_is_asked_for_once():
    llm = ScriptedLLM(['{"names": ["a"]}'])
    value, usage = complete_json(llm, ASK, NAMES)
    assert value == {"names": ["a"]}
    assert usage.calls == llm.calls == 1


def test_a_reply_that_does_not_fit_is_shown_to_the_model_once():
    llm = ScriptedLLM(['{"names": "a"}', '{"names": ["a"]}'])
    value, usage = complete_json(llm, ASK, NAMES, temperature=0.0)
    assert value == {"names": ["a"]}
    assert usage.calls == 2
    first, second = llm.requests
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": '{"names": "a"}'}
    assert "$.names breaks 'type' of the schema" in second[-1]["content"]


def test_two_replies_that_do_not_fit_are_enough():
    llm = ScriptedLLM(["no", "no", '{"names": []}'])
    with pytest.raises(BadReply, match="it is no JSON"):
        complete_json(llm, ASK, NAMES)
    assert llm.calls == 2


def test_a_reply_that_is_wider_than_what_was_asked_for_will_do_where_it_is_accepted():
    llm = ScriptedLLM(['{"names": ["a", 7]}'])
    value, _ = complete_json(llm, ASK, NAMES, accepted={"type": "object", "required": ["names"]})
    assert value == {"names": ["a", 7]}
    assert llm.calls == 1


def test_a_reply_that_is_not_accepted_either_is_mended_or_fails():
    llm = ScriptedLLM(['{"nouns": []}', '{"nouns": []}'])
    with pytest.raises(BadReply, match="breaks 'required'"):
        complete_json(llm, ASK, NAMES, accepted={"type": "object", "required": ["names"]})
