import json
from pathlib import Path

import pytest

from ragloom.components.prices import Price, price_of
from ragloom.errors import ConfigError
from ragloom.types import Usage


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "prices.json"
    monkeypatch.setenv("RAGLOOM_PRICES", str(file))
    return file


def test_tokens_from_the_servers_cache_have_their_own_price():
    price = Price(2.0, 8.0, cached_input=0.5)
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=100_000)
    assert price.of(usage) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.1 * 8)
    assert Price(2.0, 8.0).of(usage) == pytest.approx(2 + 0.8)


def test_an_unknown_model_has_no_price_and_a_local_one_costs_nothing():
    assert price_of("nobody-knows") is None
    local = price_of("smollm2")
    assert local is not None
    assert local.of(Usage(1000, 1000)) == 0.0


def test_a_dated_name_has_the_price_of_its_model_and_every_price_its_date():
    price = price_of("gpt-4o-mini-2024-07-18")
    assert price is not None
    assert price == price_of("gpt-4o-mini")
    assert price.as_of >= "2026"


def test_the_users_prices_go_first(own: Path):
    models = {"gpt-4o-mini": {"input": 9, "output": 9}, "mine": {"input": 1, "as_of": "2026-02-02"}}
    own.write_text(json.dumps({"as_of": "2026-01-01", "models": models}), encoding="utf-8")
    assert price_of("gpt-4o-mini") == Price(9, 9, as_of="2026-01-01")
    assert price_of("mine") == Price(1, as_of="2026-02-02")
    assert price_of("gpt-4.1") is not None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"models": {"a": {"input": 1}}}',
        '{"as_of": "x", "models": {"a": {"input": -1}}}',
        '{"as_of": "x", "models": {"a": {"input": NaN}}}',
        '{"as_of": "x", "models": {"a": {"input": "1"}}}',
        '{"as_of": "x", "models": {"a": {"inptu": 1}}}',
        '{"as_of": "x", "models": {"a": 1}}',
    ],
)
def test_a_broken_table_is_named(own: Path, content: str):
    own.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"price table .*prices\.json"):
        price_of("a")


def test_a_missing_table_is_named(own: Path):
    with pytest.raises(ConfigError, match=r"cannot read the price table .*prices\.json"):
        price_of("a")
