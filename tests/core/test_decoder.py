"""An answer is judged once, whatever its bytes are, and nothing is said after the verdict."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, PROVIDER_RATE_LIMITED, PROVIDER_UNAVAILABLE, TABLE, LlmError
from loom_grpc.core.events import Answer
from loom_grpc.core.sse import BodyFramer, JsonFramer, SseFramer
from loom_grpc.v1.llm_service_pb2 import STOP_REASON_STOP, LlmEvent, LlmRequest, LlmResponse
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Message
from loom_grpc.v1.usage_pb2 import Usage
from tests.wire.cases import Case, decoder, fixtures

CUT = LlmError(PROVIDER_UNAVAILABLE, "The connection to the provider broke off.")


class Plain(Decoder):
    """Reads `{"text"}`, `{"reason"}`, `{"error"}` and the marker `END`."""

    reason = ""

    def read(self, name: bytes, value: dict[str, Any]) -> None:
        if error := value.get("error"):
            raise LlmError(PROVIDER_RATE_LIMITED, error)
        self.answer.text(value.get("text"))  # type: ignore[arg-type] # what comes is not to be trusted
        self.reason = value.get("reason") or self.reason

    def read_marker(self, data: bytes) -> bool:
        if data != b"END":
            return False
        self.finish()
        return True

    def complete(self) -> bool:
        return bool(self.reason)

    def finish(self) -> None:
        self.answer.complete(self.reason, STOP_REASON_STOP)
        self.ended = True


def plain(framer: BodyFramer | JsonFramer | SseFramer | None = None) -> Plain:
    call = Call(LlmRequest(), stream=True, request_id="r", provider="here", model="m", attempt=1)
    return Plain(Answer(call, "plain", lambda usage: Usage()), framer or SseFramer())


def said(events: list[LlmEvent]) -> list[str]:
    """The events in short: the text, or the kind."""
    return [event.text_delta.content or event.WhichOneof("event") or "" for event in events]


def verdict(decoder: Decoder) -> str:
    assert decoder.ended is (decoder.failure is None)
    return "ended" if decoder.failure is None else f"{decoder.failure.name}: {decoder.failure.message}"


MALFORMED = "PROVIDER_BAD_RESPONSE: The provider's answer is malformed."
TRUNCATED = "PROVIDER_BAD_RESPONSE: The provider's answer ended before it was complete."


@pytest.mark.parametrize(
    ("body", "expected", "judged"),
    [
        pytest.param(b'data: {"text":"a"}\n\ndata: END\n\n', ["started", "a", "completed"], "ended", id="end marker"),
        pytest.param(b'data: {"text":"a"}\n\ndata: END', ["started", "a", "completed"], "ended", id="half an end"),
        pytest.param(b'data: {"text":"a","reason":"x"}\n\n', ["started", "a", "completed"], "ended", id="reason"),
        pytest.param(b'data: {"text":"a","reason":"x"}', ["started", "a", "completed"], "ended", id="half a reason"),
        pytest.param(b"data: END\n\n", ["started", "completed"], "ended", id="end marker alone"),
        pytest.param(b'data: {"text":"a"}\n\n', ["started", "a"], TRUNCATED, id="no end"),
        pytest.param(b'data: {"text":"a"}\n\ndata: {"rea', ["started", "a"], TRUNCATED, id="cut within an event"),
        pytest.param(b'data: {"text":"a"}\n\ndata: EN', ["started", "a"], TRUNCATED, id="cut within the marker"),
        pytest.param(b": hello\n\n", [], TRUNCATED, id="comments alone"),
        pytest.param(b"", [], "PROVIDER_BAD_RESPONSE: The provider's answer is empty.", id="nothing"),
        pytest.param(b'data: {"text":"a"}\n\ndata: {oops}\n\ndata: END\n\n', ["started", "a"], MALFORMED, id="no JSON"),
        pytest.param(b"data: [1]\n\ndata: END\n\n", [], MALFORMED, id="no object"),
        pytest.param(b"data: null\n\ndata: END\n\n", [], MALFORMED, id="null"),
        pytest.param(b'data: {"text":5}\n\ndata: END\n\n', [], MALFORMED, id="no text"),
        pytest.param(b'data: {"text":"a"}\n\ndata:\n\ndata:  \n\ndata: END\n\n',
                     ["started", "a", "completed"], "ended", id="empty events"),
        pytest.param(b'data: {"text":"a"}\n\ndata: {"error":"Slow."}\n\ndata: END\n\n',
                     ["started", "a"], "PROVIDER_RATE_LIMITED: Slow.", id="error"),
        pytest.param(b'data: {"text":"a"}\n\n{\n"error":"Slow."\n}\n',
                     ["started", "a"], "PROVIDER_RATE_LIMITED: Slow.", id="bare error"),
        pytest.param(b'data: {"text":"a","reason":"x"}\n\n{"error":"Slow."}\n',
                     ["started", "a"], "PROVIDER_RATE_LIMITED: Slow.", id="bare error behind a reason"),
        pytest.param(b'[{"error":"Slow."}]', [], "PROVIDER_RATE_LIMITED: Slow.", id="bare error in an array"),
        pytest.param(b'{"text":"a","reason":"x"}', [], TRUNCATED, id="a bare answer is none"),
        pytest.param(b"<html>\n<p>Bad Gateway</p>\n</html>\n", [], TRUNCATED, id="a page"),
    ],
)  # fmt: skip
def test_an_answer_is_judged_by_how_it_ends(body: bytes, expected: list[str], judged: str) -> None:
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        decoder = plain()
        events = [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()

        assert (said(events), verdict(decoder)) == (expected, judged)


def test_nothing_is_said_after_the_end() -> None:
    decoder = plain()
    decoder.feed(b'data: {"text":"a"}\n\ndata: END\n\ndata: {"text":"b"}\n\n')

    assert decoder.feed(b'data: {"text":"c"}\n\ndata: END\n\n') == []
    assert decoder.feed(b'data: {"error":"Late."}\n\n') == []
    assert decoder.end(CUT) == []
    assert verdict(decoder) == "ended"


def test_nothing_is_said_after_a_failure() -> None:
    decoder = plain()
    decoder.feed(b'data: {"error":"Slow."}\n\ndata: {"text":"a"}\n\n')

    assert decoder.feed(b"data: END\n\n") == []
    assert decoder.end() == []
    assert verdict(decoder) == "PROVIDER_RATE_LIMITED: Slow."


def test_a_cut_is_told_as_what_it_was() -> None:
    decoder = plain()
    decoder.feed(b'data: {"text":"a"}\n\n')
    decoder.end(CUT)

    assert decoder.failure is CUT


def test_a_cut_behind_the_reason_does_no_harm() -> None:
    decoder = plain()
    decoder.feed(b'data: {"text":"a","reason":"x"}\n\n')

    assert said(decoder.end(CUT)) == ["completed"]
    assert verdict(decoder) == "ended"


def test_a_failure_carries_what_arrived_and_why_for_the_log() -> None:
    decoder = plain()
    decoder.feed(b'data: {"text":"Hel"}\n\ndata: {"text":5}\n\n')

    assert decoder.failure is not None
    assert decoder.failure.partial == LlmResponse(
        message=Message(role=ROLE_ASSISTANT, content="Hel"), provider="here", model="m"
    )
    assert decoder.failure.detail == "TypeError: int"


def test_what_an_event_lost_at_the_end_is_kept_for_the_verdict() -> None:
    decoder = plain()
    decoder.feed(b'data: {"text":"a","reason":"x"}\n\ndata: {"te')
    decoder.end()

    assert decoder.torn == b'{"te'


def test_a_whole_body_is_read_at_its_end() -> None:
    decoder = plain(BodyFramer())

    assert decoder.feed(b'{"text":"a",') == []
    assert decoder.feed(b'"reason":"x"}') == []
    assert said(decoder.end()) == ["started", "a", "completed"]


def test_damage_between_objects_does_not_vanish() -> None:
    decoder = plain(JsonFramer())
    events = decoder.feed(b'{"text":"a"}\n"text":"b"}\n{"text":"c","reason":"x"}\n') + decoder.end()

    assert said(events) == ["started", "a"]
    assert verdict(decoder) == MALFORMED


def test_an_event_without_end_is_a_failure_too() -> None:
    decoder = plain()
    decoder.feed(b'data: {"text":"a"}\n\ndata: ')
    while decoder.failure is None:
        decoder.feed(b"x" * 1024 * 1024)

    assert decoder.failure.reason == PROVIDER_BAD_RESPONSE
    assert decoder.failure.partial is not None
    assert decoder.failure.partial.message.content == "a"


# Damage: recorded answers with bytes, lines or values changed, by dice that fall the same in every run.

ANSWERS = [case for case in fixtures() if case.status == 200 and len(case.body) < 20_000]
ODD: list[Any] = [None, True, 0, -1, 10**25, 1.5, "", "x", "\x00", [], [None], ["x"], {}, {"type": "x"}, {"index": []}]


def _judge(case: Case, body: bytes, dice: random.Random) -> None:
    """Reads a body in a few pieces; checks that there is one verdict and that the events agree with it."""
    reader = decoder(case)
    middle = dice.randrange(len(body) + 1)
    events = [*reader.feed(body[:middle]), *reader.feed(body[middle:]), *reader.end()]
    kinds = [event.WhichOneof("event") for event in events]

    assert reader.ended is (reader.failure is None)
    assert kinds.count("completed") == reader.ended
    assert not reader.ended or kinds[-1] == "completed"
    assert kinds.count("started") == bool(kinds)
    assert reader.failure is None or reader.failure.reason in TABLE
    assert reader.feed(body) == reader.end() == []


def _with_odd_bytes(body: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(body)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(damaged))
        damaged[place : place + dice.choice((0, 1, 1, 5, 60))] = dice.choice(
            (b"", b"\x00", b"\xff", b'"', b"{", b"}", b"]", b",", b"\\", b"\n", b"\n\n", b"\r", b"1e9", b"null", b"{}")
        )
    return bytes(damaged)


def _with_lines_moved(body: bytes, dice: random.Random) -> bytes:
    lines = body.splitlines(keepends=True)
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(lines))
        match dice.randrange(3):
            case 0 if len(lines) > 1:
                del lines[place]
            case 1:
                lines.insert(dice.randrange(len(lines)), lines[place])
            case _:
                dice.shuffle(lines)
    return b"".join(lines)


def _with_odd_values(body: bytes, dice: random.Random) -> bytes:
    """Puts an odd value into one of the JSON objects, wherever that may be."""
    lines = body.split(b"\n")
    holders = [i for i, line in enumerate(lines) if _object(line) is not None]
    if not holders:
        whole = _object(body)
        return body if whole is None else _json(_odd(whole, dice))
    chosen = dice.choice(holders)
    lines[chosen] = (b"data: " if lines[chosen].startswith(b"data:") else b"") + _json(
        _odd(_object(lines[chosen]), dice)
    )
    return b"\n".join(lines)


def _object(line: bytes) -> Any:
    try:
        value = orjson.loads(line.removeprefix(b"data:").strip())
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict | list) else None


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _odd(value: Any, dice: random.Random) -> Any:
    """Replaces, removes or adds something at a random place."""
    if not isinstance(value, dict | list) or not value or dice.random() < 0.15:
        return dice.choice(ODD)
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = dice.choice(keys)
    if dice.random() < 0.15:
        del value[key]
    else:
        value[key] = _odd(value[key], dice)
    return value


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [_with_odd_bytes, _with_lines_moved, _with_odd_values]


def _damaged(case: Case) -> Iterator[tuple[bytes, random.Random]]:
    dice = random.Random(case.id)  # noqa: S311 - dice, not keys
    for damage in DAMAGES:
        for _ in range(30):
            yield damage(case.body, dice), dice


@pytest.mark.parametrize("api", sorted({case.api for case in ANSWERS}))
def test_damage_of_any_kind_gives_one_verdict_and_no_crash(api: str) -> None:
    for case in ANSWERS:
        if case.api == api:
            for body, dice in _damaged(case):
                _judge(case, body, dice)
