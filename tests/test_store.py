"""What a workspace keeps and gives back: in a SQLite file, and the same in a Postgres server."""

import dataclasses
import math
import os
import stat
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_model import build_index, entry

from ragloom.errors import IndexMismatch, InputError, StoreError
from ragloom.store import Store
from ragloom.types import Chunk, Reply, TokenLogprob, Usage, content_id, document


@pytest.fixture(scope="module", params=["SQLite", "Postgres"], autouse=True)
def kept_in(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "Postgres":
            patch.setenv("RAGLOOM_DATABASE_URL", request.getfixturevalue("postgres"))
        yield request.param


def holdable(text: str, kept_in: str) -> str:
    """Postgres has no NUL character; documents with one are refused when they are read."""
    return text if kept_in == "SQLite" else text.replace("\0", "0")


def put(store: Store, *texts: tuple[str, str], origin: str = "folder") -> None:
    store.put_documents([entry(source, text) for source, text in texts], origin=origin, splitting="s")


# ---- The folder


def test_workspace_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "workspace"
    with Store.open(folder) as store:
        put(store, ("a", "text"))
        derived = build_index(store)
        assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, derived)} == {0o700}
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert len(files) >= 5
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_what_was_stored_is_there_when_opened_again(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "text"))
        chunks, corpus = store.chunks(), store.corpus_id()
    for write in (True, False):
        with Store.open(tmp_path, write=write) as store:
            assert (store.chunks(), store.corpus_id(), store.writable) == (chunks, corpus, write)


def test_reading_needs_a_workspace(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no workspace at .*nowhere; run `ragloom index` first"):
        Store.open(tmp_path / "nowhere", write=False)
    assert not (tmp_path / "nowhere").exists()


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="cannot be used as a workspace"):
        Store.open(tmp_path / "file")


def test_closed_store_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed database; open the workspace again"):
        store.chunks()


def test_store_opened_for_reading_is_not_written(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with Store.open(tmp_path, write=False) as store, pytest.raises(StoreError, match="opened for reading only"):
        put(store, ("a", "text"))


def test_reader_sees_the_workspace_as_it_was_when_opened(tmp_path: Path) -> None:
    with Store.open(tmp_path) as writer:
        put(writer, ("a", "old"))
        with Store.open(tmp_path, write=False) as reader:
            put(writer, ("a", "new"), ("b", "more"))
            assert [chunk.text for chunk in reader.chunks()] == ["old"]
        with Store.open(tmp_path, write=False) as reader:
            assert [chunk.text for chunk in reader.chunks()] == ["new", "more"]


# ---- Documents and chunks


def test_document_of_the_same_source_replaces_the_old_one(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "x" * 100), ("b", "y" * 100))
        put(store, ("a", "z" * 50))
        assert [(chunk.text[0], chunk.position) for chunk in store.chunks()] == [
            *(("z", 0), ("z", 1)),
            *(("y", 0), ("y", 1), ("y", 2)),
        ]
        assert [found.text[0] for found in store.documents()] == ["z", "y"]


def test_removing_a_document_removes_its_chunks(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "x" * 100), ("b", "y" * 100))
        assert store.remove_documents(["a", "never there"]) == 1
        assert {chunk.text[0] for chunk in store.chunks()} == {"y"}
        assert store.check() == []


