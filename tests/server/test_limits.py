"""Limits and budgets over gRPC: what callers are told of them in metadata and details."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from loom_grpc.client import LlmError, LoomClient
from loom_grpc.config import Config
from loom_grpc.core.errors import RATE_LIMITED
from loom_grpc.v1.llm_service_pb2 import EmbedInput, EmbedRequest, ListModelsRequest, LlmEvent, LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.let_in import let_in
from tests.server.serving import Serving, serving

HI: Final = LlmRequest(
    provider="mock", model="mock-words", messages=[Message(role=ROLE_USER, content="hi")], max_tokens=9
)
VECTORS: Final = EmbedRequest(provider="mock", model="mock-embed", inputs=[EmbedInput(text="hi")])
UNARY: Final = (("Complete", HI), ("CountTokens", HI), ("Embed", VECTORS))


def configured(**sections: Any) -> Config:
    plain = {"grpc": {"address": "127.0.0.1:0"}, "providers": {"mock": {}}, "log": {"level": "error"}}
    return Config.model_validate(plain | sections)


def limited(**address: int) -> Config:
    return configured(limits={"address": address})


def about_limits(metadata: Any) -> dict[str, str]:
    """Returns what metadata tells of limits, without the times, of which only the range is known."""
    told: dict[str, str] = {}
    for kind, *pairs in (piece.split(";") for piece in dict(metadata).get("loom-ratelimit", "").split(", ")):
        told |= {f"{kind}-{name}": value for name, value in (pair.split("=") for pair in pairs)}
    assert all(50 < float(told.pop(key)) <= 65 for key in list(told) if key.endswith("-reset"))
    return told


async def refusal(server: Serving, method: str, request: Any, **metadata: str) -> grpc.aio.AioRpcError:
    """Returns what a call fails with."""
    call: Any = getattr(server.stub, method)(request, metadata=tuple(metadata.items()))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (gathered(call) if method == "Stream" else call)
    return caught.value


async def gathered(stream: Any) -> list[LlmEvent]:
    return [event async for event in stream]


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Returns the details of a failure by their kinds."""
    [data] = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
    assert isinstance(data, bytes)
    found: dict[str, Any] = {}
    for detail in status_pb2.Status.FromString(data).details:
        kind = detail.TypeName().rpartition(".")[2]
        found[kind] = getattr(error_details_pb2, kind)()
        detail.Unpack(found[kind])
    return found


@pytest.mark.parametrize(("method", "request_"), UNARY)
async def test_the_end_of_an_answer_tells_how_the_limits_stand(method: str, request_: Any) -> None:
    async with serving(limited(requests_per_minute=7, concurrent_streams=2)) as server:
        call = getattr(server.stub, method)(request_)
        await call
        told = about_limits(await call.trailing_metadata())

    assert told == {"requests-limit": "7", "requests-remaining": "6"}


async def test_a_stream_tells_before_its_first_event() -> None:
    async with serving(limited(requests_per_minute=7, concurrent_streams=2)) as server:
        stream: Any = server.stub.Stream(HI)
        events = aiter(stream)
        first = await anext(events)
        told = about_limits(await stream.initial_metadata())
        last = [event async for event in events][-1]
        trailing = about_limits(await stream.trailing_metadata())

    expected = {
        "requests-limit": "7",
        "requests-remaining": "6",
        "streams-limit": "2",
        "streams-remaining": "1",
    }
    assert (first.WhichOneof("event"), last.WhichOneof("event")) == ("started", "completed")
    assert (told, trailing) == (expected, expected)


@pytest.mark.parametrize(("method", "request_"), [*UNARY, ("Stream", HI)])
async def test_a_refusal_tells_which_limit_is_reached_and_when_to_come_back(method: str, request_: Any) -> None:
    async with serving(limited(requests_per_minute=1)) as server:
        await server.stub.Complete(HI)
        error = await refusal(server, method, request_)

    words = "The limit of 1 calls a minute of this address is reached."
    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, words)
    assert about_limits(error.trailing_metadata() or ()) == {"requests-limit": "1", "requests-remaining": "0"}
    found = details(error)
    assert set(found) == {"ErrorInfo", "RetryInfo", "QuotaFailure"}
    assert 50 < found["RetryInfo"].retry_delay.ToMilliseconds() / 1000 <= 65
    [violation] = found["QuotaFailure"].violations
    told = (violation.subject, violation.description, violation.quota_metric, violation.quota_value)
    scope, _, address = violation.subject.partition(":")
    assert told == (violation.subject, words, "requests", 1)
    assert (scope, address in ("127.0.0.1", "::1")) == ("address", True)
    metadata = dict(found["ErrorInfo"].metadata)
    del metadata["request_id"]
    assert metadata == {"scope": "address", "id": address, "kind": "requests", "limit": "1"}


