"""A comparison as tables: quality against what it took, how sure the differences are, and what they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ragloom.pipelines.comparison import METRICS, Comparison, Judged, Metric
from ragloom.pipelines.comparison_curves import budget_curves, gate_curves, hop_means
from ragloom.pipelines.comparison_statistics import SignTest, holm, pareto_front, sign_test
from ragloom.pipelines.evaluation import Interval, bootstrap, paired_bootstrap
from ragloom.pipelines.report import SEED, Table, signed
from ragloom.types import Usage

MAIN_TABLES = ("Quality and cost", "Differences")  # their headings; there are differences only where two can be judged
SHOWN = {"em": "EM", "f1": "F1", "contains": "contains"}
PRICES = {"tokens": "tokens", "cost": "cost", "seconds": "seconds", "calls": "calls"}
_CAPS = 6  # budgets that are shown in a table
_PERCENTS = range(0, 101, 20)  # of the questions, where gate curves are

_MEANS = (
    "Means with their 95 % bootstrap interval; failed and abstained questions count 0. Recall: part of the gold "
    "passages among those that the reader was given."
)
_ALONE = (
    "Tokens, calls, seconds and cost are those of one question if the variant were alone. Where a reply came from"
    " ragloom's cache, because another variant or an earlier run had asked the same, what it took when it was "
    "made is counted; of the tokens it says how many."
)
_FRONT = (
    "Pareto front: no other variant has an {metric} at least as high for at most as much, and better in one of the two."
)
_PAIRED = (
    "Paired differences with their 95 % bootstrap interval; exact two-sided sign test (for EM, McNemar's), in "
    "brackets after Holm's correction for all variants that are compared with the same one."
)
_BEST = (
    "The best are {best}. Which one is best was seen on these very questions, so differences from it look larger "
    "than they are."
)
_BUDGET = (
    "{metric} if no question may take more than so many tokens / if all together may take so many a question and "
    "are answered in their order. What is not answered counts 0."
)
_GATE = (
    "{metric} with the answers of {without}, but for the share of questions with the highest scores those of "
    "{best}, the best variant without a gate."
)


def tables(comparison: Comparison, *, metric: Metric = "f1") -> dict[str, Table]:
    """Every table of the report, by its heading; those that there is nothing to say in are left out.

    Args:
        comparison: what came out.
        metric: what the Pareto front, the budgets and the gates are judged by.
    """
    found = {"Quality and cost": quality_table(comparison, metric)}
    if len(comparison.sets) > 1:
        for name in comparison.sets:
            found[f"Quality and cost: {name}"] = replace(quality_table(comparison.of_set(name), metric), notes=())
    found["Differences"] = differences_table(comparison)
    found["By number of gold passages"] = hops_table(comparison, metric)
    found["What a budget buys"] = budgets_table(comparison, metric)
    found["Gates"] = gates_table(comparison, metric)
    return {heading: table for heading, table in found.items() if table.rows}


def markdown(comparison: Comparison, found: Mapping[str, Table]) -> str:
    """The report in Markdown, of its tables."""
    sections = [f"# Comparison of {len(comparison.variants)} pipelines", *overview(comparison)]
    sections += [f"## {heading}\n\n{table.markdown()}" for heading, table in found.items()]
    runs = (f"- {name} on {of}: `{run}`" for (name, of), run in comparison.run_ids.items())
    return "\n\n".join([*sections, "## Runs\n\n" + "\n".join(runs)]) + "\n"


def overview(comparison: Comparison) -> list[str]:
    """What was compared, and what a reader must know before the numbers, a sentence each."""
    said = [
        (
            f"{len(comparison.questions)} questions of {', '.join(comparison.sets)}; "
            f"{comparison.baseline} is what the others are compared with."
        )
    ]
    said += [f"{variant} failed: {' '.join(why.split())}." for variant, why in comparison.failures]
    if comparison.pending:
        counts = ", ".join(f"{variant} {count}" for variant, count in comparison.pending.items())
        said.append(
            f"Unfinished, questions not answered yet: {counts}. These are on no Pareto front, and never the best."
        )
    if unknown := sum(not row.saved_known for row in comparison.rows):
        said.append(
            f"{unknown} answers hold replies from the cache that were stored before ragloom kept what they took: "
            "tokens, calls and seconds of their variants are too low."
        )
    if unjudged := len({row.key for row in comparison.rows if not row.gold_answers}):
        said.append(
            f"Questions without gold answers: {unjudged}. What they took is counted, how good their answers are is not."
        )
    return [*said, *comparison.notes]


# ---- Quality and cost


@dataclass(frozen=True, slots=True)
class Taken:
    """What a variant's answers take on average if it is alone, a question."""

    tokens: float
    cost: float | None
    seconds: float
    calls: float
    kept_tokens: float  # those of them that the cache answered for in this run


