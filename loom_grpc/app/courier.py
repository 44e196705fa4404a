"""Takes records from the spool to where they are kept, over all that may go wrong there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from loom_grpc.core.account import StoreError
from loom_grpc.core.ledger import Sink, SpoolError
from loom_grpc.storage.spool import FileSpool
from loom_grpc.storage.spool_file import Waiting

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_PATIENCE_S: Final = 60.0
"""How long the sink may take for one batch."""
_LAST_TRY_S: Final = 1.0
"""How long a sink in trouble may take for the last try, on closing."""
_LOOK_S: Final = 1.0
"""How often files of dead processes are looked for, and a spool in trouble is tried again although nobody calls."""


class Courier:
    """Sends what waits in a spool, in batches: as soon as `batch` records wait, or the oldest has waited for `flush_s` seconds.

    A sink that does not take records is asked again, ever more seldom, down to once in ten seconds; `on_trouble` is told of it once, in
    words for the operator, and `on_recovery` when it takes them again. A record that the sink refuses although it takes others is set
    aside in the spool, and `on_unreadable` is told its id and why.
    """

    def __init__(
        self,
        spool: FileSpool,
        sink: Sink,
        *,
        batch: int,
        flush_s: float,
        on_trouble: Callable[[str], object],
        on_recovery: Callable[[], object],
        on_unreadable: Callable[[str, str], object],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._spool = spool
        self._sink = sink
        self._batch = batch
        self._flush_s = flush_s
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._on_unreadable = on_unreadable
        self._on_sent: Callable[[int], object] = lambda _: None
        self._sleep = sleep
        self._some = asyncio.Event()
        """Records wait, or all is to end."""
        self._enough = asyncio.Event()
        """A batch of them waits, or all is to end."""
        self._closing = asyncio.Event()
        self._taken: bytes | None = None
        """A record that the sink took, which it therefore takes again."""
        self._guess = 0
        self._failures = 0
        self._is_troubled = False
        self._tasks: list[asyncio.Task[None]] = []

    def when_sent(self, then: Callable[[int], object]) -> None:
        """Calls `then` with the number of records that the sink has taken, each time it has."""
        self._on_sent = then

    def start(self) -> None:
        """Begins to send, with what waits from before."""
        self._spool.when_put(self._notice)
        self._look()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._keep_house())]

    async def close(self, patience_s: float = 5.0) -> None:
        """Sends what waits, for so many seconds at most; the rest is for the next start.

        A sink in trouble is tried once more, for up to a second. The sink and the spool stay open.
        """
        for event in (self._closing, self._some, self._enough):
            event.set()
        if not self._tasks:
            return
        run, house = self._tasks
        await asyncio.wait([run], timeout=min(patience_s, _LAST_TRY_S) if self._failures else patience_s)
        run.cancel()
        await asyncio.wait([run, house])

    async def _run(self) -> None:
        while not (self._closing.is_set() and self._is_idle()):
            await self._due()
            try:
                await self._deliver(self._spool.take(self._batch))
            except Exception as error:  # noqa: BLE001 - nobody else sends records, whatever a sink raises
                self._fail(error)
                if self._closing.is_set():
                    return
                await self._pause()
            else:
                self._succeed()
            self._look()

    async def _due(self) -> None:
        """Waits until something is to be sent."""
        await self._some.wait()
        left_s = self._flush_s - max(self._spool.age_s(), 0.0)  # a clock may have been set back
        with suppress(TimeoutError):
            async with asyncio.timeout(max(left_s, 0.0)):
                await self._enough.wait()

    async def _deliver(self, batch: Sequence[Waiting]) -> None:
        """Sends records, in smaller and smaller pieces where the sink refuses them; raises what the sink does when it takes none at all."""
        refusal = await self._refusal(batch)
        if refusal is None:
            return
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._deliver(batch[:middle])
            await self._deliver(batch[middle:])
        elif (refusal := await self._refusal(batch)) is not None:
            self._spool.set_aside(batch[0], _words(refusal))
            self._on_unreadable(batch[0].id, _words(refusal))

    async def _refusal(self, batch: Sequence[Waiting]) -> Exception | None:
        """Sends records, and returns why the sink refuses these; raises what it does when it takes no others either."""
        try:
            await self._send(batch)
        except SpoolError:
            raise
        except Exception as error:  # what a sink raises for a record that it cannot read is its own affair
            if await self._takes_others(batch):
                return error
            raise
        return None

    async def _takes_others(self, batch: Sequence[Waiting]) -> bool:
        """Tells whether the sink works, by a record that it took before; while there is none, by one of the batch, each time the next."""
        try:
            if self._taken is not None:
                await self._hand_over([self._taken])
            else:
                self._guess += 1
                await self._send([batch[self._guess % len(batch)]])
        except SpoolError:
            raise
        except Exception:  # noqa: BLE001 - why is told for the batch
            return False
        return True

    async def _send(self, batch: Sequence[Waiting]) -> None:
        if batch:
            await self._hand_over([waiting.record for waiting in batch])
            self._taken = batch[-1].record
            self._spool.done(batch)
            self._on_sent(len(batch))

    async def _hand_over(self, records: Sequence[bytes]) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            await self._sink.send(records)

    def _notice(self) -> None:
        """Takes note of records that came."""
        self._some.set()
        if not self._enough.is_set() and self._spool.waiting() >= self._batch:
            self._enough.set()

    def _look(self) -> None:
        """Finds out how much waits."""
        records = self._spool.waiting()
        closing = self._closing.is_set()
        for event, is_so in (
            (self._some, records > 0 or closing),
            (self._enough, records >= self._batch or closing),
        ):
            event.set() if is_so else event.clear()

    def _is_idle(self) -> bool:
        return not self._spool.waiting()

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        # Of its own trouble the spool tells itself.
        is_told = isinstance(error, SpoolError) and bool(self._spool.state().trouble)
        if not is_told:
            self._complain(_words(error))

    def _complain(self, words: str) -> None:
        if not self._is_troubled:
            self._is_troubled = True
            self._on_trouble(words)

    def _succeed(self) -> None:
        self._failures = 0
        if self._is_troubled:
            self._is_troubled = False
            self._on_recovery()

    async def _pause(self) -> None:
        """Waits for the next try, or until all is to end."""
        waits = [asyncio.ensure_future(self._sleep(self._pause_s())), asyncio.ensure_future(self._closing.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _pause_s(self) -> float:
        """Says how long to wait; not the same for all processes, or all would come back at once."""
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10))
        return longest * random.uniform(0.75, 1.0)  # noqa: S311 - for no secret

    async def _keep_house(self) -> None:
        """Sees to the spool's files."""
        while not self._closing.is_set():
            try:
                self._spool.mend()
                await self._spool.tidy()
                await self._spool.adopt()
            except Exception as error:  # noqa: BLE001 - a background loop: the next time may go well
                self._complain(f"Files of records cannot be seen to because of an unexpected {type(error).__name__}.")
            if not self._is_idle():
                self._notice()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _LOOK_S)


def _words(error: Exception) -> str:
    """Says why records do not go on, without words of others that may hold what they should not."""
    if isinstance(error, StoreError | SpoolError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"Records are not taken within {_PATIENCE_S:g} s."
    return f"Records cannot be sent because of an unexpected {type(error).__name__}."
