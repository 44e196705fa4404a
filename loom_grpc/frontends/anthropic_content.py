"""Reads the messages of a request to Anthropic's API (platform.claude.com/docs/en/api/messages, seen 2026-11-21)."""

from __future__ import annotations

from typing import Any, Final

from loom_grpc.frontends.anthropic_state import NAME, give_back, is_token, read_token
from loom_grpc.frontends.body import Fields, HttpError, json_text
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Citation,
    Media,
    Message,
    Opaque,
    Part,
    ToolCall,
)

_PDF: Final = "application/pdf"
_CALL_FIELDS: Final = frozenset({"type", "id", "name", "input", "cache_control"})
_DIRECT: Final = {"type": "direct"}
"""Who makes a call where nothing else is said."""
_MOST_STATES: Final = 32
"""A turn has one state; a client may have joined a few turns, and each is given back by going through all of them."""


def system_of(fields: Fields) -> str:
    """Returns the text of `system`, or of a system message's `content`: a string or text blocks."""
    key = "system" if fields.has("system") else "content"
    if isinstance(fields.value(key), str):
        return fields.text(key)
    return "\n\n".join(block.need_text("text") for block in fields.objects(key))


class Messages:
    """Reads messages in order; `untold` names the blocks that only Anthropic understands."""

    def __init__(self, untold: list[str]) -> None:
        self.read: list[Message] = []
        self._untold = untold
        self._called: set[str] = set()

    def add(self, fields: Fields) -> None:
        """Takes the next message; raises `HttpError`."""
        role = fields.need_text("role")
        fields.need("content")
        match role:
            case "user":
                self._add_user(fields)
            case "assistant":
                self._add_assistant(fields)
            case "system":
                self.read.append(Message(role=ROLE_SYSTEM, content=system_of(fields)))
            case _:
                raise fields.wrong("role", "must be user, assistant or system")

    def _add_user(self, fields: Fields) -> None:
        """Adds the results of calls, each a message of its own, and then what the user says."""
        if isinstance(fields.value("content"), str):
            self.read.append(Message(role=ROLE_USER, content=fields.text("content")))
            return
        parts: list[Part] = []
        results = 0
        for at, block in _blocks(fields):
            if block.need_text("type") == "tool_result":
                self.read.append(self._result(block))
                results += 1
            else:
                parts += self._parts(block, at)
        if parts or not results:
            self.read.append(_said(Message(role=ROLE_USER), parts))

    def _result(self, block: Fields) -> Message:
        call = block.need_text("tool_use_id")
        if call not in self._called:
            what = f"no `tool_use` block before has the id {call[:200]!r}; each `tool_result` needs the call that it answers"
            raise block.wrong("tool_use_id", what)
        message = Message(role=ROLE_TOOL, tool_call_id=call, is_error=bool(block.flag("is_error")))
        if isinstance(block.value("content"), str):
            message.content = block.text("content")
            return message
        return _said(message, [part for at, inner in _blocks(block) for part in self._parts(inner, at)])

    def _parts(self, block: Fields, at: str) -> list[Part]:
        """Returns what a block of the user's is for everybody; one that only Anthropic understands is nothing to others."""
        match block.need_text("type"):
            case "text":
                return [Part(text=block.need_text("text"))]
            case "image":
                return self._file(block, "image")
            case "document":
                return self._document(block)
            case "search_result":
                return self._search_result(block)
        self._untold.append(at)
        return []

    def _file(self, block: Fields, kind: str) -> list[Part]:
        source = _need_object(block, "source")
        match source.need_text("type"):
            case "base64":
                media = Media(data=source.base64("data"), media_type=source.need_text("media_type"))
            case "url":
                media = Media(url=source.need_text("url"), media_type=_PDF if kind == "document" else "")
            case "text":
                media = Media(data=source.need_text("data").encode(), media_type="text/plain")
            case _:  # a file that lies with Anthropic
                self._untold.append(block.at("source"))
                return []
        media.name = block.text("title")
        part = Part()
        getattr(part, kind).CopyFrom(media)
        return [part]

    def _document(self, block: Fields) -> list[Part]:
        """Reads a document; its context, which the model is to know and not to cite, becomes a text before it."""
        self._note_citations(block)
        context = [Part(text=block.text("context"))] if block.text("context") else []
        source = _need_object(block, "source")
        if source.need_text("type") != "content":
            return context + self._file(block, "document")
        title = [Part(text=block.text("title"))] if block.text("title") else []
        return title + context + self._inner(source)

    def _search_result(self, block: Fields) -> list[Part]:
        self._note_citations(block)
        head = f"{block.need_text('title')}\n{block.need_text('source')}"
        return [Part(text=head), *self._inner(block)]

    def _inner(self, fields: Fields) -> list[Part]:
        if isinstance(fields.value("content"), str):
            return [Part(text=fields.text("content"))]
        return [part for at, block in _blocks(fields) for part in self._parts(block, at)]

    def _note_citations(self, block: Fields) -> None:
        citations = block.object("citations")
        if citations is not None and citations.flag("enabled"):
            self._untold.append(block.at("citations"))

    def _add_assistant(self, fields: Fields) -> None:
        if isinstance(fields.value("content"), str):
            self.read.append(Message(role=ROLE_ASSISTANT, content=fields.text("content")))
            return
        turn = _Turn()
        for at, block in _blocks(fields):
            kind = block.need_text("type")
            if kind == "tool_use":
                turn.calls.append(_call(block, len(turn.parts)))
            elif kind in ("image", "document"):
                turn.parts += self._parts(block, at)
            elif kind == "redacted_thinking" and is_token(block.value("data")):
                turn.restore(read_token(block.text("data"), block.at("data")), block)
            else:
                turn.parts += _own_parts(block, kind, at)
        self.read.append(turn.message())
        self._called.update(call.id for call in turn.calls)


