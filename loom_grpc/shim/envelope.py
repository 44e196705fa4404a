"""Connect and gRPC-Web, by which browsers call gRPC services, as pure codecs (docs/decisions/0022-browsers.md).

Connect: connectrpc.com/docs/protocol. gRPC-Web: doc/PROTOCOL-WEB.md of github.com/grpc/grpc, which says what is different from
doc/PROTOCOL-HTTP2.md there. All seen 2026-11-21.
"""

from __future__ import annotations

import binascii
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote

import orjson
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.trailing import Pairs
from loom_grpc.core.wire import read_message
from loom_grpc.frontends.body import HttpError
from loom_grpc.shim.exchange import Header

M = TypeVar("M", bound=Message)

_HTTP: Final[dict[int, int]] = {
    code_pb2.CANCELLED: 499,
    code_pb2.UNKNOWN: 500,
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.ABORTED: 409,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DATA_LOSS: 500,
    code_pb2.UNAUTHENTICATED: 401,
}
"""The HTTP status that Connect has for each code; the codes' own words are the names in lower case, but for one."""
_CANCELED: Final = "canceled"

_HEAD_BYTES: Final = 5
"""Of a frame: flags, and the length of the message as four bytes, the highest first."""
_COMPRESSED: Final = 0x01
_NONE: Final = ("", "identity")
_GZIP: Final = 31
"""What makes zlib read gzip, of any window (zlib.net/manual.html, inflateInit2, seen 2026-11-21)."""
_LONG_NAME: Final = 40
_END: Final = 0x02
"""Connect's last frame, which tells how the call ended."""
_TRAILERS: Final = 0x80
"""The same of gRPC-Web."""

_MILLISECONDS: Final = re.compile(r"[0-9]{1,10}")
_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_LONG_WHY: Final = 600
_BASE64: Final = re.compile(rb"[^=]+={0,2}")


class Codec(NamedTuple):
    """How a message is written."""

    read: Callable[[Message, bytes], Message]
    """Reads bytes into a message; raises `LlmError`."""
    write: Callable[[Message], bytes]


def _read_json(message: M, data: bytes) -> M:
    """Reads JSON as protobuf has it. A field that the contract does not have is refused, for it is more often a typing error than news."""
    if not data.lstrip().startswith(b"{"):  # the library takes what is empty, such as [], for an object
        raise LlmError(INVALID_REQUEST, "The request does not fit: it must be a JSON object.")
    try:
        Parse(data, message)
    except (ParseError, ValueError, RecursionError) as error:
        why = " ".join(str(error).encode(errors="replace").decode().split())  # what it quotes may hold half a character
        raise LlmError(INVALID_REQUEST, f"The request does not fit: {why[:_LONG_WHY]}") from None
    return message


def _write_json(message: Message) -> bytes:
    return MessageToJson(message, indent=None, ensure_ascii=False).encode()


PROTO: Final = Codec(read_message, lambda message: message.SerializeToString())
JSON: Final = Codec(_read_json, _write_json)


class End(NamedTuple):
    """How a call ended."""

    trailing: Pairs
    status: Status | None = None
    """None is well."""
    http: int = 0
    """The HTTP status for callers who look there, where it is not that of the code."""


class Whole(NamedTuple):
    """An answer in one piece."""

    status: int
    media_type: str
    headers: list[Header]
    body: bytes


class Wire(ABC):
    """What is spoken in one media type."""

    timeout_header: str
    encoding_header: str
    """Tells how a message is compressed."""

    def __init__(self, media_type: str, codec: Codec) -> None:
        self.media_type = media_type
        self.codec = codec

    @abstractmethod
    def read(self, message: M, body: bytes, encoding: str, max_bytes: int) -> M:
        """Reads the one message of a request's body, and returns it. Raises `HttpError` and `LlmError`.

        `encoding` is how it says it is compressed, and `max_bytes` how large it may be when it is not.
        """

    @abstractmethod
    def timeout_s(self, text: str) -> float:
        """Reads how long the caller waits; raises `HttpError`."""

    @abstractmethod
    def whole(self, end: End, message: Message | None = None) -> Whole:
        """Writes the answer of a call that is no stream, or that failed before its stream began."""


