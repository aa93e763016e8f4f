import json
import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from ragloom.components.ingestion import read_documents
from ragloom.components.splitting import WholePassages
from ragloom.errors import InputError
from ragloom.graph.extracting import stored_extractions
from ragloom.graph.extraction import Extraction, Triple
from ragloom.graph.openie_file import import_openie
from ragloom.store import Store
from ragloom.types import Chunk

MUSIQUE = Path(__file__).parents[3] / "shared" / "datasets" / "musique"

OSLO = Chunk("oslo", "Oslo is the capital\nof Norway.", "Oslo")
VOSS = Chunk("voss", "Voss is a town.", "")
FOUND = Extraction(("Oslo", "Norway"), (Triple("Oslo", "is capital of", "Norway"),))


def record(**fields: Any) -> dict[str, Any]:
    triples = [["Oslo", "is capital of", "Norway"]]
    return {"extracted_entities": ["Oslo", "Norway"], "extracted_triples": triples} | fields


def write(folder: Path, *records: Any) -> Path:
    path = folder / "openie.json"
    path.write_text(json.dumps({"docs": records, "avg_ent_words": 1.0}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "passage",
    [
        {"idx": 0, "passage": "Oslo\nOslo is the capital\nof Norway."},  # HippoRAG
        {"idx": "chunk-0b9", "passage": "Oslo\n\tOslo  is the capital of Norway.\n"},  # HippoRAG 2
        {"title": "Oslo", "text": "Oslo is the capital of\u00a0Norway."},  # as MuSiQue's were released
    ],
)
def test_records_are_the_chunks_of_their_passage(tmp_path: Path, passage: dict[str, Any]):
    with Store.open(tmp_path / "w") as store:
        report = import_openie(write(tmp_path, record(**passage)), [OSLO, VOSS], store)
        assert (report.imported, report.failed, report.missing) == (1, [], [VOSS])
        assert (report.unmatched, report.dropped) == ([], 0)
        assert stored_extractions(store, report.extractor, ["oslo", "voss"]) == {"oslo": FOUND}


def test_chunks_of_one_passage_get_the_same(tmp_path: Path):
    again = Chunk("again", OSLO.text, OSLO.title)
    with Store.open(tmp_path / "w") as store:
        report = import_openie(write(tmp_path, record(title=OSLO.title, text=OSLO.text)), [OSLO, again], store)
        assert stored_extractions(store, report.extractor, ["oslo", "again"]) == {"oslo": FOUND, "again": FOUND}


def test_chunk_without_a_title_is_its_text(tmp_path: Path):
    with Store.open(tmp_path / "w") as store:
        assert import_openie(write(tmp_path, record(passage=VOSS.text)), [VOSS], store).imported == 1
        assert import_openie(write(tmp_path, record(text=VOSS.text)), [VOSS], store).imported == 1


def test_record_of_another_text_is_reported_by_its_place(tmp_path: Path):
    path = write(tmp_path, record(passage=VOSS.text), record(passage="Bergen is a city."))
    with Store.open(tmp_path / "w") as store:
        report = import_openie(path, [VOSS], store)
    assert report.unmatched == [f"{path}, docs[1]"]
    assert report.imported == 1


def test_of_two_records_of_a_passage_the_last_counts(tmp_path: Path):
    path = write(tmp_path, record(passage=VOSS.text), record(passage=VOSS.text, extracted_entities=["Voss"]))
    with Store.open(tmp_path / "w") as store:
        report = import_openie(path, [VOSS], store)
        assert stored_extractions(store, report.extractor, ["voss"])["voss"].entities == ("Voss",)


def test_malformed_entries_are_left_out_and_counted(tmp_path: Path):
    triples = [["a", "b"], ["a", "b", "c", "d"], ["a", 7, ["c"]], ["Oslo", "has", 700000], ["a", "\ud800\0", "c"]]
    path = write(
        tmp_path, record(passage=VOSS.text, extracted_entities=["A\0B", "\ud83d", 7], extracted_triples=triples)
    )
    with Store.open(tmp_path / "w") as store:
        report = import_openie(path, [VOSS], store)
        assert report.dropped == 5
        assert stored_extractions(store, report.extractor, ["voss"]) == {
            "voss": Extraction(("A B", "7"), (Triple("Oslo", "has", "700000"),), 5)
        }


def test_passage_of_which_the_file_holds_nothing_has_failed(tmp_path: Path):
    path = write(tmp_path, record(passage=VOSS.text, extracted_entities=[], extracted_triples=[["a", "b"]]))
    with Store.open(tmp_path / "w") as store:
        report = import_openie(path, [VOSS, OSLO], store)
        assert (report.imported, report.failed, report.missing) == (0, [VOSS], [OSLO])
        assert stored_extractions(store, report.extractor, ["voss"]) == {}
        assert store.failed_extractions(report.extractor) == {
            "voss": "openie.json holds neither entities nor triples of it"
        }


def test_extractor_is_known_by_what_the_file_holds(tmp_path: Path):
    with Store.open(tmp_path / "w") as store:
        path = write(tmp_path, record(passage=VOSS.text))
        first = import_openie(path, [VOSS], store).extractor
        assert first == f"openie {blake2b(path.read_bytes(), digest_size=16).hexdigest()}"
        renamed = path.rename(tmp_path / "renamed.json")
        assert import_openie(renamed, [VOSS], store).extractor == first
        other = import_openie(write(tmp_path, record(passage=VOSS.text, extracted_entities=["Voss"])), [VOSS], store)
        assert other.extractor != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: not valid JSON at column 1"),
        (b'{"docs": [\n{"passage": "x",]}', r"line 2: not valid JSON at column 17"),
        (b'{"docs": [{"passage": "\xff"}]}', r"byte 23 \(0xff\) is not valid UTF-8"),
        (b"[" * 100_000, "not usable JSON"),
        (b"[]", "expected an object, found a list"),
        (b'"docs"', "expected an object, found a string"),
        (b"{}", "the field 'docs' must be a list of objects, found no such field"),
        (b'{"docs": 7}', "the field 'docs' must be a list of objects, found a number"),
        (
            b'{"docs": [{}, []]}',
            "the field 'docs' must be a list of objects, found a list that holds a list, an object",
        ),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "openie.json"
    path.write_bytes(content)
    with Store.open(tmp_path / "w") as store, pytest.raises(InputError, match=f"{re.escape(str(path))}.*{message}"):
        import_openie(path, [VOSS], store)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"passage": 7}, "the field 'passage' must be a string, found a number"),
        ({"passage": None}, "the field 'passage' must be a string, found null"),
        ({"title": "x"}, "the field 'text' must be a string, found no such field"),
        ({"title": ["x"], "text": "x"}, "the field 'title' must be a string, found a list"),
        ({"passage": "x", "extracted_triples": {}}, "the field 'extracted_triples' must be a list, found an object"),
        (
            {"passage": "x", "extracted_entities": "Oslo"},
            "the field 'extracted_entities' must be a list, found a string",
        ),
    ],
)
def test_record_of_another_shape_is_named_and_nothing_is_stored(tmp_path: Path, fields: dict[str, Any], message: str):
    path = write(tmp_path, record(passage=VOSS.text), record(**fields))
    with Store.open(tmp_path / "w") as store:
        with pytest.raises(InputError, match=re.escape(f"{path}, docs[1]: {message}")):
            import_openie(path, [VOSS], store)
        assert store.extracted(f"openie {blake2b(path.read_bytes(), digest_size=16).hexdigest()}") == set()


