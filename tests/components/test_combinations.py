"""What chunks cost, and how relevant they are beside each other."""

from math import inf, nan

import pytest

from ragloom.components.combinations import Cost, relevance
from ragloom.errors import ConfigError
from ragloom.types import Chunk, Hit


def words(text: str) -> int:
    return len(text.split())


def scored(*scores: float) -> list[Hit]:
    return [Hit(Chunk(str(place), ""), score) for place, score in enumerate(scores)]


def test_a_chunk_costs_its_title_its_text_what_stands_between_and_its_access() -> None:
    cost = Cost(words, separator_tokens=4, access={"archive.pdf": 0.5, "d1": 7})
    filed = Chunk("a", "three words here", title="One title", document_id="d1", meta={"source": "archive.pdf"})
    assert cost(Hit(filed, 1.0)) == 3 + 2 + 4 + 0.5
    assert cost(Hit(Chunk("b", "one", document_id="d1"), 1.0)) == 1 + 4 + 7
    assert cost(Hit(Chunk("c", "one"), 1.0)) == 1 + 4


@pytest.mark.parametrize("price", [nan, inf, -9.0])
def test_a_cost_that_is_no_number_from_0_names_its_chunk(price: float) -> None:
    with pytest.raises(ConfigError, match=f"chunk c1 costs {price + 1}"):
        Cost(words, separator_tokens=0, access={"d": price})(Hit(Chunk("c1", "one", document_id="d"), 1.0))


def test_relevance_runs_from_0_to_1_whatever_the_scale() -> None:
    assert relevance(scored(3.0, -5.0, -1.0)) == [1.0, 0.0, 0.5]
    assert relevance(scored(-2.0, -2.0)) == [1.0, 1.0]
    assert relevance(scored(1.7e308, -1.7e308)) == [1.0, 0.0]
    assert relevance([]) == []


def test_scores_that_are_no_number_are_worth_nothing() -> None:
    assert relevance(scored(nan, 2.0, inf, 1.0)) == [0.0, 1.0, 0.0, 0.0]
    assert relevance(scored(nan, -inf)) == [0.0, 0.0]
