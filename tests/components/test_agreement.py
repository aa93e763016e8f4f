import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_endpoint import ScriptedEndpoint

import ragloom.components
from ragloom.components.agreement import (
    AnswerAgreement,
    PromptAgreement,
    SampleAgreement,
    clusters,
    meanings,
    parts_identity,
    similarities,
)
from ragloom.components.bm25 import BM25
from ragloom.components.gating import Observation, Signal
from ragloom.components.llm import Cached, OpenAILLM, ScriptedLLM
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import PromptReader
from ragloom.errors import BadReply, InputError
from ragloom.pipelines.question_answering import ClosedBook, RetrieveThenRead
from ragloom.run import Run
from ragloom.store import Store
from ragloom.types import Answer, Chunk, Options, Pipeline

PROMPTS = Path(ragloom.components.__file__).parent / "prompts"
QUESTION = "Qui a construit le moulin ?"
ANSWERS = st.lists(
    st.sampled_from(["Josiah Pell", "Pell", "the Pell, Josiah", "Josiah Pell of Ashby", "1792", "東京", "yes", "no"])
    | st.text(min_size=1),
    min_size=2,
    max_size=6,
)


def sampled(*replies: str) -> Observation:
    return SampleAgreement(ScriptedLLM(replies), samples=len(replies))(QUESTION)


def prompted(first: str, second: str) -> Observation:
    return PromptAgreement(ScriptedLLM([first, second]))(QUESTION)


def saying(text: str, *, abstained: bool = False) -> Pipeline:
    return lambda question, /: Answer(text, abstained=abstained)


# ---- Samples


def test_three_samples_by_hand():
    # F1: 0.8 between the first two, 0 to the third. Row sums 1.8, 1.8 and 1, so that the normalised similarities are
    # (1, 0.8; 0.8, 1) / 1.8 and 1, with the eigenvalues 1, 0.2 / 1.8 and 1.
    observation = sampled("Low Tide", "Low Tide album", "Harbour")
    assert observation.features["samples_disagree"] == pytest.approx(1 / 3)
    assert observation.features["samples_meanings"] == pytest.approx(2 + 1 / 9)
    assert observation.answers == {}


def test_equal_samples_have_one_meaning():
    features = sampled("The Nile.", "nile", "Nile!").features
    assert features == {"samples_disagree": 0.0, "samples_meanings": pytest.approx(1.0)}


def test_samples_without_a_common_word_have_a_meaning_each():
    features = sampled("Nile", "Rhône", "Wolga", "ナイル").features
    assert features == {"samples_disagree": 0.75, "samples_meanings": pytest.approx(4.0)}


def test_samples_that_admit_ignorance_do_not_agree():
    features = sampled("I do not know", "I do not know", "I don't know.").features
    assert features == {"samples_disagree": pytest.approx(2 / 3), "samples_meanings": pytest.approx(3.0)}


@pytest.mark.parametrize(("other", "together"), [("b c d x y", True), ("b c d x y z v", False)])
def test_samples_belong_together_from_an_f1_of_six_tenths(other: str, together: bool):
    similarity = similarities(["b c d p q", other], [False, False])  # 2 * 3 / (5 + 5) and 2 * 3 / (5 + 7)
    assert (len(clusters(similarity)) == 1) is together


def test_a_third_answer_connects_two_that_are_far_apart():
    similarity = np.array([[1.0, 0.0, 0.7], [0.0, 1.0, 0.7], [0.7, 0.7, 1.0]])
    assert [sorted(cluster) for cluster in clusters(similarity)] == [[0, 1, 2]]


def test_samples_differ_by_their_seeds_and_are_kept_each(tmp_path: Path):
    with ScriptedEndpoint() as endpoint, Store.open(tmp_path) as store:
        signal = SampleAgreement(Cached(OpenAILLM("scripted", endpoint.base_url), store), samples=4, seed=7)
        assert signal(QUESTION) == signal(QUESTION)
    assert [request.body["seed"] for request in endpoint.requests] == [7, 8, 9, 10]
    assert {request.body["temperature"] for request in endpoint.requests} == {0.7}


