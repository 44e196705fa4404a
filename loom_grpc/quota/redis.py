"""Counters that several hosts share in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from loom_grpc.core.quota import (
    SHARED_MOST,
    STREAM_RESET_S,
    WINDOW_S,
    Claim,
    Exceeded,
    Grant,
    Kind,
    MeterError,
    Spent,
    Standing,
)
from loom_grpc.quota.redis_scripts import ENROL, RAISE, SETTLE, SPENT, TAKE
from loom_grpc.redis_client import TROUBLES, RedisUse, place

MOST: Final = SHARED_MOST
"""The largest number that a script counts to without losing digits; a budget of more than these 9 million dollars ends there."""
_PREFIX: Final = "loom:quota:"
_OWNERS: Final = _PREFIX + "owners"
_BUCKETS: Final = 12
"""Into so many a window is divided; what happens within one is forgotten together."""
_PROMPT_S: Final = 0.1
"""How long a call that is over waits until it is settled; afterwards it is settled without it."""
_CONNECTIONS: Final = 8
"""A process is busy with so many, and a burst of calls need not wait until more are opened."""
_OWN_CONNECTIONS: Final = 4
"""More of them, so that what happens in the background waits for none."""
_PATIENCE_S: Final = 0.8
"""How long a call waits for Redis, a second try included."""
USE: Final = RedisUse(
    "limits.redis_url",
    connections=_CONNECTIONS + _OWN_CONNECTIONS,
    patience_s=_PATIENCE_S,
    # Nothing is sent twice unseen: a script that was carried out although its answer was lost would count twice.
    retries=0,
    refusals={
        NoPermissionError: "does not let this user run scripts and what they call on keys that begin with loom:quota:",
        OutOfMemoryError: "has no memory left for counters; give it more (maxmemory) and let it drop none (maxmemory-policy noeviction)",
        ResponseError: "refuses scripts; see its log",
    },
)
_LONGEST_USE_S: Final = 2 * _PATIENCE_S
"""For how long a connection is used for one purpose."""
_REST_S: Final = 1.0
"""How long Redis is left alone between two looks whether it is back."""
_BATCH: Final = 256
"""How many claims are settled by one script, so that none holds Redis up for long."""
_TRIES: Final = 3
_MOST_FORMERS: Final = 64
"""The leases of older names have ended: there is no more than one name in half a second."""
_DAY_MS: Final = 86_400_000
_STREAMS_MS: Final = 2 * _DAY_MS
_LATE_MS: Final = 2 * _DAY_MS
"""How long after its period a budget is kept, for calls that are settled late."""
_TOTAL_MS: Final = 400 * _DAY_MS
"""How long a budget without an end is kept after it was used the last time."""
T = TypeVar("T")


class _Held(NamedTuple):
    """A claim that is to be settled."""

    key: str
    kind: Kind
    taken: int
    amount: int
    bucket: int
    kept_ms: int


class RedisGrant:
    """Claims that were taken from a `RedisMeter`."""

    __slots__ = ("bucket", "is_settled", "kept_ms", "standings")

    def __init__(self, standings: list[Standing], bucket: int, kept_ms: list[int]) -> None:
        self.standings = standings
        self.bucket = bucket
        self.kept_ms = kept_ms
        self.is_settled = False

    def comes_to(self, amounts: Iterable[int]) -> list[_Held]:
        """Returns what is to be settled; requests stay counted."""
        return [
            _Held(_name(claim), claim.kind, _within(claim.amount), _within(amount), self.bucket, kept_ms)
            for (claim, _, _), amount, kept_ms in zip(self.standings, amounts, self.kept_ms, strict=True)
            if claim.kind is not Kind.REQUESTS
        ]


class RedisMeter:
    """Counts in the Redis that `url` names at the time, for all hosts that name the same.

    What a process holds that was killed is given back after `lease_s`, which a task in the background renews. Limits and budgets of more
    than `MOST` are counted as `MOST`. A Redis that cannot be reached is left alone until it answers a look in the background: `on_trouble`
    is told once, in words for the operator, when that begins, and `on_recovery` when it is over. After that Redis knows again what this
    process holds, even when it has lost everything. `clock` gives seconds since 1970; `window_s` is another window than 60 seconds.
    """

    def __init__(
        self,
        url: Callable[[], str],
        *,
        on_trouble: Callable[[str], object],
        on_recovery: Callable[[], object],
        clock: Callable[[], float],
        lease_s: float = 30.0,
        window_s: float = WINDOW_S,
    ) -> None:
        self._url = url
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._clock = clock
        self._lease_s = lease_s
        self._bucket_ms = round(window_s * 1000 / _BUCKETS)
        self._client: Redis | None = None
        self._scripts: dict[str, AsyncScript] = {}
        self._connected_to = ""
        self._trouble = ""
        self._me = secrets.token_hex(8)
        self._runs = 0
        self._formers: list[str] = []
        """The names under which Redis may still know this process."""
        self._is_enrolled = False
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        """Held by who uses a connection, one after the other: who waits for one does not wait for Redis, and must not give it up."""
        self._alone = asyncio.Lock()
        """Held to settle and to tell Redis what is held, so that neither happens in the midst of the other."""
        self._known_spent: list[Spent] = []
        """What was spent at least, as was told last."""
        self._held: Counter[str] = Counter()
        """What this process holds of each gauge."""
        self._late: deque[tuple[_Held, asyncio.Future[None] | None]] = deque()
        self._batch: list[_Held] = []
        """What is settled now, and again until Redis has confirmed it."""
        self._batches = 0
        self._takers: set[asyncio.Task[Grant]] = set()
        self._farewells: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._unused = asyncio.Event()
        """Nobody uses any connection any more."""
        self._beating: asyncio.Task[None] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"RedisMeter({place(self._connected_to)!r})"

    async def take(self, claims: Sequence[Claim], now: float) -> Grant:
        """Takes all claims or none; `now` is seconds since 1970, and only the ends of budgets are measured by it.

        Raises `Exceeded` for the claim that has to wait the longest, and `MeterError` within a second. Who is cancelled has taken nothing
        but the requests.
        """
        if self._is_closed:
            raise MeterError("the counters are closed")
        task = asyncio.create_task(self._take(claims, now))
        self._takers.add(task)
        task.add_done_callback(self._takers.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and caller is not None and not caller.cancelling():
                # By `close`, or by the client, whose connections hand on the cancellation of another one that waits for their end.
                raise MeterError("the connection to Redis was closed; call again") from None
            task.add_done_callback(self._give_back)
            raise

    async def settle(self, grant: Grant, amounts: Sequence[int], now: float) -> None:
        """Ends a grant, once: each claim comes to its amount, and what was taken beyond is given back.

        Never raises and waits a moment at most: what is not settled by then, or when the caller is cancelled, is settled in the background.
        """
        if not isinstance(grant, RedisGrant) or grant.is_settled or self._is_closed:
            return
        settled = self._put(grant, amounts)
        if settled is not None and not self._trouble:
            await asyncio.wait((settled,), timeout=_PROMPT_S)

    async def spent(self, slots: Sequence[bytes]) -> list[tuple[int, int]]:
        """Returns what was spent and what is reserved of budgets; raises `MeterError`."""
        keys = [_gauge(slot) for slot in slots]
        answer = await self._patiently(lambda: self._run(SPENT, keys, []))
        return [(spent, held) for spent, held in answer]

    async def raise_spent(self, spent: Sequence[Spent]) -> None:
        """Has no budget come to less than it is told; raises `MeterError`, but then Redis is told before anything else when it is back.

        So it is when it has lost its memory.
        """
        self._known_spent = list(spent)
        await self._patiently(self._raise_spent)

    async def close(self) -> None:
        """Settles what it can, gives back what this process holds and closes all connections; what is settled afterwards counts no more."""
        if self._is_closed:
            return
        self._is_closed = True
        tasks = [*self._takers, *([self._beating] if self._beating else [])]
        self._wake.set()  # a cancellation that the client swallows must not keep the background going
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_REST_S + _PATIENCE_S)
        if self._is_enrolled:
            await self._briefly(self._patiently(self._leave))  # else the lease ends by itself
        self._unused.set()
        self._part()
        await asyncio.gather(*self._farewells)

    async def _briefly(self, work: Coroutine[Any, Any, object]) -> None:
        """Does what nobody depends on: without errors, and not for long, even when the client swallows that it is cancelled."""
        task = asyncio.create_task(work)
        await asyncio.wait((task,), timeout=_REST_S)
        task.cancel()
        with contextlib.suppress(asyncio.InvalidStateError, asyncio.CancelledError):
            task.exception()

    async def _take(self, claims: Sequence[Claim], now: float) -> Grant:
        kept = [self._kept_ms(claim, now) for claim in claims]
        keys = [_name(claim) for claim in claims]
        arguments: list[Any] = [self._bucket_ms, _BUCKETS]
        for claim, kept_ms in zip(claims, kept, strict=True):
            is_window = int(claim.kind in (Kind.REQUESTS, Kind.TOKENS))
            arguments += is_window, _within(claim.amount), _within(claim.most), kept_ms
        answer = await self._patiently(lambda: self._as_owner(lambda: self._run_as_owner(TAKE, keys, arguments)))
        return self._grant(claims, answer, kept, now)

    def _grant(self, claims: Sequence[Claim], answer: list[int], kept: list[int], now: float) -> RedisGrant:
        _, bucket, *numbers = answer
        standings, refused = [], []
        for claim, left, reset in zip(claims, numbers[::2], numbers[1::2], strict=True):
            if reset < 0:
                refused.append(Standing(claim, max(0, left), _wait_s(claim, -1 - reset, now)))
            standings.append(Standing(claim, left, _reset_s(claim, reset, now)))
        if refused:
            raise Exceeded(max(refused, key=lambda standing: standing.reset_s))
        for claim in claims:
            if _is_gauge(claim.kind):
                self._held[_name(claim)] += _within(claim.amount)
        return RedisGrant(standings, bucket, kept)

    def _kept_ms(self, claim: Claim, now: float) -> int:
        if claim.kind is Kind.STREAMS:
            return _STREAMS_MS
        if claim.kind is Kind.MONEY:
            return _budget_ms(claim.ends_s, now)
        return (_BUCKETS + 2) * self._bucket_ms

    def _give_back(self, task: asyncio.Task[Grant]) -> None:
        """Settles what nobody waits for any more."""
        if task.cancelled() or task.exception() is not None:
            return
        grant = task.result()
        if isinstance(grant, RedisGrant):
            self._put(grant, [0] * len(grant.standings))

    def _put(self, grant: RedisGrant, amounts: Sequence[int]) -> asyncio.Future[None] | None:
        """Has the background settle a grant; returns what is done when that is."""
        grant.is_settled = True
        held = grant.comes_to(amounts)
        if not held:
            return None
        settled = asyncio.get_running_loop().create_future()
        self._late += [(one, None) for one in held[:-1]]
        self._late.append((held[-1], settled))
        self._wake.set()
        return settled

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does what a caller waits for; raises `MeterError` when Redis is in trouble."""
        self._refuse_in_trouble()
        if self._beating is None or self._beating.done():  # as after a cancellation that nobody asked for
            self._beating = asyncio.create_task(self._beat())
        async with self._turns:
            self._refuse_in_trouble()  # which may have begun meanwhile
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    return await self._again(work)
            except TROUBLES as error:
                self._begin(error)
                raise MeterError(self._trouble) from None

    def _refuse_in_trouble(self) -> None:
        if self._trouble:
            raise MeterError(self._trouble)

    async def _again(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does it once more when the connections were closed while nobody used them."""
        try:
            return await work()
        except RedisConnectionError as error:
            if isinstance(error, AuthenticationError):
                raise
            self._is_enrolled = False  # nobody knows what was carried out
            return await work()

    async def _as_owner(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Does it while Redis knows what this process holds, and again when it was done under a name that is no more."""
        for _ in range(_TRIES):
            if not self._is_enrolled:
                async with self._alone:
                    await self._enrol()
            runs = self._runs
            answer = await work()
            if answer and runs == self._runs and self._is_enrolled:
                return answer
            if not answer and runs == self._runs:
                self._is_enrolled = False
        raise TimeoutError

    async def _enrol(self) -> None:
        """Tells Redis what this process holds, under a name that it has not had."""
        if self._is_enrolled:
            return
        self._formers.append(self._owner())
        self._runs += 1
        held = {key: amount for key, amount in self._held.items() if amount}
        lease_ms, formers = round(self._lease_s * 1000), self._formers[-_MOST_FORMERS:]
        await self._run(ENROL, held, [self._owner(), lease_ms, len(formers), *formers, *held.values()])
        await self._raise_spent()
        self._formers.clear()
        self._is_enrolled = True

    async def _raise_spent(self) -> None:
        now, known = self._clock(), self._known_spent
        for some in (known[at : at + _BATCH] for at in range(0, len(known), _BATCH)):
            arguments = [number for one in some for number in (_within(one.nanos), _budget_ms(one.ends_s, now))]
            await self._run(RAISE, [_gauge(one.slot) for one in some], arguments)

    async def _beat(self) -> None:
        """Settles, and renews the lease, until it is cancelled."""
        while not self._is_closed:
            self._wake.clear()
            if await self._settled():
                await self._rest(self._lease_s / 3)
            else:
                await asyncio.sleep(_REST_S)

    async def _rest(self, seconds: float) -> None:
        """Waits for something to settle, or for the lease to be renewed."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _settled(self) -> bool:
        """Tells whether all is settled and Redis is well."""
        try:
            async with asyncio.timeout(_LONGEST_USE_S):
                await self._again(self._settle)
        except TROUBLES as error:
            self._begin(error)
            return False
        self._end()
        return True

    async def _settle(self) -> None:
        """Settles what there is, and renews the lease in any case."""
        is_first = True
        while is_first or self._batch or self._late:
            is_first = False
            await self._as_owner(self._settle_batch)

    async def _settle_batch(self) -> Any:
        async with self._alone:
            if not self._is_enrolled:
                return 0
            if not self._batch:
                self._batch = [one for one, _ in list(self._late)[:_BATCH]]
                self._batches += 1
            arguments: list[Any] = [round(self._lease_s * 1000), self._batches]
            for held in self._batch:
                arguments += int(held.kind), held.taken, held.amount, held.bucket, held.kept_ms
            keys = [f"{_PREFIX}b:{self._me}", *(held.key for held in self._batch)]
            answer = await self._run_as_owner(SETTLE, keys, arguments)
            if answer:
                self._confirm()
            return answer

    def _confirm(self) -> None:
        for held in self._batch:
            _, settled = self._late.popleft()
            if _is_gauge(held.kind):
                self._held[held.key] -= held.taken
                if self._held[held.key] <= 0:
                    del self._held[held.key]
            if settled is not None and not settled.done():
                settled.set_result(None)
        self._batch = []

    async def _leave(self) -> None:
        if self._late:
            await self._settle()
        client = self._renew()
        await client.zrem(_OWNERS, self._owner())

    async def _run_as_owner(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await self._run(script, keys, [self._owner(), *arguments])

    async def _run(self, script: str, keys: Iterable[str], arguments: Sequence[Any]) -> Any:
        client = self._renew()
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = client.register_script(script)
        return await known(keys=[_OWNERS, *keys], args=arguments)

    def _owner(self) -> str:
        return f"{self._me}-{self._runs}"

    def _begin(self, error: Exception) -> None:
        self._is_enrolled = False
        if not self._trouble:
            self._trouble = USE.explain(place(self._connected_to), error)
            self._wake.set()
            self._part()
            self._on_trouble(self._trouble)

    def _part(self) -> None:
        """Goes on with other connections: the client's pool may have lost count of those that it was cancelled over."""
        client, self._client = self._client, None
        if client is not None:
            farewell = asyncio.create_task(self._bid_farewell(client))
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)

    async def _bid_farewell(self, client: Redis) -> None:
        """Closes a client that nobody uses any more: connections that are opened meanwhile would stay open."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_USE_S):
                await self._unused.wait()
        await self._briefly(client.aclose())

    def _end(self) -> None:
        if self._trouble:
            self._trouble = ""
            self._on_recovery()

    def _renew(self) -> Redis:
        """Returns the client of the URL as it is now, which may have a new password."""
        url = self._url()
        former = self._client
        if former is not None and url == self._connected_to:
            return former
        if former is not None:
            self._part()
        client = self._client = USE.make_client(url)
        self._connected_to = url
        self._scripts = {}
        return client


def _is_gauge(kind: Kind) -> bool:
    return kind in (Kind.STREAMS, Kind.MONEY)


def _name(claim: Claim) -> str:
    return _gauge(claim.slot) if _is_gauge(claim.kind) else f"{_PREFIX}w:{claim.slot.hex()}"


def _gauge(slot: bytes) -> str:
    return f"{_PREFIX}g:{slot.hex()}"


def _budget_ms(ends_s: float, now: float) -> int:
    return round(max(0.0, ends_s - now) * 1000) + _LATE_MS if ends_s else _TOTAL_MS


def _within(number: int) -> int:
    return min(max(number, 0), MOST)


def _reset_s(claim: Claim, reset_ms: int, now: float) -> float:
    if claim.kind is Kind.STREAMS:
        return STREAM_RESET_S
    if claim.kind is Kind.MONEY:
        return max(0.0, claim.ends_s - now) if claim.ends_s else math.inf
    return reset_ms / 1000


def _wait_s(claim: Claim, wait_ms: int, now: float) -> float:
    if claim.kind is Kind.STREAMS and claim.amount > claim.most:
        return float(WINDOW_S)
    return _reset_s(claim, wait_ms, now)
