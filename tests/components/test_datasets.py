import json
from pathlib import Path

import pytest

from ragloom.components.corpora import read_passages
from ragloom.components.datasets import GoldPassage, Question, gold_chunks, read_questions
from ragloom.components.splitting import SentenceSplitting, Splitter, WholePassages
from ragloom.errors import InputError
from ragloom.types import Chunk, document

DATASETS = Path(__file__).parents[3] / "shared" / "datasets"
needs_datasets = pytest.mark.skipif(not DATASETS.is_dir(), reason=f"the public datasets are not in {DATASETS}")


def questions(folder: Path, *records: object, name: str = "questions.json") -> Path:
    path = folder / name
    lines = "".join(json.dumps(record) + "\n" for record in records)
    path.write_text(lines if name.endswith("l") else json.dumps(records), encoding="utf-8")
    return path


def read_one(folder: Path, record: object) -> Question:
    [question] = read_questions(questions(folder, record))
    return question


# ---- Formats


def test_hotpotqa(tmp_path: Path) -> None:
    record = {
        "_id": "h1",
        "question": "Who?",
        "answer": "Ada",
        "level": "easy",
        "supporting_facts": [["A", 0], ["A", 1], ["B", 0], ["C", 0]],
        "context": [["A", ["One.", " Two."]], ["B", ["Three."]], ["X", ["Four."]]],
    }
    gold = (GoldPassage("A", "One. Two."), GoldPassage("B", "Three."), GoldPassage("C"))
    assert read_one(tmp_path, record) == Question("h1", "Who?", ("Ada",), gold, {"level": "easy"})


def test_2wiki_as_published(tmp_path: Path) -> None:
    record = {
        "_id": "w1",
        "question": "Who?",
        "answer": "",
        "evidences": [["a", "b", "c"]],
        "supporting_facts": [["A", 1]],
        "context": [["A", ["One.", "Two."]]],
    }
    expected = Question("w1", "Who?", (), (GoldPassage("A", "One. Two."),), {"evidences": [["a", "b", "c"]]})
    assert read_one(tmp_path, record) == expected


def test_musique(tmp_path: Path) -> None:
    paragraphs = [
        {"idx": 0, "title": "A", "paragraph_text": "a", "is_supporting": True},
        {"idx": 1, "title": "A", "paragraph_text": "not this", "is_supporting": False},
    ]
    record = {"id": "m1", "question": "Who?", "answer": "x", "answer_aliases": ["y", "x"], "paragraphs": paragraphs}
    assert read_one(tmp_path, record) == Question("m1", "Who?", ("x", "y"), (GoldPassage("A", "a"),))


def test_questions_with_supporting_titles(tmp_path: Path) -> None:
    record = {"id": "w", "question": "Who?", "supporting_titles": ["A", "B"]}
    assert read_one(tmp_path, record) == Question("w", "Who?", (), (GoldPassage("A"), GoldPassage("B")))


def test_flashrag(tmp_path: Path) -> None:
    path = questions(tmp_path, {"id": "test_0", "question": "Who?", "golden_answers": ["x", "y"]}, name="test.jsonl")
    assert read_questions(path) == [Question("test_0", "Who?", ("x", "y"))]


def test_popqa_answers_may_be_json_in_a_string(tmp_path: Path) -> None:
    lists = {"id": 4, "question": "Who?", "possible_answers": ["x", "y"], "s_pop": 5}
    strings = lists | {"possible_answers": '["x", "y"]'}
    assert (
        read_one(tmp_path, lists) == read_one(tmp_path, strings) == Question("4", "Who?", ("x", "y"), (), {"s_pop": 5})
    )
    table = tmp_path / "popQA.tsv"
    table.write_text('id\tquestion\tpossible_answers\n4\tWho?\t"[""x"", ""y""]"\n', encoding="utf-8")
    assert read_questions(table) == [Question("4", "Who?", ("x", "y"))]


def test_plain_questions(tmp_path: Path) -> None:
    several = [
        {"id": "1", "question": "Who?", "answers": ["x"]},
        {"id": "2", "question": "Who?", "answer": "x", "topic": "t"},
        {"id": "3", "question": "Who?"},
        {"question": "Who?"},
    ]
    first, second, third, fourth = read_questions(questions(tmp_path, *several, name="q.jsonl"))
    assert first == Question("1", "Who?", ("x",))
    assert second == Question("2", "Who?", ("x",), (), {"topic": "t"})
    assert third == Question("3", "Who?")
    assert (fourth.text, fourth.id != "") == ("Who?", True)