@given(ANSWERS)
def test_disagreement_stays_in_its_bounds(answers: list[str]):
    n = len(answers)
    similarity = similarities(answers, [False] * n)
    assert sorted(member for cluster in clusters(similarity) for member in cluster) == list(range(n))
    assert 1 - 1e-9 <= meanings(similarity) <= n + 1e-9
    assert ((similarity >= 0) & (similarity <= 1)).all()


@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(answers: list[str], random):
    shuffled = random.sample(answers, len(answers))
    ours, theirs = (similarities(texts, [False] * len(texts)) for texts in (answers, shuffled))
    assert sorted(map(len, clusters(ours))) == sorted(map(len, clusters(theirs)))
    assert meanings(ours) == pytest.approx(meanings(theirs))


@given(ANSWERS)
def test_meanings_are_counted_as_by_the_laplacian(answers: list[str]):
    similarity = similarities(answers, [False] * len(answers))
    degrees = np.diag(1 / np.sqrt(similarity.sum(axis=1)))
    laplacian = np.eye(len(answers)) - degrees @ similarity @ degrees
    expected = sum(max(0.0, 1 - value) for value in np.linalg.eigvalsh(laplacian))
    assert math.isclose(meanings(similarity), expected, rel_tol=1e-9)


def test_an_empty_sample_is_a_bad_reply():
    with pytest.raises(BadReply):
        sampled("Nile", " ", "Nile")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SampleAgreement(ScriptedLLM([]), samples=1), "samples must be at least 2, got 1"),
        (lambda: SampleAgreement(ScriptedLLM([]), options=Options(temperature=0.0)), "must be above 0, got 0.0"),
    ],
)
def test_samples_that_could_not_differ_are_refused(make: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message):
        make()


# ---- Two prompts


@pytest.mark.parametrize(
    ("first", "second", "disagree"),
    [
        ("The Nile", "nile.", 0.0),
        ("yes", "Yes!", 0.0),
        ("yes", "no", 1.0),
        ("no", "no river", 1.0),
        ("15 April 1912", "14 April 1912", 1.0),
        ("東京。", "東京", 0.0),
        ("A", "B", 1.0),
        ("I do not know", "I do not know", 1.0),
    ],
)
def test_answers_agree_where_they_are_the_same_but_for_marks(first: str, second: str, disagree: float):
    observation = prompted(first, second)
    assert observation.features == {"prompts_disagree": disagree}


def test_the_first_answer_is_that_of_the_closed_book_pipeline():
    llm = ScriptedLLM(["Josiah Pell", "Pell", "Josiah Pell"])
    observation = PromptAgreement(llm)(QUESTION)
    answer = ClosedBook(PromptReader(llm))(QUESTION)
    assert observation.answers["none"].text == answer.text
    assert llm.requests[0] == llm.requests[2]
    assert llm.requests[1] != llm.requests[0]
    assert all(QUESTION in request[-1]["content"] for request in llm.requests)


# ---- Two pipelines


def test_answers_with_and_without_passages_are_both_handed_on():
    observation = AnswerAgreement(none=saying("Pell"), single=saying("the Pell"))(QUESTION)
    assert observation == Observation({"answers_disagree": 0.0}, {"none": Answer("Pell"), "single": Answer("the Pell")})


@pytest.mark.parametrize(
    ("none", "single"),
    [
        (saying("Pell"), saying("Ashby")),
        (saying("x", abstained=True), saying("x")),
        (saying("no passage", abstained=True), saying("no passage", abstained=True)),
    ],
)
def test_another_answer_and_an_abstention_disagree(none: Pipeline, single: Pipeline):
    assert AnswerAgreement(none=none, single=single)(QUESTION).features == {"answers_disagree": 1.0}


def pipelines(llm: ScriptedLLM, *, prompt: Prompt | None = None, **options: object) -> AnswerAgreement:
    reader = PromptReader(llm, prompt=prompt, options=Options(temperature=0.0, **options))  # type: ignore[typeddict-item]
    bm25 = BM25([Chunk("mill", "The mill was built by Josiah Pell.")])
    return AnswerAgreement(none=ClosedBook(PromptReader(llm)), single=RetrieveThenRead(bm25, reader))


