from collections.abc import Sequence

import pytest

from ragloom.components.memory import Entry, Memory
from ragloom.components.memory_building import MemoryBuilder, Written, glossary
from ragloom.components.memory_groups import Group
from ragloom.types import Chunk, content_id


def words(text: str) -> int:
    return len(text.split())


BOILERPLATE = "These are the terms " + "that hold for all of it and at all times " * 3
BUILDER = MemoryBuilder(group_tokens=30, entry_tokens=6, count_tokens=words)


def passage(number: int, text: str = "") -> Chunk:
    text = text or f"Passage {number} tells at some length what happened in the year {1800 + number}."
    id_ = content_id(str(number), text)
    return Chunk(id_, text, f"Title {number}", f"document {id_}")


class Scribe:
    """Writes short texts that depend on nothing but the group, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Group] = []

    def __call__(self, groups: Sequence[Group]) -> list[Written]:
        self.asked += groups
        return [Written(f"digest {content_id(*map(repr, group))[:8]} of these four words", "model") for group in groups]


def test_a_gist_stands_for_each_group_under_the_titles_of_its_documents() -> None:
    chunks = [passage(number) for number in range(5)]
    scribe = Scribe()
    entries = BUILDER.gists(chunks, scribe)
    assert [id_ for entry in entries for id_ in entry.chunk_ids] == [chunk.id for chunk in chunks]
    assert "; ".join(entry.title for entry in entries) == "Title 0; Title 1; Title 2; Title 3; Title 4"
    assert len(entries) == len(scribe.asked)
    assert {(entry.by, entry.level, entry.parts) for entry in entries} == {("model", 0, ())}


def test_what_is_no_longer_than_an_entry_is_taken_as_it_is() -> None:
    scribe = Scribe()
    (entry,) = BUILDER.gists([passage(1, "Short.")], scribe)
    assert (entry.text, entry.by, scribe.asked) == ("Short.", "rules", [])
    (entry,) = BUILDER.gists([passage(1, "One."), passage(2, "Two.")], Scribe())
    assert entry.text == "Title 1: One.\nTitle 2: Two."


def test_what_documents_repeat_is_one_entry_of_all_their_passages() -> None:
    chunks = [Chunk(str(number), BOILERPLATE, "Terms", f"document {number}") for number in range(3)] + [passage(4)]
    for entries in (BUILDER.gists(chunks, Scribe()), BUILDER.full_text(chunks), BUILDER.extractive(chunks)):
        assert [entry.title for entry in entries] == ["Terms", "Title 4"]
        assert entries[0].chunk_ids == ("0", "1", "2")


def test_passages_without_words_leave_no_entry() -> None:
    marks = Chunk("marks", "... --- !!! " * 40, "Marks", "document of marks")
    assert [entry.title for entry in BUILDER.extractive([marks, passage(1)])] == ["Title 1"]
    assert BUILDER.tree([marks], lambda groups: [Written("", "rules") for _ in groups]) == ()


@pytest.mark.parametrize("number", [1, 2, 11, 150])
def test_a_tree_sums_up_five_to_ten_entries_each_up_to_one_root(number: int) -> None:
    entries = BUILDER.tree([passage(place) for place in range(number)], Scribe())
    summed_up = [part for entry in entries for part in entry.parts]
    assert sorted(summed_up) == list(range(len(entries) - 1))  # each but the root once
    root = entries[-1]
    gists = sum(entry.level == 0 for entry in entries)
    assert len(root.chunk_ids) == number
    for place, entry in enumerate(entries):
        assert all(entries[part].level == entry.level - 1 for part in entry.parts)
        assert all(part < place for part in entry.parts)
        if entry.level and gists > 10:
            assert (2 if entry is root else 5) <= len(entry.parts) <= 10
    memory = Memory("tree", entries, "tests")
    assert memory.recall("1805", context_tokens=12, count_tokens=words).places[0] == len(entries) - 1


def test_a_changed_passage_has_its_path_to_the_root_written_anew() -> None:
    chunks = [passage(number) for number in range(150)]
    before, after = Scribe(), Scribe()
    BUILDER.tree(chunks, before)
    chunks[40] = passage(40, "Passage 40 tells of something else that happened in quite another year.")
    entries = BUILDER.tree(chunks, after)
    new = [group for group in after.asked if group not in before.asked]
    levels = entries[-1].level + 1
    assert levels <= len(new) <= 3 * levels
    assert len(after.asked) > 60


def test_the_full_text_is_all_of_it_by_document() -> None:
    chunks = [passage(1), passage(2), passage(3, "Further words.")]
    entries = BUILDER.full_text(chunks)
    assert [(entry.title, entry.text) for entry in entries] == [(chunk.title, chunk.text) for chunk in chunks]


def test_extractive_entries_are_sentences_of_their_passages() -> None:
    chunks = [passage(1, "It rained. Ada Quill built Lower Mill. Many came and saw the mill and went away again.")]
    (entry,) = BUILDER.extractive(chunks)
    assert entry == Entry("Title 1", "Ada Quill built Lower Mill.", (chunks[0].id,))
    assert BUILDER.extractive(chunks) == BUILDER.extractive(list(chunks))


def test_a_glossary_has_the_facts_of_each_entity_a_line_each() -> None:
    facts = {
        "Ada": [("1", "Ada built\nthe mill."), ("2", "Ada built the mill."), ("3", "")],
        "Esk": [("1", "A river.")],
    }
    assert glossary(facts) == (Entry("Ada", "Ada built the mill.", ("1", "2", "3")), Entry("Esk", "A river.", ("1",)))


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="1 <= entry_tokens <= group_tokens, got 20 and 10"):
        MemoryBuilder(10, 20)
