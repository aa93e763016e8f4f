"""ragloom's own time: what a pipeline adds to its retriever and its model, and what `import ragloom` takes.

The retriever and the model are scripted and instant; the trace and a budget are on. `python benchmarks/overhead.py`
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Unpack

from ragloom.components.reading import PromptReader
from ragloom.pipelines.question_answering import ClosedBook, RetrieveThenRead
from ragloom.run import Budget, Run, reserve, span
from ragloom.types import Chunk, Hit, Message, Options, Reply, Usage

ROUNDS = 15
HITS = [
    Hit(Chunk(str(rank), f"Passage {rank}. " + "Some words of it. " * 30, f"Title {rank}"), -rank) for rank in range(5)
]


def instant_retriever(query: str, k: int, /) -> list[Hit]:
    return HITS[:k]


def instant_llm(messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
    return Reply("Title 3 [4]", Usage(prompt_tokens=800, completion_tokens=6, calls=1))


def frugal_llm(messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
    """The instant model, with what a real one does for the trace and the budget."""
    with span("llm", model="instant"), reserve(tokens=1000, cost=0.0) as reservation:
        reply = instant_llm(messages)
        reservation.settle(reply.usage)
        return reply


def same(query: str, hits: list[Hit], /) -> list[Hit]:
    return hits


def microseconds(work: Callable[[], object], *, repeats: int) -> float:
    """The median of rounds of the mean time of a call."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        rounds.append((time.perf_counter() - started) / repeats * 1e6)
    return median(rounds)


def one_step() -> None:
    with span("step", k=5) as attributes, reserve(tokens=1000, cost=0.001) as reservation:
        reservation.settle(Usage(prompt_tokens=800, calls=1, cost=0.001))
        attributes["found"] = 5


def steps(number: int) -> float:
    """Microseconds a step, in a run of so many inside a run, both with a budget."""

    def work() -> None:
        with Run(Budget(tokens=10**12, calls=10**9, cost=1e9, seconds=1e6)):
            for _ in range(number):
                one_step()

    return microseconds(work, repeats=20) / number


def import_seconds(module: str) -> float:
    """The least of some fresh interpreters' times, less that of an empty one."""

    def fresh(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - started

    return min(fresh(f"import {module}") for _ in range(5)) - min(fresh("pass") for _ in range(5))


def main() -> None:
    question = "Which of the passages has the answer?"
    closed = ClosedBook(PromptReader(frugal_llm))
    single = RetrieveThenRead(instant_retriever, PromptReader(frugal_llm))
    refined = RetrieveThenRead(instant_retriever, PromptReader(frugal_llm), refiners=(same,) * 10)
    with Run(Budget(tokens=10**12, calls=10**9, cost=1e9, seconds=1e6)):
        rows = [
            ("a step: span, reserve, settle (limit 50)", steps(20)),
            ("a question, closed book (limit 1000)", microseconds(lambda: closed(question), repeats=200)),
            ("a question, retrieve then read (limit 1000)", microseconds(lambda: single(question), repeats=200)),
        ]
        ten = microseconds(lambda: refined(question), repeats=200)
        rows.append(("a refining step of a pipeline (limit 50)", (ten - rows[-1][1]) / 10))
    for name, value in rows:
        print(f"{name:48} {value:8.1f} us")
    for module in ("ragloom", "ragloom.pipelines.question_answering"):
        print(f"{'import ' + module:48} {import_seconds(module) * 1e3:8.1f} ms")


if __name__ == "__main__":
    main()
