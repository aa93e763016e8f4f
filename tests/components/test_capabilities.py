import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.components.capabilities import offered
from ragloom.components.llm import OpenAILLM, ScriptedLLM
from ragloom.errors import LLMError, RequestRefused


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_server_with_log_probabilities_offers_both(api):
    with ScriptedEndpoint() as endpoint:
        assert offered(OpenAILLM("scripted", endpoint.base_url, api=api)) == {"logprobs", "samples"}
    assert endpoint.count == 1
    assert endpoint.requests[0].body["max_tokens"] == 1


def test_a_server_that_leaves_them_out_offers_samples():
    assert offered(ScriptedLLM(["Paris"])) == {"samples"}


@pytest.mark.parametrize("field", ["logprobs", "top_logprobs"])
def test_a_server_that_refuses_them_offers_samples(field: str):
    refusal = f"Unsupported parameter: '{field}' is not supported with this model."
    with ScriptedEndpoint(refuses={field: refusal}) as endpoint:
        assert offered(OpenAILLM("scripted", endpoint.base_url)) == {"samples"}
    assert endpoint.count == 1


def test_another_refusal_is_an_error():
    with ScriptedEndpoint(key="secret") as endpoint, pytest.raises(RequestRefused, match="OPENAI_API_KEY"):
        offered(OpenAILLM("scripted", endpoint.base_url))


@pytest.mark.parametrize("fault", ["empty-content", "500", "html"])
def test_a_model_that_cannot_be_asked_is_an_error(fault: str):
    with ScriptedEndpoint(script=lambda _: fault) as endpoint, pytest.raises(LLMError):
        offered(OpenAILLM("scripted", endpoint.base_url, backoff_s=0.001))
