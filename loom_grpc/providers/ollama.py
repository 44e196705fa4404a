"""Ollama's own chat API, `/api/chat` (docs.ollama.com/api, seen 2026-11-21)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import (
    CONTEXT_TOO_LONG,
    INVALID_REQUEST,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    LlmError,
)
from loom_grpc.core.events import Answer
from loom_grpc.core.exact import dumps
from loom_grpc.core.native import Native
from loom_grpc.core.request import arguments, merge, options, parts_of, plays_back, raw_object
from loom_grpc.core.sse import JsonFramer
from loom_grpc.providers.classify import by_status, json_object, provider_error
from loom_grpc.providers.count import tokens
from loom_grpc.providers.dialect import EmbeddingCodec, HttpRequest
from loom_grpc.providers.embedding import OllamaEmbedding
from loom_grpc.providers.wait import NO_HEADERS, wait_of
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_LENGTH,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    LlmRequest,
    Model,
    StopReason,
)
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Media,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)
from loom_grpc.v1.usage_pb2 import Usage

NAME: Final = "ollama"

_ROLES: Final = {ROLE_SYSTEM: "system", ROLE_USER: "user", ROLE_ASSISTANT: "assistant", ROLE_TOOL: "tool"}

_OPTIONS: Final[dict[Literal["max_tokens", "temperature", "top_p", "top_k", "seed"], str]] = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
}
"""The contract's name of a setting and Ollama's."""

_THINK: Final[dict[str, bool | str]] = {"none": False, "minimal": "low"}
"""Efforts that Ollama has another word for; other words are the models' own (docs.ollama.com/capabilities/thinking,
seen 2026-11-21)."""

_STOP: Final[dict[str, StopReason.ValueType]] = {"stop": STOP_REASON_STOP, "length": STOP_REASON_LENGTH}

_NOTHING_SAID: Final = frozenset({"load", "unload"})
"""Reasons that say the model was only put into memory or taken out, as for a conversation without a user's message."""

_COUNTS: Final = ("prompt_eval_count", "eval_count")

_PICTURES: Final = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
"""How the files begin that a model may draw; the API does not say of which type they are."""

_CONTEXT_WORDS: Final = re.compile(r"exceed\w* (the |available |maximum )*context", re.IGNORECASE)
_QUOTA_WORDS: Final = "usage limit"
"""Ollama's cloud answers a used-up plan with 429 and says so in words alone
(github.com/continuedev/continue/issues/11444, seen 2026-11-21)."""


class Ollama:
    """Chat, whole and as newline-delimited JSON."""

    name = NAME
    embedding: EmbeddingCodec | None = OllamaEmbedding()

    def encode(self, call: Call) -> HttpRequest:
        """Writes a chat request; whether to stream is always said, as Ollama streams by default."""
        body: dict[str, Any] = {"model": call.model, "messages": _messages(call.request), "stream": call.stream}
        _add_tools(body, call.request)
        _add_settings(body, call.request)
        if call.request.HasField("response_format"):
            _add_format(body, call.request.response_format)
        if call.request.HasField("reasoning"):
            body["think"] = _think(call.request.reasoning)
        merge(body, options(call.request))
        return HttpRequest("POST", "/api/chat", orjson.dumps(body))

    def encode_native(self, call: Call, native: Native) -> HttpRequest | None:
        """Speaks a dialect that no front end has."""
        return None

    def decoder(self, call: Call, media_type: str) -> Decoder:
        """Reads a line after the other; a whole answer is one line that is `done`."""
        return ChatDecoder(Answer(call, NAME, read_usage), JsonFramer())

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LlmError:
        """Classifies by status; only words tell a used-up plan and a too long prompt."""
        error = json_object(body).get("error") or body[:500].decode("utf-8", "replace")
        return _error(error, status, headers)

    def encode_count(self, call: Call) -> HttpRequest | None:
        """Has no such request."""
        return None

    def decode_count(self, body: bytes) -> int:
        """Has no such answer."""
        raise provider_error(PROVIDER_BAD_RESPONSE)

    def encode_models(self) -> HttpRequest | None:
        """Writes a request for the models that have been pulled."""
        return HttpRequest("GET", "/api/tags")

    def decode_models(self, body: bytes) -> list[Model]:
        """Reads the list of models."""
        rows = json_object(body).get("models")
        if not isinstance(rows, list):
            raise provider_error(PROVIDER_BAD_RESPONSE)
        return [_model(row) for row in rows]


