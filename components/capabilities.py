"""What a model can be asked for, found out by asking it."""

from __future__ import annotations

from ragloom.components.gating import Capability
from ragloom.errors import RequestRefused
from ragloom.types import LLM, Message, Options

# Models of every kind reply to this with a word at once; after "1, 2, 3," SmolLM2's first token is a space.
_PROBE = (Message(role="user", content="Question: What is the capital of France?\nAnswer with its name only:"),)
_OPTIONS = Options(max_tokens=1, temperature=0.0, logprobs=5)


def offered(llm: LLM) -> frozenset[Capability]:
    """Which of `logprobs` and `samples` the model offers, found with one call for one token.

    Servers that cannot give log-probabilities leave them out of the reply, or refuse the request and say why. Samples
    count as offered by every model; whether a server heeds temperature and seed, one call cannot tell.

    Raises:
        LLMError: the model could not be asked, or refused for another reason.
    """
    try:
        reply = llm(_PROBE, **_OPTIONS)
    except RequestRefused as error:
        if not refuses_logprobs(error):
            raise
        return frozenset({"samples"})
    return frozenset({"samples", "logprobs"}) if reply.logprobs else frozenset({"samples"})


def refuses_logprobs(error: RequestRefused) -> bool:
    """Whether a server refused a request because it asks for log-probabilities: its words name the field."""
    return "logprobs" in error.problem
