"""What is said of bytes that are no message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.wire import misfit
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import Message, Part, ToolCall

WHOLE = "The request is not a loom_grpc.v1.LlmRequest message."


def test_a_text_that_is_not_utf8_is_named_by_its_path() -> None:
    call = ToolCall(id="1", tool_name="look", arguments_json="MARK")
    request = LlmRequest(
        messages=[Message(content="a"), Message(parts=[Part(text="b"), Part(thinking="c")], tool_calls=[call, call])]
    )
    data = request.SerializeToString()

    broken = b"\xff\xfe\xfd\xfc".join(data.rsplit(b"MARK", 1))

    assert misfit(LlmRequest.DESCRIPTOR, broken) == "messages[1].tool_calls[1].arguments_json: is not valid UTF-8."


@pytest.mark.parametrize("data", [b"\x0b", b"\x1a\x7f", b"\xff" * 20, b"{}"])
def test_bytes_of_another_kind_are_refused_as_a_whole(data: bytes) -> None:
    assert misfit(LlmRequest.DESCRIPTOR, data) == WHOLE


def test_only_the_beginning_of_very_many_fields_is_looked_at() -> None:
    model, bad = b"\x12\x00", b"\x12\x01\xff"
    messages = b"\x1a\x06" + model * 3
    near, far = (messages * count + bad for count in (1_000, 100_000))

    assert misfit(LlmRequest.DESCRIPTOR, near) == "model: is not valid UTF-8."
    assert misfit(LlmRequest.DESCRIPTOR, far) == WHOLE


@given(st.binary(max_size=200))
def test_any_bytes_get_an_explanation(data: bytes) -> None:
    assert misfit(LlmRequest.DESCRIPTOR, data)
