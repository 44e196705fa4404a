"""The odd servers of clients/conformance, and the Python client with what only they do."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from clients.conformance.case import Case
from clients.conformance.odd import CALL, cutting, html_over_http2, listening, odd_server
from loom_grpc.client import LlmError, LlmEvent, LlmRequest, LlmResponse, LoomClient, Stream, assistant

ANSWER = {"message": {"role": "ROLE_ASSISTANT", "content": "hi"}}


def odd(name: str, *steps: dict[str, Any], method: str = "complete") -> Case:
    return Case(name=name, row=name, server="odd", method=method, expect={}, odd=[*steps])


def call(name: str) -> dict[str, str]:
    return {CALL: f"python.{name}"}


async def to_the_end(stream: Stream) -> list[LlmEvent]:
    return [event async for event in stream]


async def test_an_answer_that_is_no_message_is_an_error() -> None:
    async with odd_server([odd("garbage", {"send_hex": "ffffffff"})]) as server:
        target = f"127.0.0.1:{server.port}"
        async with LoomClient(target) as client:
            with pytest.raises(LlmError, match=r"failed \(its answer cannot be read\)\.$") as unary:
                await client.complete("hi", metadata=call("garbage"))
            with pytest.raises(LlmError, match=r"failed \(its answer cannot be read\)\.$") as streamed:
                await to_the_end(client.stream("hi", metadata=call("garbage")))

    for caught in (unary, streamed):
        assert caught.value.name == "INTERNAL"
        assert caught.value.metadata == {"target": target, "grpc_code": "INTERNAL"}


async def test_what_comes_after_the_whole_answer_is_not_told() -> None:
    late = {"text_delta": {"content": "and"}}
    steps = [{"completed": {"response": ANSWER}}, late, late]
    case = odd("more", *({"send": step} for step in steps), {"end": {"code": "ABORTED"}}, method="stream")
    async with (
        odd_server([case]) as server,
        LoomClient(f"127.0.0.1:{server.port}") as client,
    ):
        stream = client.stream("hi", metadata=call("more"))

        assert [event.WhichOneof("event") for event in await to_the_end(stream)] == ["completed"]
        assert stream.response == LlmResponse(message=assistant("hi"))


async def test_the_odd_server_remembers_each_call_by_its_name() -> None:
    cases = [odd("one", {"send": ANSWER}, {"end": {"trailers": {"x": "y"}}}), odd("two", {"end": {"code": "ABORTED"}})]
    request = LlmRequest(model="m")
    async with odd_server(cases) as server, LoomClient(f"127.0.0.1:{server.port}") as client:
        answer = await client.complete(request, metadata={**call("one"), "a": "b"})
        with pytest.raises(LlmError):
            await client.complete(request, metadata=call("two"), timeout_s=5)

    one, two = server.seen["python.one"], server.seen["python.two"]
    assert answer == LlmResponse(message=assistant("hi"))
    assert (one.requests, one.metadata["a"], one.deadline_ms) == ([request.SerializeToString()], "b", None)
    assert two.deadline_ms is not None
    assert 0 < two.deadline_ms <= 5010


@pytest.mark.parametrize("mark", ["<<cut>>", "<<reset>>"])
async def test_a_connection_is_cut_where_the_mark_is(mark: str) -> None:
    events = [{"started": {"attempt": 1}}, {"text_delta": {"content": mark}}]
    case = odd("cut", *({"send": event} for event in events), {"wait": None}, method="stream")
    async with (
        odd_server([case]) as server,
        listening(cutting(server.port)) as target,
        LoomClient(target) as client,
    ):
        stream = client.stream("hi", metadata=call("cut"))
        with pytest.raises(LlmError) as caught:
            await to_the_end(stream)

    assert caught.value.name == "PROVIDER_UNAVAILABLE"


async def test_a_page_of_html_is_an_error_with_the_status_of_the_proxy() -> None:
    async with listening(html_over_http2(502)) as target, LoomClient(target) as client:
        with pytest.raises(LlmError, match="502") as caught:
            await client.complete("hi")

    assert caught.value.metadata == {"target": target, "grpc_code": "UNAVAILABLE"}


async def test_a_message_of_megabytes_keeps_no_other_call_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(what: Any, message: Any) -> Any:
        made.append(str(what))
        return ParseDict(what, message)

    monkeypatch.setattr("clients.conformance.odd.ParseDict", make)
    async with odd_server([odd("large", {"send": ANSWER})]) as server:
        before = [*made]
        async with LoomClient(f"127.0.0.1:{server.port}") as client:
            await client.complete("hi", metadata=call("large"))

    assert made == before == [str(ANSWER)]
