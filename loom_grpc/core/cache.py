"""The response cache: a request that was answered before gets the same answer, and equal ones that are under way share one."""

from __future__ import annotations

from typing import Final, Protocol

from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.fingerprint import fingerprint, tenant_of
from loom_grpc.core.flight import Flight
from loom_grpc.core.principal import EVERYTHING
from loom_grpc.core.replay import Kept, again, pack, unpack
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_LENGTH,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    LlmEvent,
)

HEADER: Final = "loom-cache"
"""The metadata of a call that says what the cache may do, and of an answer that says what it did."""
_NO: Final = "no"
_REFRESH: Final = "refresh"
_WISHES: Final = ("yes", _NO, _REFRESH)
_WHOLE: Final = frozenset({STOP_REASON_STOP, STOP_REASON_TOOL_CALLS, STOP_REASON_LENGTH})
"""How an answer ends that is worth keeping; a filter or a refusal may decide otherwise the next time."""
_MOST_FOLLOWED: Final = 2
"""After so many shared calls that failed a caller asks for itself: else the last of many would wait for all the others' failures."""
_ROOM: Final = 4
"""A shared call's events are kept up to so many times the largest entry."""

_FlightName = tuple[bytes, bool, bool]
"""The fingerprint, and what changes the events of an answer: whether it is a stream, and whether it may begin anew."""


class Store(Protocol):
    """Where answers are kept. Neither method raises: a store in trouble has nothing, and keeps nothing."""

    async def get(self, key: bytes) -> bytes | None:
        """Returns what was put under a key and is not out of date."""

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keeps a value for so many seconds, or shorter where there is no room."""

    async def close(self) -> None:
        """Lets go of what the store holds on to."""


class Cache:
    """A handler that answers from a store what the handler behind it has answered before.

    It has a part in calls of temperature 0 and those with the metadata `loom-cache: yes`; never in those with `no`; and for `refresh` the
    provider is asked and its answer replaces what is kept. Answers last `ttl_s` seconds and have `max_entry_bytes` at most. `share` lets
    equal requests share one call. The answer to a request in the words of another API is kept with all of its events, since those may have
    the provider's own words. What is kept under one `space` and one tenant is never seen under another, nor by keys of the tenant that may
    ask less or more than the one for which it was kept.
    """

    def __init__(
        self, handler: Handler, store: Store, *, ttl_s: float, max_entry_bytes: int, share: bool, space: bytes
    ) -> None:
        self._handler = handler
        self._store = store
        self._ttl_s = ttl_s
        self._max_entry_bytes = max_entry_bytes
        self._share = share
        self._space = space
        self._flights: dict[_FlightName, Flight] = {}

    async def __call__(self, call: Call, send: Send) -> None:
        """Answers the call; raises `LlmError`, also INVALID_REQUEST when `loom-cache` has a word that means nothing."""
        wish = _wish(call)
        if wish == _NO:
            await self._handler(call, send)
            return
        key = fingerprint(self._space, _whose(call), call.request, call.native)
        if wish == _REFRESH:
            await self._ask(key, call, send)
        elif (kept := await self._find(key, call)) is not None:
            await _repeat(kept, call, send)
        elif self._share:
            await self._ask_together(key, call, send)
        else:
            await self._ask(key, call, send)

    async def _find(self, key: bytes, call: Call) -> Kept | None:
        if (key, call.stream, call.wants_restarts) in self._flights:
            return None  # it is not kept yet, and the store need not be asked
        data = await self._store.get(key)
        return unpack(key, data) if data is not None else None

    async def _ask(self, key: bytes, call: Call, send: Send) -> None:
        call.cache = "miss"
        await self._ask_and_keep(key, call, send)

    async def _ask_and_keep(self, key: bytes, call: Call, send: Send) -> None:
        log = _Log(self._max_entry_bytes if call.native is not None else 0)

        async def keeping(event: LlmEvent) -> None:
            log.add(event)
            # It is kept before the caller hears of the end, who may ask the same at once.
            if event.HasField("completed") and (events := log.events(event)):
                await self._keep(key, Kept(call.model, events))
            await send(event)

        await self._handler(call, keeping)

    async def _keep(self, key: bytes, kept: Kept) -> None:
        if kept.response.stop_reason not in _WHOLE or kept.response.ByteSize() > self._max_entry_bytes:
            return
        value = pack(key, kept)
        if len(value) <= self._max_entry_bytes:
            await self._store.put(key, value, self._ttl_s)

    async def _ask_together(self, key: bytes, call: Call, send: Send) -> None:
        """Follows an equal call that is under way, or begins one; who has seen nothing of one that failed tries again."""
        name = (key, call.stream, call.wants_restarts)
        for _ in range(_MOST_FOLLOWED):
            flight = self._flights.get(name)
            if flight is None:
                await self._lead(name, call, send)
                return
            call.cache = "shared"
            await flight.follow(call, send)
            if flight.failure is None:
                return
            if call.responded:
                raise flight.failure
        await self._ask(key, call, send)

    async def _lead(self, name: _FlightName, call: Call, send: Send) -> None:
        """Begins a call that others may follow. They go on without the one who began it."""
        call.cache = "miss"

        async def ask(made: Call, take: Send) -> None:
            await self._ask_and_keep(name[0], made, take)

        def forget(_flight: Flight) -> None:
            del self._flights[name]

        flight = Flight(call, ask, room=_ROOM * self._max_entry_bytes, on_close=forget)
        self._flights[name] = flight
        await flight.follow(call, send, leads=True)
        if flight.failure is not None:
            raise flight.failure


class _Log:
    """The events of an answer, as long as they have no more than `room` bytes; with no room at all only the last one counts."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._left = room
        self._events: list[LlmEvent] = []

    def add(self, event: LlmEvent) -> None:
        """Takes the next event."""
        if self._left > 0:
            self._left -= event.ByteSize()
            self._events.append(event)

    def events(self, last: LlmEvent) -> list[LlmEvent]:
        """Returns what is to be kept of a whole answer; nothing when it was too much."""
        if not self._room:
            return [last]
        return self._events if self._left > 0 else []


def _wish(call: Call) -> str:
    """Returns the word of the call's metadata; without one, temperature 0 means `yes`."""
    word = call.metadata.get(HEADER)
    if word is None:
        request = call.request
        return "yes" if request.HasField("temperature") and request.temperature == 0 else _NO
    wish = word.strip().lower()
    if wish not in _WISHES:
        raise LlmError(INVALID_REQUEST, f"{HEADER}: must be one of {', '.join(_WISHES)}.", field=HEADER)
    return wish


def _whose(call: Call) -> str:
    """Returns who may see an answer: a tenant, and of its keys those that may ask the same."""
    allowed = call.principal.allowed
    if allowed == EVERYTHING:
        return call.tenant
    rows = (("provider", allowed.providers), ("model", allowed.models), ("route", allowed.routes))
    return tenant_of([("tenant", call.tenant), *((kind, name) for kind, names in rows for name in names)])


async def _repeat(kept: Kept, call: Call, send: Send) -> None:
    """Answers with what is kept: a stream gets all of its events, and anyone else the end alone."""
    response = kept.response
    if call.native is not None and not any(event.native_json for event in kept.events):
        call.dropped = call.native.left_out(response.provider)  # the provider was asked in other words
    call.cache = "hit"
    call.provider, call.model, call.answer = response.provider, kept.model, response
    call.responded = True
    for event in again(kept):
        if call.stream or event.native_json or event.HasField("completed"):
            await send(event)
