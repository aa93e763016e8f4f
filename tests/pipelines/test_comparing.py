"""Plans as users write them, and their runs: shared with batches, resumed, and honest about what the cache paid."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from comparisons import CAPITALS, index_capitals, know, settings_for, write_questions
from scripted_endpoint import ScriptedEndpoint

from ragloom.errors import ConfigError, InputError, RagloomError
from ragloom.pipelines.batch import answer_file
from ragloom.pipelines.comparing import (
    Plan,
    QuestionSet,
    answer_plan,
    estimate_plan,
    named_pipelines,
    plan_of,
    read_variants,
)
from ragloom.pipelines.comparison import compared
from ragloom.pipelines.settings import Settings

# ---- What users write


def test_a_file_has_settings_of_all_and_tables_of_what_differs(tmp_path: Path):
    file = tmp_path / "variants.toml"
    file.write_text(
        'k = 7\nselect = "mmr"\npipeline = "single"\n\n[all parts]\n\n[no-selection]\nselect = false\n\n'
        '[closed]\npipeline = "closed-book"\nselect = false\n\n'
        '[[sets]]\nquestions = "hotpotqa/questions.json"\nworkspace = "w1"\n\n'
        '[[sets]]\nname = "mine"\nquestions = "own.jsonl"\nworkspace = "w2"\n'.replace("[all parts]", '["all parts"]')
    )
    variants, sets = read_variants(file, Settings(k=3, seed=5))
    assert list(variants) == ["all parts", "no-selection", "closed"]
    assert variants["all parts"] == Settings(k=7, seed=5, select="mmr", pipeline="single")
    assert variants["no-selection"] == Settings(k=7, seed=5, pipeline="single")
    assert sets == (
        QuestionSet("hotpotqa", Path("hotpotqa/questions.json"), Path("w1")),
        QuestionSet("mine", Path("own.jsonl"), Path("w2")),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a]\nk = 0\n[b]\n", r"variants.toml, \[a\], k = 0: input should be greater than or equal to 1"),
        ("[a]\nkk = 2\n[b]\n", r"variants.toml, \[a\], kk: there is no such setting"),
        ("kk = 2\n[a]\n[b]\n", r"variants.toml, kk: there is no such setting"),
        ('[a]\nworkspace = "w"\n[b]\n', r"\[a\], workspace: all variants answer from one workspace"),
        ("[a\n", "is not valid TOML"),
        ("[sets]\n", r"sets: must be tables of their own"),
        ('[[sets]]\nquestion = "q"\n', r"\[\[sets\]\] number 1, question: there is no such key"),
        ('[[sets]]\nquestions = "q"\n', r"\[\[sets\]\] number 1, workspace: must be a string, got 'nothing'"),
        ('[[sets]]\nquestions = 3\nworkspace = "w"\n', r"\[\[sets\]\] number 1, questions: must be a string, got 3"),
    ],
)
def test_what_cannot_be_names_the_table_and_the_key(tmp_path: Path, text: str, problem: str):
    file = tmp_path / "variants.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        read_variants(file, Settings())


def test_plans_that_compare_nothing_are_refused(tmp_path: Path):
    two = named_pipelines(["closed-book", "single"], Settings())
    of = QuestionSet("set", tmp_path / "q.jsonl", tmp_path)
    with pytest.raises(ConfigError, match="needs two variants at least, got 1"):
        Plan({"single": Settings()}, (of,))
    with pytest.raises(ConfigError, match="there are no questions to compare by"):
        Plan(two, ())
    with pytest.raises(ConfigError, match="two sets of questions are named 'set'"):
        Plan(two, (of, of))
    with pytest.raises(ConfigError, match="there is no variant 'best'"):
        Plan(two, (of,), baseline="best")
    with pytest.raises(ConfigError, match="'<b>' is no name"):
        Plan({"<b>": Settings(), "single": Settings()}, (of,))
    with pytest.raises(ConfigError, match="--pipelines magic, pipeline = 'magic'"):
        named_pipelines(["single", "magic"], Settings())
    with pytest.raises(ConfigError, match="the pipeline 'single' is named twice"):
        named_pipelines(["single", "single"], Settings())


def test_questions_are_named_in_one_place(tmp_path: Path):
    file = tmp_path / "variants.toml"
    file.write_text('[a]\nk = 1\n[b]\nk = 2\n[[sets]]\nquestions = "q.jsonl"\nworkspace = "w"\n')
    with pytest.raises(ConfigError, match="name them in one place"):
        plan_of(Settings(), [tmp_path / "other.jsonl"], variants=file)


# ---- Runs


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(know) as endpoint:
        yield endpoint


@pytest.fixture
def plan(tmp_path: Path, endpoint: ScriptedEndpoint) -> Plan:
    workspace = tmp_path / "workspace"
    index_capitals(workspace)
    base = settings_for(workspace, endpoint.base_url)
    questions = write_questions(tmp_path / "capitals.jsonl")
    return plan_of(base, [questions], pipelines=["closed-book", "single"])


def test_variants_are_judged_on_the_same_questions(plan: Plan):
    runs = answer_plan(plan, progress=False)
    found = compared(plan, runs=runs)
    assert [(run.variant, run.set, run.failure) for run in runs] == [
        ("closed-book", "capitals", ""),
        ("single", "capitals", ""),
    ]
    assert (found.variants, found.baseline, found.best("em")) == (("closed-book", "single"), "closed-book", "single")
    assert [row.em for row in found.answers("closed-book")] == [1.0, 0.0, 0.0]
    assert [row.em for row in found.answers("single")] == [1.0, 1.0, 1.0]
    assert found.paired("single", "closed-book", "em") == ([1.0, 1.0, 1.0], [1.0, 0.0, 0.0])
    assert [(row.gold_passages, row.recall) for row in found.answers("single")] == [(1, 1.0)] * 3
    assert [row.recall for row in found.answers("closed-book")] == [0.0] * 3
    assert found.pending == {}
    assert [step.name for step in found.answers("single")[0].spans] == ["retrieve", "read", "llm"]
    assert dict(found.answers("single")[0].spans[2].attributes)["cached"] == "no"


def test_runs_are_those_of_batches_and_nothing_is_asked_twice(plan: Plan, endpoint: ScriptedEndpoint):
    of = plan.sets[0]
    batch = answer_file(
        plan.variants["single"].model_copy(update={"workspace": of.workspace}), of.questions, progress=False
    )
    asked = endpoint.count
    runs = answer_plan(plan, progress=False)
    assert runs[1].run_id == batch.run_id
    assert endpoint.count == asked + len(CAPITALS)
    answer_plan(plan, progress=False)
    assert endpoint.count == asked + len(CAPITALS)


def test_a_stopped_comparison_goes_on_and_reports_what_there_is(plan: Plan, endpoint: ScriptedEndpoint):
    stops = iter([False, False, True, True, True, True, True])
    runs = answer_plan(plan, progress=False, stop=lambda: next(stops))
    found = compared(plan, runs=runs)
    assert found.variants == ("closed-book",)
    assert found.pending["single"] == 3
    assert found.pending["closed-book"] > 0
    assert not compared(plan, runs=answer_plan(plan, progress=False)).pending
    assert endpoint.count == 2 * len(CAPITALS)


def test_what_another_variant_paid_for_is_counted_as_if_alone(tmp_path: Path, plan: Plan, endpoint: ScriptedEndpoint):
    """Two variants that make the same prompts: the second costs nothing, and is reported at the first one's price."""
    single = plan.variants["single"]
    both = {"first": single, "second": single.model_copy(update={"walk_from": "bm25"})}
    twice = Plan(both, plan.sets)
    found = compared(twice, runs=answer_plan(twice, progress=False))
    assert endpoint.count == len(CAPITALS)
    for first, second in zip(found.answers("first"), found.answers("second"), strict=True):
        assert (second.spent.calls, second.spent.cache_hits, second.saved.calls) == (0, 1, 1)
        assert second.alone == first.alone == first.spent
        assert second.seconds_alone >= first.spent.seconds
        assert second.saved_known


