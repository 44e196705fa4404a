"""OpenAI's Responses (platform.openai.com/docs/api-reference/responses, seen 2026-11-21), for callers who speak it themselves.

Requests of other callers go to Chat Completions, which every host of the dialect has.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE
from loom_grpc.core.events import Answer
from loom_grpc.core.exact import dumps
from loom_grpc.core.native import Native
from loom_grpc.core.sse import BodyFramer, SseFramer
from loom_grpc.providers.classify import provider_error
from loom_grpc.providers.count import media, tokens
from loom_grpc.providers.dialect import HttpRequest, framer_of, native_body
from loom_grpc.providers.openai_error import classify
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_STOP,
    STOP_REASON_UNSPECIFIED,
    StopReason,
)
from loom_grpc.v1.message_pb2 import Citation, Media, Opaque, Part
from loom_grpc.v1.usage_pb2 import Usage

NAME: Final = "responses"

_STOP: Final[dict[str, StopReason.ValueType]] = {
    "completed": STOP_REASON_STOP,
    "max_output_tokens": STOP_REASON_LENGTH,
    "content_filter": STOP_REASON_CONTENT_FILTER,
}
_FAILED: Final = frozenset({"failed", "cancelled"})


def encode(call: Call, native: Native, headers: Mapping[str, str]) -> HttpRequest:
    """Writes a request in the caller's own words for `call.model`; the response before it is kept here, and is in the input."""
    body = {**native_body(call, native), "model": call.model}
    body.pop("previous_response_id", None)
    return HttpRequest("POST", "/responses", dumps(body).encode(), {**headers, **native.headers})


def decoder(call: Call, media_type: str) -> Decoder:
    """Reads server-sent events, or a whole response from JSON."""
    return ResponsesDecoder(Answer(call, NAME, read_usage), framer_of(call, media_type))


def read_usage(usage: dict[str, Any]) -> Usage:
    """Reads a usage object; a total larger than its parts by just the reasoning says that the output leaves it out."""
    output = tokens(usage, "output_tokens")
    input_details = usage.get("input_tokens_details") or {}
    output_details = usage.get("output_tokens_details") or {}
    reasoning = tokens(output_details, "reasoning_tokens")
    prompt = tokens(usage, "input_tokens")
    if reasoning and usage.get("total_tokens") == prompt + output + reasoning:
        output += reasoning
    read = media(input_details, output_details)
    read.input_tokens = prompt
    read.output_tokens = output
    read.cache_read_tokens = tokens(input_details, "cached_tokens")
    read.cache_write_tokens = tokens(input_details, "cache_write_tokens")
    read.reasoning_tokens = reasoning
    read.provider_usage_json = dumps(usage)
    return read


