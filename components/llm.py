"""Language models: any OpenAI-compatible endpoint, and the wrappers that keep, record, replay and script replies."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from ragloom.codec import reply_from_json, to_json
from ragloom.components.completions import (
    Api,
    Dialect,
    estimate_tokens,
    read_body,
    read_completion,
    read_usage,
    request_fields,
)
from ragloom.components.endpoint import checked_url, open_endpoint, our_error
from ragloom.components.prices import Price, price_of
from ragloom.components.structured import parse_json
from ragloom.errors import BadReply, DeadlineExceeded, InputError, LLMError
from ragloom.run import Reservation, current_run, reserve, span
from ragloom.types import LLM, Message, Options, Reply, Usage, content_id

if TYPE_CHECKING:  # openai takes seconds to import
    from openai import OpenAI

_LIKELY_REPLY = 1024  # tokens set aside for a reply without a limit
_SAME_REPLY = {"id_slot", "cache_prompt"}  # extra fields that only say where and how fast a reply is made


class IdentifiedLLM(LLM, Protocol):
    """An LLM that can be told from others: equal identities give the same replies to the same requests."""

    @property
    def identity(self) -> str:
        """Where the model is and what it is called."""
        ...


def request_key(messages: Sequence[Message], options: Options) -> str:
    """What a request is known by: the messages, and every option that can change the reply."""
    turns = [[message["role"], message["content"]] for message in messages]
    return content_id(json.dumps(turns), _said(options))


def _said(options: Options) -> str:
    said: dict[str, Any] = {name: value for name, value in options.items() if name not in {"on_text", "extra"}}
    said |= {f"extra.{name}": value for name, value in options.get("extra", {}).items() if name not in _SAME_REPLY}
    return json.dumps(said, sort_keys=True, default=list) if said else ""


@contextmanager
def counted(messages: Sequence[Message], options: Options, price: Price | None) -> Iterator[Reservation]:
    """Set aside what one request may take at most."""
    asked = Usage(estimate_prompt(messages), options.get("max_tokens", _LIKELY_REPLY))
    with reserve(tokens=asked.tokens, cost=None if price is None else price.of(asked)) as reservation:
        yield reservation


def estimate_prompt(messages: Sequence[Message]) -> int:
    """About how many tokens the messages have, rather too many."""
    return sum(estimate_tokens(message["content"]) + 4 for message in messages)  # 4: the marks around a turn


def note_reply(attributes: dict[str, Any], reply: Reply) -> None:
    """Describe a call's reply in the attributes of its span."""
    usage = reply.usage
    attributes |= {
        "tokens": usage.tokens,
        "cached_tokens": usage.cached_tokens,
        "cost": usage.cost,
        "finish": reply.finish,
        "cached": usage.calls == 0,
    }


# ---- Models behind an endpoint


@dataclass(frozen=True)
class OpenAILLM:
    """A model behind an OpenAI-compatible endpoint, hosted or local.

    Attributes:
        model: its name there.
        base_url: e.g. `http://localhost:8000/v1`; without one, OPENAI_BASE_URL or OpenAI itself.
        api_key_env: name of the environment variable that holds the key. Only its name is kept.
        api: `completions` renders the messages as one text, for models without a chat template.
        defaults: options of every call that does not say otherwise.
        deadline_s: longest time for a call, with its retries.
        backoff_s: mean pause before the first retry.
        workers: most calls under way at once; further ones wait.
        price: instead of the price table's.
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    api: Api = "chat"
    defaults: Options = field(default_factory=Options)
    deadline_s: float = 120.0
    backoff_s: float = 0.5
    workers: int = 32
    price: Price | None = None
    _dialect: list[Dialect] = field(default_factory=lambda: [Dialect()], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked_url(self.base_url)
        if self.deadline_s <= 0:
            raise ValueError(f"deadline_s must be positive, got {self.deadline_s}")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")

    @property
    def identity(self) -> str:
        """Endpoint, model, API and defaults."""
        return f"{checked_url(self.base_url)} {self.model} {self.api} {_said(self.defaults)}".rstrip()

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The model's reply.

        The server's own words are believed within reason: usage that is missing or absurd is estimated, NUL and lone
        surrogates become U+FFFD. Log-probabilities are None where the server leaves them out.

        Raises:
            LLMError: one of its kinds, see `ragloom.errors`.
            BudgetExceeded: before the call was made, or because the run's seconds were over during it.
        """
        if not messages:
            raise ValueError("messages must hold at least one message")
        call = _Call(self, messages, Options(**{**self.defaults, **options}))
        endpoint = open_endpoint(self.base_url, self.api_key_env, workers=self.workers)
        with span("llm", model=self.model) as attributes:
            reply = endpoint.call(
                call, deadline_s=self.deadline_s, backoff_s=self.backoff_s, repeatable=lambda: not call.streamed
            )
            note_reply(attributes, reply)
        return reply