def test_variants_that_are_the_same_run_are_refused(plan: Plan, endpoint: ScriptedEndpoint):
    single = plan.variants["single"]
    same = Plan({"a": single, "b": single.model_copy(update={"workers": 2})}, plan.sets)
    with pytest.raises(ConfigError, match="the variants 'a' and 'b' are the same"):
        answer_plan(same, progress=False)
    assert endpoint.count == 0


def test_a_variant_whose_settings_no_run_can_have_is_named(plan: Plan, endpoint: ScriptedEndpoint):
    nowhere = plan.variants["single"].model_copy(update={"base_url": None})
    with pytest.raises(ConfigError, match="the variant 'nowhere' cannot be run: there is no local model 'scripted'"):
        answer_plan(Plan({**plan.variants, "nowhere": nowhere}, plan.sets), progress=False)
    assert endpoint.count == 0


def test_a_set_that_no_run_can_be_of_is_told_before_another_one_is_paid_for(
    tmp_path: Path, plan: Plan, endpoint: ScriptedEndpoint
):
    questions, workspace = plan.sets[0].questions, plan.sets[0].workspace
    (tmp_path / "empty.jsonl").write_text("", encoding="utf-8")
    for wrong, told in (
        (QuestionSet("wrong", questions, tmp_path / "mistyped"), "no workspace at .*mistyped, for the questions wrong"),
        (QuestionSet("wrong", tmp_path / "missing.jsonl", workspace), r"missing\.jsonl"),
        (QuestionSet("wrong", tmp_path / "empty.jsonl", workspace), r"empty\.jsonl: holds no records"),
    ):
        with pytest.raises(RagloomError, match=told):
            answer_plan(Plan(plan.variants, (*plan.sets, wrong)), progress=False)
    assert endpoint.count == 0
    assert not (tmp_path / "mistyped").exists()


