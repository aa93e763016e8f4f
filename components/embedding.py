"""Embeddings from an OpenAI-compatible endpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ragloom.components.completions import clean, estimate_tokens, read_body, read_usage
from ragloom.components.endpoint import checked_url, open_endpoint
from ragloom.components.prices import Price, price_of
from ragloom.errors import BadReply
from ragloom.run import reserve, span
from ragloom.types import Usage

if TYPE_CHECKING:  # openai takes seconds to import
    from openai import OpenAI


@dataclass(frozen=True)
class OpenAIEmbedder:
    """An embedding model behind an OpenAI-compatible endpoint.

    Attributes:
        model: its name there; also what its vectors are stored under, so two endpoints must not use one name for two
            models.
        base_url: e.g. `http://localhost:8000/v1`; without one, OPENAI_BASE_URL or OpenAI itself.
        api_key_env: name of the environment variable that holds the key.
        batch: texts in one request.
        deadline_s: longest time for a request, with its retries.
        backoff_s: mean pause before the first retry.
        workers: most requests under way at once, from all threads.
        price: instead of the price table's.
    """

    model: str
    base_url: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    batch: int = 64
    deadline_s: float = 120.0
    backoff_s: float = 0.5
    workers: int = 32
    price: Price | None = None

    def __post_init__(self) -> None:
        checked_url(self.base_url)
        for name in ("batch", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Vectors of length 1, (n, d), in the order of the texts; (0, 0) for no texts.

        Raises:
            LLMError: one of its kinds; BadReply also for vectors that are missing, zero, or not finite.
            BudgetExceeded: the current run's budget does not cover the next request.
        """
        parts = [self._embed(texts[start : start + self.batch]) for start in range(0, len(texts), self.batch)]
        if len({part.shape[1] for part in parts}) > 1:
            raise BadReply(f"{self.model} sent vectors of several dimensions", "check which model the server runs")
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        endpoint = open_endpoint(self.base_url, self.api_key_env, workers=self.workers)
        price = self.price or price_of(self.model)
        inputs = [clean(text) for text in texts]
        estimate = sum(estimate_tokens(text) for text in inputs)

        def attempt(client: OpenAI) -> NDArray[np.float32]:
            started = time.monotonic()
            cost = None if price is None else price.of(Usage(estimate))
            with reserve(tokens=estimate, cost=cost) as reservation:
                body = self._send(client, inputs)
                usage = replace(read_usage(body, prompt_tokens=estimate), completion_tokens=0)
                cost = None if price is None else price.of(usage)
                reservation.settle(replace(usage, cost=cost, seconds=time.monotonic() - started))
            attributes.update(tokens=usage.tokens, cost=cost)
            return _read_vectors(body, len(inputs))

        with span("embed", model=self.model, texts=len(texts)) as attributes:
            return endpoint.call(attempt, deadline_s=self.deadline_s, backoff_s=self.backoff_s)

    def _send(self, client: OpenAI, inputs: list[str]) -> dict[str, Any]:
        api = client.embeddings.with_streaming_response
        with api.create(model=self.model, input=inputs, encoding_format="float") as response:
            return read_body(response.headers.get("content-type", ""), response.iter_bytes(), None)


def _read_vectors(body: dict[str, Any], n: int) -> NDArray[np.float32]:
    """The vectors by their `index`, which need not be the order they arrive in, scaled to length 1."""
    try:
        entries = sorted((entry["index"], entry["embedding"]) for entry in body["data"])
        if [index for index, _ in entries] != list(range(n)):
            raise BadReply(f"the reply has not one vector for each of the {n} texts")
        vectors = np.array([vector for _, vector in entries], dtype=np.float32).reshape(n, -1)
    except (KeyError, TypeError, ValueError):
        raise BadReply("the reply's vectors are malformed or of several dimensions") from None
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise BadReply("the reply has a vector that is zero or not finite")
    return np.asarray(vectors / lengths, dtype=np.float32)
