"""Search for better settings under a limit, and believe the winner only where questions it never saw agree.

The questions are split. On one half settings are tried, and the best of many looks better there than it is, because
luck is selected too. The other half is asked twice only, of the base and of the winner; if the winner is not surely
better there, the base stays.

Nothing is kept but the runs themselves: a tuning is gone on with by repeating it, its finished runs being found in the
workspace. The same space, questions and seed try the same settings in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

from ragloom.components.datasets import Question
from ragloom.errors import BudgetExceeded, ConfigError, InputError, RequestRefused
from ragloom.pipelines.comparison_statistics import SignTest, sign_test
from ragloom.pipelines.evaluation import Interval, paired_bootstrap
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.tuning_runs import Halted, Objective, Runs, alone
from ragloom.pipelines.tuning_search import open_search
from ragloom.pipelines.tuning_space import Space, Value
from ragloom.run import Budget
from ragloom.store import Store
from ragloom.types import Usage, content_id

FEWEST = 6  # questions a half: of fewer, not even all being better is sure by the sign test
_SLICES = (4, 2, 1)  # a trial is looked at after a quarter and a half of the questions
_SLICE = 10  # questions; of fewer it is not looked at
_REPEATED = 50  # suggestions in a row that were tried already, then the search is at its end
_REFUSED = 3  # trials in a row that the model refuses: then it is the model, and not a prompt that is too long
_MARGIN = 1.25  # of what is kept for the held-out half, whose questions may be harder
_SEED = 0  # of the bootstrap: the same answers give the same intervals
_LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """What is tuned, for what, and how far.

    Attributes:
        space: the base and what may be changed; the budget of its base is the limit of the whole tuning.
        questions: those that cannot be judged are left out.
        objective: what is wanted.
        trials: settings to try besides the base.
        seed: of the split and of the search.
    """

    space: Space
    questions: Sequence[Question]
    objective: Objective
    trials: int = 30
    seed: int = 0

    @property
    def limit(self) -> Budget:
        """What it may take, all runs together."""
        return self.space.base.budget

    def halves(self) -> tuple[list[Question], list[Question]]:
        """The questions tuned on and those held out, in random order.

        A question's side is decided by a hash of its words and the seed alone: it stays there when others are added,
        and copies of it stand on the same side.

        Raises:
            InputError: a half has fewer than 6 questions.
        """
        judged = [question for question in self.questions if self.objective.judges(question)]
        keyed = sorted((_place(question, self.seed), question.id, question) for question in judged)
        tuned = [question for place, _, question in keyed if int(place, 16) % 2 == 0]
        held = [question for place, _, question in keyed if int(place, 16) % 2]
        if min(len(tuned), len(held)) < FEWEST:
            raise InputError(
                f"{len(judged)} of {len(self.questions)} questions can be judged by {self.objective.metric}, which "
                f"gives {len(tuned)} to tune on and {len(held)} held out",
                f"give enough for {FEWEST} in each half; a hundred and more show smaller differences",
            )
        return tuned, held


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one is better than another on the same questions.

    Attributes:
        gain: mean difference with its paired bootstrap interval.
        test: the sign test of the same questions.
    """

    gain: Interval
    test: SignTest

    @property
    def sure(self) -> bool:
        """Both agree that it is better: the interval lies above 0, and the sign test is below 5 %."""
        return self.gain.low > 0 and self.test.better > self.test.worse and self.test.p < _LEVEL


