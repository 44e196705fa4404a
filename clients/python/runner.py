"""The conformance runner of the Python client; clients/conformance/README.md has the protocol."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from loom_grpc.client import LlmError, LlmRequest, LoomClient
from loom_grpc.v1.llm_service_pb2 import EmbedRequest, ListModelsResponse

Job = Mapping[str, Any]
Answer = dict[str, Any]


async def _complete(client: LoomClient, job: Job, answer: Answer) -> None:
    request = LlmRequest.FromString(base64.b64decode(job["request"]))
    answer["response"] = _text(await client.complete(request, **_of_call(job)))


async def _count_tokens(client: LoomClient, job: Job, answer: Answer) -> None:
    request = LlmRequest.FromString(base64.b64decode(job["request"]))
    answer["response"] = _text(await client.count_tokens(request, **_of_call(job)))


async def _embed(client: LoomClient, job: Job, answer: Answer) -> None:
    request = EmbedRequest.FromString(base64.b64decode(job["request"]))
    answer["response"] = _text(await client.embed(request, **_of_call(job)))


async def _list_models(client: LoomClient, job: Job, answer: Answer) -> None:
    answer["response"] = _text(ListModelsResponse(models=await client.list_models(**_of_call(job))))


async def _stream(client: LoomClient, job: Job, answer: Answer) -> None:
    events: list[str] = []
    answer["events"] = events
    stream = client.stream(LlmRequest.FromString(base64.b64decode(job["request"])), **_of_call(job))
    try:
        async with stream:
            async for event in stream:
                events.append(_text(event))
                if len(events) == job["cancel_after_events"]:
                    answer["cancelled"] = True
                    break
    finally:
        answer["trailers"] = {} if answer["cancelled"] else await stream.trailers()
    answer["response"] = stream.response and _text(stream.response)


_METHODS: Final[dict[str, Callable[[LoomClient, Job, Answer], Awaitable[None]]]] = {
    "complete": _complete,
    "stream": _stream,
    "count_tokens": _count_tokens,
    "list_models": _list_models,
    "embed": _embed,
}


class Clients:
    """One client for each set of connection settings."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._clients: dict[str, LoomClient] = {}

    async def of(self, job: Job) -> LoomClient:
        """Returns the client that has a job's settings, made where it is the first."""
        settings = json.dumps([job["target"], job["tls"], job["api_key"]])
        if settings not in self._clients:
            client = LoomClient(job["target"], api_key=job["api_key"], tls=_tls(job["tls"]))
            self._clients[settings] = await self._stack.enter_async_context(client)
        return self._clients[settings]


def _tls(papers: Mapping[str, str] | None) -> bool | grpc.ChannelCredentials:
    if papers is None:
        return False
    ca, key, certificate = (papers[name].encode() if papers.get(name) else None for name in ("ca", "key", "cert"))
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _of_call(job: Job) -> dict[str, Any]:
    timeout_ms = job["timeout_ms"]
    return {"metadata": job["metadata"], "timeout_s": None if timeout_ms is None else timeout_ms / 1000}


async def _carry_out(clients: Clients, job: Job) -> Answer:
    client = await clients.of(job)
    answer: Answer = {"name": job["name"], "response": None, "error": None, "cancelled": False, "trailers": {}}
    begun = time.monotonic()
    call = asyncio.ensure_future(_METHODS[job["method"]](client, job, answer))
    after_ms = job["cancel_after_ms"]
    timer = None if after_ms is None else asyncio.get_running_loop().call_later(after_ms / 1000, call.cancel)
    try:
        await call
    except LlmError as error:
        answer["error"] = _error(error)
    except asyncio.CancelledError:
        answer["cancelled"] = True
    finally:
        if timer is not None:
            timer.cancel()
    return {**answer, "elapsed_ms": (time.monotonic() - begun) * 1000}


def _error(error: LlmError) -> dict[str, Any]:
    return {
        "reason": error.name,
        "message": error.message,
        "retry_after_ms": None if error.retry_after is None else round(error.retry_after * 1000),
        "metadata": dict(error.metadata),
        "partial": error.partial and _text(error.partial),
    }


def _text(message: Message) -> str:
    return base64.b64encode(message.SerializeToString()).decode()


async def main() -> None:
    """Answers one line after the other."""
    async with AsyncExitStack() as stack:
        clients = Clients(stack)
        while line := await asyncio.to_thread(sys.stdin.readline):
            job = json.loads(line)
            try:
                answer = await _carry_out(clients, job)
            except Exception as error:  # noqa: BLE001 - whatever it is, the driver is told and the next case runs
                answer = {"name": job["name"], "failed": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
