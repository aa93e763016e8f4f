from pathlib import Path

import pytest

from ragloom.errors import ConfigError
from ragloom.pipelines.settings import load_settings
from ragloom.run import Budget


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_arguments_win_over_the_environment_which_wins_over_the_file(tmp_path: Path):
    file = written(tmp_path, 'k = 3\nmode = "long"\nseed = 7\n')
    environment = {"RAGLOOM_K": "4", "RAGLOOM_MODE": "yes-no"}
    settings = load_settings({"k": "5", "mode": None}, file=file, environment=environment)
    assert (settings.k, settings.mode, settings.seed) == (5, "yes-no", 7)


def test_ragloom_toml_in_the_current_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ragloom.toml").write_text("k = 9\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_settings({}, environment={}).k == 9


def test_the_limits_make_a_budget():
    settings = load_settings({"max_calls": "10", "max_cost": "0.5"}, environment={})
    assert settings.budget == Budget(calls=10, cost=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k = 0\n", "settings.toml k = 0: input should be greater than or equal to 1"),
        (
            'pipeline = "magic"\n',
            "settings.toml pipeline = 'magic': input should be 'closed-book', 'single', 'hybrid', 'graph',",
        ),
        ("kk = 1\n", "settings.toml kk = 1: there is no such setting"),
        ("k = \n", "settings.toml is not valid TOML"),
        ("k = " + "[" * 5000, "settings.toml is not valid TOML"),
    ],
)
def test_a_bad_file_is_named_with_the_setting(tmp_path: Path, text: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load_settings({}, file=written(tmp_path, text), environment={})
    assert message in str(caught.value)


def test_a_bad_variable_and_a_bad_argument_say_that_they_are(tmp_path: Path):
    with pytest.raises(ConfigError, match="environment variable RAGLOOM_K = 'many'"):
        load_settings({}, environment={"RAGLOOM_K": "many"})
    with pytest.raises(ConfigError, match="argument k = '0'"):
        load_settings({"k": "0"}, environment={"RAGLOOM_K": "3"})


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot read the settings file .*absent\.toml"):
        load_settings({}, file=tmp_path / "absent.toml", environment={})
    (tmp_path / "latin.toml").write_bytes(b'mode = "\xff"')
    with pytest.raises(ConfigError, match=r"cannot read the settings file .*latin\.toml"):
        load_settings({}, file=tmp_path / "latin.toml", environment={})


def test_no_key_is_ever_a_setting():
    settings = load_settings({}, environment={"OPENAI_API_KEY": "canary", "RAGLOOM_API_KEY": "canary"})
    assert "canary" not in settings.model_dump_json()