def judge(a: Sequence[float], b: Sequence[float]) -> Verdict:
    """How a compares with b, question by question."""
    return Verdict(paired_bootstrap(a, b, seed=_SEED), sign_test(a, b))


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that were tried.

    Attributes:
        number: 0 for the base.
        values: what differs from the base, or may.
        settings: all of them.
        run_id: name of the run in the workspace; empty where there is none.
        status: `stopped` where it was surely worse than the best after a part of the questions; `failed` where the
            settings cannot work; `unfinished` where the limit or the user came between.
        scores: value of each question, in the order they are asked.
        usage: what they took, as if nothing had been cached.
        reason: why it has no scores.
    """

    number: int
    values: Mapping[str, Value]
    settings: Settings
    run_id: str = ""
    status: Literal["done", "stopped", "failed", "unfinished"] = "unfinished"
    scores: tuple[float, ...] = ()
    usage: Usage = field(default_factory=Usage)
    reason: str = ""

    @property
    def score(self) -> float:
        """Mean over the questions that were asked; 0 without any."""
        return sum(self.scores) / len(self.scores) if self.scores else 0.0


@dataclass(frozen=True, slots=True)
class Guard:
    """The winner and the base on the held-out half.

    Attributes:
        base, best: value of each question.
        run_ids: of the base's run and the winner's.
        verdict: whether the winner is better.
    """

    base: tuple[float, ...]
    best: tuple[float, ...]
    run_ids: tuple[str, str]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came out of a tuning.

    Attributes:
        plan: what was tuned.
        tuned_on, held_out: numbers of questions.
        trials: the base first, the others in the order they were tried.
        guard: None where the base is the best of all, or the held-out half is not answered yet.
        spent: what all runs took, earlier calls included.
        ended: why the search ended before its trials; empty if it did not.
        pending: what is missing for a verdict; empty if nothing.
    """

    plan: TuningPlan
    tuned_on: int
    held_out: int
    trials: tuple[Trial, ...]
    guard: Guard | None
    spent: Usage
    ended: str = ""
    pending: str = ""

    @property
    def base(self) -> Trial:
        """What is to be beaten."""
        return self.trials[0]

    @property
    def best(self) -> Trial:
        """The finished trial with the highest score; of equal ones the one with fewer tokens, then the first."""
        return _best(self.trials)

    @property
    def recommended(self) -> Trial:
        """The winner where the held-out half agrees, else the base."""
        return self.best if self.guard is not None and self.guard.verdict.sure else self.base

    @property
    def optimism(self) -> float | None:
        """How much more the winner gained on the half it won on than on the other; None without a guard."""
        return None if self.guard is None else self.best.score - self.base.score - self.guard.verdict.gain.value


