import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ragloom.components.server_states import StateFolder
from ragloom.errors import LLMError

MAKES_ONE = """
import sys
from ragloom.components.server_states import StateFolder
print(StateFolder.make().path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_the_folder_of_a_killed_process_goes_when_the_next_is_made():
    command = [sys.executable, "-c", MAKES_ONE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        (left / "half a state").write_bytes(b"...")
        age(left)
        StateFolder.make().remove()
        assert left.is_dir()  # its process lives
        process.kill()
        process.wait()
    age(left)
    folder = StateFolder.make()
    assert not left.exists()
    folder.remove()
    assert not folder.path.exists()


def test_a_folder_of_this_process_stays_whatever_its_age():
    first = StateFolder.make()
    age(first.path)
    second = StateFolder.make()
    assert first.path.is_dir()
    first.remove()
    second.remove()


def test_a_folder_that_was_just_made_has_time_to_be_locked(temporary: Path):
    new = temporary / "ragloom-states-new"
    new.mkdir()
    StateFolder.make().remove()
    assert new.is_dir()


def test_only_its_owner_may_look_into_it():
    folder = StateFolder.make()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.remove()


def test_a_file_is_handed_over_and_a_written_state_taken(tmp_path: Path):
    folder = StateFolder.make()
    file = tmp_path / "state"
    file.write_bytes(b"tokens")
    with folder.hand(file) as name:
        assert (folder.path / name).read_bytes() == b"tokens"
    assert not (folder.path / name).exists()
    assert file.read_bytes() == b"tokens"
    (folder.path / "new").write_bytes(b"more")
    folder.take("new", file)
    assert file.read_bytes() == b"more"
    assert not (folder.path / "new").exists()
    folder.remove()


def test_a_state_that_cannot_be_handed_over_is_the_models_failure(tmp_path: Path):
    folder = StateFolder.make()
    (folder.path / "new").write_bytes(b"more")
    with pytest.raises(LLMError, match=r"cannot be handed over by .*absent"):
        folder.take("new", tmp_path / "absent" / "state")
    assert not (folder.path / "new").exists()
    folder.remove()
    with (
        pytest.raises(LLMError, match=r"cannot be handed over by .*state.*temporary folder"),
        folder.hand(tmp_path / "state"),
    ):
        pass