class _Call:
    """One call of an OpenAILLM, which may take several requests; adds up what they took.

    Attributes:
        streamed: a part of a reply is in use already, and a further request may give another text.
    """

    def __init__(self, llm: OpenAILLM, messages: Sequence[Message], options: Options) -> None:
        self._llm = llm
        self._messages = messages
        self._options = options
        self._price = llm.price or price_of(llm.model)
        self._taken = Usage()
        self.streamed = False

    def __call__(self, client: OpenAI) -> Reply:
        """One request and its reply."""
        started = time.monotonic()
        with counted(self._messages, self._options, self._price) as reservation:
            try:
                body = self._ask(client)
            except Exception as error:
                if isinstance(our_error(error), BadReply | DeadlineExceeded):  # the model may well have worked on it
                    self._settle(reservation, {}, started)
                raise
            self._settle(reservation, body, started)
        completion = read_completion(body)
        text = completion.text.strip() if self._llm.api == "completions" else completion.text
        return Reply(text, self._taken, completion.logprobs, completion.finish, completion.model)

    def _settle(self, reservation: Reservation, body: dict[str, Any], started: float) -> None:
        usage = read_usage(body, prompt_tokens=estimate_prompt(self._messages))
        cost = None if self._price is None else self._price.of(usage)
        usage = replace(usage, cost=cost, seconds=time.monotonic() - started)
        reservation.settle(usage)
        self._taken += usage

    def _ask(self, client: OpenAI) -> dict[str, Any]:
        from openai import BadRequestError, UnprocessableEntityError

        dialect = self._llm._dialect[0]
        while True:
            try:
                body = self._send(client, dialect)
            except (BadRequestError, UnprocessableEntityError) as error:
                easier = dialect.easier(self._options, error.message)
                if easier is None:
                    raise
                dialect = easier
            else:
                self._llm._dialect[0] = dialect  # only now: the refusal may have had another reason
                return body

    def _send(self, client: OpenAI, dialect: Dialect) -> dict[str, Any]:
        fields = request_fields(self._llm.model, self._messages, self._options, api=self._llm.api, dialect=dialect)
        api: Any = client.chat.completions if self._llm.api == "chat" else client.completions  # too overloaded for mypy
        with api.with_streaming_response.create(**fields) as response:
            on_text = self._hand_out if "on_text" in self._options else None
            return read_body(response.headers.get("content-type", ""), response.iter_bytes(), on_text)

    def _hand_out(self, text: str) -> None:
        self.streamed = True
        self._options["on_text"](text)


# ---- Wrappers


class ReplyStore(Protocol):
    """What `Cached` needs of a `ragloom.store.Store`."""

    def reply(self, key: str, /) -> Reply | None:
        """The reply kept under the key."""
        ...

    def begin_attempt(self, key: str, /, *, model: str, run_id: str = "") -> int:
        """Write down that a call is about to be made."""
        ...

    def finish_attempt(self, attempt: int, reply: Reply | None, /, *, error: str = "", keep: bool = True) -> None:
        """Write down how it ended, and keep the reply."""
        ...


class Cached:
    """An LLM that answers from the store what it was asked before, and keeps what it is asked now.

    A hit costs the budget nothing and says `Usage(cache_hits=1)`. With a temperature above 0 a hit repeats one sample;
    vary `seed` for others. A reply that does not fit the schema it was asked for is returned but not kept. Threads that
    ask the same at once wait for one call.
    """

    def __init__(self, llm: IdentifiedLLM, store: ReplyStore) -> None:
        self.llm = llm
        self._store = store
        self._lock = Lock()
        self._keys: dict[str, Lock] = {}
        self._waiting: Counter[str] = Counter()

    @property
    def identity(self) -> str:
        """That of the model behind it."""
        return self.llm.identity

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The reply, kept or new."""
        key = content_id(self.identity, request_key(messages, options))
        with self._alone(key):
            kept = self._store.reply(key)
            return self._ask(key, messages, options) if kept is None else _hit(kept, options)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        with self._lock:
            lock = self._keys.setdefault(key, Lock())
            self._waiting[key] += 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                self._waiting[key] -= 1
                if not self._waiting[key]:
                    del self._keys[key], self._waiting[key]

    def _ask(self, key: str, messages: Sequence[Message], options: Options) -> Reply:
        run = current_run()
        attempt = self._store.begin_attempt(key, model=self.identity, run_id="" if run is None else run.id)
        try:
            reply = self.llm(messages, **options)
        except BaseException as error:
            self._store.finish_attempt(attempt, None, error=type(error).__name__)
            raise
        self._store.finish_attempt(attempt, reply, keep=_fits(reply, options))
        return reply


def _fits(reply: Reply, options: Options) -> bool:
    if "schema" not in options:
        return True
    try:
        parse_json(reply.text, options["schema"])
    except BadReply:
        return False
    return True


def _hit(kept: Reply, options: Options) -> Reply:
    reply = replace(kept, usage=Usage(cache_hits=1))
    with span("llm", model=reply.model) as attributes:
        note_reply(attributes, reply)
    run = current_run()
    if run is not None:
        run.add(reply.usage, saved=kept.usage)
    if "on_text" in options:
        options["on_text"](reply.text)
    return reply


class Recording:
    """An LLM that writes every request and its reply to a JSONL file, for `Replay`. The file holds the prompts."""

    def __init__(self, llm: IdentifiedLLM, path: str | Path) -> None:
        self.llm = llm
        self._path = Path(path)
        self._lock = Lock()

    @property
    def identity(self) -> str:
        """That of the model behind it."""
        return self.llm.identity

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The model's reply."""
        reply = self.llm(messages, **options)
        entry = {"key": request_key(messages, options), "messages": list(messages), "reply": to_json(reply)}
        line = json.dumps(entry) + "\n"
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line)
        return reply


