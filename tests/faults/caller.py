"""Callers of a real server, over gRPC and over HTTP, who tell in the same words what they got."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import grpc
import orjson

from loom_grpc.config import Config
from loom_grpc.core.errors import TABLE, reason_name
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, LlmResponse
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.server.serving import Serving, serving
from tests.shim.serving import Shim, request, shim

PROMPT: Final = "Say sixty words."
MESSAGES: Final = [{"role": "user", "content": PROMPT}]


class Told(NamedTuple):
    """What `completed` says: who answered, what, and how much of it there is."""

    model: str
    content: str
    output_tokens: int


class Restart(NamedTuple):
    """What `restarted` says: which attempt begins, whose, and why the one before failed."""

    attempt: int
    model: str
    reason: str


@dataclass
class Outcome:
    """What a caller got of a stream."""

    texts: list[str] = field(default_factory=lambda: [""])
    """What the deltas spelled, anew after each restart."""
    kinds: list[str] = field(default_factory=lambda: ["error"])
    """The kinds of events in their order, a run of deltas once."""
    restarts: list[Restart] = field(default_factory=list)
    completed: list[Told] = field(default_factory=list)
    error: str = ""
    """The reason, where the call failed."""
    lasted_s: float = field(default=0.0, compare=False)

    def kind(self, kind: str) -> None:
        """Notes the kind of an event."""
        if self.kinds[-1:] != [kind] or kind != "text_delta":
            self.kinds.append(kind)

    def text(self, content: str) -> None:
        """Notes a piece of text."""
        self.texts[-1] += content

    def restart(self, restart: Restart) -> None:
        """Notes that everything so far is replaced."""
        self.restarts.append(restart)
        self.texts.append("")


class Caller(Protocol):
    """Somebody who calls a server whose upstream fails."""

    async def stream(self, model: str, *, provider: str = "openai") -> Outcome:
        """Reads a stream to its end."""

    async def whole(self, model: str) -> str:
        """Asks a model of OpenAI's for a whole answer; returns its text, or nothing when it fails."""

    async def begin(self, model: str, *, stream: bool) -> Callable[[], object]:
        """Begins a call, a stream up to its first event, and returns how to go away."""


class GrpcCaller:
    """Calls over gRPC; `restarts` takes answers that begin anew."""

    def __init__(self, server: Serving, *, restarts: bool = False) -> None:
        self._server = server
        self._metadata = (("loom-events", "restarted"),) if restarts else ()

    async def stream(self, model: str, *, provider: str = "openai") -> Outcome:
        """Reads a stream to its end, and sees to it that the status says what the last event says."""
        outcome, began = Outcome(kinds=[]), time.perf_counter()
        call = self._server.stub.Stream(_request(model, provider), metadata=self._metadata)
        status = (0, "")
        with contextlib.suppress(grpc.aio.AioRpcError):  # the status tells of it
            async for event in call:
                status = _note(outcome, event)
        outcome.lasted_s = time.perf_counter() - began
        assert ((await call.code()).value[0], await call.details()) == status
        return outcome

    async def complete(self, model: str, *, provider: str = "openai") -> tuple[LlmResponse, dict[str, Any]]:
        """Asks for a whole answer; returns it with the trailing metadata."""
        call = self._server.stub.Complete(_request(model, provider))
        return await call, dict(await call.trailing_metadata())

    async def whole(self, model: str) -> str:
        """Asks for a whole answer; returns its text, or nothing when it fails."""
        try:
            response, _ = await self.complete(model)
        except grpc.aio.AioRpcError:
            return ""
        return response.message.content

    async def begin(self, model: str, *, stream: bool) -> Callable[[], object]:
        """Begins a call, a stream up to its first event, and returns how to cancel it."""
        if not stream:
            return self._server.stub.Complete(_request(model, "openai")).cancel
        call = self._server.stub.Stream(_request(model, "openai"))
        await anext(aiter(call))
        return call.cancel


