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
from ragloom.components.reordering import ORDERS, RandomOrder
from ragloom.components.selection import CORAGSelector, MCTSSelector
from ragloom.components.selection_baselines import Beam, GreedyMarginal, LocalSearch
from ragloom.errors import ConfigError
from ragloom.graph.naming import names
from ragloom.pipelines.collecting import entities_by_rules
from ragloom.pipelines.question_answering import RetrieveThenRead
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import RetrieverName, open_embedder, open_llm, open_prompt, open_retriever
from ragloom.store import Store
from ragloom.types import Chunk, Reader, Refiner, content_id

EVALUATIONS = 600  # of combinations, where none are set: greedy needs some 250 for 30 candidates in 2,048 tokens
CALLS = 100  # the same, where each is a call to the model
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
        refiners.append(open_order(settings))
    return tuple(refiners)


def open_selector(settings: Settings, store: Store) -> Selector:
    """The selector of the settings; its budget is what the prompt leaves of the context.

    Raises:
        ConfigError: the prompt leaves nothing.
    """
    budget = (settings.most_context_tokens or 0) - _overhead(settings)
    if budget <= 0:
        raise ConfigError(
            f"a context of {settings.most_context_tokens} tokens leaves no room for passages: the prompt takes "
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
    asks = settings.utility in {"rating", "draft"}
    limit = settings.evaluations if settings.evaluations is not None else (CALLS if asks else EVALUATIONS)
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


def open_order(settings: Settings) -> Refiner:
    """The order of the settings, by its name or from the file of a calibrated one.

    Raises:
        ConfigError: there is none, the file holds none, or it was calibrated with another model or prompt.
    """
    name = settings.order or "relevance"
    if name == "random":
        return RandomOrder(settings.seed or 0)
    if name in ORDERS:
        return ORDERS[name]
    if not Path(name).suffix:
        raise ConfigError(
            f"there is no order {name!r}", f"use one of {', '.join(ORDERS)}, or the file of a calibrated one"
        )
    order = CalibratedOrder.load(Path(name))
    return order if settings.allow_mismatch else order.checked(order_bindings(settings))


def order_bindings(settings: Settings) -> dict[str, str]:
    """What a calibrated order holds for: the model, and the prompt that passages stand in."""
    prompt = _prompt(settings)
    return {
        "model": open_llm(settings).identity,
        "prompt": content_id(*(turn["content"] for turn in prompt.messages("", [Chunk("", "")]))),
    }


def _prompt(settings: Settings) -> Prompt:
    return open_prompt(settings) or packaged_prompt(settings.mode)


def _overhead(settings: Settings) -> int:
    """Tokens of the prompt without passages, as the reader counts them, and room for the question."""
    return sum(estimate_tokens(turn["content"]) for turn in _prompt(settings).messages("", ())) + _QUESTION_TOKENS