def _model(row: Any) -> Model:
    match row:
        case {"model": str(name)} | {"name": str(name)}:
            return Model(id=name)
    raise provider_error(PROVIDER_BAD_RESPONSE)


def _add_tools(body: dict[str, Any], request: LlmRequest) -> None:
    """Adds the tools; Ollama knows no choice among them (github.com/ollama/ollama-python/pull/671, seen 2026-11-21)."""
    mode = request.tool_choice.mode
    if mode in (ToolChoice.MODE_REQUIRED, ToolChoice.MODE_TOOL):
        message = "tool_choice.mode: Ollama cannot make a model call a tool; use MODE_AUTO."
        raise LlmError(INVALID_REQUEST, message, field="tool_choice.mode")
    if request.tools and mode != ToolChoice.MODE_NONE:
        body["tools"] = [_tool(tool) for tool in request.tools]


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.input_schema_json.strip():
        function["parameters"] = raw_object(tool.input_schema_json)
    else:
        function["parameters"] = {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _add_settings(body: dict[str, Any], request: LlmRequest) -> None:
    settings = {theirs: getattr(request, ours) for ours, theirs in _OPTIONS.items() if request.HasField(ours)}
    if request.stop:
        settings["stop"] = list(request.stop)
    if settings:
        body["options"] = settings


def _add_format(body: dict[str, Any], form: ResponseFormat) -> None:
    if form.HasField("json_object"):
        body["format"] = "json"
    elif form.HasField("json_schema"):
        body["format"] = raw_object(form.json_schema.schema_json)


def _think(reasoning: Reasoning) -> bool | str:
    """Gives the word for an effort; a budget, which Ollama has not, switches thinking on or off."""
    if reasoning.HasField("budget_tokens"):
        return reasoning.budget_tokens > 0
    return _THINK.get(reasoning.effort, reasoning.effort or True)


def _messages(request: LlmRequest) -> list[dict[str, Any]]:
    """Writes the turns in their places, system messages too."""
    tool_names: dict[str, str] = {}
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(request.messages):
        tool_names.update((call.id, call.tool_name) for call in message.tool_calls)
        turn = {"role": _ROLES[message.role], **_content(message, f"messages[{index}]")}
        if message.tool_calls:
            turn["tool_calls"] = [_call(call) for call in message.tool_calls]
        if message.role == ROLE_TOOL:
            turn["tool_name"] = message.name or tool_names.get(message.tool_call_id, "")
            turn["tool_call_id"] = message.tool_call_id
        turns.append(turn)
    return turns


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.tool_name, "arguments": arguments(call)}
    return {"id": call.id, "type": "function", "function": function}


def _content(message: Message, at: str) -> dict[str, Any]:
    """Sorts the parts: a message has one text, one list of pictures and one text of reasoning."""
    texts: list[str] = []
    documents: list[str] = []
    thoughts: list[str] = []
    images: list[str] = []
    for place, part in enumerate(parts_of(message)):
        match part.WhichOneof("kind"):
            case "text":
                texts.append(part.text)
            case "refusal":
                texts.append(part.refusal)
            case "document":
                documents.append(_document(part.document, f"{at}.parts[{place}].document"))
            case "image":
                images.append(_image(part.image, f"{at}.parts[{place}].image"))
            case "thinking" if message.role == ROLE_ASSISTANT and plays_back(part.origin, NAME):
                thoughts.append(part.thinking)
            case _:
                _pass_over(part, f"{at}.parts[{place}]")
    content: dict[str, Any] = {"content": "\n\n".join([*documents, *filter(None, ["".join(texts)])])}
    if thoughts:
        content["thinking"] = "".join(thoughts)
    if images:
        content["images"] = images
    return content


def _pass_over(part: Part, at: str) -> None:
    """Leaves out what belongs to another provider's answer, and refuses what the caller wants the model to see."""
    kind = part.WhichOneof("kind")
    if kind == "audio" or (kind == "opaque" and plays_back(part.origin, NAME)):
        raise LlmError(INVALID_REQUEST, f"{at}: Ollama takes no {kind}.", field=at)


