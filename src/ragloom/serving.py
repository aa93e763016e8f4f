"""Pipelines at the service of many askers: opened once, a bounded number of questions at a time, each with a budget.

What the endpoint and the MCP server share; neither HTTP nor MCP is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Self, get_args

from ragloom.errors import BudgetExceeded, ConfigError, InputError, RagloomError
from ragloom.run import Budget, Run
from ragloom.store import Store
from ragloom.types import Answer, Citation, Hit, Pipeline

if TYPE_CHECKING:
    from ragloom.graph.explaining import Explanation
    from ragloom.pipelines.settings import Settings

OnText = Callable[[str], None]

_LEAVING_S = 5.0  # for answers that were given up to end, before they are left behind
_AROUND = 60  # characters of a document quoted on both sides of what is cited


class Overloaded(RagloomError):
    """As many questions wait for an answer as may."""

    exit_code = 75
    retryable = True


class Stopped(RagloomError):
    """Nobody waits for the answer any more, or not for that long."""


@dataclass(frozen=True, slots=True)
class Source:
    """A citation as a reader needs it.

    Attributes:
        number: of the passage in the prompt.
        title: of the document; may be empty.
        source: where the document came from.
        start, end: character offsets in the document's text.
        quote: what stands there and around it, on one line.
        by: whether the model cited it, or it was matched by the answer's words.
    """

    number: int
    title: str
    source: str
    start: int
    end: int
    quote: str
    by: str

    def __str__(self) -> str:
        place = f"{self.source}, characters {self.start}-{self.end}"
        return f"[{self.number}] {f'{self.title} ({place})' if self.title else place}"


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and the sources of its citations, in their order."""

    answer: Answer
    sources: tuple[Source, ...]


class Work:
    """A question that waits for its turn or is being answered.

    Attributes:
        done: what comes out, or its error.
    """

    def __init__(self, budget: Budget, on_text: OnText | None) -> None:
        self.done: Future[Answered] = Future()
        self._run = Run(budget)
        self._on_text = on_text
        self._stopped = False

    def stop(self) -> None:
        """Give up: what waits never begins, and what is under way ends at the next word or call of the model."""
        self._stopped = True
        self._run.budget = replace(self._run.budget, seconds=0.0)
        self.done.cancel()

    def answer(self, pipeline: Pipeline, question: str, store: Store) -> Answered:
        """Answer the question in this thread."""
        token = _work.set(self)
        try:
            with self._run:
                answer = pipeline(question)
            return Answered(answer, tuple(source_of(citation, answer.hits, store) for citation in answer.citations))
        except BudgetExceeded as error:
            if self._stopped:
                raise Stopped("the question was given up") from error
            raise
        finally:
            _work.reset(token)

    def hear(self, piece: str) -> None:
        """Take in a piece of the answer."""
        if self._stopped:
            raise Stopped("the question was given up")
        if self._on_text is not None:
            self._on_text(piece)


_work: ContextVar[Work | None] = ContextVar("ragloom_work", default=None)


def _hear(piece: str) -> None:
    """What every pipeline is opened with: pieces go to whoever asked the question of this thread."""
    work = _work.get()
    if work is not None:
        work.hear(piece)