def taken(rows: Sequence[Judged]) -> Taken:
    """The means of at least one answer."""
    total = sum((row.alone for row in rows), Usage())
    n = len(rows)
    return Taken(
        total.tokens / n,
        None if total.cost is None else total.cost / n,
        sum(row.seconds_alone for row in rows) / n,
        total.calls / n,
        sum(row.saved.tokens for row in rows) / n,
    )


def fronts(comparison: Comparison, metric: Metric) -> dict[str, list[str]]:
    """By each price (tokens, cost, seconds, calls), the finished variants that none is better and cheaper than.

    None where there are no gold answers to judge by.
    """
    judged = {name: mean for name in comparison.finished if (mean := comparison.mean(name, metric)) is not None}
    variants, qualities = list(judged), list(judged.values())
    prices = [taken(comparison.answers(name)) for name in variants]
    return {
        price: [
            name
            for name, on_it in zip(
                variants, pareto_front(qualities, [getattr(each, price) for each in prices]), strict=True
            )
            if on_it
        ]
        for price in PRICES
    }


def quality_table(comparison: Comparison, metric: Metric = "f1") -> Table:
    """How good each variant is, and what it takes."""
    front = fronts(comparison, metric)
    rows = []
    for name in comparison.variants:
        if not (answers := comparison.answers(name)):
            continue
        used = taken(answers)
        rows.append(
            (
                name,
                _counted(answers),
                *(_mean([row.value(metric) for row in answers]) for metric in METRICS),
                _mean([row.recall for row in answers]),
                str(sum(row.abstained for row in answers)),
                str(sum(row.status == "failed" for row in answers)),
                f"{used.tokens:.0f}",
                f"{used.kept_tokens:.0f}",
                f"{used.calls:.2f}",
                f"{used.seconds:.2f}",
                "unknown" if used.cost is None else f"{used.cost:.5f}",
                ", ".join(price for price in PRICES if name in front[price] and _varies(comparison, price)),
            )
        )
    return Table(
        (
            *("variant", "n", "EM", "F1", "contains", "recall", "abstained", "failed"),
            *("tokens", "of them kept", "calls", "seconds", "cost $", "Pareto front"),
        ),
        tuple(rows),
        (
            _MEANS,
            _ALONE,
            _FRONT.format(metric=SHOWN[metric]),
        ),
    )


def _counted(answers: Sequence[Judged]) -> str:
    """How many answers the row is of, and how many of them the means of quality are of where these are fewer."""
    judged = sum(bool(row.gold_answers) for row in answers)
    return str(len(answers)) if judged == len(answers) else f"{len(answers)}, {judged} judged"


def _varies(comparison: Comparison, price: str) -> bool:
    """Whether the variants differ in a price: where all are free, being on its front says nothing."""
    found = {getattr(taken(rows), price) for name in comparison.variants if (rows := comparison.answers(name))}
    return len(found) > 1


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    interval = bootstrap(known, seed=SEED)
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


