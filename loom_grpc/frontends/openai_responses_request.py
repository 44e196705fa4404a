"""Reads requests of the Responses API (platform.openai.com/docs/api-reference/responses/create, seen 2026-11-21)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from loom_grpc.frontends.body import Fields, HttpError, json_text
from loom_grpc.frontends.openai_chat_state import kept_message
from loom_grpc.frontends.openai_fields import (
    check_depth,
    need_filled,
    need_object,
    read_arguments,
    read_definition,
    read_media,
    read_schema,
    refuse,
)
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    JsonObjectFormat,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    ResponseFormat,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)

ORIGIN: Final = "responses"
OURS: Final = "_loom"
"""What the ids of items have after their kind that this server made up."""

_ROLES: Final = {
    "system": ROLE_SYSTEM,
    "developer": ROLE_SYSTEM,
    "user": ROLE_USER,
    "assistant": ROLE_ASSISTANT,
}
_CHOICES: Final = {
    "auto": ToolChoice.MODE_AUTO,
    "none": ToolChoice.MODE_NONE,
    "required": ToolChoice.MODE_REQUIRED,
}
_SAID: Final = frozenset(
    {
        *("model", "input", "instructions", "previous_response_id", "tools", "tool_choice", "parallel_tool_calls"),
        *("text", "reasoning", "max_output_tokens", "temperature", "top_p", "include", "stream", "store"),
    }
)
"""The fields that become a part of the `LlmRequest`, or that the answer is written by."""

_HINTS: Final = frozenset(
    {
        "user",  # who asks: for the provider's watch over abuse
        "safety_identifier",  # the same
        "metadata",  # the caller's notes, which come back with the answer
        "prompt_cache_key",  # where and for how long prompts are cached: what they cost
        "prompt_cache_retention",
        "prompt_cache_options",
        "service_tier",  # how soon and for how much
        "stream_options",  # padding against onlookers
        "max_tool_calls",  # of built-in tools, each of which is told of by itself
        "truncation",  # what becomes of a prompt that is too long, which fails otherwise
    }
)
"""The fields without which the answer is the same, so that providers that have no such field need not be told."""

_SILENT: Final[dict[str, tuple[object, ...]]] = {
    "background": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
}
"""The values that ask for nothing that is not done anyhow."""

_KINDS: Final[dict[str, Callable[[Fields, str], object]]] = {
    "background": Fields.flag,
    "frequency_penalty": Fields.number,
    "max_tool_calls": Fields.integer,
    "metadata": Fields.mapping,
    "presence_penalty": Fields.number,
    "previous_response_id": Fields.text,
    "prompt": Fields.object,
    "prompt_cache_key": Fields.text,
    "safety_identifier": Fields.text,
    "service_tier": Fields.text,
    "store": Fields.flag,
    "stream": Fields.flag,
    "stream_options": Fields.object,
    "top_logprobs": Fields.integer,
    "truncation": Fields.text,
    "user": Fields.text,
}
"""How fields are read that are only looked at."""

_LOGPROBS: Final = "message.output_text.logprobs"
_HISTORY: Final = frozenset(
    {"code_interpreter_call", "file_search_call", "image_generation_call", "mcp_call", "mcp_list_tools"}
    | {"tool_search_call", "tool_search_output", "web_search_call"}
)
"""Items that tell what the provider's own tools have done: what came of it is in the text that follows."""