class ResponsesDecoder(Decoder):
    """Reads the events of a response, or one whole response.

    Only the event that carries the finished response ends a stream. An item that was not spelled out by deltas is read when it is done.
    """

    def __init__(self, answer: Answer, framer: BodyFramer | SseFramer) -> None:
        self._whole = isinstance(framer, BodyFramer)
        super().__init__(answer, framer, all_text=not self._whole)
        self._told: set[object] = set()
        """The items, by their place in the output, of which deltas have told."""
        self._finish_reason = ""

    def read(self, name: bytes, value: dict[str, Any]) -> None:
        """Takes an event, or the whole response; raises `LlmError` for one that failed."""
        if self._whole:
            self._read_whole(value)
            return
        step = _STEPS.get(value.get("type") or name.decode())
        if step is not None:
            step(self, value)

    def read_marker(self, data: bytes) -> bool:
        """Takes `[DONE]`, which some hosts send and which says nothing."""
        return data.strip() == b"[DONE]"

    def complete(self) -> bool:
        """Tells that no answer is whole without its last event."""
        return False

    def finish(self) -> None:
        """Completes the answer."""
        self.answer.complete(self._finish_reason, _STOP.get(self._finish_reason, STOP_REASON_UNSPECIFIED))
        self.ended = True

    def take_response(self, event: dict[str, Any]) -> None:
        """Takes the response as it stands; one that is finished ends the answer."""
        response = event["response"]
        self._note(response)
        if event["type"] in _LAST:
            if not self._told and self.answer.empty:
                self._items(response)
            self._end_with(response)

    def take_text(self, event: dict[str, Any]) -> None:
        """Takes more of the text."""
        self._told.add(event.get("output_index"))
        self.answer.text(event["delta"])

    def take_refusal(self, event: dict[str, Any]) -> None:
        """Takes a refusal, which is whole."""
        self._told.add(event.get("output_index"))
        self.answer.part(Part(refusal=event["refusal"]))

    def take_annotation(self, event: dict[str, Any]) -> None:
        """Takes a source of the text."""
        self._told.add(event.get("output_index"))
        self.answer.cite(_citation(event["annotation"]))

    def take_thinking(self, event: dict[str, Any]) -> None:
        """Takes more of the reasoning or of its summary."""
        self._told.add(event.get("output_index"))
        self.answer.thinking(event["delta"])

    def take_arguments(self, event: dict[str, Any]) -> None:
        """Takes more of a call's arguments."""
        self._told.add(event.get("output_index"))
        self.answer.tool(event.get("output_index"), fragment=event["delta"])

    def begin_item(self, event: dict[str, Any]) -> None:
        """Takes the beginning of an item, which names a call."""
        item = event["item"]
        if item["type"] == "function_call":
            self.answer.tool(event.get("output_index"), id=item.get("call_id") or "", name=item.get("name") or "")

    def end_item(self, event: dict[str, Any]) -> None:
        """Takes an item that is done."""
        self._item(event.get("output_index"), event["item"])

    def fail(self, event: dict[str, Any]) -> None:
        """Raises what an `error` tells of."""
        raise classify({"error": event.get("error") or event})

    def _read_whole(self, response: dict[str, Any]) -> None:
        if response.get("error"):
            raise classify(response)
        self._note(response)
        self._items(response)
        self._end_with(response)

    def _note(self, response: dict[str, Any]) -> None:
        self.answer.id = self.answer.id or response.get("id") or ""
        self.answer.model = response.get("model") or self.answer.model
        self.answer.usage = response.get("usage") or self.answer.usage

    def _end_with(self, response: dict[str, Any]) -> None:
        status = response["status"]
        if status in _FAILED:
            raise classify(response) if response.get("error") else provider_error(PROVIDER_BAD_RESPONSE)
        incomplete = response.get("incomplete_details") or {}
        self._finish_reason = incomplete.get("reason") or status
        self.finish()

    def _items(self, response: dict[str, Any]) -> None:
        for place, item in enumerate(response["output"]):
            self._item(place, item)

    def _item(self, place: object, item: dict[str, Any]) -> None:
        match item["type"]:
            case "message":
                if place not in self._told:
                    self._message(item)
            case "reasoning":
                self._reasoning(item, told=place in self._told)
            case "function_call":
                arguments = "" if place in self._told else item.get("arguments") or ""
                self.answer.tool(place, id=item.get("call_id") or "", name=item.get("name") or "", fragment=arguments)
                self.answer.end_tool(place)
            case kind:
                self.answer.part(_image(item) or Part(opaque=Opaque(type=kind, block_json=dumps(item))))

    def _message(self, item: dict[str, Any]) -> None:
        for piece in item.get("content") or ():
            if piece["type"] == "refusal":
                self.answer.part(Part(refusal=piece["refusal"]))
                continue
            self.answer.text(piece.get("text") or "")
            for annotation in piece.get("annotations") or ():
                self.answer.cite(_citation(annotation))

    def _reasoning(self, item: dict[str, Any], *, told: bool) -> None:
        if not told:
            pieces = [*(item.get("summary") or ()), *(item.get("content") or ())]
            self.answer.thinking("".join(piece.get("text") or "" for piece in pieces))
        if item.get("encrypted_content"):
            self.answer.state("thinking", item["encrypted_content"].encode())
        self.answer.close()


_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_STEPS: Final[dict[str, Callable[[ResponsesDecoder, dict[str, Any]], None]]] = {
    "response.output_text.delta": ResponsesDecoder.take_text,
    "response.function_call_arguments.delta": ResponsesDecoder.take_arguments,
    "response.reasoning_summary_text.delta": ResponsesDecoder.take_thinking,
    "response.reasoning_text.delta": ResponsesDecoder.take_thinking,
    "response.output_text.annotation.added": ResponsesDecoder.take_annotation,
    "response.refusal.done": ResponsesDecoder.take_refusal,
    "response.output_item.added": ResponsesDecoder.begin_item,
    "response.output_item.done": ResponsesDecoder.end_item,
    "response.created": ResponsesDecoder.take_response,
    "response.queued": ResponsesDecoder.take_response,
    "response.in_progress": ResponsesDecoder.take_response,
    **dict.fromkeys(_LAST, ResponsesDecoder.take_response),
    "error": ResponsesDecoder.fail,
}
"""What each event that matters means; the others only tell of steps on the way."""


def _image(item: dict[str, Any]) -> Part | None:
    """Reads a picture that the host's own tool has made; None where the item is something else, or has no picture in it."""
    result = item.get("result")
    if item["type"] != "image_generation_call" or not isinstance(result, str) or not result:
        return None
    try:
        data = base64.b64decode(result, validate=True)
    except binascii.Error:
        return None
    return Part(image=Media(data=data, media_type=f"image/{item.get('output_format') or 'png'}"))


def _citation(annotation: dict[str, Any]) -> Citation:
    return Citation(
        url=annotation.get("url") or "",
        title=annotation.get("title") or annotation.get("filename") or "",
        citation_json=dumps(annotation),
    )
