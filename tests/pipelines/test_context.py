"""Selection and order from settings, over a small workspace and an endpoint that answers from a script."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.components.calibrated_order import CalibratedOrder, Placed, fit_profile
from ragloom.components.completions import estimate_tokens
from ragloom.components.reordering import ORDERS
from ragloom.errors import ConfigError
from ragloom.pipelines.context import open_order, order_bindings
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.opening import open_pipeline
from ragloom.pipelines.settings import Settings
from ragloom.store import Store
from ragloom.types import Answer

QUESTION = "Who built the mill of Quarry End?"
SELECTORS = next(get_args(kind) for kind in get_args(Settings.model_fields["select"].annotation) if get_args(kind))


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(answer=lambda prompt: "7" if "rate" in prompt.lower() else "Ilse Tarn [1]") as endpoint:
        yield endpoint


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(12):
        padding = f"It ground corn of kind {number}. " * 20
        (corpus / f"mill-{number}.txt").write_text(
            f"The mill of Quarry End, number {number}. {padding}", encoding="utf-8"
        )
    with Store.open(tmp_path / "workspace") as store:
        index_corpus([corpus], store)
        yield store


def answered(endpoint: ScriptedEndpoint, store: Store, **values: Any) -> Answer:
    chosen = Settings(base_url=endpoint.base_url, model="scripted", pipeline="single", **values)
    return open_pipeline(chosen, store)(QUESTION)


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_keeps_the_prompt_within_the_context(endpoint: ScriptedEndpoint, store: Store, name: str):
    answer = answered(endpoint, store, select=name, context_tokens=1000)
    assert answer.text == "Ilse Tarn"
    assert 1 <= len(answer.hits) < 12
    assert estimate_tokens(endpoint.requests[-1].prompt) <= 1000
    read = next(step for step in answer.run.spans if step.name == "read")
    assert read.attributes["dropped"] == 0


def test_passages_stand_in_the_prompt_as_they_were_selected_and_citations_follow_them(
    endpoint: ScriptedEndpoint, store: Store
):
    for name in ("mmr", "greedy-marginal", "local-search"):
        answer = answered(endpoint, store, select=name, context_tokens=1000)
        prompt = endpoint.requests[-1].prompt
        places = [prompt.index(hit.chunk.text[:40]) for hit in answer.hits]
        assert len(places) > 1
        assert places == sorted(places)
        assert answer.citations[0].chunk_id == answer.hits[0].chunk.id


@pytest.mark.parametrize("utility", ["coverage", "rating", "draft"])
def test_selectors_take_each_utility(endpoint: ScriptedEndpoint, store: Store, utility: str):
    answer = answered(endpoint, store, select="greedy-marginal", utility=utility, evaluations=20, candidates=4)
    assert answer.hits


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_shows_the_same_passages(endpoint: ScriptedEndpoint, store: Store, name: str):
    plain, ordered = answered(endpoint, store), answered(endpoint, store, order=name)
    assert {hit.chunk.id for hit in ordered.hits} == {hit.chunk.id for hit in plain.hits}
    assert ordered.citations[0].chunk_id == ordered.hits[0].chunk.id


def test_an_order_that_is_none_is_named(endpoint: ScriptedEndpoint, store: Store):
    with pytest.raises(ConfigError, match="there is no order 'upwards'"):
        answered(endpoint, store, order="upwards")


def test_a_calibrated_order_holds_for_its_model_and_prompt(endpoint: ScriptedEndpoint, store: Store, tmp_path: Path):
    chosen = Settings(base_url=endpoint.base_url, model="scripted", order=str(tmp_path / "order.json"), mode="long")
    profile = fit_profile([Placed(f"q{n}", place, n % 2) for n in range(20) for place in range(2)], 2)
    CalibratedOrder(profile, order_bindings(chosen)).save(tmp_path / "order.json")
    open_order(chosen)
    other = chosen.model_copy(update={"mode": "short"})
    with pytest.raises(ConfigError, match="calibrated with something else: prompt was"):
        open_order(other)
    open_order(other.model_copy(update={"allow_mismatch": True}))


def test_the_seed_draws_the_random_order(endpoint: ScriptedEndpoint, store: Store):
    orders = {
        tuple(hit.chunk.id for hit in answered(endpoint, store, order="random", seed=seed).hits) for seed in range(5)
    }
    assert len(orders) > 1


def test_a_long_question_still_keeps_to_the_context_that_was_not_set(endpoint: ScriptedEndpoint, store: Store):
    chosen = Settings(base_url=endpoint.base_url, model="scripted", pipeline="single", select="greedy-fill")
    open_pipeline(chosen, store)(QUESTION + " And who" * 100 + "?")
    assert estimate_tokens(endpoint.requests[-1].prompt) <= 1024


def test_a_context_without_room_for_passages_is_refused_when_the_pipeline_is_opened(
    endpoint: ScriptedEndpoint, store: Store
):
    with pytest.raises(ConfigError, match="leaves no room for passages"):
        answered(endpoint, store, select="mcts", context_tokens=200)


@pytest.mark.parametrize("name", SELECTORS)
def test_a_context_that_holds_no_passage_is_said_to_be_the_reason(endpoint: ScriptedEndpoint, store: Store, name: str):
    with pytest.raises(ConfigError, match="no passage can be selected: the cheapest chunk costs") as refused:
        answered(endpoint, store, select=name, context_tokens=600)
    assert "raise context_tokens" in refused.value.remedy


@pytest.mark.parametrize("pipeline", ["closed-book", "notes"])
def test_pipelines_without_passages_to_choose_say_so(endpoint: ScriptedEndpoint, store: Store, pipeline: str):
    chosen = Settings(base_url=endpoint.base_url, model="scripted", pipeline=pipeline, select="mcts")
    with pytest.raises(ConfigError, match=f"the pipeline {pipeline} has no passages to select or order"):
        open_pipeline(chosen, store)
