import json
from pathlib import Path

import pytest

from ragloom.components.corpora import Passage, read_passages
from ragloom.errors import InputError

DATASETS = Path(__file__).parents[3] / "shared" / "datasets"
needs_datasets = pytest.mark.skipif(not DATASETS.is_dir(), reason=f"the public datasets are not in {DATASETS}")


def corpus(folder: Path, content: object, name: str = "corpus.json") -> Path:
    path = folder / name
    lines = "".join(json.dumps(record) + "\n" for record in content) if isinstance(content, list) else ""
    path.write_text(lines if name.endswith("l") else json.dumps(content), encoding="utf-8")
    return path


def contents(path: Path) -> list[tuple[str | None, str, str]]:
    return [(passage.id, passage.title, passage.text) for passage in read_passages(path)]


def test_hipporag_lists_of_titles_and_texts(tmp_path: Path) -> None:
    path = corpus(tmp_path, [{"title": "A", "text": "a"}, {"title": "B", "text": "b", "idx": 3}])
    assert list(read_passages(path)) == [
        Passage("a", "A", None, f"{path}, record 1"),
        Passage("b", "B", None, f"{path}, record 2", {"idx": 3}),
    ]


def test_beir_lines_keep_their_ids(tmp_path: Path) -> None:
    path = corpus(tmp_path, [{"_id": "d1", "title": "A", "text": "a", "metadata": {}}], "corpus.jsonl")
    assert contents(path) == [("d1", "A", "a")]


def test_flashrag_titles_are_the_quoted_first_line(tmp_path: Path) -> None:
    records = [
        {"id": "0", "contents": '"Aaron "X""\nhe said "a"\nand left'},
        {"id": 1, "contents": "no title\nbut two lines"},
        {"id": 2, "contents": '"a quotation only"'},
    ]
    assert contents(corpus(tmp_path, records, "wiki.jsonl")) == [
        ("0", 'Aaron "X"', 'he said "a"\nand left'),
        ("1", "", "no title\nbut two lines"),
        ("2", "", '"a quotation only"'),
    ]


def test_hotpotqa_sentences_bring_their_spaces_along(tmp_path: Path) -> None:
    assert contents(corpus(tmp_path, {"A": ["One.", " Two."], "B": ["Three."]})) == [
        (None, "A", "One. Two."),
        (None, "B", "Three."),
    ]


def test_contexts_of_hotpotqa_and_2wiki_questions_are_passages(tmp_path: Path) -> None:
    hotpotqa = {"question": "?", "context": [["A", ["One.", " Two."]], ["B", ["Three."]]], "supporting_facts": []}
    assert contents(corpus(tmp_path, [hotpotqa])) == [(None, "A", "One. Two."), (None, "B", "Three.")]
    wiki = {"question": "?", "context": [["A", ["One.", "Two."]]], "evidences": []}
    assert contents(corpus(tmp_path, [wiki])) == [(None, "A", "One. Two.")]


def test_paragraphs_of_musique_questions_are_passages(tmp_path: Path) -> None:
    paragraphs = [{"idx": 0, "title": "A", "paragraph_text": "a", "is_supporting": False}]
    assert contents(corpus(tmp_path, [{"id": "q", "paragraphs": paragraphs}], "q.jsonl")) == [(None, "A", "a")]


def test_a_single_object_with_a_text_is_a_passage(tmp_path: Path) -> None:
    assert contents(corpus(tmp_path, {"title": "A", "text": "a"})) == [(None, "A", "a")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([{"name": "A", "body": "b"}], r"record 1: unknown shape of corpus: found 'name' \(a string\), 'body'"),
        ([{}], r"record 1: unknown shape of corpus: found no field"),
        ({"docs": [{"title": "A"}]}, r"corpus\.json: unknown shape of corpus: found 'docs' \(a list\)"),
        ({"A": ["a"], "B": "b"}, r"the field 'B' must be a list of strings, found a string"),
        ({"A": ["a"], "B": []}, r"corpus\.json, title 'B': the text is empty"),
        ([{"context": [["A", "not a list"]]}], r"record 1: the field 'context' must be a list of \[title, \["),
        ([{"context": "A"}], r"record 1: the field 'context' must be a list of \[title, \["),
        ([{"context": [["A", ["a", 1]]]}], r"record 1: the field 'context' must be a list of \[title, \["),
        ([{"paragraphs": ["A"]}], r"record 1: the field 'paragraphs' must be a list of objects, found a list that"),
        ([{"paragraphs": [{"title": "A"}]}], r"record 1, paragraphs\[0\]: the field 'paragraph_text' must be a string"),
        ([{"contents": "c"}, {"text": "t"}], r"record 2: the field 'contents' must be a string, found no such field"),
    ],
)
def test_other_shapes_are_errors_that_say_what_was_found(tmp_path: Path, content: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        list(read_passages(corpus(tmp_path, content)))


def test_unknown_shapes_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        list(read_passages(corpus(tmp_path, [{"name": "A"}])))
    assert "expected records with text" in error.value.remedy


def test_a_title_that_stands_twice_in_one_object_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "corpus.json"
    path.write_text('{"A": ["one"],\n "A": ["two"]}', encoding="utf-8")
    with pytest.raises(InputError, match=r"corpus\.json: not usable JSON: the name 'A' appears twice"):
        list(read_passages(path))


@needs_datasets
@pytest.mark.parametrize(
    ("name", "passages"),
    [
        ("2wikimultihopqa/corpus.json", 6119),
        ("2wikimultihopqa/corpus_780.json", 780),
        ("musique/corpus.json", 1890),
        ("hotpotqa/corpus.json", 994),
    ],
)
def test_real_corpora_are_read_whole(name: str, passages: int) -> None:
    read = list(read_passages(DATASETS / name))
    assert len({(passage.title, passage.text) for passage in read}) == len(read) == passages


@needs_datasets
@pytest.mark.parametrize("name", ["hotpotqa", "musique"])
def test_the_passages_of_real_questions_are_those_of_their_corpus(name: str) -> None:
    corpus = {(passage.title, passage.text) for passage in read_passages(DATASETS / name / "corpus.json")}
    assert {(passage.title, passage.text) for passage in read_passages(DATASETS / name / "questions.json")} == corpus
