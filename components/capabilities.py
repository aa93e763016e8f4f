"""What a model can be asked for, found out by asking it."""

from __future__ import annotations

from ragloom.components.gating import Capability
from ragloom.errors import RequestRefused
from ragloom.types import LLM, Message, Options

_PROBE = (Message(role="user", content="1, 2, 3, 4, 5,"),)  # to which models of every kind say something at once
_OPTIONS = Options(max_tokens=1, temperature=0.7, seed=0, logprobs=5)


def offered(llm: LLM) -> frozenset[Capability]:
    """Which of `logprobs` and `samples` the model offers, found with one call for one token.

    Servers that cannot give log-probabilities leave them out of the reply or refuse the request, and say why. Samples
    can be had of every model that replies at a temperature above 0; that they differ is not tested, and they do not
    where a server leaves temperature and seed aside.

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
