from bisect import bisect_left

import numpy as np
import scipy.sparse  # noqa: F401 - loaded here, not within the deadline of a property
from hypothesis import given
from hypothesis import strategies as st

from ragloom.graph.counting import Numbering, Rows

items = st.sampled_from(["", "a", "aa", "b", "ba", "हिन्दी", "z"])


@given(st.lists(items, unique=True).map(sorted), st.lists(items))
def test_items_of_the_list_have_their_place_as_number_and_others_follow(known: list[str], asked: list[str]) -> None:
    numbers = Numbering(known)
    found = [numbers[item] for item in asked]
    others = [item for item in dict.fromkeys(asked) if item not in known]
    assert found == [known.index(item) if item in known else len(known) + others.index(item) for item in asked]
    assert (numbers.added, numbers.size) == (others, len(known) + len(others))


@given(st.lists(items, unique=True).map(sorted), st.lists(items), st.data())
def test_used_items_are_sorted_and_placed(known: list[str], asked: list[str], data: st.DataObject) -> None:
    numbers = Numbering(known)
    for item in asked:
        numbers[item]
    used = data.draw(st.lists(st.booleans(), min_size=numbers.size, max_size=numbers.size))
    by_number = [*known, *numbers.added]
    ordered, places = numbers.sorted(np.array(used, bool))
    assert ordered == sorted(item for item, is_used in zip(by_number, used, strict=True) if is_used)
    for item, is_used, place in zip(by_number, used, places.tolist(), strict=True):
        assert place == (bisect_left(ordered, item) if is_used else -1)


@given(st.lists(st.lists(items)))
def test_rows_count_their_items(rows: list[list[str]]) -> None:
    numbers = Numbering[str]([])
    counted = Rows(numbers)
    for row in rows:
        counted.append(row)
    matrix = counted.counts(numbers.size).toarray()
    assert [[row.count(item) for item in numbers.added] for row in rows] == matrix.tolist()
