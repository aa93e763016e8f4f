"""LLMs and embedders of ours as LlamaIndex's, and its embeddings as ours. Import them from `adapters.llama_index`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    LogProb,
    MessageRole,
)
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from numpy.typing import NDArray
from pydantic import SkipValidation

from ragloom.components.adapters.foreign import embed
from ragloom.components.adapters.streaming import pieces
from ragloom.errors import InputError
from ragloom.types import LLM, Embedder, Message, Options, Reply

_ROLES = {MessageRole.SYSTEM: "system", MessageRole.USER: "user", MessageRole.ASSISTANT: "assistant"}


class RagloomLLM(CustomLLM):
    """An LLM of ours as one of LlamaIndex: completions and chats, streamed and asynchronous.

    Keyword arguments of a call are our options.

    Attributes:
        llm: ours.
        context_window: tokens that prompt and reply may have together; LlamaIndex packs its prompts by it.
        num_output: tokens it keeps free for the reply; the longest reply where a call does not say.
    """

    llm: Annotated[LLM, SkipValidation]
    context_window: int = 3900
    num_output: int = 256

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name of the class."""
        return "ragloom_llm"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex wants to know of a model."""
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.num_output,
            is_chat_model=True,
            model_name=getattr(self.llm, "model", type(self.llm).__name__),
        )

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The reply to the prompt as a message of the user."""
        return _completion(self.llm(_asked(prompt), **self._options(kwargs)))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """The same, in a thread."""
        return _completion(await asyncio.to_thread(self.llm, _asked(prompt), **self._options(kwargs)))

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The reply to the messages, each in its role."""
        return _chat(self.llm(_turns(messages), **self._options(kwargs)))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """The same, in a thread."""
        return _chat(await asyncio.to_thread(self.llm, _turns(messages), **self._options(kwargs)))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """The reply to the prompt as it is written."""
        for text, piece in self._growing(_asked(prompt), kwargs):
            yield CompletionResponse(text=text, delta=piece)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """The reply to the messages as it is written."""
        for text, piece in self._growing(_turns(messages), kwargs):
            yield ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), delta=piece)

    def _growing(self, turns: list[Message], arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """The text so far and the newest piece of it."""
        options = self._options(arguments)

        def ask(on_text: Callable[[str], None]) -> Reply:
            return self.llm(turns, **(options | Options(on_text=on_text)))

        text = ""
        for piece in pieces(ask):
            text += piece
            yield text, piece

    def _options(self, arguments: dict[str, Any]) -> Options:
        return Options(**({"max_tokens": self.num_output} | arguments))  # type: ignore[typeddict-item]  # a user's


def _asked(prompt: str) -> list[Message]:
    return [Message(role="user", content=prompt)]


def _turns(messages: Sequence[ChatMessage]) -> list[Message]:
    return [_turn(message) for message in messages]


def _turn(message: ChatMessage) -> Message:
    if message.role not in _ROLES or message.content is None:  # content is None for images and the like
        raise InputError(
            f"a {message.role.value} message without text cannot be passed on",
            "ragloom's models take system, user and assistant messages of text",
        )
    return Message(role=_ROLES[message.role], content=message.content)  # type: ignore[typeddict-item]  # see _ROLES


def _completion(reply: Reply) -> CompletionResponse:
    return CompletionResponse(
        text=reply.text, raw=_raw(reply), logprobs=_logprobs(reply), additional_kwargs=_counts(reply)
    )


def _chat(reply: Reply) -> ChatResponse:
    return ChatResponse(
        message=ChatMessage(role=MessageRole.ASSISTANT, content=reply.text),
        raw=_raw(reply),
        logprobs=_logprobs(reply),
        additional_kwargs=_counts(reply),
    )


def _raw(reply: Reply) -> dict[str, Any]:
    return {"model": reply.model, "finish_reason": reply.finish}


def _counts(reply: Reply) -> dict[str, int]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.tokens,
    }


def _logprobs(reply: Reply) -> list[list[LogProb]] | None:
    """For each token its own log-probability, then those of the alternatives."""
    if reply.logprobs is None:
        return None
    return [
        [LogProb(token=text, logprob=value) for text, value in [(token.token, token.logprob), *token.alternatives]]
        for token in reply.logprobs
    ]


# ---- Embeddings


class RagloomEmbedding(BaseEmbedding):
    """An Embedder of ours as an embedding model of LlamaIndex."""

    embedder: Annotated[Embedder, SkipValidation]

    def __init__(self, embedder: Embedder, **arguments: Any) -> None:
        super().__init__(embedder=embedder, model_name=embedder.model, **arguments)  # type: ignore[call-arg]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embeddings([query])[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return [list(map(float, vector)) for vector in self.embedder(texts)]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)


@dataclass(frozen=True)
class LlamaIndexEmbedder:
    """An Embedder that is an embedding model of LlamaIndex; queries are embedded as documents are."""

    embedding: BaseEmbedding

    @property
    def model(self) -> str:
        """LlamaIndex's name of the model."""
        return self.embedding.model_name

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """(n, d), scaled to length 1; (0, 0) for none. Raises as `foreign.embed` does."""
        return embed(self.model, texts, self.embedding.get_text_embedding_batch)