def test_a_variant_that_fails_leaves_the_others_be(tmp_path: Path, plan: Plan):
    broken = plan.variants["single"].model_copy(update={"prompt": tmp_path / "missing.txt"})
    dead = plan.variants["single"].model_copy(update={"base_url": "http://127.0.0.1:9/v1", "deadline_s": 0.5})
    some = Plan({"broken": broken, "dead": dead, **plan.variants}, plan.sets)
    found = compared(some, runs=answer_plan(some, progress=False))
    assert found.variants == ("closed-book", "single")
    assert found.baseline == "closed-book"
    assert {name for name, _ in found.failures} == {"broken", "dead"}
    assert "missing.txt" in dict(found.failures)["broken"]
    assert found.pending == {"broken": 3, "dead": 3}
    with pytest.raises(ConfigError, match="the baseline 'dead' has no answers"):
        compared(Plan(some.variants, some.sets, baseline="dead"))


def test_nothing_to_report_says_so(plan: Plan):
    with pytest.raises(InputError, match="there are no answers to compare"):
        compared(plan)


def test_a_limit_takes_the_first_questions_and_makes_runs_of_their_own(plan: Plan):
    few = Plan(plan.variants, plan.sets, limit=2)
    found = compared(few, runs=answer_plan(few, progress=False))
    assert [key[1] for key in found.questions] == list(CAPITALS)[:2]
    assert not {*found.run_ids.values()} & {run.run_id for run in answer_plan(plan, progress=False)}


def test_sets_with_workspaces_of_their_own_are_pooled_and_told_apart(tmp_path: Path, plan: Plan):
    index_capitals(tmp_path / "other")
    other = QuestionSet("other", write_questions(tmp_path / "other.jsonl"), tmp_path / "other")
    both = Plan(plan.variants, (*plan.sets, other))
    found = compared(both, runs=answer_plan(both, progress=False))
    assert len(found.questions) == 6
    assert len(found.of_set("other").answers("single")) == 3
    assert {row.set for row in found.answers("single")} == {"capitals", "other"}


def test_an_estimate_answers_a_sample_of_each_run(plan: Plan):
    found = estimate_plan(plan, sample=1, progress=False)
    assert [(variant, of, each.sample, each.remaining) for variant, of, each in found] == [
        ("closed-book", "capitals", 1, 2),
        ("single", "capitals", 1, 2),
    ]
    assert found[0][2].calls.expected == 2
    answer_plan(plan, progress=False)
    assert estimate_plan(plan, sample=1, progress=False) == []
