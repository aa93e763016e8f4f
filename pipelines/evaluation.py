"""How good answers and retrievals are, what they took, and how sure that is.

Every value is kept per question, so that two systems are compared question by question.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ragloom.components.answer_words import normalise, word_f1
from ragloom.components.datasets import Question, gold_chunks
from ragloom.types import Answer, Chunk, Hit, Retriever, Usage

if TYPE_CHECKING:
    from numpy.typing import NDArray

# ---- Answers


def exact_match(answer: str, golds: Collection[str]) -> float:
    """1 if the answer equals a gold answer, normalised; else 0."""
    return _best(lambda said, gold: float(said == gold), answer, golds)


def token_f1(answer: str, golds: Collection[str]) -> float:
    """Harmonic mean of the precision and recall of the answer's words, for the gold answer where it is highest."""
    return _best(word_f1, answer, golds)


def contains(answer: str, golds: Collection[str]) -> float:
    """1 if the words of a gold answer stand in the answer, one after the other; else 0."""
    return _best(lambda said, gold: float(f" {gold} " in f" {said} "), answer, golds)


ANSWER_METRICS: Mapping[str, Callable[[str, Collection[str]], float]] = {
    "em": exact_match,
    "f1": token_f1,
    "contains": contains,
}


def _best(score: Callable[[str, str], float], answer: str, golds: Collection[str]) -> float:
    if not golds:
        raise ValueError("there is no gold answer to compare with")
    said = normalise(answer)
    return max(score(said, normalise(gold)) for gold in golds)


# ---- How sure


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over questions, or a difference of two, and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def bootstrap(values: Sequence[float], *, seed: int, resamples: int = 10_000) -> Interval:
    """The mean and its percentile interval over resampled questions.

    A single question has nothing to resample: its interval is its value.

    Raises:
        ValueError: no values.
    """
    from scipy import stats

    sample = np.asarray(values, dtype=np.float64)
    if not len(sample):
        raise ValueError("there are no values to take the mean of")
    mean = float(sample.mean())
    if sample.min() == sample.max():
        return Interval(mean, mean, mean)
    found = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(sample)),  # of resamples at a time: at most 32 MB
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Interval(mean, float(found.confidence_interval.low), float(found.confidence_interval.high))


def paired_bootstrap(a: Sequence[float], b: Sequence[float], *, seed: int, resamples: int = 10_000) -> Interval:
    """How much better a is than b on the same questions: the mean of a - b, question by question, with its interval.

    Raises:
        ValueError: a and b are of different lengths, or empty.
    """
    if len(a) != len(b):
        raise ValueError(f"a and b must hold the same questions, got {len(a)} and {len(b)} values")
    return bootstrap(np.subtract(a, b).tolist(), seed=seed, resamples=resamples)


@dataclass(frozen=True, slots=True)
class Scores:
    """A system's values for each metric, question by question.

    Attributes:
        system: name of what was measured.
        questions: ids of the questions that can be judged, in their order.
        values: for each metric, one value a question.
    """

    system: str
    questions: tuple[str, ...]
    values: Mapping[str, tuple[float, ...]]

    def mean(self, metric: str) -> float:
        """Mean over the questions; 0 where there are none."""
        values = self.values[metric]
        return sum(values) / len(values) if values else 0.0


def compare(a: Scores, b: Scores, metric: str, *, seed: int) -> Interval:
    """How much better a is than b by a metric.

    Raises:
        ValueError: they were not measured on the same questions.
    """
    if a.questions != b.questions:
        raise ValueError(f"{a.system} and {b.system} were not measured on the same questions")
    return paired_bootstrap(a.values[metric], b.values[metric], seed=seed)


# ---- Evaluations


@dataclass(frozen=True, slots=True)
class AnswerEvaluation:
    """How good a run's answers are, and what they took.

    Attributes:
        scores: `em`, `f1` and `contains` of the questions that have gold answers; failed and abstained ones count 0.
        answered, abstained, failed: numbers of questions; abstentions are among the answered.
        usage: of all answers; its cost is None where a price is unknown.
        latency_p50, latency_p95: seconds an answer; 0 without answers.
    """

    scores: Scores
    answered: int
    abstained: int
    failed: int
    usage: Usage
    latency_p50: float
    latency_p95: float


