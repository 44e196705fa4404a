"""How an answer looks on a terminal, behind a pipe, and as lines of JSON."""

from __future__ import annotations

from typing import Any, Final, TextIO

from google.protobuf.json_format import MessageToJson

from loom_grpc.cli.output import harmless, one_line, takes_colour
from loom_grpc.client import LlmEvent, LlmResponse, Part, StopReason

_FAINT: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"


class Screen:
    """Shows the answer on standard output, and what is said about it (reasoning, sources, tokens) faintly on standard error."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._raw = not out.isatty()
        self._faint = takes_colour(err)
        self._kind = ""
        """What is being written; empty at the beginning of a line."""
        self._stream = out
        """Where the current line is."""
        self._at_line_start = True

    def show(self, event: LlmEvent) -> None:
        """Shows what an event adds."""
        kind = event.WhichOneof("event")
        if kind == "text_delta":
            self._say("text", event.text_delta.content)
        elif kind == "thinking_delta":
            self._remark("thinking", event.thinking_delta.content)
        elif kind == "tool_call_delta":
            delta = event.tool_call_delta
            self._say(f"call {delta.index}", delta.arguments_fragment, f"-> {delta.tool_name} ")
        elif kind == "part":
            self._show_part(event.part)
        elif kind == "restarted":
            self._remark_line(f"[begins again with {event.restarted.provider}/{event.restarted.model}]")

    def end(self) -> None:
        """Ends the line that is being written."""
        if not self._at_line_start:
            self._write(self._stream, "\n")
        self._kind = ""

    def sum_up(self, response: LlmResponse, seconds: float) -> None:
        """Shows in one line what an answer was and took."""
        self._remark_line(summary(response, seconds))

    def _show_part(self, part: Part) -> None:
        kind = part.WhichOneof("kind")
        if kind == "refusal":
            self._say("refusal", part.refusal)
        elif kind == "citation":
            self._remark_line(f"[source: {part.citation.title} {part.citation.url}]")
        elif kind == "opaque":
            self._remark_line(f"[{part.opaque.type}]")
        elif kind == "redacted_thinking":
            self._remark_line("[hidden reasoning]")
        elif kind in _MEDIA:
            media = getattr(part, kind)
            self._remark_line(f"[{kind} {media.media_type} {media.url or f'{len(media.data)} bytes'}]")

    def _say(self, kind: str, content: str, opening: str = "") -> None:
        if kind != self._kind:
            self._begin(kind)
            content = opening + content
        self._write(self._out, content if self._raw else harmless(content))

    def _remark(self, kind: str, content: str) -> None:
        if kind != self._kind:
            self._begin(kind)
        content = harmless(content)
        self._write(self._err, f"{_FAINT}{content}{_PLAIN}" if self._faint and content else content)
        self._at_line_start = content.endswith("\n")

    def _remark_line(self, content: str) -> None:
        self.end()
        self._remark("line", one_line(content))
        self.end()

    def _begin(self, kind: str) -> None:
        self.end()
        self._kind = kind

    def _write(self, stream: TextIO, content: str) -> None:
        if content:
            stream.write(content)
            stream.flush()
            self._stream = stream
            self._at_line_start = content.endswith("\n")


_MEDIA: Final = ("image", "document", "audio")


class EventLines:
    """Writes every event as a line of JSON, with the contract's own names; the last one is the whole answer."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, event: LlmEvent) -> None:
        """Writes an event."""
        line = MessageToJson(event, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
        self._out.write(line + "\n")
        self._out.flush()

    def end(self) -> None:
        """Has nothing to do: every line is whole."""

    def sum_up(self, response: LlmResponse, seconds: float) -> None:
        """Has nothing to add: the last event has it all."""


def summary(response: LlmResponse, seconds: float) -> str:
    """Tells in one line who answered, why it ended, and what it took."""
    facts = [
        f"{response.provider}/{response.model}",
        _ending(response),
        *_tokens(response, seconds),
        f"{seconds:.1f} s",
    ]
    if response.HasField("cost"):
        facts.append(f"{response.cost.nanos / 1e9:.6f} {response.cost.currency_code}")
    return " · ".join(facts)


def _ending(response: LlmResponse) -> str:
    """Names why the answer ended: our word, and the provider's where it says more."""
    word = StopReason.Name(response.stop_reason).removeprefix("STOP_REASON_").lower().replace("_", " ")
    if response.stop_reason == StopReason.STOP_REASON_UNSPECIFIED:
        return response.finish_reason or "no finish reason"
    return word


def _tokens(response: LlmResponse, seconds: float) -> list[str]:
    if not response.HasField("usage"):
        return ["no token counts"]
    usage: Any = response.usage
    about = "~" if usage.estimated else ""
    facts = [
        f"{about}{usage.input_tokens} in" + _part(usage.cache_read_tokens, "cached"),
        f"{about}{usage.output_tokens} out" + _part(usage.reasoning_tokens, "reasoning"),
    ]
    if usage.output_tokens and seconds > 0:
        facts.append(f"{usage.output_tokens / seconds:.0f} tokens/s")
    return facts


def _part(count: int, what: str) -> str:
    return f" ({count} {what})" if count else ""