# ---- Differences


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better a variant is than another, on the questions that both have gone through.

    Attributes:
        variant, against: their names.
        n: questions.
        value: mean difference and its 95 % paired bootstrap interval.
        test: on how many questions it is better and worse, and the chance of that.
        p_holm: the chance, as it is with as many tests as there are variants.
    """

    variant: str
    against: str
    n: int
    value: Interval
    test: SignTest
    p_holm: float


def differences(comparison: Comparison, against: str, metric: Metric) -> list[Difference]:
    """Every other variant against one; those that share no question with it are left out."""
    pairs = {
        name: pair
        for name in comparison.variants
        if name != against and (pair := comparison.paired(name, against, metric))[0]
    }
    tests = [sign_test(mine, theirs) for mine, theirs in pairs.values()]
    adjusted = holm([test.p for test in tests])
    return [
        Difference(name, against, len(mine), paired_bootstrap(mine, theirs, seed=SEED), test, p)
        for (name, (mine, theirs)), test, p in zip(pairs.items(), tests, adjusted, strict=True)
    ]


def differences_table(comparison: Comparison) -> Table:
    """Each variant against the baseline, and against the best one where that is another."""
    against = list(dict.fromkeys((comparison.baseline, comparison.best("em"), comparison.best("f1"))))
    rows = []
    for other in against:
        exact = {each.variant: each for each in differences(comparison, other, "em")}
        for each in differences(comparison, other, "f1"):
            em = exact[each.variant]
            rows.append(
                (
                    each.variant,
                    other,
                    str(each.n),
                    signed(em.value),
                    f"{em.test.better} / {em.test.worse}",
                    f"{_p(em.test.p)} ({_p(em.p_holm)})",
                    signed(each.value),
                    f"{each.test.better} / {each.test.worse}",
                    f"{_p(each.test.p)} ({_p(each.p_holm)})",
                )
            )
    best = ", ".join(f"{comparison.best(metric)} by {SHOWN[metric]}" for metric in ("em", "f1"))
    return Table(
        ("variant", "against", "n", "EM", "better / worse", "p (Holm)", "F1", "better / worse", "p (Holm)"),
        tuple(rows),
        (
            _PAIRED,
            _BEST.format(best=best),
        ),
    )


def _p(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}"


# ---- What it depends on


def hops_table(comparison: Comparison, metric: Metric = "f1") -> Table:
    """Recall and quality by how many gold passages a question has."""
    means = hop_means(comparison, metric)
    cells = {
        name: [
            f"{some[name].recall:.3f} / {some[name].value:.3f} ({some[name].n})" if name in some else "-"
            for some in means.values()
        ]
        for name in comparison.variants
    }
    return Table(
        ("variant", *(f"{hop} passage{'s' * (hop > 1)}" for hop in means)),
        tuple((name, *cells[name]) for name in comparison.variants) if means else (),
        (f"Recall of the gold passages / {SHOWN[metric]} (questions), by how many passages a question needs.",),
    )


def budgets_table(comparison: Comparison, metric: Metric = "f1") -> Table:
    """Quality at several budgets, in tokens a question."""
    curves = budget_curves(comparison, metric)
    if not curves:
        return Table((), ())
    most = max(float(capped.x[-1]) for capped, _ in curves.values())
    caps = _round_numbers(most)
    rows = [
        (name, *(f"{capped.at(cap):.3f} / {cumulative.at(cap):.3f}" for cap in caps))
        for name, (capped, cumulative) in curves.items()
    ]
    return Table(
        ("variant", *(f"{cap:,} tokens" for cap in caps)),
        tuple(rows),
        (_BUDGET.format(metric=SHOWN[metric]),),
    )


def _round_numbers(most: float) -> list[int]:
    """Up to six budgets, each half of the next, the last a round number that is enough for everything."""
    magnitude = 10 ** int(np.log10(max(most, 1)))
    top = int(np.ceil(most / magnitude)) * magnitude
    return sorted({max(1, round(top / 2**halving)) for halving in range(_CAPS)})


def gates_table(comparison: Comparison, metric: Metric = "f1") -> Table:
    """Quality by the share of questions that a gate's scores have retrieved for, beside a draw at random."""
    curves = gate_curves(comparison, metric)
    columns = ("gate", "as it decided", *(f"{percent} %" for percent in _PERCENTS))
    if not curves:
        return Table(columns, ())
    rows = [
        (
            name,
            f"{100 * curve.rate:.0f} %: {curve.achieved:.3f}",
            *(f"{curve.quality[round(percent / 100 * (len(curve.quality) - 1))]:.3f}" for percent in _PERCENTS),
        )
        for name, curve in curves.items()
    ]
    first = next(iter(curves.values()))
    low, high = first.quality[0], first.quality[-1]
    rows.append(("at random", "", *(f"{low + (high - low) * percent / 100:.3f}" for percent in _PERCENTS)))
    note = _GATE.format(metric=SHOWN[metric], without=first.without, best=first.with_retrieval)
    return Table(columns, tuple(rows), (note,))
