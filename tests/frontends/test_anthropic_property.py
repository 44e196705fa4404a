"""Whatever is said in Anthropic's API comes out again as it went in, in both directions."""

from __future__ import annotations

import base64
import string
from contextlib import suppress
from itertools import chain
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.replay import replay
from loom_grpc.core.request import check, parts_of
from loom_grpc.frontends.anthropic import Writer
from loom_grpc.frontends.body import HttpError
from loom_grpc.providers.anthropic import Anthropic
from loom_grpc.v1.llm_service_pb2 import LlmResponse
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Citation, Message, Opaque, Part, ToolCall
from tests.frontends.anthropic_reading import collected, read, read_back, untold

texts = st.text(min_size=1, max_size=20)
ids = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=12)
leaves = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
objects = st.dictionaries(texts, values, max_size=3)
data = st.binary(min_size=1, max_size=9)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


images = st.builds(
    lambda value: {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _base64(value)}},
    data,
) | texts.map(lambda url: {"type": "image", "source": {"type": "url", "url": f"https://{url}"}})
documents = st.builds(
    lambda value, title: {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": _base64(value)},
        "title": title,
    },
    data,
    texts,
)
words = texts.map(lambda text: {"type": "text", "text": text})
thoughts = st.builds(
    lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign},
    texts,
    texts.map(lambda text: f"x{text}"),
)
redacted = texts.map(lambda text: {"type": "redacted_thinking", "data": f"x{text}"})
searches = st.builds(
    lambda called, query: {"type": "server_tool_use", "id": called, "name": "web_search", "input": {"query": query}},
    ids,
    texts,
)
uses = st.builds(
    lambda called, name, given: {"type": "tool_use", "id": called, "name": name, "input": given}, ids, ids, objects
)


def _turn(blocks: list[Any]) -> list[Any]:
    """A turn, and the results of its calls."""
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "fine", **({"is_error": True} if index else {})}
        for index, block in enumerate(block for block in blocks if block["type"] == "tool_use")
    ]
    turn = {"role": "assistant", "content": blocks}
    return [turn, {"role": "user", "content": [*results, {"type": "text", "text": "on"}]}] if results else [turn, ANEW]


ANEW: dict[str, Any] = {"role": "user", "content": "on"}

turns = st.lists(words | thoughts | redacted | searches | uses, min_size=2, max_size=5).map(_turn)
users = st.lists(words | images | documents, min_size=2, max_size=3).map(
    lambda blocks: [{"role": "user", "content": blocks}]
)
tools = st.lists(
    st.fixed_dictionaries(
        {"name": ids, "description": st.text(max_size=9), "input_schema": objects}, optional={"strict": st.just(True)}
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tool: str(tool["name"]),
)
choices = st.sampled_from(["auto", "any", "none"]).map(lambda kind: {"type": kind}) | st.just(
    {"type": "auto", "disable_parallel_tool_use": True}
)
bodies = st.fixed_dictionaries(
    {
        "model": st.just("claude-sonnet-4-5"),
        "max_tokens": st.integers(1, 2**31 - 1),
        "messages": st.lists(users | turns, min_size=1, max_size=4).map(
            lambda groups: list(chain.from_iterable(groups))
        ),
        "stream": st.just(False),
    },
    optional={
        "system": texts,
        "tools": tools,
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 500),
        "stop_sequences": st.lists(texts, min_size=1, max_size=3),
        "thinking": st.integers(1024, 32000).map(lambda budget: {"type": "enabled", "budget_tokens": budget})
        | st.just({"type": "disabled"}),
        "output_config": objects.map(lambda schema: {"format": {"type": "json_schema", "schema": schema}}),
    },
)


@settings(deadline=None)
@given(bodies, choices)
def test_a_request_comes_out_of_the_contract_as_it_went_in(body: dict[str, Any], choice: dict[str, Any]) -> None:
    if "tools" in body:
        body["tool_choice"] = choice
    request = read(body)
    check(request)

    call = Call(request, stream=False, request_id="r", model=body["model"])
    assert orjson.loads(Anthropic().encode(call).body) == body


@settings(deadline=None)
@given(bodies)
def test_nothing_of_a_usual_request_is_untold(body: dict[str, Any]) -> None:
    assert untold(body) == ()


