"""`ragloom tune` as its users meet it."""

import argparse
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint
from tunings import guesses, index_lands, reads, settings_for, write_questions

from ragloom.errors import ConfigError, InputError
from ragloom.pipelines.settings import Settings, load_settings
from ragloom.tune_commands import add_tune, run_tune

SPACE = '[space]\npipeline = ["closed-book", "single"]\nk = [1, 2]\n'
LINE = ("questions.jsonl", "--space", "space.toml", "--out", "out", "--objective", "em")


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(reads) as endpoint:
        yield endpoint


@pytest.fixture
def settings(tmp_path: Path, endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    index_lands(tmp_path / "workspace")
    write_questions(tmp_path / "questions.jsonl")
    (tmp_path / "space.toml").write_text(SPACE, encoding="utf-8")
    return settings_for(tmp_path / "workspace", endpoint.base_url, pipeline="closed-book")


def tune(settings: Settings, *arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_tune(parser.add_subparsers())
    return run_tune(parser.parse_args(["tune", *arguments]), settings)


def test_better_settings_are_written_with_their_verdict(
    settings: Settings, endpoint: ScriptedEndpoint, capsys: pytest.CaptureFixture[str]
):
    assert tune(settings, *LINE, "--trials", "3") == 0
    out, err = capsys.readouterr()
    assert "beats the base: +0." in out
    assert "| gain |" in out
    assert "trial 1 of at most 3: " in err
    best = Path("out/best.toml").read_text(encoding="utf-8")
    assert best.startswith("# Tuned for em: Trial ")
    found = load_settings({}, file=Path("out/best.toml"), environment={})
    assert (found.pipeline, found.model, found.max_cost) == ("single", "scripted", None)
    report = Path("out/report.md").read_text(encoding="utf-8")
    for heading in ("The winner where it was not chosen", "Recommended settings", "Trials", "What each setting did"):
        assert f"\n## {heading}\n" in report
    asked = endpoint.count
    assert tune(settings, *LINE, "--trials", "3", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert endpoint.count == asked
    assert (told["sure"], told["recommended"], told["pending"]) == (True, told["best"], "")
    assert told["spent"]["calls"] == asked


def test_a_refused_winner_is_named_in_a_comment_only(
    settings: Settings, endpoint: ScriptedEndpoint, capsys: pytest.CaptureFixture[str]
):
    endpoint.answer = guesses
    Path("space.toml").write_text('pipeline = "single"\n[space]\nk = [1, 2, 3, 4, 5, 6]\n', encoding="utf-8")
    assert tune(settings, *LINE) == 0
    assert "does not surely beat the base" in capsys.readouterr().out
    best = Path("out/best.toml").read_text(encoding="utf-8")
    assert "So the base stays.\n# Not recommended: k = " in best
    assert tomllib.loads(best)["k"] == 1


def test_a_limit_ends_with_a_code_of_its_own_and_no_settings(settings: Settings, capsys: pytest.CaptureFixture[str]):
    assert tune(settings.model_copy(update={"max_calls": 40}), *LINE) == 75
    out = capsys.readouterr().out
    assert "There is no verdict yet" in out
    assert "the same command with a higher limit goes on from here" in out
    assert not Path("out/best.toml").exists()
    assert tune(settings, *LINE) == 0
    assert Path("out/best.toml").exists()


def test_wrong_use_is_refused_before_anything_is_asked(settings: Settings, endpoint: ScriptedEndpoint):
    with pytest.raises(ConfigError, match="there is no objective 'accuracy'"):
        tune(settings, *LINE[:-1], "accuracy")
    with pytest.raises(ConfigError, match="there is no workspace"):
        tune(settings.model_copy(update={"workspace": Path("elsewhere")}), *LINE)
    with pytest.raises(InputError, match=r"missing\.jsonl"):
        tune(settings, "missing.jsonl", *LINE[1:])
    with pytest.raises(InputError, match="give enough for 6 in each half"):
        tune(settings, *LINE, "--limit", "9")
    assert endpoint.count == 0
