"""A guess at the prompt's tokens, for providers that cannot count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from loom_grpc.v1.llm_service_pb2 import EmbedInput, LlmRequest
from loom_grpc.v1.message_pb2 import Message, Part

BYTES_PER_TOKEN: Final = 4
"""The usual figure for English text and code; other scripts take more bytes and more tokens alike."""
_TOKENS_PER_MESSAGE: Final = 4
_TOKENS_PER_FILE: Final = 1000


def estimate_tokens(request: LlmRequest) -> int:
    """Guesses the prompt tokens: a token for four bytes of text, four for a message, a thousand for a file."""
    messages = sum(_message_tokens(message) for message in request.messages)
    tools = sum(_tokens(tool.name + tool.description + tool.input_schema_json) for tool in request.tools)
    return messages + tools


def estimate_inputs(inputs: Iterable[EmbedInput]) -> int:
    """Guesses the prompt tokens of what is to become vectors; those that come as tokens are counted."""
    return sum(len(input_.tokens.ids) or _tokens(input_.text) for input_ in inputs)


def estimate_text(message: Message) -> int:
    """Guesses the tokens of what a model generated: text, reasoning and calls."""
    # A message whose parts say more than its content has its text in both.
    content = sum(_part_tokens(part) for part in message.parts) if message.parts else _tokens(message.content)
    return content + sum(_tokens(call.tool_name + call.arguments_json) for call in message.tool_calls)


def _message_tokens(message: Message) -> int:
    return _TOKENS_PER_MESSAGE + estimate_text(message)


def _part_tokens(part: Part) -> int:
    if part.HasField("image") or part.HasField("document") or part.HasField("audio"):
        return _TOKENS_PER_FILE
    return _tokens(part.text + part.thinking + part.refusal + part.opaque.block_json)


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
