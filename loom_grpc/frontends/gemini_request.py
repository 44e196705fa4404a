"""Reads the Gemini API's requests (ai.google.dev/api/generate-content, seen 2026-11-21)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from loom_grpc.core.native import Native
from loom_grpc.frontends.body import HttpError, json_text, read_json, take_headers
from loom_grpc.frontends.gemini_contents import Contents
from loom_grpc.frontends.gemini_json import Proto
from loom_grpc.frontends.gemini_schema import to_json_schema
from loom_grpc.frontends.gemini_state import DIALECT, strip_foreign
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_SYSTEM, ToolChoice

_HINTS: Final = frozenset(
    {
        "model",  # the path has it already
        "safetySettings",  # every provider has filters of its own
        "serviceTier",  # how fast and for how much, not what
        "store",  # whether Google keeps a log
    }
)
"""Fields of a request that another provider need not be told."""
_CONFIG_HINTS: Final = frozenset(
    {
        "mediaResolution",  # how many tokens Gemini spends on a picture
        "enableEnhancedCivicAnswers",
        "enableAffectiveDialog",
    }
)
_FUNCTION_HINTS: Final = frozenset(
    {
        "response",  # what the function will answer is not asked of the model
        "responseJsonSchema",
    }
)
_SETTINGS: Final = frozenset(
    {
        *("maxOutputTokens", "temperature", "topP", "topK", "seed", "stopSequences", "thinkingConfig"),
        *("responseMimeType", "responseSchema", "responseJsonSchema", "_responseJsonSchema"),
    }
)
_DEFAULTS: Final[dict[str, tuple[Any, ...]]] = {
    "candidateCount": (1,),
    "responseModalities": (["TEXT"], ["MODALITY_UNSPECIFIED"]),
    "behavior": ("BLOCKING", "UNSPECIFIED"),
}
"""Values that ask for nothing beyond what every provider does."""
_NUMBERS: Final[dict[str, Literal["temperature", "top_p"]]] = {"temperature": "temperature", "topP": "top_p"}
_INTEGERS: Final[dict[str, tuple[Literal["max_tokens", "top_k", "seed"], int]]] = {
    "maxOutputTokens": ("max_tokens", 32),
    "topK": ("top_k", 32),
    "seed": ("seed", 64),
}
"""Gemini's name of a setting, the contract's, and its size in bits."""
_JSON: Final = "application/json"
_MODES: Final = {
    "": ToolChoice.MODE_UNSPECIFIED,
    "MODE_UNSPECIFIED": ToolChoice.MODE_UNSPECIFIED,
    "AUTO": ToolChoice.MODE_AUTO,
    "VALIDATED": ToolChoice.MODE_AUTO,  # as AUTO, but held to the schemas
    "NONE": ToolChoice.MODE_NONE,
    "ANY": ToolChoice.MODE_REQUIRED,
}
_FEW_LEVELS: Final = 200
"""With so few brackets no body is nested too deeply to be written."""
_HEADERS: Final = ("x-server-timeout",)
"""The headers that belong to a request and are no credentials."""


def read_content(body: bytes, model: str, headers: Mapping[str, str]) -> tuple[LlmRequest, Native]:
    """Reads a request for generateContent. Raises `HttpError`."""
    return _read(_load(body), model, headers)


def read_count(body: bytes, model: str, headers: Mapping[str, str]) -> tuple[LlmRequest, Native]:
    """Reads a request for countTokens, whose prompt comes alone or as a whole request. Raises `HttpError`."""
    value = _load(body)
    whole = Proto(value).object("generateContentRequest")
    return _read(value if whole is None else whole.whole(), model, headers)


def _load(body: bytes) -> Any:
    """Reads JSON that can be written again: a provider may get it as it came."""
    value = read_json(body)
    if body.count(b"[") + body.count(b"{") > _FEW_LEVELS:
        try:
            json_text([value])
        except TypeError:
            raise HttpError(400, "The body is nested too deeply.") from None
    return value


def _read(value: Any, model: str, headers: Mapping[str, str]) -> tuple[LlmRequest, Native]:
    fields = Proto(value)
    request = LlmRequest(model=model)
    reader = _Reader(request)
    reader.read(fields)
    if reader.has_foreign_state:
        strip_foreign(value)
    told = take_headers(headers, _HEADERS)
    return request, Native(DIALECT, value, told, tuple(reader.untold))


class _Reader:
    """Fills in a request and notes what it has no place for."""

    def __init__(self, request: LlmRequest) -> None:
        self.untold: list[str] = []
        self.has_foreign_state = False
        self._request = request

    def read(self, fields: Proto) -> None:
        known = {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "labels"}
        self._leave(fields, known | _HINTS)
        if (system := fields.object("systemInstruction")) is not None:
            self._system(system)
        fields.need("contents")
        contents = Contents(self._request, self.untold, lenient=fields.has("cachedContent"))
        contents.read(fields)
        self.has_foreign_state = contents.has_foreign_state
        for tool in fields.objects("tools"):
            self._tool(tool)
        if (config := fields.object("toolConfig")) is not None:
            self._tool_config(config)
        if (config := fields.object("generationConfig")) is not None:
            self._settings(config)
        self._request.labels.update(fields.mapping("labels"))

    def _leave(self, fields: Proto, known: frozenset[str] | set[str]) -> None:
        """Notes the fields that are not known and ask for something."""
        for key in fields:
            value = fields.value(key)
            # A tool of Google's own is asked for by an empty object.
            if key not in known and (value or value == {}) and value not in _DEFAULTS.get(key, ()):
                self.untold.append(fields.at(key))

    def _system(self, content: Proto) -> None:
        message = self._request.messages.add(role=ROLE_SYSTEM)
        for part in content.objects("parts"):
            self._leave(part, {"text"})
            if text := part.text("text"):
                message.parts.add(text=text)
        if len(message.parts) == 1:
            message.content = message.parts[0].text
            message.ClearField("parts")

    def _tool(self, tool: Proto) -> None:
        self._leave(tool, {"functionDeclarations"})
        for function in tool.objects("functionDeclarations"):
            known = {"name", "description", "parameters", "parametersJsonSchema"}
            self._leave(function, known | _FUNCTION_HINTS)
            self._request.tools.add(
                name=function.need_text("name"),
                description=function.text("description"),
                input_schema_json=_schema(function, "parametersJsonSchema", "parameters"),
            )

    def _tool_config(self, config: Proto) -> None:
        self._leave(config, {"functionCallingConfig"})
        calling = config.object("functionCallingConfig")
        if calling is None:
            return
        # Elsewhere calls come piece by piece as it is.
        self._leave(calling, {"mode", "allowedFunctionNames", "streamFunctionCallArguments"})
        word = calling.text("mode")
        if word not in _MODES:
            raise calling.wrong("mode", f"there is no mode {word[:40]!r}; use AUTO, ANY, NONE or VALIDATED")
        choice = self._request.tool_choice
        choice.mode = _MODES[word]
        self._allow(calling, choice)

    def _allow(self, calling: Proto, choice: ToolChoice) -> None:
        """Reads which functions may be called: one that must be, or all; of some of them the contract knows nothing."""
        allowed, tools = calling.texts("allowedFunctionNames"), {tool.name for tool in self._request.tools}
        if len(allowed) == 1 and choice.mode == ToolChoice.MODE_REQUIRED:
            choice.mode, choice.tool_name = ToolChoice.MODE_TOOL, allowed[0]
        elif allowed and tools - set(allowed):
            self.untold.append(calling.at("allowedFunctionNames"))

    def _settings(self, config: Proto) -> None:
        self._leave(config, _SETTINGS | _CONFIG_HINTS)
        for theirs, ours in _NUMBERS.items():
            if (number := config.number(theirs)) is not None:
                setattr(self._request, ours, number)
        for theirs, (name, bits) in _INTEGERS.items():
            if (integer := config.integer(theirs, bits)) is not None:
                setattr(self._request, name, integer)
        self._request.stop.extend(config.texts("stopSequences"))
        self._format(config)
        if (thinking := config.object("thinkingConfig")) is not None:
            self._thinking(thinking)

    def _format(self, config: Proto) -> None:
        media_type = config.text("responseMimeType")
        schema = _schema(config, "responseJsonSchema", "_responseJsonSchema", "responseSchema")
        if media_type not in ("", _JSON, "text/plain"):
            self.untold.append(config.at("responseMimeType"))
        elif schema:
            self._request.response_format.json_schema.schema_json = schema
        elif media_type == _JSON:
            self._request.response_format.json_object.SetInParent()

    def _thinking(self, thinking: Proto) -> None:
        """Reads how much to think. A budget of -1 leaves it to the model, as leaving it out does."""
        self._leave(thinking, {"thinkingLevel", "thinkingBudget", "includeThoughts"})
        level, budget = thinking.text("thinkingLevel").lower(), thinking.integer("thinkingBudget")
        if level and level != "thinking_level_unspecified":
            self._request.reasoning.effort = level
        elif budget is not None and budget >= 0:
            self._request.reasoning.budget_tokens = budget


def _schema(fields: Proto, *keys: str) -> str:
    """Returns the schema under the first of the keys that is there, as JSON Schema; all but those named so are of Google's kind."""
    key = next((key for key in keys if fields.has(key)), "")
    if not key:
        return ""
    if key.endswith("JsonSchema"):
        return fields.struct_json(key)
    return fields.dumped(key, to_json_schema(fields.need_object(key)))
