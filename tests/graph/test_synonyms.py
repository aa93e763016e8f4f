from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ragloom.components.vector_cache import CachedEmbedder
from ragloom.errors import BadReply, IndexMismatch
from ragloom.graph.synonyms import Synonyms
from ragloom.store import Store


class Compass:
    """An embedder of phrases that end in an angle in degrees, as directions; it remembers what it was asked for."""

    def __init__(self, model: str = "compass") -> None:
        self.model = model
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        self.asked += texts
        angles = np.radians([float(text.rpartition(" ")[2]) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def phrases_at(angles: Sequence[int]) -> list[str]:
    """A phrase for each angle; equal angles have different phrases."""
    return sorted(f"phrase {number} at {angle}" for number, angle in enumerate(angles))


def found(synonyms: Synonyms) -> dict[tuple[str, str], float]:
    pairs = [(synonyms.phrases[first], synonyms.phrases[second]) for first, second in synonyms.pairs.tolist()]
    return dict(zip(pairs, synonyms.cosines.tolist(), strict=True))


def by_definition(phrases: Sequence[str], threshold: float, most: int) -> dict[tuple[str, str], float]:
    vectors = Compass()(phrases).astype(np.float64) if phrases else np.empty((0, 2))
    cosines = (vectors[:, None] * vectors).sum(axis=2).astype(np.float32)
    np.fill_diagonal(cosines, -1)
    asked_for = np.argsort(np.argsort(-cosines, axis=1, kind="stable"), axis=1) < most
    pairs = np.argwhere(np.triu((cosines >= threshold) & (asked_for | asked_for.T)))
    return {(phrases[first], phrases[second]): float(cosines[first, second]) for first, second in pairs.tolist()}


def assert_same(one: Synonyms, other: Synonyms) -> None:
    assert one.phrases == other.phrases
    assert np.array_equal(one.pairs, other.pairs)
    assert np.array_equal(one.cosines, other.cosines)


angle_lists = st.lists(st.integers(0, 359), max_size=40)


@settings(deadline=None)
@given(angle_lists, st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.sampled_from([1, 2, 5, 100]))
def test_pairs_are_those_of_the_definition(angles: list[int], threshold: float, most: int) -> None:
    phrases = phrases_at(angles)
    synonyms = Synonyms.build(phrases, Compass(), threshold=threshold, most=most)
    assert found(synonyms) == by_definition(phrases, threshold, most)


@settings(deadline=None)
@given(angle_lists, st.lists(st.sets(st.integers(0, 39)), max_size=5), st.sampled_from([1, 2, 5, 100]))
def test_any_sequence_of_updates_equals_building_anew(angles: list[int], steps: list[set[int]], most: int) -> None:
    everything = phrases_at(angles)
    synonyms = Synonyms.build(everything, Compass(), most=most)
    for step in steps:
        phrases = [phrase for number, phrase in enumerate(everything) if number in step]
        synonyms = synonyms.updated(phrases, Compass())
        assert_same(synonyms, Synonyms.build(phrases, Compass(), most=most))


def test_many_phrases_are_compared_in_blocks_and_updated_alike() -> None:
    angles = np.random.default_rng(0).integers(0, 36_000, 3000) / 100
    phrases = sorted(f"phrase {number} at {angle}" for number, angle in enumerate(angles.tolist()))
    fewer = phrases[:700] + phrases[800:2500]
    everything = Synonyms.build(phrases, Compass(), threshold=0.9999)
    assert_same(Synonyms.build(fewer, Compass(), threshold=0.9999).updated(phrases, Compass()), everything)
    assert found(everything) == by_definition(phrases, 0.9999, 100)


def test_a_crowd_of_phrases_that_look_alike_stays_small() -> None:
    crowd = [f"date {number:04} at 0" for number in range(1500)]  # a million pairs
    synonyms = Synonyms.build(crowd, Compass(), most=3)
    # All are equally near, so that each asks for the first three others.
    assert synonyms.pairs.tolist() == [[first, second] for first in range(3) for second in range(first + 1, 1500)]


def test_a_hub_keeps_the_phrases_that_ask_for_it() -> None:
    class Spokes(Compass):
        """The hub is at .9 of each spoke, and spokes are at .81 of each other."""

        def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
            vectors = np.zeros((len(texts), 201), np.float32)
            vectors[:, 0] = 1
            for vector, text in zip(vectors, texts, strict=True):
                if text != "hub":
                    vector[[0, int(text.split()[1])]] = 0.9, np.sqrt(1 - 0.81)
            return vectors

    phrases = sorted(["hub", *(f"spoke {number}" for number in range(1, 201))])
    assert len(Synonyms.build(phrases, Spokes(), threshold=0.85, most=10).pairs) == 200
    crowded = Synonyms.build(phrases, Spokes(), most=10)
    assert np.bincount(crowded.pairs.ravel())[0] == 200
    assert len(crowded.pairs) <= 201 * 10


def test_phrases_of_fewer_than_three_letters_and_digits_have_no_synonyms() -> None:
    class Same(Compass):
        def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
            return super().__call__([f"{text} 0" for text in texts])

    embedder = Same()
    synonyms = Synonyms.build(["a b", "u s", "uk", "usa", "äöü", "東京都"], embedder)
    assert list(found(synonyms)) == [("usa", "äöü"), ("usa", "東京都"), ("äöü", "東京都")]
    assert synonyms.weights().toarray()[3].tolist() == [0, 0, 0, 0, 1, 1]


def test_only_new_phrases_are_embedded(tmp_path: Path) -> None:
    compass = Compass()
    with Store.open(tmp_path) as store:
        embedder = CachedEmbedder(compass, store)
        before = Synonyms.build(phrases_at([0, 10, 20]), embedder)
        compass.asked.clear()
        before.updated(sorted([*before.phrases, "phrase 9 at 15"]), embedder)
    assert compass.asked == ["phrase 9 at 15"]


def test_a_phrase_that_goes_makes_room_for_the_next_nearest() -> None:
    synonyms = Synonyms.build(["left at 0", "middle at 5", "right at 11"], Compass(), most=1)
    assert list(found(synonyms)) == [("left at 0", "middle at 5"), ("middle at 5", "right at 11")]
    without = synonyms.updated(["left at 0", "right at 11"], Compass())
    assert list(found(without)) == [("left at 0", "right at 11")]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    synonyms = Synonyms.build(phrases_at([0, 10, 90, 95]), Compass(), threshold=0.9, most=7)
    synonyms.save(tmp_path)
    loaded = Synonyms.load(tmp_path)
    assert_same(loaded, synonyms)
    assert (loaded.model, loaded.threshold, loaded.most) == ("compass", 0.9, 7)


def test_no_phrases_have_no_synonyms() -> None:
    synonyms = Synonyms.build([], Compass())
    assert synonyms.weights().shape == (0, 0)
    assert_same(synonyms.updated(["one at 0"], Compass()).updated([], Compass()), synonyms)


def test_another_model_is_refused() -> None:
    synonyms = Synonyms.build(phrases_at([0]), Compass("old"))
    with pytest.raises(IndexMismatch, match="found with old, got new; build them again"):
        synonyms.updated(phrases_at([0, 1]), Compass("new"))


def test_vectors_that_are_no_numbers_are_refused() -> None:
    class Broken(Compass):
        def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
            return np.full((len(texts), 2), np.nan, np.float32)

    with pytest.raises(BadReply, match="vector of length nan"):
        Synonyms.build(phrases_at([0, 1]), Broken())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold must be above 0 and at most 1, got 0.0"),
        ({"threshold": 1.5}, "threshold must be above 0 and at most 1, got 1.5"),
        ({"most": 0}, "most must be at least 1, got 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Synonyms.build([], Compass(), **options)  # type: ignore[arg-type]  # that is the point
