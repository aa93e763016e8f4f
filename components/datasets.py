"""Questions of public datasets, with their answers and the passages that hold them.

The format is told apart by the fields of a file's first record:

| format | question | answers | gold passages |
|---|---|---|---|
| HotpotQA, 2WikiMultiHopQA | `question` | `answer` | `supporting_facts` in `context` |
| MuSiQue | `question` | `answer`, `answer_aliases` | `paragraphs` that are `is_supporting` |
| FlashRAG | `question` | `golden_answers` | - |
| PopQA | `question` | `possible_answers`, a list or the JSON of one | - |
| plain, fast-graphrag's 2Wiki | `question` | `answers` or `answer`, if any | those with `supporting_titles`, if any |
| BEIR: a folder, or one of its `qrels/*.tsv` | `text` in `queries.jsonl` | - | what `qrels` judge above 0 |

Files are JSON, JSONL, CSV or TSV. What a record holds besides goes to the question's meta.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragloom.components.corpora import contexts, read_passages
from ragloom.components.records import RECORD_FILES, Record, kind, read_records
from ragloom.errors import InputError
from ragloom.types import Chunk, Metadata, content_id


@dataclass(frozen=True, slots=True)
class GoldPassage:
    """A passage that is needed for the answer: that with this title and text, or all with this title."""

    title: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question with what is known about its answer.

    Attributes:
        id: the dataset's own, else a content id; unique in a file.
        text: the question.
        answers: any of them is right; none where they are not known.
        gold: none where they are not known.
        meta: further JSON values of the record.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    gold: tuple[GoldPassage, ...] = ()
    meta: Metadata = field(default_factory=dict)


def read_questions(path: str | Path) -> list[Question]:
    """The questions of a file or BEIR folder, in its order; repetitions are read once.

    A BEIR folder stands for its test split, or its only one.

    Raises:
        InputError: the file cannot be read, has none of the formats, or one of its questions is empty or malformed, or
            has the id of another one; names the file and the line.
    """
    path = Path(path)
    if path.is_dir():
        return _beir(_test_split(path))
    if path.parent.name == "qrels" and path.suffix == ".tsv":
        return _beir(path)
    if path.suffix.lower() not in RECORD_FILES:
        expected = f"expected {', '.join(sorted(RECORD_FILES))} or a BEIR folder"
        raise InputError(f"{path}: questions are not read from such files", expected)
    return _unique(_questions(path))


def question_from_json(data: Mapping[str, Any]) -> Question:
    """The question that `to_json` made the data of.

    Raises:
        ValueError: it is not the JSON of a question.
    """
    try:
        gold = tuple(GoldPassage(**passage) for passage in data["gold"])
        return Question(data["id"], data["text"], tuple(data["answers"]), gold, data["meta"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the JSON of a question: {error!r}") from error


def gold_chunks(question: Question, chunks: Iterable[Chunk]) -> list[frozenset[str]]:
    """The ids of the chunks of each gold passage, in the question's order.

    A passage that was split has several chunks. One that is not in the corpus has none; it counts as never found.
    Titles must agree exactly, texts but for white space: sentences are joined with and without.
    """
    titles = {gold.title for gold in question.gold}
    documents: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        if chunk.title in titles:
            documents.setdefault(chunk.document_id or chunk.id, []).append(chunk)
    passages = [(parts[0].title, _packed(_whole(parts)), {part.id for part in parts}) for parts in documents.values()]

    def found(gold: GoldPassage) -> Iterator[str]:
        for title, text, ids in passages:
            if title == gold.title and (gold.text is None or text == _packed(gold.text)):
                yield from ids

    return [frozenset(found(gold)) for gold in question.gold]


def _packed(text: str) -> str:
    return "".join(text.split())


def _whole(chunks: list[Chunk]) -> str:
    """The text of a document put together again from chunks that may overlap."""
    text, end = "", 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.start):
        text += chunk.text[max(end - chunk.start, 0) :]
        end = max(end, chunk.start + len(chunk.text))
    return text


# ---- Formats


def _questions(path: Path) -> Iterator[tuple[Question, str]]:
    """Questions, and the places they stand at for messages."""
    parse: Callable[[Record], Question] | None = None
    for record in read_records(path):
        parse = parse or _format(record)
        yield parse(record), record.place


def _unique(questions: Iterable[tuple[Question, str]]) -> list[Question]:
    known: dict[str, tuple[Question, str]] = {}
    for question, place in questions:
        if not question.text.strip():
            raise InputError(f"{place}: the question is empty", "remove the record or fill it")
        first, first_place = known.setdefault(question.id, (question, place))
        if first != question:
            raise InputError(
                f"{place}: another question with the id {question.id[:80]!r} of {first_place}", "give each its own id"
            )
    return [question for question, _ in known.values()]


def _format(record: Record) -> Callable[[Record], Question]:
    formats: tuple[tuple[str, Callable[[Record], Question]], ...] = (
        ("supporting_facts", _hotpotqa),
        ("paragraphs", _musique),
        ("golden_answers", _flashrag),
        ("possible_answers", _popqa),
        ("question", _plain),
    )
    for name, parse in formats:
        if name in record.fields and "question" in record.fields:
            return parse
    found = ", ".join(repr(name[:40]) for name in list(record.fields)[:8]) or "none"
    raise record.error(
        f"unknown format of questions: found the fields {found}",
        "expected HotpotQA, 2WikiMultiHopQA, MuSiQue, FlashRAG, PopQA, or records with id, question and answers",
    )


def _question(
    record: Record, answers: Sequence[str], gold: Iterable[GoldPassage] = (), *, used: tuple[str, ...]
) -> Question:
    text = record.string("question")
    return Question(
        record.id() or content_id(text),
        text,
        tuple(dict.fromkeys(answer for answer in answers if answer.strip())),
        tuple(dict.fromkeys(gold)),
        record.without("id", "_id", "question", *used),
    )


def _answer(record: Record) -> list[str]:
    return [record.string("answer", "")]  # test splits keep their answers to themselves


def _hotpotqa(record: Record) -> Question:
    texts = dict(contexts(record)) if "context" in record.fields else {}
    gold = [GoldPassage(title, texts.get(title)) for title in _supporting_titles(record)]
    return _question(record, _answer(record), gold, used=("answer", "supporting_facts", "context"))


def _supporting_titles(record: Record) -> Iterator[str]:
    facts = record.fields["supporting_facts"]
    for fact in facts if isinstance(facts, list) else [None]:
        match fact:
            case [str(title), int(_)]:
                yield title
            case _:
                raise record.error("the field 'supporting_facts' must be a list of [title, number of a sentence]")


def _musique(record: Record) -> Question:
    gold = [
        GoldPassage(paragraph.string("title"), paragraph.string("paragraph_text"))
        for paragraph in record.parts("paragraphs")
        if paragraph.fields.get("is_supporting")
    ]
    aliases = record.strings("answer_aliases") if "answer_aliases" in record.fields else []
    used = ("answer", "answer_aliases", "paragraphs")
    return _question(record, [*_answer(record), *aliases], gold, used=used)


def _flashrag(record: Record) -> Question:
    return _question(record, record.strings("golden_answers"), used=("golden_answers",))


def _popqa(record: Record) -> Question:
    return _question(record, _decoded(record, "possible_answers"), used=("possible_answers",))


def _plain(record: Record) -> Question:
    name = "answers" if "answers" in record.fields else "answer"
    value = record.fields.get(name)
    answers = [record.string(name, "")] if value is None or isinstance(value, str) else record.strings(name)
    titles = record.strings("supporting_titles") if "supporting_titles" in record.fields else []
    return _question(record, answers, map(GoldPassage, titles), used=(name, "supporting_titles"))


def _decoded(record: Record, name: str) -> list[str]:
    """The field's list of strings, which may be written as JSON inside a string."""
    value: Any = record.fields[name]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise record.error(
                f"the field {name!r} must hold a list, or the JSON of one, found {kind(value)}"
            ) from None
    return Record({name: value}, record.place).strings(name)


