import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ragloom.components.llm import ScriptedLLM
from ragloom.errors import BadReply, BudgetExceeded, EndpointUnreachable, RequestRefused, StoreError
from ragloom.graph.extracting import FAILURES_IN_A_ROW, extract, stored_extractions
from ragloom.graph.extraction import Extraction, Triple
from ragloom.graph.llm_extraction import LLMExtractor
from ragloom.run import Budget, Run
from ragloom.store import Store
from ragloom.types import Chunk

CHUNKS = [Chunk(f"c{n}", f"Name {n} is here.") for n in range(30)]


@dataclass
class Names:
    """An extractor that names each chunk's text, and raises where it is told to."""

    fails: Callable[[Chunk], Exception | None] = lambda chunk: None
    identity: str = "names"
    read: list[str] = field(default_factory=list)

    def __call__(self, chunk: Chunk, /) -> Extraction:
        self.read.append(chunk.id)
        error = self.fails(chunk)
        if error is not None:
            raise error
        return Extraction((chunk.text,), (Triple(chunk.text, "is", "here"),), 1)


def failing(*ids: str, error: Exception) -> Callable[[Chunk], Exception | None]:
    return lambda chunk: error if chunk.id in ids else None


def test_each_chunk_is_read_once(tmp_path: Path):
    names = Names()
    with Store.open(tmp_path) as store:
        first = extract(CHUNKS, names, store, progress=False)
        assert (first.extracted, first.reused, first.failed, first.dropped) == (30, 0, [], 30)
    with Store.open(tmp_path) as store:
        again = extract([*CHUNKS, CHUNKS[0], Chunk("new", "New")], names, store, progress=False)
        assert (again.extracted, again.reused) == (1, 30)
        assert sorted(names.read) == sorted([*(chunk.id for chunk in CHUNKS), "new"])
        found = stored_extractions(store, "names", ["c3", "new", "never"])
    assert found == {
        "c3": Extraction(("Name 3 is here.",), (Triple("Name 3 is here.", "is", "here"),), 1),
        "new": Extraction(("New",), (Triple("New", "is", "here"),), 1),
    }


def test_extractors_of_other_identity_read_for_themselves(tmp_path: Path):
    with Store.open(tmp_path) as store:
        extract(CHUNKS[:3], Names(), store, progress=False)
        assert extract(CHUNKS[:3], Names(identity="others"), store, progress=False).extracted == 3


def test_no_chunks_are_no_work(tmp_path: Path):
    with Store.open(tmp_path) as store:
        report = extract([], Names(), store, progress=False)
    assert (report.extracted, report.reused, report.failed) == (0, 0, [])


def test_failed_chunks_are_told_and_tried_again_only_when_asked(tmp_path: Path):
    broken = Names(failing("c1", "c2", error=BadReply("no JSON")))
    with Store.open(tmp_path) as store:
        report = extract(CHUNKS, broken, store, progress=False)
        assert report.extracted == 28
        assert report.failed == [(CHUNKS[1], "no JSON"), (CHUNKS[2], "no JSON")]
        assert stored_extractions(store, "names", ["c1", "c2"]) == {}
        healed = Names()
        assert extract(CHUNKS, healed, store, progress=False).failed == report.failed
        assert healed.read == []
        again = extract(CHUNKS, healed, store, progress=False, retry_failed=True)
        assert (again.extracted, again.reused, again.failed) == (2, 28, [])
        assert store.failed_extractions("names") == {}


def test_failures_of_other_chunks_are_not_reported(tmp_path: Path):
    with Store.open(tmp_path) as store:
        extract(CHUNKS[:2], Names(failing("c0", error=BadReply("no JSON"))), store, progress=False)
        assert extract(CHUNKS[1:3], Names(), store, progress=False).failed == []


def test_chunk_that_the_model_refuses_fails_where_it_answers_about_others(tmp_path: Path):
    long = Names(failing("c29", error=RequestRefused("the prompt is too long")))
    with Store.open(tmp_path) as store:
        report = extract(CHUNKS, long, store, workers=1, progress=False)
    assert report.failed == [(CHUNKS[29], "the prompt is too long")]


