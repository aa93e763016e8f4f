from collections.abc import Sequence
from math import isnan, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.bm25 import BM25
from ragloom.components.retrieval_scores import RetrievalScores
from ragloom.types import Chunk, Hit, Retriever

QUESTION = "Who was the director of Jaws?"


def giving(*hits: Hit) -> Retriever:
    return lambda query, k: list(hits[:k])


def scored(*scores: float, text: str = "") -> Retriever:
    return giving(*(Hit(Chunk(str(place), text), score) for place, score in enumerate(scores)))


def features(retriever: Retriever, question: str = QUESTION, k: int = 5) -> dict[str, float]:
    found = RetrievalScores(retriever, k=k)(question).features
    return {name.removeprefix("retrieval_"): value for name, value in found.items()}


def test_features_are_computed_by_hand() -> None:
    found = features(scored(4.0, 2.0, text="The director Steven Spielberg"))
    assert (found["top"], found["gap"], found["overlap"]) == (4, 0.5, 0.5)
    high = 1 / (1 + 2.718281828459045**-2)  # two scores are a deviation above and below their mean
    assert found["entropy"] == pytest.approx(-(high * log(high) + (1 - high) * log(1 - high)) / log(2))


def test_without_passages_the_overlap_is_none_and_the_scores_are_unknown() -> None:
    found = features(scored())
    assert found.pop("overlap") == 0
    assert all(map(isnan, found.values()))


def test_one_passage_has_no_gap_and_no_entropy() -> None:
    found = features(scored(3.0))
    assert found["top"] == 3
    assert isnan(found["gap"])
    assert isnan(found["entropy"])


@pytest.mark.parametrize("score", [0.0, 2.5, -1.0])
def test_equal_scores_have_no_gap_and_full_entropy(score: float) -> None:
    found = features(scored(score, score, score))
    assert (found["top"], found["gap"], found["entropy"]) == (score, 0, 1)


def test_scores_too_close_to_tell_apart_count_as_equal() -> None:
    assert features(scored(2e-200, 1e-200))["entropy"] == 1


def test_a_passage_that_stands_out_lowers_the_entropy() -> None:
    assert features(scored(9, 1, 1, 1, 1))["entropy"] < features(scored(9, 7, 5, 3, 1))["entropy"] < 1


def test_words_are_found_in_titles_whatever_their_ending() -> None:
    retriever = giving(Hit(Chunk("1", "It was directed by Spielberg.", "Jaw"), 1.0))
    assert features(retriever)["overlap"] == 0.5  # jaw; "directed" has another stem than "director"


def test_a_question_of_stop_words_has_no_overlap_to_speak_of() -> None:
    assert isnan(features(scored(1.0, text="Who was it?"), "Who was it?")["overlap"])


def test_k_passages_are_looked_at() -> None:
    assert features(scored(4, 3, 2, 1), k=2)["gap"] == 0.25


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        RetrievalScores(scored(), k=0)


finite = st.floats(0.01, 100).map(lambda value: round(value, 2))


@given(st.lists(finite, min_size=2, max_size=5), st.sampled_from([0.25, 4.0, 1024.0]))
def test_scores_have_no_unit_and_no_order(scores: list[float], factor: float) -> None:
    plain = features(scored(*scores))
    scaled = features(scored(*sorted(factor * score for score in scores)))
    assert scaled["gap"] == pytest.approx(plain["gap"])
    assert scaled["entropy"] == pytest.approx(plain["entropy"])
    assert scaled["top"] == pytest.approx(factor * plain["top"])
    assert 0 <= plain["gap"] <= 1
    assert 0 < plain["entropy"] <= 1 + 1e-12


def test_a_retriever_of_the_library_is_measured() -> None:
    chunks = [Chunk(text, text) for text in ("Jaws is a film", "Its director is Spielberg", "An unrelated text")]
    found = features(BM25(chunks), k=2)
    assert found["overlap"] == 1
    assert found["top"] > 0


def test_the_identity_names_retriever_and_k() -> None:
    class Index:
        def __call__(self, query: str, k: int, /) -> list[Hit]:
            return []

    assert RetrievalScores(Index()).identity == "Index k=5"
    assert RetrievalScores(Index(), k=3, name="bm25 of wiki").identity == "bm25 of wiki k=3"


def names(retriever: Retriever) -> Sequence[str]:
    return tuple(RetrievalScores(retriever)(QUESTION).features)


def test_the_features_are_those_that_are_announced() -> None:
    assert names(scored()) == names(scored(2, 1)) == RetrievalScores(scored()).features