def test_questions_are_kept_exactly_however_long(tmp_path: Path) -> None:
    text = " {x} %s {{7*7}} " * 70_000
    assert read_one(tmp_path, {"id": "1", "question": text}).text == text


def test_repeated_questions_are_read_once(tmp_path: Path) -> None:
    record = {"id": "1", "question": "Who?", "answers": ["x"]}
    assert len(read_questions(questions(tmp_path, record, record))) == 1


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"id": "2", "question": ""}, "the question is empty"),
        ({"id": "2", "question": " \t"}, "the question is empty"),
        ({"id": "2", "question": 5}, "the field 'question' must be a string, found a number"),
        ({"id": "2", "text": "Who?"}, "the field 'question' must be a string, found no such field"),
        (
            {"id": "2", "question": "Who?", "answers": {"a": 1}},
            "the field 'answers' must be a list of strings, found an",
        ),
        (
            {"id": "2", "question": "Who?", "answers": [1]},
            "the field 'answers' must be a list of strings, found a list",
        ),
        ({"id": "1", "question": "What?"}, r"another question with the id '1' of .*q\.jsonl, line 1"),
        ({"id": "2", "question": "a\0"}, "the field 'question' holds a NUL character"),
        ({"id": "2", "question": "a\ud800"}, "the field 'question' holds half a surrogate pair"),
    ],
)
def test_a_bad_question_is_named_by_file_and_line(tmp_path: Path, record: object, problem: str) -> None:
    path = questions(tmp_path, {"id": "1", "question": "Who?"}, record, name="q.jsonl")
    with pytest.raises(InputError, match=rf"q\.jsonl, line 2: {problem}"):
        read_questions(path)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"text": "t"}, r"unknown format of questions: found the fields 'text'"),
        ({"question": "?", "possible_answers": "x"}, r"the field 'possible_answers' must hold a list, or the JSON of"),
        ({"question": "?", "possible_answers": "5"}, r"the field 'possible_answers' must be a list of strings"),
        (
            {"question": "?", "supporting_facts": [["A"]]},
            r"the field 'supporting_facts' must be a list of \[title, num",
        ),
        ({"question": "?", "supporting_facts": {}}, r"the field 'supporting_facts' must be a list of \[title, number"),
        (
            {"question": "?", "golden_answers": "x"},
            r"the field 'golden_answers' must be a list of strings, found a str",
        ),
        ({"question": "?", "supporting_titles": [1]}, r"the field 'supporting_titles' must be a list of strings"),
        ({"question": "?", "paragraphs": [{"is_supporting": True}]}, r"paragraphs\[0\]: the field 'title' must be"),
    ],
)
def test_malformed_records_are_errors(tmp_path: Path, record: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_questions(questions(tmp_path, record))


def test_other_files_and_empty_ones_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"q\.txt: questions are not read from such files"):
        read_questions(tmp_path / "q.txt")
    with pytest.raises(InputError, match=r"there is no file or folder .*q\.jsonl"):
        read_questions(tmp_path / "q.jsonl")
    with pytest.raises(InputError, match=r"questions\.json: holds no records"):
        read_questions(questions(tmp_path))


# ---- BEIR


def beir(folder: Path, judgements: str, split: str = "test") -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    corpus = [{"_id": f"d{n}", "title": f"T{n}", "text": f"text {n}"} for n in range(3)]
    asked = [{"_id": f"q{n}", "text": f"Question {n}?", "metadata": {"n": n}} for n in range(3)]
    questions(folder, *corpus, name="corpus.jsonl")
    questions(folder, *asked, name="queries.jsonl")
    (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judgements}", encoding="utf-8")
    return folder


def test_beir_questions_are_those_that_the_split_judges(tmp_path: Path) -> None:
    folder = beir(tmp_path, "q2\td0\t1\nq2\td1\t2\nq2\td2\t0\nq0\td1\t0\n")
    gold = (GoldPassage("T0", "text 0"), GoldPassage("T1", "text 1"))
    expected = [Question("q2", "Question 2?", (), gold, {"metadata": {"n": 2}}),
                Question("q0", "Question 0?", (), (), {"metadata": {"n": 0}})]  # fmt: skip
    assert read_questions(folder) == expected


def test_a_beir_folder_stands_for_its_test_split_and_others_are_named(tmp_path: Path) -> None:
    beir(tmp_path / "a", "q0\td0\t1\n", split="dev")
    assert [question.id for question in read_questions(tmp_path / "a")] == ["q0"]
    beir(tmp_path / "a", "q1\td0\t1\n", split="train")
    with pytest.raises(InputError, match=r"has several splits; name one: .*dev\.tsv, .*train\.tsv"):
        read_questions(tmp_path / "a")
    assert [question.id for question in read_questions(tmp_path / "a" / "qrels" / "train.tsv")] == ["q1"]
    beir(tmp_path / "a", "q2\td0\t1\n")
    assert [question.id for question in read_questions(tmp_path / "a")] == ["q2"]


