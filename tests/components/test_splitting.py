from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragloom.components.splitting import SentenceSplitting, Splitter, WholePassages
from ragloom.types import Document, document

# Words, sentences, repetition, every kind of white space, marks that splitters cut at, letters of many bytes.
pieces = st.sampled_from(
    ["word", "A sentence. ", "Dr. No said: ", "x" * 90, "\n\n\n", "\r\n", " ", "\t", "\u2028", "\u3000", "\xa0", "。",
     "\uff1f", ", ", "...", "é", "e\u0301", "🎉",
     "👩‍👩‍👧", "漢字かな", "עברית", "<|endoftext|>", "{x}", "\ufeff", "\x1c"]
)  # fmt: skip
texts = st.one_of(
    st.lists(pieces, max_size=120).map("".join),
    st.builds(lambda text, times: text * times, st.lists(pieces, max_size=6).map("".join), st.integers(1, 60)),
    st.text(max_size=300),
)
splitters = st.one_of(
    st.builds(SentenceSplitting, st.integers(16, 40), st.integers(0, 15)),
    st.builds(WholePassages, st.integers(16, 40), st.integers(0, 15)),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(texts, splitters)
def test_chunks_stand_exactly_where_they_say_and_leave_out_only_white_space(text: str, splitter: Splitter) -> None:
    source = document(text, title="T", meta={"a": 1})
    chunks = splitter(source)
    end = 0
    for position, chunk in enumerate(chunks):
        assert source.text[chunk.start : chunk.start + len(chunk.text)] == chunk.text
        assert not text[end : chunk.start].strip()
        assert (chunk.position, chunk.document_id, chunk.title, chunk.meta) == (position, source.id, "T", {"a": 1})
        end = max(end, chunk.start + len(chunk.text))
    assert not text[end:].strip()
    assert all(chunk.text.strip() for chunk in chunks)
    assert splitter(source) == chunks


def sentences(count: int) -> str:
    return " ".join(f"Sentence number {number} says something." for number in range(count))


def test_chunks_are_whole_sentences_and_overlap_by_whole_sentences() -> None:
    chunks = SentenceSplitting(32, 8)(document(sentences(30)))
    assert len(chunks) > 5
    assert all(chunk.text.startswith("Sentence") and chunk.text.endswith("something.") for chunk in chunks)
    assert all(after.text.startswith(before.text.split(". ")[-1]) for before, after in pairwise(chunks))


def test_without_overlap_chunks_follow_one_another() -> None:
    text = sentences(30)
    chunks = SentenceSplitting(32, 0)(document(text))
    assert " ".join(chunk.text for chunk in chunks) == text


def test_short_documents_stay_whole_and_unchanged() -> None:
    text = "\n  Short, \r\n but with spaces around. \n\n\n Two paragraphs. \n"
    [chunk] = WholePassages()(document(text, source="s"))
    assert (chunk.text, chunk.start, chunk.position) == (text, 0, 0)


def test_longer_documents_are_split_by_sentences() -> None:
    long = document(sentences(30), source="s")
    assert WholePassages(32, 8)(long) == SentenceSplitting(32, 8)(long)
    assert len(WholePassages(400)(long)) == 1


@pytest.mark.parametrize("splitter", [SentenceSplitting(), WholePassages()])
def test_white_space_alone_gives_no_chunks(splitter: Splitter) -> None:
    assert splitter(document("")) == splitter(document(" \n\u3000")) == []


def test_equal_documents_get_equal_chunk_ids_and_repeated_text_different_ones() -> None:
    splitter = SentenceSplitting(16, 0)
    text = "The same again and again and again and again and again. " * 20
    ids = [chunk.id for chunk in splitter(document(text, source="a"))]
    assert ids == [chunk.id for chunk in splitter(document(text, source="a"))]
    assert len(set(ids)) == len(ids) > 5
    assert not set(ids) & {chunk.id for chunk in splitter(document(text, source="b"))}


def test_the_end_of_a_text_that_repeats_one_character_is_one_chunk() -> None:
    chunks = SentenceSplitting(16, 8)(document("x" * 500 + " y" * 50))
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))


def test_identities_name_class_and_parameters() -> None:
    assert SentenceSplitting(64, 8).identity == "SentenceSplitting(chunk_tokens=64, overlap_tokens=8)"
    assert WholePassages(64).identity == "WholePassages(max_tokens=64, overlap_tokens=32)"


@pytest.mark.parametrize(
    ("chunk_tokens", "overlap_tokens", "problem"),
    [
        (15, 0, "chunk_tokens must be at least 16, got 15"),
        (64, 64, "overlap_tokens must be from 0 to below chunk_tokens = 64, got 64"),
        (64, -1, "overlap_tokens must be from 0"),
    ],
)
def test_impossible_sizes_are_refused(chunk_tokens: int, overlap_tokens: int, problem: str) -> None:
    for splitter in (SentenceSplitting, WholePassages):
        with pytest.raises(ValueError, match=problem):
            splitter(chunk_tokens, overlap_tokens)


def test_a_document_of_many_blocks_is_covered_without_a_seam() -> None:
    lines = [f"Line {number} of a long file without any full stop" for number in range(13_000)]
    for separator in ("\n\n", "\n", " "):
        chunks = SentenceSplitting(256, 0)(document(separator.join(lines)))
        words = [word for chunk in chunks for word in chunk.text.split()]
        assert words == " ".join(lines).split()


def test_a_line_of_200_000_characters_is_split() -> None:
    source = Document("d", "x" * 200_000)
    chunks = WholePassages()(source)
    assert len(chunks) > 10
    assert chunks[-1].start + len(chunks[-1].text) == 200_000
