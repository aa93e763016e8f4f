from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.fusion import ReciprocalRankFusion, WeightedFusion
from ragloom.run import Run
from ragloom.types import Chunk, Hit, Retriever

LISTS = st.lists(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-5, 5)), max_size=8).map(
        lambda hits: sorted(hits, key=lambda hit: -hit[1])
    ),
    min_size=1,
    max_size=4,
)


def finds(*hits: tuple[str, float]) -> Retriever:
    def retriever(query: str, k: int, /) -> list[Hit]:
        return [Hit(Chunk(chunk_id, chunk_id), score) for chunk_id, score in hits][:k]

    return retriever


def rrf(retrievers: Sequence[Retriever]) -> Retriever:
    return ReciprocalRankFusion(retrievers)


def weighted(retrievers: Sequence[Retriever]) -> Retriever:
    return WeightedFusion(retrievers, [0.5 + place for place in range(len(retrievers))])


FUSIONS: tuple[Callable[[Sequence[Retriever]], Retriever], ...] = (rrf, weighted)


def pairs(hits: Sequence[Hit]) -> list[tuple[str, float]]:
    return [(hit.chunk.id, hit.score) for hit in hits]


# ---- Worked examples


def test_reciprocal_ranks_add_up() -> None:
    fusion = ReciprocalRankFusion([finds(("a", 9), ("b", 8), ("c", 7)), finds(("c", 0.3), ("d", 0.2), ("a", 0.1))])
    expected = [("a", 1 / 61 + 1 / 63), ("c", 1 / 61 + 1 / 63), ("b", 1 / 62), ("d", 1 / 62)]
    assert pairs(fusion("q", 9)) == [(chunk_id, pytest.approx(score)) for chunk_id, score in expected]


def test_small_constant_favours_the_first_ranks() -> None:
    retrievers = [finds(("a", 3), ("b", 2)), finds(("c", 3), ("b", 2))]
    assert pairs(ReciprocalRankFusion(retrievers, constant=0)("q", 1)) == [("a", 1.0)]
    assert pairs(ReciprocalRankFusion(retrievers)("q", 1)) == [("b", pytest.approx(2 / 62))]


def test_scores_are_scaled_to_each_list_and_weighted() -> None:
    fusion = WeightedFusion([finds(("a", 12), ("b", 10), ("c", 8)), finds(("b", -0.5), ("d", -0.9))], [0.75, 0.25])
    assert pairs(fusion("q", 9)) == [("a", 0.75), ("b", pytest.approx(0.625)), ("c", 0.0), ("d", 0.0)]


def test_hits_of_equal_score_are_all_best() -> None:
    fusion = WeightedFusion([finds(("b", 2), ("a", 2)), finds(("c", -1))], [1, 2])
    assert pairs(fusion("q", 9)) == [("c", 2.0), ("a", 1.0), ("b", 1.0)]


def test_chunk_found_twice_by_one_retriever_counts_once() -> None:
    twice = finds(("a", 3), ("a", 2), ("b", 1))
    assert pairs(ReciprocalRankFusion([twice])("q", 9)) == [("a", 1 / 61), ("b", 1 / 62)]
    assert pairs(WeightedFusion([twice], [1])("q", 9)) == [("a", 1.0), ("b", 0.0)]


# ---- Invariants


@pytest.mark.parametrize("fusion", FUSIONS)
@given(lists=LISTS, k=st.integers(1, 10))
def test_hits_are_the_first_k_of_what_was_found(
    fusion: Callable[[Sequence[Retriever]], Retriever], lists: list[list[tuple[str, float]]], k: int
) -> None:
    fused = fusion([finds(*hits) for hits in lists])
    everything = pairs(fused("q", 99))
    assert pairs(fused("q", k)) == everything[:k]
    assert sorted(chunk_id for chunk_id, _ in everything) == sorted(
        {chunk_id for hits in lists for chunk_id, _ in hits}
    )
    assert everything == sorted(everything, key=lambda hit: (-hit[1], hit[0]))


