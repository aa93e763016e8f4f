"""`ragloom compare` as its users meet it."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from comparisons import CAPITALS, index_capitals, know, settings_for, write_questions
from scripted_endpoint import ScriptedEndpoint

from ragloom.compare_commands import add_compare, run_compare
from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.settings import Settings
from ragloom.store import Store


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(know) as endpoint:
        yield endpoint


@pytest.fixture
def settings(tmp_path: Path, endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    index_capitals(tmp_path / "workspace")
    write_questions(tmp_path / "capitals.jsonl")
    return settings_for(tmp_path / "workspace", endpoint.base_url)


def compare(settings: Settings, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_compare(parser.add_subparsers())
    return run_compare(parser.parse_args(["compare", *arguments]), settings)


BOTH: Sequence[str] = ("capitals.jsonl", "--pipelines", "closed-book,single", "--out", "out")


def test_pipelines_are_compared_and_the_files_named(
    settings: Settings, endpoint: ScriptedEndpoint, capsys: pytest.CaptureFixture[str]
):
    assert compare(settings, *BOTH) == 0
    out, err = capsys.readouterr()
    assert "3 questions of capitals; closed-book is what the others are compared with." in out
    assert "| single | closed-book | 3 | +0.667" in out
    assert "single on capitals (2 of 2)" in err
    for name in ("report.md", "index.html", "answers.csv"):
        assert f"written: {Path('out') / name}" in out
        assert (Path("out") / name).stat().st_size
    assert compare(settings, *BOTH, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["baseline"], found["questions"], found["pending"]) == ("closed-book", 3, {})
    assert endpoint.count == 2 * len(CAPITALS)


def test_a_budget_stops_it_with_a_code_of_its_own_and_it_goes_on(
    settings: Settings, capsys: pytest.CaptureFixture[str]
):
    few = settings.model_copy(update={"max_calls": 2})
    assert compare(few, *BOTH) == 75
    assert "the same command goes on from here" in capsys.readouterr().out
    assert compare(settings, *BOTH) == 0


def test_a_file_of_variants_with_sets_needs_no_questions(settings: Settings, capsys: pytest.CaptureFixture[str]):
    Path("variants.toml").write_text(
        'pipeline = "single"\n[two-passages]\nk = 2\n[one-passage]\n'
        '[[sets]]\nquestions = "capitals.jsonl"\nworkspace = "workspace"\n',
        encoding="utf-8",
    )
    assert compare(settings, "--variants", "variants.toml", "--out", "out", "--baseline", "one-passage") == 0
    assert "one-passage is what the others are compared with" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="name them in one place"):
        compare(settings, "capitals.jsonl", "--variants", "variants.toml", "--out", "out")


def test_a_report_alone_asks_no_model_and_needs_no_lease(settings: Settings, endpoint: ScriptedEndpoint):
    with pytest.raises(InputError, match="there are no answers to compare"):
        compare(settings, *BOTH, "--report-only")
    compare(settings, *BOTH)
    asked = endpoint.count
    with Store.open(settings.workspace):
        assert compare(settings, *BOTH, "--report-only") == 0
    assert endpoint.count == asked


def test_what_leaves_no_difference_to_show_is_reported_all_the_same(
    settings: Settings, capsys: pytest.CaptureFixture[str]
):
    Path("variants.toml").write_text('[single]\n[broken]\nprompt = "missing.txt"\n', encoding="utf-8")
    assert compare(settings, "capitals.jsonl", "--variants", "variants.toml", "--out", "out") == 75
    out = capsys.readouterr().out
    assert "broken failed: capitals: " in out
    assert "| variant | against |" not in out
    Path("open.jsonl").write_text('{"question": "What is the capital of Spain?"}', encoding="utf-8")
    assert compare(settings, "open.jsonl", *BOTH[1:]) == 0
    assert "Questions without gold answers: 1." in capsys.readouterr().out


def test_an_estimate_says_what_is_left(settings: Settings, capsys: pytest.CaptureFixture[str]):
    assert compare(settings, *BOTH, "--estimate", "--sample", "1") == 0
    out = capsys.readouterr().out
    assert "closed-book on capitals: 2 questions left, about 2 calls" in out
    assert "all together about" in out
    assert not (Path("out") / "report.md").exists()


def test_wrong_use_is_refused_before_anything_is_asked(settings: Settings, endpoint: ScriptedEndpoint):
    with pytest.raises(ConfigError, match="there is no variant 'best'"):
        compare(settings, *BOTH, "--baseline", "best")
    with pytest.raises(ConfigError, match="there are no questions"):
        compare(settings, "--pipelines", "closed-book,single", "--out", "out")
    with pytest.raises(InputError, match=r"missing\.jsonl"):
        compare(settings, "missing.jsonl", "--pipelines", "closed-book,single", "--out", "out")
    assert endpoint.count == 0
