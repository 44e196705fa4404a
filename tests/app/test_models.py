"""ListModels behind a real server: what is listed, and what is said of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from loom_grpc.app import App
from loom_grpc.config import Config
from loom_grpc.core.call import Call
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import ListModelsRequest, LlmRequest, Model, ModelAbilities, ModelPrices
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.program import ROOT
from tests.server.serving import COMPLETION, serving
from tests.stand_in import json_answer, stand_in

ANYBODYS = Call(LlmRequest(), stream=False, request_id="r")
GPT_4O = Model(
    provider="openai",
    id="gpt-4o",
    is_default=True,
    context_tokens=128_000,
    max_output_tokens=16_384,
    abilities=ModelAbilities(
        tools=True, images=True, documents=True, audio=False, reasoning=False, json_schema=True, prefill=False
    ),
    prices=ModelPrices(
        currency_code="USD", input_nanos=2_500_000_000, output_nanos=10_000_000_000, cache_read_nanos=1_250_000_000
    ),
)
HOUSE = Model(
    provider="mine",
    id="house-7b",
    context_tokens=8_000,
    abilities=ModelAbilities(tools=False),
    prices=ModelPrices(currency_code="USD", input_nanos=0, output_nanos=1, cache_write_nanos=500_000_000),
)


def configuration(url: str, **more: Any) -> Config:
    """Makes a configuration with two providers at one address."""
    provider = {"api_key": "sk-test", "base_url": url}
    return Config.model_validate(
        {
            "grpc": {"address": "127.0.0.1:0"},
            "providers": {"openai": provider, "mine": provider | {"dialect": "openai"}},
            "models": {
                "mine/house-7b": {
                    "context_tokens": 8_000,
                    "tools": False,
                    "prices": {"input": 0, "output": Decimal("0.000000001"), "cache_write": Decimal("0.5")},
                }
            },
            "log": {"level": "error"},
        }
        | more
    )


async def listed(config: Config, provider: str = "") -> list[Model]:
    async with serving(config) as server:
        return [*(await server.stub.ListModels(ListModelsRequest(provider=provider))).models]


async def test_models_are_listed_with_what_is_known_of_them() -> None:
    async with stand_in(json_answer({"data": [{"id": "a-model-that-nobody-knows"}]})) as upstream:
        models = await listed(configuration(upstream.url))

    assert models == [
        Model(provider="mine", id="a-model-that-nobody-knows"),
        HOUSE,
        Model(provider="openai", id="a-model-that-nobody-knows", abilities=ModelAbilities(prefill=False)),
        GPT_4O,
    ]


async def test_routes_and_aliases_come_first_and_can_what_their_targets_can() -> None:
    async with stand_in(json_answer({"data": []})) as upstream:
        routes = {
            "wide": {"targets": [{"model": "small"}, {"model": "openai/gpt-4o"}]},
            "best": {"targets": [{"model": "wide"}, {"model": "openai/o3"}]},
            "vague": {"targets": [{"model": "openai/gpt-4o"}, {"model": "mine/unheard-of"}]},
        }
        aliases = {"small": "mine/house-7b"}
        models = await listed(configuration(upstream.url, routes=routes, aliases=aliases, default_route="best"))

    assert models == [
        Model(
            id="best",
            targets=["wide", "openai/o3"],
            is_default=True,
            context_tokens=200_000,
            abilities=ModelAbilities(tools=True),
        ),
        Model(
            id="small",
            targets=["mine/house-7b"],
            context_tokens=8_000,
            abilities=HOUSE.abilities,
            prices=HOUSE.prices,
        ),
        Model(id="vague", targets=["openai/gpt-4o", "mine/unheard-of"]),
        Model(
            id="wide",
            targets=["small", "openai/gpt-4o"],
            context_tokens=128_000,
            abilities=ModelAbilities(tools=True),
        ),
        HOUSE,
        GPT_4O,
    ]


async def test_one_providers_models_are_listed_without_routes_and_aliases() -> None:
    async with stand_in(json_answer({"data": []})) as upstream:
        config = configuration(upstream.url, aliases={"small": "mine/house-7b"})

        assert await listed(config, "mine") == [HOUSE]


async def test_a_long_list_is_described_a_few_at_a_time() -> None:
    """Or finding the prices of hundreds of models would hold everybody up."""
    config = configuration("http://127.0.0.1:9", providers={"mock": {"models": [f"model-{n}" for n in range(200)]}})
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with App(config, {}, Telemetry(config)) as app:
        await app.list_models(ANYBODYS)
        waiting = asyncio.create_task(others())
        await asyncio.sleep(0)
        models = await app.list_models(ANYBODYS, "mock")
        waiting.cancel()

    assert len(models) > 200
    assert turns > 20


async def test_an_alias_that_means_no_model_is_listed_all_the_same() -> None:
    async with stand_in(json_answer({"data": []})) as upstream:
        models = await listed(configuration(upstream.url, aliases={"usual": "mine/default"}))

    assert models[0] == Model(id="usual", targets=["mine/default"])


async def test_a_described_model_needs_no_provider_in_a_call() -> None:
    question = LlmRequest(model="house-7b", messages=[Message(role=ROLE_USER, content="hi")])
    async with stand_in(json_answer(COMPLETION)) as upstream, serving(configuration(upstream.url)) as server:
        answer = await server.stub.Complete(question)

    assert (answer.provider, upstream.asked[0].json["model"]) == ("mine", "house-7b")


async def test_a_new_configuration_describes_models_anew_and_keeps_what_providers_said() -> None:
    async with stand_in(json_answer({"data": [{"id": "m"}]})) as upstream:
        config = configuration(upstream.url)
        telemetry = Telemetry(config)
        async with App(config, {}, telemetry) as app:
            await app.list_models(ANYBODYS, "mine")
            await app.adopt(configuration(upstream.url, models={"mine/m": {"context_tokens": 5}}))
            models = await app.list_models(ANYBODYS, "mine")
        await telemetry.close()

    assert models == [Model(provider="mine", id="m", context_tokens=5)]
    assert len(upstream.asked) == 1


_START: Final = """
import asyncio, sys
opened = []
sys.addaudithook(lambda event, details: opened.append(details) if event in ("socket.connect", "socket.getaddrinfo") else None)
from loom_grpc.app import App
from loom_grpc.config import Config
from loom_grpc.core.call import Call
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import LlmRequest

async def main():
    policy = sys.argv[1]
    config = Config.model_validate({
        "providers": {"mock": {}},
        "routes": {"r": {"policy": policy, "targets": [{"model": "mock/mock-words"}, {"model": "mock/mock-echo"}]}},
    })
    async with App(config, {"HOME": sys.argv[2]}, Telemetry(config)) as app:
        print("genai_prices" in sys.modules, "tomllib" in sys.modules)
        await app.list_models(Call(LlmRequest(), stream=False, request_id="r"))
        print("genai_prices" in sys.modules, opened)

asyncio.run(main())
"""


def start(policy: str, home: str) -> list[str]:
    """Starts an application in a process of its own, lists its models, and returns what it prints."""
    command = [sys.executable, "-c", _START, policy, home]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    return done.stdout.splitlines()


def test_nothing_is_read_before_it_is_needed_and_nothing_from_the_network(tmp_path: Path) -> None:
    assert start("fallback", str(tmp_path)) == ["False False", "True []"]


def test_a_route_by_price_has_the_prices_from_the_start(tmp_path: Path) -> None:
    assert start("cheapest", str(tmp_path)) == ["True False", "True []"]