class Bare(Wire):
    """Connect, for calls with one answer: the message is the body, and the HTTP status and headers tell the rest."""

    timeout_header = "connect-timeout-ms"
    encoding_header = "content-encoding"

    def read(self, message: M, body: bytes, encoding: str, max_bytes: int) -> M:
        """Reads the body."""
        plain = body if not body or encoding in _NONE else _inflated(body, encoding, max_bytes)
        self.codec.read(message, plain)
        return message

    def timeout_s(self, text: str) -> float:
        """Reads milliseconds."""
        return _connect_timeout_s(text)

    def whole(self, end: End, message: Message | None = None) -> Whole:
        """Writes the message, or as JSON why there is none."""
        headers = [(f"trailer-{name}".encode(), text.encode()) for name, text in end.trailing]
        if end.status is None:
            return Whole(200, self.media_type, headers, b"" if message is None else self.codec.write(message))
        body = orjson.dumps(_connect_error(end.status))
        return Whole(end.http or _HTTP[end.status.code], "application/json", headers, body)


class Framed(Wire):
    """Messages in frames, and a last one that tells how the call ended; the HTTP status is always 200."""

    def read(self, message: M, body: bytes, encoding: str, max_bytes: int) -> M:
        """Reads the only frame."""
        flags, data = _only_frame(body)
        if flags == _COMPRESSED:
            data = _inflated(data, encoding, max_bytes)
        self.codec.read(message, data)
        return message

    def whole(self, end: End, message: Message | None = None) -> Whole:
        """Writes all frames."""
        answer = b"" if message is None else self.frame(message)
        return Whole(200, self.media_type, [], answer + self.end(end))

    def frame(self, message: Message) -> bytes:
        """Writes a message."""
        return _frame(0, self.codec.write(message))

    @abstractmethod
    def end(self, end: End) -> bytes:
        """Writes the last frame."""


class Envelope(Framed):
    """Connect, for streams."""

    timeout_header = "connect-timeout-ms"
    encoding_header = "connect-content-encoding"

    def timeout_s(self, text: str) -> float:
        """Reads milliseconds."""
        return _connect_timeout_s(text)

    def end(self, end: End) -> bytes:
        """Writes the trailing metadata, and why the call failed."""
        metadata = {"metadata": {name: [text] for name, text in end.trailing}}
        failure = {} if end.status is None else {"error": _connect_error(end.status)}
        return _frame(_END, orjson.dumps(failure | metadata))


class Web(Framed):
    """gRPC-Web."""

    timeout_header = "grpc-timeout"
    encoding_header = "grpc-encoding"

    def timeout_s(self, text: str) -> float:
        """Reads gRPC's number with its unit."""
        found = _TIMEOUT.fullmatch(text)
        if found is None:
            raise HttpError(
                400, "grpc-timeout: must be a number of at most 8 digits and one of the units H, M, S, m, u, n."
            )
        return int(found[1]) * _UNITS[found[2]]

    def end(self, end: End) -> bytes:
        """Writes the trailers as HTTP/1 does."""
        pairs = [("grpc-status", "0")] if end.status is None else _grpc_error(end.status)
        return _frame(_TRAILERS, "".join(f"{name}: {text}\r\n" for name, text in (*pairs, *end.trailing)).encode())


class WebText(Web):
    """gRPC-Web as text, for clients that cannot read bytes: frames are base64, each by itself so that it can be read when it comes."""

    def read(self, message: M, body: bytes, encoding: str, max_bytes: int) -> M:
        """Reads the only frame; the padding may also be in the middle."""
        try:
            pieces = [binascii.a2b_base64(piece, strict_mode=True) for piece in _BASE64.findall(body)]
        except binascii.Error:
            raise HttpError(400, "The body is not base64.") from None
        return super().read(message, b"".join(pieces), encoding, max_bytes)

    def frame(self, message: Message) -> bytes:
        """Writes a message."""
        return _base64(super().frame(message))

    def end(self, end: End) -> bytes:
        """Writes the trailers. Binary ones stay base64 within, as Envoy writes them, though the document would have them bare."""
        return _base64(super().end(end))


