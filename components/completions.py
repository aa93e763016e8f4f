"""The OpenAI wire format: the fields of a request, and what may be believed of a reply.

Servers that call themselves compatible differ: some lack `response_format`, some want `max_completion_tokens`. A
`Dialect` says how to ask, and what to try when the server refuses it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ragloom.errors import BadReply, EmptyReply
from ragloom.types import Message, Options, TokenLogprob, Usage

Api = Literal["chat", "completions"]

_MOST_TOKENS = 10_000_000  # a server that claims more for one call has a fault
_SAMPLING = {"temperature", "top_p", "seed"}
_IMPOSSIBLE = -100.0  # stands for a log-probability of minus infinity, which JSON has no number for
_STOPPED = {"stop", "eos", "eos_token", "stop_sequence", "end_turn"}


def clean(text: str) -> str:
    """The text without NUL and lone surrogates, which neither UTF-8 nor a database can hold.

    >>> clean("a\\x00b \\ud83d c")
    'a\\ufffdb \\ufffd c'
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\ufffd")


def estimate_tokens(text: str) -> int:
    """About how many tokens the text has, rather too many: a token for every 3 bytes."""
    return len(text.encode("utf-8", "replace")) // 3 + 1


# ---- Asking


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server understands.

    Attributes:
        schema: how it is told of a JSON schema; `text` puts it into the prompt.
        length: the field for the longest reply.
        without: sampling options that it refuses, as reasoning models do, and that are left out.
    """

    schema: Literal["json_schema", "json_object", "text"] = "json_schema"
    length: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    without: frozenset[str] = frozenset()

    def easier(self, options: Options, refusal: str) -> Dialect | None:
        """What to try after the server refused a request with these words; None if it was not for its form."""
        if "max_tokens" in options and self.length == "max_tokens" and "max_completion_tokens" in refusal:
            return replace(self, length="max_completion_tokens")
        refused = {name for name in _SAMPLING & options.keys() - self.without if f"'{name}'" in refusal}
        if refused:
            return replace(self, without=self.without | refused)
        if "schema" in options and self.schema != "text":
            return replace(self, schema="json_object" if self.schema == "json_schema" else "text")
        return None


def render(messages: Sequence[Message]) -> str:
    """The messages as one text for a base model: paragraphs, with a reply on the line it answers.

    >>> render([{"role": "user", "content": "Capital of France? Answer:"}, {"role": "assistant", "content": "Paris"}])
    'Capital of France? Answer: Paris'
    """
    text = ""
    for message in messages:
        separator = " " if message["role"] == "assistant" else "\n\n"
        text += (separator if text else "") + message["content"]
    return text


def request_fields(
    model: str, messages: Sequence[Message], options: Options, *, api: Api, dialect: Dialect
) -> dict[str, Any]:
    """Keyword arguments of the openai client's `create`."""
    extra = dict(options.get("extra", {}))
    fields: dict[str, Any] = {"model": model, "extra_body": extra}
    sampling = _SAMPLING & options.keys() - dialect.without
    fields |= {name: value for name, value in options.items() if name in sampling}
    if "max_tokens" in options:
        fields[dialect.length if api == "chat" else "max_tokens"] = options["max_tokens"]
    if "stop" in options:
        fields["stop"] = list(options["stop"])
    if "on_text" in options:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    schema = options.get("schema")
    if schema is not None and dialect.schema != "json_schema":
        note = f"Reply with nothing but JSON of this JSON schema:\n{json.dumps(schema, ensure_ascii=False)}"
        last = messages[-1]  # no further message: chat templates may insist on alternating roles
        messages = [*messages[:-1], {"role": last["role"], "content": f"{last['content']}\n\n{note}"}]
    if api == "chat":
        fields["messages"] = [{"role": m["role"], "content": clean(m["content"])} for m in messages]
        if "logprobs" in options:
            fields |= {"logprobs": True, "top_logprobs": options["logprobs"]}
        if schema is not None and dialect.schema == "json_schema":
            fields["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
        elif schema is not None and dialect.schema == "json_object":
            fields["response_format"] = {"type": "json_object"}
    else:
        fields["prompt"] = clean(render(messages))
        if "logprobs" in options:
            fields["logprobs"] = max(1, options["logprobs"])  # some servers take 0 as no
        if schema is None:
            fields.setdefault("stop", ["\n\n"])  # base models write on; a paragraph's end is where an answer ends
        elif dialect.schema == "json_schema":
            extra["json_schema"] = schema  # of llama.cpp; the others know no schema here
    return fields


# ---- Reading


def read_body(content_type: str, pieces: Iterable[bytes], on_text: Callable[[str], None] | None) -> dict[str, Any]:
    """The JSON object of a reply; of a stream, the one object that its events add up to.

    Args:
        content_type: as the server gave it.
        pieces: the body as it arrives.
        on_text: called with each piece of text of a stream.

    Raises:
        BadReply: it is no JSON object, or the stream broke off.
    """
    if "event-stream" in content_type:
        return _joined(_events(pieces), on_text)
    return _parse(b"".join(pieces), content_type)


def _parse(data: bytes, content_type: str) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise BadReply(
            f"the reply is no JSON (content type {content_type[:40] or 'not given'})", "check the base URL"
        ) from None
    if not isinstance(body, dict):
        raise BadReply("the reply is no JSON object", "check the base URL")
    return body


def _events(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            data = line.strip()
            if data == b"data: [DONE]":
                return
            if data.startswith(b"data:"):
                yield _parse(data.removeprefix(b"data:"), "text/event-stream")


def _joined(events: Iterable[dict[str, Any]], on_text: Callable[[str], None] | None) -> dict[str, Any]:
    """The events of a stream as the body of a reply that was not streamed."""
    body: dict[str, Any] = {}
    texts: list[str] = []
    logprobs: dict[str, list[Any]] = {}
    finish = None
    for event in events:
        if event.get("error"):
            raise BadReply("the server broke the stream off with an error", "look at the server's log")
        body |= {name: event[name] for name in ("model", "usage") if event.get(name)}
        choice = _first_choice(event)
        if choice is None:
            continue  # the last event may hold the usage only
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
        if isinstance(text, str) and text:
            texts.append(text)
            if on_text is not None:
                on_text(clean(text))
        for name, values in (choice.get("logprobs") or {}).items():
            if isinstance(values, list):
                logprobs.setdefault(name, []).extend(values)
        finish = choice.get("finish_reason") or finish
    return body | {"choices": [{"text": "".join(texts), "finish_reason": finish, "logprobs": logprobs or None}]}


def _first_choice(body: dict[str, Any]) -> dict[str, Any] | None:
    choices = body.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _text(choice: dict[str, Any]) -> Any:
    message = choice.get("message")
    return message.get("content") if isinstance(message, dict) else choice.get("text")


@dataclass(frozen=True, slots=True)
class Completion:
    """What a well-formed reply holds."""

    text: str
    finish: Literal["stop", "length"]
    logprobs: tuple[TokenLogprob, ...] | None
    model: str


def read_completion(body: dict[str, Any]) -> Completion:
    """The first choice of a reply.

    Raises:
        BadReply: there is none, its text is empty or no text, or nothing says that it is complete.
    """
    choice = _first_choice(body)
    if choice is None:
        raise BadReply("the reply has no choices")
    text = _text(choice)
    if not isinstance(text, str) or not text.strip():
        raise EmptyReply(
            f"the reply has {'an empty' if isinstance(text, str) else 'no'} text",
            "a model that thinks first needs more max_tokens" if choice.get("finish_reason") == "length" else "",
        )
    finish = choice.get("finish_reason")
    if finish not in _STOPPED and finish != "length":
        raise BadReply(f"the reply is not complete: its finish_reason is {str(finish)[:40]!r}")
    model = body.get("model")
    return Completion(
        clean(text),
        "length" if finish == "length" else "stop",
        _read_logprobs(choice.get("logprobs")),
        clean(model) if isinstance(model, str) else "",
    )


def _read_logprobs(logprobs: Any) -> tuple[TokenLogprob, ...] | None:
    try:
        if not logprobs:
            return None
        if logprobs.get("content") is not None:  # as in chat; llama.cpp also for completions
            return tuple(
                _token(
                    e["token"], e["logprob"], [(other["token"], other["logprob"]) for other in e["top_logprobs"] or ()]
                )
                for e in logprobs["content"]
            )
        tops = logprobs.get("top_logprobs") or [{}] * len(logprobs["tokens"])
        return tuple(
            _token(token, logprob, list((top or {}).items()))
            for token, logprob, top in zip(logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True)
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadReply("the reply's log-probabilities are malformed") from None


def _token(token: str, logprob: float, alternatives: list[tuple[str, float]]) -> TokenLogprob:
    others = tuple((clean(text), _logprob(value)) for text, value in alternatives)
    return TokenLogprob(clean(token), _logprob(logprob), others)


def _logprob(value: float) -> float:
    if value == -math.inf:  # what servers give for a token that a grammar or top_p rules out
        return _IMPOSSIBLE
    if not math.isfinite(value):
        raise ValueError("not a probability")
    return float(value)


def read_usage(body: dict[str, Any], *, prompt_tokens: int) -> Usage:
    """Usage of one request as the server counted it; what it did not say, or cannot have meant, is estimated.

    Args:
        body: of the reply, well-formed or not; empty for none.
        prompt_tokens: our estimate.
    """
    usage = _object(body.get("usage"))
    sent, received = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    cached = _count(_object(usage.get("prompt_tokens_details")).get("cached_tokens"))
    estimated = sent is None or received is None
    if received is None:
        text = _text(_first_choice(body) or {})
        received = estimate_tokens(text) if isinstance(text, str) else 0
    if sent is None:
        sent = prompt_tokens
    return Usage(sent, received, min(cached or 0, sent), calls=1, estimated=estimated)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    plausible = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return value if plausible else None