WORDS = [
    *("role", "user", "assistant", "system", "content", "type", "text", "image", "document", "source", "base64", "url"),
    *("tool_use", "tool_result", "tool_use_id", "id", "name", "input", "thinking", "signature", "data", "citations"),
    *("redacted_thinking", "loom.part.", "loom.turn.", "loom.", "search_result", "tools", "tool_choice", "any", "tool"),
    *(
        "messages",
        "output_config",
        "format",
        "json_schema",
        "schema",
        "system",
        "input_schema",
        "enabled",
        "compaction",
    ),
]
vocabulary = st.sampled_from(WORDS)
nonsense = st.recursive(
    leaves | vocabulary,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(vocabulary, inner, max_size=4),
    max_leaves=12,
)


def _broken(value: Any, draw: st.DrawFn) -> Any:
    """Puts nonsense into one place of a value, or beside it."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)) | vocabulary)
        return {**value, key: _broken(value.get(key), draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _broken(value[place], draw), *value[place + 1 :]]
    return draw(nonsense)


@st.composite
def broken_bodies(draw: st.DrawFn) -> Any:
    """A request in which something is wrong, perhaps."""
    return _broken(draw(bodies), draw)


@settings(deadline=None, max_examples=400)
@given(broken_bodies())
def test_whatever_is_wrong_with_a_request_is_told_to_the_caller(body: Any) -> None:
    with suppress(HttpError, LlmError):
        check(read(body))


origins = st.sampled_from(["openai", "gemini", "responses"])
states = st.builds(lambda origin, state: {"origin": origin, "provider_state": state}, origins, data)
maybe: st.SearchStrategy[dict[str, Any]] = states | st.just({})
own = texts.map(lambda text: {"origin": "anthropic", "provider_state": text.encode()})


def _citation(url: str) -> Part:
    return Part(citation=Citation(url=url, title="t", cited_text="c", citation_json='{"a":1}'), origin="gemini")


spoken = st.builds(lambda text, state: [Part(text=text, **state)], texts, maybe)
cited = st.builds(lambda text, url: [Part(text=text), _citation(url)], texts, texts)
thinking = st.builds(lambda text, state: [Part(thinking=text, **state)], texts, maybe | own)
unseen = st.builds(lambda state: [Part(thinking="", **state)], states | own)
strange = st.builds(
    lambda origin, kind: [Part(opaque=Opaque(type=kind, block_json=f'{{"type":"{kind}"}}'), origin=origin)],
    origins | st.just("anthropic"),
    st.sampled_from(["executable_code", "grounding"]),
)
sealed = st.builds(
    lambda origin, text: [Part(redacted_thinking=text, origin=origin)], origins | st.just("anthropic"), ids
)


@st.composite
def answers(draw: st.DrawFn) -> Message:
    """A turn of any provider, as `core.events.Answer` builds it: no two runs of the same kind side by side."""
    parts: list[Part] = []
    calls: list[ToolCall] = []
    for group in draw(st.lists(spoken | cited | thinking | unseen | strange | sealed, max_size=5)):
        if parts and _family(parts[-1]) == _family(group[0]):
            state = draw(maybe)
            name = draw(ids)
            arguments = orjson.dumps(draw(objects)).decode()
            call = ToolCall(id=f"{name}:{len(calls)}", tool_name=name, arguments_json=arguments, **state)
            call.part_index = len(parts)
            calls.append(call)
        parts += group
    plain = all(part.HasField("text") and not part.provider_state for part in parts) and not calls
    content = "".join(part.text for part in parts)
    return Message(role=ROLE_ASSISTANT, content=content, parts=[] if plain else parts, tool_calls=calls)


def _family(part: Part) -> str:
    kind = part.WhichOneof("kind") or ""
    return "text" if kind == "citation" else kind


def _told(message: Message) -> tuple[list[Part], list[Any]]:
    """Returns what there is in a turn; a number may be written in another way."""
    calls = [
        (call.id, call.tool_name, call.provider_state, call.origin, call.part_index) for call in message.tool_calls
    ]
    return list(parts_of(message)), [*calls, *(orjson.loads(call.arguments_json) for call in message.tool_calls)]


@settings(deadline=None)
@given(answers())
def test_an_answer_that_is_sent_back_is_what_the_provider_wrote(message: Message) -> None:
    response = LlmResponse(message=message, tool_calls=message.tool_calls)

    blocks = orjson.loads(Writer("r").whole(response, b""))["content"]
    assert _told(read_back(blocks)) == _told(message)


@settings(deadline=None)
@given(answers())
def test_a_streamed_answer_that_is_sent_back_is_what_the_provider_wrote(message: Message) -> None:
    response = LlmResponse(message=message, tool_calls=message.tool_calls)
    writer = Writer("r")

    blocks = collected(b"".join(writer.event(event) for event in replay(response)))["content"]
    assert _told(read_back(blocks)) == _told(message)
