from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.graph.counting import Rows
from ragloom.graph.words import WordCodes, Words

words = st.lists(st.sampled_from(["a", "b", "c", "d", "हिन्दी", "x" * 300]), max_size=6)
texts = st.lists(words, max_size=6)
names = st.lists(words.filter(bool).map(" ".join), max_size=4)


def words_of(texts: Sequence[Sequence[str]]) -> Words:
    rows = Rows(WordCodes())
    for text in texts:
        rows.append(text)
    return Words.of(rows)


def as_lists(words: Words) -> list[list[int]]:
    return [part.tolist() for part in np.split(words.codes, words.starts[1:])][:-1]


@given(texts, names)
def test_texts_that_hold_a_name_are_found(texts: list[list[str]], names: list[str]) -> None:
    holding = [place for place, text in enumerate(texts) if any(f" {name} " in f" {' '.join(text)} " for name in names)]
    assert words_of(texts).texts_with(names).tolist() == holding


def test_a_name_that_continues_in_the_next_text_is_in_neither() -> None:
    assert words_of([["far", "north"], ["dakota", "far"]]).texts_with(["north dakota"]).tolist() == []


def test_a_name_is_found_in_a_text_far_behind_the_first_block_of_words() -> None:
    texts = [["of", "the", "north"]] * 200_000
    texts[150_000] = ["in", "north", "dakota"]
    assert words_of(texts).texts_with(["north dakota", "the south"]).tolist() == [150_000]


@given(texts, texts, st.data())
def test_texts_are_put_in_any_order(own: list[list[str]], more: list[list[str]], data: st.DataObject) -> None:
    places = range(len(own) + len(more))
    order = data.draw(st.lists(st.sampled_from(places), unique=True) if places else st.just([]))
    rearranged = words_of(own).rearranged(words_of(more), np.array(order, np.int64))
    assert as_lists(rearranged) == as_lists(words_of([[*own, *more][place] for place in order]))


@pytest.mark.parametrize("texts", [[], [[]], [["a", "b"], [], ["c"]]])
def test_words_are_saved_and_loaded(texts: list[list[str]], tmp_path: Path) -> None:
    words_of(texts).save(tmp_path)
    assert as_lists(Words.load(tmp_path)) == as_lists(words_of(texts))


def test_codes_are_the_same_on_every_machine() -> None:
    assert words_of([["kafka", "हिन्दी"]]).codes.tolist() == [1_539_077_399, 2_353_935_851]
