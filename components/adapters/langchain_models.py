"""LangChain's chat models and embeddings as ours, and ours as theirs. Import them from `adapters.langchain`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Unpack, cast

import numpy as np
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from numpy.typing import NDArray
from pydantic import SkipValidation

from ragloom.components.adapters.foreign import embed, model_error
from ragloom.components.adapters.streaming import pieces
from ragloom.components.completions import clean, read_completion, read_usage
from ragloom.components.llm import counted, estimate_prompt, note_reply
from ragloom.components.prices import price_of
from ragloom.errors import BadReply, DeadlineExceeded, InputError
from ragloom.run import span
from ragloom.types import LLM, Embedder, Message, Options, Reply, TokenLogprob, Usage

_SAMPLING = ("max_tokens", "temperature", "top_p", "seed")
_ROLES = {"system": "system", "human": "user", "ai": "assistant"}
_CUT_OFF = {"length", "max_tokens", "max_output_tokens", "model_length"}  # the words of several providers
_COMPLETE = {"", "complete", "finish"}


@dataclass(frozen=True)
class LangChainLLM:
    """An LLM that is a chat model of LangChain.

    Options are passed on under the names that LangChain's models agree on; `logprobs` and `schema` as OpenAI's do,
    and `extra` as further keyword arguments. What a provider's model does not know, it refuses or ignores.

    Attributes:
        chat_model: asked by `invoke`, or by `stream` for `on_text`. It retries by itself: its `max_retries` count.
        name: tells models apart whose settings, as LangChain gives them, are the same.
    """

    chat_model: BaseChatModel
    name: str = ""

    @property
    def model(self) -> str:
        """The model's name with its provider."""
        return str(
            getattr(self.chat_model, "model_name", "")
            or getattr(self.chat_model, "model", "")
            or type(self.chat_model).__name__
        )

    @property
    def identity(self) -> str:
        """The name, the model's class and endpoint, and its settings."""
        endpoint = getattr(self.chat_model, "openai_api_base", None) or getattr(self.chat_model, "base_url", None) or ""
        settings = json.dumps(self.chat_model.asdict(), sort_keys=True, default=lambda value: type(value).__name__)
        return f"{self.name} {type(self.chat_model).__name__} {endpoint} {settings}".strip()

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The model's reply. Tokens that it does not count are estimated.

        Raises:
            LLMError: of the kind that our own clients raise for it.
            BudgetExceeded: before the call was made.
        """
        if not messages:
            raise ValueError("messages must hold at least one message")
        started = time.monotonic()
        price = price_of(self.model)

        def settle(body: dict[str, Any]) -> Usage:
            usage = read_usage(body, prompt_tokens=estimate_prompt(messages))
            cost = None if price is None else price.of(usage)
            usage = replace(usage, cost=cost, seconds=time.monotonic() - started)
            reservation.settle(usage)
            return usage

        with span("llm", model=self.model) as attributes, counted(messages, options, price) as reservation:
            try:
                body = _body(self._ask(messages, options))
            except Exception as error:  # any provider's
                told = model_error(error, self.model)
                if isinstance(told, BadReply | DeadlineExceeded):  # the model may well have worked on it
                    settle({})
                raise told from error
            usage, completion = settle(body), read_completion(body)
            reply = Reply(
                completion.text, usage, completion.logprobs, completion.finish, completion.model or self.model
            )
            note_reply(attributes, reply)
        return reply

    def _ask(self, messages: Sequence[Message], options: Options) -> AIMessage:
        turns = [{"role": message["role"], "content": clean(message["content"])} for message in messages]
        stop = list(options["stop"]) if "stop" in options else None
        if "on_text" not in options:
            return self.chat_model.invoke(turns, stop=stop, **_arguments(options))
        said = AIMessageChunk(content="")
        for piece in self.chat_model.stream(turns, stop=stop, **_arguments(options)):
            if isinstance(piece, AIMessageChunk):
                said += piece
            if piece.text:
                options["on_text"](str(piece.text))
        return said


def _arguments(options: Options) -> dict[str, Any]:
    arguments: dict[str, Any] = {name: value for name, value in options.items() if name in _SAMPLING}
    if "logprobs" in options:
        arguments |= {"logprobs": True, "top_logprobs": options["logprobs"]}
    if "schema" in options:
        schema = {"name": "reply", "schema": options["schema"]}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    return arguments | dict(options.get("extra", {}))


def _body(said: AIMessage) -> dict[str, Any]:
    """The message in the form of an OpenAI reply, which is read, and distrusted, in one place."""
    meta, usage = said.response_metadata, said.usage_metadata
    finish = str(meta.get("finish_reason") or meta.get("stop_reason") or meta.get("done_reason") or "").lower()
    finish = "length" if finish in _CUT_OFF else "stop" if finish in _COMPLETE else finish
    choice = {"text": str(said.text), "finish_reason": finish, "logprobs": meta.get("logprobs")}
    body = {"choices": [choice], "model": meta.get("model_name") or meta.get("model")}
    if usage is None:
        return body
    cached = usage.get("input_token_details", {}).get("cache_read")
    counts = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
    return body | {"usage": counts | {"prompt_tokens_details": {"cached_tokens": cached}}}


class RagloomChatModel(BaseChatModel):
    """An LLM of ours as a chat model of LangChain: in chains, batches, asynchronously, and as a stream.

    Keyword arguments, of a call or bound, are our options; those of another name are passed on in `extra`. Messages of
    tools, and content that is no text, are refused.
    """

    llm: Annotated[LLM, SkipValidation]

    @property
    def _llm_type(self) -> str:
        return "ragloom"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"identity": getattr(self.llm, "identity", type(self.llm).__name__)}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        reply = self.llm(_turns(messages), **_options(stop, kwargs))
        message = AIMessage(
            reply.text, usage_metadata=_usage_metadata(reply.usage), response_metadata=_response_metadata(reply)
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        turns, options = _turns(messages), _options(stop, kwargs)

        def ask(on_text: Callable[[str], None]) -> Reply:
            return self.llm(turns, **(options | Options(on_text=on_text)))

        arriving = pieces(ask)
        while True:
            try:
                piece = next(arriving)
            except StopIteration as ended:
                reply: Reply = ended.value
                break
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager is not None:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
        last = AIMessageChunk(
            content="",
            usage_metadata=_usage_metadata(reply.usage),
            response_metadata=_response_metadata(reply),
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last)


def _turns(messages: Sequence[BaseMessage]) -> list[Message]:
    return [_turn(message) for message in messages]


def _turn(message: BaseMessage) -> Message:
    role, blocks = _ROLES.get(message.type), message.content
    texts = isinstance(blocks, str) or all(isinstance(block, str) or block.get("type") == "text" for block in blocks)
    if role is None or not texts:
        raise InputError(
            f"a {message.type} message {'' if role is None else 'with other content than text '}cannot be passed on",
            "ragloom's models take system, human and ai messages of text",
        )
    return Message(role=role, content=str(message.text))  # type: ignore[typeddict-item]  # a value of _ROLES


def _options(stop: list[str] | None, arguments: dict[str, Any]) -> Options:
    """Our options of LangChain's keyword arguments."""
    rest = dict(arguments)
    options: dict[str, Any] = {name: rest.pop(name) for name in _SAMPLING if name in rest}
    if stop:
        options["stop"] = stop
    top = rest.pop("top_logprobs", 0)
    if rest.pop("logprobs", False):
        options["logprobs"] = top
    schema = rest.get("response_format")
    if isinstance(schema, dict) and schema.get("type") == "json_schema":
        options["schema"] = rest.pop("response_format")["json_schema"]["schema"]
    extra = rest.pop("extra", {}) | rest
    if extra:
        options["extra"] = extra
    return cast("Options", options)


