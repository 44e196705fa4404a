"""What was spooled reaches the sink, whatever goes wrong there."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loom_grpc.app.courier import Courier
from loom_grpc.core.account import StoreError
from loom_grpc.storage.spool import FileSpool
from tests.loop import nothing_left, settle
from tests.program import ROOT, environment

DIE_BEFORE_DONE = """
import asyncio, os, signal, sys, time
from pathlib import Path
from loom_grpc.app.courier import Courier
from loom_grpc.storage.spool import FileSpool

class Dies:
    async def send(self, records):
        print(b" ".join(records).decode(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    async def close(self):
        pass

async def main():
    spool = FileSpool(Path(sys.argv[1]), 2**30, time.time, on_trouble=print, on_recovery=print, on_damage=print)
    for number in range(3):
        spool.put(str(number), b"%d" % number)
    courier = Courier(
        spool, Dies(), batch=2, flush_s=0, on_trouble=print, on_recovery=print, on_unreadable=print
    )
    courier.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""
AWAY = "The database is away."


@dataclass
class Shelf:
    """A sink that takes records, unless told otherwise."""

    batches: list[list[bytes]] = field(default_factory=list)
    away: str = ""
    bad: set[bytes] = field(default_factory=set)
    error: Exception = field(default_factory=lambda: StoreError("No table for that."))
    tries: int = 0
    forgets_to_say: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event | None = None
    """What a batch waits for."""

    async def send(self, records: Sequence[bytes]) -> None:
        self.tries += 1
        self.asked.set()
        if self.opened is not None:
            await self.opened.wait()
        if self.away:
            raise StoreError(self.away)
        if self.bad.intersection(records):
            raise self.error
        self.batches.append(list(records))
        if self.forgets_to_say:
            self.forgets_to_say = False
            raise StoreError(AWAY)

    async def close(self) -> None:
        pass

    def kept(self) -> set[bytes]:
        return {record for batch in self.batches for record in batch}


def no_log(_line: str) -> None:
    """Stands for a log that is gone."""
    raise BrokenPipeError


@dataclass
class World:
    """A spool, what takes its records, and what was told."""

    folder: Path
    shelf: Shelf = field(default_factory=Shelf)
    now: float = 1000.0
    lines: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    on_pause: Callable[[int], object] = lambda _number: None
    tell_damage: Callable[[str], object] | None = None
    fewer: asyncio.Event = field(default_factory=asyncio.Event)
    """Records have left the spool."""

    def __post_init__(self) -> None:
        self.spool = self.another()

    def another(self) -> FileSpool:
        told = self.lines.append
        clock = lambda: self.now  # noqa: E731
        damage = self.tell_damage or told
        return FileSpool(
            self.folder, 2**30, clock, on_trouble=told, on_recovery=lambda: told("spooled again"), on_damage=damage
        )

    def put(self, *records: bytes) -> None:
        for record in records:
            self.spool.put(f"id of {record.decode()}", record)

    def courier(
        self, batch: int = 500, flush_s: float = 0.0, sleep: Callable[[float], Awaitable[object]] | None = None
    ) -> Courier:
        courier = Courier(
            self.spool,
            self.shelf,
            batch=batch,
            flush_s=flush_s,
            on_trouble=self.lines.append,
            on_recovery=lambda: self.lines.append("recovered"),
            on_unreadable=self.set_aside,
            sleep=sleep or self.sleep,
        )
        courier.when_sent(lambda _: self.fewer.set())
        return courier

    def set_aside(self, id: str, why: str) -> None:
        self.lines.append(f"{id}: {why}")
        self.fewer.set()

    async def drained(self) -> None:
        """Waits until nothing waits in the spool."""
        while self.spool.waiting():
            self.fewer.clear()
            await self.fewer.wait()

    async def sleep(self, delay_s: float) -> None:
        """Lets time go by at once."""
        self.pauses.append(delay_s)
        self.now += delay_s
        self.on_pause(len(self.pauses))
        await asyncio.sleep(0)

    @asynccontextmanager
    async def running(self, batch: int = 500, flush_s: float = 0.0) -> AsyncIterator[None]:
        courier = self.courier(batch, flush_s)
        courier.start()
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            await courier.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with nothing_left():
        world = World(tmp_path / "spool")
        yield world
        world.spool.close()


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def test_a_batch_goes_as_soon_as_it_is_whole(world: World) -> None:
    async with world.running(batch=3, flush_s=3600):
        world.put(*numbered(2))
        await settle()
        assert world.shelf.tries == 0
        world.put(b"2")
        await world.drained()

    assert world.shelf.batches == [[b"0", b"1", b"2"]]


async def test_a_record_that_waited_for_long_goes_alone(world: World) -> None:
    world.put(b"0")
    world.now += 3600
    async with world.running(batch=3, flush_s=3600):
        await world.drained()

    assert world.shelf.batches == [[b"0"]]


async def test_a_record_waits_for_others_only_so_long(world: World) -> None:
    async with world.running(batch=3, flush_s=0.05):
        world.put(b"0")
        await world.drained()

    assert world.shelf.batches == [[b"0"]]


async def test_what_a_clock_that_was_set_back_says_delays_nothing_for_long(world: World) -> None:
    world.put(b"0")
    world.now -= 3600
    async with world.running(batch=3, flush_s=0.05):
        await world.drained()

    assert world.shelf.batches == [[b"0"]]


async def test_a_sink_that_is_away_is_asked_ever_more_seldom_and_told_once(world: World) -> None:
    def back(pause: int) -> None:
        world.shelf.away = AWAY if pause < 12 else ""

    world.on_pause, world.shelf.away = back, AWAY
    world.put(*numbered(5))
    async with world.running(batch=2):
        await world.drained()

    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10, 10]
    assert [0.75 * most <= pause <= most for pause, most in zip(world.pauses, longest, strict=True)] == [True] * 12
    assert (world.lines, world.shelf.batches) == ([AWAY, "recovered"], [[b"0", b"1"], [b"2", b"3"], [b"4"]])


async def test_records_are_sent_again_when_nobody_says_that_they_were_taken(world: World) -> None:
    world.shelf.forgets_to_say = True
    world.put(*numbered(3))
    async with world.running():
        await world.drained()

    assert (world.shelf.batches[0], world.shelf.kept()) == (numbered(3), set(numbered(3)))
    assert world.spool.state().records == 0


@pytest.mark.parametrize("before", [0, 10], ids=["at the start", "later"])
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (StoreError("No table for that."), "No table for that."),
        (ValueError("secret"), "Records cannot be sent because of an unexpected ValueError."),
    ],
    ids=["refused", "broken"],
)
async def test_bad_records_are_found_and_set_aside_while_all_others_go_on(
    world: World, before: int, error: Exception, why: str
) -> None:
    world.shelf.error = error
    world.shelf.bad = {b"0", b"1", b"77", b"499"} if not before else {b"10", b"300"}
    records = numbered(500)
    world.put(*records[:before])
    async with world.running():
        if before:
            await world.drained()
        world.put(*records[before:])
        await world.drained()

    aside = [f"id of {record.decode()}: {why}" for record in sorted(world.shelf.bad, key=int)]
    trouble = [line for line in world.lines if line not in (*aside, "recovered")]
    assert ([line for line in world.lines if line in aside], set(trouble) <= {why}) == (aside, True)
    assert world.shelf.kept() == set(records) - world.shelf.bad
    assert world.spool.state().bytes == sum(map(len, world.shelf.bad))