def test_documents_of_one_origin_are_listed_with_id_and_splitting(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"), origin="first")
        put(store, ("b", "y"), origin="second")
        assert store.documents_of("first") == {"a": (entry("a", "x")[0].id, "s")}


def test_document_is_found_by_id_or_named_in_the_error(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
        assert store.document(entry("a", "x")[0].id).text == "x"
        with pytest.raises(StoreError, match="no document 123"):
            store.document("123")


def test_failing_entries_leave_the_store_as_it_was(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "old"))
        with pytest.raises(InputError, match="two documents have the source 'b'"):
            put(store, ("a", "new"), ("b", "x"), ("b", "y"))
        assert [found.text for found in store.documents()] == ["old"]
        assert store.check() == []


def test_writing_from_within_a_write_is_refused_and_undoes_both(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:

        def entries():  # type: ignore[no-untyped-def]
            yield entry("a", "x")
            store.remove_documents(["a"])

        with pytest.raises(RuntimeError, match="while it is being written"):
            store.put_documents(entries(), origin="o", splitting="s")
        assert list(store.documents()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (document("text"), "has no source"),
        (document("half \ud800", source="notes/a.txt"), "'notes/a.txt': its text has half a character .* at 5"),
        (document("text", title="\udfff", source="a.txt"), "'a.txt': its title has half a character"),
        (document("text", source="a.txt", meta={"k": ["\ud800"]}), "'a.txt': its meta has half a character"),
        (document("text", source="a.txt", meta={"k": math.nan}), "'a.txt': its meta is not JSON"),
        (document("text", source="a.txt", meta={"k": Path()}), "'a.txt': its meta is not JSON"),
        (dataclasses.replace(document("text", source="a.txt"), text="other"), "'a.txt': its id is not that of its con"),
    ],
)
def test_document_that_cannot_be_kept_is_named(tmp_path: Path, wrong, message: str) -> None:  # type: ignore[no-untyped-def]
    with Store.open(tmp_path) as store, pytest.raises(InputError, match=message):
        store.put_documents([(wrong, [])], origin="o", splitting="s")


def test_chunks_of_something_else_are_refused(tmp_path: Path) -> None:
    whole, chunks = entry("a", "x" * 40 + "y" * 40)
    with Store.open(tmp_path) as store:
        for wrong in (chunks[::-1], chunks[1:], [Chunk("1", "x")], [dataclasses.replace(chunks[0], start=1)]):
            with pytest.raises(ValueError, match="'a': chunk 0 is"):
                store.put_documents([(whole, wrong)], origin="o", splitting="s")


ODD_TEXT = st.text() | st.sampled_from(
    ["\0", "a\0b", "\ufffe\uffff", "\u202e{x}%s", "e\u0301", "\U0001f9d1\u200d\U0001f680"]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=5,
)
META = st.dictionaries(ODD_TEXT, JSON, max_size=3)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), sources=st.sets(ODD_TEXT.filter(bool), max_size=4))
def test_any_text_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, kept_in: str, data: st.DataObject, sources: set[str]
) -> None:
    entries = []
    for source in {holdable(source, kept_in) for source in sources}:
        text, title = (holdable(data.draw(ODD_TEXT), kept_in) for _ in range(2))
        whole = document(text, title=title, source=source, meta=data.draw(META))
        cuts = sorted(data.draw(st.sets(st.integers(0, len(whole.text)), max_size=4)))
        pieces = [whole.text[start:end] for start, end in pairwise(cuts)]
        chunks = [
            Chunk(content_id(whole.id, str(start)), piece, whole.title, whole.id, position, start, whole.meta)
            for position, (start, piece) in enumerate(zip(cuts, pieces, strict=False))
        ]
        entries.append((whole, chunks))
    with Store.open(tmp_path_factory.mktemp("odd")) as store:
        store.put_documents(entries, origin="o", splitting="s")
        entries.sort(key=lambda pair: pair[0].source)
        assert list(store.documents()) == [whole for whole, _ in entries]
        assert store.chunks() == [chunk for _, chunks in entries for chunk in chunks]
        assert store.check() == []


