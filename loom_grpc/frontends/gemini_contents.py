"""Reads a conversation as the Gemini API has it: contents made of parts, with calls and their results among them."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any, Final, Literal

from loom_grpc.frontends.gemini_json import Proto
from loom_grpc.frontends.gemini_state import CALL_STATE, DIALECT, unwrap
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, ROLE_TOOL, ROLE_USER, Media, Message, Part, ToolCall

_USERS: Final = frozenset({"", "user", "function", "tool"})
"""Who speaks where the model does not; the latter two were once for the results of functions."""
_KINDS: Final = ("functionCall", "functionResponse", "inlineData", "fileData", "text")
_MARKS: Final = frozenset({"thought", "thoughtSignature", "mediaResolution", "videoMetadata", "partMetadata"})
"""Fields of a part beside the one that says what the part is."""
_HINTS: Final = frozenset(
    {
        "mediaResolution",  # how many tokens Gemini spends on a picture
        "partMetadata",  # the caller's own notes
        "mediaProcessing",
    }
)
_GOOGLES: Final = ("gs://", "https://generativelanguage.googleapis.com/", "files/")
"""How the addresses of files begin that only Google can fetch."""


@dataclass(slots=True)
class _Made:
    """A call that the model made."""

    id: str
    name: str
    answered: bool = False


class Contents:
    """Reads the turns into a request's messages; what they have that no message has a place for is noted in `untold`.

    `lenient` takes results of calls that are not there: a cached prompt that the request only names may have them.
    """

    def __init__(self, request: LlmRequest, untold: list[str], *, lenient: bool) -> None:
        self.has_foreign_state = False
        self._messages = request.messages
        self._untold = untold
        self._lenient = lenient
        self._made: dict[str, _Made] = {}
        self._count = 0
        self._open: dict[str, deque[_Made]] = defaultdict(deque)
        """The calls by name; those that were answered leave it when they come first."""
        self._open_nameless: dict[str, deque[_Made]] = defaultdict(deque)
        """Those of them whose ids the caller does not know."""
        self._growing: Part | None = None
        """The text whose pieces are coming; added one by one, each would copy all that was there before."""
        self._pieces: list[str] = []
        self._calls: dict[str, list[ToolCall]] = defaultdict(list)
        """The calls of the turn of the model's that is being read, by id."""
        self._signed = 0
        """So many parts from the start of that turn are no thoughts that want a signature."""

    def read(self, fields: Proto) -> None:
        """Reads the turns; raises `HttpError`."""
        before: Message | None = None
        for content in fields.objects("contents"):
            role = content.text("role")
            if role == "model":
                # Whoever keeps a stream's chunks as they came has a turn of the model for each.
                before = before or self._messages.add(role=ROLE_ASSISTANT)
                self._model_turn(content, before)
                continue
            if role not in _USERS:
                raise content.wrong("role", "please use a valid role: user, model")
            self._close(before)
            before = None
            self._user_turn(content)
        self._close(before)

    def _user_turn(self, content: Proto) -> None:
        """Reads results of functions, each a message of its own, and then what the user says beside them."""
        message = Message(role=ROLE_USER)
        for part in content.objects("parts"):
            kind = self._kind(part)
            if kind == "functionResponse":
                self._result(part)
            elif kind == "functionCall":
                raise part.wrong(kind, "only a turn of the model calls functions")
            else:
                self._say(message, part, kind)
        if message.parts:
            _flatten(message)
            self._messages.append(message)

    def _model_turn(self, content: Proto, message: Message) -> None:
        for part in content.objects("parts"):
            kind = self._kind(part)
            if kind == "functionCall":
                self._call(message, part)
            elif kind == "functionResponse":
                raise part.wrong(kind, "only a turn of the user answers function calls")
            else:
                self._say(message, part, kind)

    def _close(self, message: Message | None) -> None:
        """Ends a turn of the model: calls after all parts need no place, and one text alone is plain content."""
        if message is None:
            return
        self._grown()
        self._calls.clear()
        self._signed = 0
        for call in message.tool_calls:
            if call.part_index == len(message.parts):
                call.ClearField("part_index")
        if not message.tool_calls or not message.tool_calls[0].HasField("part_index"):
            _flatten(message)
        if not (message.parts or message.content or message.tool_calls):
            del self._messages[-1]

    def _kind(self, part: Proto) -> str:
        """Tells what a part is: a kind of ours, or empty."""
        kind = next((kind for kind in _KINDS if part.has(kind)), "")
        if kind:
            for key in part:
                if key not in (kind, "thought", "thoughtSignature", *_HINTS) and part.value(key):
                    self._untold.append(part.at(key))
        return kind

    def _say(self, message: Message, part: Proto, kind: str) -> None:
        if kind in ("inlineData", "fileData"):
            media = self._media(part, kind)
            self._sign(media, part)
            message.parts.append(media)
        elif kind or not any(key not in _MARKS for key in part):
            self._words(message, part)
        else:
            message.parts.append(_opaque(part))

    def _words(self, message: Message, fields: Proto) -> None:
        """Reads text or thoughts, or what signs them."""
        if not fields.has("text", "thoughtSignature"):
            raise fields.wrong("data", "required oneof field 'data' must have one initialized field")
        kind: Literal["thinking", "text"] = "thinking" if fields.flag("thought") else "text"
        part = Part()
        setattr(part, kind, fields.text("text"))
        kept = self._sign(part, fields)
        is_silent_thought = kind == "thinking" and not part.thinking
        if kept is not None and kept.WhichOneof("kind"):
            self._restore(message, kept)
        elif kept is not None and is_silent_thought and (thoughts := self._unsigned_thoughts(message)) is not None:
            thoughts.provider_state, thoughts.origin = part.provider_state, part.origin
        elif not part.provider_state and (last := _last_words(message, kind)) is not None:
            self._grow(last, kind, getattr(part, kind))
        elif part.provider_state or getattr(part, kind):
            message.parts.append(part)

    def _grow(self, part: Part, kind: Literal["thinking", "text"], piece: str) -> None:
        """Adds to a text: what came in pieces is one again."""
        if part is not self._growing:
            self._grown()
            self._growing, self._pieces = part, [getattr(part, kind)]
        self._pieces.append(piece)

    def _grown(self) -> None:
        """Puts the pieces together."""
        if self._growing is not None:
            kind = "text" if self._growing.HasField("text") else "thinking"
            setattr(self._growing, kind, "".join(self._pieces))
        self._growing = None

    def _sign(self, part: Part, fields: Proto) -> Part | None:
        """Keeps what a part has to be sent back with; returns what another dialect's signature was wrapped with."""
        signature = fields.text("thoughtSignature")
        kept = unwrap(signature)
        if kept is not None:
            self.has_foreign_state = True
            part.provider_state, part.origin = kept.provider_state, kept.origin
        elif signature:
            part.provider_state, part.origin = signature.encode(), DIALECT
        return kept

    def _unsigned_thoughts(self, message: Message) -> Part | None:
        """Returns the thoughts that a signature without words of its own belongs to: some providers sign them after the text."""
        while self._signed < len(message.parts):
            part = message.parts[self._signed]
            if part.HasField("thinking") and not part.provider_state:
                return part
            self._signed += 1
        return None

    def _restore(self, message: Message, kept: Part) -> None:
        """Puts back a part that had no words, or what belongs to a call that was sent before."""
        if kept.opaque.type != CALL_STATE:
            message.parts.append(kept)
            return
        for call in self._calls.get(kept.opaque.block_json, ()):
            call.provider_state, call.origin = kept.provider_state, kept.origin

    def _call(self, message: Message, fields: Proto) -> None:
        wire = fields.need_object("functionCall")
        name, id = wire.need_text("name"), wire.text("id")
        made = self._note(id, name)
        signed = Part()
        self._sign(signed, fields)
        call = message.tool_calls.add(
            id=made.id,
            tool_name=name,
            arguments_json=wire.struct_json("args"),
            provider_state=signed.provider_state,
            origin=signed.origin,
            part_index=len(message.parts),
        )
        self._calls[made.id].append(call)

    def _note(self, id: str, name: str) -> _Made:
        """Notes a call that was made, and gives it an id if it has none."""
        made = _Made(id or self._new_id(), name)
        self._count += 1
        self._made.setdefault(made.id, made)
        self._open[name].append(made)
        if not id:
            self._open_nameless[name].append(made)
        return made

    def _new_id(self) -> str:
        return f"call_{self._count:024x}"

    def _result(self, fields: Proto) -> None:
        wire = fields.need_object("functionResponse")
        name = wire.need_text("name")
        made = self._call_of(wire.text("id"), name)
        if made is None:
            raise fields.wrong("functionResponse", f"there is no call of {name[:80]!r} before it that it could answer")
        made.answered = True
        message = self._messages.add(role=ROLE_TOOL, tool_call_id=made.id, name=name)
        value = wire.struct("response")
        message.is_error = value.keys() == {"error"}
        message.content = wire.dumped("response", value) if (text := _plain(value)) is None else text
        self._files(message, wire)

    def _call_of(self, id: str, name: str) -> _Made | None:
        """Finds what a result answers: by its id, or as the first call of the name that has no answer."""
        if (made := self._made.get(id)) is not None:
            return made
        waiting = (self._open_nameless if id else self._open)[name]
        while waiting and waiting[0].answered:
            waiting.popleft()
        if waiting:
            return waiting[0]
        return _Made(id or self._new_id(), name) if self._lenient else None

    def _files(self, message: Message, result: Proto) -> None:
        """Reads the files of a result, which then has its text as a part too."""
        for part in result.objects("parts"):
            kind = self._kind(part)
            if kind not in ("inlineData", "fileData"):
                raise part.wrong("inlineData", "is missing")
            if not message.parts:
                message.parts.add(text=message.content)
            message.parts.append(self._media(part, kind))
        if message.parts:
            message.content = ""

    def _media(self, fields: Proto, kind: str) -> Part:
        wire = fields.need_object(kind)
        media = Media(media_type=wire.text("mimeType"), name=wire.text("displayName"))
        if kind == "inlineData":
            wire.need("mimeType", "data")
            media.data = wire.base64("data")
            if not media.data or not media.media_type:
                raise wire.wrong("data" if media.media_type else "mimeType", "is missing")
        else:
            media.url = wire.need_text("fileUri")
            if media.url.startswith(_GOOGLES):
                self._untold.append(wire.at("fileUri"))
        match media.media_type.partition("/")[0]:
            case "image":
                return Part(image=media)
            case "audio":
                return Part(audio=media)
        return Part(document=media)


