"""What the client's types promise; type-checked and never run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import assert_type

import grpc

from loom_grpc import client as loom
from loom_grpc.client import (
    Account,
    AccountStatus,
    AdminClient,
    ApiKey,
    Budget,
    CallFilter,
    CallRecord,
    CountTokensResponse,
    CreateKeyResponse,
    ErrorReason,
    Limits,
    LlmError,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    LoomClient,
    Message,
    Model,
    Part,
    PoolHealth,
    Reasoning,
    ResponseFormat,
    RotateKeyResponse,
    ScopeKind,
    StartLoginResponse,
    StopReason,
    Stream,
    ToolCall,
    ToolChoice,
    ToolDefinition,
    Usage,
    UsageRow,
    WatchHealthResponse,
)
from loom_grpc.core.call import Call, Send
from loom_grpc.core.ports import Admin, Gateway
from loom_grpc.shim.remote import RemoteGateway


async def calls(client: LoomClient, request: LlmRequest) -> None:
    assert_type(await client.complete("Hi"), LlmResponse)
    assert_type(await client.complete(request, timeout_s=3), LlmResponse)
    assert_type(
        await client.complete(model="m", messages=[loom.user("Hi")], stop=("a",), labels={"a": "b"}), LlmResponse
    )
    assert_type(await client.count_tokens("Hi"), CountTokensResponse)
    assert_type(await client.list_models("mock"), list[Model])

    await client.complete(1)  # type: ignore[arg-type]
    await client.complete("Hi", temprature=1)  # type: ignore[call-arg]
    await client.complete("Hi", max_tokens="5")  # type: ignore[arg-type]
    await client.complete("Hi", messages="Hi")  # type: ignore[arg-type]


async def fields(client: LoomClient) -> None:
    await client.complete(
        "Hi",
        provider="mock",
        system="Be brief.",
        tools=[loom.tool("t", "d", {"type": "object"})],
        max_tokens=1,
        temperature=0.5,
        top_p=1,
        top_k=1,
        seed=1,
        tool_choice=ToolChoice(mode=ToolChoice.MODE_AUTO),
        response_format=ResponseFormat(json_object=loom.JsonObjectFormat()),
        reasoning=Reasoning(effort="low"),
        session_id="s",
        provider_options_json="{}",
        metadata={"x-request-id": "r"},
    )


async def streams(client: LoomClient) -> None:
    assert_type(client.stream("Hi"), Stream)
    async for event in client.stream("Hi"):
        assert_type(event, LlmEvent)
        assert_type(event.text_delta.content, str)
    async with client.stream("Hi") as stream:
        assert_type(stream, Stream)
        assert_type([event async for event in stream], list[LlmEvent])
        assert_type(stream.response, LlmResponse | None)
        assert_type(await stream.trailers(), dict[str, str])
    async with contextlib.aclosing(client.stream("Hi")) as closing:
        assert_type(closing, Stream)
    iterator: AsyncIterator[LlmEvent] = client.stream("Hi")
    await anext(iterator)


def answer(response: LlmResponse) -> list[Message]:
    assert_type(response.message, Message)
    assert_type(response.usage, Usage)
    assert_type(response.stop_reason, StopReason.ValueType)
    return [response.message, *(loom.tool_result(call, "3", is_error=False) for call in response.tool_calls)]


def failure(error: LlmError) -> None:
    assert_type(error.reason, ErrorReason.ValueType)
    assert_type(error.name, str)
    assert_type(error.message, str)
    assert_type(error.retry_after, float | None)
    assert_type(error.metadata, dict[str, str])
    assert_type(error.partial, LlmResponse | None)


def constructors(call: ToolCall) -> None:
    assert_type(loom.user("Look:", loom.image(b"", "image/png"), loom.document("https://example.com/a.pdf")), Message)
    assert_type(loom.image("https://example.com/a.png"), Part)
    assert_type(loom.system("s"), Message)
    assert_type(loom.assistant("a"), Message)
    assert_type(loom.tool_result(call, "r"), Message)
    assert_type(loom.tool("n", "d", "{}"), ToolDefinition)
    loom.user(1)  # type: ignore[arg-type]


async def connections() -> None:
    LoomClient()
    LoomClient("example.com:443", api_key="k", tls=True, metadata={"a": "b"}, timeout_s=1, options={"grpc.x": 1})
    LoomClient(tls=grpc.ssl_channel_credentials())
    async with LoomClient() as client:
        assert_type(client, LoomClient)


async def administration(client: LoomClient) -> None:
    admin: Admin = client.admin("k")
    assert_type(client.admin(), AdminClient)
    accounts = await client.admin().list_accounts()
    assert_type(accounts, list[Account])
    assert_type(accounts[0].status, AccountStatus.ValueType)
    assert_type(await admin.add_account("openai", "a", "sk"), Account)
    assert_type(await admin.start_login("anthropic"), StartLoginResponse)
    async for health in admin.watch_health():
        assert_type(health, WatchHealthResponse)
        assert_type(health.pools[0], PoolHealth)


async def office(admin: AdminClient) -> None:
    made = await admin.create_key(ApiKey(user="ann", limits=Limits(requests_per_minute=5)))
    assert_type(made, CreateKeyResponse)
    assert_type(made.secret, str)
    assert_type(await admin.list_keys(user="ann", show_ended=True), list[ApiKey])
    assert_type(await admin.update_key(made.key, "limits.requests_per_minute"), ApiKey)
    assert_type(await admin.rotate_key(made.key.id, overlap_s=60), RotateKeyResponse)
    assert_type(await admin.list_budgets(ScopeKind.SCOPE_KIND_USER, "ann"), list[Budget])
    assert_type(await admin.update_budget("b", 12_500_000_000), Budget)
    assert_type(await admin.query_usage("day", "label:project", filter=CallFilter(user="ann")), list[UsageRow])
    async for call in admin.list_calls(CallFilter(user="ann"), page_size=10):
        assert_type(call, CallRecord)
    async for piece in admin.export_calls():
        assert_type(piece.total, int)


async def gateways(client: LoomClient, call: Call, send: Send) -> None:
    gateway: Gateway = RemoteGateway(client)
    await gateway.answer(call, send)
