"""The chat completions of OpenAI, as ragloom understands them: what a request may ask for, and what replies hold.

Of a conversation only the last message is asked: a pipeline answers one question. What a request asks for beyond that
is granted, ignored where the answer is none the worse for it, or refused by its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from ragloom.components.completions import clean
from ragloom.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    EndpointUnreachable,
    InputError,
    LLMError,
    RagloomError,
    RateLimited,
)
from ragloom.serving import Answered, Overloaded, Source, Stopped
from ragloom.types import Answer, Usage

Body = dict[str, Any]
Mode = Literal["short", "long", "yes-no"]

# Of how an answer is sampled, which ragloom decides by itself, and of what only accounts and displays are about.
IGNORED = {
    *("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "reasoning_effort", "verbosity"),
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
    "parallel_tool_calls",
}
# Parameters that would change the answer, and the values with which they do not.
REFUSED: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "stop": ([], ""),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}
_KNOWN = {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "ragloom"}
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class ApiError(Exception):
    """An error in OpenAI's form.

    Args:
        status: of HTTP.
        message: for whoever reads it.
        kind: OpenAI's `type`.
        code: for programs.
        param: the parameter that is wrong.
        headers: further ones of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        shown = [None if text is None else clean(text) for text in (message, param)]  # they may quote the request
        self.body: Body = {"error": {"message": shown[0], "type": kind, "param": shown[1], "code": code}}


_AGAIN, _NOT_AGAIN = {"Retry-After": "10"}, {"x-should-retry": "false"}  # the openai client heeds both
_UNAVAILABLE = (503, "the language model behind this server is not available", "model_unavailable", _AGAIN)
# Status, message (None for the error's own), code, headers; the first kind that fits.
_ERRORS: tuple[tuple[type[RagloomError], tuple[int, str | None, str, Mapping[str, str]]], ...] = (
    (Overloaded, (503, None, "overloaded", {"Retry-After": "2"})),
    (InputError, (400, None, "bad_question", {})),
    (BudgetExceeded, (429, None, "budget_exceeded", _NOT_AGAIN)),  # a repetition would spend it again
    (Stopped, (504, "the answer took longer than it may", "timeout", _NOT_AGAIN)),
    (DeadlineExceeded, (504, "the answer took longer than it may", "timeout", _NOT_AGAIN)),
    (EndpointUnreachable, _UNAVAILABLE),
    (RateLimited, _UNAVAILABLE),
    (LLMError, (502, "the language model behind this server did not answer well", "bad_reply", _NOT_AGAIN)),
    (RagloomError, (500, "the server could not answer; its log says why", "failed", _NOT_AGAIN)),
)


def api_error(error: RagloomError) -> ApiError:
    """The error as clients get it: what is wrong with the request in full, of what is wrong here only the kind."""
    status, message, code, headers = next(form for kind, form in _ERRORS if isinstance(error, kind))
    kind = "invalid_request_error" if status == 400 else "insufficient_quota" if status == 429 else "server_error"
    return ApiError(status, message or str(error), kind=kind, code=code, headers=headers)


# ---- Requests


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked for.

    Attributes:
        model: the pipeline's name.
        question: text of the last message.
        ignored_messages: messages before it, which have no influence.
        stream: piece by piece.
        include_usage: at the end of a stream.
        sources: whether the answer's text ends in a list of its sources; None for what the server does.
    """

    model: str
    question: str
    ignored_messages: int = 0
    stream: bool = False
    include_usage: bool = False
    sources: bool | None = None


def read_request(data: bytes, *, most_tokens: int) -> ChatRequest:
    """The request of a body.

    Args:
        data: JSON.
        most_tokens: longest answer of the pipelines.

    Raises:
        ApiError: it is not JSON, not of the form, or asks for what there is not; names the parameter.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is not valid JSON", code="invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    given = {name: value for name, value in body.items() if value is not None}
    _check_parameters(given, most_tokens)
    options = _typed(given, "stream_options", dict, {})
    own = _typed(given, "ragloom", dict, {})
    if unknown := sorted(own.keys() - {"sources"}):
        raise _wrong(f"ragloom.{unknown[0][:60]}", "there is no such option; there is sources")
    messages = _typed(given, "messages", list)
    return ChatRequest(
        _typed(given, "model", str),
        _question(messages),
        len(messages) - 1,
        _typed(given, "stream", bool, default=False),
        _typed(options, "include_usage", bool, default=False),
        _typed(own, "sources", bool, default=None),
    )


def _check_parameters(given: Body, most_tokens: int) -> None:
    for name, value in given.items():
        if name in REFUSED and not any(type(value) is type(one) and value == one for one in REFUSED[name]):
            raise _wrong(name, "pipelines do not support it; leave it out", code="unsupported_parameter")
        if name not in _KNOWN | IGNORED | REFUSED.keys():
            raise _wrong(name[:60], "there is no such parameter", code="unknown_parameter")
    for name in ("max_tokens", "max_completion_tokens"):
        limit: int = _typed(given, name, int, most_tokens)
        if limit < most_tokens:
            raise _wrong(
                name,
                f"answers here take up to {most_tokens} tokens; ask for that, or start the server with --max-tokens",
            )


def _typed(given: Body, name: str, kind: type, default: Any = ...) -> Any:
    if name not in given and default is not ...:
        return default
    value = given.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _wrong(name, f"must be {_KINDS[kind]}")
    return value


