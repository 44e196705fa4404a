"""Records of calls on their way through RabbitMQ (docs/decisions/0019-audit-bus.md)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, NamedTuple, TypeVar

from aio_pika import Connection, DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelPreconditionFailed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from aiormq.abc import FieldTable
from aiormq.exceptions import ChannelAccessRefused
from google.protobuf.message import DecodeError
from yarl import URL

from loom_grpc.config.audit import BusConfig
from loom_grpc.core.account import StoreError
from loom_grpc.core.errors import LlmError
from loom_grpc.v1.audit_pb2 import CallRecord

CONTENT_TYPE: Final = "application/x-protobuf"
TYPE: Final = "loom_grpc.v1.CallRecord"

_CONNECT_S: Final = 10.0
"""How long it may take to connect and to declare what is needed."""
_CONFIRM_S: Final = 30.0
"""How long the broker may take to confirm a batch, or to take an acknowledgement."""
_CLOSE_S: Final = 3.0
_HEARTBEAT_S: Final = "10"
"""A broker that is silent for three of these is gone; the URL may say otherwise."""
_WRONG_URL: Final = (
    "must be an address such as amqp://user:password@host:5672/, or one that begins with amqps://; "
    "write @, / and : in the password as %40, %2F and %3A"
)
# `ValueError` is a URL that has become wrong, and `LlmError` one that cannot be had.
_TROUBLES: Final = (*CONNECTION_EXCEPTIONS, TimeoutError, ValueError, LlmError)
_REFUSALS: Final[dict[type[Exception], str]] = {
    ProbableAuthenticationError: "does not take the user name and password of audit.bus.url",
    # The library expects nothing but consent when it asks for the virtual host.
    InvalidFrameError: "has no such virtual host, or does not let this user in; see the path of audit.bus.url",
    ChannelAccessRefused: "does not let this user configure, write to and read the exchanges and queues of audit.bus",
    ChannelPreconditionFailed: "has an exchange or a queue of that name with other settings; remove it, or name others in audit.bus",
    PublishError: "has no queue for the records any more; it is made again",
    DeliveryError: "refuses records; see its log, and whether its queue is full",
}

T = TypeVar("T")

# What goes wrong is told by us, once and in words for the operator; the libraries would tell of every attempt.
for _library in ("aio_pika", "aiormq"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)


class RabbitSink:
    """Publishes records to the RabbitMQ that `url` names at the time; a batch is sent when the broker has confirmed every record of it.

    A connection that was lost is made again by the next batch.
    """

    def __init__(self, url: Callable[[], str], config: BusConfig) -> None:
        self._url = url
        self._config = config
        self._line: _Line | None = None
        self._sending = asyncio.Lock()

    async def send(self, records: Sequence[bytes]) -> None:
        """Hands records over; raises `StoreError`, and then any of them may or may not have been taken."""
        messages = [_message(record) for record in records]
        async with self._sending:
            try:
                line = self._line = await self._connected()
                with _explained(line.url):
                    await _aside(self._publish(line.exchange, messages), _CONFIRM_S)
            except BaseException:
                # Which of the confirmations that are still to come belongs to what is not known any more.
                await self._hang_up()
                raise

    async def close(self) -> None:
        """Closes the connection."""
        async with self._sending:
            await self._hang_up()

    async def _connected(self) -> _Line:
        line = self._line
        with _explained(""):
            url = self._url()
        if line is not None and line.url == url and not line.channel.is_closed:
            return line
        await self._hang_up()
        return await _open(url, self._config)

    async def _publish(self, exchange: AbstractExchange, messages: Sequence[Message]) -> None:
        publish = (exchange.publish(message, self._config.queue, mandatory=True) for message in messages)
        for outcome in await asyncio.gather(*publish, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await _close(line.connection)


class Delivery(NamedTuple):
    """What came out of the queue and stays there until it is accepted or rejected."""

    body: bytes
    tag: int


class Intake:
    """Takes records out of the queue, at most `audit.bus.prefetch` at once."""

    def __init__(self, line: _Line, prefetch: int) -> None:
        self._line = line
        self._prefetch = prefetch
        self._arrived: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self._lost = asyncio.Event()

    async def start(self) -> None:
        """Lets records come."""
        channel = self._line.channel
        channel.close_callbacks.add(self._on_lost)
        (await channel.get_underlay_channel()).on_consumer_cancel_callbacks.add(self._on_lost)
        await channel.set_qos(prefetch_count=self._prefetch)
        await self._line.queue.consume(self._on_message)

    async def batch(self, longest_s: float) -> list[Delivery]:
        """Waits for a record, and then for more of them no longer than this; raises `StoreError` when the connection is lost."""
        await self._more()
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                while len(self._arrived) < self._prefetch:
                    self._news.clear()
                    await self._more()
        batch = list(self._arrived)
        self._arrived.clear()
        self._news.clear()
        return batch

    async def accept(self, tag: int) -> None:
        """Takes a delivery and all that came before it, and were not rejected, out of the queue for good; raises `StoreError`."""
        await self._settle("basic_ack", tag, multiple=True)

    async def reject(self, tag: int) -> None:
        """Has the broker put a delivery into the queue of dead letters; raises `StoreError`."""
        await self._settle("basic_reject", tag, requeue=False)

    async def rest(self, seconds: float) -> None:
        """Waits; raises `StoreError` when the connection is lost meanwhile, for then everything comes again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._lost.wait()
        self._check()

    async def _settle(self, method: str, tag: int, **how: bool) -> None:
        self._check()
        channel = await self._line.channel.get_underlay_channel()
        with _explained(self._line.url):
            await _aside(getattr(channel, method)(tag, wait=True, **how), _CONFIRM_S)

    async def _more(self) -> None:
        await self._news.wait()
        self._check()

    def _check(self) -> None:
        if self._lost.is_set():
            raise StoreError(f"the connection to {_place(self._line.url)} was lost")

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        self._arrived.append(Delivery(message.body, message.delivery_tag or 0))
        self._news.set()

    def _on_lost(self, *_: object) -> None:
        self._lost.set()
        self._news.set()