async def test_without_limits_no_metadata_tells_of_them() -> None:
    async with serving(configured()) as server:
        call: Any = server.stub.Complete(HI)
        await call
        stream: Any = server.stub.Stream(HI)
        await gathered(stream)
        told = [await call.trailing_metadata(), await stream.initial_metadata(), await stream.trailing_metadata()]

    assert [about_limits(metadata) for metadata in told] == [{}, {}, {}]


async def test_a_budget_that_is_spent_is_named_and_has_no_time_without_a_period(tmp_path: Path) -> None:
    caller = await let_in(tmp_path, user='ann "é"')
    config = configured(
        spending={"budgets": [{"scope": "user", "id": 'ann "é"', "period": "total", "usd": "0.000001"}]},
        models={"mock/mock-words": {"prices": {"input": 1, "output": 1}}},
        **caller.settings,
    )
    async with serving(config, environ=caller.environ) as server:
        errors = [
            await refusal(server, name, HI, authorization=caller.authorization) for name in ("Complete", "Stream")
        ]

    for error in errors:
        words = error.details() or ""
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert words.startswith("The budget of this user has 0.000001 dollars left, and this call may cost 0.0")
        found = details(error)
        assert set(found) == {"ErrorInfo", "QuotaFailure"}
        assert found["ErrorInfo"].reason == "BUDGET_EXCEEDED"
        violation = error_details_pb2.QuotaFailure.Violation(subject='user:ann "é"', description=words)
        assert list(found["QuotaFailure"].violations) == [violation]


@pytest.mark.parametrize(("method", "request_"), [*UNARY, ("Stream", HI), ("ListModels", ListModelsRequest())])
async def test_an_address_that_guesses_is_told_when_to_come_back(tmp_path: Path, method: str, request_: Any) -> None:
    caller = await let_in(tmp_path)
    settings = caller.settings | {"access": {"enabled": True, "throttle": {"failures": 1, "block_s": 25}}}
    async with serving(configured(**settings), environ=caller.environ) as server:
        wrong = await refusal(server, "Complete", HI, authorization="Bearer lk_wrong")
        error = await refusal(server, method, request_, authorization=caller.authorization)

    assert (wrong.code(), error.code()) == (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert 20 <= pause_s(error) <= 25


async def test_reflection_tells_an_address_that_guesses_when_to_come_back(tmp_path: Path) -> None:
    caller = await let_in(tmp_path)
    settings = caller.settings | {"access": {"enabled": True, "throttle": {"failures": 1, "block_s": 25}}}
    async with serving(configured(**settings), environ=caller.environ) as server:
        await refusal(server, "Complete", HI, authorization="Bearer lk_wrong")
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(server.channel)  # type: ignore[arg-type] # takes both kinds
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gathered(call)

    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 20 <= pause_s(caught.value) <= 25


def pause_s(error: grpc.aio.AioRpcError) -> float:
    """Returns when to come back, of which nothing but the reason is told beside."""
    found = details(error)
    assert set(found) == {"ErrorInfo", "RetryInfo"}
    seconds: float = found["RetryInfo"].retry_delay.ToMilliseconds() / 1000
    return seconds


async def test_the_client_knows_when_to_come_back_and_of_which_limit() -> None:
    async with serving(limited(requests_per_minute=1)) as server, LoomClient(f"127.0.0.1:{server.port}") as client:
        async with client.stream(HI) as stream:
            told = about_limits((await stream.headers()).items())
            await gathered(stream)
        with pytest.raises(LlmError) as caught:
            await client.complete(HI)

    assert told == {"requests-limit": "1", "requests-remaining": "0"}
    error = caught.value
    assert (error.reason, error.metadata["kind"], error.metadata["limit"]) == (RATE_LIMITED, "requests", "1")
    assert error.retry_after is not None
    assert 50 < error.retry_after <= 65
