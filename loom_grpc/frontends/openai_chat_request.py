"""Reads Chat Completions requests (platform.openai.com/docs/api-reference/chat/create, seen 2026-11-21)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from loom_grpc.frontends.body import Fields, json_text
from loom_grpc.frontends.openai_chat_state import DETAILS, EXTRA, OURS, drop_kept, kept_message, kept_state
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
    Part,
    Reasoning,
    ResponseFormat,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)

ORIGIN: Final = "openai"

_ROLES: Final = {
    "system": ROLE_SYSTEM,
    "developer": ROLE_SYSTEM,
    "user": ROLE_USER,
    "assistant": ROLE_ASSISTANT,
    "tool": ROLE_TOOL,
    "function": ROLE_TOOL,
}
_CHOICES: Final = {
    "auto": ToolChoice.MODE_AUTO,
    "none": ToolChoice.MODE_NONE,
    "required": ToolChoice.MODE_REQUIRED,
    "any": ToolChoice.MODE_REQUIRED,  # Mistral's word
}
_SAID: Final = frozenset(
    {
        "model",
        "messages",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "parallel_tool_calls",
        "response_format",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "stop",
        "reasoning_effort",
        "reasoning",
        "thinking",
        "stream",
        "stream_options",
    }
)
"""The fields that become a part of the `LlmRequest`."""

_HINTS: Final = frozenset(
    {
        "user",  # who asks: for the provider's watch over abuse
        "safety_identifier",  # the same
        "metadata",  # the caller's notes on stored answers
        "store",  # keeps the answer at the provider; the answer is the same
        "prompt_cache_key",  # where and for how long prompts are cached: what they cost
        "prompt_cache_retention",
        "service_tier",  # how soon and for how much
        "prediction",  # what the answer may look like, so that it comes sooner
        "usage",  # OpenRouter's wish for numbers that every answer of ours has
    }
)
"""The fields without which the answer is the same, so that providers that have no such field need not be told."""

_SILENT: Final[dict[str, tuple[object, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
}
"""The values that ask for nothing that is not done anyhow."""

_KINDS: Final[dict[str, Callable[[Fields, str], object]]] = {
    "n": Fields.integer,
    "logprobs": Fields.flag,
    "top_logprobs": Fields.integer,
    "frequency_penalty": Fields.number,
    "presence_penalty": Fields.number,
    "logit_bias": Fields.object,
    "modalities": Fields.texts,
    "verbosity": Fields.text,
    "audio": Fields.object,
    "prediction": Fields.object,
    "web_search_options": Fields.object,
    "user": Fields.text,
    "safety_identifier": Fields.text,
    "prompt_cache_key": Fields.text,
    "service_tier": Fields.text,
    "store": Fields.flag,
    "stream": Fields.flag,
    "stream_options": Fields.object,
}
"""How fields are read that are only looked at."""

_SOUNDS: Final = {"mp3": "audio/mpeg"}
"""Media types that are not `audio/` and the format's name."""