class ProxyCaller:
    """Calls over HTTP with Loom's server-sent events; the extended ones tell reasons and restarts."""

    def __init__(self, server: Shim, *, extended: bool = True) -> None:
        self._server = server
        self._headers = {"Loom_Events": "extended"} if extended else {}

    async def stream(self, model: str, *, provider: str = "openai") -> Outcome:
        """Reads a stream to its end; a failure before its first event has a body of its own."""
        outcome, began = Outcome(kinds=[]), time.perf_counter()
        answer = await self._server.post(f"/proxy/{provider}/stream", _body(model), **self._headers)
        outcome.lasted_s = time.perf_counter() - began
        if answer.status != 200:
            outcome.kind("error")
            outcome.error = answer.json.get("reason") or answer.json["error"]
        for event in answer.events:
            _note_json(outcome, event, answer.headers.get("loom-model", ""))
        return outcome

    async def last_event(self, model: str) -> Any:
        """Reads a stream to its end; returns the last event."""
        answer = await self._server.post("/proxy/openai/stream", _body(model), **self._headers)
        return answer.events[-1]

    async def whole(self, model: str) -> str:
        """Asks for a whole answer; returns its text, or nothing when it fails."""
        answer = await self._server.post("/proxy/openai/complete", _body(model), **self._headers)
        return str(answer.json["message"]["content"]) if answer.status == 200 else ""

    async def begin(self, model: str, *, stream: bool) -> Callable[[], object]:
        """Begins a call, a stream up to its first event, and returns how to hang up."""
        path = "/proxy/openai/stream" if stream else "/proxy/openai/complete"
        reader, writer = await self._server.connect(request(path, _body(model)))
        if stream:
            await reader.readuntil(b"text_delta")
        return writer.close


class OpenAICaller:
    """Calls over HTTP as clients of Chat Completions do."""

    def __init__(self, server: Shim) -> None:
        self._server = server

    async def stream(self, model: str, *, provider: str = "openai") -> Outcome:
        """Reads a stream to its end; only `[DONE]` after a finish reason makes an answer whole."""
        outcome, began = Outcome(kinds=[]), time.perf_counter()
        options = {"stream": True, "stream_options": {"include_usage": True}}
        answer = await self._server.post("/v1/chat/completions", _body(_named(provider, model)) | options)
        outcome.lasted_s = time.perf_counter() - began
        if answer.status != 200:
            outcome.kind("error")
            outcome.error = answer.json["error"]["code"].upper()
            return outcome
        _note_chunks(outcome, [line[6:] for line in answer.body.splitlines() if line.startswith(b"data: ")])
        return outcome

    async def whole(self, model: str) -> str:
        """Asks for a whole answer; returns its text, or nothing when it fails."""
        answer = await self._server.post("/v1/chat/completions", _body(_named("openai", model)))
        return str(answer.json["choices"][0]["message"]["content"]) if answer.status == 200 else ""

    async def begin(self, model: str, *, stream: bool) -> Callable[[], object]:
        """Begins a call, a stream up to its first text, and returns how to hang up."""
        body = _body(_named("openai", model)) | {"stream": stream}
        reader, writer = await self._server.connect(request("/v1/chat/completions", body))
        if stream:
            await reader.readuntil(b'"content"')
        return writer.close


Edge = Callable[[Config], AbstractAsyncContextManager[Caller]]
"""Runs a server and a caller of it."""


def configuration(url: str, **openai: Any) -> Config:
    """Makes a configuration with OpenAI at the given address, retrying almost at once."""
    provider = {"api_key": "sk-test", "base_url": url, "retry": {"base_delay_s": 0.01}} | openai
    return Config.model_validate(LOCAL | {"providers": {"openai": provider}})


LOCAL: Final[dict[str, Any]] = {
    "grpc": {"address": "127.0.0.1:0"},
    "http": {"address": "127.0.0.1:0"},
    "log": {"level": "error"},
}
"""What every server here is told, with whatever else it is told."""