class Replay:
    """An LLM that gives recorded replies to the recorded requests, with the usage they had. Needs no model.

    A run counts a replayed reply as if it had been asked for anew, so that its figures are those of the recording.
    """

    def __init__(self, replies: Mapping[str, Reply], *, identity: str = "replay") -> None:
        self._replies = replies
        self._identity = identity

    @classmethod
    def load(cls, path: str | Path) -> Replay:
        """The replies of a file that `Recording` wrote; of equal requests the last.

        Raises:
            InputError: the file cannot be read, or a line is no recorded reply.
        """
        replies = {}
        try:
            lines = Path(path).read_bytes().splitlines()
        except OSError as error:
            raise InputError(
                f"cannot read the recorded replies {path}: {error}",
                "name the file of a recording, or use a model: local_llm(), or OpenAILLM for an endpoint",
            ) from None
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                replies[entry["key"]] = reply_from_json(entry["reply"])
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise InputError(f"{path}, line {number}: no recorded reply: {error}", "record it anew") from None
        return cls(replies, identity=f"replay {path}")

    @property
    def identity(self) -> str:
        """The file of the recording."""
        return self._identity

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The recorded reply.

        Raises:
            LLMError: nothing was recorded for this request.
        """
        key = request_key(messages, options)
        if key not in self._replies:
            raise LLMError(
                f"no reply is recorded for the prompt {key} that ends in {messages[-1]['content'][-80:]!r}",
                "record it with Recording(llm, path), or check that prompt and options are those of the recording",
            )
        return _given(self._replies[key], messages, options)


Script = Sequence[str | Reply] | Mapping[str, str | Reply] | Callable[[Sequence[Message]], str | Reply]


class ScriptedLLM:
    """An LLM without a model, for tests: replies from a list, by what the prompt holds, or from a function.

    Replies given as text have an estimated usage and cost nothing.

    >>> llm = ScriptedLLM({"capital of France": "Paris"})
    >>> llm([{"role": "user", "content": "What is the capital of France?"}]).text
    'Paris'
    >>> llm.calls
    1

    Args:
        script: replies in the order of the calls; or replies by a text that the last message holds, the first that
            matches; or a function of the messages.
        identity: models with equal ones share kept replies.

    Attributes:
        requests: the messages of every call so far.
    """

    def __init__(self, script: Script, *, identity: str = "scripted") -> None:
        self._script = script
        self._identity = identity
        self._lock = Lock()
        self.requests: list[list[Message]] = []

    @property
    def identity(self) -> str:
        """As given."""
        return self._identity

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.requests)

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The scripted reply.

        Raises:
            LLMError: the script has none for this call.
        """
        with self._lock:
            self.requests.append(list(messages))
            number = len(self.requests)
        said = self._next(messages, number)
        if isinstance(said, str):
            usage = Usage(estimate_prompt(messages), estimate_tokens(said), calls=1, estimated=True)
            said = Reply(said, usage, model=self.identity)
        return _given(said, messages, options)

    def _next(self, messages: Sequence[Message], number: int) -> str | Reply:
        if callable(self._script):
            return self._script(messages)
        if isinstance(self._script, Mapping):
            last = messages[-1]["content"]
            found = next((reply for part, reply in self._script.items() if part in last), None)
            if found is None:
                raise LLMError(f"the script has no reply to the prompt that ends in {last[-80:]!r}")
            return found
        if number > len(self._script):
            raise LLMError(f"the script has {len(self._script)} replies, and this is call {number}")
        return self._script[number - 1]


def _given(reply: Reply, messages: Sequence[Message], options: Options) -> Reply:
    """The reply, counted and traced like that of a model that was asked."""
    with span("llm", model=reply.model) as attributes, counted(messages, options, Price(0.0)) as reservation:
        reservation.settle(reply.usage)
        note_reply(attributes, reply)
    if "on_text" in options:
        options["on_text"](reply.text)
    return reply
