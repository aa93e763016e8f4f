from pathlib import Path

import pytest

from ragloom.components.datasets import read_questions
from ragloom.components.sample_book import write_paradise_lost

QUESTIONS = Path(__file__).parents[2] / "docs" / "sample" / "paradise-lost.jsonl"


@pytest.mark.model
def test_the_book_comes_in_ten_books_that_hold_the_answers_to_its_questions(tmp_path: Path):
    write_paradise_lost(tmp_path)
    books = {file.stem: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    assert sorted(books) == [f"Paradise Lost {number:02}" for number in range(1, 11)]
    assert books["Paradise Lost 01"].startswith("Of Mans First Disobedience, and the Fruit Of that Forbidden Tree")
    assert books["Paradise Lost 10"].endswith("Through Eden took thir solitarie way.\n")
    assert not any("THE END OF" in text or "PARADISE LOST" in text for text in books.values())
    questions = read_questions(QUESTIONS)
    assert len(questions) == 20
    for question in questions:
        (gold,) = question.gold
        words = [word for answer in question.answers for word in answer.removeprefix("a ").split(" and ")]
        assert any(word.casefold() in books[gold.title].casefold() for word in words), question.text
