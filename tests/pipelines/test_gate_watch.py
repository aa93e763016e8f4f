"""A batch through a calibrated gate says where its questions are not like those of the calibration."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.components.gate_file import SavedGate
from ragloom.components.gate_rules import Threshold
from ragloom.pipelines.batch import answer_file
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

WORDS = ("who", "built", "the", "mill", "of", "town")


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(answer=lambda prompt: "Paris") as endpoint:
        yield endpoint


def warned(
    tmp_path: Path, endpoint: ScriptedEndpoint, questions: list[str], *, chain: str = "{gate}"
) -> tuple[str, ...]:
    (tmp_path / "mill.txt").write_text("The mill was built by Ilse Tarn.", encoding="utf-8")
    with Store.open(tmp_path / "workspace") as store:
        index_corpus([tmp_path / "mill.txt"], store)
    gate = SavedGate(
        Threshold("question_words", 20.0),
        signals=("question",),
        scores=tuple(float(words) for words in range(5, 9)) * 20,
        words=WORDS,
        unknown_shares=tuple(1 / words for words in range(5, 9)) * 20,
    )
    gate.save(tmp_path / "gate.json")
    file = tmp_path / "questions.jsonl"
    file.write_text(
        "\n".join(json.dumps({"id": str(n), "question": text}) for n, text in enumerate(questions)), encoding="utf-8"
    )
    settings = Settings(
        workspace=tmp_path / "workspace",
        pipeline="adaptive",
        gate=chain.format(gate=tmp_path / "gate.json"),
        base_url=endpoint.base_url,
        model="scripted",
    )
    return answer_file(settings, file, progress=False).warnings


def usual(words: int) -> str:
    """So many words, a fifth of which the gate does not know, or fewer."""
    return " ".join([*(WORDS * 2)[: words - 1], "anew"])


def test_questions_like_those_of_the_calibration_pass_in_silence(tmp_path: Path, endpoint: ScriptedEndpoint):
    assert warned(tmp_path, endpoint, [usual(5 + number % 4) + " " * number for number in range(40)]) == ()


def test_other_questions_are_warned_of(tmp_path: Path, endpoint: ScriptedEndpoint):
    questions = [
        f"Explain photosynthesis {number} please, with every enzyme named twice or more" for number in range(40)
    ]
    scores, words = warned(tmp_path, endpoint, questions)
    assert "gate.json: its scores have drifted since calibration" in scores
    assert "these questions are not like those it was calibrated on" in words


def test_a_few_questions_tell_nothing(tmp_path: Path, endpoint: ScriptedEndpoint):
    assert warned(tmp_path, endpoint, ["Explain photosynthesis please, with every enzyme named"]) == ()


def test_a_chain_may_end_in_a_comma(tmp_path: Path, endpoint: ScriptedEndpoint):
    assert warned(tmp_path, endpoint, ["Explain photosynthesis please"], chain="{gate},") == ()


def test_scores_of_another_gate_of_the_chain_are_not_compared(tmp_path: Path, endpoint: ScriptedEndpoint):
    questions = [usual(5 + number % 4) + " " * number for number in range(40)]
    assert warned(tmp_path, endpoint, questions, chain="popularity,{gate}") == ()