def test_what_the_pipelines_did_is_in_the_trace_and_counted_once():
    llm = ScriptedLLM(["Pell", "Josiah Pell [1]"])
    with Run() as run:
        observation = pipelines(llm)("Who built the mill?")
    assert observation.features == {"answers_disagree": 1.0}
    record = run.record()
    assert [span.name for span in record.spans] == ["read", "llm", "retrieve", "read", "llm"]
    assert record.usage.calls == 2


# ---- All of them


def identities(signals: Sequence[Signal]) -> set[str]:
    return {signal.identity for signal in signals}


@pytest.fixture
def other_prompt(tmp_path: Path) -> Prompt:
    file = tmp_path / "other.txt"
    text = (PROMPTS / "closed-book-short.txt").read_text(encoding="utf-8")
    file.write_text(text.replace("Africa", "Asia"), encoding="utf-8")
    return Prompt.load(file)


def test_identity_of_samples(other_prompt: Prompt):
    llm = ScriptedLLM([])
    signals = [
        SampleAgreement(llm),
        SampleAgreement(ScriptedLLM([], identity="other")),
        SampleAgreement(llm, samples=5),
        SampleAgreement(llm, seed=1),
        SampleAgreement(llm, mode="long"),
        SampleAgreement(llm, prompt=other_prompt),
        SampleAgreement(llm, options=Options(temperature=1.0)),
    ]
    assert len(identities(signals)) == len(signals)
    assert signals[0].needs == {"samples"}


def test_identity_of_prompts(other_prompt: Prompt):
    llm = ScriptedLLM([])
    signals = [
        PromptAgreement(llm),
        PromptAgreement(ScriptedLLM([], identity="other")),
        PromptAgreement(llm, prompt=other_prompt),
        PromptAgreement(llm, paraphrase=other_prompt),
        PromptAgreement(llm, options=Options(temperature=0.0, max_tokens=8)),
    ]
    assert len(identities(signals)) == len(signals)
    assert signals[0].needs == frozenset()


def test_identity_of_pipelines(tmp_path: Path):
    llm = ScriptedLLM([])
    file = tmp_path / "other.txt"
    file.write_text((PROMPTS / "short.txt").read_text(encoding="utf-8").replace("Kerrin", "Kerran"), encoding="utf-8")
    prompt = Prompt.load(file)
    ours = pipelines(llm)
    signals = [
        ours,
        pipelines(ScriptedLLM([], identity="other")),
        pipelines(llm, prompt=prompt),
        pipelines(llm, max_tokens=8),
        AnswerAgreement(none=ours.single, single=ours.none),
    ]
    assert len(identities(signals)) == len(signals)
    assert pipelines(ScriptedLLM(["x"])).identity == ours.identity
    assert str(PROMPTS) not in ours.identity
    assert signals[0].needs == {"passages"}


@dataclass(frozen=True)
class Part:
    numbers: tuple[float | None, ...]
    work: object


def test_parts_are_known_by_what_they_say_of_themselves():
    assert parts_identity(Part((1, None), saying)) == "Part((1, None), saying)"
    assert parts_identity(Part((), ScriptedLLM([], identity="model 1"))) == "Part((), model 1)"
    assert parts_identity(Part((), object())) == "Part((), object)"


@pytest.mark.parametrize("make", [SampleAgreement, PromptAgreement])
def test_an_empty_question_is_refused_before_the_model_is_asked(make):
    llm = ScriptedLLM([])
    with pytest.raises(InputError, match="empty"):
        make(llm)("")
    assert llm.calls == 0


@pytest.mark.parametrize("make", [SampleAgreement, PromptAgreement])
def test_what_is_measured_is_what_was_announced(make):
    signal: Signal = make(ScriptedLLM(lambda _: "Nile"))
    assert tuple(signal(QUESTION).features) == signal.features