def read_request(value: Mapping[str, Any]) -> tuple[LlmRequest, tuple[str, ...]]:
    """Returns what a body says, and the paths of the fields that a `LlmRequest` has no place for; raises `HttpError`."""
    fields = Fields(value)
    check_depth(fields, fields.keys())
    reader = _Reader()
    tools = reader.tools(fields)
    choice = reader.choice(fields, tools)
    request = LlmRequest(
        model=need_filled(fields, "model"),
        messages=reader.messages(fields),
        tools=tools,
        max_tokens=fields.integer("max_output_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        tool_choice=choice,
        response_format=reader.format(fields),
        reasoning=reader.reasoning(fields),
    )
    reader.note_rest(fields)
    return request, tuple(reader.untold)


def input_items(value: Mapping[str, Any]) -> list[Any]:
    """Returns the items of a body's input; a text is the user's message."""
    given = value.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    return list(given) if isinstance(given, list) else []


def native_items(items: Sequence[Any]) -> list[Any]:
    """Returns the items as the provider may be sent them: without what only this server knows, state of other providers included."""
    return [_without_id(item) for item in items if not _is_ours(item)]


class _Reader:
    """Reads the pieces of one body and notes what it cannot tell."""

    def __init__(self) -> None:
        self.untold: list[str] = []
        self._messages: list[Message] = []
        self._turn: Message | None = None
        """The model's turn that further items belong to."""
        self._calls: dict[str, str] = {}
        """The tools of the calls so far, by the calls' ids."""

    def messages(self, fields: Fields) -> list[Message]:
        if instructions := fields.text("instructions"):
            self._messages.append(Message(role=ROLE_SYSTEM, content=instructions))
        if isinstance(fields.value("input"), str):
            self._messages.append(Message(role=ROLE_USER, content=fields.text("input")))
        elif not fields.has("input"):
            self._ask_without_input(fields)
        else:
            for index, item in enumerate(fields.objects("input")):
                self._item(item, f"input[{index}]", fields.array("input")[index])
        if not self._messages and self.untold:
            self._messages.append(Message(role=ROLE_USER))  # what is said is untold
        for message in self._messages:
            _simplify(message)
        return self._messages

    def tools(self, fields: Fields) -> list[ToolDefinition]:
        tools = []
        for index, tool in enumerate(fields.objects("tools")):
            if tool.need_text("type") == "function":
                tools.append(read_definition(tool))
            else:
                self.untold.append(f"tools[{index}]")
        return tools

    def choice(self, fields: Fields, tools: list[ToolDefinition]) -> ToolChoice | None:
        choice = ToolChoice(parallel=fields.flag("parallel_tool_calls") if tools else None)
        value = fields.value("tool_choice")
        if isinstance(value, str):
            choice.mode = self._mode(fields, "tool_choice")
        elif value is not None:
            self._choose(choice, need_object(fields, "tool_choice"), tools)
        if choice.mode == ToolChoice.MODE_REQUIRED and not tools and fields.has("tools"):
            choice.ClearField("mode")  # only tools that are untold can be called
        return choice if choice.ListFields() else None

    def format(self, fields: Fields) -> ResponseFormat | None:
        text = fields.object("text")
        shape = text.object("format") if text is not None else None
        match shape and shape.need_text("type"):
            case None:
                return None
            case "text":
                return ResponseFormat(text=TextFormat())
            case "json_object":
                return ResponseFormat(json_object=JsonObjectFormat())
            case "json_schema" if shape is not None:
                return ResponseFormat(json_schema=read_schema(shape))
        self.untold.append("text.format")
        return None

    def reasoning(self, fields: Fields) -> Reasoning | None:
        reasoning = fields.object("reasoning")
        effort = reasoning.text("effort") if reasoning is not None else ""
        return Reasoning(effort=effort) if effort else None

    def note_rest(self, fields: Fields) -> None:
        """Notes the fields that are neither said nor hints; a value that asks for nothing needs no telling."""
        if _LOGPROBS in fields.texts("include"):
            self.untold.append("include")
        for key in fields.keys():  # noqa: SIM118 - it is no mapping
            if read := _KINDS.get(key):
                read(fields, key)
            if key not in _SAID and key not in _HINTS and fields.value(key) not in _SILENT.get(key, ()):
                self.untold.append(key)

    def _ask_without_input(self, fields: Fields) -> None:
        if not fields.has("prompt", "conversation", "previous_response_id"):
            raise HttpError(400, "Missing required parameter: 'input'.", "input")
        self._messages.append(Message(role=ROLE_USER))

    def _mode(self, fields: Fields, key: str) -> ToolChoice.Mode.ValueType:
        return _CHOICES.get(fields.text(key)) or refuse(fields, key, f"must be one of {', '.join(_CHOICES)}")

    def _choose(self, choice: ToolChoice, chosen: Fields, tools: list[ToolDefinition]) -> None:
        match chosen.need_text("type"):
            case "function":
                choice.mode = ToolChoice.MODE_TOOL
                choice.tool_name = chosen.need_text("name")
            case "allowed_tools" if all(tool.text("type") == "function" for tool in chosen.objects("tools")):
                choice.mode = self._mode(chosen, "mode")
                allowed = {tool.text("name") for tool in chosen.objects("tools")}
                tools[:] = [tool for tool in tools if tool.name in allowed]
            case _:
                self.untold.append("tool_choice")

    def _item(self, item: Fields, at: str, value: Any) -> None:
        match item.text("type") or "message":
            case "message":
                self._message(item)
            case "function_call":
                self._call(item)
            case "function_call_output":
                self._result(item)
            case "reasoning":
                self._reasoning(item)
            case kind if kind in _HISTORY:
                block = Opaque(type=kind, block_json=json_text(value))
                self._mine().parts.append(Part(opaque=block, origin=ORIGIN))
            case _:
                self.untold.append(at)

    def _message(self, item: Fields) -> None:
        name = item.need_text("role")
        role = _ROLES.get(name) or refuse(item, "role", f"must be one of {', '.join(_ROLES)}")
        item.need("content")
        parts = self._parts(item, "content")
        if role == ROLE_ASSISTANT:
            self._mine().parts.extend(parts)
        else:
            self._add(Message(role=role, parts=parts))

    def _call(self, item: Fields) -> None:
        turn = self._mine()
        call = ToolCall(
            id=need_filled(item, "call_id"), tool_name=need_filled(item, "name"), part_index=len(turn.parts)
        )
        call.arguments_json = self._arguments(item)
        self._calls[call.id] = call.tool_name
        turn.tool_calls.append(call)

    def _arguments(self, item: Fields) -> str:
        """Returns the arguments; those that are no JSON object only this API takes back."""
        text, broken = read_arguments(item)
        if broken:
            self.untold.append(item.at("arguments"))
        return text

    def _result(self, item: Fields) -> None:
        call_id = item.need_text("call_id")
        if call_id not in self._calls:
            raise HttpError(400, f"No tool call found for function call output with call_id {call_id[:80]}.", "input")
        item.need("output")
        parts = self._parts(item, "output")
        self._add(Message(role=ROLE_TOOL, tool_call_id=call_id, name=self._calls[call_id], parts=parts))

    def _reasoning(self, item: Fields) -> None:
        state = item.text("encrypted_content")
        try:
            kept = kept_message([{"data": state}])
        except ValueError:
            raise item.wrong("encrypted_content", "was changed; send it back as it was or leave it out") from None
        if kept is not None:
            self._restore(kept)
            return
        pieces = [*item.objects("summary"), *item.objects("content")]
        words = "".join(piece.text("text") for piece in pieces)
        if words or state:
            origin = ORIGIN if state else ""
            self._mine().parts.append(Part(thinking=words, provider_state=state.encode(), origin=origin))

    def _restore(self, kept: Message) -> None:
        """Puts the turn as it was in the place of what the client shows of it, unless that was changed."""
        turn, self._turn = self._turn, None
        if turn is not None and _is_same(turn, kept):
            turn.CopyFrom(kept)

    def _mine(self) -> Message:
        """Returns the model's turn that is being read."""
        if self._turn is None:
            self._turn = Message(role=ROLE_ASSISTANT)
            self._messages.append(self._turn)
        return self._turn

    def _add(self, message: Message) -> None:
        self._turn = None
        self._messages.append(message)

    def _parts(self, fields: Fields, key: str) -> list[Part]:
        if isinstance(fields.value(key), str):
            return [Part(text=fields.text(key))]
        return [part for entry in fields.objects(key) if (part := self._part(entry)) is not None]

    def _part(self, entry: Fields) -> Part | None:
        read = _PARTS.get(entry.need_text("type"))
        if read is None:
            self.untold.append(entry.at("type"))
            return None
        if entry.has("file_id"):
            self.untold.append(entry.at("file_id"))
        return read(entry)


def _text(entry: Fields) -> Part:
    return Part(text=entry.need_text("text"))


def _refusal(entry: Fields) -> Part:
    return Part(refusal=entry.need_text("refusal"))


def _image(entry: Fields) -> Part:
    if entry.has("file_id"):
        return Part(image=Media(url=entry.text("file_id")))
    return Part(image=read_media(entry, "image_url"))


def _file(entry: Fields) -> Part:
    entry.need("file_data", "file_url", "file_id")
    name = entry.text("filename")
    for key in ("file_id", "file_url"):
        if entry.has(key):
            return Part(document=Media(url=need_filled(entry, key), name=name))
    if not entry.text("file_data").startswith("data:"):
        raise entry.wrong("file_data", "must look like data:application/pdf;base64,...")
    media = read_media(entry, "file_data")
    media.name = name
    return Part(document=media)


_PARTS: Final[dict[str, Callable[[Fields], Part]]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
}


def _simplify(message: Message) -> None:
    """Puts a message into the contract's plain shape where it has one: text as such, and calls without a place when they come last."""
    for call in message.tool_calls:
        if call.HasField("part_index") and call.part_index == len(message.parts):
            call.ClearField("part_index")
    is_text = all(part.HasField("text") and not part.provider_state for part in message.parts)
    if is_text and message.parts and not any(call.HasField("part_index") for call in message.tool_calls):
        message.content = "".join(part.text for part in message.parts)
        message.ClearField("parts")


def _is_same(said: Message, kept: Message) -> bool:
    return _shown(said) == _shown(kept)


def _shown(message: Message) -> tuple[str, list[tuple[str, str, str]]]:
    text = "".join(part.text + part.refusal for part in message.parts) or message.content
    return text, [(call.id, call.tool_name, call.arguments_json) for call in message.tool_calls]


def _is_ours(item: Any) -> bool:
    """Tells whether an item is this server's reasoning, of which no provider knows."""
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    return OURS in str(item.get("id")) or str(item.get("encrypted_content")).startswith("loom.")


def _without_id(item: Any) -> Any:
    if isinstance(item, dict) and OURS in str(item.get("id")):
        return {key: value for key, value in item.items() if key != "id"}
    return item