# ---- BEIR


def _test_split(folder: Path) -> Path:
    splits = sorted((folder / "qrels").glob("*.tsv"))
    test = folder / "qrels" / "test.tsv"
    if test in splits or len(splits) == 1:
        return test if test in splits else splits[0]
    if splits:
        raise InputError(f"{folder} has several splits", f"name one: {', '.join(map(str, splits))}")
    raise InputError(
        f"{folder} is no BEIR folder: it has no qrels/*.tsv", "name a file of questions, or a folder with qrels"
    )


def _beir(qrels: Path) -> list[Question]:
    """The questions that a split judges, with the texts of the passages it judges above 0."""
    folder = qrels.parent.parent
    relevant: dict[str, dict[str, str]] = {}  # question id -> passage id -> place
    for record in read_records(qrels):
        judged = relevant.setdefault(record.string("query-id"), {})
        if _judgement(record) > 0:
            judged[record.string("corpus-id")] = record.place
    needed = {passage for judged in relevant.values() for passage in judged}
    passages = {
        passage.id: GoldPassage(passage.title, passage.text)
        for passage in read_passages(folder / "corpus.jsonl")
        if passage.id is not None and passage.id in needed
    }
    questions = {record.id() or "": record for record in read_records(folder / "queries.jsonl")}
    return _unique(_judged(questions, passages, relevant, qrels))


def _judgement(record: Record) -> float:
    try:
        return float(record.string("score"))
    except ValueError:
        raise record.error("the score must be a number") from None


def _judged(
    questions: dict[str, Record],
    passages: dict[str, GoldPassage],
    relevant: dict[str, dict[str, str]],
    qrels: Path,
) -> Iterator[tuple[Question, str]]:
    for question_id, judged in relevant.items():
        if question_id not in questions:
            raise InputError(f"{qrels}: judges the question {question_id[:80]!r}, which queries.jsonl does not hold")
        for passage_id, place in judged.items():
            if passage_id not in passages:
                raise InputError(f"{place}: judges the passage {passage_id[:80]!r}, which corpus.jsonl does not hold")
        record = questions[question_id]
        gold = tuple(dict.fromkeys(passages[passage_id] for passage_id in judged))
        yield Question(question_id, record.string("text"), (), gold, record.without("_id", "id", "text")), record.place