async def test_a_bad_record_alone_is_kept_until_others_show_that_the_sink_works(world: World) -> None:
    world.shelf.bad = {b"bad"}
    world.on_pause = lambda pause: world.put(b"good") if pause == 5 else None
    world.put(b"bad")
    async with world.running():
        await world.drained()

    assert world.lines == ["No table for that.", "id of bad: No table for that.", "recovered"]
    assert (world.shelf.kept(), len(world.pauses) >= 5) == ({b"good"}, True)


async def test_no_record_is_set_aside_because_the_sink_goes_away(world: World) -> None:
    def flap(pause: int) -> None:
        world.shelf.away = AWAY if pause % 3 else ""

    world.on_pause = flap
    world.put(b"0")
    async with world.running(batch=4):
        await world.drained()
        for begin in range(1, 40):
            world.shelf.away = AWAY
            world.put(b"%d" % begin)
            await world.drained()

    assert (world.shelf.kept(), set(world.lines)) == (set(numbered(40)), {AWAY, "recovered"})


async def test_closing_sends_what_waits(world: World) -> None:
    async with world.running(batch=100, flush_s=3600):
        world.put(*numbered(250))
        await settle()

    assert (world.shelf.kept(), world.spool.state().records) == (set(numbered(250)), 0)


async def test_closing_leaves_to_the_next_start_what_a_sink_does_not_take_in_time(world: World) -> None:
    world.shelf.opened = asyncio.Event()
    world.put(*numbered(3))
    courier = world.courier()
    courier.start()
    await world.shelf.asked.wait()
    await courier.close(patience_s=0.01)
    assert (world.shelf.batches, world.spool.state().records) == ([], 3)

    world.shelf.opened = None
    async with world.running():
        await world.drained()
    assert world.shelf.batches == [numbered(3)]