def tune(
    plan: TuningPlan,
    store: Store,
    *,
    retry_failed: bool = False,
    progress: bool = True,
    announce: Callable[[str], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Tuned:
    """Try settings on one half of the questions, and compare the best with the base on the other.

    Args:
        plan: what to tune.
        store: the workspace, opened for writing.
        retry_failed: try failed questions again.
        progress: show a bar for each run.
        announce: called with a line before each trial that is not finished yet.
        stop: see `answer_batch`.

    Raises:
        InputError: there are too few questions.
        BudgetExceeded: the limit does not cover even the base.
        RagloomError: the base cannot work, or the model cannot be asked.
    """
    tuned, held = plan.halves()
    course = _Course(plan, Runs(store, plan.objective, plan.limit, retry_failed, progress, stop), tuned, announce)
    try:
        course.search(kept_for=len(held))
    except Halted as halt:
        if not course.trials or course.trials[0].status != "done":
            if halt.out_of_budget:
                raise BudgetExceeded(f"the base is not answered: {halt}", "raise the limit") from halt
            return course.result(len(held), None, ended=str(halt), pending=str(halt))
        course.ended = str(halt)
        if not halt.out_of_budget:
            return course.result(len(held), None, ended=course.ended, pending=course.ended)
    if course.ended and all(trial.status == "unfinished" for trial in course.trials[1:]):
        return course.result(len(held), None, ended=course.ended, pending=course.ended)
    try:
        return course.result(len(held), course.guard(held), ended=course.ended)
    except Halted as halt:
        return course.result(len(held), None, ended=course.ended, pending=str(halt))


@dataclass
class _Course:
    """One call of `tune`: what was tried so far."""

    plan: TuningPlan
    runs: Runs
    tuned: Sequence[Question]
    announce: Callable[[str], None]
    trials: list[Trial] = field(default_factory=list)
    ended: str = ""
    refused: int = 0  # trials in a row

    def search(self, *, kept_for: int) -> None:
        """Try the base, then what the search suggests.

        Args:
            kept_for: how many questions must be paid for when it has ended.
        """
        self._try({}, kept_for=0)
        known = {self.trials[0].run_id: self.trials[0]}
        search = open_search(self.plan.space, trials=self.plan.trials, seed=self.plan.seed)
        repeated = 0
        while len(self.trials) <= self.plan.trials and repeated < _REPEATED:
            if (values := search.ask()) is None:
                return
            run_id = self._run_of(values)
            if repeats := known.get(run_id):
                repeated += 1
                trial = repeats
            else:
                repeated = 0
                trial = self._try(values, kept_for=kept_for)
                known[run_id] = trial
            search.tell(self._seen(trial), finished=trial.status == "done")

    def guard(self, held: Sequence[Question]) -> Guard | None:
        """Compare the best with the base on the questions held out; None where it is the base."""
        best = _best(self.trials)
        if best is self.trials[0]:
            return None
        ids = [question.id for question in held]
        scores, run_ids = [], []
        for trial, name in ((self.trials[0], "the base"), (best, "the best")):
            run_id = self.runs.begin(trial.settings, held)
            self.announce(f"{name} on the {len(held)} questions held out")
            self.runs.answer(run_id, trial.settings, ids)
            scores.append(tuple(map(self.plan.objective.value, self.runs.items(run_id, ids))))
            run_ids.append(run_id)
        return Guard(scores[0], scores[1], (run_ids[0], run_ids[1]), judge(scores[1], scores[0]))

    def result(self, held: int, guard: Guard | None, *, ended: str = "", pending: str = "") -> Tuned:
        return Tuned(self.plan, len(self.tuned), held, tuple(self.trials), guard, self.runs.spent, ended, pending)

    def _run_of(self, values: Mapping[str, Value]) -> str:
        """The run of those settings; where they cannot work, what stands for them."""
        try:
            return self.runs.begin(self.plan.space.settings(values), self.tuned)
        except (ConfigError, InputError):
            return repr(sorted(values.items()))

    def _try(self, values: Mapping[str, Value], *, kept_for: int) -> Trial:
        """Answer slice by slice, until all are answered or it is surely worse than the best."""
        number = len(self.trials)
        trial = Trial(number, values, self.plan.space.base)
        try:
            trial = replace(trial, settings=self.plan.space.settings(values) if values else self.plan.space.base)
            trial = replace(trial, run_id=self.runs.begin(trial.settings, self.tuned))
            self.trials.append(trial)
            self._work(trial, kept_for)
            self.refused = 0
        except (ConfigError, InputError, RequestRefused) as error:
            self.refused += isinstance(error, RequestRefused)
            if number == 0 or self.refused == _REFUSED:
                raise
            self.trials[number:] = [replace(trial, status="failed", reason=str(error))]
        return self.trials[number]

    def _work(self, trial: Trial, kept_for: int) -> None:
        ids = [question.id for question in self.tuned]
        best = _best(self.trials) if trial.number else None
        shown = ", ".join(f"{name} = {value}" for name, value in trial.values.items()) or "the base"
        announced = False
        for size in _sizes(len(ids)):
            if not announced and self.runs.pending(trial.run_id, ids[:size]):
                self.announce(f"trial {trial.number} of at most {self.plan.trials}: {shown}")
                announced = True
            self.runs.answer(trial.run_id, trial.settings, ids[:size], kept=self._kept(kept_for) if kept_for else None)
            items = self.runs.items(trial.run_id, ids[:size])
            scores = tuple(map(self.plan.objective.value, items))
            worse = best is not None and size < len(ids) and judge(best.scores[:size], scores).sure
            status: Literal["done", "stopped", "unfinished"] = "unfinished"
            if worse or size == len(ids):
                status = "stopped" if worse else "done"
            usage = sum(map(alone, items), Usage())
            self.trials[trial.number] = replace(trial, status=status, scores=scores, usage=usage)
            if worse:
                return

    def _kept(self, questions: int) -> Usage:
        """What so many questions may take under the base, and under the dearest settings so far."""
        shares = [
            _scaled(trial.usage, questions / len(trial.scores) * _MARGIN) for trial in self.trials if trial.scores
        ]
        if not shares:
            return Usage()
        dearest = Usage(
            max(share.tokens for share in shares),
            calls=max(share.calls for share in shares),
            cost=max(share.cost or 0.0 for share in shares),
        )
        return shares[0] + dearest

    def _seen(self, trial: Trial) -> list[tuple[int, float]]:
        """Mean scores by number of questions, as far as it came."""
        sizes = [size for size in _sizes(len(self.tuned)) if size <= len(trial.scores)]
        return [(size, sum(trial.scores[:size]) / size) for size in sizes]


def _sizes(questions: int) -> list[int]:
    """After how many questions a trial is looked at."""
    return [questions // part for part in _SLICES if part == 1 or questions // part >= _SLICE]


def _scaled(usage: Usage, factor: float) -> Usage:
    return Usage(ceil(usage.tokens * factor), calls=ceil(usage.calls * factor), cost=(usage.cost or 0.0) * factor)


def _best(trials: Sequence[Trial]) -> Trial:
    done = [trial for trial in trials if trial.status == "done"]
    return max(done, key=lambda trial: (trial.score, -trial.usage.tokens, -trial.number))


def _place(question: Question, seed: int) -> str:
    return content_id(str(seed), " ".join(question.text.casefold().split()))
