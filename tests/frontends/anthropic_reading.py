"""Reads what the Messages front end writes, as a client of the API does."""

from __future__ import annotations

import json
from typing import Any

import orjson

from loom_grpc.frontends.anthropic_request import read_request
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import Message

BASE: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 100}
HI: dict[str, Any] = {"role": "user", "content": "hi"}


def events_of(data: bytes) -> list[Any]:
    """Returns the events of a stream; each has the name that its data has."""
    events = []
    for frame in data.decode().removesuffix("\n\n").split("\n\n"):
        name, _, rest = frame.removeprefix("event: ").partition("\ndata: ")
        events.append(json.loads(rest))
        assert events[-1]["type"] == name
    return events


def collected(data: bytes) -> dict[str, Any]:
    """Puts a stream together, and checks that every block is opened once, in order, and closed once."""
    message: dict[str, Any] = {}
    inputs: dict[int, str] = {}
    is_open: set[int] = set()
    for event in events_of(data):
        match event["type"]:
            case "message_start":
                assert not message
                message = event["message"]
            case "content_block_start":
                assert event["index"] == len(message["content"])
                is_open.add(event["index"])
                message["content"].append(event["content_block"])
            case "content_block_delta":
                assert event["index"] in is_open
                _grow(message["content"][event["index"]], event["delta"], inputs, event["index"])
            case "content_block_stop":
                is_open.remove(event["index"])
                if text := inputs.get(event["index"]):
                    message["content"][event["index"]]["input"] = json.loads(text)
            case "message_delta":
                assert not is_open
                message |= event["delta"]
                message["usage"] = message["usage"] | event["usage"]
    assert events_of(data)[-1] == {"type": "message_stop"}
    return message


def _grow(block: dict[str, Any], delta: dict[str, Any], inputs: dict[int, str], index: int) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "citations_delta":
            block.setdefault("citations", []).append(delta["citation"])
        case "input_json_delta":
            inputs[index] = inputs.get(index, "") + delta["partial_json"]


def read(body: dict[str, Any]) -> LlmRequest:
    """Reads a request."""
    return read_request(orjson.dumps(body), {}, counts=False).request


def untold(body: dict[str, Any]) -> tuple[str, ...]:
    """Returns what of a request other providers cannot be told."""
    native = read_request(orjson.dumps(body), {}, counts=False).native
    assert native is not None
    return native.untold


def read_back(content: list[Any]) -> Message:
    """Reads an answer's blocks as the turn of the next request."""
    return read(BASE | {"messages": [HI, {"role": "assistant", "content": content}]}).messages[1]