@asynccontextmanager
async def in_trouble(world: World) -> AsyncIterator[Courier]:
    """Gives a courier that waits, without end, to ask a sink again that was away."""
    pausing = asyncio.Event()

    async def sleep(_delay_s: float) -> None:
        pausing.set()
        await asyncio.Event().wait()

    world.shelf.away = AWAY
    world.put(b"0")
    courier = world.courier(sleep=sleep)
    courier.start()
    await pausing.wait()
    async with asyncio.timeout(4):
        yield courier


async def test_closing_tries_a_sink_in_trouble_only_once(world: World) -> None:
    async with in_trouble(world) as courier:
        before = world.shelf.tries
        await courier.close(patience_s=3600)

    assert (world.shelf.tries - before, world.spool.state().records) == (
        2,
        1,
    )  # the second asks whether it takes others
    assert world.lines == [AWAY]


async def test_closing_sends_what_waits_to_a_sink_that_is_back(world: World) -> None:
    async with in_trouble(world) as courier:
        world.shelf.away = ""
        await courier.close(patience_s=3600)

    assert (world.shelf.batches, world.spool.state().records) == ([[b"0"]], 0)
    assert world.lines == [AWAY, "recovered"]


async def test_closing_does_not_wait_for_a_sink_in_trouble_that_hangs(world: World) -> None:
    async with in_trouble(world) as courier:
        world.shelf.opened = asyncio.Event()
        await courier.close(patience_s=3600)

    assert world.spool.state().records == 1


async def test_records_of_dead_processes_go_on_too(world: World) -> None:
    other = world.another()
    other.put("id", b"from before")
    other.close()
    world.put(b"0")
    async with world.running():
        while world.spool.state().records or b"from before" not in world.shelf.kept():
            await settle()
        await world.drained()

    assert world.shelf.kept() == {b"from before", b"0"}
    assert [file.name for file in world.folder.glob("*.db")] == ["spool-0.db"]


async def test_files_of_dead_processes_are_seen_to_even_after_a_surprise(tmp_path: Path) -> None:
    world = World(tmp_path, tell_damage=no_log)
    damaged, other = world.another(), world.another()
    other.put("id", b"from before")
    damaged.close()
    other.close()
    (tmp_path / "spool-1.db").write_bytes(b"no database" * 1000)
    async with world.running():
        while "Files of records cannot be seen to because of an unexpected BrokenPipeError." not in world.lines:
            await settle()
        world.put(b"0")
        while b"from before" not in world.shelf.kept():
            await settle()

    assert world.shelf.kept() == {b"from before", b"0"}


async def test_a_process_that_dies_between_sending_and_forgetting_sends_again(tmp_path: Path) -> None:
    command = (sys.executable, "-c", DIE_BEFORE_DONE, str(tmp_path / "spool"))
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=environment(), cwd=ROOT
    )
    said, _ = await process.communicate()
    assert (process.returncode, said) == (-signal.SIGKILL, b"0 1\n")

    world = World(tmp_path / "spool")
    async with world.running(batch=2):
        await world.drained()
    world.spool.close()
    assert world.shelf.batches == [[b"0", b"1"], [b"2"]]