@given(LISTS, st.randoms(use_true_random=False))
def test_order_of_retrievers_makes_no_difference_to_reciprocal_ranks(
    lists: list[list[tuple[str, float]]], random: object
) -> None:
    retrievers = [finds(*hits) for hits in lists]
    shuffled = retrievers[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis does not say that it is a Random
    assert ReciprocalRankFusion(shuffled)("q", 9) == ReciprocalRankFusion(retrievers)("q", 9)


@given(LISTS)
def test_scores_stay_within_their_bounds(lists: list[list[tuple[str, float]]]) -> None:
    retrievers = [finds(*hits) for hits in lists]
    for _, score in pairs(rrf(retrievers)("q", 9)):
        assert 1 / (60 + 8) <= score <= len(lists) / 61 + 1e-12
    for _, score in pairs(weighted(retrievers)("q", 9)):
        assert 0 <= score <= sum(0.5 + place for place in range(len(lists))) + 1e-12


@pytest.mark.parametrize("fusion", FUSIONS)
@given(hits=LISTS.map(lambda lists: lists[0]))
def test_one_retriever_keeps_its_order_up_to_ties(
    fusion: Callable[[Sequence[Retriever]], Retriever], hits: list[tuple[str, float]]
) -> None:
    scores = dict(reversed(hits))  # the better of two hits of a chunk
    fused = [scores[hit.chunk.id] for hit in fusion([finds(*hits)])("q", 9)]
    assert fused == pytest.approx(sorted(fused, reverse=True), abs=1e-9)


# ---- What is asked of the retrievers


@pytest.mark.parametrize(("k", "asked"), [(3, 20), (50, 50)])
def test_each_retriever_is_asked_for_the_depth_or_k(k: int, asked: int) -> None:
    asked_for = []

    def retriever(query: str, k: int, /) -> list[Hit]:
        asked_for.append((query, k))
        return []

    assert ReciprocalRankFusion([retriever, retriever], depth=20)("q", k) == []
    assert WeightedFusion([retriever, retriever], [1, 1], depth=20)("q", k) == []
    assert asked_for == [("q", asked)] * 4


def test_each_retriever_leaves_a_span() -> None:
    with Run() as run:
        ReciprocalRankFusion([finds(("a", 1), ("b", 1)), finds()], depth=7)("q", 5)
    assert [(span.name, dict(span.attributes)) for span in run.record().spans] == [
        ("retrieve", {"retriever": "retriever", "k": 7, "found": 2}),
        ("retrieve", {"retriever": "retriever", "k": 7, "found": 0}),
    ]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion_can_be_fused(fusion: Callable[[Sequence[Retriever]], Retriever]) -> None:
    inner = fusion([finds(("a", 2), ("b", 1)), finds(("c", 1))])
    assert {hit.chunk.id for hit in fusion([inner, finds(("d", 1))])("q", 9)} == set("abcd")


# ---- Refusals


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(fusion: Callable[[Sequence[Retriever]], Retriever], k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        fusion([finds(("a", 1))])("q", k)


def test_depth_constant_and_retrievers_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        ReciprocalRankFusion([finds()], depth=0)
    with pytest.raises(ValueError, match="depth must be at least 1, got -3"):
        WeightedFusion([finds()], [1], depth=-3)
    with pytest.raises(ValueError, match="constant must be a number from 0, got -1"):
        ReciprocalRankFusion([finds()], constant=-1)
    for fusion in FUSIONS:
        with pytest.raises(ValueError, match="a fusion needs at least one retriever"):
            fusion([])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "2 retrievers need as many weights, got 1"),
        ([0.0, 0.0], r"not all 0, got \[0.0, 0.0\]"),
        ([1.0, -1.0], r"numbers from 0 and not all 0, got \[1.0, -1.0\]"),
        ([1.0, float("nan")], "numbers from 0"),
    ],
)
def test_weights_that_cannot_work_are_refused(weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightedFusion([finds(), finds()], weights)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_scores_that_cannot_be_weighted_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="a score that is no finite number"):
        WeightedFusion([finds(("a", 1), ("b", score))], [1])("q", 5)
