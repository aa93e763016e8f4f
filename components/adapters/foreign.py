"""What other libraries' models raise and return, as ours would."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragloom.components.completions import estimate_tokens
from ragloom.components.endpoint import our_error
from ragloom.components.prices import price_of
from ragloom.errors import BadReply, DeadlineExceeded, EndpointUnreachable, LLMError, RateLimited, RequestRefused
from ragloom.run import reserve, span
from ragloom.types import Usage


def model_error(error: Exception, model: str) -> Exception:
    """The error of the kind that our own clients raise; ours that passed through somebody else's code as it was.

    Clients differ, and their status codes agree: that is what decides, then whether it is a matter of time or of the
    connection. The words of a refused key are left out, since some servers repeat the key in them.
    """
    ours = our_error(error)
    if ours is not None:
        return ours
    status, kind = _status(error), type(error).__name__
    if status in {401, 403}:
        return RequestRefused(f"{model} answers {status}", "check the key that its client was given")
    told = f"{model}: {kind}: {' '.join(str(error).split())[:300]}"
    if status is not None:
        return _refusal(status, getattr(error, "code", None), told)
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        return DeadlineExceeded(told, "raise its client's timeout")
    if isinstance(error, OSError) or "Connect" in kind:
        return EndpointUnreachable(told, "check that its server runs")
    return LLMError(told)


def _refusal(status: int, code: object, told: str) -> LLMError:
    if status == 429 and code != "insufficient_quota":
        return RateLimited(told, "resume later, or with fewer workers")
    return EndpointUnreachable(told) if status == 408 or status >= 500 else RequestRefused(told)


def _status(error: Exception) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def embed(
    model: str, texts: Sequence[str], embedding: Callable[[list[str]], Sequence[Sequence[float]]]
) -> NDArray[np.float32]:
    """Somebody else's vectors of the texts, scaled to length 1; traced, and counted with estimated tokens.

    Raises:
        LLMError: the model could not be asked, or gave something else than a vector for each text.
        BudgetExceeded: the current run's budget does not cover it.
    """
    if not texts:
        return np.zeros((0, 0), np.float32)
    usage, price = Usage(sum(map(estimate_tokens, texts)), calls=1, estimated=True), price_of(model)
    cost = None if price is None else price.of(usage)
    with span("embed", model=model, texts=len(texts)) as attributes, reserve(tokens=usage.tokens, cost=cost) as asked:
        started = time.monotonic()
        try:
            given = embedding(list(texts))
        except Exception as error:  # any client's
            raise model_error(error, model) from error
        asked.settle(replace(usage, cost=cost, seconds=time.monotonic() - started))
        attributes.update(tokens=usage.tokens, cost=cost)
        return _unit_rows(model, given, len(texts))


def _unit_rows(model: str, given: Any, count: int) -> NDArray[np.float32]:
    try:
        vectors = np.asarray(given, dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    except (TypeError, ValueError):  # AxisError, of one dimension too few, is a ValueError
        raise BadReply(f"{model} gave vectors of several dimensions, or no numbers") from None
    if vectors.ndim != 2 or len(vectors) != count or not (np.isfinite(lengths) & (lengths > 0)).all():
        raise BadReply(f"{model} gave an array of shape {vectors.shape} for {count} texts, or a vector without length")
    return np.asarray(vectors / lengths, dtype=np.float32)
