"""What was answered before is answered again, equal calls share one, and nobody gets what is another's: errors, ends, answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from loom_grpc.cache.memory import MemoryStore
from loom_grpc.core.cache import Cache
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.core.native import Native
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_PAUSED,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Started,
    StopReason,
)
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, ROLE_USER, Message
from loom_grpc.v1.usage_pb2 import Usage
from tests.loop import settle

DOWN = LlmError(PROVIDER_UNAVAILABLE, "Down.")
WAIT_S = 5

Step = Callable[[Call, Send], Awaitable[None]]


def ask(content: str = "hi", temperature: float | None = 0) -> LlmRequest:
    return LlmRequest(
        provider="openai",
        model="gpt-4o",
        temperature=temperature,
        messages=[Message(role=ROLE_USER, content=content)],
        session_id="s",
    )


def answer(content: str = "Hello.", stop: StopReason.ValueType = STOP_REASON_STOP) -> LlmResponse:
    return LlmResponse(
        id="1",
        provider="openai",
        model="gpt-4o-2024",
        message=Message(role=ROLE_ASSISTANT, content=content),
        stop_reason=stop,
        finish_reason="word",
        usage=Usage(input_tokens=8, output_tokens=2),
    )


def text(content: str) -> LlmEvent:
    event = LlmEvent()
    event.text_delta.content = content
    return event


def completed(response: LlmResponse) -> LlmEvent:
    event = LlmEvent()
    event.completed.response.CopyFrom(response)
    return event


STARTED = LlmEvent(started=Started(id="1", provider="openai", model="gpt-4o-2024", attempt=1))
WHOLE = [STARTED, text("Hello."), completed(answer())]
REPLAYED = [
    LlmEvent(started=Started(id="1", provider="openai", model="gpt-4o-2024")),
    text("Hello."),
    completed(answer()),
]


class Person:
    """A caller, and what came to it."""

    def __init__(
        self,
        *,
        stream: bool = True,
        wish: str = "",
        tenant: str = "",
        request: LlmRequest | None = None,
        **metadata: str,
    ) -> None:
        told = {name.replace("_", "-"): value for name, value in metadata.items()}
        if wish:
            told["loom-cache"] = wish
        self.call = Call(request or ask(), stream, "r", metadata=told, tenant=tenant)
        self.got: list[LlmEvent] = []
        self.heard = asyncio.Event()
        """Set when something came; a test may clear it."""
        self.may_read = asyncio.Event()
        """Cleared where a test wants the caller to be slow."""
        self.may_read.set()
        self.task: asyncio.Task[None] | None = None

    async def send(self, event: LlmEvent) -> None:
        self.got.append(event)
        self.heard.set()
        await self.may_read.wait()

    async def ends(self) -> str:
        """Waits for the call's end and returns what the cache did, or the name of the error."""
        assert self.task is not None
        try:
            await asyncio.wait_for(asyncio.shield(self.task), WAIT_S)
        except LlmError as error:
            return error.name
        return self.call.cache


