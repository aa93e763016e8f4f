"""`ragloom gate` as its users meet it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint, answers_from

from ragloom.components.gate_file import SavedGate
from ragloom.components.gate_rules import Threshold
from ragloom.pipelines.outcomes import read_outcomes

Ragloom = Callable[..., tuple[int, str, str]]
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Malta": "Valletta"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEndpoint]:
    """A model that reads what stands in passages, and knows nothing else."""
    read = {f"{city} is the capital": city for city in CAPITALS.values()}
    with ScriptedEndpoint(answers_from(read)) as endpoint:
        for name, value in {"MODEL": "scripted", "BASE_URL": endpoint.base_url, "K": "1"}.items():
            monkeypatch.setenv(f"RAGLOOM_{name}", value)
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        yield endpoint


@pytest.fixture
def indexed(ragloom: Ragloom, endpoint: ScriptedEndpoint) -> Ragloom:
    notes = [{"title": land, "text": f"{city} is the capital of {land}."} for land, city in CAPITALS.items()]
    write_lines("notes.jsonl", notes)
    assert ragloom("index", "notes.jsonl", "--no-dense")[0] == 0
    labelled = [
        {"id": land, "question": f"What is the capital of {land}?", "answers": [city]}
        for land, city in CAPITALS.items()
    ]
    write_lines("labelled.jsonl", labelled)
    return ragloom


def write_lines(name: str, lines: list[dict[str, object]]) -> None:
    Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_outcomes_are_collected_and_written(indexed: Ragloom, endpoint: ScriptedEndpoint):
    code, out, _ = indexed(
        "gate", "collect", "labelled.jsonl", "--signals", "question,draft", "--out", "outcomes.jsonl"
    )
    assert code == 0
    assert "4 outcomes (4 now), 0 failed, 0 pending; 8 calls, " in out
    assert out.endswith("outcomes: outcomes.jsonl\n")
    rows = read_outcomes(Path("outcomes.jsonl"))
    assert [row.question_id for row in rows] == list(CAPITALS)
    assert [row.answers["single"] for row in rows] == list(CAPITALS.values())
    assert {"draft_margin", "question_words"} <= rows[0].features.keys()
    assert {mode: usage.calls for mode, usage in rows[0].usage.items()} == {"none": 1, "single": 1}
    assert endpoint.count == 8


def test_a_collection_within_its_budget_is_gone_on_with(indexed: Ragloom, endpoint: ScriptedEndpoint):
    arguments = ("gate", "collect", "labelled.jsonl", "--out", "outcomes.jsonl", "--workers", "1")
    code, out, _ = indexed(*arguments, "--max-calls", "5")
    assert code == 75
    assert "2 outcomes (2 now), 0 failed, 2 pending" in out
    assert "the same command goes on from here" in out
    assert len(read_outcomes(Path("outcomes.jsonl"))) == 2
    code, out, _ = indexed(*arguments, "--json")
    assert (code, json.loads(out)["done"], endpoint.count) == (0, 4, 8)
    assert len(read_outcomes(Path("outcomes.jsonl"))) == 4


def test_a_question_that_fails_is_left_out_and_said(indexed: Ragloom, endpoint: ScriptedEndpoint):
    endpoint.answer = lambda prompt: "" if "capital of Spain." in prompt else "Rome"
    code, out, _ = indexed("gate", "collect", "labelled.jsonl", "--out", "outcomes.jsonl")
    assert code == 1
    assert "1 failed" in out
    assert "--retry-failed tries them again" in out
    assert [row.question_id for row in read_outcomes(Path("outcomes.jsonl"))] == ["France", "Italy", "Malta"]
    endpoint.answer = lambda prompt: "Rome"
    assert indexed("gate", "collect", "labelled.jsonl", "--out", "outcomes.jsonl", "--retry-failed")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--signals", "question,mood"], 2, "there is no signal 'mood'"),
        (["--modes", "none,twice"], 2, "there is no mode 'twice'"),
        (["--modes", ","], 2, "there is no mode to answer under"),
        (["--out", "labelled.jsonl"], 2, "is read, and would be overwritten"),
        (["--workspace", "elsewhere"], 2, "there is no workspace at elsewhere"),
    ],
)
def test_a_collection_that_cannot_work_is_refused_before_it_asks(
    arguments: list[str], code: int, problem: str, indexed: Ragloom, endpoint: ScriptedEndpoint
):
    ended, _, err = indexed("gate", "collect", "labelled.jsonl", "--out", "outcomes.jsonl", *arguments)
    assert ended == code
    assert problem in err
    assert "Traceback" not in err
    assert endpoint.count == 0


def test_questions_without_answers_are_refused(indexed: Ragloom, endpoint: ScriptedEndpoint):
    write_lines("unlabelled.jsonl", [{"id": "q1", "question": "Why?"}])
    code, _, err = indexed("gate", "collect", "unlabelled.jsonl", "--out", "outcomes.jsonl")
    assert code == 65
    assert "question 'q1' has no gold answer" in err
    assert endpoint.count == 0


# ---- Calibrating and reporting, without a model


@pytest.fixture
def collected(ragloom: Ragloom) -> Ragloom:
    """Outcomes of questions about towns, which only passages tell, and of sums, which only the model can do."""
    pytest.importorskip("sklearn")
    towns = [
        (f"In which year was the town of Number{n} founded?", str(1500 + n), {"none": "1066", "single": str(1500 + n)})
        for n in range(60)
    ]
    sums = [(f"What is {n} and {n} together?", str(2 * n), {"none": str(2 * n), "single": "a town"}) for n in range(60)]
    lines = [
        {"id": str(number), "question": question, "gold_answers": [gold], "answers": answers, "dataset": kind}
        for number, (kind, question, gold, answers) in enumerate(
            [*(("towns", *row) for row in towns), *(("sums", *row) for row in sums)]
        )
    ]
    write_lines("outcomes.jsonl", lines)
    return ragloom


@pytest.fixture
def calibrated(collected: Ragloom) -> Ragloom:
    assert collected("gate", "calibrate", "outcomes.jsonl", "--out", "gate.json")[0] == 0
    return collected


def test_a_gate_is_calibrated_and_shown_beside_fixed_modes_and_oracles(collected: Ragloom):
    code, out, err = collected(
        *("gate", "calibrate", "outcomes.jsonl", "--out", "gate.json", "--report", "gate.md", "--objective", "rate=0.6")
    )
    assert (code, err) == (0, "")
    assert "out of fold better than always" in out
    assert "warning: the outcomes do not say what they were collected with" in out
    for row in ("| never (none) | 0.500", "| calibrated, out of fold | 1.000", "| oracle (none, single) | 1.000"):
        assert row in out
    assert out.endswith("gate: gate.json\nreport: gate.md\n")
    assert "## Group towns" in Path("gate.md").read_text(encoding="utf-8")


def test_a_gate_chooses_among_the_modes_that_are_named(collected: Ragloom):
    rows = [json.loads(line) for line in Path("outcomes.jsonl").read_text(encoding="utf-8").splitlines()]
    write_lines(
        "three.jsonl", [{**row, "answers": {**row["answers"], "iterative": row["gold_answers"][0]}} for row in rows]
    )
    code, out, _ = collected("gate", "calibrate", "three.jsonl", "--out", "gate.json")
    assert (code, "always iterative" in out) == (0, True)
    code, out, _ = collected("gate", "calibrate", "three.jsonl", "--out", "gate.json", "--modes", "none,single")
    assert (code, "iterative" in out) == (0, False)
    assert SavedGate.load(Path("gate.json")).rule("What is 3 and 3 together?", {}).mode in {"none", "single"}


def test_a_calibration_can_be_read_by_programs(collected: Ragloom):
    code, out, _ = collected("gate", "calibrate", "outcomes.jsonl", "--out", "gate.json", "--json")
    built = json.loads(out)
    assert (code, built["gate"], built["gain"], built["signals"]) == (0, "gate.json", True, ["question"])
    assert SavedGate.load(Path("gate.json")).signals == ("question",)


def test_gates_are_replayed_on_outcomes(calibrated: Ragloom):
    code, out, err = calibrated("gate", "report", "outcomes.jsonl", "--gate", "gate.json", "--out", "report.md")
    assert (code, err) == (0, "")
    assert "| gate.json | 1.000" in out
    assert out.endswith("report: report.md\n")
    assert "| gate.json |" in Path("report.md").read_text(encoding="utf-8")
    code, out, _ = calibrated("gate", "report", "outcomes.jsonl", "--json")
    assert [row[0] for row in json.loads(out)["rows"]] == ["never (none)", "always (single)", "oracle (none, single)"]


def test_a_gate_that_needs_what_was_not_measured_is_named(calibrated: Ragloom):
    SavedGate(Threshold("draft_margin", 0.3), ("draft",)).save(Path("draft.json"))
    code, _, err = calibrated("gate", "report", "outcomes.jsonl", "--gate", "gate.json", "--gate", "draft.json")
    assert code == 65
    assert "draft.json decides by draft_margin, which the outcomes do not have" in err
    assert "--signals draft" in err


def test_outcomes_that_teach_nothing_keep_a_fixed_mode_and_say_so(ragloom: Ragloom):
    pytest.importorskip("sklearn")
    lines = [
        {"id": str(n), "question": f"Question {n}?", "gold_answers": ["x"], "answers": {"none": "y", "single": "x"}}
        for n in range(60)
    ]
    write_lines("outcomes.jsonl", lines)
    code, out, _ = ragloom("gate", "calibrate", "outcomes.jsonl", "--out", "gate.json")
    assert code == 0
    assert "no gain: out of fold no gate was better than always single" in out
    assert "warning: 60 rows" in out
    assert SavedGate.load(Path("gate.json")).rule("Why?", {}).mode == "single"


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["calibrate", "outcomes.jsonl", "--out", "gate.json", "--objective", "speed"], 2, "no objective 'speed'"),
        (["calibrate", "outcomes.jsonl", "--out", "gate.json", "--costs", "none=x"], 2, "'x' is not a number from 0"),
        (["calibrate", "outcomes.jsonl", "--out", "gate.json", "--costs", "none=9"], 2, "costs must"),
        (["calibrate", "outcomes.jsonl", "--out", "gate.json", "--modes", "none"], 2, "the mode none and another one"),
        (["calibrate", "outcomes.jsonl", "--out", "outcomes.jsonl"], 2, "would be overwritten"),
        (["calibrate", "missing.jsonl", "--out", "gate.json"], 65, "missing.jsonl"),
        (["report", "missing.jsonl"], 65, "missing.jsonl"),
        (["report", "outcomes.jsonl", "--gate", "missing.json"], 2, "missing.json"),
        (["report", "outcomes.jsonl", "--gate", "outcomes.jsonl"], 2, "outcomes.jsonl"),
    ],
)
def test_what_cannot_work_is_said_in_a_line(arguments: list[str], code: int, problem: str, collected: Ragloom):
    ended, out, err = collected("gate", *arguments)
    assert (ended, out) == (code, "")
    assert problem in err
    assert "Traceback" not in err
    assert not Path("gate.json").exists()


def test_a_gate_of_another_model_is_refused_unless_that_is_allowed(indexed: Ragloom, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("sklearn")
    labelled = [
        {"id": f"{land} {n}", "question": f"What is the capital of {land}, number {n}?", "answers": [city]}
        for land, city in CAPITALS.items()
        for n in range(15)
    ]
    write_lines("many.jsonl", labelled)
    assert indexed("gate", "collect", "many.jsonl", "--out", "outcomes.jsonl")[0] == 0
    code, out, _ = indexed("gate", "calibrate", "outcomes.jsonl", "--out", "gate.json")
    assert code == 0
    assert "do not say what they were collected with" not in out
    asking = ("ask", "What is the capital of Malta?", "--pipeline", "adaptive", "--gate", "gate.json")
    code, out, _ = indexed(*asking)
    assert (code, out.splitlines()[0]) == (0, "Valletta")
    monkeypatch.setenv("RAGLOOM_MODEL", "another")
    code, _, err = indexed(*asking)
    assert code == 2
    assert "was calibrated with something else: model was" in err
    assert indexed(*asking, "--allow-mismatch")[0] == 0


@pytest.mark.parametrize("out", ["outcomes.jsonl", "gate.json"])
def test_a_report_overwrites_nothing_that_is_read(calibrated: Ragloom, out: str):
    before = Path(out).read_bytes()
    code, _, err = calibrated("gate", "report", "outcomes.jsonl", "--gate", "gate.json", "--out", out)
    assert (code, "is read, and would be overwritten" in err) == (2, True)
    assert Path(out).read_bytes() == before


def test_a_gate_and_its_report_go_to_two_files(collected: Ragloom):
    code, _, err = collected("gate", "calibrate", "outcomes.jsonl", "--out", "same.json", "--report", "same.json")
    assert (code, "would hold two of the files that are written" in err) == (2, True)
    assert not Path("same.json").exists()


def test_outcomes_of_two_collections_are_not_mixed(collected: Ragloom):
    rows = [json.loads(line) for line in Path("outcomes.jsonl").read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        row["made_with"] = {"model": f"model {number % 2}"}
    write_lines("mixed.jsonl", rows)
    code, _, err = collected("gate", "calibrate", "mixed.jsonl", "--out", "gate.json")
    assert (code, "the outcomes were not all collected with the same model" in err) == (65, True)
