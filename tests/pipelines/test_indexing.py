import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hash_embedder import HashEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragloom.components.ingestion import Skipped
from ragloom.components.splitting import SentenceSplitting, WholePassages
from ragloom.components.tokenizing import Tokenizer
from ragloom.errors import InputError
from ragloom.pipelines.indexing import IndexReport, index_corpus, open_bm25, open_dense, remove_sources
from ragloom.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    for name, text in {"a.txt": "apples are red", "b.txt": "bees are busy", "sub/c.txt": "cats are calm"}.items():
        write(folder / name, text)
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def jsonl(path: Path, *records: object) -> Path:
    return write(path, "".join(json.dumps(record) + "\n" for record in records))


def index(store: Store, *inputs: str | Path, **options: Any) -> IndexReport:
    return index_corpus(inputs, store, progress=False, **options)


def sources(store: Store) -> list[str]:
    return [document.source for document in store.documents()]


def counts(report: IndexReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.unchanged, report.removed


@dataclass
class CountingEmbedder:
    """Counts the texts it embeds."""

    model: str = "hashed-words"
    texts: list[str] = field(default_factory=list)

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        self.texts += texts
        return HashEmbedder()(texts)


# ---- Keeping in step


def test_indexing_adds_and_indexing_again_changes_nothing(store: Store, notes: Path) -> None:
    assert index(store, notes) == IndexReport(3, 0, 0, 0, [], 3)
    corpus = store.corpus_id()
    assert index(store, notes) == IndexReport(0, 0, 3, 0, [], 3)
    assert (store.corpus_id(), sources(store)) == (corpus, ["a.txt", "b.txt", "sub/c.txt"])


def test_changed_new_and_vanished_files_are_followed(store: Store, notes: Path) -> None:
    index(store, notes)
    write(notes / "a.txt", "apples are green")
    (notes / "b.txt").unlink()
    write(notes / "d.txt", "dogs bark")
    assert counts(index(store, notes)) == (1, 1, 1, 1)
    assert [document.text for document in store.documents()] == ["apples are green", "dogs bark", "cats are calm"]
    assert store.check() == []


def test_inputs_are_kept_in_step_each_by_itself(store: Store, notes: Path, tmp_path: Path) -> None:
    records = jsonl(tmp_path / "c.jsonl", {"id": 1, "text": "one"}, {"id": 2, "text": "two"})
    index(store, notes, records)
    shutil.rmtree(notes / "sub")
    jsonl(records, {"id": 2, "text": "two"})
    assert counts(index(store, notes)) == (0, 0, 2, 1)
    assert sources(store) == ["a.txt", "b.txt", "c.jsonl#1", "c.jsonl#2"]
    assert counts(index(store, records)) == (0, 0, 1, 1)
    assert sources(store) == ["a.txt", "b.txt", "c.jsonl#2"]


def test_a_change_of_meta_alone_is_a_change(store: Store, tmp_path: Path) -> None:
    records = jsonl(tmp_path / "c.jsonl", {"id": 1, "text": "one", "year": 1999})
    index(store, records)
    jsonl(records, {"id": 1, "text": "one", "year": 2000})
    assert counts(index(store, records)) == (0, 1, 0, 0)
    assert store.chunks()[0].meta == {"year": 2000}


def test_another_splitter_splits_anew(store: Store, tmp_path: Path) -> None:
    text = write(tmp_path / "a.txt", "A sentence of some words. " * 40)
    assert index(store, text, splitter=WholePassages()).chunks == 1
    report = index(store, text, splitter=SentenceSplitting(32, 0))
    assert (counts(report), report.chunks > 5) == ((0, 1, 0, 0), True)
    assert counts(index(store, text, splitter=SentenceSplitting(32, 0))) == (0, 0, 1, 0)


def test_the_field_with_the_text_can_be_named(store: Store, tmp_path: Path) -> None:
    index(store, jsonl(tmp_path / "c.jsonl", {"body": "words", "id": 1}), text_field="body")
    assert [chunk.text for chunk in store.chunks()] == ["words"]


def test_a_document_of_the_same_source_from_elsewhere_is_refused(store: Store, tmp_path: Path) -> None:
    for name in ("x", "y"):
        write(tmp_path / name / "readme.md", f"about {name}")
    index(store, tmp_path / "x")
    with pytest.raises(
        InputError, match=r"y/readme\.md: the workspace holds another document of the source readme\.md"
    ):
        index(store, tmp_path / "y")
    assert [document.text for document in store.documents()] == ["about x"]
    assert sources_after_indexing_both(tmp_path) == ["x/readme.md", "y/readme.md"]


def sources_after_indexing_both(folder: Path) -> list[str]:
    with Store.open(folder / "another") as store:
        index(store, folder)
        return sources(store)


def test_the_same_document_from_elsewhere_comes_over(store: Store, notes: Path) -> None:
    index(store, notes / "a.txt")
    assert counts(index(store, notes)) == (2, 0, 1, 0)
    (notes / "a.txt").unlink()
    assert counts(index(store, notes)) == (0, 0, 2, 1)


def test_a_record_and_a_file_named_alike_are_refused(store: Store, tmp_path: Path) -> None:
    jsonl(tmp_path / "in" / "a.jsonl", {"id": "b.txt", "text": "record"})
    write(tmp_path / "in" / "a.jsonl#b.txt", "file")
    with pytest.raises(InputError, match=r"holds another document of the source a\.jsonl#b\.txt"):
        index(store, tmp_path / "in")


def test_a_glob_is_an_input_like_any_other(store: Store, notes: Path) -> None:
    assert counts(index(store, str(notes / "*.txt"))) == (2, 0, 0, 0)
    (notes / "b.txt").unlink()
    assert counts(index(store, str(notes / "*.txt"))) == (0, 0, 1, 1)


def test_braces_and_marks_in_documents_are_kept(store: Store, tmp_path: Path) -> None:
    text = "{x} {{7*7}} %s ${HOME} <|im_start|> '; DROP TABLE documents; --"
    index(store, write(tmp_path / "a.txt", text))
    assert store.chunks()[0].text == text


# ---- Errors


def test_stop_stores_nothing_of_the_broken_file_and_can_be_resumed(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    jsonl(folder / "a.jsonl", *[{"id": n, "text": f"text {n}"} for n in range(600)])
    broken = write(folder / "b.jsonl", '{"id": 1, "text": "one"}\nbroken\n')
    with pytest.raises(InputError, match=r"b\.jsonl, line 2"):
        index(store, folder)
    assert 0 < len(sources(store)) <= 600
    assert not any(source.startswith("b.jsonl") for source in sources(store))
    jsonl(broken, {"id": 1, "text": "one"})
    report = index(store, folder)
    assert report.added + report.unchanged == 601
    assert report.unchanged >= 512


def test_skip_lists_what_was_left_out_and_keeps_what_was_there(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    records = jsonl(folder / "a.jsonl", {"id": 1, "text": "one"}, {"id": 2, "text": "two"})
    text = write(folder / "b.txt", "good")
    index(store, folder)
    write(records, '{"id": 1, "text": "uno"}\nbroken\n{"id": 3, "text": "three"}\n')
    text.write_bytes(b"\xff")
    report = index(store, folder, on_error="skip")
    assert counts(report) == (1, 1, 0, 0)
    assert report.skipped == [
        Skipped("a.jsonl", f"{records}, line 2: not valid JSON at column 1: Expecting value"),
        Skipped("b.txt", f"{text}: byte 0 (0xff) is not valid UTF-8"),
    ]
    assert [document.text for document in store.documents()] == ["uno", "two", "three", "good"]
    jsonl(records, {"id": 1, "text": "uno"})
    write(text, "good")
    assert counts(index(store, folder, on_error="skip")) == (0, 0, 2, 2)


def test_skip_still_refuses_an_input_that_is_missing(store: Store, notes: Path) -> None:
    index(store, notes)
    shutil.rmtree(notes)
    with pytest.raises(InputError, match="there is no file or folder"):
        index(store, notes, on_error="skip")
    assert len(sources(store)) == 3


def test_files_of_other_types_are_listed(store: Store, notes: Path) -> None:
    write(notes / "x.png", "")
    assert index(store, notes).skipped == [Skipped("x.png", "files of the type .png are not read")]


def test_a_text_file_of_50_mb_is_indexed(store: Store, tmp_path: Path) -> None:
    paragraph = "A paragraph of a very long file, ended by blank lines so that it need not be cut at sentences. " * 20
    size = len(paragraph) + 3
    path = write(tmp_path / "big.txt", f"{paragraph}\n\n\n" * (50_000_000 // size))
    index(store, path)
    (document,) = store.documents()
    chunks = store.chunks()
    assert len(document.text) > 49_990_000
    assert sum(chunk.text.count("A paragraph of") for chunk in chunks) >= document.text.count("A paragraph of")


# ---- Removing


def test_sources_are_removed_by_name_file_or_folder(store: Store, notes: Path) -> None:
    jsonl(notes / "d.jsonl", {"id": 1, "text": "one"}, {"id": 2, "text": "two"})
    index(store, notes)
    assert remove_sources(["d.jsonl#2"], store) == 1
    assert remove_sources(["d.jsonl", "sub"], store) == 2
    assert sources(store) == ["a.txt", "b.txt"]


def test_removing_what_is_not_there_is_an_error_and_removes_nothing(store: Store, notes: Path) -> None:
    index(store, notes)
    with pytest.raises(InputError, match=r"nothing in .*workspace has the source z\.txt"):
        remove_sources(["a.txt", "z.txt"], store)
    assert len(sources(store)) == 3


# ---- Searching


def test_bm25_follows_the_workspace(store: Store, notes: Path) -> None:
    index(store, notes)
    assert [hit.chunk.text for hit in open_bm25(store)("red apples", 3)] == ["apples are red"]
    write(notes / "a.txt", "pears are red")
    index(store, notes)
    assert open_bm25(store)("apples", 3) == []
    assert [hit.chunk.text for hit in open_bm25(store)("pears", 3)] == ["pears are red"]


def test_bm25_is_built_once_for_each_set_of_parameters(store: Store, notes: Path) -> None:
    index(store, notes)
    scores = {open_bm25(store)("bees", 1)[0].score, open_bm25(store, k1=3.0)("busy bees", 1)[0].score}
    built = sorted((store.folder / "derived").iterdir())
    assert open_bm25(store)("bees", 1)[0].score in scores
    assert (sorted((store.folder / "derived").iterdir()), len(built)) == (built, 2)
    assert open_bm25(store, variant="okapi", tokenizer=Tokenizer(stem=False))("bee", 1) == []


def test_dense_embeds_changed_chunks_only(store: Store, notes: Path) -> None:
    index(store, notes)
    embedder = CountingEmbedder()
    assert open_dense(store, embedder, progress=False)("a\napples are red", 1)[0].chunk.text == "apples are red"
    assert len(embedder.texts) == 4  # three chunks and the query
    write(notes / "a.txt", "apples are green")
    index(store, notes)
    embedder.texts.clear()
    open_dense(store, embedder, progress=False)
    open_dense(store, embedder, progress=False)
    assert embedder.texts == ["a\napples are green"]


def test_what_is_searched_can_be_empty(store: Store) -> None:
    assert open_bm25(store)("anything", 3) == []
    assert open_dense(store, HashEmbedder(), progress=False)("anything", 3) == []


def test_a_store_open_for_reading_is_searched_all_the_same(tmp_path: Path, notes: Path) -> None:
    with Store.open(tmp_path / "workspace") as store:
        index(store, notes)
    with Store.open(tmp_path / "workspace", write=False) as store:
        assert len(open_bm25(store)("apples", 3)) == 1
        assert len(open_dense(store, HashEmbedder(), progress=False)("apples", 3)) == 3


# ---- Property: however the files came to be what they are, the index is theirs

names = st.sampled_from(["a.txt", "b/c.txt", "b/d.md", "e.jsonl", "f.jsonl"])
words = st.lists(st.sampled_from(["red", "green", "bees", "cats", "calm"]), min_size=1, max_size=40).map(" ".join)
records = st.dictionaries(st.sampled_from(["1", "2", "3"]), words, min_size=1).map(
    lambda texts: "".join(json.dumps({"id": id_, "text": text}) + "\n" for id_, text in texts.items())
)
contents = st.tuples(words, records)
steps = st.lists(st.dictionaries(names, st.none() | contents, min_size=1), min_size=1, max_size=4)


def apply(folder: Path, step: dict[str, tuple[str, str] | None]) -> None:
    write(folder / "always.txt", "an input is never empty")
    for name, content in step.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write(folder / name, content[name.endswith(".jsonl")])


def everything(store: Store) -> object:
    bm25 = open_bm25(store)
    hits = [bm25(query, 10) for query in ("red", "green bees", "calm cats an input")]
    return list(store.documents()), store.chunks(), store.corpus_id(), hits, store.check()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(steps)
def test_an_index_that_followed_changes_equals_a_fresh_one(steps: list[dict[str, tuple[str, str] | None]]) -> None:
    splitter = WholePassages(16, 4)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        with Store.open(root / "followed") as followed, Store.open(root / "fresh") as fresh:
            for step in steps:
                apply(root / "in", step)
                index(followed, root / "in", splitter=splitter)
            index(fresh, root / "in", splitter=splitter)
            assert everything(followed) == everything(fresh)
