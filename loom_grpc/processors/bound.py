"""The most tokens that a call can use, so that what it can cost is known before it is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from loom_grpc.core.call import Call
from loom_grpc.core.exact import decimal, dumps
from loom_grpc.core.model import Facts
from loom_grpc.core.request import options
from loom_grpc.v1.message_pb2 import Part

_PICTURE_TOKENS: Final = 20_000
"""What a picture counts for, beside its bytes."""
_UNSEEN_TOKENS: Final = 1_000_000
"""What a prompt has at most that the provider adds to, where it is not known how much the model takes."""
_MOST: Final = 2**31
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "num_predict")
_CHOICES: Final = ("n", "candidateCount", "candidate_count", "best_of")
_NESTED: Final = ("generationConfig", "generation_config", "options")
_FOUND_ELSEWHERE: Final = frozenset(
    {
        *("cachedContent", "cached_content", "previous_response_id", "conversation", "prompt", "container"),
        *("web_search_options", "search_parameters", "data_sources", "plugins", "mcp_servers"),
    }
)
"""Fields for which a provider puts into the prompt what it has kept or looks up."""
_OF_CALLERS: Final = ("function", "custom")
_DECLARATIONS: Final = frozenset({"functionDeclarations", "function_declarations"})


def most_input(call: Call, facts: Facts) -> int:
    """Returns what a prompt has at most: a token is a byte at least, and no prompt is longer than the model takes."""
    if call.embed is not None:
        return call.embed.ByteSize() + sum(len(input_.tokens.ids) for input_ in call.embed.inputs)
    parts = [part for message in call.request.messages if message.parts for part in message.parts]
    size = call.request.ByteSize() + sum(part.HasField("image") for part in parts) * _PICTURE_TOKENS
    if call.native is not None and call.native.untold:  # which are a part of the prompt too, for all that is known
        size += len(dumps(call.native.body))
    if any(map(_is_long, parts)) or any(map(_adds_to_prompt, _bodies(call))):
        size = max(size, _UNSEEN_TOKENS if facts.context_tokens is None else facts.context_tokens)
    return size if facts.context_tokens is None else min(size, facts.context_tokens)


def most_output(call: Call, facts: Facts, unknown: int) -> int:
    """Returns what a call may generate at most: what the request says, else what the model can, else `unknown`."""
    if call.embed is not None:
        return 0
    most = facts.max_output_tokens or unknown
    bodies = _bodies(call)
    if not bodies:
        return call.request.max_tokens or most
    limit = max([call.request.max_tokens, *(_number(body, _LIMITS) for body in bodies)]) or most
    if call.request.provider_options_json and _takes_limit_out(options(call.request)):
        limit = max(limit, most)
    # What a prediction has and the answer has not is paid for too.
    limit += sum(len(dumps(body["prediction"])) for body in bodies if "prediction" in body)
    return limit * max(1, *(_number(body, _CHOICES) for body in bodies), 1)


def names_others(call: Call) -> bool:
    """Tells whether a request in a provider's own words names models to be asked in the place of its own, as gateways take them."""
    return any(body.get("models") for body in _bodies(call))


def _bodies(call: Call) -> list[Mapping[str, Any]]:
    bodies: list[Mapping[str, Any]] = [options(call.request)] if call.request.provider_options_json else []
    return bodies if call.native is None else [*bodies, call.native.body]


def _number(body: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """Returns the largest number that a body has under one of the names, at its top or where dialects keep such settings."""
    places = [body, *(inner for name in _NESTED if isinstance(inner := body.get(name), Mapping))]
    return max([0, *(_whole(place[name]) for place in places for name in names if name in place)])


def _whole(value: object) -> int:
    """Returns a number as a lenient provider would take it, also one that is written as a text or as 8.0; 0 for what is none."""
    try:
        number = Decimal(value) if isinstance(value, str) else decimal(value)
    except InvalidOperation:
        return 0
    return min(math.ceil(number), _MOST) if number is not None and number.is_finite() else 0


def _takes_limit_out(body: Mapping[str, Any]) -> bool:
    """Tells whether options take the request's limit away, as null does."""
    places = [body, *(inner for name in _NESTED if isinstance(inner := body.get(name), Mapping))]
    return any(name in place and place[name] is None for place in places for name in (*_LIMITS, *_NESTED))


def _is_long(part: Part) -> bool:
    """Tells whether a part may be more tokens than bytes by any number: what is only named, and pages that are read as pictures."""
    if part.HasField("document"):
        return not (part.document.data and part.document.media_type.startswith("text/"))
    return part.HasField("opaque") or (part.HasField("audio") and not part.audio.data)


def _adds_to_prompt(body: Mapping[str, Any]) -> bool:
    """Tells whether a provider adds to the prompt of a body, such as what its own tools find."""
    if any(body.get(name) is not None for name in _FOUND_ELSEWHERE):
        return True
    tools = body.get("tools")
    return isinstance(tools, list) and any(isinstance(tool, Mapping) and not _is_callers(tool) for tool in tools)


def _is_callers(tool: Mapping[str, Any]) -> bool:
    """Tells whether a tool is one that the caller runs."""
    if tool.get("type") is not None:
        return tool["type"] in _OF_CALLERS
    return "name" in tool or tool.keys() <= _DECLARATIONS
