"""From settings to what shapes a context: how passages are selected under its budget, and in which order they stand."""

from __future__ import annotations

from pathlib import Path

from ragloom.components.calibrated_order import CalibratedOrder
from ragloom.components.combination_scores import DraftLikelihood, JoinedEmbedding, LLMRating
from ragloom.components.combinations import Cost, Selector, Utility
from ragloom.components.completions import estimate_tokens
from ragloom.components.coverage import SetCoverage
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import packaged_prompt
from ragloom.components.relevance_selection import MMR, GreedyFill, Knapsack, RatioGreedy, TopK
from ragloom.components.reordering import ORDERS
from ragloom.components.selection import CORAGSelector, MCTSSelector
from ragloom.components.selection_baselines import Beam, GreedyMarginal, LocalSearch
from ragloom.errors import ConfigError
from ragloom.graph.naming import names
from ragloom.pipelines.collecting import entities_by_rules
from ragloom.pipelines.question_answering import RetrieveThenRead
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import RetrieverName, open_embedder, open_llm, open_prompt, open_retriever
from ragloom.store import Store
from ragloom.types import Reader, Refiner

CONTEXT_TOKENS = 1024  # where passages are selected and no limit is set
_QUESTION_TOKENS = 64  # set aside for the question


def open_reading(name: RetrieverName, settings: Settings, store: Store, reader: Reader) -> RetrieveThenRead:
    """The pipeline that retrieves with the retriever of that name, shapes the context, and reads it."""
    k = settings.k if settings.select is None else settings.candidates
    retriever = open_retriever(name, settings, store)
    return RetrieveThenRead(retriever, reader, k=k, refiners=open_refiners(settings, store))


def open_refiners(settings: Settings, store: Store) -> tuple[Refiner, ...]:
    """The selector and the order of the settings, as far as they are set.

    Raises:
        ConfigError: no passage could fit the context, or there is no such order.
    """
    refiners: list[Refiner] = []
    if settings.select is not None:
        refiners.append(open_selector(settings, store))
    if settings.order is not None:
        refiners.append(open_order(settings.order))
    return tuple(refiners)


def open_selector(settings: Settings, store: Store) -> Selector:
    """The selector of the settings; its budget is what the prompt leaves of the context.

    Raises:
        ConfigError: the prompt leaves nothing.
    """
    budget = (settings.context_tokens or CONTEXT_TOKENS) - _overhead(settings)
    if budget <= 0:
        raise ConfigError(
            f"a context of {settings.context_tokens} tokens leaves no room for passages: the prompt takes "
            f"{_overhead(settings)}",
            "raise context_tokens, or use a shorter prompt",
        )
    cost = Cost()
    match settings.select:
        case "top-k":
            return TopK(budget, k=settings.k, cost=cost)
        case "greedy-fill":
            return GreedyFill(budget, cost=cost)
        case "ratio-greedy":
            return RatioGreedy(budget, cost=cost)
        case "knapsack":
            return Knapsack(budget, cost=cost)
        case "mmr":
            return MMR(budget, cost=cost)
        case _:
            return _search(settings, open_utility(settings, store), budget, cost)


def _search(settings: Settings, utility: Utility, budget: int, cost: Cost) -> Selector:
    limit = settings.evaluations
    match settings.select:
        case "greedy-marginal":
            return GreedyMarginal(utility, budget, cost=cost, evaluations=limit)
        case "beam":
            return Beam(utility, budget, cost=cost, evaluations=limit)
        case "local-search":
            return LocalSearch(utility, budget, cost=cost, evaluations=limit, seed=settings.seed or 0)
        case "corag":
            return CORAGSelector(utility, budget, cost=cost, evaluations=limit)
        case _:
            return MCTSSelector(utility, budget, cost=cost, evaluations=limit)


def open_utility(settings: Settings, store: Store) -> Utility:
    """What combinations of passages are scored by."""
    if settings.utility == "embedding":
        return JoinedEmbedding(open_embedder(settings))
    if settings.utility == "rating":
        return LLMRating(open_llm(settings, store))
    if settings.utility == "draft":
        return DraftLikelihood(open_llm(settings, store))
    return SetCoverage(names, entities_by_rules)


def open_order(name: str) -> Refiner:
    """An order by its name, or a calibrated one from its file.

    Raises:
        ConfigError: there is none, or the file holds none.
    """
    if name in ORDERS:
        return ORDERS[name]
    if not Path(name).suffix:
        raise ConfigError(
            f"there is no order {name!r}", f"use one of {', '.join(ORDERS)}, or the file of a calibrated one"
        )
    return CalibratedOrder.load(Path(name))


def _overhead(settings: Settings) -> int:
    """Tokens of the prompt without passages, as the reader counts them, and room for the question."""
    prompt: Prompt = open_prompt(settings) or packaged_prompt(settings.mode)
    return sum(estimate_tokens(turn["content"]) for turn in prompt.messages("", ())) + _QUESTION_TOKENS