def test_missing_file_is_named(tmp_path: Path):
    with Store.open(tmp_path / "w") as store, pytest.raises(InputError, match=r"no file or folder .*gone\.json"):
        import_openie(tmp_path / "gone.json", [VOSS], store)


@pytest.mark.skipif(not MUSIQUE.is_dir(), reason="needs the released MuSiQue triples in ../shared/datasets")
def test_released_file_is_imported_whole(tmp_path: Path):
    path = MUSIQUE / "openie_gpt-3.5-turbo.json"
    split = WholePassages()
    chunks = [chunk for document in read_documents(MUSIQUE / "corpus.json") for chunk in split(document)]
    with Store.open(tmp_path) as store:
        report = import_openie(path, chunks, store)
        found = stored_extractions(store, report.extractor, [chunk.id for chunk in chunks])
    assert (report.imported, report.failed, report.missing, report.unmatched) == (1890, [], [], [])
    triples = [triple for each in json.loads(path.read_bytes())["docs"] for triple in each["extracted_triples"]]
    malformed = sum(len(triple) != 3 for triple in triples)
    assert malformed == 185
    assert report.dropped == malformed + 2  # the dollar's abbreviation is $, and an album by Ed Sheeran is called +
    assert sum(len(each.triples) for each in found.values()) == len(triples) - malformed - 1
    assert sum(not each.triples for each in found.values()) == 2
