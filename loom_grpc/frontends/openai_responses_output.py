"""The output of a response: its items, and the events that tell of them as they grow.

Source of the order of events: platform.openai.com/docs/api-reference/responses-streaming and recorded streams, seen 2026-11-21.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

from loom_grpc.frontends.openai_chat_state import details_of
from loom_grpc.v1.llm_service_pb2 import ToolCallDelta
from loom_grpc.v1.message_pb2 import Citation, Media, Message, Part, ToolCall

Event = dict[str, Any]

_MESSAGE: Final = "message"
_REASONING: Final = "reasoning"


class Output:
    """Makes the items of one answer. `token` goes into their ids; each method yields the events that follow from what it takes.

    What the provider wants back in the next turn comes as one more item of reasoning, which stands for the whole turn.
    """

    def __init__(self, token: str, *, shows_state: bool) -> None:
        self.items: list[dict[str, Any]] = []
        """All items, those that are still growing included."""
        self._token = token
        self._shows_state = shows_state
        self._open: dict[str, Any] | None = None
        """The message or the reasoning that is growing."""
        self._part: dict[str, Any] | None = None
        """Its last piece."""
        self._words: list[str] = []
        self._length = 0
        self._cited = (0, 0)
        self._calls: dict[int, tuple[dict[str, Any], list[str]]] = {}
        """The calls that are being spelled out, by their numbers."""

    @property
    def in_text(self) -> bool:
        """Whether more text would go on with what came last."""
        return self._part is not None and self._part["type"] == "output_text"

    def add_text(self, content: str) -> None:
        """Takes more text where `in_text`, of which the caller tells by itself."""
        self._words.append(content)
        self._length += len(content)

    def text(self, content: str) -> Iterator[Event]:
        """Takes text."""
        if not self.in_text:
            yield from self._open_item(_MESSAGE)
            yield from self._open_part({"type": "output_text", "annotations": [], "logprobs": [], "text": ""})
        if content:
            self.add_text(content)
            yield {
                "type": "response.output_text.delta",
                **self.place("content_index"),
                "delta": content,
                "logprobs": [],
            }

    def thinking(self, content: str) -> Iterator[Event]:
        """Takes reasoning, which is shown as its summary."""
        if self._open is None or self._open["type"] != _REASONING:
            yield from self._open_item(_REASONING)
            yield from self._open_part({"type": "summary_text", "text": ""})
        self.add_text(content)
        yield {"type": "response.reasoning_summary_text.delta", **self.place("summary_index"), "delta": content}

    def tool(self, delta: ToolCallDelta) -> Iterator[Event]:
        """Takes a piece of a call."""
        if delta.index not in self._calls:
            yield from self._close_open("completed")
            item = self._item("fc", "function_call", arguments="", call_id=delta.call_id, name=delta.tool_name)
            self._calls[delta.index] = (item, [])
            yield self._added(item)
        item, fragments = self._calls[delta.index]
        if delta.arguments_fragment:
            fragments.append(delta.arguments_fragment)
            place = {"item_id": item["id"], "output_index": self.items.index(item)}
            yield {"type": "response.function_call_arguments.delta", **place, "delta": delta.arguments_fragment}

    def part(self, part: Part) -> Iterator[Event]:
        """Takes a part for which there is an item or a piece of one."""
        match part.WhichOneof("kind"):
            case "refusal":
                yield from self._refusal(part.refusal)
            case "citation" if part.citation.url and self.in_text:
                yield self._annotation(part.citation)
            case "image" if part.image.data:
                yield from self._image(part.image)

    def speak(self, message: Message) -> Iterator[Event]:
        """Takes a whole answer."""
        parts = message.parts or ([Part(text=message.content)] if message.content else [])
        calls = list(enumerate(message.tool_calls))
        for place, part in enumerate(parts):
            while calls and calls[0][1].HasField("part_index") and calls[0][1].part_index <= place:
                yield from self._whole_call(*calls.pop(0))
            yield from self._whole_part(part)
        for number, call in calls:
            yield from self._whole_call(number, call)

    def end(self, message: Message, status: str) -> Iterator[Event]:
        """Ends what is open, the last item with `status`, and adds what the next turn needs."""
        yield from self.close(status)
        for detail in details_of(message):
            item = self._item("rs", _REASONING, summary=[], encrypted_content=detail["data"])
            if self._shows_state:
                yield self._added(item)
                yield self._done(item)

    def close(self, status: str = "completed") -> Iterator[Event]:
        """Ends what is open."""
        yield from self._close_open(status)
        yield from self._close_calls(status)

    def shown(self) -> list[dict[str, Any]]:
        """Returns the items that the caller sees."""
        return self.items if self._shows_state else [item for item in self.items if "encrypted_content" not in item]

    def place(self, index: str) -> dict[str, Any]:
        """Returns where the open piece is; `index` is what its number is called."""
        assert self._open is not None  # noqa: S101 - a piece is part of an item
        pieces = self._open["content" if index == "content_index" else "summary"]
        return {"item_id": self._open["id"], "output_index": len(self.items) - 1, index: len(pieces) - 1}

    def _whole_part(self, part: Part) -> Iterator[Event]:
        match part.WhichOneof("kind"):
            case "text":
                yield from self.text(part.text)
            case "thinking" if part.thinking:
                yield from self.thinking(part.thinking)
                yield from self._close_open("completed")
            case _:
                yield from self.part(part)

    def _whole_call(self, number: int, call: ToolCall) -> Iterator[Event]:
        yield from self.tool(
            ToolCallDelta(
                call_id=call.id, tool_name=call.tool_name, arguments_fragment=call.arguments_json, index=number
            )
        )

    def _refusal(self, words: str) -> Iterator[Event]:
        yield from self._open_item(_MESSAGE)
        yield from self._open_part({"type": "refusal", "refusal": ""})
        self.add_text(words)
        yield {"type": "response.refusal.delta", **self.place("content_index"), "delta": words}
        yield from self._close_part()

    def _annotation(self, citation: Citation) -> Event:
        """Makes a source of the text since the sources before it."""
        assert self._part is not None  # noqa: S101 - the caller has looked
        if self._cited[1] != self._length:
            self._cited = (self._cited[1], self._length)
        start, end = self._cited
        source = {
            "type": "url_citation",
            "url": citation.url,
            "title": citation.title,
            "start_index": start,
            "end_index": end,
        }
        annotations = self._part["annotations"]
        annotations.append(source)
        place = self.place("content_index")
        return {
            "type": "response.output_text.annotation.added",
            **place,
            "annotation_index": len(annotations) - 1,
            "annotation": source,
        }

    def _image(self, image: Media) -> Iterator[Event]:
        yield from self.close()
        item = self._item("ig", "image_generation_call", result=base64.b64encode(image.data).decode())
        yield self._added(item | {"result": None})
        item["status"] = "completed"
        yield self._done(item)

    def _open_item(self, kind: str) -> Iterator[Event]:
        if self._open is not None and self._open["type"] == kind:
            return
        yield from self.close()
        if kind == _MESSAGE:
            self._open = self._item("msg", _MESSAGE, content=[], role="assistant")
        else:
            self._open = self._item("rs", _REASONING, summary=[])
        yield self._added(self._open)

    def _open_part(self, part: dict[str, Any]) -> Iterator[Event]:
        assert self._open is not None  # noqa: S101 - the item was opened before
        yield from self._close_part()
        self._part = part
        self._words, self._length, self._cited = [], 0, (0, 0)
        if self._open["type"] == _MESSAGE:
            self._open["content"].append(part)
            yield {"type": "response.content_part.added", **self.place("content_index"), "part": dict(part)}
        else:
            self._open["summary"].append(part)
            yield {"type": "response.reasoning_summary_part.added", **self.place("summary_index"), "part": dict(part)}

    def _close_part(self) -> Iterator[Event]:
        if self._part is None:
            return
        part, words = self._part, "".join(self._words)
        match part["type"]:
            case "output_text":
                part["text"] = words
                place = self.place("content_index")
                yield {"type": "response.output_text.done", **place, "text": words, "logprobs": []}
                yield {"type": "response.content_part.done", **place, "part": part}
            case "refusal":
                part["refusal"] = words
                place = self.place("content_index")
                yield {"type": "response.refusal.done", **place, "refusal": words}
                yield {"type": "response.content_part.done", **place, "part": part}
            case _:
                part["text"] = words
                place = self.place("summary_index")
                yield {"type": "response.reasoning_summary_text.done", **place, "text": words}
                yield {"type": "response.reasoning_summary_part.done", **place, "part": part}
        self._part = None

    def _close_open(self, status: str) -> Iterator[Event]:
        yield from self._close_part()
        item, self._open = self._open, None
        if item is not None:
            if "status" in item:
                item["status"] = status
            yield self._done(item)

    def _close_calls(self, status: str) -> Iterator[Event]:
        calls, self._calls = self._calls, {}
        for item, fragments in calls.values():
            item["arguments"] = "".join(fragments)
            item["status"] = status
            place = {"item_id": item["id"], "output_index": self.items.index(item)}
            yield {
                "type": "response.function_call_arguments.done",
                **place,
                "arguments": item["arguments"],
                "name": item["name"],
            }
            yield self._done(item)

    def _item(self, prefix: str, kind: str, **fields: Any) -> dict[str, Any]:
        item: dict[str, Any] = {"id": f"{prefix}{self._token}{len(self.items)}", "type": kind}
        if kind != _REASONING:
            item["status"] = "in_progress"
        item.update(fields)
        self.items.append(item)
        return item

    def _added(self, item: dict[str, Any]) -> Event:
        return {"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": item}

    def _done(self, item: dict[str, Any]) -> Event:
        return {"type": "response.output_item.done", "output_index": self.items.index(item), "item": item}