class Place:
    """A cache over a provider that does what a test says, and a clock that a test moves."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.asked: list[Call] = []
        self.plays: list[Step] = [self.whole]
        self.cancelled = 0
        self.store = MemoryStore(2**20, lambda: self.now)
        self.options: dict[str, Any] = {"ttl_s": 60, "max_entry_bytes": 10_000, "share": True, "space": b"a"} | options
        self.cache = self.make()

    def make(self, **options: Any) -> Cache:
        return Cache(self.handle, self.store, **(self.options | options))

    async def handle(self, call: Call, send: Send) -> None:
        self.asked.append(call)
        call.provider, call.model = "openai", "gpt-4o"
        call.attempt += 1
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        try:
            await play(call, send)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def whole(self, call: Call, send: Send) -> None:
        await self.events(*WHOLE)(call, send)

    def events(self, *events: LlmEvent, error: LlmError | None = None) -> Step:
        async def play(call: Call, send: Send) -> None:
            for event in events:
                call.responded = True
                await send(event)
            if error is not None:
                raise error

        return play

    def begin(self, person: Person) -> Person:
        person.task = asyncio.create_task(self.cache(person.call, person.send))
        return person

    async def ask(self, **options: Any) -> Person:
        """Makes a call and waits for its end."""
        person = self.begin(Person(**options))
        assert person.task is not None
        await asyncio.wait_for(person.task, WAIT_S)
        return person


class Gate:
    """An answer that goes on step by step, as a test says."""

    def __init__(self, *events: LlmEvent, error: LlmError | None = None) -> None:
        self.events = events
        self.error = error
        self.steps = asyncio.Semaphore(0)
        self.taken = 0

    async def play(self, call: Call, send: Send) -> None:
        for event in self.events:
            await self.steps.acquire()
            call.responded = True
            await send(event)
            self.taken += 1
        await self.steps.acquire()
        if self.error is not None:
            raise self.error

    def go(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.steps.release()

    def finish(self) -> None:
        self.go(len(self.events) + 1)


async def test_an_equal_call_gets_the_same_answer_without_asking() -> None:
    our = Place()
    first = await our.ask()
    second = await our.ask()

    assert len(our.asked) == 1
    assert first.got == WHOLE
    assert second.got == REPLAYED
    assert (first.call.cache, second.call.cache) == ("miss", "hit")
    assert (second.call.provider, second.call.model, second.call.attempt) == ("openai", "gpt-4o", 0)
    assert (second.call.answer, second.call.upstream_s, second.call.responded) == (answer(), 0, True)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (False, False)])
async def test_streams_and_whole_answers_are_answered_from_each_other(first: bool, second: bool) -> None:
    our = Place()
    await our.ask(stream=first)
    again = await our.ask(stream=second)

    assert again.got == (REPLAYED if second else REPLAYED[-1:])
    assert again.call.cache == "hit"


@pytest.mark.parametrize(
    ("temperature", "wish", "did"),
    [
        (0, "", "hit"),
        (0, "yes", "hit"),
        (0, "no", ""),
        (0, "refresh", "miss"),
        (0.5, "", ""),
        (0.5, " YES ", "hit"),
        (0.5, "no", ""),
        (0.5, "refresh", "miss"),
        (None, "", ""),
        (None, "yes", "hit"),
    ],
)
async def test_who_has_a_part_in_the_cache(temperature: float | None, wish: str, did: str) -> None:
    our = Place()
    request = ask(temperature=temperature)
    await our.ask(request=request, wish="yes")
    again = await our.ask(request=request, wish=wish)

    assert again.call.cache == did
    assert len(our.asked) == (1 if did == "hit" else 2)


async def test_a_word_that_means_nothing_is_refused_and_named() -> None:
    our = Place()
    with pytest.raises(LlmError) as failure:
        await our.ask(wish="maybe")

    assert (failure.value.reason, failure.value.metadata) == (INVALID_REQUEST, {"field": "loom-cache"})
    assert failure.value.message == "loom-cache: must be one of yes, no, refresh."
    assert our.asked == []


async def test_refresh_replaces_what_is_kept() -> None:
    our = Place()
    await our.ask()
    our.plays = [our.events(STARTED, text("New."), completed(answer("New.")))]
    await our.ask(wish="refresh")
    again = await our.ask()

    assert again.got[-1] == completed(answer("New."))
    assert len(our.asked) == 2


async def test_no_other_tenant_space_or_request_gets_it() -> None:
    our = Place()
    await our.ask(tenant="a")
    await our.ask(tenant="b")
    await our.ask(tenant="")
    await our.ask(tenant="a", request=ask("ho"))
    our.cache = our.make(space=b"b")
    other = await our.ask(tenant="a")

    assert len(our.asked) == 5
    assert other.call.cache == "miss"


@pytest.mark.parametrize(
    ("stop", "did"),
    [
        (STOP_REASON_STOP, "hit"),
        (STOP_REASON_TOOL_CALLS, "hit"),
        (STOP_REASON_LENGTH, "hit"),
        (STOP_REASON_CONTENT_FILTER, "miss"),
        (STOP_REASON_REFUSAL, "miss"),
        (STOP_REASON_PAUSED, "miss"),
        (STOP_REASON_UNSPECIFIED, "miss"),
    ],
)
async def test_only_whole_answers_are_kept(stop: StopReason.ValueType, did: str) -> None:
    our = Place()
    our.plays = [our.events(completed(answer(stop=stop)))]
    await our.ask()

    assert (await our.ask()).call.cache == did


@pytest.mark.parametrize("share", [True, False])
async def test_a_failure_is_not_kept(share: bool) -> None:
    our = Place(share=share)
    our.plays = [our.events(STARTED, text("Hel"), error=DOWN), our.whole]
    with pytest.raises(LlmError) as failure:
        await our.ask()

    assert failure.value is DOWN
    assert (await our.ask()).call.cache == "miss"
    assert (await our.ask()).call.cache == "hit"


async def test_an_answer_that_is_too_large_is_not_kept() -> None:
    our = Place(max_entry_bytes=200)
    our.plays = [our.events(completed(answer("x" * 200)))]
    await our.ask()

    assert (await our.ask()).call.cache == "miss"
    assert our.store.size == 0


async def test_what_is_kept_has_an_end() -> None:
    our = Place()
    await our.ask()
    our.now = 59.9
    assert (await our.ask()).call.cache == "hit"
    our.now = 60
    assert (await our.ask()).call.cache == "miss"


async def test_bytes_that_are_no_answer_are_a_miss_and_overwritten() -> None:
    our = Place()
    await our.ask()
    (key,) = our.store._entries  # noqa: SLF001
    await our.store.put(key, b"0garbage of an older version", 60)

    assert (await our.ask()).call.cache == "miss"
    assert (await our.ask()).got == REPLAYED


async def test_equal_calls_share_one_and_hear_it_live() -> None:
    our, gate = Place(), Gate(*WHOLE)
    our.plays = [gate.play]
    first, second = our.begin(Person()), our.begin(Person())
    gate.go(2)
    await settle()
    third = our.begin(Person())
    await settle()

    assert [len(each.got) for each in (first, second, third)] == [2, 2, 2]
    gate.finish()
    assert [await each.ends() for each in (first, second, third)] == ["miss", "shared", "shared"]
    assert [each.got for each in (first, second, third)] == [WHOLE] * 3
    assert [each.call.attempt for each in (first, second, third)] == [1, 0, 0]
    assert len(our.asked) == 1
    assert (await our.ask()).call.cache == "hit"


async def test_what_is_not_equal_is_not_shared() -> None:
    our, gate = Place(), Gate(*WHOLE)
    our.plays = [gate.play]
    persons = [
        Person(),
        Person(tenant="b"),
        Person(stream=False),
        Person(loom_events="restarted"),
        Person(request=ask("ho")),
        Person(wish="refresh"),
    ]
    for person in persons:
        our.begin(person)
    await settle()

    assert len(our.asked) == len(persons)
    for _ in persons:
        gate.finish()
    assert [await person.ends() for person in persons] == ["miss"] * len(persons)


async def test_without_share_each_asks_for_itself() -> None:
    our, gate = Place(share=False), Gate(*WHOLE)
    our.plays = [gate.play]
    persons = [our.begin(Person()) for _ in range(3)]
    await settle()

    assert len(our.asked) == 3
    gate.go(12)
    assert [await person.ends() for person in persons] == ["miss"] * 3


async def test_the_others_go_on_when_the_first_caller_leaves() -> None:
    our, gate = Place(), Gate(*WHOLE)
    our.plays = [gate.play]
    first, second = our.begin(Person()), our.begin(Person())
    gate.go()
    await settle()
    assert first.task is not None
    first.task.cancel()
    await settle()
    gate.finish()

    assert await second.ends() == "shared"
    assert second.got == WHOLE
    assert (our.cancelled, len(our.asked)) == (0, 1)


async def test_the_provider_is_cancelled_when_the_last_caller_leaves() -> None:
    our, gate = Place(), Gate(*WHOLE)
    our.plays = [gate.play, our.whole]
    persons = [our.begin(Person()) for _ in range(2)]
    gate.go()
    await settle()
    for person in persons:
        assert person.task is not None
        person.task.cancel()
    await asyncio.wait([person.task for person in persons if person.task is not None], timeout=WAIT_S)

    assert our.cancelled == 1
    assert (await our.ask()).call.cache == "miss"


async def test_a_failure_is_its_callers_alone_and_one_other_asks_again() -> None:
    our, failing = Place(), Gate(error=DOWN)
    our.plays = [failing.play, our.whole]
    persons = [our.begin(Person()) for _ in range(5)]
    await settle()
    failing.finish()

    assert [await person.ends() for person in persons] == ["PROVIDER_UNAVAILABLE", "miss", "shared", "shared", "shared"]
    assert [person.got for person in persons] == [[], WHOLE, WHOLE, WHOLE, WHOLE]
    assert len(our.asked) == 2


async def test_after_two_shared_failures_each_asks_for_itself() -> None:
    our, failing = Place(), Gate(error=DOWN)
    our.plays = [failing.play]
    persons = [our.begin(Person()) for _ in range(5)]
    await settle()
    for _ in range(5):
        failing.finish()

    assert [await person.ends() for person in persons] == ["PROVIDER_UNAVAILABLE"] * 5
    assert len(our.asked) == 5


async def test_who_has_heard_some_of_a_failure_hears_the_failure() -> None:
    our = Place()
    failing = Gate(STARTED, text("Hel"), error=DOWN)
    our.plays = [failing.play]
    persons = [our.begin(Person()) for _ in range(2)]
    await settle()
    failing.finish()

    assert [await person.ends() for person in persons] == ["PROVIDER_UNAVAILABLE"] * 2
    assert [person.got for person in persons] == [[STARTED, text("Hel")]] * 2
    assert len(our.asked) == 1


async def test_a_slow_first_caller_does_not_slow_the_others() -> None:
    our = Place()
    slow = Person()
    slow.may_read.clear()
    our.begin(slow)
    quick = our.begin(Person())

    assert await quick.ends() == "shared"
    assert (quick.got, slow.got) == (WHOLE, WHOLE[:1])
    slow.may_read.set()
    assert await slow.ends() == "miss"
    assert slow.got == WHOLE


async def test_an_answer_without_room_comes_at_the_pace_of_the_slowest() -> None:
    our = Place(max_entry_bytes=1000)  # room for 4000 bytes
    pieces = [text("x" * 1000) for _ in range(20)]
    gate = Gate(*pieces, completed(answer()))
    our.plays = [gate.play, our.whole]
    slow, quick = Person(), Person()
    slow.may_read.clear()
    our.begin(slow)
    our.begin(quick)
    gate.finish()
    await settle()

    assert gate.taken == 3
    late = await our.ask()
    assert (late.call.cache, len(our.asked)) == ("miss", 2)
    slow.may_read.set()
    assert [await slow.ends(), await quick.ends()] == ["miss", "shared"]
    assert slow.got == quick.got == [*pieces, completed(answer())]


async def test_each_has_its_own_deadline() -> None:
    our, gate = Place(), Gate(*WHOLE)
    our.plays = [gate.play]
    hasty, patient = Person(), Person()
    hasty.call.deadline = asyncio.get_running_loop().time() + 0.01
    our.begin(hasty)
    our.begin(patient)

    assert await hasty.ends() == "PROVIDER_TIMEOUT"
    assert hasty.call.upstream_s >= 0
    gate.finish()
    assert await patient.ends() == "shared"
    assert (patient.got, len(our.asked), our.cancelled) == (WHOLE, 1, 0)


async def test_a_follower_leaves_at_its_deadline_and_asks_nobody_else() -> None:
    our, gate = Place(), Gate(*WHOLE)
    our.plays = [gate.play]
    patient, hasty = Person(), Person()
    hasty.call.deadline = asyncio.get_running_loop().time() + 0.01
    our.begin(patient)
    our.begin(hasty)

    assert await hasty.ends() == "PROVIDER_TIMEOUT"
    gate.finish()
    assert await patient.ends() == "miss"
    assert len(our.asked) == 1


async def test_a_crash_of_the_provider_is_the_first_callers_alone() -> None:
    our = Place()

    async def crash(call: Call, send: Send) -> None:
        raise RuntimeError("a mistake")

    our.plays = [crash, our.whole]
    first, second = our.begin(Person()), our.begin(Person())
    with pytest.raises(RuntimeError, match="a mistake"):
        await first.ends()

    assert await second.ends() == "miss"


async def test_an_answer_in_the_providers_own_words_is_kept_with_all_its_events() -> None:
    our = Place()
    natives = [Native("openai", {"user": name}, {}) for name in ("a", "a", "b")]
    ends = []
    for native in natives:
        person = Person(wish="yes")
        person.call.native = native
        our.begin(person)
        ends.append((await person.ends(), person.got))

    assert [end for end, _ in ends] == ["miss", "hit", "miss"]
    assert [got for _, got in ends] == [WHOLE, REPLAYED, WHOLE]
    assert len(our.asked) == 2


async def test_every_caller_is_told_which_fields_the_provider_was_not() -> None:
    our = Place()

    async def translate(call: Call, send: Send) -> None:
        call.dropped = ["logit_bias"]
        await our.whole(call, send)

    def person() -> Person:
        new = Person(wish="yes")
        new.call.native = Native("openai", {}, {}, untold=("logit_bias",), drops=True)
        return our.begin(new)

    our.plays = [translate]
    people = [person(), person()]
    ends = [await one.ends() for one in people]
    people.append(person())
    ends.append(await people[-1].ends())

    assert ends == ["miss", "shared", "hit"]
    assert [one.call.dropped for one in people] == [["logit_bias"]] * 3


async def test_a_call_without_a_part_in_the_cache_takes_no_detour() -> None:
    our = Place()
    person = await our.ask(wish="no")

    assert our.asked == [person.call]
    assert our.asked[0] is person.call
    assert person.got == WHOLE


def said_to(call: Call) -> str:
    return call.request.messages[0].content + call.tenant


def moody(chance: random.Random) -> Step:
    """Makes a provider that takes its time, fails now and then, and says who asked what."""

    async def play(call: Call, send: Send) -> None:
        said = said_to(call)
        for event in [STARTED, *(text(said) for _ in range(chance.randrange(6))), completed(answer(said))]:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.03:
                raise DOWN
            call.responded = True
            await send(event)

    return play


def anybody(chance: random.Random) -> Person:
    person = Person(
        request=ask(chance.choice("ab")),
        tenant=chance.choice("xy"),
        wish=chance.choice(("yes", "yes", "yes", "no", "refresh")),
        stream=chance.random() < 0.8,
    )
    if chance.random() < 0.2:
        person.may_read.clear()
    return person


def got_what_is_its_own(person: Person) -> bool:
    assert person.task is not None
    said = said_to(person.call)
    if not all(event.text_delta.content == said for event in person.got if event.HasField("text_delta")):
        return False
    if person.task.cancelled():
        return True
    return (
        person.got[-1] == completed(answer(said))
        if person.task.exception() is None
        else person.task.exception() is DOWN
    )


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_callers_and_the_provider_do_nobody_gets_a_wrong_answer(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same each time
    our = Place(max_entry_bytes=chance.choice((100, 500, 10_000)))
    our.plays = [moody(chance)]
    persons: list[Person] = []
    tasks: list[asyncio.Task[None]] = []
    for _ in range(60):
        persons.append(our.begin(anybody(chance)))
        tasks += [task for task in [persons[-1].task] if task is not None]
        for _ in range(chance.randrange(5)):
            await asyncio.sleep(0)
        chance.choice(persons).may_read.set()
        if chance.random() < 0.2:
            chance.choice(tasks).cancel()
    for person in persons:
        person.may_read.set()
    await asyncio.wait(tasks, timeout=WAIT_S)
    await settle()

    assert [person.got for person in persons if not got_what_is_its_own(person)] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert our.cache._flights == {}  # noqa: SLF001
