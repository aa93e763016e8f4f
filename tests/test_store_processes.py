"""A workspace between processes that write, read, die, and run out of disk."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from store_model import entry, read_log, settle

from ragloom.errors import StoreFull, StoreLocked
from ragloom.store import Store
from ragloom.workspace import FILE

SUPPORT = Path(__file__).parent / "support"
DISK_FULL = 28
SHARED_MEMORY = Path("/dev/shm")

posix = pytest.mark.skipif(os.name == "nt", reason="kills and limits processes the POSIX way")
HOLD = """
import sys
from ragloom.store import Store
with Store.open(sys.argv[1]) as store:
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """A folder without a disk behind it where the system has one; killing a process does not ask for a disk."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@contextmanager
def other_writer(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has the workspace open for writing."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


def writer(folder: Path, log: Path, seed: int, *more: str) -> list[str]:
    return [sys.executable, str(SUPPORT / "store_writer.py"), str(folder), str(log), str(seed), *more]


# ---- One writer, many readers


def test_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with other_writer(tmp_path) as process:
        with pytest.raises(StoreLocked, match=rf"written by process {process.pid} on .* since 20..-") as caught:
            Store.open(tmp_path, lock_timeout_s=0.1)
        assert caught.value.retryable


def test_second_writer_gets_the_workspace_when_the_first_is_done(tmp_path: Path) -> None:
    with other_writer(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.close()
        with Store.open(tmp_path, lock_timeout_s=60) as store:
            assert store.check() == []


@posix
def test_lock_of_a_killed_writer_is_none(tmp_path: Path) -> None:
    with other_writer(tmp_path) as process:
        process.kill()
        assert process.wait() == -signal.SIGKILL
        Store.open(tmp_path, lock_timeout_s=0).close()


def test_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put_documents([entry("a", "text")], origin="o", splitting="s")
    with other_writer(tmp_path), Store.open(tmp_path, write=False, lock_timeout_s=0) as store:
        assert [chunk.text for chunk in store.chunks()] == ["text"]
        assert store.check() == []


@posix
def test_readers_see_whole_states_while_a_writer_writes(quick_folder: Path) -> None:
    with subprocess.Popen(writer(quick_folder / "w", quick_folder / "log", 0)) as process:
        wait_for(lambda: acknowledged(quick_folder / "log") > 20)
        states = set()
        for _ in range(30):
            with Store.open(quick_folder / "w", write=False) as store:
                whole = [entry(found.source, found.text)[1] for found in store.documents()]
                assert store.chunks() == [chunk for chunks in whole for chunk in chunks]
                states.add(store.corpus_id())
        process.kill()
    assert len(states) > 3


# ---- Death


def acknowledged(log: Path) -> int:
    return read_log(log)[2] if log.exists() else 0


def wait_for(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@posix
def test_twenty_killed_writers_lose_nothing(quick_folder: Path) -> None:
    rng = random.Random(2)
    folder, log = quick_folder / "workspace", quick_folder / "log"
    cut_short = 0
    for kill in range(20):
        before = acknowledged(log)
        with subprocess.Popen(writer(folder, log, kill)) as process:
            wait_for(lambda before=before: acknowledged(log) > before + 5)
            time.sleep(rng.uniform(0, 0.1))  # this is what is random
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        cut_short += read_log(log)[1] is not None
        with Store.open(folder, lock_timeout_s=0) as store:
            assert settle(store, log) == [], f"after kill {kill}"
        assert len(list((folder / "derived").iterdir())) == 1
    assert cut_short > 10
    assert acknowledged(log) > 200


@posix
def test_killed_at_any_call_a_writer_leaves_the_old_state_or_the_new(quick_folder: Path) -> None:
    command = [sys.executable, "-W", "error", str(SUPPORT / "crash_points.py"), str(quick_folder), "6"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert report["wrong"] == []
    assert report["points"] > 100
    assert report["killed"] == report["points"]


# ---- Full disks


@posix
@pytest.mark.parametrize("largest", [400_000, 800_000])
def test_limited_file_size_stops_a_writer_and_loses_nothing(quick_folder: Path, largest: int) -> None:
    folder, log = quick_folder / "workspace", quick_folder / "log"
    stopped = subprocess.run(writer(folder, log, 3, str(largest)), capture_output=True, text=True, check=False)
    assert (stopped.returncode, stopped.stderr) == (DISK_FULL, "")
    assert "is full" in stopped.stdout
    before = acknowledged(log)
    assert before > 5
    with Store.open(folder) as store:
        assert settle(store, log) == []
    with subprocess.Popen(writer(folder, log, 4)) as process:  # there is room again
        wait_for(lambda: acknowledged(log) > before + 20)
        process.kill()
    with Store.open(folder) as store:
        assert settle(store, log) == []


def mounts() -> bool:
    """Whether this process may mount a file system of its own."""
    tools = all(shutil.which(tool) for tool in ("unshare", "mount"))
    return tools and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not mounts(), reason="only root may mount a small disk")
def test_full_disk_stops_a_writer_and_loses_nothing(tmp_path: Path) -> None:
    disk, log = tmp_path / "disk", tmp_path / "log"
    disk.mkdir()
    check = (
        "import sys; from pathlib import Path; from store_model import settle; from ragloom.store import Store\n"
        "with Store.open(sys.argv[1]) as store: print(settle(store, Path(sys.argv[2])))"
    )
    script = """
        mount -t tmpfs -o size=1m none "$1" && "$2" "$3" "$1/w" "$4" 5; echo "$?"
        mount -o remount,size=8m "$1" && "$2" -c "$5" "$1/w" "$4"
    """
    arguments = [str(disk), sys.executable, str(SUPPORT / "store_writer.py"), str(log), check]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
    )
    message, code, wrong = done.stdout.splitlines()
    assert (code, wrong, done.stderr) == (str(DISK_FULL), "[]", "")
    assert "the disk under" in message
    assert acknowledged(log) > 5


@posix
def test_full_disk_while_building_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "index"))

    for write in (True, False):
        with Store.open(tmp_path, write=write) as store, pytest.raises(StoreFull, match=r"is full .*; make room"):
            store.derived("index", {}, build)
    assert list((tmp_path / "derived").iterdir()) == []


# ---- Permissions


READ = """
import json, sys
from ragloom.errors import StoreError
from ragloom.store import Store
for write in (False, True):
    try:
        with Store.open(sys.argv[1], write=write) as store:
            folder = store.derived("index", {}, lambda folder: None)
            print(len(store.chunks()), sys.argv[1] in str(folder))
    except StoreError as error:
        print(type(error).__name__, error.problem.replace(sys.argv[1], "FOLDER"))
