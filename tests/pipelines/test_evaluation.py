import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.answer_words import normalise
from ragloom.components.datasets import GoldPassage, Question
from ragloom.pipelines.evaluation import (
    Interval,
    Scores,
    bootstrap,
    compare,
    contains,
    evaluate_answers,
    evaluate_retrieval,
    exact_match,
    paired_bootstrap,
    token_f1,
)
from ragloom.types import Answer, Chunk, Hit, Retriever, RunRecord, Usage

WORDS = st.sampled_from(["the", "a", "an", "Mill", "mill", "Lane,", "-", "1792", "(not)", "isle"])
TEXTS = st.lists(WORDS, max_size=5).map(" ".join)


# ---- Answers


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The Eiffel Tower", "eiffel tower"),
        ("  an  apple,\ta pear and THE theory ", "apple pear and theory"),
        ("U.S.A.", "usa"),
        ("1,000", "1000"),
        ("Jean-Paul's", "jeanpauls"),
        ("the", ""),
        ("", ""),
    ],
)
def test_normalisation_is_that_of_squad(text: str, normalised: str):
    assert normalise(text) == normalised


@pytest.mark.parametrize(
    ("answer", "golds", "em", "f1", "inside"),
    [
        ("Santa Clara, California", ("Santa Clara, California", "Levi's Stadium"), 1, 1, 1),
        ("the Denver Broncos.", ("Denver Broncos",), 1, 1, 1),
        ("Levi's Stadium in Santa Clara", ("Santa Clara", "Levi's Stadium"), 0, 4 / 7, 1),
        ("golden anniversary", ("gold", "golden"), 0, 2 / 3, 1),
        ("mill mill", ("mill mill lane",), 0, 0.8, 0),
        ("mill", ("mill mill",), 0, 2 / 3, 0),
        ("Lanes", ("Lane",), 0, 0, 0),
        ("yes", ("no",), 0, 0, 0),
        ("the", ("a",), 1, 1, 1),
        ("the", ("Rome",), 0, 0, 0),
    ],
)
def test_answers_are_compared_with_the_best_gold_answer(
    answer: str, golds: tuple[str, ...], em: float, f1: float, inside: float
):
    assert exact_match(answer, golds) == em
    assert token_f1(answer, golds) == pytest.approx(f1)
    assert contains(answer, golds) == inside


@given(answer=TEXTS, golds=st.lists(TEXTS, min_size=1, max_size=3))
def test_metrics_agree_with_each_other(answer: str, golds: list[str]):
    em, f1 = exact_match(answer, golds), token_f1(answer, golds)
    assert em <= f1 <= 1
    assert token_f1(golds[0], [answer]) == pytest.approx(token_f1(answer, golds[:1]))
    assert em <= contains(answer, golds)


def test_without_gold_answers_nothing_can_be_compared():
    with pytest.raises(ValueError, match="there is no gold answer"):
        exact_match("Rome", ())


def question(number: int, *golds: str) -> Question:
    return Question(f"q{number}", f"Question {number}?", golds, (), {})


def answer(text: str, seconds: float, *, abstained: bool = False, cost: float | None = 0.5) -> Answer:
    usage = Usage(prompt_tokens=10, completion_tokens=2, calls=1, cost=cost)
    return Answer(text, abstained=abstained, run=RunRecord(usage, seconds))


def test_failed_and_abstained_questions_count_as_wrong():
    found = evaluate_answers(
        [
            (question(1, "Rome"), answer("Rome.", 1.0)),
            (question(2, "Rome"), answer("city of Rome", 2.0)),
            (question(3, "passages"), answer("not in the passages", 3.0, abstained=True)),
            (question(4, "Rome"), None),
            (question(5), answer("anything", 4.0)),
        ],
        system="mine",
    )
    assert found.scores.questions == ("q1", "q2", "q3", "q4")
    assert found.scores.values == {"em": (1, 0, 0, 0), "f1": (1, 0.5, 0, 0), "contains": (1, 1, 0, 0)}
    assert found.scores.mean("f1") == 0.375
    assert (found.answered, found.abstained, found.failed) == (4, 1, 1)
    assert found.usage == Usage(prompt_tokens=40, completion_tokens=8, calls=4, cost=2.0)
    assert found.latency_p50 == 2.5
    assert found.latency_p95 == pytest.approx(3.85)


def test_an_unknown_price_makes_the_cost_unknown():
    items = [(question(1, "Rome"), answer("Rome", 1.0)), (question(2, "Rome"), answer("Rome", 1.0, cost=None))]
    assert evaluate_answers(items).usage.cost is None


def test_no_questions_give_no_scores():
    found = evaluate_answers([])
    assert (found.answered, found.failed, found.latency_p95, found.scores.questions) == (0, 0, 0, ())
    assert found.scores.mean("em") == 0


# ---- Intervals


def test_an_interval_holds_the_mean_and_is_reproducible():
    values = np.random.default_rng(5).random(50).tolist()
    found = bootstrap(values, seed=1)
    assert found.value == pytest.approx(np.mean(values))
    assert found.low < found.value < found.high
    assert bootstrap(values, seed=1) == found
    assert bootstrap(values, seed=2) != found


def test_an_interval_is_about_as_wide_as_the_normal_one():
    values = np.random.default_rng(5).random(400)
    found = bootstrap(values.tolist(), seed=1)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + error, abs=0.1 * error)


@pytest.mark.parametrize("values", [[1.0], [0.5, 0.5, 0.5], [0.0] * 100])
def test_equal_values_leave_no_doubt(values: list[float]):
    assert bootstrap(values, seed=1) == Interval(values[0], values[0], values[0])


