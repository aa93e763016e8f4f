"""Collect knowledge in a note, and retrieve for as long as it grows (Adaptive-Note, DeepNote; arXiv:2410.08821).

A question often needs facts that it does not name. So a note is taken of what the first retrieval finds, what it lacks
is searched for, and the note grows by what is found, until nothing is missing or nothing more comes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from math import fsum
from typing import Any, Literal

from ragloom.components.collected import Notes, Step, Stop, Verdict
from ragloom.components.note_claims import Claim, Draft, Note, NoteTaker
from ragloom.components.reading import check_question
from ragloom.components.tokenizing import Tokenizer
from ragloom.errors import BudgetExceeded
from ragloom.run import Budget, Run, current_run, span
from ragloom.types import Chunk, Embedder, Hit, Retriever, Usage

FailMode = Literal["consecutive", "cumulative"]

_FAILURES = {"not better", "nothing added", "nothing new"}
_SAME_QUERY = 0.95  # least cosine of two queries that are taken for one
_RANK_CONSTANT = 60  # of reciprocal rank fusion
_STABLE = 3  # equal answers in a row: unchanged for two steps
_tokens = Tokenizer()


class _OwnRun(Run):
    """A run that remembers whether its own budget was what did not suffice, rather than that of a run around it."""

    exceeded = False

    def _check(self, asked: Usage) -> None:
        self.exceeded = False
        try:
            super()._check(asked)
        except BudgetExceeded:
            self.exceeded = True
            raise

    @property
    def over(self) -> bool:
        """Its own seconds are over."""
        return self.budget.seconds is not None and self.seconds >= self.budget.seconds


@dataclass(frozen=True)
class NoteCollector:
    """Collects passages and a note for a question: note-enhanced retrieval, section 3 of the paper.

    It retrieves for the question and has a first note taken. Then each step asks what is missing, retrieves once for
    each query that was not asked before, fuses the lists by reciprocal rank, and has the note grow by the passages that
    are new. The grown note takes the place of the old one if a comparison finds it better. It ends (`Notes.stop`) with

    - `complete`: the plan says that nothing is missing,
    - `no_new_queries`: the plan has no query, or none that was not asked,
    - `no_growth`, `no_new_passages`: `failures` steps added nothing; the latter if the last one found nothing new,
    - `answer_stable`: the draft answer did not change for two steps,
    - `passages_cap`, `max_steps`: there are `most_passages` passages, or `steps` were made,
    - `nothing_found`: neither the question nor the first queries found a passage,
    - `budget`, `deadline`: the collector's own budget is used up. One around it ends the collection with its error.

    With a taker that asks a model, there is one call for the first note, and in each step one for the plan, one for the
    note and two for the comparison. These are spared: the first note where nothing was found; note and comparison where
    nothing new was found; the comparison where hardly a word is new, or the first claims come to an empty note, or the
    reply could not be used. Each step is a span `step` that says what was done, as in `Step`.

    What differs from the published code: queries are searched for one by one rather than joined, passages that are
    known are not read again, failures count in a row, claims name their passages, and no claim is lost.

    Args:
        taker: writes, plans and compares.
        retriever: finds passages.
        k: passages of each retrieval, and most that a step adds.
        steps: most steps after the first note.
        failures: so many steps that add nothing end the collection. Replies that cannot be used are no failures.
        fail_mode: whether a better note makes up for the failures before it.
        most_passages: most passages in all.
        novelty: least share of the words of the grown note that the old one lacks; with fewer nothing is compared,
            unless a contradiction was found.
        budget: what one collection may spend, all its parts together where it is resumed.
        embedder: finds queries that say the same in other words.
        answer: drafts an answer from a note; empty where it has none.
    """

    taker: NoteTaker
    retriever: Retriever
    _: KW_ONLY
    k: int = 5
    steps: int = 3
    failures: int = 2
    fail_mode: FailMode = "consecutive"
    most_passages: int = 15
    novelty: float = 0.05
    budget: Budget | None = None
    embedder: Embedder | None = None
    answer: Callable[[str, Note], str] | None = None

    def __post_init__(self) -> None:
        for name, least in (("k", 1), ("steps", 0), ("failures", 1), ("most_passages", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.novelty <= 1:
            raise ValueError(f"novelty must be from 0 to 1, got {self.novelty}")
        if self.fail_mode not in ("consecutive", "cumulative"):
            raise ValueError(f"fail_mode must be 'consecutive' or 'cumulative', got {self.fail_mode!r}")

    def __call__(
        self, question: str, /, *, notes: Notes | None = None, on_step: Callable[[Notes], None] | None = None
    ) -> Notes:
        """The note and the passages.

        Args:
            question: to collect for.
            notes: of an earlier part of this collection, which goes on from there.
            on_step: gets the state after each step, to be kept, and resumed with `notes`.

        Raises:
            ValueError: the notes are those of another question.
            InputError: the question is empty or too long.
            BudgetExceeded: of a run around this one.
        """
        check_question(question)
        if notes is not None and notes.question != question:
            raise ValueError(f"the notes are those of another question: {notes.question[:80]!r}")
        outer, state = current_run(), notes or Notes(question)
        run = _OwnRun(self.budget, spent=state.usage)
        try:
            with run:
                return self._collected(state, run, on_step)
        finally:
            if outer is not None:
                outer.include(run.record())

    def _collected(self, state: Notes, run: _OwnRun, on_step: Callable[[Notes], None] | None) -> Notes:
        """The last state, or the last one that the run's own budget allowed."""
        made = len(state.steps)
        try:
            for reached in self._states(state, run):
                state = reached
                if on_step is not None and len(state.steps) > made:
                    on_step(state)
                made = len(state.steps)
        except BudgetExceeded:
            if not (run.exceeded or run.over):
                raise
            return replace(state, stop="deadline" if run.over else "budget", usage=run.spent)
        return state

    def _states(self, state: Notes, run: _OwnRun) -> Iterator[Notes]:
        """The state after each step, and before the first one with the passages that the question found."""
        state = replace(state, stop=self._reason(state) if state.steps else "")
        yield state
        if not state.hits and not state.steps:
            yield (state := replace(state, hits=self._retrieved([state.question], ())))
        while not state.stop:
            with span("step", number=len(state.steps)) as attributes:
                state = self._stepped(state) if state.steps else self._begun(state)
                state = replace(state, stop=self._reason(state))
                attributes.update(_described(state))
            stop = state.stop or ("deadline" if run.over else "")
            yield (state := replace(state, stop=stop, usage=run.spent))

    def _begun(self, state: Notes) -> Notes:
        """Step 0: the first note."""
        step = Step((state.question,), new=_ids(state.hits))
        if state.hits:
            draft = self.taker.begin(state.question, state.hits)
            state = replace(state, note=draft.note)
            step = replace(
                step,
                claims=len(draft.note),
                unsupported=draft.unsupported,
                verdict="unreadable" if draft.failure else "first",
                failure=draft.failure,
            )
        return self._with(state, step)

    def _stepped(self, state: Notes) -> Notes:
        """A step after the first note: what is missing, and what a search for it adds."""
        plan = self.taker.plan(state.question, state.note, state.asked)
        queries = self._unasked(state, plan.queries)
        step = Step(queries, plan.missing, failure=plan.failure)
        if plan.complete and not plan.missing and state.note:
            return self._with(state, replace(step, queries=(), stop="complete"))
        if not queries:
            stop: Stop = "no_new_queries" if state.hits else "nothing_found"
            return self._with(state, replace(step, verdict="unreadable" if plan.failure else "", stop=stop))
        new = self._retrieved(queries, state.hits)
        state = replace(state, asked=state.asked + queries, hits=state.hits + new)
        if not new:
            stop = "" if state.hits else "nothing_found"
            return self._with(state, replace(step, verdict="nothing new", stop=stop))
        return self._grown(state, replace(step, new=_ids(new)), new)

    def _grown(self, state: Notes, step: Step, new: Sequence[Hit]) -> Notes:
        """The state with what new passages add to the note, if that makes it better."""
        draft = self.taker.refine(state.question, state.note, new, len(state.steps))
        verdict, failure = self._verdict(state.question, state.note, draft)
        step = replace(step, unsupported=draft.unsupported, verdict=verdict, failure=step.failure or failure)
        if verdict != "better":
            return self._with(state, step)
        return self._with(replace(state, note=draft.note), replace(step, claims=len(draft.note) - len(state.note)))

    def _verdict(self, question: str, note: Note, draft: Draft) -> tuple[Verdict, str]:
        """What is to be thought of a draft, and what was wrong with a reply."""
        if draft.failure:
            return "unreadable", draft.failure
        if not self._adds(note, draft.note):
            return "nothing added", ""
        better = self.taker.better(question, note, draft.note) if note else True
        if better is None:
            return "unreadable", "the comparison gave no verdict"
        return ("better" if better else "not better"), ""

    def _adds(self, note: Note, grown: Note) -> bool:
        """Whether the grown note has all claims of the old one and, for its length, enough that is new."""
        if len(grown) <= len(note) or not {_fact(claim) for claim in note} <= {_fact(claim) for claim in grown}:
            return False
        if any(claim.conflicts for claim in grown if claim not in note):
            return True
        words, known = _words_of(grown), _words_of(note)
        return bool(words - known) and len(words - known) >= self.novelty * len(words)

    def _with(self, state: Notes, step: Step) -> Notes:
        """The state after the step; a draft answer is made anew where the note was changed."""
        if self.answer is not None:
            changed = bool(step.claims) or not state.steps
            step = replace(step, answer=self.answer(state.question, state.note) if changed else state.steps[-1].answer)
        gaps = state.gaps if step.failure and not step.missing else step.missing
        return replace(state, gaps=gaps, steps=(*state.steps, step))

    def _reason(self, state: Notes) -> Stop:
        """Why the collection ends after its last step; empty where it goes on."""
        last = state.steps[-1]
        if last.stop:
            return last.stop
        if self._failed(state.steps) >= self.failures:
            return "no_new_passages" if last.verdict == "nothing new" else "no_growth"
        answers = [step.answer for step in state.steps[-_STABLE:]]
        if len(answers) == _STABLE and last.answer and len(set(answers)) == 1:
            return "answer_stable"
        if len(state.hits) >= self.most_passages:
            return "passages_cap"
        return "max_steps" if len(state.steps) > self.steps else ""

    def _failed(self, steps: Sequence[Step]) -> int:
        failed = 0
        for step in steps:
            if step.verdict in _FAILURES:
                failed += 1
            elif step.verdict == "better" and self.fail_mode == "consecutive":
                failed = 0
        return failed

    def _unasked(self, state: Notes, queries: Sequence[str]) -> tuple[str, ...]:
        """The queries that say something else than the question, those that were asked, and each other."""
        earlier, kept = [state.question, *state.asked], list[str]()
        for query in queries:
            known = {_normal(text) for text in (*earlier, *kept)} | {""}
            if _normal(query) not in known and not self._means_the_same(query, [*earlier, *kept]):
                kept.append(query)
        return tuple(kept)

    def _means_the_same(self, query: str, earlier: Sequence[str]) -> bool:
        if self.embedder is None:
            return False
        vector, *others = self.embedder([query, *earlier])
        return any(float(vector @ other) >= _SAME_QUERY for other in others)

    def _retrieved(self, queries: Sequence[str], known: Sequence[Hit]) -> tuple[Hit, ...]:
        """The best passages that are not known, from one retrieval for each query; of equal ones the first found."""
        seen = set(_ids(known))
        chunks: dict[str, Chunk] = {}
        parts: dict[str, list[float]] = {}
        for query in queries:
            with span("retrieve", query=query, k=self.k) as attributes:
                hits = self.retriever(query, self.k)
                attributes["found"] = len(hits)
            for rank, chunk_id in enumerate(dict.fromkeys(_ids(hits)), 1):
                parts.setdefault(chunk_id, []).append(1 / (_RANK_CONSTANT + rank))
            chunks = {hit.chunk.id: hit.chunk for hit in hits} | chunks
        fused = sorted(
            (Hit(chunks[id_], fsum(parts[id_])) for id_ in parts if id_ not in seen), key=lambda hit: -hit.score
        )
        return tuple(fused[: min(self.k, self.most_passages - len(seen))])


def _described(state: Notes) -> dict[str, Any]:
    """The last step as attributes of its span, and why it was the last."""
    step = state.steps[-1]
    described: dict[str, Any] = {
        "queries": list(step.queries),
        "missing": list(step.missing),
        "new": list(step.new),
        "claims": step.claims,
        "unsupported": step.unsupported,
        "verdict": step.verdict,
    }
    if step.failure:
        described["failure"] = step.failure
    if state.stop:
        described["stop"] = state.stop
    return described


def _ids(hits: Sequence[Hit]) -> tuple[str, ...]:
    return tuple(hit.chunk.id for hit in hits)


def _fact(claim: Claim) -> Claim:
    return replace(claim, conflicts=())


def _words_of(note: Note) -> set[str]:
    return {word for claim in note for word in _tokens(claim.text)}


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
