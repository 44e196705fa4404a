"""Bytes are split into the same events however the network cuts them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.core.sse import MAX_EVENT_BYTES, BodyFramer, Frame, JsonFramer, SseFramer

MIB = 1024 * 1024


def frames_of(framer: BodyFramer | JsonFramer | SseFramer, chunks: Iterable[bytes]) -> list[Frame]:
    return [frame for chunk in chunks for frame in framer.feed(chunk)] + framer.end()


def events(*chunks: bytes) -> list[tuple[bytes, bytes]]:
    return [(frame.name, frame.data) for frame in frames_of(SseFramer(), chunks)]


def objects(*chunks: bytes) -> list[object]:
    """The values of the JSON that was found, and the bytes of what is none."""
    return [_value(frame.data) for frame in frames_of(JsonFramer(), chunks)]


def _value(data: bytes) -> object:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """Cuts a body at places counted modulo its length."""
    ends = sorted({place % (len(body) + 1) for place in places} | {0, len(body)})
    return [body[start:end] for start, end in pairwise(ends)]


CUTS = st.lists(st.integers(min_value=0, max_value=10_000), max_size=40)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"data: 1\n\ndata: 2\n\n", [(b"", b"1"), (b"", b"2")], id="LF"),
        pytest.param(b"data: 1\r\n\r\ndata: 2\r\n\r\n", [(b"", b"1"), (b"", b"2")], id="CRLF"),
        pytest.param(b"data: 1\r\rdata: 2\r\r", [(b"", b"1"), (b"", b"2")], id="CR"),
        pytest.param(b"data: 1\r\n\ndata: 2\n\rdata: 3\r\r\n", [(b"", b"1"), (b"", b"2"), (b"", b"3")], id="mixed"),
        pytest.param(b"\xef\xbb\xbfdata: 1\n\n", [(b"", b"1")], id="BOM"),
        pytest.param(b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [(b"", b"1")], id="BOM elsewhere"),
        pytest.param(b"data: 1\ndata: 2\ndata:\ndata: 4\n\n", [(b"", b"1\n2\n\n4")], id="several lines of data"),
        pytest.param(b"data:1\n\ndata:  2\n\n", [(b"", b"1"), (b"", b" 2")], id="one space is taken off"),
        pytest.param(b": hello\ndata: 1\n:\n: again\n\n: bye\n\n", [(b"", b"1")], id="comments"),
        pytest.param(b"event: a\ndata: 1\n\ndata: 2\n\n", [(b"a", b"1"), (b"", b"2")], id="event before data"),
        pytest.param(b"data: 1\nevent: a\n\ndata: 2\n\n", [(b"a", b"1"), (b"", b"2")], id="event after data"),
        pytest.param(b"event: a\n\ndata: 2\n\n", [(b"", b"2")], id="event without data"),
        pytest.param(b"event: a\nevent: b\ndata: 1\n\n", [(b"b", b"1")], id="the last event name"),
        pytest.param(b"data\n\ndata: 1\n\n", [(b"", b""), (b"", b"1")], id="field without a colon"),
        pytest.param(b"id: 7\nretry: 100\ndata: 1\n\n", [(b"", b"1")], id="id and retry"),
        pytest.param(b"data: 1\n\ndata: 2", [(b"", b"1"), (b"", b"2")], id="no line end at the end"),
        pytest.param(b"data: 1\n\ndata: 2\n", [(b"", b"1"), (b"", b"2")], id="no blank line at the end"),
        pytest.param(b"data: 1\n\n\n\n\ndata: 2\n\n", [(b"", b"1"), (b"", b"2")], id="more blank lines"),
        pytest.param(b'data: {"a":"b: c"}\n\n', [(b"", b'{"a":"b: c"}')], id="colons in data"),
        pytest.param(b"data: a\xe2\x80\xa8b\xe2\x80\xa9c\xc2\x85d\x0be\n\n",
                     [(b"", b"a\xe2\x80\xa8b\xe2\x80\xa9c\xc2\x85d\x0be")], id="line ends of Unicode are data"),
        pytest.param(b"data: a\x00b\n\n", [(b"", b"a\x00b")], id="NUL"),
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"\n\n", [], id="blank lines alone"),
    ],
)  # fmt: skip
def test_events_are_split_by_the_rules(body: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert events(body) == expected
    assert events(*(body[i : i + 1] for i in range(len(body)))) == expected


def test_lines_that_are_no_field_are_kept_aside_and_do_not_disturb_the_events() -> None:
    framer = SseFramer()

    found = frames_of(framer, [b'data: 1\n\n{\n  "error": {"code": 503}\n}\n\nfoo: bar\ndata: 2\n\n'])

    assert [frame.data for frame in found] == [b"1", b"2"]
    assert framer.stray == [b"{", b'  "error": {"code": 503}', b"}", b"foo: bar"]


@pytest.mark.parametrize("size", [16 * 1024, 64 * 1024 + 1, 3 * MIB])
def test_long_lines_are_read_whole(size: int) -> None:
    body = b"data: " + b"x" * size + b"\n\n"

    assert events(*(body[i : i + 4096] for i in range(0, len(body), 4096))) == [(b"", b"x" * size)]


def test_a_line_in_many_pieces_costs_time_in_proportion_to_its_length() -> None:
    framer = SseFramer()

    found = frames_of(framer, [b"data: ", *[b"x" * 1024] * (16 * 1024), b"\n\n"])

    assert [len(frame.data) for frame in found] == [16 * MIB]


def test_a_character_cut_in_two_is_put_together() -> None:
    data = "data: héllo 🎉\n\n".encode()

    for place in range(len(data)):
        assert events(data[:place], data[place:]) == [(b"", "héllo 🎉".encode())]


def test_an_event_is_there_as_soon_as_its_last_byte_is_whatever_the_line_ends() -> None:
    for body in (b"data: 1\n\n", b"data: 1\r\n\r\n", b"data: 1\r\r"):
        framer = SseFramer()
        found = [framer.feed(body[i : i + 1]) for i in range(len(body))]

        # The CR of the blank line is its end already; the LF after it adds nothing.
        last = body.rfind(b"\r") if b"\r" in body else len(body) - 1
        assert [bool(frames) for frames in found] == [place == last for place in range(len(body))]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([b"data: "] + [b"x" * MIB] * 65, id="one line"),
        pytest.param([b"data: " + b"x" * MIB + b"\n"] * 65, id="many lines"),
        pytest.param([b"x" * MIB + b"\n"] * 65, id="stray lines"),
        pytest.param([b"x" * MIB] * 65, id="no line"),
    ],
)
def test_an_event_without_end_is_refused(chunks: list[bytes]) -> None:
    framer = SseFramer()

    with pytest.raises(LlmError) as caught:
        frames_of(framer, chunks)

    assert caught.value.reason == PROVIDER_BAD_RESPONSE
    assert caught.value.message == f"The provider sent an event of more than {MAX_EVENT_BYTES} bytes."


def test_a_long_answer_of_small_events_is_never_too_large() -> None:
    framer = SseFramer()
    event = b"data: " + b"x" * (MIB - 8) + b"\n\n"

    assert sum(len(framer.feed(event[:-1])) + len(framer.feed(event[-1:])) for _ in range(80)) == 80


PIECES = st.sampled_from(
    [b"data", b"data: ", b"data:", b"event: a", b"event", b": c", b":", b"id: 1", b"x", b"{}", b"\n", b"\r", b"\r\n",
     b"\n\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b" ", b"\x00", "é".encode()]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map(b"".join), CUTS)
def test_any_cut_of_a_stream_gives_the_same_events_and_stray_lines(body: bytes, places: list[int]) -> None:
    whole, pieces = SseFramer(), SseFramer()

    assert frames_of(pieces, cut(body, places)) == frames_of(whole, [body])
    assert pieces.stray == whole.stray


@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_a_stream_is_read_as_the_standard_says(body: bytes) -> None:
    assert events(body) == _by_the_standard(body)


def _by_the_standard(body: bytes) -> list[tuple[bytes, bytes]]:
    """The rules once more, as plainly as can be."""
    found: list[tuple[bytes, bytes]] = []
    name, data = b"", list[bytes]()
    for line in [*re.split(rb"\r\n|\r|\n", body.removeprefix(b"\xef\xbb\xbf")), b""]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data:
                found.append((name, b"\n".join(data)))
            name, data = b"", []
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return found


def test_a_body_is_one_event_without_the_mark_of_utf_8() -> None:
    assert frames_of(BodyFramer(), [b"\xef\xbb", b'\xbf{"a"', b":1}"]) == [Frame(b"", b'{"a":1}')]
    assert frames_of(BodyFramer(), []) == []


def test_a_body_without_end_is_refused() -> None:
    framer = BodyFramer()

    with pytest.raises(LlmError) as caught:
        frames_of(framer, [b"x" * MIB] * 65)

    assert caught.value.reason == PROVIDER_BAD_RESPONSE


TRICKY = {"text": 'a "quoted" {brace} \\ and \\" [x] ,', "ü🎉": [{"n": 1}, "}", "\\\\"], "\\": "\\u0041{"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(orjson.dumps(TRICKY) + b"\n" + orjson.dumps({"b": 2}), id="newline-delimited"),
        pytest.param(orjson.dumps(TRICKY) + orjson.dumps({"b": 2}), id="one after the other"),
        pytest.param(
            b"\xef\xbb\xbf" + orjson.dumps(TRICKY) + b"\r\n\r\n" + orjson.dumps({"b": 2}) + b"\r\n", id="CRLF"
        ),
        pytest.param(orjson.dumps([TRICKY, {"b": 2}]), id="array"),
        pytest.param(orjson.dumps([TRICKY, {"b": 2}], option=orjson.OPT_INDENT_2).replace(b"\n", b"\r\n"), id="pretty"),
    ],
)
def test_objects_are_found_in_every_layout_and_every_cut(body: bytes) -> None:
    expected = [TRICKY, {"b": 2}]

    assert objects(body) == expected
    assert objects(*(body[i : i + 1] for i in range(len(body)))) == expected
    for place in range(len(body)):
        assert objects(body[:place], body[place:]) == expected


def test_an_object_is_there_as_soon_as_its_last_byte_is() -> None:
    framer = JsonFramer()

    assert framer.feed(b'[{"a":1') == []
    assert [frame.data for frame in framer.feed(b'},\n{"b":')] == [b'{"a":1}']
    assert [frame.data for frame in framer.feed(b"2}")] == [b'{"b":2}']


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"a":1}\noops\n{"b":2}\n', [{"a": 1}, b"oops", {"b": 2}], id="between"),
        pytest.param(b'oops {"b":2}', [b"oops", {"b": 2}], id="in front"),
        pytest.param(b'{"a":1} oops', [{"a": 1}, b"oops"], id="behind"),
        pytest.param(b'"a":1}\n{"b":2}\n', [b'"a":1}', {"b": 2}], id="an object that lost its beginning"),
        pytest.param(b'it"s \\{"b":2}', [b'it"s \\', {"b": 2}], id="quotes and backslashes"),
        pytest.param(b'{"a":1}\n{"b":', [{"a": 1}, b'{"b":'], id="an object that lost its end"),
        pytest.param(b"null", [None], id="no object"),
        pytest.param(b"<html>\n</html>", [b"<html>\n</html>"], id="no JSON"),
        pytest.param(b"[]", [], id="empty array"),
        pytest.param(b" \r\n", [], id="white space"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_text_that_is_no_object_does_not_vanish(body: bytes, expected: list[object]) -> None:
    assert objects(body) == expected
    assert objects(*(body[i : i + 1] for i in range(len(body)))) == expected


def test_objects_that_were_handed_out_do_not_pile_up() -> None:
    framer = JsonFramer()
    event = orjson.dumps({"text": "x" * MIB})
    found = framer.feed(event[:1])

    # No chunk ends where an object does, and all of them together are longer than one may be.
    for _ in range(70):
        found += framer.feed(event[1:] + event[:1])

    assert len(found) == 70


def test_an_object_without_end_is_refused() -> None:
    framer = JsonFramer()

    with pytest.raises(LlmError) as caught:
        frames_of(framer, [b'{"a":"', *[b"x" * MIB] * 65])

    assert caught.value.reason == PROVIDER_BAD_RESPONSE


JSON_PIECES = st.sampled_from(
    [b"{", b"}", b'"', b"\\", b"[", b"]", b",", b":", b" ", b"\n", b"\r\n", b"a", b"1", b"null", b'{"a":1}', b'{"b":"}"}',
     b'"\\""', b"\xef\xbb\xbf", "é".encode()]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON_PIECES, max_size=40).map(b"".join), CUTS)
def test_any_cut_of_junk_gives_the_same_pieces(body: bytes, places: list[int]) -> None:
    assert objects(*cut(body, places)) == objects(body)


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=4), st.booleans(), st.booleans(), CUTS)
def test_any_cut_of_objects_gives_the_objects(
    values: list[dict[str, object]], pretty: bool, array: bool, places: list[int]
) -> None:
    option = orjson.OPT_INDENT_2 if pretty else 0
    body = orjson.dumps(values, option=option) if array else b"\n".join(orjson.dumps(v, option=option) for v in values)

    assert objects(*cut(body, places)) == values
