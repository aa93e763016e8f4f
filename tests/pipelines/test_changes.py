from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ragloom.codec import to_json
from ragloom.components.datasets import Question
from ragloom.errors import StoreError
from ragloom.pipelines.changes import changes_since
from ragloom.pipelines.run_history import history_plot
from ragloom.store import Store
from ragloom.types import Answer, RunRecord, Usage

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid"}


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "workspace") as store:
        yield store


def run(store: Store, name: str, answers: dict[str, str | None], *, cost: float | None = 0.01, **config) -> str:
    """A run about capitals: an empty answer abstains, and None fails."""
    items = [(land, to_json(Question(land, f"What is the capital of {land}?", (CAPITALS[land],)))) for land in answers]
    config = {"pipeline": "single", "model": "small", "k": 5} | config
    store.begin_run(name, kind="batch", config=config, items=items)
    for land, answer in answers.items():
        if answer is None:
            error = {"error": "BadReply", "problem": "no JSON", "remedy": ""}
            store.commit_item(name, land, status="failed", result=error)
        else:
            usage = Usage(prompt_tokens=90, completion_tokens=10, calls=1, cost=cost)
            given = Answer(answer, abstained=not answer, run=RunRecord(usage=usage, seconds=0.5))
            store.commit_item(name, land, status="done", result=to_json(given))
    return name


def test_answers_scores_and_costs_are_compared_question_by_question(store: Store):
    before = run(store, "before", {"France": "Lyon", "Italy": "Rome", "Spain": "Madrid"})
    now = run(store, "now", {"France": "Paris", "Italy": "Rome", "Spain": None}, cost=0.03, k=8)
    changes = changes_since(store, now, before)
    assert changes.compared == 3
    assert [(each.question_id, each.before, each.now) for each in changes.answers] == [
        ("France", "Lyon", "Paris"),
        ("Spain", "Madrid", "(failed: BadReply: no JSON)"),
    ]
    assert changes.settings == (("k", "5", "8"),)
    measures = {row[0]: row[1:] for row in changes.measures.rows}
    assert measures["em"] == ("0.667", "0.667", "+0.000 [-1.000, +1.000]")
    assert measures["failed"] == ("0", "1", "+1")
    assert measures["tokens"] == ("300", "200", "-100")
    assert measures["cost $"] == ("0.0300", "0.0600", "+0.0300")


def test_only_questions_of_both_runs_count(store: Store):
    before = run(store, "before", {"France": "Paris", "Italy": "Rome"})
    now = run(store, "now", {"Italy": "Rome", "Spain": "Barcelona"})
    changes = changes_since(store, now, before)
    assert (changes.compared, changes.added, changes.removed, changes.answers) == (1, ("Spain",), ("France",), ())
    assert {row[0]: row[1:] for row in changes.measures.rows}["em"] == ("1.000", "1.000", "+0.000 [+0.000, +0.000]")


def test_a_question_in_other_words_is_another_one(store: Store):
    before = run(store, "before", {"France": "Paris"})
    other = to_json(Question("France", "Which town governs France?", ("Paris",)))
    store.begin_run("now", kind="batch", config={"pipeline": "single", "model": "small"}, items=[("France", other)])
    changes = changes_since(store, "now", before)
    assert (changes.compared, changes.added, changes.removed) == (0, ("France",), ("France",))
    assert "on 0 questions of both" in changes.markdown()


def test_pending_questions_are_not_compared(store: Store):
    before = run(store, "before", {"France": "Paris", "Italy": "Rome"})
    items = [(item.question_id, item.question) for item in store.items(before)]
    store.begin_run("now", kind="batch", config={"pipeline": "single", "model": "large"}, items=items)
    assert changes_since(store, "now", before).compared == 0


def test_an_unknown_price_gives_no_difference(store: Store):
    changes = changes_since(store, run(store, "now", {"Italy": "Rome"}, cost=None), run(store, "b", {"Italy": "Rome"}))
    assert {row[0]: row[1:] for row in changes.measures.rows}["cost $"] == ("0.0100", "unknown", "")


def test_the_same_run_is_said_to_be_the_same(store: Store):
    name = run(store, "only", {"France": "Paris"})
    assert changes_since(store, name, name).markdown() == (
        "Run only as the last time: the same questions, documents and settings."
    )


def test_answers_cannot_bring_markup_into_the_section(store: Store):
    before = run(store, "before", {"France": "Paris"})
    now = run(store, "now", {"France": "<script>x</script>\n# Title ![p](http://example.org/p.png) a|b"})
    section = changes_since(store, now, before).markdown()
    line = next(line for line in section.splitlines() if "script" in line)
    assert line.startswith("| What is the capital of France? | Paris | &lt;script")
    assert "](http" not in line
    assert "a\\|b" in line


def test_a_missing_run_is_named(store: Store):
    run(store, "now", {"France": "Paris"})
    with pytest.raises(StoreError, match="gone"):
        changes_since(store, "now", "gone")


def test_the_picture_shows_each_run_and_is_well_formed(store: Store):
    names = [run(store, f"run{number}", {"France": "Paris", "Italy": "Milan"}) for number in range(3)]
    svg = ET.fromstring(history_plot(store, names))
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text and text.startswith("run")] == names
    assert texts.count("0.50") == 3  # F1: one of two is right
    circles = list(svg.iter("{http://www.w3.org/2000/svg}circle"))
    assert len({circle.get("cx") for circle in circles}) == 3


def test_the_picture_shows_the_last_ten_runs(store: Store):
    names = [run(store, f"run{number:02}", {"France": "Paris"}) for number in range(12)]
    svg = history_plot(store, names)
    assert "run01" not in svg
    assert svg.count("<circle") == 10