def evaluate_answers(items: Sequence[tuple[Question, Answer | None]], *, system: str = "") -> AnswerEvaluation:
    """Judge answers by the gold answers of their questions.

    Args:
        items: the questions with their answers, None for one that failed.
        system: a name for the scores.
    """
    judged = [(question, answer) for question, answer in items if question.answers]
    said = [(question, "" if answer is None or answer.abstained else answer.text) for question, answer in judged]
    values = {
        name: tuple(metric(text, question.answers) if text else 0.0 for question, text in said)
        for name, metric in ANSWER_METRICS.items()
    }
    answers = [answer for _, answer in items if answer is not None]
    seconds = [answer.run.seconds for answer in answers] or [0.0]
    return AnswerEvaluation(
        Scores(system, tuple(question.id for question, _ in judged), values),
        answered=len(answers),
        abstained=sum(answer.abstained for answer in answers),
        failed=len(items) - len(answers),
        usage=sum((answer.run.usage for answer in answers), Usage()),
        latency_p50=float(np.percentile(seconds, 50)),
        latency_p95=float(np.percentile(seconds, 95)),
    )


def evaluate_retrieval(
    questions: Sequence[Question],
    chunks: Sequence[Chunk],
    retrievers: Mapping[str, Retriever],
    *,
    ks: Sequence[int] = (2, 5, 10),
) -> list[Scores]:
    """Judge retrievers by the gold passages of the questions; those without any are left out.

    What is to be found is a gold passage, found at the rank of its first chunk; further chunks of it count as misses,
    and a gold passage that is not in the corpus is never found. For each k in `ks`:

    - `recall@k`: the part of the gold passages found in the first k hits,
    - `all-gold@k`: 1 if all of them are, else 0,
    - `ndcg@k`: normalised discounted cumulative gain, each gold passage with gain 1;

    and for the largest k, `mrr@k`: 1 / rank of the first gold passage found, else 0.

    Args:
        questions: with their gold passages.
        chunks: the corpus that is searched.
        retrievers: by the names of the scores.
        ks: numbers of hits to look at.
    """
    golds = [(question, gold_chunks(question, chunks)) for question in questions]
    judged = [(question, gold) for question, gold in golds if gold]
    ids = tuple(question.id for question, _ in judged)
    return [
        Scores(
            name,
            ids,
            _retrieval_values(
                [_found(retriever(question.text, max(ks))[: max(ks)], gold) for question, gold in judged],
                [len(gold) for _, gold in judged],
                ks,
            ),
        )
        for name, retriever in retrievers.items()
    ]


def _found(hits: Sequence[Hit], gold: Sequence[Collection[str]]) -> list[int | None]:
    """For each hit, the number of the gold passage that it is the first chunk of, or None."""
    missing = dict(enumerate(gold))
    found: list[int | None] = []
    for hit in hits:
        passage = next((number for number, ids in missing.items() if hit.chunk.id in ids), None)
        if passage is not None:
            del missing[passage]
        found.append(passage)
    return found


def _retrieval_values(
    rankings: Sequence[Sequence[int | None]], golds: Sequence[int], ks: Sequence[int]
) -> dict[str, tuple[float, ...]]:
    """The metrics of rankings of gold passages, of which each question has so many."""
    import ir_measures

    names = {ir_measures.R @ k: f"recall@{k}" for k in ks}
    names |= {ir_measures.nDCG @ k: f"ndcg@{k}" for k in ks}
    names |= {ir_measures.RR @ max(ks): f"mrr@{max(ks)}"}
    values: dict[str, NDArray[np.float64]] = {name: np.zeros(len(rankings)) for name in names.values()}
    relevant = [
        ir_measures.Qrel(str(query), f"gold {passage}", 1)
        for query, gold in enumerate(golds)
        for passage in range(gold)
    ]
    # The score is the rank's: equal scores would be reordered by id.
    ranked = [
        ir_measures.ScoredDoc(str(query), f"other {rank}" if passage is None else f"gold {passage}", -float(rank))
        for query, ranking in enumerate(rankings)
        for rank, passage in enumerate(ranking)
    ]
    for result in ir_measures.iter_calc(list(names), relevant, ranked):
        values[names[result.measure]][int(result.query_id)] = result.value
    for k in ks:
        complete = [
            sum(passage is not None for passage in ranking[:k]) == gold
            for ranking, gold in zip(rankings, golds, strict=True)
        ]
        values[f"all-gold@{k}"] = np.asarray(complete, dtype=np.float64)
    return {name: tuple(column.tolist()) for name, column in values.items()}