@asynccontextmanager
async def over_grpc(config: Config) -> AsyncIterator[GrpcCaller]:
    """Runs a server and calls it over gRPC."""
    async with serving(config) as server:
        yield GrpcCaller(server)


@asynccontextmanager
async def over_grpc_with_restarts(config: Config) -> AsyncIterator[GrpcCaller]:
    """Runs a server and calls it over gRPC, for answers that may begin anew."""
    async with serving(config) as server:
        yield GrpcCaller(server, restarts=True)


@asynccontextmanager
async def over_proxy(config: Config) -> AsyncIterator[ProxyCaller]:
    """Runs a server and calls it over HTTP as Loom's own callers do, who know but four types of events."""
    async with shim(config) as server:
        yield ProxyCaller(server, extended=False)


@asynccontextmanager
async def over_extended_proxy(config: Config) -> AsyncIterator[ProxyCaller]:
    """Runs a server and calls it over HTTP for all events that there are."""
    async with shim(config) as server:
        yield ProxyCaller(server)


@asynccontextmanager
async def over_openai(config: Config) -> AsyncIterator[OpenAICaller]:
    """Runs a server and calls it as clients of Chat Completions do."""
    async with shim(config) as server:
        yield OpenAICaller(server)


def _named(provider: str, model: str) -> str:
    """Names a model where there is no other place for the provider; a route goes by its own name."""
    return provider if model == "default" else f"{provider}/{model}"


def _request(model: str, provider: str) -> LlmRequest:
    return LlmRequest(provider=provider, model=model, messages=[Message(role=ROLE_USER, content=PROMPT)])


def _body(model: str) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES}


def _note(outcome: Outcome, event: LlmEvent) -> tuple[int, str]:
    """Notes an event, and returns the status that has to follow when it is the last."""
    kind = event.WhichOneof("event")
    outcome.kind(kind or "")
    match kind:
        case "text_delta":
            outcome.text(event.text_delta.content)
        case "restarted":
            said = event.restarted
            outcome.restart(Restart(said.attempt, said.model, reason_name(said.reason)))
        case "completed":
            response = event.completed.response
            outcome.completed.append(Told(response.model, response.message.content, response.usage.output_tokens))
        case "error":
            outcome.error = reason_name(event.error.reason)
            return TABLE[event.error.reason].grpc, event.error.message
    return 0, ""


def _note_json(outcome: Outcome, event: dict[str, Any], model: str) -> None:
    """Notes an event; `model` is what the head says, since Loom's own events name none."""
    outcome.kind(event["type"])
    match event["type"]:
        case "text_delta":
            outcome.text(event["content"])
        case "restarted":
            outcome.restart(Restart(event["attempt"], event["model"], event["reason"]))
        case "completed":
            response = event["response"]
            tokens = response["usage"]["output_tokens"]
            told = Told(response.get("model", model), response["message"]["content"], tokens)
            outcome.completed.append(told)
        case "error":
            outcome.error = event.get("reason") or event["message"]


def _note_chunks(outcome: Outcome, frames: list[bytes]) -> None:
    """Notes the chunks of a stream of Chat Completions."""
    model, finish_reason, tokens = "", None, 0
    for frame in frames:
        if frame == b"[DONE]":
            if finish_reason:
                outcome.kind("completed")
                outcome.completed.append(Told(model, outcome.texts[-1], tokens))
            return
        chunk = orjson.loads(frame)
        if "error" in chunk:
            outcome.kind("error")
            outcome.error = chunk["error"]["code"].upper()
            return
        model, tokens = chunk["model"], (chunk.get("usage") or {}).get("completion_tokens", tokens)
        for choice in chunk["choices"]:
            finish_reason = choice.get("finish_reason") or finish_reason
            if content := choice["delta"].get("content"):
                outcome.kind("text_delta")
                outcome.text(content)
