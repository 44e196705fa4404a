"""A request finds the provider and the model that it means, or is told what to write instead."""

from __future__ import annotations

import pytest

from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import INVALID_REQUEST, MODEL_NOT_FOUND, PROVIDER_NOT_CONFIGURED, LlmError
from loom_grpc.core.router import Router, Target
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import Completed, LlmEvent, LlmRequest, LlmResponse

TITLES = {"anthropic": "Anthropic", "openai": "OpenAI", "zai": "Z.ai"}


class Provider:
    """Answers with its own name."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, call: Call, send: Send) -> None:
        await send(LlmEvent(completed=Completed(response=LlmResponse(provider=self._name, model=call.model))))


TARGETS = {
    "anthropic": Target(Provider("anthropic"), "claude-sonnet-4-5", {"claude-opus-4-1"}),
    "openai": Target(Provider("openai"), "gpt-4o", {"gpt-4o", "gpt-5", "shared"}),
    "local": Target(Provider("local"), "", {"shared", "org/llama"}),
}
ALIASES = {
    "fast": "openai/gpt-5",
    "usual": "anthropic/default",
    "bare": "gpt-5",
    "shared": "local/shared",
}


def new_call(provider: str, model: str) -> Call:
    return Call(LlmRequest(provider=provider, model=model), stream=False, request_id="r")


def router(default_provider: str = "", aliases: dict[str, str] | None = None) -> Router:
    return Router(TARGETS, titles=TITLES, aliases=aliases or {}, default_provider=default_provider)


def routed(router: Router, provider: str, model: str) -> tuple[str, str]:
    call = new_call(provider, model)
    target = router.route(call)
    assert target is TARGETS[call.provider].handler
    return call.provider, call.model


def refused(router: Router, provider: str, model: str) -> tuple[ErrorReason.ValueType, str, dict[str, str]]:
    call = new_call(provider, model)
    with pytest.raises(LlmError) as caught:
        router.route(call)
    assert (call.provider, call.model) == ("", "")
    return caught.value.reason, caught.value.message, caught.value.metadata


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        pytest.param("openai", "gpt-5", ("openai", "gpt-5"), id="both named"),
        pytest.param("openai", "unlisted", ("openai", "unlisted"), id="a model that is on no list"),
        pytest.param("openai", "", ("openai", "gpt-4o"), id="no model"),
        pytest.param("openai", "default", ("openai", "gpt-4o"), id="the default model"),
        pytest.param("local", "org/llama", ("local", "org/llama"), id="a slash in the model"),
        pytest.param("openai", "anthropic/x", ("openai", "anthropic/x"), id="another provider's name in the model"),
        pytest.param("openai", "fast", ("openai", "fast"), id="no alias beside a provider"),
        pytest.param("", "openai/gpt-5", ("openai", "gpt-5"), id="provider/model"),
        pytest.param("", "openai/default", ("openai", "gpt-4o"), id="provider/default"),
        pytest.param("", "openai/", ("openai", "gpt-4o"), id="provider/"),
        pytest.param("", "local/org/llama", ("local", "org/llama"), id="provider/model with a slash"),
        pytest.param("", "gpt-5", ("openai", "gpt-5"), id="only one lists it"),
        pytest.param("", "claude-sonnet-4-5", ("anthropic", "claude-sonnet-4-5"), id="only one has it for its default"),
        pytest.param("", "gpt-4o", ("openai", "gpt-4o"), id="listed and the default"),
        pytest.param("", "org/llama", ("local", "org/llama"), id="a listed model with a slash"),
        pytest.param("", "fast", ("openai", "gpt-5"), id="alias"),
        pytest.param("", "usual", ("anthropic", "claude-sonnet-4-5"), id="alias of a default"),
        pytest.param("", "bare", ("openai", "gpt-5"), id="alias of a model"),
        pytest.param("", "shared", ("local", "shared"), id="an alias comes before the lists"),
    ],
)
def test_a_request_finds_what_it_means(provider: str, model: str, expected: tuple[str, str]) -> None:
    assert routed(router(aliases=ALIASES), provider, model) == expected


@pytest.mark.parametrize("model", ["", "default"])
def test_without_any_name_the_default_provider_answers(model: str) -> None:
    assert routed(router("anthropic"), "", model) == ("anthropic", "claude-sonnet-4-5")


@pytest.mark.parametrize("model", ["", "default"])
def test_the_only_provider_needs_no_name(model: str) -> None:
    targets = {"openai": TARGETS["openai"]}
    call = new_call("", model)

    Router(targets, titles=TITLES, aliases={}).route(call)

    assert (call.provider, call.model) == ("openai", "gpt-4o")


@pytest.mark.parametrize(
    ("provider", "model", "reason", "message", "metadata"),
    [
        pytest.param(
            "", "", INVALID_REQUEST,
            "model: name a provider (anthropic, openai, local) or a model; the server has no default_provider.",
            {"field": "model"}, id="nothing named",
        ),
        pytest.param(
            "local", "", INVALID_REQUEST,
            "model: local has no default model; name one, or set providers.local.default_model.",
            {"field": "model", "provider": "local"}, id="no default model",
        ),
        pytest.param(
            "", "local/", INVALID_REQUEST,
            "model: local has no default model; name one, or set providers.local.default_model.",
            {"field": "model", "provider": "local"}, id="no default model by slash",
        ),
        pytest.param(
            "zai", "glm-4.7", PROVIDER_NOT_CONFIGURED, "Z.ai provider is not configured on the server",
            {"provider": "zai"}, id="a provider that is not configured",
        ),
        pytest.param(
            "nobody", "m", INVALID_REQUEST,
            "provider: there is no provider 'nobody'; configured are anthropic, openai, local.",
            {"field": "provider"}, id="a provider that nobody knows",
        ),
        pytest.param(
            "OpenAI", "m", INVALID_REQUEST,
            "provider: there is no provider 'OpenAI'; configured are anthropic, openai, local.",
            {"field": "provider"}, id="a provider in other letters",
        ),
        pytest.param(
            "", "nothing-like-it", MODEL_NOT_FOUND,
            "model: no configured provider lists 'nothing-like-it'; write it as provider/model, or see ListModels.",
            {"field": "model"}, id="a model that nobody lists",
        ),
        pytest.param(
            "", "zai/glm-4.7", MODEL_NOT_FOUND,
            "model: no configured provider lists 'zai/glm-4.7'; write it as provider/model, or see ListModels.",
            {"field": "model"}, id="a slash behind what is no provider here",
        ),
        pytest.param(
            "", "shared", INVALID_REQUEST, "model: several providers list 'shared'; write one of openai/shared, local/shared.",
            {"field": "model"}, id="a model that several list",
        ),
    ],
)  # fmt: skip
def test_a_request_that_finds_nothing_is_told_what_to_write(
    provider: str, model: str, reason: ErrorReason.ValueType, message: str, metadata: dict[str, str]
) -> None:
    assert refused(router(), provider, model) == (reason, message, metadata)


def test_a_default_provider_that_is_not_there_is_named() -> None:
    assert refused(router("zai"), "", "") == (
        PROVIDER_NOT_CONFIGURED,
        "Z.ai provider is not configured on the server",
        {"provider": "zai"},
    )


def test_a_very_long_name_is_not_repeated_whole() -> None:
    _, message, _ = refused(router(), "x" * 10_000, "m")

    assert len(message) < 200


async def test_the_provider_that_was_found_answers() -> None:
    sent: list[LlmEvent] = []

    async def send(event: LlmEvent) -> None:
        sent.append(event)

    await router()(new_call("", "openai/gpt-5"), send)

    assert [event.completed.response for event in sent] == [LlmResponse(provider="openai", model="gpt-5")]


def test_a_list_that_grows_is_looked_at_anew() -> None:
    target = Target(Provider("openai"), "")
    router = Router({"openai": target, "local": TARGETS["local"]}, titles={}, aliases={})
    target.models = {"new"}
    call = new_call("", "new")

    assert router.route(call) is target.handler