def _document(media: Media, at: str) -> str:
    if not media.data or not media.media_type.startswith("text/"):
        message = f"{at}: Ollama takes no documents; send its text, or data with a media type of text/*."
        raise LlmError(INVALID_REQUEST, message, field=at)
    text = media.data.decode("utf-8", "replace")
    return f"{media.name}\n{text}" if media.name else text


def _image(media: Media, at: str) -> str:
    if not media.data:
        message = f"{at}.url: Ollama fetches nothing; send the picture's bytes in data."
        raise LlmError(INVALID_REQUEST, message, field=f"{at}.url")
    return base64.b64encode(media.data).decode()


def read_usage(usage: dict[str, Any]) -> Usage:
    """Reads the counters; Ollama leaves out those that are zero, and the prompt's when all of it was in its cache."""
    return Usage(
        input_tokens=tokens(usage, "prompt_eval_count"),
        output_tokens=tokens(usage, "eval_count"),
        provider_usage_json=dumps(usage),
    )


class ChatDecoder(Decoder):
    """Reads lines until one is `done`; nothing else ends an answer."""

    def __init__(self, answer: Answer, framer: JsonFramer) -> None:
        super().__init__(answer, framer)
        self._finish_reason = ""
        self._calls = 0

    def read(self, name: bytes, value: dict[str, Any]) -> None:
        """Takes one line, or a line that says what failed."""
        if value.get("error") is not None:
            raise _error(value["error"])
        self.answer.model = _string(value.get("model")) or self.answer.model
        if message := value.get("message"):
            self._message(message)
        if value.get("done"):
            self._stop(value)
            self.finish()

    def complete(self) -> bool:
        """Tells that nothing but a line that is `done` ends an answer."""
        return False

    def finish(self) -> None:
        """Completes the answer; where an old version gives no reason, only a tool call tells why the model stopped."""
        reason = _STOP.get(self._finish_reason, STOP_REASON_UNSPECIFIED)
        if self._calls and not self._finish_reason:
            reason = STOP_REASON_TOOL_CALLS
        self.answer.complete(self._finish_reason, reason)
        self.ended = True

    def _message(self, message: dict[str, Any]) -> None:
        self.answer.thinking(_string(message.get("thinking")))
        self.answer.text(_string(message.get("content")))
        for call in message.get("tool_calls") or ():
            self._call(_string(call.get("id")), call["function"])
        for image in message.get("images") or ():
            self.answer.part(Part(image=_picture(base64.b64decode(image, validate=True))))

    def _call(self, call_id: str, function: dict[str, Any]) -> None:
        """Takes a call, which always comes whole; its `index` is missing or always 0 in some versions."""
        key = self._calls
        self._calls += 1
        self.answer.tool(key, id=call_id, name=_string(function["name"]), fragment=_json(function.get("arguments")))
        self.answer.end_tool(key)

    def _stop(self, line: dict[str, Any]) -> None:
        self._finish_reason = _string(line.get("done_reason"))
        if self._finish_reason in _NOTHING_SAID:
            message = "Ollama loaded the model and let it say nothing; the conversation needs a user's message."
            raise LlmError(PROVIDER_BAD_RESPONSE, message)
        counters = {key: value for key, value in line.items() if isinstance(value, int) and not isinstance(value, bool)}
        if any(key in counters for key in _COUNTS):
            self.answer.usage = counters


def _string(value: Any) -> str:
    """Reads a text that may be absent; raises `TypeError` for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _json(value: Any) -> str:
    """Writes arguments as JSON text; some hosts of this API send the text already."""
    if isinstance(value, str):
        return value or "{}"
    return dumps(value or {})


def _picture(data: bytes) -> Media:
    media_type = next((kind for start, kind in _PICTURES if data.startswith(start)), "application/octet-stream")
    return Media(data=data, media_type=media_type)


def _error(error: object, status: int | None = None, headers: Mapping[str, str] = NO_HEADERS) -> LlmError:
    """Says what an error means; one inside a stream has no status, and is the model runner's."""
    words = str(error.get("message") or "") if isinstance(error, dict) else str(error)
    reason = by_status(status or 500, words)
    if reason == PROVIDER_RATE_LIMITED and _QUOTA_WORDS in words.lower():
        reason = PROVIDER_QUOTA_EXCEEDED
    elif (status is None or status in (400, 413, 500)) and _CONTEXT_WORDS.search(words):
        reason = CONTEXT_TOO_LONG
    return provider_error(reason, words, status=status, retry_after=wait_of(headers, reason))
