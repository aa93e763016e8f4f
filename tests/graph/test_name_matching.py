from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.graph.name_matching import NameMatcher
from ragloom.graph.naming import is_name

word = st.sampled_from(["north", "dakota", "new", "york", "the", "12", "34", "हिन्दी", "東京都", "x" * 500])
words = st.lists(word, max_size=12)
names = st.lists(st.lists(word, min_size=1, max_size=4).map(" ".join), max_size=12)


def spans_by_trying_all(names: list[str], words: list[str]) -> list[tuple[int, int]]:
    usable = sorted((name.split() for name in names if is_name(name)), key=len, reverse=True)
    found, start = [], 0
    while start < len(words):
        length = next((len(name) for name in usable if words[start : start + len(name)] == name), 0)
        if length:
            found.append((start, start + length))
        start += length or 1
    return found


@given(names, words)
def test_spans_are_those_of_the_longest_name_at_each_word(names: list[str], words: list[str]) -> None:
    matcher = NameMatcher(names)
    assert matcher.spans(words) == spans_by_trying_all(names, words)
    assert matcher(words) == [" ".join(words[start:end]) for start, end in spans_by_trying_all(names, words)]


@given(names, st.lists(words, max_size=4))
def test_what_was_matched_before_makes_no_difference(names: list[str], texts: list[list[str]]) -> None:
    matcher = NameMatcher(names)
    assert [matcher(words) for words in texts] == [NameMatcher(names)(words) for words in texts]


def test_a_longer_name_hides_the_shorter_ones_in_it() -> None:
    matcher = NameMatcher(["dakota", "north dakota", "dakota fanning"])
    assert matcher(["from", "north", "dakota", "dakota", "fanning", "and", "dakota"]) == [
        "north dakota",
        "dakota fanning",
        "dakota",
    ]


def test_a_name_that_is_broken_off_at_the_end_is_none() -> None:
    assert NameMatcher(["new york city"])(["in", "new", "york"]) == []


@pytest.mark.parametrize("name", ["the", "of", "1997", "19 97", "ab", ""])
def test_common_words_numbers_and_abbreviations_name_nothing(name: str) -> None:
    assert NameMatcher([name, "the wire"])(f"{name} of {name} ab 19 97 the".split()) == []


@pytest.mark.parametrize("names", [[], ["kafka"]])
def test_nothing_is_found_where_there_is_nothing(names: list[str]) -> None:
    assert NameMatcher(names)([]) == []
    assert NameMatcher([])(["kafka"]) == []


def test_threads_that_meet_a_word_at_once_all_find_its_names() -> None:
    names = [f"the {number} mill{number}" for number in range(20_000)]
    threads = 8
    for _ in range(5):
        matcher, together = NameMatcher(names), Barrier(threads)

        def find(_: int, matcher: NameMatcher = matcher, together: Barrier = together) -> list[str]:
            together.wait()
            return matcher(["the", "19999", "mill19999"])

        with ThreadPoolExecutor(threads) as pool:
            assert list(pool.map(find, range(threads))) == [["the 19999 mill19999"]] * threads
