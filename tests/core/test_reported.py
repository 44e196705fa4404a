"""What providers say that a call cost."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from loom_grpc.core.exact import loads
from loom_grpc.core.reported import reported_cost


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        ({"cost": 0.0001346}, 134_600),
        ({"cost": 0}, 0),
        ({"cost": 2}, 2_000_000_000),
        ({"cost": 3.9e-6}, 3_900),
        ({"cost": {"input_tokens_cost": 0.00005, "request_cost": 0.006, "total_cost": 0.00614}}, 6_140_000),
        ({"cost_in_usd_ticks": 1_654_500}, 165_450),
        ({"cost_in_usd_ticks": 15}, 2),
        ({"estimated_cost": 0.00002}, 20_000),
    ],
)
def test_each_provider_says_it_in_its_own_field(usage: dict[str, Any], nanos: int) -> None:
    assert reported_cost(usage) == nanos


@pytest.mark.parametrize(
    ("is_byok", "nanos"),
    [(True, 226_500), (False, 1_000), (None, 1_000)],
)
def test_a_key_of_ones_own_pays_the_gateway_and_the_provider(is_byok: bool | None, nanos: int) -> None:
    usage = {"cost": 0.000001, "is_byok": is_byok, "cost_details": {"upstream_inference_cost": 0.0002255}}

    assert reported_cost(usage) == nanos


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": 5},
        {"cost": None},
        {"cost": "0.1"},
        {"cost": True},
        {"cost": -0.1},
        {"cost": 1e30},
        {"cost": []},
        {"cost": {"total_cost": None}},
        {"cost": {"total_cost": {"amount": 1}}},
        {"cost_in_usd_ticks": 10**40},
    ],
)
def test_what_is_no_amount_is_not_reported(usage: dict[str, Any]) -> None:
    assert reported_cost(usage) is None


@pytest.mark.parametrize(
    ("digits", "nanos"),
    [
        ("0.1", 100_000_000),
        ("0.3", 300_000_000),
        ("1.1e-5", 11_000),
        ("999999.123456789", 999_999_123_456_789),
        ("0.0000000025", 2),
    ],
)
def test_no_digit_is_lost_on_the_way_through_a_float(digits: str, nanos: int) -> None:
    assert reported_cost(orjson.loads(f'{{"cost":{digits}}}')) == nanos


def test_an_amount_of_many_digits_is_read_as_it_is_written() -> None:
    assert reported_cost(loads(b'{"cost":0.00012346000000000000000001}')) == 123_460