_KINDS = {str: "a string", bool: "true or false", int: "a whole number", list: "a list", dict: "an object"}


def _wrong(param: str, problem: str, *, code: str = "invalid_value") -> ApiError:
    return ApiError(400, f"{param}: {problem}", code=code, param=param)


def _question(messages: Sequence[Any]) -> str:
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise _wrong(f"messages[{number}]", "must be an object with a role and content")
    if not messages or messages[-1]["role"] != "user":
        raise _wrong("messages", "the last message must be the user's: it is the question")
    place = f"messages[{len(messages) - 1}].content"
    content = messages[-1].get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _wrong(place, "must be a string or a list of parts")
    return "\n".join(_text_part(part, f"{place}[{number}]") for number, part in enumerate(content))


def _text_part(part: Any, place: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise _wrong(place, "only parts of type text can be asked")


# ---- Replies


@dataclass(frozen=True, slots=True)
class ChatReply:
    """One reply, in its forms.

    Args:
        id: of the reply.
        created: seconds since 1970.
        request: what was asked for.
        sources: whether a list of sources ends the text.
    """

    id: str
    created: int
    request: ChatRequest
    sources: bool

    def completion(self, answered: Answered) -> Body:
        """The reply as a whole."""
        text = answered.answer.text + self.ending(answered)
        message = {"role": "assistant", "content": text, "refusal": None, **_extras(answered, self.request)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish(answered.answer)}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage_fields(answered.answer.run.usage)}

    def ending(self, answered: Answered) -> str:
        """What follows the answer in the text."""
        if not (self.sources and answered.sources):
            return ""
        return "\n\nSources:\n" + "\n".join(map(str, answered.sources))

    def first(self) -> Body:
        """The chunk that begins a stream."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> Body:
        """A chunk with a piece of the text."""
        return self._chunk({"content": text})

    def last(self, answered: Answered) -> Body:
        """The chunk that ends the text, with what it rests on."""
        return self._chunk(_extras(answered, self.request), finish(answered.answer))

    def usage(self, answered: Answered) -> Body:
        """The chunk with the usage alone."""
        usage = usage_fields(answered.answer.run.usage)
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage}

    def _chunk(self, delta: Body, finish_reason: str | None = None) -> Body:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        empty_usage = {"usage": None} if self.request.include_usage else {}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **empty_usage}

    def _head(self, kind: str) -> Body:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.request.model}


def _extras(answered: Answered, request: ChatRequest) -> Body:
    """The fields of a message beside its text."""
    answer = answered.answer
    own = {
        "citations": [asdict(source) for source in answered.sources],
        "abstained": answer.abstained,
        "ignored_messages": request.ignored_messages,
        "calls": answer.run.usage.calls,
        "cost": answer.run.usage.cost,
        "seconds": round(answer.run.seconds, 3),
    }
    return {"annotations": [_annotation(source, len(answer.text)) for source in answered.sources], "ragloom": own}


def _annotation(source: Source, length: int) -> Body:
    """The source as OpenAI has citations of the web; it supports the whole answer."""
    web = source.source.startswith(("http://", "https://"))
    url = source.source if web else f"ragloom:{quote(source.source)}"
    url += f"#char={source.start},{source.end}"  # RFC 5147
    cited = {"start_index": 0, "end_index": length, "title": source.title or source.source, "url": url}
    return {"type": "url_citation", "url_citation": cited}


def usage_fields(usage: Usage) -> Body:
    """The usage in OpenAI's names."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def finish(answer: Answer) -> str:
    """Why the text ends: `length` where the model's last reply was cut off."""
    last = next((step for step in reversed(answer.run.spans) if step.name == "llm"), None)
    return str(last.attributes.get("finish", "stop")) if last is not None else "stop"


# ---- Streams

_MARK = re.compile(r"\s*\[[0-9]{1,9}(?:\s*,\s*[0-9]{1,9})*\]")
_UNDECIDED = re.compile(r"\s*(?:\[[0-9,\s]*)?\Z")  # may yet become a mark, or be the end that is stripped


@dataclass(slots=True)
class AnswerText:
    """Turns the pieces of a model's reply into pieces of the answer, which has no citation marks.

    What is given out is always the beginning of the answer that the reader makes of the whole reply.

    >>> text = AnswerText("short")
    >>> [text.add(piece) for piece in (" Ines", " Corv", "ale [", "2] ", "\\nQuestion")]
    ['Ines', ' Corv', 'ale', '', '']

    Args:
        mode: of reading. A short answer is one line; that of yes and no is only known at the end.
    """

    mode: Mode
    given: str = ""
    _reply: str = field(default="", repr=False)

    def add(self, piece: str) -> str:
        """What can be given out after this piece."""
        self._reply += piece
        return self._give(self._settled())

    def finish(self, answer: str) -> str:
        """The rest of the answer."""
        return self._give(answer)

    def _settled(self) -> str:
        if self.mode == "yes-no":
            return ""
        text = self._reply.lstrip()
        text = _MARK.sub("", text[: _UNDECIDED.search(text).start()]).strip()  # type: ignore[union-attr]  # it always matches
        return text if self.mode == "long" else text.partition("\n")[0].rstrip()

    def _give(self, text: str) -> str:
        if not text.startswith(self.given):
            return ""
        new, self.given = text[len(self.given) :], text
        return new
