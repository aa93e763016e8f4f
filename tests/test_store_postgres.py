"""What only a workspace in a Postgres server does: several writers and machines at once, a server that goes away."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Barrier

import pytest
from store_model import build_index, entry

from ragloom.errors import ConfigError, InputError, StoreCorrupt, StoreError, StoreLocked, StoreUnreachable
from ragloom.run import map_threads
from ragloom.store import Store, salvage
from ragloom.types import Chunk, Document

SUPPORT = Path(__file__).parent / "support"


@pytest.fixture(autouse=True)
def in_postgres(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLOOM_DATABASE_URL", postgres)


def test_processes_write_at_once_and_lose_and_double_nothing(tmp_path: Path) -> None:
    names, count = ("a", "b", "c"), 8
    ids = [f"{name}-{number}" for name in names for number in range(count)]
    with Store.open(tmp_path / "w") as store:
        store.begin_run("r", kind="batch", config={}, items=[(id_, {}) for id_ in ids])
    writers = [
        subprocess.Popen([sys.executable, SUPPORT / "shared_writer.py", tmp_path / "w", name, str(count)])
        for name in names
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with Store.open(tmp_path / "w", write=False) as store:
        assert sorted(document.source for document in store.documents()) == sorted(ids)
        assert [attempt.id for attempt in store.attempts()] == list(range(1, len(ids) + 1))
        assert {item.question_id: item.status for item in store.items("r")} == dict.fromkeys(ids, "done")
        assert store.check() == []


def test_threads_that_make_a_workspace_together_make_one(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d")
    together = Barrier(len(names))

    def make(name: str) -> None:
        together.wait()
        with Store.open(tmp_path) as store:
            store.put_documents([entry(name, "text")], origin="o", splitting="s")

    list(map_threads(make, names, workers=len(names)))
    with Store.open(tmp_path, write=False) as store:
        assert [document.source for document in store.documents()] == list(names)


def test_what_is_read_beside_writers_is_of_one_moment(tmp_path: Path) -> None:
    """Rows and their tally are read in two statements, between which others write."""
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:

        def work(number: int) -> None:
            if number % 2:
                other.put_documents([entry(f"{number:02}", "text")], origin="o", splitting="s")
            else:
                list(store.documents())

        list(map_threads(work, range(60), workers=4))
        assert len(list(store.documents())) == 30


def test_a_turn_that_does_not_come_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:
        store._database.execute("SET lock_timeout = '20ms'")
        with other._database.transaction(durable=True), pytest.raises(StoreLocked, match="is being written by others"):
            store.put_documents([entry("a", "text")], origin="o", splitting="s")
        assert list(store.documents()) == []
        store.put_documents([entry("b", "text")], origin="o", splitting="s")
        assert [document.source for document in other.documents()] == ["b"]


def test_another_machine_shares_the_workspace_and_has_files_of_its_own(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    with Store.open(one) as store:
        store.put_documents([entry("a", "text")], origin="o", splitting="s")
        built = build_index(store)
    other.mkdir()
    (other / "database.json").write_bytes((one / "database.json").read_bytes())
    with Store.open(other) as store:
        assert [document.source for document in store.documents()] == ["a"]
        own = build_index(store)
        assert own.is_relative_to(other)
        assert built.is_dir()
    with Store.open(other, write=False) as store:
        assert build_index(store) == own


def test_schema_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLOOM_DATABASE_SCHEMA", "team")
    with Store.open(tmp_path / "one") as store:
        store.put_documents([entry("a", "text")], origin="o", splitting="s")
    with Store.open(tmp_path / "other") as store:
        assert [document.source for document in store.documents()] == ["a"]


def test_folder_with_a_database_of_its_own_stays_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAGLOOM_DATABASE_URL")
    Store.open(tmp_path).close()
    monkeypatch.setenv("RAGLOOM_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    with Store.open(tmp_path) as store:
        assert store.check() == []


def test_what_is_whole_is_salvaged_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(tmp_path / "w") as store:
        store.put_documents([entry("a", "text")], origin="o", splitting="s")
        store._database.execute("UPDATE documents SET title = 'flipped'")
    with Store.open(tmp_path / "w") as store:
        assert store.check() != []
        with pytest.raises(StoreCorrupt, match=r"the Postgres schema ragloom_\w+: table documents: the row of 'a'"):
            list(store.documents())
    lost = salvage(tmp_path / "w", tmp_path / "new")
    assert any("table documents" in line for line in lost)
    with Store.open(tmp_path / "new") as store:
        assert store.check() == []


def test_text_with_nul_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path / "w") as store:
        with pytest.raises(InputError, match=r"cannot hold a text .*NUL"):
            store.put_documents([entry("a", "te\0xt")], origin="o", splitting="s")
        assert list(store.documents()) == []


def test_server_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGLOOM_DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:9/none")
    with pytest.raises(StoreUnreachable) as caught:
        Store.open(tmp_path / "w")
    assert "check the address in the environment" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert not (tmp_path / "w" / "database.json").exists()


def test_workspace_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(tmp_path / "w").close()
    monkeypatch.delenv("RAGLOOM_DATABASE_URL")
    with pytest.raises(ConfigError, match="RAGLOOM_DATABASE_URL is not set; set it to its address"):
        Store.open(tmp_path / "w")


def test_an_address_that_is_empty_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLOOM_DATABASE_URL", "")
    Store.open(tmp_path).close()
    assert not (tmp_path / "database.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 3}'])
def test_pointer_that_points_nowhere_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "database.json").write_text(content, encoding="utf-8")
    with pytest.raises(StoreCorrupt, match="does not say which schema"):
        Store.open(tmp_path)


def test_schema_that_is_gone_is_no_empty_workspace(tmp_path: Path) -> None:
    (tmp_path / "database.json").write_text(json.dumps({"schema": "never_made"}), encoding="utf-8")
    with pytest.raises(StoreError, match="the Postgres schema never_made holds no workspace"):
        Store.open(tmp_path)


def test_server_that_goes_away_is_told_and_what_was_saved_is_there_again(tmp_path: Path) -> None:
    def entries() -> Iterator[tuple[Document, Sequence[Chunk]]]:
        yield entry("b", "text")
        with Store.open(tmp_path, write=False) as other:
            other._database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND application_name = 'ragloom'"
            )
        yield entry("c", "text")

    with Store.open(tmp_path) as store:
        store.put_documents([entry("a", "text")], origin="o", splitting="s")
        for _ in range(2):  # in the middle of a transaction, and before one
            with pytest.raises(StoreUnreachable, match="what was saved is safe"):
                store.put_documents(entries(), origin="o", splitting="s")
    with Store.open(tmp_path) as store:
        assert [document.source for document in store.documents()] == ["a"]