"""


def read_only(folder: Path) -> str:
    """What `READ` says where the folder's disk cannot be written."""
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && "$2" -W error -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(folder), sys.executable, READ]
    reading, writing = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert writing == "StoreError no permission to write in FOLDER (Read-only file system)"
    return reading


@posix
@pytest.mark.skipif(not mounts(), reason="only root can mount a folder read-only")
def test_workspace_on_a_read_only_disk_can_be_read(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put_documents([entry("a", "text")], origin="o", splitting="s")
    assert read_only(tmp_path) == "1 False"  # one chunk, and an index built elsewhere


@posix
@pytest.mark.skipif(not mounts(), reason="only root can mount a folder read-only")
def test_unfinished_workspace_on_a_read_only_disk_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    with Store.open(tmp_path / "live") as store:
        store.put_documents([entry("a", "text")], origin="o", splitting="s")
        for name in ("with", "without"):
            shutil.copytree(tmp_path / "live", tmp_path / name)  # as a kill would leave it
    (tmp_path / "without" / f"{FILE}-shm").unlink()
    assert read_only(tmp_path / "with") == "1 False"
    assert "last changes to FOLDER/ragloom.sqlite are still in its log" in read_only(tmp_path / "without")


@posix
def test_process_without_free_file_handles_is_told_and_changes_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put_documents([entry("a", "text")], origin="o", splitting="s")
    starve = "import resource, ragloom.store; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
    command = [sys.executable, "-c", starve + READ, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("StoreError FOLDER cannot be used as a workspace ([Errno 24] Too many open files") == 2
    with Store.open(tmp_path) as store:
        assert [chunk.text for chunk in store.chunks()] == ["text"]
