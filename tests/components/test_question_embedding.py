"""A question's embedding as features of a gate: all of it reaches the rule, none of it the trace."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from hash_embedder import DIMENSIONS, HashEmbedder
from numpy.typing import NDArray

from ragloom.components.gate_rules import Threshold
from ragloom.components.gating import SignalGate, observe
from ragloom.components.question_embedding import QuestionEmbedding
from ragloom.components.question_features import QuestionFeatures
from ragloom.components.vector_cache import CachedEmbedder
from ragloom.errors import BadReply
from ragloom.pipelines.question_answering import Adaptive
from ragloom.run import Run
from ragloom.store import Store
from ragloom.types import Answer

QUESTION = "Who built the lighthouse?"


class Short:
    """An embedder whose vectors are not of length 1."""

    model = "short"

    def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        return np.full((len(texts), 2), 0.1, np.float32)


def test_each_dimension_is_a_feature_rounded_to_four_decimals() -> None:
    signal = QuestionEmbedding(HashEmbedder())
    features = signal(QUESTION).features
    assert tuple(features) == signal.features
    assert signal.features[:2] == ("embedding_000", "embedding_001")
    assert len(signal.features) == DIMENSIONS
    assert list(features.values()) == pytest.approx(HashEmbedder()([QUESTION])[0].tolist(), abs=5e-5)
    assert all(round(value, 4) == value for value in features.values())


def test_it_holds_for_the_embedders_model_alone() -> None:
    assert QuestionEmbedding(HashEmbedder("a")).identity != QuestionEmbedding(HashEmbedder("b")).identity
    assert QuestionEmbedding(HashEmbedder()).needs == {"embedder"}


def test_a_blank_question_is_unknown() -> None:
    features = QuestionEmbedding(HashEmbedder())(" ").features
    assert len(features) == DIMENSIONS
    assert all(map(isnan, features.values()))


def test_a_vector_that_is_none_is_refused() -> None:
    with pytest.raises(BadReply, match=r"length 0\.14"):
        QuestionEmbedding(Short())(QUESTION)


def test_a_stored_question_is_not_embedded_again(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counted(HashEmbedder):
        def __call__(self, texts: Sequence[str], /) -> NDArray[np.float32]:
            asked.extend(texts)
            return super().__call__(texts)

    with Store.open(tmp_path / "workspace") as store:
        for _ in range(2):
            QuestionEmbedding(CachedEmbedder(Counted(), store))(QUESTION)
    assert asked.count(QUESTION) == 1


def test_the_trace_names_the_signal_and_leaves_its_numbers_out() -> None:
    with Run() as run:
        observe(QuestionEmbedding(HashEmbedder()), QUESTION)
    (span,) = run.record().spans
    assert span.attributes == {"signal": "QuestionEmbedding"}


def test_a_gate_decides_by_it_and_traces_what_else_it_rests_on() -> None:
    signals = (QuestionFeatures(), QuestionEmbedding(HashEmbedder()))
    gate = SignalGate(signals, Threshold("embedding_000", -2, "above", "single"))
    assert gate(QUESTION).features.keys() == {name for signal in signals for name in signal.features}
    answer = Adaptive(gate, {"none": lambda question: Answer(""), "single": lambda question: Answer("")})(QUESTION)
    attributes = next(span.attributes for span in answer.run.spans if span.name == "gate")
    assert attributes["features"] == QuestionFeatures()(QUESTION).features
