"""Callers who speak Connect or gRPC-Web, written down byte by byte, and what they are told, in one form."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import aiohttp
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import ErrorInfo, QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status

from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, LlmResponse
from loom_grpc.v1.message_pb2 import ROLE_USER
from loom_grpc.v1.message_pb2 import Message as Turn

M = TypeVar("M", bound=Message)

SERVICE: Final = "/loom_grpc.v1.LlmService"
WAIT_S: Final = 10
_DETAILS: Final[dict[str, type[Message]]] = {
    "google.rpc.ErrorInfo": ErrorInfo,
    "google.rpc.RetryInfo": RetryInfo,
    "google.rpc.QuotaFailure": QuotaFailure,
}


@dataclass
class Told:
    """What a caller is told."""

    http: int
    headers: dict[str, str]
    messages: list[bytes]
    """Of the answer, each in the caller's codec."""
    code: int
    """A `google.rpc.Code`."""
    message: str
    details: list[Message]
    trailing: dict[str, str]

    @property
    def info(self) -> ErrorInfo:
        """Why the call failed."""
        (info,) = (detail for detail in self.details if isinstance(detail, ErrorInfo))
        return info


class Caller:
    """Somebody who speaks one media type."""

    def __init__(self, media_type: str) -> None:
        self.media_type = media_type
        self.is_web = "grpc-web" in media_type
        self.is_text = "-text" in media_type
        self.is_json = media_type.endswith("json")
        self.is_bare = media_type in ("application/proto", "application/json")

    def __repr__(self) -> str:
        return self.media_type.removeprefix("application/")

    def encode(self, request: Message) -> bytes:
        """Writes a request's body."""
        data = json_format.MessageToJson(request).encode() if self.is_json else request.SerializeToString()
        if self.is_bare:
            return data
        return self.armour(struct.pack(">BI", 0, len(data)) + data)

    def armour(self, body: bytes) -> bytes:
        """Makes text of bytes, for those who speak text."""
        return base64.b64encode(body) if self.is_text else body

    def decode(self, data: bytes, message: M) -> M:
        """Reads a message of an answer."""
        if self.is_json:
            return json_format.Parse(data, message)
        message.ParseFromString(data)
        return message

    async def call(self, client: aiohttp.ClientSession, method: str, request: Message, **headers: str) -> Told:
        """Calls a method of LlmService."""
        return await self.post(client, method, self.encode(request), **headers)

    async def post(self, client: aiohttp.ClientSession, method: str, body: Any, **headers: str) -> Told:
        """Sends a body as it is."""
        named = {"content-type": self.media_type} | {key.replace("_", "-"): text for key, text in headers.items()}
        url = f"{SERVICE}/{method}"
        async with asyncio.timeout(WAIT_S), client.post(url, data=body, headers=named) as response:
            return self.read(response.status, dict(response.headers), await response.read())

    def read(self, http: int, headers: dict[str, str], body: bytes) -> Told:
        """Reads an answer to its end."""
        lower = {name.lower(): text for name, text in headers.items()}
        if self.is_bare or http != 200:
            return _read_bare(http, lower, body)
        assert (http, lower["content-type"]) == (200, self.media_type)
        *frames, (flags, last) = split(unarmour(body) if self.is_text else body)
        assert [kind for kind, _ in frames] == [0] * len(frames)
        assert flags == (0x80 if self.is_web else 2)
        messages = [data for _, data in frames]
        return Told(200, lower, messages, *(_read_trailers(last) if self.is_web else _read_end(last)))


UNARY: Final = [
    Caller(f"application/{kind}") for kind in ("proto", "json", "grpc-web", "grpc-web+proto", "grpc-web+json")
] + [Caller(f"application/grpc-web-text{codec}") for codec in ("", "+proto")]
STREAMS: Final = [
    Caller(f"application/{kind}") for kind in ("connect+proto", "connect+json", "grpc-web+proto", "grpc-web+json")
] + [Caller("application/grpc-web-text+proto")]


def ask(text: str = "hi", model: str = "mock/mock-echo") -> LlmRequest:
    """Makes a request."""
    return LlmRequest(model=model, messages=[Turn(role=ROLE_USER, content=text)])


def events_of(caller: Caller, told: Told) -> list[LlmEvent]:
    """Reads the events of a stream."""
    return [caller.decode(data, LlmEvent()) for data in told.messages]


def answer_of(caller: Caller, told: Told) -> LlmResponse:
    """Reads the only answer."""
    (data,) = told.messages
    return caller.decode(data, LlmResponse())


def split(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the frames of a body."""
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        assert len(body) >= 5 + size
        yield flags, body[5 : 5 + size]
        body = body[5 + size :]


def unarmour(text: bytes) -> bytes:
    """Reads base64 whose padding may be anywhere."""
    return b"".join(base64.b64decode(text[at : at + 4]) for at in range(0, len(text), 4))


def _read_bare(http: int, headers: dict[str, str], body: bytes) -> Told:
    trailing = {name[8:]: text for name, text in headers.items() if name.startswith("trailer-")}
    if http == 200:
        return Told(http, headers, [body], code_pb2.OK, "", [], trailing)
    assert headers["content-type"] == "application/json"
    return Told(http, headers, [], *_read_error(json.loads(body)), trailing)


def _read_end(data: bytes) -> tuple[int, str, list[Message], dict[str, str]]:
    end = json.loads(data)
    trailing = {name: ", ".join(texts) for name, texts in end["metadata"].items()}
    return (*(_read_error(end["error"]) if "error" in end else (code_pb2.OK, "", [])), trailing)


def _read_error(error: dict[str, Any]) -> tuple[int, str, list[Message]]:
    name = {"canceled": "CANCELLED"}.get(error["code"], error["code"].upper())
    details = [
        _DETAILS[detail["type"]].FromString(base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4)))
        for detail in error["details"]
    ]
    return code_pb2.Code.Value(name), error["message"], details


def _read_trailers(data: bytes) -> tuple[int, str, list[Message], dict[str, str]]:
    assert data.endswith(b"\r\n")
    trailing = dict(line.split(": ", 1) for line in data.decode("ascii").split("\r\n")[:-1])
    code, message = int(trailing.pop("grpc-status")), unquote(trailing.pop("grpc-message", ""))
    packed = trailing.pop("grpc-status-details-bin", "")
    status = Status.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    assert (status.code, status.message) == (code, message)
    return code, message, unpacked(status), trailing


def unpacked(status: Status) -> list[Message]:
    """Returns the details of a status."""
    return [_DETAILS[any.type_url.rpartition("/")[2]].FromString(any.value) for any in status.details]
