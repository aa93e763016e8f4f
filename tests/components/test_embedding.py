import numpy as np
import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.components.embedding import OpenAIEmbedder
from ragloom.components.prices import Price
from ragloom.errors import BadReply, BudgetExceeded, EndpointUnreachable, RequestRefused
from ragloom.run import Budget, Run

TEXTS = ["a b", "c", "d e f"]


def embedder(endpoint: ScriptedEndpoint, **options) -> OpenAIEmbedder:
    return OpenAIEmbedder("scripted", base_url=endpoint.base_url, backoff_s=0.001, **options)


def test_vectors_have_length_one_in_the_order_of_the_texts():
    with ScriptedEndpoint(dimension=5) as endpoint:
        together = embedder(endpoint)(TEXTS)
        alone = np.concatenate([embedder(endpoint)([text]) for text in TEXTS])
    assert together.dtype == np.float32
    assert together.shape == (3, 5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(together, alone)


def test_no_texts_need_no_request():
    with ScriptedEndpoint() as endpoint:
        assert embedder(endpoint)([]).shape == (0, 0)
    assert endpoint.count == 0


def test_texts_are_sent_in_batches():
    with ScriptedEndpoint() as endpoint:
        embedder(endpoint, batch=2)(TEXTS)
    assert [request.body["input"] for request in endpoint.requests] == [["a b", "c"], ["d e f"]]


def test_what_no_text_can_hold_is_replaced():
    with ScriptedEndpoint() as endpoint:
        embedder(endpoint)(["half \ud83d NUL \0"])
    assert endpoint.requests[0].body["input"] == ["half \ufffd NUL \ufffd"]


def test_the_order_is_restored_from_the_index():
    with ScriptedEndpoint(script=["ok", "swapped-vectors"]) as endpoint:
        np.testing.assert_array_equal(embedder(endpoint)(TEXTS), embedder(endpoint)(TEXTS))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("nan-vector", "zero or not finite"),
        ("zero-vector", "zero or not finite"),
        ("short-vector", "malformed or of several dimensions"),
        ("text-vector", "malformed or of several dimensions"),
        ("missing-vector", "not one vector for each of the 3 texts"),
        ("same-index", "not one vector for each of the 3 texts"),
        ("truncated-json", "no JSON"),
        ("html", "no JSON"),
    ],
)
def test_vectors_that_cannot_be_used_are_asked_for_once_more(fault: str, message: str):
    with ScriptedEndpoint(script=[fault, fault, fault, "ok"]) as endpoint:
        with pytest.raises(BadReply, match=message):
            embedder(endpoint)(TEXTS)
        assert endpoint.count == 2
        embedder(endpoint)(TEXTS)
    assert endpoint.count == 4


@pytest.mark.parametrize(("fault", "error", "requests"), [("500", EndpointUnreachable, 3), ("404", RequestRefused, 1)])
def test_an_embedding_server_is_asked_by_the_same_policy(fault, error, requests):
    with ScriptedEndpoint(script=lambda _: fault) as endpoint, pytest.raises(error):
        embedder(endpoint)(TEXTS)
    assert endpoint.count == requests


def test_a_change_of_dimension_between_batches_is_noticed():
    several = pytest.raises(BadReply, match="vectors of several dimensions")
    with ScriptedEndpoint(script=["ok", "short-vector"]) as endpoint, several:
        embedder(endpoint, batch=1)(TEXTS)


def test_tokens_and_cost_are_counted_and_held_to_the_budget():
    with ScriptedEndpoint() as endpoint, Run(Budget(calls=1)) as run:
        embed = embedder(endpoint, price=Price(2.0))
        embed(TEXTS)
        with pytest.raises(BudgetExceeded):
            embed(TEXTS)
    assert endpoint.count == 1
    assert (run.spent.prompt_tokens, run.spent.completion_tokens, run.spent.cost) == (6, 0, pytest.approx(12e-6))
    assert [step.name for step in run.record().spans] == ["embed", "embed"]
    assert dict(run.record().spans[0].attributes) == {"model": "scripted", "texts": 3, "tokens": 6, "cost": 12e-6}


@pytest.mark.parametrize("name", ["batch", "workers"])
def test_sizes_start_at_one(name: str):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        OpenAIEmbedder("scripted", "http://localhost:1/v1", **{name: 0})