@asynccontextmanager
async def intake(url: Callable[[], str], config: BusConfig) -> AsyncIterator[Intake]:
    """Connects and lets records come; raises `StoreError`. What was neither accepted nor rejected at the end comes again."""
    with _explained(""):
        text = url()
    line = await _open(text, config)
    try:
        taking = Intake(line, config.prefetch)
        with _explained(text):
            await _aside(taking.start(), _CONNECT_S)
        yield taking
    finally:
        await _close(line.connection)


def check_url(url: str) -> None:
    """Raises ValueError, in words without the URL's secrets, when the URL is none of RabbitMQ."""
    try:
        parsed = URL(url)
        is_right = parsed.scheme in {"amqp", "amqps"} and bool(parsed.host)
    except ValueError:  # whose words may hold the password
        is_right = False
    if not is_right:
        raise ValueError(_WRONG_URL)


class _Line(NamedTuple):
    """A connection, and what it is for."""

    url: str
    connection: AbstractConnection
    channel: AbstractChannel
    exchange: AbstractExchange
    queue: AbstractQueue


async def _open(url: str, config: BusConfig) -> _Line:
    """Connects and makes what is not there yet; raises `StoreError`."""
    with _explained(url):
        check_url(url)
        connection = _connection(url)
        try:
            await _aside(connection.connect(), _CONNECT_S)  # the library knows no time limit for the greeting
            return await _aside(_declare(url, connection, config), _CONNECT_S)
        except BaseException:
            await _close(connection)
            raise


def _connection(url: str) -> AbstractConnection:
    """Returns what is still to connect, so that who is cancelled at that can close it whatever came of it."""
    parsed = URL(url)
    usual: Mapping[str, str] = {"heartbeat": _HEARTBEAT_S, "name": "loom-grpc"}
    return Connection(parsed.with_query({**usual, **parsed.query}))


async def _declare(url: str, connection: AbstractConnection, config: BusConfig) -> _Line:
    """Makes the exchanges and queues, on both sides alike: whichever comes first, nothing is lost."""
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    dead_exchange = await channel.declare_exchange(config.dead_letter_exchange, durable=True)
    dead_queue = await channel.declare_queue(config.dead_letter_queue, durable=True)
    await dead_queue.bind(dead_exchange, config.queue)  # dead letters keep the key that they came with
    exchange = await channel.declare_exchange(config.exchange, durable=True)
    arguments: FieldTable = {"x-dead-letter-exchange": config.dead_letter_exchange}
    queue = await channel.declare_queue(config.queue, durable=True, arguments=arguments)
    await queue.bind(exchange, config.queue)
    return _Line(url, connection, channel, exchange, queue)


async def _close(connection: AbstractConnection) -> None:
    with suppress(*_TROUBLES):  # what is wrong with it has been said, and it is not needed any more
        await _aside(connection.close(), _CLOSE_S)


async def _aside(work: Coroutine[Any, Any, T], longest_s: float) -> T:
    """Does the work in a task of its own, no longer than this.

    When a connection ends, the library cancels whoever waits for something on it, which is not to look as if we had been cancelled.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=longest_s)
    finally:
        if not task.done():
            task.add_done_callback(_look_at_outcome)
            task.cancel()
    if not task.done():
        raise TimeoutError
    if task.cancelled():
        raise ConnectionError
    return task.result()


def _look_at_outcome(task: asyncio.Task[Any]) -> None:
    """Keeps asyncio from telling of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def _message(record: bytes) -> Message:
    return Message(
        record,
        message_id=_id(record),
        content_type=CONTENT_TYPE,
        type=TYPE,
        delivery_mode=DeliveryMode.PERSISTENT,
    )


def _id(record: bytes) -> str | None:
    """Returns a record's id; a damaged record has none, and is for the auditor to sort out."""
    try:
        return CallRecord.FromString(record).id or None
    except DecodeError:
        return None


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except _TROUBLES as error:
        # The cause may hold the URL, or the record.
        raise StoreError(_explain(url, error)) from None


def _place(url: str) -> str:
    """Says where RabbitMQ is, and nothing else that the URL says."""
    try:
        parsed = URL(url)
        return f"the RabbitMQ at {parsed.host}:{parsed.port or 5672}" if parsed.host else "RabbitMQ"
    except ValueError:
        return "RabbitMQ"


def _explain(url: str, error: BaseException) -> str:
    if isinstance(error, LlmError):
        return error.message
    if isinstance(error, ValueError):
        return f"audit.bus.url {error if str(error) == _WRONG_URL else _WRONG_URL}"
    place = _place(url)
    for kind, words in _REFUSALS.items():
        if isinstance(error, kind):
            return f"{place} {words}"
    if isinstance(error, TimeoutError):
        return f"{place} does not answer in time; see that it runs, and that it has memory and disk space left"
    return f"{place} cannot be reached; see that it runs and that audit.bus.url is right"
