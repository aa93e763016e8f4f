"""Damage is found before anything wrong is given out, and what is whole is saved."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_model import build_index, entry
from version_1 import write_workspace

from ragloom.errors import StoreCorrupt, StoreError
from ragloom.store import Store, salvage
from ragloom.types import Reply, TokenLogprob, Usage
from ragloom.workspace import FILE

KEYS = [f"key {n}" for n in range(40)]
QUESTIONS = [f"q{n}" for n in range(40)]
Contents = dict[tuple[str, str], Any]


def fill(folder: Path) -> None:
    """A workspace with rows in every table, about 200 KB."""
    rng = np.random.default_rng(0)
    with Store.open(folder) as store:
        entries = [entry(f"{n:02}.txt", f"sentence {n} " * (n + 1), f"title {n}") for n in range(40)]
        store.put_documents(entries, origin="o", splitting="s")
        store.put_vectors("m", {key: rng.standard_normal(64).astype(np.float32) for key in KEYS})
        for n, key in enumerate(KEYS):
            reply = Reply(f"reply {n} " * n + ".", Usage(n, calls=1), (TokenLogprob("reply", -n / 3),))
            store.finish_attempt(store.begin_attempt(key, model="m", run_id="r"), reply)
        store.begin_run("r", kind="qa", config={}, items=[(question, {"text": question}) for question in QUESTIONS])
        for question in QUESTIONS[:30]:
            store.commit_item("r", question, status="done", result={"text": f"answer {question}"})
        for n in range(40):
            store.put_extractions("names", {f"c{n}": {"entities": [f"name {n}"] * n, "triples": [], "dropped": n}})
        store.put_extractions("names", {}, failed={"c40": "the reply is no JSON"})
        build_index(store)


def contents(store: Store, note: Callable[[StoreError], None]) -> Contents:
    """All that can be read, by what was asked for; errors are noted."""
    found: Contents = {}

    def ask(kind: str, name: str, question: Callable[[], Any]) -> None:
        try:
            found[kind, name] = question()
        except StoreError as error:
            note(error)

    ask("documents", "", lambda: list(store.documents()))
    ask("documents", "of", lambda: store.documents_of("o"))
    ask("chunks", "", store.chunks)
    ask("chunks", "id", store.corpus_id)
    ask("attempts", "", store.attempts)
    ask("runs", "", store.runs)
    ask("items", "r", lambda: store.items("r"))
    ask("failed", "names", lambda: store.failed_extractions("names"))
    for n in range(40):
        document_id = entry(f"{n:02}.txt", f"sentence {n} " * (n + 1), f"title {n}")[0].id
        ask("document", document_id, lambda asked=document_id: store.document(asked))
    for key in KEYS:
        ask("reply", key, lambda asked=key: store.reply(asked))
        ask("extraction", f"c{key[4:]}", lambda asked=key: store.extractions("names", [f"c{asked[4:]}"]))
        ask("vector", key, lambda asked=key: {k: v.tobytes() for k, v in store.vectors("m", [asked]).items()})
    return found


def fail(error: StoreError) -> None:
    raise error


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def written(whole: Path) -> Contents:
    with Store.open(whole, write=False) as store:
        return contents(store, fail)


def damaged(data: bytes, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / FILE).write_bytes(data)
    return folder


def read(folder: Path) -> tuple[Contents, list[StoreError], list[str]]:
    errors: list[StoreError] = []
    try:
        with Store.open(folder, write=False) as store:
            return contents(store, errors.append), errors, store.check()
    except StoreError as error:
        return {}, [error], []


def test_flipped_bits_are_never_read_as_something_else(whole: Path, written: Contents, tmp_path: Path) -> None:
    rng = random.Random(0)
    original = (whole / FILE).read_bytes()
    noticed = 0
    for _ in range(300):
        data = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        found, errors, problems = read(damaged(bytes(data), tmp_path / "damaged"))
        for asked, answer in found.items():
            # What was kept and cannot be reached is asked for again; `check` must know of it then.
            missed = asked[0] in {"reply", "vector", "extraction", "failed"} and not answer and problems
            assert answer == written[asked] or missed, asked
        assert all(isinstance(error, StoreError) for error in errors)
        assert problems or not errors or not found, "`check` knows less than reading"
        noticed += bool(errors or problems)
    assert noticed > 100


def test_truncated_database_is_never_read_as_a_smaller_one(whole: Path, tmp_path: Path) -> None:
    original = (whole / FILE).read_bytes()
    sizes = [0, 1, 15, 16, 99, 100, 4095, *range(4096, len(original), 4096), len(original) - 1]
    for size in sizes:
        _, errors, _ = read(damaged(original[:size], tmp_path / "cut"))
        assert errors, size


@pytest.mark.parametrize(
    ("statement", "message", "read"),
    [
        (
            "UPDATE documents SET text = 'x' WHERE source = '03.txt'",
            "table documents: the row of '03.txt'",
            "documents",
        ),
        ("UPDATE chunks SET text = 'x' WHERE position = 1", "table chunks: the row of '03.txt', 1", "chunks"),
        ("UPDATE chunks SET source = 'z' WHERE source = '01.txt'", "table chunks: the row of 'z', 0", "chunks"),
        ("DELETE FROM chunks WHERE source = '01.txt'", "table chunks has [0-9]+ rows where [0-9]+ were", "corpus_id"),
        ("DELETE FROM documents WHERE source = '01.txt'", "table documents has 39 rows where 40 were", "documents"),
        ("UPDATE attempts SET status = 'open'", "table attempts: the row of 1 is damaged", "attempts"),
        ("DELETE FROM attempts WHERE id = 40", "table attempts has 39 rows where 40 were", "attempts"),
        ("DELETE FROM items WHERE question_id = 'q1'", "the run 'r' .* has 39 of its 40 questions", "runs"),
        ("UPDATE runs SET config = '{\"k\": 9}'", "table runs: the row of 'r' is damaged", "runs"),
        ("UPDATE tally SET count = 39 WHERE name = 'documents'", "table tally: the row of 'documents'", "documents"),
        ("DELETE FROM tally", "table chunks has no tally", "chunks"),
    ],
)
def test_changed_row_is_named(whole: Path, tmp_path: Path, statement: str, message: str, read: str) -> None:
    change(whole, tmp_path, statement)
    with Store.open(tmp_path, write=False) as store:
        with pytest.raises(StoreCorrupt, match=message):
            getattr(store, read)()
        assert store.check() != []
        assert store.check(quick=True) != []


def test_changed_reply_vector_and_extraction_are_not_given_out(whole: Path, tmp_path: Path) -> None:
    swap = "UPDATE replies SET reply = replace(reply, 'reply 3', 'reply 4')"
    empty = "UPDATE extractions SET extraction = '{}' WHERE chunk_id = 'c7'"
    change(whole, tmp_path, swap, empty, "UPDATE vectors SET key = 'k' WHERE key = 'key 5'")
    with Store.open(tmp_path) as store:
        with pytest.raises(StoreCorrupt, match="table replies: the row of 'key 3' is damaged"):
            store.reply("key 3")
        with pytest.raises(StoreCorrupt, match="table vectors: the row of 'm', 'k' is damaged"):
            store.vectors("m", ["k"])
        with pytest.raises(StoreCorrupt, match="table extractions: the row of 'names', 'c7' is damaged"):
            store.extractions("names", ["c6", "c7"])
        assert any("table extractions: the row of 'names', 'c7'" in line for line in store.check())


def change(whole: Path, folder: Path, *statements: str) -> None:
    shutil.copy(whole / FILE, folder / FILE)
    connection = sqlite3.connect(folder / FILE)
    with connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0
    connection.close()


# ---- Files that are no workspace


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty: its content was lost"),
        (b"Dear diary, this is not a database at all. " * 200, "is not a SQLite database"),
    ],
)
def test_unreadable_database_is_not_an_empty_one(tmp_path: Path, data: bytes, message: str, write: bool) -> None:
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(StoreCorrupt, match=message):
        Store.open(tmp_path, write=write)
    assert (tmp_path / FILE).read_bytes() == data


def test_database_of_something_else_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("CREATE TABLE cats (name)")
    connection.close()
    with pytest.raises(StoreCorrupt, match="no such table: meta"):
        Store.open(tmp_path)


def test_lost_database_whose_log_is_left_is_not_replaced(whole: Path, tmp_path: Path) -> None:
    (tmp_path / f"{FILE}-wal").write_bytes(b"changes that were not yet in the database")
    with pytest.raises(StoreCorrupt, match=r"is gone, but ragloom\.sqlite-wal beside it is not"):
        Store.open(tmp_path)
    assert (tmp_path / f"{FILE}-wal").exists()


def test_workspace_of_a_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("ragloom.schema.VERSION", 3)
        Store.open(tmp_path).close()
    for write in (True, False):
        with pytest.raises(StoreError, match=r"newer ragloom \(schema 3, this one knows 2\); upgrade ragloom"):
            Store.open(tmp_path, write=write)
    with pytest.raises(StoreError, match="newer ragloom"):  # it would save only what it knows
        salvage(tmp_path, tmp_path / "saved")


# ---- Workspaces of version 1, which kept no extractions


@pytest.fixture
def old(whole: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "old"
    write_workspace(folder, whole)
    return folder


def without_extractions(written: Contents) -> Contents:
    emptied = {"extraction", "failed"}
    return {asked: {} if asked[0] in emptied else answer for asked, answer in written.items()}


def version(folder: Path) -> int:
    connection = sqlite3.connect(folder / FILE)
    found: int = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()[0]
    connection.close()
    return found


def test_reader_finds_no_extractions_in_an_old_workspace_and_changes_nothing(old: Path, written: Contents) -> None:
    before = (old / FILE).read_bytes()
    with Store.open(old, write=False) as store:
        assert contents(store, fail) == without_extractions(written)
        assert store.extraction_id("names") == store.extraction_id("others")
        assert store.extracted("names") == set()
        assert store.check(quick=True) == []
    assert (old / FILE).read_bytes() == before


def test_writer_brings_an_old_workspace_up_to_date(old: Path, written: Contents) -> None:
    assert version(old) == 1
    Store.open(old).close()
    assert version(old) == 2
    with Store.open(old) as store:
        assert contents(store, fail) == without_extractions(written)
        store.put_extractions("names", {"c1": {"entities": ["x"]}})
        assert store.extractions("names", ["c1"]) == {"c1": {"entities": ["x"]}}
        assert store.check(quick=True) == []


def test_salvage_of_an_old_workspace_loses_nothing(old: Path, written: Contents, tmp_path: Path) -> None:
    assert salvage(old, tmp_path / "new") == []
    with Store.open(tmp_path / "new") as saved:
        assert contents(saved, fail) == without_extractions(written)
        assert saved.check() == []


def test_workspace_that_lost_its_extractions_is_not_an_old_one(whole: Path, tmp_path: Path) -> None:
    shutil.copy(whole / FILE, tmp_path / FILE)
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("DROP TABLE extractions")
    connection.close()
    with Store.open(tmp_path, write=False) as store, pytest.raises(StoreCorrupt, match="no such table: extractions"):
        store.extractions("names", ["c1"])


# ---- Derived files


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def zero_tail(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a flipped bit": lambda folder: flip(folder / "chunks.json"),
    "a zeroed tail": lambda folder: zero_tail(folder / "chunks.json"),
    "a cut": lambda folder: (folder / "parts" / "corpus").write_bytes(b""),
    "a lost file": lambda folder: (folder / "chunks.json").unlink(),
    "a further file": lambda folder: (folder / "parts" / "more").write_bytes(b"x"),
    "a renamed file": lambda folder: (folder / "chunks.json").rename(folder / "chunk.json"),
    "a lost folder": shutil.rmtree,
    "a file in place of the folder": lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"x")),
}


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_derived_files_are_built_again(
    whole: Path, tmp_path: Path, damage: Callable[[Path], Any], write: bool
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (folder,) = (tmp_path / "derived").iterdir()
    damage(folder)
    with Store.open(tmp_path, write=write) as store:
        assert len(store.check()) == 1
        rebuilt = build_index(store)
        assert rebuilt != folder
        assert (rebuilt / "parts" / "corpus").read_text(encoding="utf-8") == store.corpus_id()
        assert store.check(quick=True) == []
        if write:
            assert store.check() == []
            assert list((tmp_path / "derived").iterdir()) == [rebuilt]


def test_derived_files_of_another_workspace_are_not_used(whole: Path, tmp_path: Path) -> None:
    for name, text in (("a", "x"), ("b", "y")):
        with Store.open(tmp_path / name) as store:
            store.put_documents([entry("s", text)], origin="o", splitting="s")
            folder = build_index(store)
            folder.rename(tmp_path / f"index of {name}")
    (tmp_path / "index of a").rename(folder)
    with Store.open(tmp_path / "b") as store:
        assert (build_index(store) / "parts" / "corpus").read_text(encoding="utf-8") == store.corpus_id()


def test_damaged_row_of_derived_files_is_forgotten(whole: Path, tmp_path: Path) -> None:
    change(whole, tmp_path, "UPDATE derived SET files = '{}'")
    with Store.open(tmp_path, write=False) as store:
        assert tmp_path not in build_index(store).parents
    with Store.open(tmp_path) as store:
        assert store.check() == []
        assert build_index(store).parent.parent == tmp_path


# ---- Salvage


def test_salvage_of_a_whole_workspace_loses_nothing(whole: Path, written: Contents, tmp_path: Path) -> None:
    assert salvage(whole, tmp_path) == []
    with pytest.raises(StoreError, match=r"there is a workspace in .* already"):
        salvage(whole, tmp_path)
    with Store.open(tmp_path) as saved:
        assert contents(saved, fail) == written
        assert saved.check() == []


def test_salvage_of_a_damaged_workspace_saves_what_is_whole(whole: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    change(
        whole,
        old,
        "UPDATE documents SET text = 'x' WHERE source = '03.txt'",
        "UPDATE chunks SET text = 'x' WHERE source = '05.txt' AND position = 1",
        "DELETE FROM items WHERE question_id = 'q1'",
        "DELETE FROM meta",
    )
    lost = salvage(old, new)
    assert any("table documents: the row of '03.txt' is damaged" in line for line in lost)
    assert any("document '05.txt': chunks are missing" in line for line in lost)
    assert any("run 'r': 1 of 40 questions are missing" in line for line in lost)
    with Store.open(new) as saved:
        assert {found.source for found in saved.documents()} == {f"{n:02}.txt" for n in range(40) if n not in (3, 5)}
        assert {found.id for found in saved.documents()} == {chunk.document_id for chunk in saved.chunks()}
        assert saved.reply("key 7") is not None
        saved.begin_run("r", kind="qa", config={}, items=[(question, {"text": question}) for question in QUESTIONS])
        assert [item.status for item in saved.items("r")] == ["done", "pending", *["done"] * 28, *["pending"] * 10]
        assert saved.check() == []


def test_salvage_after_random_damage_never_saves_anything_wrong(whole: Path, written: Contents, tmp_path: Path) -> None:
    rng = random.Random(1)
    original = (whole / FILE).read_bytes()
    saved = 0
    for trial in range(20):
        data = bytearray(original)
        start = rng.randrange(len(data) - 4096)
        data[start : start + 4096] = rng.randbytes(4096)
        lost = salvage(damaged(bytes(data), tmp_path / "old"), tmp_path / f"new{trial}")
        with Store.open(tmp_path / f"new{trial}") as store:
            documents = list(store.documents())
            assert all(document in written["documents", ""] for document in documents)
            assert all("questions are missing" in line for line in store.check())
            for key in KEYS:
                assert store.reply(key) in (None, written["reply", key])
            saved += len(documents)
            assert lost or contents(store, fail) == written
    assert saved > 400
