"""OpenAI's Responses at `/v1/responses`: calls that go on from kept responses, and the kept responses themselves."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from loom_grpc.core.account import StoreError
from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.kept import KeptResponse, ResponseStore
from loom_grpc.frontends import openai_responses_kept as pages
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.openai_responses import OpenAIResponses, ResponsesWriter, read_body
from loom_grpc.shim.edge import Edge, Site
from loom_grpc.shim.endpoint import Answering, CountingEndpoint, Entrance
from loom_grpc.shim.exchange import Exchange, Header, when_again
from loom_grpc.storage.memory_responses import MemoryResponses
from loom_grpc.v1.audit_pb2 import OPERATION_COMPLETE
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest

PATH: Final = "/v1/responses"

_Keep = Callable[[str, Mapping[str, Any], Mapping[str, Any]], Awaitable[None]]
"""Keeps a tenant's request and its response."""


def routes(
    site: Site,
    store: ResponseStore | None = None,
) -> list[Route]:
    """Returns what is served at `/v1/responses` and below; without a store, responses are kept in memory."""
    keep = site.config.responses
    store = store or MemoryResponses(keep.max_bytes, keep.ttl_s, time.monotonic)
    counting = f"{PATH}/input_tokens"
    shelves = (
        (f"{PATH}/{{id}}", ["GET", "DELETE"]),
        (f"{PATH}/{{id}}/cancel", ["POST"]),
        (f"{PATH}/{{id}}/input_items", ["GET"]),
    )
    return [
        Route(counting, CountingEndpoint(site, counting, OpenAIResponses(time.time)), methods=["POST"]),
        Route(PATH, ResponsesEndpoint(site, store), methods=["POST"]),
        *(Route(path, _Shelf(site, path, store), methods=methods) for path, methods in shelves),
    ]


class ResponsesEndpoint(Entrance):
    """Answers requests, and keeps the responses of callers who do not say `store: false`."""

    operation = OPERATION_COMPLETE

    def __init__(
        self,
        site: Site,
        store: ResponseStore,
    ) -> None:
        self._frontend = OpenAIResponses(time.time)
        super().__init__(site, PATH, self._frontend)
        self._telemetry = site.telemetry
        self._drops = site.config.compat.untold == "drop"
        self._store = store

    async def answer(self, answer: Answering, body: bytes, path: dict[str, str]) -> None:
        """Answers a request, whole or as a stream; a complete response is kept before the caller knows of it."""
        value = read_body(body)
        whole = await self._whole(value, answer.call.tenant)
        answer.begin(self._frontend.ask(whole, answer.exchange.headers()), self._frontend, drops=self._drops)
        send = answer.send if value.get("store") is False else _Keeping(answer, value, self._keep).send
        async with answer.watch():
            await self._gateway.answer(answer.call, send)
        await answer.finish()

    async def _whole(self, value: dict[str, Any], tenant: str) -> dict[str, Any]:
        """Returns the request with everything in its input that it refers to; raises `LlmError` and `HttpError`."""
        if named := pages.named(value):
            value = pages.resolved(value, await self._found(named, tenant))
        previous = value.get("previous_response_id")
        if not isinstance(previous, str) or not previous:
            return value
        chain = await _chain(self._store, tenant, previous)
        if not chain or chain[0].previous:
            raise pages.unknown_previous(chain[0].previous if chain else previous)
        return pages.continued(value, chain)

    async def _found(self, named: Mapping[str, bool], tenant: str) -> dict[str, KeptResponse]:
        """Returns those of the named responses that are there; a store that is down is told of only where content is needed."""
        found: dict[str, KeptResponse] = {}
        for id, is_needed in named.items():
            try:
                chain = await _chain(self._store, tenant, id)
            except LlmError:
                if is_needed:
                    raise
                continue
            if chain:
                found[id] = chain[-1]
            elif is_needed:
                break  # one that is missing is enough to refuse the request
        return found

    async def _keep(self, tenant: str, value: Mapping[str, Any], response: Mapping[str, Any]) -> None:
        try:
            await self._store.put(pages.kept(tenant, value, response))
        except StoreError as error:
            # The caller has its answer; only coming back to it will fail.
            self._telemetry.response_not_kept(str(error))


class _Keeping:
    """Sends the events of one answer, and keeps the response when it is complete."""

    def __init__(self, answer: Answering, value: Mapping[str, Any], keep: _Keep) -> None:
        self._answer = answer
        self._value = value
        self._keep = keep
        self._native_json = b""

    async def send(self, event: LlmEvent) -> None:
        """Takes the next event."""
        self._native_json = event.native_json or self._native_json
        writer = self._answer.writer
        if event.HasField("completed") and isinstance(writer, ResponsesWriter):
            if self._answer.call.stream:
                writer.foresee(event)
            else:
                writer.whole(event.completed.response, self._native_json)
            if pages.can_be_kept(writer.final):
                await self._keep(self._answer.call.tenant, self._value, writer.final)
        await self._answer.send(event)


class _Shelf:
    """Shows, forgets and does not cancel kept responses, as an ASGI application."""

    def __init__(self, site: Site, method: str, store: ResponseStore) -> None:
        self._edge = Edge(site, method)
        self._store = store
        self._frontend = OpenAIResponses(time.time)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever goes wrong is told to the caller in OpenAI's words."""
        exchange = Exchange(scope, receive, send)
        call = Call(LlmRequest(), stream=False, request_id=exchange.request_id, metadata=exchange.metadata())

        async def work() -> None:
            await _reply(exchange, 200, await self._page(scope, call.tenant))

        async def refuse(error: HttpError) -> None:
            await _reply(exchange, *self._frontend.refusal(error, exchange.request_id))

        async def fail(error: LlmError) -> None:
            await _reply(exchange, *self._frontend.failure(error, exchange.request_id), *when_again(error))

        await self._edge.attend(call, exchange, work, refuse=refuse, fail=fail)

    async def _page(self, scope: Scope, tenant: str) -> bytes:
        id: str = scope["path_params"]["id"]
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        if scope["method"] == "DELETE":
            return await self._forget(tenant, id)
        chain = await _chain(self._store, tenant, id)
        if not chain:
            raise pages.unknown(id)
        if scope["path"].endswith("/cancel"):
            raise HttpError(400, "Cannot cancel a synchronous response.")
        if dict(query).get("stream") == "true":
            raise HttpError(400, "stream: only background responses can be streamed again.", "stream")
        if scope["path"].endswith("/input_items"):
            return pages.item_list(chain, dict(query))
        return pages.shown(chain[-1].response_json, [word for key, word in query if key in ("include", "include[]")])

    async def _forget(self, tenant: str, id: str) -> bytes:
        try:
            known = pages.may_be_known(id) and await self._store.delete(tenant, id)
        except StoreError as error:
            raise pages.unavailable(str(error)) from None
        if not known:
            raise pages.unknown(id)
        return pages.deleted(id)


async def _chain(store: ResponseStore, tenant: str, id: str) -> list[KeptResponse]:
    """Returns a response and those before it; raises `LlmError` (STORAGE_UNAVAILABLE)."""
    if not pages.may_be_known(id):
        return []
    try:
        return await store.chain(tenant, id)
    except StoreError as error:
        raise pages.unavailable(str(error)) from None


async def _reply(exchange: Exchange, status: int, body: bytes, *more: Header) -> None:
    await exchange.reply(status, [*exchange.ids(), *more], body)