def _usage_metadata(usage: Usage) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        total_tokens=usage.tokens,
        input_token_details={"cache_read": usage.cached_tokens},
    )


def _response_metadata(reply: Reply) -> dict[str, Any]:
    metadata: dict[str, Any] = {"finish_reason": reply.finish, "model_name": reply.model, "model_provider": "ragloom"}
    return metadata | ({} if reply.logprobs is None else {"logprobs": {"content": list(map(_entry, reply.logprobs))}})


def _entry(token: TokenLogprob) -> dict[str, Any]:
    others = [{"token": text, "logprob": logprob} for text, logprob in token.alternatives]
    return {"token": token.token, "logprob": token.logprob, "top_logprobs": others}


# ---- Embeddings


@dataclass(frozen=True)
class LangChainEmbedder:
    """An Embedder that is an embedding model of LangChain; queries are embedded as documents are.

    Attributes:
        embeddings: theirs.
        model: a name of its own, since LangChain's embeddings have none that all share.
    """

    embeddings: Embeddings
    model: str

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """(n, d), scaled to length 1; (0, 0) for none. Raises as `foreign.embed` does."""
        return embed(self.model, texts, self.embeddings.embed_documents)


@dataclass(frozen=True)
class RagloomEmbeddings(Embeddings):
    """An Embedder of ours as LangChain's embeddings, e.g. of a vector store; `CachedEmbedder` saves embedding twice."""

    embedder: Embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A list of numbers for each text."""
        return [list(map(float, vector)) for vector in self.embedder(texts)] if texts else []

    def embed_query(self, text: str) -> list[float]:
        """That of the one text."""
        return self.embed_documents([text])[0]
