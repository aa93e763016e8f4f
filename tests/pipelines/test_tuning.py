"""A tuning keeps its limit, goes on where it was, and believes only what the questions held out confirm."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scripted_endpoint import ScriptedEndpoint
from tunings import LANDS, guesses, index_lands, plan_for, reads, settings_for

from ragloom.components.datasets import Question
from ragloom.errors import BudgetExceeded, ConfigError, InputError, LLMError
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.tuning import Tuned, TuningPlan, judge, tune
from ragloom.pipelines.tuning_runs import Objective
from ragloom.pipelines.tuning_search import TPE, Grid, open_search
from ragloom.pipelines.tuning_space import Choice, Range, Space
from ragloom.store import Store

SCRIPT = Path(__file__).parents[1] / "support" / "tunings.py"


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(reads) as endpoint:
        yield endpoint


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return index_lands(tmp_path / "workspace")


@pytest.fixture
def settings(workspace: Path, endpoint: ScriptedEndpoint) -> Settings:
    return settings_for(workspace, endpoint.base_url)


def tuned(plan: TuningPlan, *, stop: Callable[[], bool] = lambda: False, retry_failed: bool = False) -> Tuned:
    with Store.open(plan.space.base.workspace) as store:
        return tune(plan, store, progress=False, stop=stop, retry_failed=retry_failed)


def limited(plan: TuningPlan, **limit: float) -> TuningPlan:
    base = plan.space.base.model_copy(update=limit)
    return replace(plan, space=replace(plan.space, base=base))


def course(found: Tuned) -> list[tuple[object, ...]]:
    """What was tried, in which order, and what came out."""
    return [(dict(each.values), each.run_id, each.status, each.scores) for each in found.trials]


# ---- The guard


def test_settings_that_are_better_are_recommended(settings: Settings, tmp_path: Path):
    base = settings.model_copy(update={"pipeline": "closed-book"})
    found = tuned(plan_for(base, tmp_path, pipeline=["closed-book", "single"]))
    assert found.recommended is found.best
    assert dict(found.best.values) == {"pipeline": "single"}
    assert (found.best.score, found.base.score) == (1.0, pytest.approx(0.25, abs=0.15))
    assert found.guard is not None
    assert found.guard.verdict.gain.low > 0.3
    assert found.guard.best == (1.0,) * found.held_out
    assert found.tuned_on + found.held_out == len(LANDS)


def test_a_lucky_winner_is_refused(settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path):
    endpoint.answer = guesses
    found = tuned(plan_for(settings, tmp_path, trials=6, k=[1, 2, 3, 4, 5, 6]))
    assert found.best.number > 0
    assert found.best.score >= found.base.score + 0.1
    assert found.guard is not None
    assert not found.guard.verdict.sure
    assert found.recommended is found.base
    assert found.optimism is not None
    assert found.optimism > 0.1


def test_a_guard_is_fooled_by_chance_in_fewer_than_one_of_twenty_cases():
    coins = np.random.default_rng(5).integers(0, 2, (60, 2, 40)).astype(float)
    assert sum(judge(a.tolist(), b.tolist()).sure for a, b in coins) <= 3


def test_nothing_better_leaves_the_held_out_questions_unasked(
    settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path
):
    found = tuned(plan_for(settings, tmp_path, pipeline=["single", "closed-book"]))
    assert (found.best, found.recommended, found.guard, found.pending) == (found.base, found.base, None, "")
    assert endpoint.count < 2 * found.tuned_on


def test_copies_of_a_question_stand_on_one_side_whatever_else_is_asked(settings: Settings):
    space = Space(settings, {"k": Choice((1, 2))})
    asked = [Question(f"{land} {copy}", f"Where  is {land}?", ("there",)) for land in LANDS for copy in range(2)]
    tuned_on, held = TuningPlan(space, asked, Objective("em")).halves()
    assert {question.text for question in tuned_on}.isdisjoint(question.text for question in held)
    fewer, _ = TuningPlan(space, asked[:60], Objective("em")).halves()
    assert [question for question in tuned_on if question in fewer] == fewer
    other, _ = TuningPlan(space, asked, Objective("em"), seed=1).halves()
    assert other != tuned_on


def test_a_handful_of_questions_is_refused(settings: Settings):
    plan = TuningPlan(Space(settings, {"k": Choice((1, 2))}), [Question("a", "Why?", ("so",))] * 3, Objective("em"))
    with pytest.raises(InputError, match="3 of 3 questions can be judged by em"):
        plan.halves()
    with pytest.raises(InputError, match="0 of 3 questions can be judged by recall@5"):
        replace(plan, objective=Objective("recall@5")).halves()


# ---- Going on


def test_a_tuning_that_was_stopped_goes_on_as_if_it_had_not_been(
    settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path
):
    plan = plan_for(settings, tmp_path, trials=2, k=(1, 30))
    for after in (0, 7, 25, 50):
        stopped = tuned(plan, stop=lambda after=after: endpoint.count >= after)
        assert stopped.pending == "stopped on request"
        assert stopped.recommended is stopped.base
        assert endpoint.count == after
    resumed = tuned(plan)
    asked = endpoint.count
    (tmp_path / "other").mkdir()
    apart = settings.model_copy(update={"workspace": index_lands(tmp_path / "other" / "workspace")})
    whole = tuned(replace(plan, space=replace(plan.space, base=apart)))
    assert course(resumed) == course(whole)
    assert resumed.spent.calls == whole.spent.calls == asked == endpoint.count - asked


def test_a_tuning_that_was_killed_pays_for_nothing_twice(workspace: Path, tmp_path: Path):
    processes: list[subprocess.Popen[bytes]] = []

    def kill_at_the_thirtieth(number: int) -> str:
        if number == 30:
            processes[0].kill()
        return "ok"

    with ScriptedEndpoint(reads, script=kill_at_the_thirtieth) as endpoint:
        command = [sys.executable, str(SCRIPT), str(workspace), endpoint.base_url]
        processes.append(subprocess.Popen(command))
        assert processes[0].wait(60) == -9
        before = [request.prompt for request in endpoint.requests[:29]]
        found = tuned(plan_for(settings_for(workspace, endpoint.base_url), tmp_path, trials=4, k=(1, 30)))
        later = [request.prompt for request in endpoint.requests[30:]]
    assert found.pending == ""
    assert len(set(later)) == len(later)
    assert set(before).isdisjoint(later)
    assert found.spent.calls in {len(endpoint.requests), len(endpoint.requests) - 1}


def test_a_finished_tuning_is_read_back_without_a_call(settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path):
    plan = plan_for(settings, tmp_path, trials=1, k=(1, 30))
    first = tuned(plan)
    asked = endpoint.count
    assert tuned(plan) == first
    assert endpoint.count == asked


def test_more_trials_go_on_from_those_there_are(settings: Settings, tmp_path: Path):
    plan = plan_for(settings, tmp_path, trials=1, k=(1, 30))
    few = tuned(plan)
    more = tuned(replace(plan, trials=2))
    assert course(more)[:2] == course(few)
    assert len(more.trials) == 3


@pytest.mark.parametrize(("trials", "kind"), [(60, Grid), (59, Grid), (58, TPE)])
def test_a_seed_decides_what_is_tried(settings: Settings, trials: int, kind: type):
    space = Space(settings, {"k": Range(1, 30), "order": Choice((False, "sides"))})

    def asked(seed: int) -> list[object]:
        search = open_search(space, trials=trials, seed=seed)
        assert isinstance(search, kind)
        suggested = []
        for number in range(12):
            suggested.append(search.ask())
            search.tell([(20, number % 5)], finished=bool(number % 3))
        return suggested

    assert asked(0) == asked(0) != asked(1)


# ---- Limits


@pytest.mark.parametrize("calls", [70, 95])
def test_a_limit_on_calls_holds_and_leaves_enough_for_the_guard(
    settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path, calls: int
):
    base = settings.model_copy(update={"pipeline": "closed-book"})
    plan = plan_for(base, tmp_path, trials=20, pipeline=["single"], k=list(range(1, 12)))
    found = tuned(limited(plan, max_calls=calls))
    assert endpoint.count == found.spent.calls <= calls
    assert found.guard is None or found.guard.verdict.sure
    assert (found.guard is not None) == (calls == 95)
    assert "calls does not cover" in found.ended


def test_a_limit_on_tokens_holds_and_a_higher_one_goes_on(settings: Settings, tmp_path: Path):
    plan = plan_for(settings, tmp_path, trials=1, k=(1, 30))
    unlimited = plan.space.base
    found = tuned(limited(plan, max_total_tokens=9_000))
    assert found.spent.tokens <= 9_000
    assert "tokens does not cover" in found.ended
    resumed = tuned(replace(plan, space=replace(plan.space, base=unlimited)))
    assert resumed.ended == ""
    assert [each.status for each in resumed.trials] == ["done", "done"]


def test_a_limit_in_dollars_holds_and_needs_a_price(settings: Settings, tmp_path: Path):
    priced = settings.model_copy(update={"model": "gpt-4o-mini", "max_tokens": 16})
    plan = plan_for(priced, tmp_path, trials=2, k=(1, 30))
    found = tuned(limited(plan, max_cost=0.001))
    assert found.spent.cost is not None
    assert 0.0004 < found.spent.cost <= 0.001
    assert "dollars does not cover" in found.ended
    assert tuned(replace(plan, objective=Objective("em", per_dollar=100.0))).base.score < found.base.score
    with pytest.raises(BudgetExceeded, match="the model's price is unknown"):
        tuned(limited(plan_for(settings, tmp_path, k=[1, 2]), max_cost=0.001))


def test_a_limit_that_does_not_cover_the_base_is_an_error(settings: Settings, tmp_path: Path):
    with pytest.raises(BudgetExceeded, match="the base is not answered"):
        tuned(limited(plan_for(settings, tmp_path, k=[1, 2]), max_calls=5))


# ---- Trials


def test_settings_that_are_surely_worse_are_stopped_early(
    settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path
):
    found = tuned(plan_for(settings, tmp_path, pipeline=["single", "closed-book"]))
    worse = found.trials[1]
    assert worse.status == "stopped"
    assert len(worse.scores) < found.tuned_on
    assert endpoint.count == found.tuned_on + len(worse.scores)


def test_settings_that_differ_in_nothing_that_matters_are_tried_once(
    settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path
):
    found = tuned(plan_for(settings, tmp_path, walk_from=["bm25", "dense", "fused"], steps=[1, 2, 3]))
    assert [each.number for each in found.trials] == [0]
    assert endpoint.count == found.tuned_on


def test_settings_that_cannot_work_fail_and_the_others_go_on(settings: Settings, tmp_path: Path):
    found = tuned(plan_for(settings, tmp_path, pipeline=["single", "closed-book"], order=["sides", False]))
    status = {(each.values.get("pipeline"), each.values.get("order")): each for each in found.trials}
    failed = status["closed-book", "sides"]
    assert failed.status == "failed"
    assert "no passages to select or order" in failed.reason
    assert status["single", "sides"].status == "done"


def test_a_base_that_cannot_work_is_an_error(settings: Settings, tmp_path: Path):
    base = settings.model_copy(update={"pipeline": "closed-book", "order": "sides"})
    with pytest.raises(ConfigError, match="no passages to select or order"):
        tuned(plan_for(base, tmp_path, k=[1, 2]))


def test_a_model_that_fails_ends_it_and_it_goes_on_later(
    settings: Settings, endpoint: ScriptedEndpoint, tmp_path: Path
):
    plan = plan_for(settings, tmp_path, trials=3, k=(1, 30))
    endpoint.script = lambda number: "ok" if number <= 30 else "quota"
    with pytest.raises(LLMError, match="quota"):
        tuned(plan)
    endpoint.script = ()
    found = tuned(plan)
    assert {each.status for each in found.trials} == {"done"}
    assert found.pending == ""


def test_tokens_have_their_price(settings: Settings, tmp_path: Path):
    plan = plan_for(settings, tmp_path, trials=3, k=[1, 30])
    dear = tuned(replace(plan, objective=Objective("em", per_1000_tokens=1.0)))
    assert dear.best is dear.base
    assert dear.trials[1].score < dear.base.score < tuned(plan).base.score
    with pytest.raises(ConfigError, match="the price of the model is unknown"):
        tuned(replace(plan, objective=Objective("em", per_dollar=1.0)))


@pytest.mark.parametrize("metric", ["accuracy", "recall", "recall@0", "recall@", "f1 "])
def test_an_objective_that_is_none_is_refused(metric: str):
    with pytest.raises(ConfigError, match="there is no objective"):
        Objective(metric)
    with pytest.raises(ConfigError, match="a price must be"):
        Objective("f1", per_dollar=float("nan"))


# ---- Retrieval alone


def test_retrieval_is_tuned_without_a_model(workspace: Path, tmp_path: Path):
    base = settings_for(workspace, "http://127.0.0.1:9/v1")  # where nobody answers
    plan = plan_for(base, tmp_path, select=[False, "greedy-fill"], k=[1, 3], order=[False, "sides"])
    found = tuned(replace(plan, objective=Objective("recall@2")))
    assert found.base.score == 1.0
    assert len(found.trials) == 3, "how many passages are read, and in which order, has no say in what is found"
    assert found.spent.calls == 0


def test_pipelines_without_one_retrieval_have_no_recall(settings: Settings, tmp_path: Path):
    plan = plan_for(settings, tmp_path, pipeline=["single", "closed-book"])
    found = tuned(replace(plan, objective=Objective("recall@2")))
    assert found.trials[1].status == "failed"
    assert "closed-book has no one retrieval to measure" in found.trials[1].reason