CHANGES = st.lists(
    st.dictionaries(st.sampled_from("abcde"), st.text(st.sampled_from("xyz \0é"), max_size=100), max_size=4)
    | st.sets(st.sampled_from("abcde"), max_size=3),
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(changes=CHANGES)
def test_after_any_changes_the_store_equals_a_fresh_one(
    tmp_path_factory: pytest.TempPathFactory, kept_in: str, changes: list[dict[str, str] | set[str]]
) -> None:
    folder = tmp_path_factory.mktemp("changes")
    texts: dict[str, str] = {}
    with Store.open(folder / "changed") as changed, Store.open(folder / "fresh") as fresh:
        corpora = {(): changed.corpus_id()}
        for change in changes:
            if isinstance(change, dict):
                put_now = {source: holdable(text, kept_in) for source, text in change.items()}
                texts.update(put_now)
                put(changed, *put_now.items())
            else:
                there = change & texts.keys()
                assert changed.remove_documents(change) == len(there)
                texts = {source: text for source, text in texts.items() if source not in there}
            chunked = tuple(sorted((source, text) for source, text in texts.items() if text))
            assert corpora.setdefault(chunked, changed.corpus_id()) == changed.corpus_id()
        assert len(set(corpora.values())) == len(corpora)
        put(fresh, *sorted(texts.items(), reverse=True))
        assert changed.chunks() == fresh.chunks()
        assert list(changed.documents()) == list(fresh.documents())
        assert changed.corpus_id() == fresh.corpus_id()
        assert changed.check() == []


# ---- Vectors


def test_vectors_come_back_exactly_and_only_those_that_are_there(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((1200, 3)).astype(np.float32)
    with Store.open(tmp_path) as store:
        store.put_vectors("m", {f"k{n}": row for n, row in enumerate(rows)})
        found = store.vectors("m", [f"k{n}" for n in range(1300)])
        assert found.keys() == {f"k{n}" for n in range(1200)}
        assert all(np.array_equal(found[f"k{n}"], row) for n, row in enumerate(rows))
        assert found["k0"].dtype == np.float32
        assert store.vectors("other", ["k1"]) == {}
        assert store.vectors("m", []) == {}


def test_vectors_of_another_dimension_are_refused_whole(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put_vectors("m", {"a": np.ones(3, np.float32)})
        store.put_vectors("other", {"a": np.ones(2, np.float32)})
        with pytest.raises(IndexMismatch, match="m gave vectors of 3 dimensions so far, and now of 2"):
            store.put_vectors("m", {"b": np.ones(3, np.float32), "c": np.ones(2, np.float32)})
        assert store.vectors("m", ["a", "b", "c"]).keys() == {"a"}


@pytest.mark.parametrize("wrong", [np.array([1, np.nan], np.float32), np.ones((1, 2), np.float32)])
def test_vector_that_is_none_is_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    with Store.open(tmp_path) as store, pytest.raises(ValueError, match="the vector of key must be one row of finite"):
        store.put_vectors("m", {"key": wrong})


# ---- Replies and attempts

USAGE = st.builds(
    Usage, st.integers(0, 10**6), st.integers(0, 10**6), calls=st.integers(0, 9), cost=st.none() | st.floats(0, 1e6)
)
LOGPROB = st.floats(max_value=0.0)
TOKEN = st.builds(TokenLogprob, st.text(), LOGPROB, st.lists(st.tuples(st.text(), LOGPROB), max_size=2).map(tuple))
REPLY = st.builds(
    Reply,
    st.text(st.characters(), min_size=1) | st.just("half \ud800"),
    USAGE,
    st.none() | st.lists(TOKEN, max_size=3).map(tuple),
    st.sampled_from(["stop", "length"]),
    st.text(),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for many examples: making one takes several trips to the disk."""
    with Store.open(tmp_path_factory.mktemp("shared")) as store:
        yield store


@settings(max_examples=60, deadline=None)
@given(reply=REPLY)
def test_reply_comes_back_exactly(shared: Store, reply: Reply) -> None:
    attempt = shared.begin_attempt("key", model="m")
    shared.finish_attempt(attempt, reply)
    assert shared.reply("key") == reply
    assert shared.reply("other") is None
    assert shared.attempts()[-1].usage == reply.usage


def test_ledger_tells_open_paid_and_failed_attempts_apart(tmp_path: Path) -> None:
    usage = Usage(prompt_tokens=5, completion_tokens=2, calls=1, cost=0.25)
    with Store.open(tmp_path) as store:
        first = store.begin_attempt("a", model="m", run_id="r")
        second = store.begin_attempt("b", model="m", run_id="r")
        third = store.begin_attempt("c", model="m")
        store.finish_attempt(first, Reply("x", usage))
        store.finish_attempt(second, None, error="Timeout \ud800")
    with Store.open(tmp_path) as store:
        assert [(a.id, a.key, a.run_id, a.status, a.error) for a in store.attempts()] == [
            (first, "a", "r", "ok", ""),
            (second, "b", "r", "error", "Timeout \\ud800"),
            (third, "c", "", "open", ""),
        ]
        assert [a.usage for a in store.attempts(run_id="r")] == [usage, Usage()]
        assert store.begin_attempt("d", model="m") == third + 1


def test_bad_or_unkept_reply_is_paid_for_and_not_given_again(tmp_path: Path) -> None:
    usage = Usage(completion_tokens=7, calls=1)
    with Store.open(tmp_path) as store:
        store.finish_attempt(store.begin_attempt("bad", model="m"), Reply("x", usage), error="BadReply")
        store.finish_attempt(store.begin_attempt("unkept", model="m"), Reply("x", usage), keep=False)
        assert (store.reply("bad"), store.reply("unkept")) == (None, None)
        assert [(a.status, a.usage) for a in store.attempts()] == [("error", usage), ("ok", usage)]


def test_attempt_is_settled_once_and_for_a_reason(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        attempt = store.begin_attempt("a", model="m")
        with pytest.raises(ValueError, match="needs an error"):
            store.finish_attempt(attempt, None)
        store.finish_attempt(attempt, Reply("first"))
        with pytest.raises(StoreError, match=r"attempt 1 .* is not open"):
            store.finish_attempt(attempt, Reply("second"))
        assert store.reply("a") == Reply("first")


# ---- Runs


def begin(store: Store, *questions: str, run_id: str = "r", k: int = 5) -> None:
    store.begin_run(
        run_id, kind="qa", config={"k": k}, items=[(question, {"text": question}) for question in questions]
    )


def test_run_keeps_the_order_of_its_questions(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        begin(store, "c", "a", "b")
        store.commit_item("r", "a", status="done", result={"text": "yes"})
        store.commit_item("r", "b", status="failed", result={"error": "BadReply"})
        assert [(i.question_id, i.position, i.status, i.result) for i in store.items("r")] == [
            ("c", 0, "pending", None),
            ("a", 1, "done", {"text": "yes"}),
            ("b", 2, "failed", {"error": "BadReply"}),
        ]
        assert [item.question for item in store.items("r", status={"pending", "failed"})] == [
            {"text": "c"},
            {"text": "b"},
        ]
        assert dict(store.run("r").counts) == {"pending": 1, "done": 1, "failed": 1}


def test_beginning_the_same_run_again_changes_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        begin(store, "a", "b")
        store.commit_item("r", "a", status="done", result={})
        before = store.run("r")
        begin(store, "a", "b")
        assert store.run("r") == before
        assert (before.kind, before.config) == ("qa", {"k": 5})


def test_another_run_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        begin(store, "a", "b")
        for other in ({"k": 6}, {}):
            with pytest.raises(StoreError, match=r"the run 'r' .* has other settings or questions"):
                begin(store, *("a" if other else "ba"), **other)
        assert len(store.items("r")) == 2


def test_two_questions_of_one_id_are_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, pytest.raises(InputError, match="run 'r': several questions have the id 'a'"):
        begin(store, "a", "b", "a")


def test_ids_with_half_a_character_are_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with pytest.raises(InputError, match=r"'q\\ud800' has half a character"):
            begin(store, "a", "q\ud800")
        with pytest.raises(InputError, match="has half a character"):
            store.reply("\ud800")
        assert store.runs() == []


def test_done_item_never_changes(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        begin(store, "a")
        store.commit_item("r", "a", status="done", result={"text": "yes"})
        store.commit_item("r", "a", status="done", result={"text": "yes"})
        with pytest.raises(StoreError, match="question 'a' of the run 'r' is done"):
            store.commit_item("r", "a", status="failed", result={})
        assert [item.result for item in store.items("r")] == [{"text": "yes"}]


def test_failed_items_become_pending_on_request(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        begin(store, "a", "b", "c")
        store.commit_item("r", "a", status="failed", result={"error": "x"})
        store.commit_item("r", "b", status="done", result={})
        assert store.reset_failed("r") == 1
        assert [(item.status, item.result) for item in store.items("r")] == [
            ("pending", None),
            ("done", {}),
            ("pending", None),
        ]


def test_unknown_runs_and_questions_are_named(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        begin(store, "a")
        with pytest.raises(StoreError, match="no run 'x'"):
            store.items("x")
        with pytest.raises(StoreError, match="no run 'x'"):
            store.run("x")
        with pytest.raises(StoreError, match=r"the run 'r' .* has no question 'z'"):
            store.commit_item("r", "z", status="done", result={})


def test_runs_are_listed_in_the_order_they_began(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for name in ("first", "second"):
            begin(store, "a", run_id=name)
        assert {run.id for run in store.runs()} == {"first", "second"}
        assert [run.created for run in store.runs()] == sorted(run.created for run in store.runs())


# ---- Extractions

FOUND = {"entities": ["Théâtre", "a\ud800b", "\0", ""], "triples": [["s", "r", "o"]], "dropped": 2}


def test_extraction_comes_back_as_it_was_put(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put_extractions("names", {"1": FOUND, "2": {"entities": []}})
    with Store.open(tmp_path, write=False) as store:
        assert store.extractions("names", ["1", "2", "3"]) == {"1": FOUND, "2": {"entities": []}}
        assert store.extractions("other", ["1", "2", "3"]) == {}
        assert store.extractions("names", []) == {}


def test_more_extractions_are_read_than_a_statement_takes_values(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put_extractions("names", {str(n): {"n": n} for n in range(1500)})
        found = store.extractions("names", [str(n) for n in range(1000, 2000)])
        assert found == {str(n): {"n": n} for n in range(1000, 1500)}


def test_failed_extraction_is_no_empty_one(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put_extractions("names", {"1": FOUND}, failed={"2": "no JSON: a\ud800"})
        assert store.extractions("names", ["1", "2"]) == {"1": FOUND}
        assert (store.extracted("names"), store.extracted("other")) == ({"1"}, set())
        assert store.failed_extractions("names") == {"2": "no JSON: a\\ud800"}
        assert store.failed_extractions("other") == {}


def test_extraction_takes_the_place_of_a_failure(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.put_extractions("names", {}, failed={"1": "no JSON"})
        store.put_extractions("names", {"1": FOUND})
        assert (store.extractions("names", ["1"]), store.failed_extractions("names")) == ({"1": FOUND}, {})


@pytest.mark.parametrize("wrong", [None, {"score": math.nan}, {"text": {1, 2}}])
def test_extractions_are_put_all_or_none(tmp_path: Path, wrong: object) -> None:
    with Store.open(tmp_path) as store:
        with pytest.raises((ValueError, TypeError)):
            store.put_extractions("names", {"1": FOUND, "2": wrong})
        assert store.extractions("names", ["1", "2"]) == {}
        assert store.check() == []


def test_extraction_id_changes_with_what_was_found_and_with_nothing_else(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        ids = [store.extraction_id("names")]
        for found in ({"1": FOUND}, {"2": {"entities": []}}, {"2": {"entities": ["x"]}}):
            store.put_extractions("names", found)
            ids.append(store.extraction_id("names"))
        assert len(set(ids)) == 4
        store.put_extractions("names", {"1": FOUND}, failed={"3": "no JSON"})
        store.put_extractions("other", {"1": FOUND})
        assert store.extraction_id("names") == ids[-1]


def test_extractions_outlive_their_chunks(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "text"))
        chunk_id = store.chunks()[0].id
        store.put_extractions("names", {chunk_id: FOUND})
        store.remove_documents(["a"])
        put(store, ("a", "text"))
        assert store.extractions("names", [store.chunks()[0].id]) == {chunk_id: FOUND}


# ---- Derived files


def test_derived_files_are_built_once_for_a_corpus(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "file").write_text(str(len(built)), encoding="utf-8")

    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
        first = store.derived("index", {"k": 1}, build)
    with Store.open(tmp_path) as store:
        assert store.derived("index", {"k": 1}, build) == first
        assert store.derived("index", {"k": 2}, build) != first
        assert store.derived("other", {"k": 1}, build) != first
        assert first.exists()
        put(store, ("a", "y"))
        assert store.derived("index", {"k": 1}, build) != first
        assert len(built) == 4
        assert len(list((tmp_path / "derived").iterdir())) == 2  # nothing is left of the indexes of the old corpus
        assert store.check() == []


def test_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("x", encoding="utf-8")
        raise FileNotFoundError("model.bin")

    with Store.open(tmp_path) as store:
        with pytest.raises(FileNotFoundError, match=r"model\.bin"):
            store.derived("index", {}, build)
        assert list((tmp_path / "derived").iterdir()) == []


def grow(store: Store, log: list[str], *, made_from: str = "") -> Path:
    """Derived files of one line per build or update."""

    def build(folder: Path) -> None:
        log.append("built")
        (folder / "lines").write_text(store.corpus_id() + "\n", encoding="utf-8")

    def update(folder: Path, previous: Path) -> None:
        log.append("updated")
        before = (previous / "lines").read_text(encoding="utf-8")
        (folder / "lines").write_text(before + store.corpus_id() + "\n", encoding="utf-8")

    return store.derived("index", {"k": 1}, build, update=update, made_from=made_from)


def test_derived_files_are_updated_from_the_last_build(tmp_path: Path) -> None:
    log: list[str] = []
    with Store.open(tmp_path) as store:
        for text in "xyz":
            put(store, ("a", text))
            folder = grow(store, log)
            assert grow(store, log) == folder
        assert log == ["built", "updated", "updated"]
        assert (folder / "lines").read_text(encoding="utf-8").count("\n") == 3
        assert list((tmp_path / "derived").iterdir()) == [folder]
        assert store.check() == []


def test_files_of_other_parameters_are_no_start_for_an_update(tmp_path: Path) -> None:
    log: list[str] = []
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
        store.derived("index", {"k": 2}, lambda folder: (folder / "lines").write_bytes(b"other"))
        grow(store, log)
    assert log == ["built"]


@pytest.mark.parametrize("write", [True, False])
def test_damaged_files_are_no_start_for_an_update(tmp_path: Path, write: bool) -> None:
    log: list[str] = []
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
        (grow(store, log) / "lines").write_text("y\n", encoding="utf-8")
        put(store, ("a", "y"))
    with Store.open(tmp_path, write=write) as store:
        assert len(store.check()) == 1
        grow(store, log)
    assert log == ["built", "built"]


def test_reader_updates_into_a_folder_of_its_own(tmp_path: Path) -> None:
    log: list[str] = []
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
        old = grow(store, log)
        put(store, ("a", "y"))
    with Store.open(tmp_path, write=False) as store:
        folder = grow(store, log)
        assert grow(store, log) == folder
        assert tmp_path not in folder.parents
    assert log == ["built", "updated"]
    assert old.exists()


def test_update_that_fails_leaves_the_last_build(tmp_path: Path) -> None:
    def update(folder: Path, previous: Path) -> None:
        (folder / "half").write_text("x", encoding="utf-8")
        raise FileNotFoundError("model.bin")

    log: list[str] = []
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
        old = grow(store, log)
        put(store, ("a", "y"))
        with pytest.raises(FileNotFoundError, match=r"model\.bin"):
            store.derived("index", {"k": 1}, lambda folder: None, update=update)
        assert list((tmp_path / "derived").iterdir()) == [old]
        grow(store, log)
    assert log == ["built", "updated"]


def test_derived_files_are_stale_when_what_else_they_are_made_from_changes(tmp_path: Path) -> None:
    log: list[str] = []
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
        other = store.derived("index", {"k": 2}, lambda folder: None)
        for made_from in ("", "a", "a", "b", ""):
            folder = grow(store, log, made_from=made_from)
        assert log == ["built", "updated", "updated", "updated"]
        assert set((tmp_path / "derived").iterdir()) == {folder, other}  # other parameters, same corpus: both are used


def test_derived_files_of_a_reader_go_when_it_is_closed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
    with Store.open(tmp_path, write=False) as store:
        folder = build_index(store)
        assert build_index(store) == folder
        assert tmp_path not in folder.parents
        assert (folder / "parts" / "corpus").read_text(encoding="utf-8") == store.corpus_id()
    assert not folder.exists()


def test_reader_uses_the_files_that_the_writer_built(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
        folder = build_index(store)
    with Store.open(tmp_path, write=False) as store:
        assert build_index(store) == folder


@pytest.mark.parametrize("name", ["", "../x", "/abs", "A", "a b", ".", "a\0", "-a", "x" * 65, "a\n"])
def test_name_of_derived_files_stays_within_the_workspace(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path) as store, pytest.raises(ValueError, match="the name of derived files"):
        store.derived(name, {}, lambda folder: None)


# ---- Threads and processes


def test_threads_share_a_store(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                key = f"{number}-{turn}"
                store.finish_attempt(store.begin_attempt(key, model="m"), Reply(key))
                put(store, (key, key))
                build_index(store)
                assert store.reply(key) == Reply(key)
        except Exception as error:  # noqa: BLE001 - shown below
            failures.append(error)

    with Store.open(tmp_path) as store:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(store.chunks()) == 40
        assert [attempt.id for attempt in store.attempts()] == list(range(1, 41))
        assert store.check() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_may_not_use_the_store_and_leaves_it_alone(tmp_path: Path, kept_in: str) -> None:
    with Store.open(tmp_path) as store:
        put(store, ("a", "x"))
        child = os.fork()
        if child == 0:
            try:
                store.close()
                store.chunks()
            except StoreError as error:
                os._exit(7 if "forked child" in str(error) else 8)
            finally:
                os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        put(store, ("b", "y"))
        if kept_in == "SQLite":  # the other one has no lease that the child could have given back
            with pytest.raises(StoreError, match=f"process {os.getpid()}"):
                Store.open(tmp_path, lock_timeout_s=0)
