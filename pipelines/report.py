"""What was measured, as tables and as a report to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ragloom.codec import answer_from_json
from ragloom.components.datasets import Question, question_from_json, read_questions
from ragloom.components.interleaving import InterleavedRetriever
from ragloom.errors import InputError
from ragloom.pipelines.evaluation import (
    ANSWER_METRICS,
    AnswerEvaluation,
    Interval,
    Scores,
    bootstrap,
    compare,
    evaluate_answers,
    evaluate_retrieval,
)
from ragloom.pipelines.export import answer_row
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import RetrieverName, open_retriever
from ragloom.store import Store
from ragloom.types import Answer, Retriever
from ragloom.writing import write_aside

SEED = 0  # of the bootstrap: the same answers give the same intervals


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column names.

    Attributes:
        columns: their names.
        rows: one cell a column.
        notes: what the numbers mean, a sentence each.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """The table in Markdown, the notes below it."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
        return "\n\n".join([table, *self.notes])


def retrieval_table(
    settings: Settings,
    store: Store,
    questions: Sequence[Path],
    *,
    retrievers: Sequence[RetrieverName] = ("bm25", "dense", "fused"),
    ks: Sequence[int] = (2, 5, 10),
) -> Table:
    """Recall of the retrievers on files of labelled questions, each compared with the first retriever.

    Raises:
        InputError: a file has no question with gold passages.
    """
    chunks = store.chunks()
    opened: dict[str, Retriever] = {name: open_retriever(name, settings, store) for name in retrievers}
    middle = 5 if 5 in ks else ks[0]
    shown = (*(f"recall@{k}" for k in ks), f"all-gold@{middle}", f"ndcg@{max(ks)}", f"mrr@{max(ks)}")
    rows = []
    for file in questions:
        systems = evaluate_retrieval(read_questions(file), chunks, opened, ks=ks)
        if not systems[0].questions:
            raise InputError(f"{file} has no question whose gold passages are known", "evaluate runs of it instead")
        for scores in systems:
            difference = (
                "" if scores is systems[0] else signed(compare(scores, systems[0], f"recall@{middle}", seed=SEED))
            )
            means = (f"{scores.mean(name):.3f}" for name in shown)
            rows.append((_name(file), scores.system, str(len(scores.questions)), *means, difference))
    return Table(
        ("questions", "retriever", "n", *shown, f"recall@{middle} against {retrievers[0]}"),
        tuple(rows),
        (
            f"{len(chunks)} chunks. {'; '.join(f'{name}: {_describe(name, settings)}' for name in retrievers)}.",
            "recall@k: part of a question's gold passages among the first k; all-gold@k: all of them are there.",
            "Differences with their 95 % paired bootstrap interval.",
        ),
    )


def answers_table(store: Store, run_ids: Sequence[str]) -> Table:
    """Quality and cost of runs' answers, each compared with the first run where the questions are the same."""
    evaluated = [(run_id, evaluate_run(store, run_id)) for run_id in run_ids]
    first = evaluated[0][1].scores
    rows = []
    for run_id, found in evaluated:
        config = store.run(run_id).config
        comparable = found.scores is not first and found.scores.questions == first.questions and first.questions
        rows.append(
            (
                run_id,
                f"{config['pipeline']}, {config['model']}",
                f"{found.answered}/{found.abstained}/{found.failed}",
                *(_quality(found.scores, name) for name in ANSWER_METRICS),
                signed(compare(found.scores, first, "f1", seed=SEED)) if comparable else "",
                str(found.usage.calls),
                str(found.usage.tokens),
                "unknown" if found.usage.cost is None else f"{found.usage.cost:.4f}",
                f"{found.latency_p50:.2f} / {found.latency_p95:.2f}",
            )
        )
    against = f"F1 against {run_ids[0]}"
    return Table(
        (
            *("run", "pipeline", "answered/abstained/failed", "EM", "F1", "contains", against),
            *("calls", "tokens", "cost $", "seconds p50 / p95"),
        ),
        tuple(rows),
        (
            f"{len(first.questions)} questions with gold answers; failed and abstained ones count 0.",
            "EM, F1 and contains with SQuAD normalisation.",
            "Means and differences with their 95 % (paired) bootstrap interval.",
        ),
    )


