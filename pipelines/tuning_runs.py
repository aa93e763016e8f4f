"""The runs of a tuning: each an ordinary run of the workspace, gone on with where it is there, within one limit."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ragloom.components.datasets import Question, gold_chunks
from ragloom.errors import BudgetExceeded, ConfigError, RequestRefused
from ragloom.pipelines.batch import BatchReport, answer_run, spent, work_through
from ragloom.pipelines.context import open_reading
from ragloom.pipelines.evaluation import ANSWER_METRICS
from ragloom.pipelines.run_identity import answering, begin, begin_batch
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import RetrieverName
from ragloom.run import Budget
from ragloom.store import Item, Store
from ragloom.types import Answer, Chunk, Hit, RunRecord, Usage

_RECALL = re.compile(r"recall@([1-9][0-9]{0,3})", re.ASCII)
# What only some pipelines look at; walk_from besides, which walks over the graph do.
_LOOKED_AT_BY = {
    "retriever": {"single", "ircot", "notes", "clues", "summary", "adaptive"},
    "steps": {"ircot", "notes", "adaptive"},
}
_READING = {"order", "context_tokens", "mode", "prompt", "max_tokens", "seed"}  # nothing to one retrieval
_SCORING = {"greedy-marginal", "beam", "local-search", "mcts", "corag"}  # selectors that score combinations


@dataclass(frozen=True, slots=True)
class Objective:
    """What is wanted of settings: the mean of a metric, less the price of what it takes.

    Attributes:
        metric: `em`, `f1` or `contains` of the answers; or `recall@5` and the like, the part of the gold passages among
            the first so many that a reader would be given, for which nothing is read.
        per_1000_tokens: how much of the metric 1,000 tokens are worth, counted as if nothing had been cached.
        per_dollar: the same of a US dollar.

    Raises:
        ConfigError: there is no such metric, or a price is below 0.
    """

    metric: str = "f1"
    per_1000_tokens: float = 0.0
    per_dollar: float = 0.0

    def __post_init__(self) -> None:
        if self.metric not in ANSWER_METRICS and not _RECALL.fullmatch(self.metric):
            raise ConfigError(
                f"there is no objective {self.metric!r}", f"use {', '.join(ANSWER_METRICS)}, or recall@5 and the like"
            )
        for price in (self.per_1000_tokens, self.per_dollar):
            if not (price >= 0 and math.isfinite(price)):
                raise ConfigError(f"a price must be a number from 0, got {price}")

    @property
    def k(self) -> int | None:
        """Of recall, how many passages are looked at; None for metrics of answers."""
        found = _RECALL.fullmatch(self.metric)
        return int(found[1]) if found else None

    def judges(self, question: Question) -> bool:
        """Whether it is known what is right for the question."""
        return bool(question.answers if self.k is None else question.gold)

    def value(self, item: Item) -> float:
        """What came out of a question is worth; without the answer of one that failed, nothing."""
        if item.status != "done" or item.result is None:
            return 0.0
        taken = alone(item)
        if self.per_dollar and taken.cost is None:
            raise ConfigError("the price of the model is unknown", "give a price per 1,000 tokens instead")
        price = self.per_1000_tokens * taken.tokens / 1000 + self.per_dollar * (taken.cost or 0.0)
        if self.k is not None:
            return float(item.result["recall"]) - price
        said = "" if item.result["abstained"] else str(item.result["text"])
        return (ANSWER_METRICS[self.metric](said, item.question["answers"]) if said else 0.0) - price

    def __str__(self) -> str:
        prices = [
            f" - {price:g} per {unit}"
            for price, unit in ((self.per_1000_tokens, "1,000 tokens"), (self.per_dollar, "dollar"))
            if price
        ]
        return self.metric + "".join(prices)


def alone(item: Item) -> Usage:
    """What a question took, as if no other had asked the same before."""
    record = (item.result or {}).get("run", {})
    return Usage(**record.get("usage", {})) + Usage(**record.get("saved", {}))


class Halted(Exception):
    """No more can be asked now: the limit is reached, or the user wants to stop."""

    def __init__(self, reason: str, *, out_of_budget: bool) -> None:
        super().__init__(reason)
        self.out_of_budget = out_of_budget


@dataclass(frozen=True, slots=True)
class _Retrieved:
    recall: float
    run: RunRecord


@dataclass
class Runs:
    """Runs settings over questions in a workspace, and keeps all of them together within a limit.

    Args:
        store: opened for writing.
        objective: what they are judged by.
        limit: of what all runs take, earlier calls of the same runs included; its seconds are those of this object.
        retry_failed: try failed questions again.
        progress: show a bar for each run.
        stop: see `answer_batch`.
    """

    store: Store
    objective: Objective
    limit: Budget
    retry_failed: bool = False
    progress: bool = True
    stop: Callable[[], bool] = lambda: False
    _ledger: dict[str, Usage] = field(default_factory=dict)
    _begun: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> Usage:
        """What all runs so far took, by the ledger of the workspace."""
        return sum(self._ledger.values(), Usage())

    def begin(self, settings: Settings, questions: Sequence[Question]) -> str:
        """The id of the run of these settings, entered where it is not there yet."""
        settings = effective(settings)
        if self.objective.k is None:
            run_id = begin_batch(settings, questions, self.store)
        else:
            config = {
                "measure": self.objective.metric,
                "corpus": self.store.corpus_id(),
                **answering(_looking(settings, self.objective.k)),
            }
            run_id = begin(questions, self.store, kind="retrieval", config=config)
        if run_id not in self._ledger:
            if self.retry_failed:
                self.store.reset_failed(run_id)
            self._ledger[run_id] = spent(self.store, run_id)
        return run_id

    def pending(self, run_id: str, ids: Collection[str]) -> bool:
        """Whether any of those questions of the run is not answered yet."""
        return any(item.question_id in ids for item in self.store.items(run_id, status={"pending"}))

    def answer(self, run_id: str, settings: Settings, ids: Collection[str], *, kept: Usage | None = None) -> None:
        """Answer those questions of the run, as far as they are not.

        Args:
            run_id: from `begin`.
            settings: those it was begun with.
            ids: of the questions.
            kept: part of the limit that is left for others.

        Raises:
            Halted: not all are answered.
            RagloomError: the settings cannot work, or the model cannot be asked.
        """
        if not self.pending(run_id, ids):
            return
        if self.stop():
            raise Halted("stopped on request", out_of_budget=False)
        within = effective(settings).model_copy(update=self._left(run_id, kept or Usage()))
        try:
            report = self._work(run_id, within, ids)
        except BudgetExceeded as error:
            raise _over(str(error), kept) from error
        finally:
            self._ledger[run_id] = spent(self.store, run_id)
        if report.stopped:
            if report.out_of_budget:
                raise _over(report.stopped, kept)
            if self.stop():
                raise Halted(report.stopped, out_of_budget=False)
            raise RequestRefused(report.stopped)

    def items(self, run_id: str, ids: Sequence[str]) -> list[Item]:
        """What came out of those questions, in their order."""
        found = {item.question_id: item for item in self.store.items(run_id)}
        return [found[each] for each in ids]

    def _work(self, run_id: str, settings: Settings, ids: Collection[str]) -> BatchReport:
        if self.objective.k is None:
            return answer_run(run_id, settings, self.store, only=ids, progress=self.progress, stop=self.stop)
        return work_through(
            run_id,
            self._retrieval(_looking(settings, self.objective.k), self.objective.k),
            self.store,
            workers=settings.questions_at_once,
            budget=settings.budget,
            only=ids,
            progress=self.progress,
            stop=self.stop,
        )

    def _retrieval(self, settings: Settings, k: int) -> Callable[[Question], _Retrieved]:
        """Gives the recall of what the reader of the settings would be given first."""
        pipeline = open_reading(_retriever_of(settings), settings, self.store, _hand_back)

        def work(question: Question) -> _Retrieved:
            answer = pipeline(question.text)
            first = {hit.chunk.id for hit in answer.hits[:k]}
            gold = gold_chunks(
                question, (chunk for each in question.gold for chunk in self._titled.get(each.title, ()))
            )
            return _Retrieved(sum(not passage.isdisjoint(first) for passage in gold) / len(gold), answer.run)

        return work

    @cached_property
    def _titled(self) -> Mapping[str, list[Chunk]]:
        found: dict[str, list[Chunk]] = {}
        for chunk in self.store.chunks():
            found.setdefault(chunk.title, []).append(chunk)
        return found

    def _left(self, run_id: str, kept: Usage) -> dict[str, int | float | None]:
        """The limit less what the other runs took, as settings of this one."""
        others = sum((usage for other, usage in self._ledger.items() if other != run_id), kept)
        seconds = time.monotonic() - self._begun

        def rest(limit: float | None, taken: float) -> float | None:
            return None if limit is None else max(0, limit - taken)

        return {
            "max_total_tokens": rest(self.limit.tokens, others.tokens),
            "max_calls": rest(self.limit.calls, others.calls),
            "max_cost": rest(self.limit.cost, others.cost or 0.0),
            "max_seconds": rest(self.limit.seconds, seconds),
        }


def _over(reason: str, kept: Usage | None) -> Halted:
    less = ", less what the questions held out may take" if kept else ""
    return Halted(f"no further call is within the limit{less} ({reason})", out_of_budget=True)


def inert(settings: Settings) -> frozenset[str]:
    """Names of settings that nothing looks at, as the others are."""
    found = {name for name, pipelines in _LOOKED_AT_BY.items() if settings.pipeline not in pipelines}
    if settings.pipeline not in {"graph", "adaptive"} and ("retriever" in found or settings.retriever != "graph"):
        found.add("walk_from")
    if settings.select is None:
        found.add("candidates")
    if settings.select not in _SCORING:
        found |= {"utility", "evaluations"}
    if settings.select not in {None, "top-k"} and settings.pipeline in {"single", "hybrid", "graph", "ircot"}:
        found.add("k")
    return frozenset(found)


def effective(settings: Settings) -> Settings:
    """The settings without those that are not looked at, so that what is equal but for them is the same run."""
    return Settings(**settings.model_dump(exclude_unset=True, exclude=set(inert(settings))))


def _looking(settings: Settings, k: int) -> Settings:
    """The settings as far as the first k passages depend on them.

    Without a selection those are what is retrieved; with one, it decides how many there are.
    """
    if settings.select is not None:
        return settings
    reading = _READING if settings.pipeline in {"single", "hybrid", "graph"} else {"order"}
    return Settings(**{**settings.model_dump(exclude_unset=True, exclude=set(reading)), "k": k})


def _retriever_of(settings: Settings) -> RetrieverName:
    """What the pipeline of the settings retrieves with.

    Raises:
        ConfigError: there is no such thing.
    """
    found: dict[str, RetrieverName] = {
        "single": settings.retriever,
        "hybrid": "fused",
        "graph": "graph",
        "ircot": "ircot",
        "notes": "notes",
        "clues": "clues",
    }
    if settings.pipeline not in found:
        raise ConfigError(
            f"the pipeline {settings.pipeline} has no one retrieval to measure",
            f"tune it for its answers, or use {', '.join(found)}",
        )
    return found[settings.pipeline]


def _hand_back(question: str, hits: Sequence[Hit], /) -> Answer:
    """A reader that reads nothing."""
    return Answer("", tuple(hits))
