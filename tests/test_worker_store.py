"""What a worker of a cluster did reaches the workspace as if the writer had done it."""

from pathlib import Path

import pytest
from store_model import entry

from ragloom.errors import StoreError
from ragloom.store import Done, Store
from ragloom.types import Reply, Usage
from ragloom.worker_store import WorkerStore

IDS = ("a", "b", "c")
REPLY = Reply("yes", Usage(prompt_tokens=3, completion_tokens=1, calls=1), model="m")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Store.open(tmp_path) as store:
        store.put_documents([entry("d", "text")], origin="o", splitting="s")
        store.begin_run("r", kind="batch", config={}, items=[(id_, {"text": id_}) for id_ in IDS])
        store.finish_attempt(store.begin_attempt("old", model="m", run_id="r"), REPLY)
    return tmp_path


def worker(folder: Path, *ids: str) -> WorkerStore:
    with Store.open(folder, write=False) as store:
        return WorkerStore(folder, "r", [item for item in store.items("r") if item.question_id in ids])


def test_nothing_is_written_until_it_is_taken_in(folder: Path) -> None:
    with Store.open(folder) as writer, worker(folder, "a", "b") as store:
        attempt = store.begin_attempt("new", model="m", run_id="r")
        store.finish_attempt(attempt, REPLY)
        store.finish_attempt(store.begin_attempt("bad", model="m", run_id="r"), None, error="BadReply \ud800")
        store.commit_item("r", "a", status="done", result={"text": "yes"})
        assert store.reply("new") == store.reply("old") == REPLY
        assert store.run("r").counts == {"pending": 1, "done": 1, "failed": 0}
        assert writer.run("r").counts["done"] == 0
        assert writer.reply("new") is None
        writer.take_in("r", store.done())
        assert writer.run("r").counts == {"pending": 2, "done": 1, "failed": 0}
        assert writer.reply("new") == REPLY
        ledger = [(each.id, each.key, each.status, each.usage.calls, each.error) for each in writer.attempts()]
        assert ledger == [
            (1, "old", "ok", 1, ""),
            (2, "new", "ok", 1, ""),
            (3, "bad", "error", 0, "BadReply \\ud800"),
        ]
        assert writer.check() == []


def test_a_worker_reads_the_documents_beside_the_writer(folder: Path) -> None:
    with Store.open(folder) as writer, worker(folder, "a") as store:
        assert store.corpus_id() == writer.corpus_id()
        assert [chunk.text for chunk in store.chunks()] == [chunk.text for chunk in writer.chunks()]


def test_a_reply_to_bad_form_is_counted_and_not_kept(folder: Path) -> None:
    with worker(folder, "a") as store:
        store.finish_attempt(store.begin_attempt("new", model="m", run_id="r"), REPLY, keep=False)
        done = store.done()
    assert [each.usage for each in done.attempts] == [REPLY.usage]
    assert done.replies == {}


def test_an_answer_that_comes_twice_stays_the_first(folder: Path) -> None:
    with Store.open(folder) as writer:
        for text in ("first", "second"):
            with worker(folder, "a") as store:
                store.commit_item("r", "a", status="done", result={"text": text})
                writer.take_in("r", store.done())
        assert [item.result for item in writer.items("r", status={"done"})] == [{"text": "first"}]


def test_a_question_of_no_run_enters_nothing(folder: Path) -> None:
    with worker(folder, "a") as store, Store.open(folder) as writer:
        store.finish_attempt(store.begin_attempt("new", model="m", run_id="r"), REPLY)
        store.commit_item("r", "a", status="done", result={})
        done = store.done()
        with pytest.raises(StoreError, match="no question 'a'"):
            writer.take_in("other", done)
        assert len(writer.attempts()) == 1
        assert writer.reply("new") is None
        writer.take_in("r", Done([], {}, []))


def test_a_worker_has_its_part_of_one_run(folder: Path) -> None:
    with worker(folder, "a") as store:
        assert [item.question_id for item in store.items("r")] == ["a"]
        with pytest.raises(StoreError, match="a part of the run 'r', not of 'other'"):
            store.items("other")
