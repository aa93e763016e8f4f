"""A run: what is being done, what it has spent, and what it may spend.

The current run is a context variable, so that a component deep in a pipeline can trace a step or reserve its budget
without being handed anything. Threads get it through `map_threads`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import ContextVar, Token, copy_context
from dataclasses import dataclass, replace
from itertools import islice
from threading import Lock
from typing import Any, Self, TypeVar

from ragloom.errors import BudgetExceeded
from ragloom.types import RunRecord, Span, Usage


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend at most; None is no limit.

    Attributes:
        tokens: sent and received.
        calls: requests to models.
        cost: US dollars.
        seconds: wall time.
    """

    tokens: int | None = None
    calls: int | None = None
    cost: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "calls", "cost", "seconds"):
            limit = getattr(self, name)
            if limit is not None and not (limit >= 0 and math.isfinite(limit)):
                raise ValueError(f"a budget's {name} must be a number from 0, got {limit}")


class Run:
    """Collects usage and spans of what happens inside its `with` block, and holds it to a budget.

    A run opened inside another is a part of it: what it spends counts for both, and both budgets hold.

    Args:
        budget: what it may spend; None for no limit.
        id: name in the attempts ledger; a run without one goes by the name of the run around it.
        spent: what an earlier part of the same run spent, where it is resumed.

    >>> with Run(Budget(calls=2)) as run:
    ...     with span("think"):
    ...         pass
    >>> [step.name for step in run.record().spans]
    ['think']
    """

    def __init__(self, budget: Budget | None = None, *, id: str = "", spent: Usage | None = None) -> None:  # noqa: A002
        self.budget = budget or Budget()
        self._id = id
        self._parent: Run | None = None
        self._lock = Lock()
        self._spent = spent or Usage()
        self._saved = Usage()
        self._reserved = Usage()
        self._spans: list[Span] = []
        self._started = time.monotonic()
        self._stopped: float | None = None
        self._token: Token[Run | None] | None = None
        self._span_token: Token[int] | None = None

    def __enter__(self) -> Self:
        self._parent = _current_run.get()
        if self._parent is not None:
            self._lock = self._parent._lock  # one lock for the chain: a reservation is granted by all or none
        self._started = time.monotonic()
        self._token = _current_run.set(self)
        self._span_token = _current_span.set(-1)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = time.monotonic()
        if self._token is not None and self._span_token is not None:
            _current_run.reset(self._token)
            _current_span.reset(self._span_token)

    @property
    def id(self) -> str:
        """Name in the attempts ledger; empty if neither this run nor one around it has one."""
        return self._id or (self._parent.id if self._parent is not None else "")

    @property
    def spent(self) -> Usage:
        """What the settled calls took so far."""
        return self._spent

    @property
    def saved(self) -> Usage:
        """What the replies that were taken from the cache took when they were made; no part of what is spent."""
        return self._saved

    @property
    def seconds(self) -> float:
        """Wall time since the run began, until it ended."""
        return (self._stopped if self._stopped is not None else time.monotonic()) - self._started

    def seconds_left(self) -> float:
        """Wall seconds until the first limit of this run and those around it; infinite without one."""
        own = math.inf if self.budget.seconds is None else self.budget.seconds - self.seconds
        return own if self._parent is None else min(own, self._parent.seconds_left())

    def record(self) -> RunRecord:
        """What was done and spent so far."""
        with self._lock:
            return RunRecord(self._spent, self.seconds, tuple(self._spans), self._saved)

    def include(self, record: RunRecord) -> None:
        """Take in the spans of a run that just ended inside this one, under the current span; its usage counts already.

        >>> with Run() as run, span("answer"):
        ...     with Run() as inner, span("read"):
        ...         pass
        ...     run.include(inner.record())
        >>> [(step.name, step.parent) for step in run.record().spans]
        [('answer', -1), ('read', 0)]
        """
        with self._lock:
            began = time.monotonic() - self._started - record.seconds
            place, around = len(self._spans), _current_span.get()
            self._spans += [
                replace(step, start=step.start + began, parent=around if step.parent < 0 else step.parent + place)
                for step in record.spans
            ]

    def reserve(self, *, tokens: int, cost: float | None) -> Reservation:
        """Set aside what one call may take at most, before it is made.

        Raises:
            BudgetExceeded: a budget does not cover it, or its seconds are over; nothing is set aside.
        """
        asked = Usage(prompt_tokens=tokens, calls=1, cost=cost)
        with self._lock:
            chain = list(self._chain())
            for run in chain:
                run._check(asked)
            for run in chain:
                run._reserved += asked
        return Reservation(self, asked)

    def add(self, usage: Usage, *, saved: Usage | None = None) -> None:
        """Count what was spent without a reservation, e.g. a hit in the cache, and what that saved."""
        with self._lock:
            for run in self._chain():
                run._spent += usage
                run._saved += saved or Usage()

    def _settle(self, asked: Usage, usage: Usage) -> None:
        with self._lock:
            for run in self._chain():
                run._reserved += Usage(-asked.prompt_tokens, calls=-1, cost=None if asked.cost is None else -asked.cost)
                run._spent += usage

    def _chain(self) -> Iterator[Run]:
        run: Run | None = self
        while run is not None:
            yield run
            run = run._parent

    def _check(self, asked: Usage) -> None:
        budget, total = self.budget, self._spent + self._reserved + asked
        if budget.seconds is not None and self.seconds >= budget.seconds:
            raise BudgetExceeded(f"the run's {budget.seconds:g} seconds are over", "raise the budget and resume")
        if budget.cost is not None and total.cost is None:
            raise BudgetExceeded(
                "a budget in dollars cannot be kept: the model's price is unknown",
                "add the model to the price table, or budget tokens or calls",
            )
        for name, limit, needed in (
            ("tokens", budget.tokens, total.tokens),
            ("calls", budget.calls, total.calls),
            ("dollars", budget.cost, total.cost),
        ):
            if limit is not None and needed is not None and needed > limit * (1 + 1e-9):
                raise BudgetExceeded(
                    f"the run's budget of {limit:g} {name} does not cover the next call: it may come to {needed:g}",
                    "raise the budget and resume",
                )

    def _begin_span(self, name: str) -> int:
        with self._lock:
            self._spans.append(Span(name, time.monotonic() - self._started, 0.0, _current_span.get()))
            return len(self._spans) - 1

    def _end_span(self, place: int, attributes: dict[str, Any]) -> None:
        begun = self._spans[place]
        seconds = time.monotonic() - self._started - begun.start
        self._spans[place] = replace(begun, seconds=seconds, attributes=attributes)