@pytest.mark.parametrize("chunks", [CHUNKS, CHUNKS[:3]])
def test_model_that_cannot_be_asked_fails_no_chunk(tmp_path: Path, chunks: list[Chunk]):
    gone = Names(lambda chunk: EndpointUnreachable("no connection"))
    with Store.open(tmp_path) as store:
        with pytest.raises(EndpointUnreachable):
            extract(chunks, gone, store, workers=1, progress=False)
        assert len(gone.read) <= FAILURES_IN_A_ROW + 1  # one more was under way
        assert store.failed_extractions("names") == {}
        assert extract(chunks, Names(), store, progress=False).extracted == len(chunks)


def test_model_that_goes_away_stops_the_work_and_keeps_what_is_done(tmp_path: Path):
    goes = Names(lambda chunk: None if int(chunk.id[1:]) < 12 else EndpointUnreachable("no connection"))
    with Store.open(tmp_path) as store:
        with pytest.raises(EndpointUnreachable):
            extract(CHUNKS, goes, store, workers=1, progress=False)
        assert len(goes.read) == 12 + FAILURES_IN_A_ROW + 1  # one more was under way
        report = extract(CHUNKS, Names(), store, progress=False)
    assert (report.extracted, report.reused) == (18, 12)


def test_bug_of_an_extractor_is_raised_and_what_is_done_is_kept(tmp_path: Path):
    with Store.open(tmp_path) as store:
        with pytest.raises(ZeroDivisionError):
            extract(CHUNKS, Names(failing("c20", error=ZeroDivisionError())), store, workers=1, progress=False)
        assert len(store.extracted("names")) >= 19
        assert store.failed_extractions("names") == {}


@pytest.mark.parametrize("workers", [1, 4])
def test_budget_stops_the_work_and_keeps_what_was_paid_for(tmp_path: Path, workers: int):
    llm = ScriptedLLM(lambda messages: json.dumps({"entities": [], "triples": []}))
    extractor = LLMExtractor(llm)
    with Store.open(tmp_path) as store:
        with Run(Budget(calls=21)) as run, pytest.raises(BudgetExceeded, match="21 calls"):
            extract(CHUNKS, extractor, store, workers=workers, progress=False)
        assert run.spent.calls == 21
        done = len(store.extracted(extractor.identity))
        assert 21 // 2 - workers < done <= 21 // 2
        assert store.failed_extractions(extractor.identity) == {}
        report = extract(CHUNKS, extractor, store, workers=workers, progress=False)
    assert (report.extracted, report.reused) == (30 - done, done)


def test_chunks_are_read_side_by_side(tmp_path: Path):
    together = threading.Barrier(4, timeout=60)

    def wait(chunk: Chunk) -> None:
        together.wait()

    with Store.open(tmp_path) as store:
        assert extract(CHUNKS[:28], Names(wait), store, workers=4, progress=False).extracted == 28


def test_workspace_that_is_only_read_takes_no_extractions(tmp_path: Path):
    with Store.open(tmp_path) as store:
        extract(CHUNKS[:2], Names(), store, progress=False)
    with Store.open(tmp_path, write=False) as store:
        assert extract(CHUNKS[:2], Names(), store, progress=False).reused == 2
        with pytest.raises(StoreError, match="opened for reading only"):
            extract(CHUNKS, Names(), store, progress=False)


KILLED = """
import os, signal, sys
from ragloom.graph.extracting import extract
from ragloom.graph.extraction import Extraction
from ragloom.store import Store
from ragloom.types import Chunk

class Killed:
    identity = "names"
    def __call__(self, chunk):
        if chunk.id == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)
        return Extraction((chunk.text,))

with Store.open(sys.argv[1]) as store:
    extract([Chunk(f"c{n}", f"Name {n} is here.") for n in range(30)], Killed(), store, workers=1, progress=False)
"""


@pytest.mark.skipif(os.name == "nt", reason="kills a process the POSIX way")
def test_killed_work_goes_on_where_it_was(tmp_path: Path):
    kept = 0
    for fatal in ("c3", "c17", "c29"):
        killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), fatal], check=False)
        assert killed.returncode == -signal.SIGKILL
        with Store.open(tmp_path) as store:
            done = store.extracted("names")
            assert store.check() == []
            assert len(done) >= kept
            kept = len(done)
    assert kept > 0
    with Store.open(tmp_path) as store:
        report = extract(CHUNKS, Names(), store, progress=False)
        assert (report.extracted, report.reused) == (30 - kept, kept)
        found = stored_extractions(store, "names", [chunk.id for chunk in CHUNKS])
    assert {id_: one.entities for id_, one in found.items()} == {chunk.id: (chunk.text,) for chunk in CHUNKS}