@pytest.mark.parametrize(
    ("judgements", "problem"),
    [
        ("q9\td0\t1\n", r"test\.tsv: judges the question 'q9', which queries\.jsonl does not hold"),
        ("q0\td0\t1\nq0\td9\t1\n", r"test\.tsv, line 3: judges the passage 'd9', which corpus\.jsonl does not hold"),
        ("q0\td0\tyes\n", r"test\.tsv, line 2: the score must be a number"),
    ],
)
def test_bad_judgements_are_errors(tmp_path: Path, judgements: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_questions(beir(tmp_path, judgements))


def test_a_folder_without_judgements_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no BEIR folder"):
        read_questions(tmp_path)


# ---- Gold passages


def chunked(splitter: Splitter, *passages: tuple[str, str]) -> list[Chunk]:
    return [
        chunk
        for number, (title, text) in enumerate(passages)
        for chunk in splitter(document(text, title=title, source=f"#{number}"))
    ]


def asking(*gold: GoldPassage) -> Question:
    return Question("q", "?", (), gold)


def test_gold_passages_are_found_by_title_and_text() -> None:
    chunks = chunked(WholePassages(), ("A", "one"), ("A", "two"), ("B", "one"))
    gold = gold_chunks(asking(GoldPassage("A", "two"), GoldPassage("B", "one")), chunks)
    assert gold == [{chunks[1].id}, {chunks[2].id}]


def test_a_title_alone_stands_for_all_passages_with_it() -> None:
    chunks = chunked(WholePassages(), ("A", "one"), ("A", "two"), ("B", "one"))
    assert gold_chunks(asking(GoldPassage("A")), chunks) == [{chunks[0].id, chunks[1].id}]


def test_all_chunks_of_a_split_passage_are_gold() -> None:
    text = " ".join(f"This is sentence number {number}, and a half." for number in range(40))
    chunks = chunked(SentenceSplitting(32, 16), ("A", text), ("A", text + " More."))
    own = {chunk.id for chunk in chunks if chunk.document_id == chunks[0].document_id}
    assert len(own) > 10
    assert gold_chunks(asking(GoldPassage("A", text)), chunks) == [own]


def test_white_space_makes_no_difference_to_the_text() -> None:
    chunks = chunked(WholePassages(), ("A", "One. Two."))
    assert gold_chunks(asking(GoldPassage("A", "One.Two.\n")), chunks) == [{chunks[0].id}]


def test_a_gold_passage_outside_the_corpus_has_no_chunks() -> None:
    chunks = chunked(WholePassages(), ("A", "one"))
    assert gold_chunks(asking(GoldPassage("A", "other"), GoldPassage("A", "one")), chunks) == [set(), {chunks[0].id}]


def test_chunks_made_by_hand_count_for_themselves() -> None:
    chunks = [Chunk("1", "one", "A"), Chunk("2", "two", "A")]
    assert gold_chunks(asking(GoldPassage("A", "two")), chunks) == [{"2"}]


@needs_datasets
@pytest.mark.parametrize(
    ("name", "count", "gold_passages"), [("musique", 100, 237), ("hotpotqa", 100, 200), ("2wikimultihopqa", 51, 126)]
)
@pytest.mark.parametrize("splitter", [WholePassages(4000), WholePassages(), SentenceSplitting(64, 16)])
def test_every_gold_passage_of_real_questions_is_exactly_its_chunks(
    name: str, count: int, gold_passages: int, splitter: Splitter
) -> None:
    asked = read_questions(DATASETS / name / "questions.json")
    wanted = {gold.title for question in asked for gold in question.gold}
    passages = [(passage.title, passage.text) for passage in read_passages(DATASETS / name / "corpus.json")]
    documents = [document(text, title=title, source=f"{title}#{text}") for title, text in passages if title in wanted]
    parts = {each.id: splitter(each) for each in documents}
    chunks = [chunk for part in parts.values() for chunk in part]
    whole = {frozenset(chunk.id for chunk in part): id_ for id_, part in parts.items()}
    golds = [gold for question in asked for gold in zip(question.gold, gold_chunks(question, chunks), strict=True)]
    texts = {each.id: (each.title, each.text) for each in documents}
    assert (len(asked), len(golds)) == (count, gold_passages)
    for gold, ids in golds:
        title, text = texts[whole[ids]]
        assert title == gold.title
        assert gold.text in (None, text)