_LONE: Final = ({"output"}, {"result"}, {"error"})
"""The keys under which a text alone stands: Google's documentation has the first and the last, its clients write the second too."""


def _plain(value: dict[str, Any]) -> str | None:
    """Returns a result that is one text, or says of an error no more; None for any other object, which is told as JSON."""
    text = next(iter(value.values())) if value.keys() in _LONE else None
    return text if isinstance(text, str) and not text.lstrip().startswith("{") else None


def _opaque(fields: Proto) -> Part:
    """Keeps a part of another kind word for word."""
    kind = next(key for key in fields if key not in _MARKS)
    part = Part(origin=DIALECT)
    part.opaque.type, part.opaque.block_json = kind, fields.dumped(kind, fields.whole())
    return part


def _last_words(message: Message, kind: Literal["thinking", "text"]) -> Part | None:
    """Returns the part of the model that a further piece belongs to; None where it is one of its own."""
    if message.role != ROLE_ASSISTANT or not message.parts:
        return None
    last, calls = message.parts[-1], message.tool_calls
    after_call = bool(calls) and calls[-1].part_index == len(message.parts)
    return last if last.HasField(kind) and not last.provider_state and not after_call else None


def _flatten(message: Message) -> None:
    """Makes one text alone plain content."""
    if len(message.parts) == 1 and message.parts[0].HasField("text") and not message.parts[0].provider_state:
        message.content = message.parts[0].text
        message.ClearField("parts")