class Service:
    """Answers questions with opened pipelines, in threads; questions beyond those wait in a queue. A context manager.

    Args:
        store: the workspace that citations are looked up in.
        pipelines: by name. Use `open_pipelines`, so that what they write can be heard.
        budget: of each question.
        workers: questions answered at a time.
        queue: questions that may wait.
    """

    def __init__(
        self, store: Store, pipelines: Mapping[str, Pipeline], *, budget: Budget, workers: int, queue: int = 64
    ) -> None:
        self.store = store
        self.pipelines = pipelines
        self._budget = budget
        self._most = workers + queue
        self._lock = Lock()
        self._under_way: set[Work] = set()
        self._waiting: SimpleQueue[tuple[Future[Answered], Callable[[], Answered]] | None] = SimpleQueue()
        # Threads that do not keep the process from ending: one may wait for a model that hangs.
        self._threads = [Thread(target=self._serve, name=f"ragloom-serving-{n}", daemon=True) for n in range(workers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            left = list(self._under_way)
        for work in left:
            work.stop()
        for _thread in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(_LEAVING_S / len(self._threads))

    @property
    def under_way(self) -> int:
        """Questions that wait or are being answered."""
        return len(self._under_way)

    def begin(self, name: str, question: str, *, on_text: OnText | None = None) -> Work:
        """Have a question answered by the pipeline of that name.

        Args:
            name: of the pipeline.
            question: as asked.
            on_text: called in another thread with each piece of the reply as the model writes it, citation marks
                included, by pipelines that ask for one answer only.

        Raises:
            InputError: there is no such pipeline.
            Overloaded: the queue is full.
        """
        pipeline = self.pipeline(name)
        work = Work(self._budget, on_text)
        with self._lock:
            if len(self._under_way) >= self._most:
                raise Overloaded(f"{self._most} questions are under way already", "try again later")
            self._under_way.add(work)
        work.done.add_done_callback(lambda _: self._forget(work))
        self._waiting.put((work.done, partial(work.answer, pipeline, question, self.store)))
        return work

    def pipeline(self, name: str) -> Pipeline:
        """The pipeline of that name.

        Raises:
            InputError: there is none.
        """
        if name not in self.pipelines:
            raise InputError(f"there is no pipeline {name[:80]!r}", f"there are {', '.join(self.pipelines)}")
        return self.pipelines[name]

    def retrieving(self, name: str) -> str:
        """The name of a pipeline that `retrieve` takes: that one, else the first; empty if there is none."""
        from ragloom.pipelines.question_answering import RetrieveThenRead

        taken = [each for each in self.pipelines if isinstance(self.pipelines[each], RetrieveThenRead)]
        return name if name in taken else next(iter(taken), "")

    def retrieve(self, name: str, query: str, k: int) -> list[Hit]:
        """What the pipeline of that name retrieves for a query, best first, before anything is selected or reordered.

        Raises:
            InputError: there is no such pipeline, or it does not answer from passages that it retrieves once.
        """
        from ragloom.components.reading import check_question
        from ragloom.pipelines.question_answering import RetrieveThenRead

        check_question(query)
        pipeline = self.pipeline(name)
        if not isinstance(pipeline, RetrieveThenRead):
            raise InputError(f"the pipeline {name} does not retrieve once and then read", "use single, hybrid or graph")
        with Run(self._budget):
            return pipeline.retriever(query, k)

    def explain(self, question: str, k: int) -> Explanation:
        """Why the graph pipeline finds what it finds.

        Raises:
            InputError: there is no graph pipeline here.
        """
        from ragloom.components.reading import check_question
        from ragloom.graph.explaining import explain
        from ragloom.graph.index import GraphIndex
        from ragloom.pipelines.question_answering import RetrieveThenRead

        check_question(question)
        graph = self.pipeline("graph")
        assert isinstance(graph, RetrieveThenRead)  # noqa: S101 - for mypy
        index = graph.retriever
        assert isinstance(index, GraphIndex)  # noqa: S101 - for mypy
        return explain(index.walk(question, k), index.graph, index.chunks)

    def _serve(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            done, answer = waiting
            if not done.set_running_or_notify_cancel():
                continue
            try:
                done.set_result(answer())
            except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
                done.set_exception(error)

    def _forget(self, work: Work) -> None:
        with self._lock:
            self._under_way.discard(work)


class BuiltStore(Store):
    """A workspace whose indexes are used as far as they were built: none is made."""

    def derived(self, name: str, parameters: Mapping[str, Any], build: Callable[[Path], None], **further: Any) -> Path:
        """The folder of derived files, as `Store.derived`.

        Raises:
            InputError: they are missing or stale.
        """

        def refuse(*_: Path) -> None:
            raise InputError(
                f"its {name} index is not built, or not of the present documents",
                "name the pipeline with --offer, and it is built now",
            )

        return super().derived(name, parameters, refuse, made_from=further.get("made_from", ""))


def pipeline_names() -> tuple[str, ...]:
    """The names of all pipelines there are."""
    from ragloom.pipelines.settings import Settings

    names: tuple[str, ...] = get_args(Settings.model_fields["pipeline"].annotation)
    return names


def open_pipelines(
    settings: Settings, store: Store, names: Sequence[str] = ()
) -> tuple[dict[str, Pipeline], dict[str, str]]:
    """Pipelines by name, to be served.

    Args:
        settings: what they are made of, whichever of them they name.
        store: the workspace.
        names: those that must open; without any, all that open.

    Returns:
        The pipelines, and the reasons of those that did not open.

    Raises:
        ConfigError: there is no such pipeline, or none opens.
        RagloomError: one that must open does not.
    """
    from ragloom.pipelines.opening import open_pipeline, sent_on

    if unknown := set(names).difference(pipeline_names()):
        raise ConfigError(f"there is no pipeline {min(unknown)!r}", f"there are {', '.join(pipeline_names())}")
    opened: dict[str, Pipeline] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys(names or pipeline_names()):
        try:
            chosen = settings.model_copy(update={"pipeline": name})
            opened[name] = sent_on(open_pipeline(chosen, store, on_text=_hear))
        except RagloomError as error:
            if names:
                raise
            left_out[name] = error.problem
    if not opened:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ConfigError(f"no pipeline can be served ({reasons})", "name one with --offer")
    return opened, left_out


def source_of(citation: Citation, hits: Sequence[Hit], store: Store) -> Source:
    """Where a citation of an answer leads."""
    chunk = next(hit.chunk for hit in hits if hit.chunk.id == citation.chunk_id)
    document = store.document(citation.document_id)
    begin, end = max(citation.start - _AROUND, chunk.start), citation.end + _AROUND
    quote = " ".join(document.text[begin:end].split())
    return Source(
        citation.number, document.title, document.source, citation.start, citation.end, quote[:400], citation.by
    )