class _Turn:
    """A turn of the model's that is being read."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.calls: list[ToolCall] = []
        self._states: list[Message] = []

    def restore(self, held: Part | Message, block: Fields) -> None:
        """Takes what the token of a block held; raises `HttpError`."""
        if isinstance(held, Message):
            if len(self._states) == _MOST_STATES:
                raise block.wrong("data", f"is one of more than {_MOST_STATES} that this server sent for a turn")
            self._states.append(held)
        elif held.WhichOneof("kind") is not None:
            self.parts.append(held)

    def message(self) -> Message:
        """Returns the whole turn."""
        for state in self._states:
            give_back(state, self.parts, self.calls)
        for call in self.calls:
            if call.part_index >= len(self.parts):
                call.ClearField("part_index")
        message = _said(Message(role=ROLE_ASSISTANT), self.parts)
        message.tool_calls.extend(self.calls)
        return message


def _blocks(fields: Fields) -> list[tuple[str, Fields]]:
    """Returns the blocks of `content`, each with its path."""
    path = fields.at("content")
    return [(f"{path}[{index}]", block) for index, block in enumerate(fields.objects("content"))]


def _said(message: Message, parts: list[Part]) -> Message:
    """Puts the parts into a message: a single text without anything beside it is plain content."""
    if len(parts) == 1 and parts[0].HasField("text") and not parts[0].provider_state:
        message.content = parts[0].text
    else:
        message.parts.extend(parts)
    return message


def _need_object(fields: Fields, key: str) -> Fields:
    value = fields.object(key)
    if value is None:
        raise fields.wrong(key, "is missing")
    return value


def _call(block: Fields, place: int) -> ToolCall:
    """Reads a call; what it has beside the usual, such as the code that made it, goes back to Anthropic alone."""
    block.need("input")
    rest = {key: value for key, value in _as_it_is(block).items() if key not in _CALL_FIELDS and value != _DIRECT}
    state = _json(rest, block.at("caller")).encode() if rest else b""
    call = ToolCall(
        id=block.need_text("id"),
        tool_name=block.need_text("name"),
        arguments_json=block.json("input"),
        part_index=place,
        provider_state=state,
        origin=NAME if state else "",
    )
    if not call.id:
        raise block.wrong("id", "must not be empty")
    return call


def _own_parts(block: Fields, kind: str, at: str) -> list[Part]:
    """Reads a block that the model wrote, other than a call."""
    match kind:
        case "text":
            citations = [_citation(citation) for citation in block.objects("citations")]
            return [Part(text=block.need_text("text")), *citations]
        case "thinking":
            return [_thinking(block)]
        case "redacted_thinking":
            return [Part(redacted_thinking=block.need_text("data"), origin=NAME)]
        case "compaction" if isinstance(block.value("content"), str):
            # It stands for the conversation before it, which everybody has to know.
            return [Part(text=block.text("content"))]
    return [Part(opaque=Opaque(type=kind, block_json=_json(_as_it_is(block), at)), origin=NAME)]


def _thinking(block: Fields) -> Part:
    signature = block.text("signature")
    if is_token(signature):
        part = read_token(signature, block.at("signature"))
        if isinstance(part, Message):
            raise block.wrong("signature", "is not a thinking block's; send it back unchanged or leave the block out")
    else:
        part = Part(provider_state=signature.encode(), origin=NAME if signature else "")
    part.thinking = block.text("thinking")
    return part


def _citation(fields: Fields) -> Part:
    index = fields.value("encrypted_index")
    if is_token(index):
        part = read_token(index, fields.at("encrypted_index"))
        if isinstance(part, Part) and part.HasField("citation"):
            return part
        raise fields.wrong("encrypted_index", "is not a citation's; send it back unchanged or leave the citation out")
    citation = Citation(
        url=fields.text("url"),
        title=fields.text("title") or fields.text("document_title"),
        cited_text=fields.text("cited_text"),
        citation_json=_json(_as_it_is(fields), fields.at("type")),
    )
    return Part(citation=citation, origin=NAME)


def _as_it_is(fields: Fields) -> dict[str, Any]:
    names = fields.keys()
    return {name: fields.value(name) for name in names}


def _json(value: Any, at: str) -> str:
    try:
        return json_text(value)
    except TypeError:
        raise HttpError(422, f"{at}: is nested too deeply.", at) from None