def _table(*wires: Wire) -> Mapping[str, Wire]:
    return {wire.media_type: wire for wire in wires}


_WEB: Final = (
    Web("application/grpc-web", PROTO),
    Web("application/grpc-web+proto", PROTO),
    Web("application/grpc-web+json", JSON),
    WebText("application/grpc-web-text", PROTO),
    WebText("application/grpc-web-text+proto", PROTO),
)
PLAIN: Final = Bare("application/json", JSON)
"""What callers are answered in who spoke something else."""
UNARY: Final = _table(Bare("application/proto", PROTO), PLAIN, *_WEB)
STREAMS: Final = _table(Envelope("application/connect+proto", PROTO), Envelope("application/connect+json", JSON), *_WEB)


def _frame(flags: int, data: bytes) -> bytes:
    return bytes((flags,)) + len(data).to_bytes(4) + data


def _only_frame(body: bytes) -> tuple[int, bytes]:
    """Returns the flags and the message of the only frame; raises `HttpError`."""
    if len(body) < _HEAD_BYTES:
        raise HttpError(
            400, f"The body must be a frame with a message; it has {len(body)} bytes, and a frame's head alone 5."
        )
    flags, size, message = body[0], int.from_bytes(body[1:_HEAD_BYTES]), body[_HEAD_BYTES:]
    if flags not in (0, _COMPRESSED):
        raise HttpError(
            400,
            f"The message's frame has the flags 0x{flags:02x}; those of a request are 0, or 1 when it is compressed.",
        )
    if size > len(message):
        raise HttpError(400, f"The frame says that its message has {size} bytes, and {len(message)} follow.")
    if size < len(message):
        raise HttpError(400, "The body must be one frame; something follows it.")
    return flags, message


def _inflated(data: bytes, encoding: str, max_bytes: int) -> bytes:
    """Returns a message that was compressed; raises `HttpError`."""
    if encoding != "gzip":
        raise HttpError(
            415,
            f"The message is compressed by {encoding[:_LONG_NAME] or 'no known way'}; this server takes gzip and identity.",
        )
    inflater = zlib.decompressobj(wbits=_GZIP)
    try:
        plain = inflater.decompress(data, max_bytes + 1)
    except zlib.error:
        raise HttpError(400, "The message is said to be gzip, and is not.") from None
    if len(plain) > max_bytes:
        raise HttpError(
            413, f"The message is larger than the {max_bytes} bytes that this server takes (http.max_body_bytes)."
        )
    if not inflater.eof or inflater.unused_data:
        raise HttpError(400, "The message is said to be gzip, and does not end where that does.")
    return plain


def _connect_timeout_s(text: str) -> float:
    if not _MILLISECONDS.fullmatch(text):
        raise HttpError(400, "connect-timeout-ms: must be a whole number of at most 10 digits.")
    return int(text) / 1000


def _connect_error(status: Status) -> dict[str, object]:
    word = _CANCELED if status.code == code_pb2.CANCELLED else code_pb2.Code.Name(status.code).lower()
    details = [
        {"type": detail.type_url.rpartition("/")[2], "value": _base64(detail.value).rstrip(b"=").decode()}
        for detail in status.details
    ]
    return {"code": word, "message": status.message, "details": details}


def _grpc_error(status: Status) -> list[tuple[str, str]]:
    return [
        ("grpc-status", str(status.code)),
        ("grpc-message", quote(status.message, safe=_PRINTABLE)),
        ("grpc-status-details-bin", _base64(status.SerializeToString()).rstrip(b"=").decode()),
    ]


def _base64(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False)
