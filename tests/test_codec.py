"""Replies and answers as JSON and back."""

import json

import pytest

from ragloom.codec import answer_from_json, reply_from_json, to_json
from ragloom.types import Answer, Chunk, Citation, Hit, Reply, RunRecord, Span, TokenLogprob, Usage

ANSWER = Answer(
    "Paris",
    (Hit(Chunk("c1", "Paris is the capital.", "France", "d1", 2, 40, {"page": 3, "tags": ["a"]}), 0.1 + 0.2),),
    (Citation(1, "c1", "d1", 40, 45, "match"),),
    abstained=False,
    run=RunRecord(
        Usage(10, 2, 3, 1, 1, None, 0.5, estimated=True),
        0.75,
        (Span("llm", 0.1, 0.5, -1, {"model": "m"}),),
        Usage(7, 1, calls=1),
    ),
)
REPLY = Reply(
    "Paris",
    Usage(10, 2, cost=0.125),
    (TokenLogprob("Par", -0.1, (("Par", -0.1), ("Lon", -2.5))), TokenLogprob("is", -1e-9)),
    "length",
    "model-1",
)


def test_answer_survives_json() -> None:
    assert answer_from_json(json.loads(json.dumps(to_json(ANSWER)))) == ANSWER


def test_an_answer_that_was_stored_before_savings_were_counted_is_read() -> None:
    data = to_json(ANSWER)
    del data["run"]["saved"]
    assert answer_from_json(data).run.saved == Usage()


@pytest.mark.parametrize("reply", [REPLY, Reply("x"), Reply("x", logprobs=())])
def test_reply_survives_json(reply: Reply) -> None:
    assert reply_from_json(json.loads(json.dumps(to_json(reply)))) == reply


@pytest.mark.parametrize("data", [{}, {"text": "x"}, {**to_json(REPLY), "usage": {"__class__": "os.system"}}])
def test_anything_else_is_no_reply_and_no_answer(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not the JSON of a reply"):
        reply_from_json(data)
    with pytest.raises(ValueError, match="not the JSON of an answer"):
        answer_from_json(data)