def evaluate_run(store: Store, run_id: str) -> AnswerEvaluation:
    """Judge a run's finished questions by their gold answers.

    Raises:
        InputError: the run holds no answers, but outcomes.
    """
    if (kind := store.run(run_id).kind) != "batch":
        raise InputError(f"run {run_id!r} holds no answers, but {kind}", "name a run of `ragloom batch`")
    items: list[tuple[Question, Answer | None]] = [
        (
            question_from_json(item.question),
            answer_from_json(item.result) if item.status == "done" and item.result is not None else None,
        )
        for item in store.items(run_id, status={"done", "failed"})
    ]
    return evaluate_answers(items, system=run_id)


def write_report(store: Store, run_id: str, path: Path) -> None:
    """Write a run's report in Markdown: settings, quality, cost, and each answer with its sources."""
    run = store.run(run_id)
    sources = {document.id: document.source for document in store.documents()}
    sections = [
        f"# Run {run_id}",
        f"Begun {run.created}. "
        + ", ".join(f"{run.counts[status]} {status}" for status in ("done", "failed", "pending")),
        "## Settings\n\n" + "\n".join(f"- {name}: `{value}`" for name, value in run.config.items()),
        "## Quality and cost\n\n" + answers_table(store, [run_id]).markdown(),
        "## Answers",
    ]
    for item in store.items(run_id):
        row = answer_row(item)
        lines = [f"### {one_line(row['question'])}", f"**{one_line(row['answer'] or row['error'] or item.status)}**"]
        if row["gold_answers"]:
            lines.append(f"Expected: {one_line('; '.join(row['gold_answers']))}")
        for citation in row["citations"]:
            place = f"{sources.get(citation['document_id'], 'removed since')}, {citation['start']}-{citation['end']}"
            lines.append(f"- [{citation['number']}] {one_line(citation['title'])} ({place}; by {citation['by']})")
        if row["seconds"] is not None:
            lines.append(f"{row['seconds']:.2f} s, calls: {row['calls']}")
        sections.append("\n\n".join(lines))
    write_aside(path, lambda aside: _write(aside, "\n\n".join(sections) + "\n"))


def one_line(text: str) -> str:
    """Text of documents and models on one line, without markup and pictures, so that it cannot pass for our own."""
    return " ".join(escape(text, quote=False).split()).replace("](", "]\\(")


def signed(interval: Interval) -> str:
    """A difference and its interval, e.g. `+.120 [.050, .190]`."""
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _describe(name: str, settings: Settings) -> str:
    """What a retriever is, as far as its numbers depend on it."""
    steps = settings.steps or InterleavedRetriever.steps
    return {
        "bm25": "BM25, Lucene's variant, stemmed, without stop words",
        "dense": f"cosine of {settings.embedder} embeddings",
        "fused": "half the scores of each, min-max",
        "graph": f"a walk over the graph of {settings.extractor}, from {settings.walk_from}",
        "ircot": f"{settings.retriever}, then with thoughts of {settings.model}, at most {steps} retrievals",
        "notes": f"{settings.retriever}, then what a note by {_taker(settings)} lacks",
        "clues": f"{settings.retriever}, with {_clues(settings)} of the {settings.memory} memory",
    }[name]


def _taker(settings: Settings) -> str:
    return settings.model if settings.note_taker == "llm" else "rules"


def _clues(settings: Settings) -> str:
    if settings.clue_maker == "phrases":
        return "phrases"
    return f"clues by {settings.memory_model or settings.model}"


def _quality(scores: Scores, metric: str) -> str:
    if not scores.questions:
        return "-"
    interval = bootstrap(scores.values[metric], seed=SEED)
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _name(file: Path) -> str:
    return file.parent.name if file.stem == "questions" else file.stem


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