class Reservation:
    """Budget set aside for one call. Settle it with what the call took; unsettled, leaving the block gives it back."""

    def __init__(self, run: Run | None, asked: Usage) -> None:
        self._run = run
        self._asked = asked
        self._open = True

    def settle(self, usage: Usage) -> None:
        """Replace what was set aside by what was spent."""
        if self._run is not None and self._open:
            self._run._settle(self._asked, usage)
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.settle(Usage())


T = TypeVar("T")
R = TypeVar("R")

_current_run: ContextVar[Run | None] = ContextVar("ragloom_run", default=None)
_current_span: ContextVar[int] = ContextVar("ragloom_span", default=-1)


def current_run() -> Run | None:
    """The innermost run around the caller, or None."""
    return _current_run.get()


def reserve(*, tokens: int, cost: float | None) -> Reservation:
    """`Run.reserve` on the current run; outside a run nothing is limited."""
    run = _current_run.get()
    return Reservation(None, Usage()) if run is None else run.reserve(tokens=tokens, cost=cost)


class span:  # noqa: N801 - reads as the statement it is: `with span("retrieve") as attributes:`
    """Trace a step in the current run; yields a dictionary for its attributes. Outside a run it costs next to nothing.

    >>> with Run() as run, span("retrieve", k=5) as attributes:
    ...     attributes["found"] = 3
    >>> run.record().spans[0].attributes
    {'k': 5, 'found': 3}
    """

    __slots__ = ("_attributes", "_name", "_place", "_run", "_token")

    def __init__(self, name: str, **attributes: Any) -> None:
        self._name = name
        self._attributes = attributes

    def __enter__(self) -> dict[str, Any]:
        self._run = _current_run.get()
        if self._run is not None:
            self._place = self._run._begin_span(self._name)
            self._token = _current_span.set(self._place)
        return self._attributes

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._run is not None:
            _current_span.reset(self._token)
            if kind is not None:
                self._attributes["error"] = kind.__name__
            self._run._end_span(self._place, self._attributes)


def map_threads(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Iterator[R]:
    """Results of the function over the items, in the order they finish, from `workers` threads at a time.

    Every call sees the caller's run. Items are taken as threads come free, so they may be endless. Where a call raises,
    the calls under way are finished, no further one begins, and the error is raised here.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    waiting = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="ragloom") as pool:

        def submit(item: T) -> Future[R]:
            return pool.submit(copy_context().run, function, item)

        running = {submit(item) for item in islice(waiting, workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            results = [future.result() for future in done]
            running |= {submit(item) for item in islice(waiting, len(done))}
            yield from results