def test_a_constant_gain_is_certain_where_the_means_alone_are_not():
    a = np.random.default_rng(5).random(30)
    found = paired_bootstrap((a + 0.1).tolist(), a.tolist(), seed=1)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    swapped = paired_bootstrap(a.tolist(), (a + 0.1).tolist(), seed=1)
    assert swapped.value == pytest.approx(-0.1)


def test_values_that_cannot_be_paired_are_refused():
    with pytest.raises(ValueError, match="got 2 and 1 values"):
        paired_bootstrap([1, 0], [1], seed=1)
    with pytest.raises(ValueError, match="there are no values"):
        paired_bootstrap([], [], seed=1)


def test_scores_are_compared_on_the_same_questions_only():
    a = Scores("a", ("q1", "q2"), {"em": (1.0, 1.0)})
    b = Scores("b", ("q1", "q2"), {"em": (0.0, 0.0)})
    assert compare(a, b, "em", seed=1) == Interval(1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="a and c were not measured on the same questions"):
        compare(a, Scores("c", ("q1", "q3"), {"em": (0.0, 0.0)}), "em", seed=1)


# ---- Retrieval

# Passage A is split into two chunks; B and C are one each; the rest is noise. D is in no chunk.
CHUNKS = [
    Chunk("a1", "Passage A begins.", "A", "A", 0, 0),
    Chunk("a2", "Passage A ends.", "A", "A", 1, 18),
    Chunk("b", "Passage B.", "B", "B"),
    Chunk("c", "Passage C.", "C", "C"),
    *(Chunk(f"n{number}", f"Noise {number}.", f"N{number}", f"N{number}") for number in range(9)),
]


def asked(number: int, *titles: str) -> Question:
    return Question(f"q{number}", str(number), (), tuple(GoldPassage(title, None) for title in titles), {})


def returns(*rankings: str) -> Retriever:
    by_id = {chunk.id: chunk for chunk in CHUNKS}

    def retrieve(query: str, k: int, /) -> list[Hit]:
        return [Hit(by_id[name], 1.0) for name in rankings[int(query)].split()][:k]  # every score a tie

    return retrieve


def gain(*ranks: int) -> float:
    return sum(1 / math.log2(rank + 1) for rank in ranks)


def measure(ranking: str, *titles: str) -> dict[str, float]:
    (scores,) = evaluate_retrieval([asked(0, *titles)], CHUNKS, {"mine": returns(ranking)}, ks=(2, 5))
    return {metric: value for metric, (value,) in scores.values.items()}


def test_retrieval_metrics_follow_their_formulas():
    found = measure("n1 b n2 a2 n3", "A", "B")
    assert found == pytest.approx(
        {
            "recall@2": 1 / 2,
            "recall@5": 1,
            "all-gold@2": 0,
            "all-gold@5": 1,
            "ndcg@2": gain(2) / gain(1, 2),
            "ndcg@5": gain(2, 4) / gain(1, 2),
            "mrr@5": 1 / 2,
        }
    )


def test_a_passage_in_several_chunks_is_found_once():
    found = measure("a2 a1 b", "A", "B")
    assert (found["recall@2"], found["all-gold@2"], found["recall@5"]) == (0.5, 0, 1)
    assert found["ndcg@5"] == pytest.approx(gain(1, 3) / gain(1, 2))


def test_a_gold_passage_that_is_not_in_the_corpus_is_never_found():
    found = measure("a1 b c", "A", "D")
    assert (found["recall@5"], found["all-gold@5"], found["mrr@5"]) == (0.5, 0, 1)


def test_a_retriever_that_finds_nothing_scores_0():
    assert set(measure("", "A", "B").values()) == {0}


def test_the_retrievers_order_decides_between_equal_scores():
    assert measure("n1 n2 n3 n4 a1", "A")["mrr@5"] == pytest.approx(1 / 5)
    assert measure("a1 n4 n3 n2 n1", "A")["mrr@5"] == 1


def test_each_question_keeps_its_value_and_those_without_gold_are_left_out():
    questions = [asked(0, "A"), asked(1), asked(2, "C"), asked(2, "B")]  # ids may repeat
    systems = evaluate_retrieval(
        questions, CHUNKS, {"mine": returns("a1", "a1", "n1 n2 c"), "other": returns("", "", "b")}, ks=(2, 3)
    )
    assert [(scores.system, scores.questions) for scores in systems] == [
        ("mine", ("q0", "q2", "q2")),
        ("other", ("q0", "q2", "q2")),
    ]
    assert systems[0].values["recall@2"] == (1, 0, 0)
    assert systems[0].values["recall@3"] == (1, 1, 0)
    assert systems[1].values["mrr@3"] == (0, 0, 1)


def test_no_question_with_gold_gives_empty_scores():
    (scores,) = evaluate_retrieval([asked(0)], CHUNKS, {"mine": returns("a1")})
    assert scores.questions == ()
    assert scores.mean("recall@5") == 0


@given(
    ranking=st.permutations([chunk.id for chunk in CHUNKS]),
    titles=st.sets(st.sampled_from("ABCD"), min_size=1),
)
def test_recall_is_the_part_of_the_gold_passages_seen(ranking: Sequence[str], titles: set[str]):
    found = measure(" ".join(ranking), *sorted(titles))
    for k in (2, 5):
        seen = {chunk.title for chunk in CHUNKS if chunk.id in ranking[:k]} & titles
        assert found[f"recall@{k}"] == pytest.approx(len(seen) / len(titles))
        assert found[f"all-gold@{k}"] == (seen == titles)
