"""Why walks over the graph found what a comparison's answers were read from: the strongest paths, in words.

A trace holds that there was a walk, not its paths: they are found again here, over the graph as it is now. No model is
asked.
"""

from __future__ import annotations

from dataclasses import replace

from ragloom.errors import RagloomError
from ragloom.graph.explaining import explain
from ragloom.pipelines.comparing import Plan, QuestionSet
from ragloom.pipelines.comparison import Comparison, Judged, Key
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_graph_index
from ragloom.store import Store

QUESTIONS = 100  # of a variant and set whose paths are looked for: over a few thousand passages, some ten seconds
_PATHS = 2  # to a passage


def with_paths(comparison: Comparison, plan: Plan) -> Comparison:
    """The comparison with the paths of its variants that walk over the graph from the question."""
    found: dict[tuple[str, Key], tuple[str, ...]] = {}
    notes: list[str] = []
    for variant, each, settings in plan.runs():
        if variant not in comparison.variants or not _walks(settings):
            continue
        rows = [row for row in comparison.answers(variant) if row.set == each.name and row.passages]
        try:
            found |= _paths(rows[:QUESTIONS], each, settings)
        except RagloomError as error:
            notes.append(f"There are no paths of {variant} on {each.name}: {error.problem}.")
            continue
        if len(rows) > QUESTIONS:
            notes.append(f"Paths of {variant} on {each.name} are those of the first {QUESTIONS} questions.")
    return replace(comparison, paths=found, notes=(*comparison.notes, *notes))


def _walks(settings: Settings) -> bool:
    """Whether the first retrieval is a walk from the question."""
    by_retriever = settings.pipeline not in {"closed-book", "hybrid"} and settings.retriever == "graph"
    return settings.pipeline == "graph" or by_retriever


def _paths(rows: list[Judged], each: QuestionSet, settings: Settings) -> dict[tuple[str, Key], tuple[str, ...]]:
    if not rows:
        return {}
    k = settings.k if settings.select is None else settings.candidates
    with Store.open(each.workspace, write=False) as store:
        index = open_graph_index(settings, store)
    found = {}
    for row in rows:
        explanation = explain(index.walk(row.question, k), index.graph, index.chunks, paths=_PATHS)
        found[row.variant, row.key] = tuple(
            f"{reached.node.label}: {path}"
            for reached in explanation.found
            if reached.chunk.id in row.passages
            for path in reached.paths
        )
    return found
