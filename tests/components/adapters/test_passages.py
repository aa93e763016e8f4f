import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_chunks import CHUNKS, JSON, OTHER_NAMES

from ragloom.components.adapters.passages import (
    chunk_from,
    hits_from,
    metadata_of,
    plain,
    stored_metadata,
    stored_text,
)
from ragloom.errors import InputError
from ragloom.types import Chunk


@given(CHUNKS)
def test_a_chunk_comes_back_from_metadata_as_it_was(chunk: Chunk):
    assert chunk_from(chunk.id, chunk.text, metadata_of(chunk)) == chunk


@given(CHUNKS)
def test_a_chunk_comes_back_from_a_vector_store_as_it_was(chunk: Chunk):
    metadata = stored_metadata(chunk)
    assert all(isinstance(value, str | int | float) for value in metadata.values())
    assert chunk_from("an id the store made up", stored_text(chunk), metadata) == chunk


@given(st.dictionaries(OTHER_NAMES, JSON, max_size=4), st.text(max_size=20))
def test_metadata_of_somebody_else_comes_back_as_it_was(metadata: dict[str, Any], text: str):
    assert metadata_of(chunk_from("1", text, metadata)) == metadata


def test_a_title_of_somebody_else_is_the_chunks_title():
    chunk = chunk_from("1", "text", {"title": "Varrow", "page": 3})
    assert (chunk.title, chunk.meta) == ("Varrow", {"page": 3})


def test_a_position_that_is_no_number_stays_in_the_meta():
    metadata = {"position": "left", "start": True}
    chunk = chunk_from("1", "text", metadata)
    assert (chunk.position, chunk.start, chunk.meta) == (0, 0, metadata)
    assert metadata_of(chunk) == metadata


def test_a_passage_without_an_id_gets_the_same_one_every_time():
    assert chunk_from(None, "text", {}).id == chunk_from(None, "text", {"page": 1}).id
    assert chunk_from(None, "text", {}).id != chunk_from(None, "other text", {}).id


@pytest.mark.parametrize(
    ("odd", "mended"),
    [
        (dt.date(2024, 5, 1), "2024-05-01"),
        (math.nan, "nan"),
        ((1, 2), [1, 2]),
        ({3: {"x": math.inf}}, {"3": {"x": "inf"}}),
        (b"bytes", "b'bytes'"),
    ],
)
def test_what_json_cannot_hold_becomes_text(odd: object, mended: object):
    assert plain(odd) == mended


@given(JSON)
def test_what_json_holds_is_left_as_it_is(value: object):
    assert plain(value) == value


def test_a_foreign_value_under_our_name_is_named():
    with pytest.raises(InputError, match="metadata 'ragloom' that ragloom did not write"):
        chunk_from("1", "text", {"ragloom": "somebody else's"})


def test_distances_are_turned_round_and_similarities_are_not():
    a, b = Chunk("a", ""), Chunk("b", "")
    assert [hit.score for hit in hits_from([(a, 0.1), (b, 0.4)])] == [-0.1, -0.4]
    assert [hit.score for hit in hits_from([(a, 0.4), (b, 0.1)])] == [0.4, 0.1]
    assert [hit.score for hit in hits_from([(a, None), (b, 0.1)])] == [1, 0.5]
    assert hits_from([]) == []
