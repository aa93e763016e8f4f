"""A reply as it arrives: our models call back with each piece, other libraries ask for an iterator."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from threading import Event
from typing import TypeVar

T = TypeVar("T")


class _NobodyListens(Exception):
    """Ends a call whose reply nobody reads any more."""


def pieces(call: Callable[[Callable[[str], None]], T]) -> Generator[str, None, T]:
    """Yields what `call` hands to the function it is given, while it runs in a thread, and returns its result.

    The call sees the caller's run. If the generator is closed early, the call ends with its next piece.
    """
    arrived: SimpleQueue[str | None] = SimpleQueue()
    closed = Event()

    def hand_out(text: str) -> None:
        if closed.is_set():
            raise _NobodyListens
        arrived.put(text)

    with ThreadPoolExecutor(1, thread_name_prefix="ragloom") as pool:
        result = pool.submit(copy_context().run, call, hand_out)
        result.add_done_callback(lambda _: arrived.put(None))
        try:
            while (text := arrived.get()) is not None:
                yield text
        finally:
            closed.set()
        return result.result()
