from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.memory_groups import Passage, grouped, passages, split_by_content
from ragloom.types import Chunk, content_id


def words(text: str) -> int:
    return len(text.split())


def corpus(sizes: Sequence[int], *, version: str = "") -> list[Chunk]:
    """A document of so many words each; a chunk has ten at most."""
    chunks = []
    for number, size in enumerate(sizes):
        for position, start in enumerate(range(0, size, 10)):
            text = " ".join(f"{number}{version}-{word}" for word in range(start, min(size, start + 10)))
            document = f"document {number}{version}"
            chunks.append(Chunk(content_id(document, text), text, "", document, position, start * 8))
    return chunks


@given(st.lists(st.integers(1, 60), max_size=30))
def test_groups_are_all_chunks_in_their_order_and_small_documents_stay_whole(sizes: list[int]) -> None:
    chunks = corpus(sizes)
    groups = grouped(chunks, group_tokens=30, count_tokens=words)
    assert [chunk for group in groups for chunk in group] == chunks
    for group in groups:
        assert sum(words(chunk.text) for chunk in group) <= 30
        for document in {chunk.document_id for chunk in group}:
            size = sizes[int(document.removeprefix("document "))]
            if size <= 30:
                assert sum(words(chunk.text) for chunk in group if chunk.document_id == document) == size
            else:
                assert len({chunk.document_id for chunk in group}) == 1


def test_a_changed_document_changes_its_own_group_and_few_others() -> None:
    sizes = [7, 3, 9, 5, 8, 2, 6, 4, 9, 7] * 20
    before = grouped(corpus(sizes), group_tokens=30, count_tokens=words)
    touched = []
    for number in range(0, 200, 9):
        changed = corpus(sizes)
        changed = [
            Chunk("new", "other words", "", "new") if c.document_id == f"document {number}" else c for c in changed
        ]
        new = [group for group in grouped(changed, group_tokens=30, count_tokens=words) if group not in before]
        touched.append(len(new))
    assert min(touched) == 1
    assert max(touched) <= 4
    assert sum(touched) / len(touched) < 2


def test_a_chunk_larger_than_a_group_stands_alone() -> None:
    chunks = [Chunk(str(number), "word " * size, document_id="d") for number, size in enumerate((5, 50, 5))]
    assert list(map(len, grouped(chunks, group_tokens=10, count_tokens=words))) == [1, 1, 1]


@given(st.lists(st.text("ab", max_size=3), min_size=11, max_size=80))
def test_parts_have_the_sizes_that_are_asked_for(keys: list[str]) -> None:
    parts = split_by_content([1] * len(keys), keys, most=10, least=5)
    assert [place for part in parts for place in part] == list(range(len(keys)))
    assert all(5 <= len(part) <= 10 for part in parts)


def test_many_equal_items_are_halved_rather_than_peeled_off() -> None:
    parts = split_by_content([1] * 20_000, ["same"] * 20_000, most=10, least=3)
    assert {len(part) for part in parts} <= {9, 10}


def test_nothing_has_no_parts() -> None:
    assert split_by_content([], [], most=10, least=5) == []
    assert grouped([], group_tokens=10, count_tokens=words) == []


@pytest.mark.parametrize(
    ("starts", "text"),
    [((0, 8), "One two three four."), ((0, 7), "One two three four."), ((0, 9), "One two \nthree four.")],
)
def test_the_text_of_a_document_repeats_no_overlap(starts: tuple[int, int], text: str) -> None:
    whole = "One two three four."
    first = Chunk("1", whole[:8], "T", "d", 0, starts[0])
    second = Chunk("2", whole[starts[1] :] if starts[1] <= 8 else whole[8:], "T", "d", 1, starts[1])
    assert passages([first, second]) == [Passage("T", text)]


def test_chunks_made_by_hand_are_passages_of_their_own() -> None:
    assert passages([Chunk("1", "One."), Chunk("2", "Two.")]) == [Passage("", "One."), Passage("", "Two.")]