def read_request(value: object) -> tuple[LlmRequest, tuple[str, ...]]:
    """Returns what a body says, and the paths of the fields that a `LlmRequest` has no place for.

    Takes out of `value` what `openai_chat_state` put into answers: it is for this server alone. Raises `HttpError`.
    """
    fields = Fields(value)
    check_depth(fields, ["messages"])
    reader = _Reader()
    tools = reader.tools(fields)
    request = LlmRequest(
        model=need_filled(fields, "model"),
        messages=reader.messages(fields),
        tools=tools,
        max_tokens=fields.integer("max_completion_tokens" if fields.has("max_completion_tokens") else "max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=_top_k(fields),
        seed=fields.integer("seed", bits=64),
        stop=_stop(fields),
        tool_choice=reader.choice(fields, bool(tools)),
        response_format=reader.format(fields),
        reasoning=reader.reasoning(fields),
    )
    reader.note_rest(fields)
    check_depth(fields, fields.keys())
    if reader.found_kept:
        drop_kept(fields.array("messages"))
    return request, tuple(reader.untold)


class _Reader:
    """Reads the pieces of one body and notes what it cannot tell."""

    def __init__(self) -> None:
        self.untold: list[str] = []
        self.found_kept = False
        """Whether something of ours came back."""
        self._called: set[str] = set()
        """The ids of the calls so far."""
        self._function_id = ""
        """The id given to the last call of the old form, which has none."""

    def messages(self, fields: Fields) -> list[Message]:
        fields.need("messages")
        at = fields.at("messages")
        values = enumerate(fields.array("messages"))
        return [_plain(value) or self._message(Fields(value, f"{at}[{number}]"), number) for number, value in values]

    def tools(self, fields: Fields) -> list[ToolDefinition]:
        tools: list[ToolDefinition] = []
        for index, tool in enumerate(fields.objects("tools")):
            if tool.text("type") in ("", "function"):
                tools.append(read_definition(need_object(tool, "function")))
            else:
                self.untold.append(f"tools[{index}]")
        return tools + [read_definition(function) for function in fields.objects("functions")]

    def choice(self, fields: Fields, has_tools: bool) -> ToolChoice | None:
        parallel = fields.flag("parallel_tool_calls")
        if fields.has("functions"):
            parallel = False  # the old form of the answer has room for one call
        choice = ToolChoice(parallel=parallel)
        key = "tool_choice" if fields.has("tool_choice") else "function_call"
        value = fields.value(key)
        if isinstance(value, str):
            choice.mode = _CHOICES.get(value) or refuse(fields, key, f"must be one of {', '.join(_CHOICES)}")
        elif value is not None:
            self._choose(choice, fields, key)
        if choice.mode == ToolChoice.MODE_REQUIRED and not has_tools and fields.has("tools"):
            choice.ClearField("mode")  # only tools that are untold can be called
        return choice if choice.ListFields() else None

    def _choose(self, choice: ToolChoice, fields: Fields, key: str) -> None:
        named = need_object(fields, key)
        if key == "tool_choice":
            if named.text("type") not in ("", "function"):
                self.untold.append(key)
                return
            named = need_object(named, "function")
        choice.mode = ToolChoice.MODE_TOOL
        choice.tool_name = named.need_text("name")

    def format(self, fields: Fields) -> ResponseFormat | None:
        shape = fields.object("response_format")
        match shape and shape.need_text("type"):
            case None:
                return None
            case "text":
                return ResponseFormat(text=TextFormat())
            case "json_object":
                return ResponseFormat(json_object=JsonObjectFormat())
            case "json_schema" if shape is not None:
                return ResponseFormat(json_schema=read_schema(need_object(shape, "json_schema")))
        self.untold.append("response_format")
        return None

    def reasoning(self, fields: Fields) -> Reasoning | None:
        """Reads the effort, or the objects in which OpenRouter (`reasoning`) and Z.ai and others (`thinking`) take the measure."""
        if effort := fields.text("reasoning_effort"):
            return Reasoning(effort=effort)
        if (measure := fields.object("reasoning")) is not None:
            return self._measure(measure, "reasoning", "max_tokens", off=measure.flag("enabled") is False)
        if (switch := fields.object("thinking")) is not None:
            return self._measure(switch, "thinking", "budget_tokens", off=switch.text("type") == "disabled")
        return None

    def _measure(self, fields: Fields, name: str, budget: str, *, off: bool) -> Reasoning | None:
        if off:
            return Reasoning(effort="none")
        if effort := fields.text("effort"):
            return Reasoning(effort=effort)
        if (tokens := fields.integer(budget)) is not None:
            return Reasoning(budget_tokens=tokens)
        self.untold.append(name)
        return None

    def note_rest(self, fields: Fields) -> None:
        """Notes the fields that are neither said nor hints; a value that asks for nothing needs no telling."""
        for key in fields.keys():  # noqa: SIM118 - it is no mapping
            if read := _KINDS.get(key):
                read(fields, key)
            if key not in _SAID and key not in _HINTS and fields.value(key) not in _SILENT.get(key, ()):
                self.untold.append(key)

    def _message(self, fields: Fields, number: int) -> Message:
        name = fields.need_text("role")
        role = _ROLES.get(name) or refuse(fields, "role", f"must be one of {', '.join(_ROLES)}")
        if role == ROLE_ASSISTANT:
            return self._turn(fields, number)
        fields.need("content")
        message = Message(role=role, name=fields.text("name"))
        if role == ROLE_TOOL:
            message.tool_call_id = self._answered(fields, name)
        content = fields.value("content")
        if isinstance(content, str):
            message.content = content
        else:
            message.parts.extend(self._parts(fields))
        return message

    def _answered(self, fields: Fields, role: str) -> str:
        """Returns the call that a result answers; those of the old form answer the last one."""
        if role == "function":
            return self._function_id or refuse(fields, "role", "no message before has a function_call")
        call_id = fields.need_text("tool_call_id")
        if call_id not in self._called:
            raise fields.wrong("tool_call_id", "no message before has a tool call of this id")
        return call_id

    def _turn(self, fields: Fields, number: int) -> Message:
        """Reads a turn of the model's."""
        fields.need("content", "tool_calls", "function_call", "refusal", "audio")
        message = Message(role=ROLE_ASSISTANT, name=fields.text("name"))
        message.tool_calls.extend(self._calls(fields))
        if fields.has("function_call"):
            message.tool_calls.append(self._function_call(need_object(fields, "function_call"), number))
        parts = [*_thoughts(fields), *self._said(fields)]
        if len(parts) == 1 and parts[0].HasField("text"):
            message.content = parts[0].text
        else:
            message.parts.extend(parts)
        if fields.has("audio"):
            self.untold.append(fields.at("audio"))
        kept = _kept(fields)
        if kept is None:
            return message
        self.found_kept = True
        return _restored(message, kept)

    def _said(self, fields: Fields) -> Iterator[Part]:
        """Yields what the model showed."""
        content = fields.value("content")
        if isinstance(content, str) and content:
            yield Part(text=content)
        elif content:
            yield from self._parts(fields)
        if refusal := fields.text("refusal"):
            yield Part(refusal=refusal)
        for image in fields.objects("images"):
            yield Part(image=_image(image))

    def _calls(self, fields: Fields) -> Iterator[ToolCall]:
        for call in fields.objects("tool_calls"):
            call_id = call.need_text("id")
            self._called.add(call_id)
            if call.text("type") == "custom":
                yield self._custom_call(call, call_id)
                continue
            function = need_object(call, "function")
            state = self._state(call)
            yield ToolCall(
                id=call_id,
                tool_name=need_filled(function, "name"),
                arguments_json=self._arguments(function),
                provider_state=state.provider_state,
                origin=state.origin,
            )

    def _state(self, call: Fields) -> ToolCall:
        """Returns the provider state of a call: what this server put there, or what its host of this API wants back."""
        extra = call.value(EXTRA)
        try:
            kept = kept_state(extra)
        except ValueError:
            raise call.wrong(f"{EXTRA}.{OURS}", "was changed; send it back as it was or leave it out") from None
        if kept is not None:
            self.found_kept = True
            return kept
        return ToolCall(provider_state=json_text({EXTRA: extra}).encode(), origin=ORIGIN) if extra else ToolCall()

    def _custom_call(self, call: Fields, call_id: str) -> ToolCall:
        custom = need_object(call, "custom")
        self.untold.append(call.at("custom"))
        return ToolCall(
            id=call_id,
            tool_name=need_filled(custom, "name"),
            arguments_json=json_text({"input": custom.text("input")}),
        )

    def _function_call(self, function: Fields, number: int) -> ToolCall:
        self._function_id = f"call_{number}"
        return ToolCall(
            id=self._function_id, tool_name=need_filled(function, "name"), arguments_json=self._arguments(function)
        )

    def _arguments(self, function: Fields) -> str:
        """Returns the arguments; those that are no JSON object only this API takes back."""
        text, broken = read_arguments(function)
        if broken:
            self.untold.append(function.at("arguments"))
        return text

    def _parts(self, fields: Fields) -> Iterator[Part]:
        for part in fields.objects("content"):
            read = _PARTS.get(part.need_text("type"))
            if read is None:
                self.untold.append(part.at("type"))
            else:
                yield read(part)
                if part.has("file") and need_object(part, "file").has("file_id"):
                    self.untold.append(part.at("file.file_id"))


def _plain(value: object) -> Message | None:
    """Reads a message that is nothing but text, as most are; None for others."""
    if not isinstance(value, dict) or len(value) > 2:
        return None
    match value:
        case {"role": "system" | "developer" | "user" | "assistant" as role, "content": str(text)}:
            return Message(role=_ROLES[role], content=text)
    return None


def _top_k(fields: Fields) -> int | None:
    top_k = fields.integer("top_k")
    return top_k if top_k is None or top_k > 0 else None  # other numbers switch it off (vLLM)


def _stop(fields: Fields) -> list[str]:
    if isinstance(fields.value("stop"), str):
        return [fields.text("stop")]
    return fields.texts("stop")


def _text(part: Fields) -> Part:
    return Part(text=part.need_text("text"))


def _refusal(part: Fields) -> Part:
    return Part(refusal=part.need_text("refusal"))


def _thinking(part: Fields) -> Part:
    """Reads a thought as Mistral has it in a list of content (docs.mistral.ai/capabilities/reasoning, seen 2026-11-21)."""
    if isinstance(part.value("thinking"), str):
        return Part(thinking=part.text("thinking"))
    return Part(thinking="".join(piece.text("text") for piece in part.objects("thinking")))


def _image(part: Fields) -> Media:
    if isinstance(part.value("image_url"), str):
        return read_media(part, "image_url")
    return read_media(need_object(part, "image_url"), "url")


def _image_part(part: Fields) -> Part:
    return Part(image=_image(part))


def _sound(part: Fields) -> Part:
    sound = need_object(part, "input_audio")
    form = need_filled(sound, "format")
    sound.need("data")
    return Part(audio=Media(data=sound.base64("data"), media_type=_SOUNDS.get(form, f"audio/{form}")))


def _file(part: Fields) -> Part:
    file = need_object(part, "file")
    file.need("file_id", "file_data")
    if file.has("file_id"):
        return Part(document=Media(url=need_filled(file, "file_id"), name=file.text("filename")))
    media = read_media(file, "file_data")
    media.name = file.text("filename")
    return Part(document=media)


_PARTS: Final[dict[str, Callable[[Fields], Part]]] = {
    "text": _text,
    "image_url": _image_part,
    "input_audio": _sound,
    "file": _file,
    "refusal": _refusal,
    "thinking": _thinking,
}


def _thoughts(fields: Fields) -> Iterator[Part]:
    """Yields the reasoning of a turn, with the detail objects that its host wants back."""
    words = next((fields.value(key) for key in ("reasoning_content", "reasoning") if fields.value(key)), "")
    if not isinstance(words, str):
        raise fields.wrong("reasoning", "must be a string")
    details = fields.array(DETAILS)
    if details:
        yield Part(thinking=words, provider_state=json_text(details).encode(), origin=ORIGIN)
    elif words:
        yield Part(thinking=words)


def _kept(fields: Fields) -> Message | None:
    """Returns what this server put into `reasoning_details`."""
    try:
        return kept_message(fields.array(DETAILS))
    except ValueError:
        raise fields.wrong(DETAILS, "was changed; send it back as it was or leave it out") from None


def _restored(said: Message, kept: Message) -> Message:
    """Returns the answer that was given, unless the client has changed it: then its words and calls count, beside the kept state."""
    shown = "".join(part.text for part in said.parts) or said.content
    if shown == kept.content and _calls_of(said) == _calls_of(kept):
        for call, ours in zip(said.tool_calls, kept.tool_calls, strict=True):
            ours.id = call.id  # by which the results name it
        return kept
    message = Message(role=ROLE_ASSISTANT, name=said.name)
    message.parts.extend(part for part in kept.parts if part.HasField("thinking") or part.HasField("redacted_thinking"))
    message.parts.extend(part for part in said.parts if not part.HasField("thinking"))
    if said.content:
        message.parts.append(Part(text=said.content))
    message.tool_calls.extend(said.tool_calls)
    return message


def _calls_of(message: Message) -> list[tuple[str, str]]:
    return [(call.tool_name, call.arguments_json) for call in message.tool_calls]
