"""Predict what a batch will take, by answering a random sample of its questions first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ragloom.components.datasets import read_questions
from ragloom.errors import InputError
from ragloom.pipelines.batch import answer_batch, open_batch_pipeline
from ragloom.pipelines.run_identity import begin_batch
from ragloom.pipelines.settings import Settings
from ragloom.run import Budget
from ragloom.store import Store
from ragloom.types import Pipeline


@dataclass(frozen=True, slots=True)
class Range:
    """An expected value and the bounds it lies between nine times in ten."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the rest of a run will take, judged by a sample that is already answered and paid.

    Attributes:
        sample: questions answered to find out.
        remaining: questions left.
        calls, tokens, cost, seconds: for those left; cost is None where the model's price is unknown.
    """

    sample: int
    remaining: int
    calls: Range
    tokens: Range
    cost: Range | None
    seconds: Range


def estimate_batch(
    run_id: str,
    pipeline: Pipeline,
    store: Store,
    *,
    sample: int = 10,
    seed: int = 0,
    workers: int = 8,
    budget: Budget | None = None,
    progress: bool = True,
) -> Estimate:
    """Answer a random sample of the run's pending questions and predict what the rest will take.

    The ranges are 90 % bootstrap intervals of the sample's mean; the seconds lie between those of as many questions
    side by side as the sample had, and of `workers`. The sample's answers belong to the run.

    Raises:
        InputError: no question of the sample was answered.
        LLMError: the model failed on all of them.
    """
    pending = [item.question_id for item in store.items(run_id, status={"pending"})]
    chosen = set(random.Random(seed).sample(pending, min(sample, len(pending))))
    report = answer_batch(run_id, pipeline, store, workers=workers, budget=budget, only=chosen, progress=progress)
    runs = [
        item.result["run"]
        for item in store.items(run_id)
        if item.result and item.question_id in chosen and "run" in item.result
    ]
    if not runs:
        raise InputError(
            f"run {run_id}: none of {len(chosen)} questions was answered: nothing to estimate from",
            "read the failures, or name other questions",
        )
    left = report.pending
    usages = [record["usage"] for record in runs]
    latencies = [record["seconds"] for record in runs]
    side_by_side = max(1.0, sum(latencies) / max(report.seconds, 1e-9))  # how many were really under way at a time
    slow = _predict(latencies, left / side_by_side, seed)
    fast = _predict(latencies, left / max(side_by_side, min(workers, max(left, 1))), seed)
    costs = [usage["cost"] for usage in usages]
    return Estimate(
        len(runs),
        left,
        _predict([usage["calls"] for usage in usages], left, seed),
        _predict([usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages], left, seed),
        None if None in costs else _predict(costs, left, seed),
        Range(fast.low, slow.expected, slow.high),
    )


def _predict(values: Sequence[float], times: float, seed: int) -> Range:
    sample = np.asarray(values, dtype=np.float64)
    means = np.random.default_rng(seed).choice(sample, (2000, len(sample))).mean(axis=1)
    low, high = np.quantile(means, [0.05, 0.95])
    return Range(float(low) * times, float(sample.mean()) * times, float(high) * times)


def estimate_file(settings: Settings, questions: Path, *, sample: int = 10, progress: bool = True) -> Estimate:
    """Predict what a file of questions will take: `estimate_batch` from settings."""
    asked = read_questions(questions)
    with Store.open(settings.workspace) as store:
        run_id = begin_batch(settings, asked, store)
        pipeline = open_batch_pipeline(run_id, settings, store, progress=progress)
        return estimate_batch(
            run_id,
            pipeline,
            store,
            sample=sample,
            workers=settings.questions_at_once,
            budget=settings.budget,
            progress=progress,
        )
