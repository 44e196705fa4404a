"""Records in a real RabbitMQ: durable when they are sent, and no way of its failing is silent, endless or tells the password."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pydantic import SecretStr

from loom_grpc.bus.rabbitmq import CONTENT_TYPE, TYPE, RabbitSink, check_url, intake
from loom_grpc.config.audit import BusConfig
from loom_grpc.core.account import StoreError
from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.v1.audit_pb2 import CallRecord
from tests.cut import Cut
from tests.rabbitmq_server import PASSWORD, RabbitServer, given_url

WAIT_S = 20


def config(prefetch: int = 500) -> BusConfig:
    """Names of a test's own."""
    name = f"test-{uuid.uuid4().hex}"
    return BusConfig(
        url=SecretStr("unused"),
        exchange=name,
        queue=f"{name}.queue",
        dead_letter_exchange=f"{name}.dead",
        dead_letter_queue=f"{name}.dead.queue",
        prefetch=prefetch,
    )


def record(number: int) -> bytes:
    return CallRecord(id=f"{number:06}", provider="mock").SerializeToString()


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a RabbitMQ, for tests that do nothing to the server itself."""
    given = given_url()
    if given:
        return given
    server: RabbitServer = request.getfixturevalue("rabbitmq")
    return server.url


@asynccontextmanager
async def sink(url: str | Callable[[], str], to: BusConfig) -> AsyncIterator[RabbitSink]:
    sending = RabbitSink(url if callable(url) else lambda: url, to)
    try:
        yield sending
    finally:
        await sending.close()


@asynccontextmanager
async def beside(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel that is not the code's under test."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        yield channel


async def messages(channel: AbstractChannel, queue: str) -> list[AbstractIncomingMessage]:
    """Takes all that is in a queue."""
    found: list[AbstractIncomingMessage] = []
    source = await channel.get_queue(queue)
    while (message := await source.get(no_ack=True, fail=False)) is not None:
        found.append(message)
    return found


async def refusal(work: RabbitSink, records: Sequence[bytes] = (b"",)) -> str:
    with pytest.raises(StoreError) as caught:
        await work.send(records)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def place(rabbitmq: RabbitServer) -> str:
    return f"the RabbitMQ at 127.0.0.1:{rabbitmq.port}"


async def test_a_record_is_a_persistent_message_that_says_what_it_is(url: str) -> None:
    to = config()
    async with sink(url, to) as sending:
        await sending.send([record(1)])

    async with beside(url) as channel:
        [found] = await messages(channel, to.queue)
    assert found.body == record(1)
    assert (found.message_id, found.type, found.content_type) == ("000001", TYPE, CONTENT_TYPE)
    assert (found.exchange, found.routing_key) == (to.exchange, to.queue)
    assert found.delivery_mode == aio_pika.DeliveryMode.PERSISTENT


async def test_a_batch_keeps_its_order(url: str) -> None:
    to = config()
    batch = [record(number) for number in range(1000)]
    async with sink(url, to) as sending:
        await sending.send(batch)

    async with beside(url) as channel:
        assert [message.body for message in await messages(channel, to.queue)] == batch


async def test_what_is_no_record_is_handed_over_too_for_the_auditor_to_sort_out(url: str) -> None:
    to = config()
    async with sink(url, to) as sending:
        await sending.send([b"\xff", b""])

    async with beside(url) as channel:
        assert [message.body for message in await messages(channel, to.queue)] == [b"\xff", b""]


async def test_what_was_sent_outlives_the_broker(rabbitmq: RabbitServer) -> None:
    to = config()
    batch = [record(number) for number in range(300)]
    async with sink(rabbitmq.url, to) as sending:
        await sending.send(batch)
        rabbitmq.kill()
        rabbitmq.start()

        async with beside(rabbitmq.url) as channel:
            assert [message.body for message in await messages(channel, to.queue)] == batch


async def test_a_batch_is_refused_while_the_broker_is_down_and_sent_when_it_is_back(rabbitmq: RabbitServer) -> None:
    to = config()
    async with sink(rabbitmq.url, to) as sending:
        await sending.send([record(1)])
        rabbitmq.kill()
        try:
            assert await refusal(sending, [record(2)]) == (
                f"{place(rabbitmq)} cannot be reached; see that it runs and that audit.bus.url is right"
            )
        finally:
            rabbitmq.start()
        await sending.send([record(2)])

    async with beside(rabbitmq.url) as channel:
        assert [message.body for message in await messages(channel, to.queue)] == [record(1), record(2)]


async def test_a_queue_that_refuses_records_is_an_error(url: str) -> None:
    to = config()
    async with sink(url, to) as sending, beside(url) as channel:
        await sending.send([])
        await channel.queue_delete(to.queue)
        limits = {"x-dead-letter-exchange": to.dead_letter_exchange, "x-max-length": 1, "x-overflow": "reject-publish"}
        full = await channel.declare_queue(to.queue, durable=True, arguments=limits)  # type: ignore[arg-type]
        await full.bind(to.exchange, to.queue)

        words = await refusal(sending, [record(1), record(2)])

        assert words.endswith("refuses records; see its log, and whether its queue is full")


async def test_a_queue_that_is_gone_is_an_error_and_made_again(url: str) -> None:
    to = config()
    async with sink(url, to) as sending, beside(url) as channel:
        await sending.send([record(1)])
        await channel.queue_delete(to.queue)

        words = await refusal(sending, [record(2)])
        await sending.send([record(2)])

        assert words.endswith("has no queue for the records any more; it is made again")
        assert [message.body for message in await messages(channel, to.queue)] == [record(2)]


async def test_an_exchange_that_is_gone_is_an_error_and_made_again(url: str) -> None:
    to = config()
    async with sink(url, to) as sending, beside(url) as channel:
        await sending.send([record(1)])
        await channel.exchange_delete(to.exchange)

        await refusal(sending, [record(2)])
        await sending.send([record(2)])

        assert [message.body for message in await messages(channel, to.queue)] == [record(1), record(2)]


async def test_a_queue_with_other_settings_is_left_as_it_is(url: str) -> None:
    to = config()
    async with sink(url, to) as sending, beside(url) as channel:
        await channel.declare_queue(to.queue, durable=True)

        words = await refusal(sending, [record(1)])

        assert words.endswith(
            "has an exchange or a queue of that name with other settings; remove it, or name others in audit.bus"
        )


async def test_a_wrong_password_is_told_without_it(rabbitmq: RabbitServer) -> None:
    async with sink(rabbitmq.url.replace(":pass", ":wrong-pass"), config()) as sending:
        assert await refusal(sending) == (
            f"{place(rabbitmq)} does not take the user name and password of audit.bus.url"
        )


async def test_a_virtual_host_that_is_not_there_is_told(rabbitmq: RabbitServer) -> None:
    async with sink(rabbitmq.url + "nowhere", config()) as sending:
        words = "has no such virtual host, or does not let this user in; see the path of audit.bus.url"
        assert await refusal(sending) == f"{place(rabbitmq)} {words}"


async def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loom_grpc.bus.rabbitmq._CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with sink(f"amqp://loom:{PASSWORD}@127.0.0.1:{port}/", config()) as sending:
            assert (await refusal(sending)).startswith(
                f"the RabbitMQ at 127.0.0.1:{port} does not answer in time; see that it runs"
            )


@pytest.mark.parametrize(
    "url",
    [
        "",
        f"{PASSWORD}@host",
        f"redis://user:{PASSWORD}@host/",
        f"amqp://user:{PASSWORD}/",
        f"amqp://user:{PASSWORD}@host:{PASSWORD}/",
        f"amqp://user:{PASSWORD}@/",
        f"amqp://user:{PASSWORD}@[host/",
    ],
)
async def test_a_wrong_url_is_refused_in_words_without_it(url: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as amqp://user:password@host:5672/") as caught:
        check_url(url)

    assert PASSWORD not in str(caught.value)
    async with sink(url, config()) as sending:
        assert (await refusal(sending)).startswith("audit.bus.url must be an address such as amqp://")


async def test_a_url_that_cannot_be_had_is_a_broker_that_cannot_be_had() -> None:
    def url() -> str:
        raise LlmError(PROVIDER_UNAVAILABLE, "The secret audit.bus.url cannot be fetched at present.")

    async with sink(url, config()) as sending:
        assert await refusal(sending) == "The secret audit.bus.url cannot be fetched at present."


async def test_a_batch_goes_to_where_the_url_points_now(url: str) -> None:
    to, now = config(), "amqp://127.0.0.1:1/"
    async with sink(lambda: now, to) as sending:
        await refusal(sending)
        now = url

        await sending.send([record(1)])

    async with beside(url) as channel:
        assert [message.body for message in await messages(channel, to.queue)] == [record(1)]


async def test_cancelling_a_batch_leaves_a_sink_that_sends(url: str) -> None:
    to = config()
    async with sink(url, to) as sending:
        await sending.send([])
        batch = asyncio.create_task(sending.send([record(number) for number in range(500)]))
        await asyncio.sleep(0)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch

        await sending.send([record(1000)])

    async with beside(url) as channel:
        assert record(1000) in [message.body for message in await messages(channel, to.queue)]


async def test_who_is_cancelled_when_something_has_just_come_about_leaves_no_connection(url: str) -> None:
    to = config()

    async def deliver() -> None:
        async with sink(url, to) as sending:
            await sending.send([record(1)])

    for at in count(1):
        cut = Cut(deliver(), at, late=True)
        with suppress(asyncio.CancelledError):
            await cut
        others = asyncio.all_tasks() - {asyncio.current_task()}  # of which a connection has some
        if others:
            _, left = await asyncio.wait(others, timeout=WAIT_S)
            assert (at, left) == (at, set())
        if cut.waits < at:
            break


async def test_what_is_not_accepted_comes_again(url: str) -> None:
    to = config()
    async with sink(url, to) as sending:
        await sending.send([record(1), record(2), record(3)])
    async with asyncio.timeout(WAIT_S), intake(lambda: url, to) as records:
        first = await records.batch(0.2)
        await records.accept(first[1].tag)

    async with asyncio.timeout(WAIT_S), intake(lambda: url, to) as records:
        assert [delivery.body for delivery in first] == [record(1), record(2), record(3)]
        assert [delivery.body for delivery in await records.batch(0.2)] == [record(3)]


async def test_no_more_comes_than_was_asked_for(url: str) -> None:
    to = config(prefetch=2)
    async with sink(url, to) as sending:
        await sending.send([record(1), record(2), record(3)])

    async with asyncio.timeout(WAIT_S), intake(lambda: url, to) as records:
        first = await records.batch(WAIT_S)
        await records.accept(first[-1].tag)
        second = await records.batch(0.1)

    assert [delivery.body for delivery in first] == [record(1), record(2)]
    assert [delivery.body for delivery in second] == [record(3)]


async def test_what_is_rejected_goes_to_the_dead_letters(url: str) -> None:
    to = config()
    async with sink(url, to) as sending:
        await sending.send([b"one", b"two", b"three"])
    async with asyncio.timeout(WAIT_S), intake(lambda: url, to) as records:
        one, two, three = await records.batch(0.2)
        await records.reject(two.tag)
        await records.accept(three.tag)
        assert one.tag < two.tag < three.tag

    async with beside(url) as channel:
        assert [message.body for message in await messages(channel, to.dead_letter_queue)] == [b"two"]
        assert await messages(channel, to.queue) == []


async def test_whoever_waits_for_records_is_told_when_the_queue_is_deleted(url: str) -> None:
    to = config()
    async with asyncio.timeout(WAIT_S), intake(lambda: url, to) as records, beside(url) as channel:
        waiting = asyncio.create_task(records.batch(0.2))
        await channel.queue_delete(to.queue)

        with pytest.raises(StoreError, match="was lost"):
            await waiting
        with pytest.raises(StoreError, match="was lost"):
            await records.accept(1)
