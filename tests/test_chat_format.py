"""Pieces of a reply become pieces of the answer: what was given out is never taken back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.chat_format import AnswerText, Mode, api_error
from ragloom.components.llm import ScriptedLLM
from ragloom.components.reading import PromptReader
from ragloom.errors import (
    BadReply,
    BudgetExceeded,
    ConfigError,
    DeadlineExceeded,
    EmptyReply,
    EndpointUnreachable,
    InputError,
    RagloomError,
    RateLimited,
    RequestRefused,
    StoreError,
)
from ragloom.serving import Overloaded, Stopped

PIECES = st.lists(st.text("[]12, \nab", min_size=1, max_size=6), min_size=1, max_size=12)


@pytest.mark.parametrize("mode", ["short", "long", "yes-no"])
@given(pieces=PIECES)
def test_the_pieces_add_up_to_the_readers_answer(mode: Mode, pieces: list[str]):
    try:
        answer = PromptReader(ScriptedLLM(["".join(pieces)]), mode=mode)("Who?", ()).text
    except (EmptyReply, ValueError):  # nothing but marks or blanks
        return
    text = AnswerText(mode)
    given_out = "".join(text.add(piece) for piece in pieces)
    assert answer.startswith(given_out)
    assert given_out + text.finish(answer) == answer


def test_marks_that_are_split_between_pieces_are_left_out():
    text = AnswerText("long")
    pieces = ["Ada", " [", "1", "] ", "and", " Bo", "[2, ", "3]", ".", " [no", "te]"]
    assert [text.add(piece) for piece in pieces] == ["Ada", "", "", "", " and", " Bo", "", "", ".", " [no", "te]"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("p", "r"), 400),
        (BudgetExceeded("p"), 429),
        (Overloaded("p"), 503),
        (EndpointUnreachable("p"), 503),
        (RateLimited("p"), 503),
        (DeadlineExceeded("p"), 504),
        (Stopped("p"), 504),
        (RequestRefused("p"), 502),
        (BadReply("p"), 502),
        (StoreError("p"), 500),
        (ConfigError("p"), 500),
        (RagloomError("p"), 500),
    ],
)
def test_every_error_has_a_status(error: RagloomError, status: int):
    assert api_error(error).status == status


@pytest.mark.parametrize("error", [StoreError("/secret/place"), RequestRefused("the key sk-1"), RagloomError("odd")])
def test_what_is_wrong_on_the_server_is_not_told_to_clients(error: RagloomError):
    assert error.problem not in str(api_error(error).body)
