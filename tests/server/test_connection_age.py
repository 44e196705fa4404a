"""Connections of a limited age: a new one for new calls, the old one for as long as its calls need."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.server.serving import HI, Serving, configuration, hello, serving
from tests.stand_in import Connection, stand_in

ECHO = LlmRequest(provider="mock", model="mock-echo", messages=[Message(role=ROLE_USER, content="hi")])


async def grown_old(server: Serving) -> None:
    """Waits until the server wants no more calls on the channel's connection."""
    async with asyncio.timeout(10):
        await server.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)


async def test_a_long_stream_outlives_the_age_of_its_connection_and_new_calls_take_another() -> None:
    go_on = asyncio.Event()
    age = {"max_connection_age_s": 0.3}
    async with stand_in(hello(go_on)) as upstream, serving(configuration(upstream.url, grpc=age)) as server:
        stream = aiter(call := server.stub.Stream(HI))
        events = [await anext(stream)]
        await grown_old(server)

        answer = await server.stub.Complete(ECHO)
        went_on = not call.done()
        go_on.set()
        events += [event async for event in stream]

    assert (answer.message.content, went_on) == ("hi", True)
    assert events[-1].completed.response.message.content == "Hello."


async def test_a_stream_is_cut_when_the_grace_of_its_old_connection_is_over() -> None:
    async def silent(connection: Connection) -> None:
        await connection.closed.wait()

    limits = {"max_connection_age_s": 0.2, "max_connection_age_grace_s": 0.2}
    async with stand_in(silent) as upstream, serving(configuration(upstream.url, grpc=limits)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(HI, timeout=10)
        await asyncio.wait_for(upstream.connections[0].closed.wait(), 10)

    assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
