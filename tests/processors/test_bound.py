"""No way to write a request makes it cost more than what is reserved for it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from loom_grpc.core.call import Call
from loom_grpc.core.exact import loads
from loom_grpc.core.model import Facts
from loom_grpc.core.native import Native
from loom_grpc.processors.bound import most_input, most_output
from loom_grpc.v1.llm_service_pb2 import EmbedInput, EmbedRequest, LlmRequest, TokenList
from loom_grpc.v1.message_pb2 import ROLE_USER, Media, Message, Opaque, Part

CONTEXT = 200_000
LONGEST = 8_000
FACTS = Facts(context_tokens=CONTEXT, max_output_tokens=LONGEST)
UNKNOWN = 32_000


def call(*parts: Part, native: Any = None, untold: tuple[str, ...] = (), **fields: Any) -> Call:
    messages = [Message(role=ROLE_USER, content="hello", parts=parts)]
    made = Call(LlmRequest(messages=messages, **fields), stream=False, request_id="r")
    if native is not None:
        made.native = Native("openai", loads(native.encode()), {}, untold)
    return made


def output(made: Call) -> int:
    return most_output(made, FACTS, UNKNOWN)


@pytest.mark.parametrize(
    ("made", "most"),
    [
        (call(max_tokens=10), 10),
        (call(), LONGEST),
        (call(native="{}"), LONGEST),
        (call(max_tokens=10, native='{"max_tokens":10,"max_completion_tokens":500}'), 500),
        (call(max_tokens=10, native='{"max_tokens":10,"max_completion_tokens":null}'), 10),
        (call(max_tokens=10, native='{"n":5}'), 50),
        (call(max_tokens=10, native='{"n":-5}'), 10),
        (call(max_tokens=10, native='{"n":2,"best_of":7}'), 70),
        (call(max_tokens=10, native='{"generationConfig":{"candidateCount":3}}'), 30),
        (call(max_tokens=10, native='{"generationConfig":{"candidate_count":3}}'), 30),
        (call(max_tokens=10, native='{"generation_config":{"candidate_count":"3","max_output_tokens":"20"}}'), 60),
        (call(max_tokens=10, native='{"prediction":"12345"}'), 17),
        (call(max_tokens=10, native='{"n":99999999999999999999}'), 10 * 2**31),
        (call(max_tokens=10, provider_options_json='{"n":"5"}'), 50),
        (call(max_tokens=10, provider_options_json='{"n":5.0}'), 50),
        (call(max_tokens=10, provider_options_json='{"n":"many","best_of":[9],"max_tokens":{}}'), 10),
        (call(max_tokens=10, provider_options_json='{"max_completion_tokens":1e3}'), 1000),
        (call(max_tokens=10, provider_options_json='{"max_completion_tokens":1}'), 10),
        (call(max_tokens=10, provider_options_json='{"max_completion_tokens":null}'), LONGEST),
        (call(max_tokens=10, provider_options_json='{"generationConfig":null}'), LONGEST),
        (call(max_tokens=10, provider_options_json='{"generationConfig":{"maxOutputTokens":null}}'), LONGEST),
        (call(max_tokens=10, provider_options_json='{"options":{"num_predict":70}}'), 70),
    ],
)
def test_an_answer_is_no_longer_than_anything_in_the_request_allows(made: Call, most: int) -> None:
    assert output(made) == most


def test_an_answer_is_as_long_as_is_assumed_where_nobody_knows() -> None:
    assert most_output(call(), Facts(), UNKNOWN) == UNKNOWN


def test_a_prompt_has_no_more_tokens_than_bytes_nor_than_the_model_takes() -> None:
    short, long = call(), call(native='{"messages":[]}')
    long.request.messages[0].content = "x" * 2 * CONTEXT

    assert most_input(short, FACTS) == short.request.ByteSize()
    assert most_input(long, FACTS) == CONTEXT


def test_what_only_the_providers_own_words_say_counts_as_a_part_of_the_prompt() -> None:
    body = orjson.dumps({"documents": ["x" * 5000]}).decode()
    made = call(native=body, untold=("documents",))

    assert most_input(made, FACTS) == made.request.ByteSize() + len(body)


def test_a_picture_counts_for_more_than_its_bytes() -> None:
    made = call(Part(image=Media(url="https://example.com/a.png")))

    assert most_input(made, FACTS) == made.request.ByteSize() + 20_000


@pytest.mark.parametrize(
    "made",
    [
        call(Part(document=Media(url="https://example.com/a.pdf"))),
        call(Part(document=Media(data=b"%PDF", media_type="application/pdf"))),
        call(Part(audio=Media(url="https://example.com/a.mp3"))),
        call(Part(opaque=Opaque(block_json='{"type":"container_upload","file_id":"f"}'))),
        call(native='{"tools":[{"type":"web_search_20250305","name":"web_search"}]}'),
        call(native='{"tools":[{"googleSearch":{}}]}'),
        call(native='{"web_search_options":{}}'),
        call(native='{"cachedContent":"cachedContents/1"}'),
        call(native='{"conversation":"conv_1"}'),
        call(provider_options_json='{"tools":[{"type":"file_search"}]}'),
    ],
)
def test_what_a_provider_adds_to_a_prompt_may_fill_it(made: Call) -> None:
    assert most_input(made, FACTS) == CONTEXT
    assert most_input(made, Facts()) == 1_000_000


@pytest.mark.parametrize(
    "made",
    [
        call(Part(document=Media(data=b"hello", media_type="text/plain"))),
        call(Part(audio=Media(data=b"RIFF", media_type="audio/wav"))),
        call(native='{"tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","name":"g"}]}'),
        call(native='{"tools":[{"name":"f","input_schema":{}}]}'),
        call(native='{"tools":[{"functionDeclarations":[]},"odd"],"conversation":null}'),
    ],
)
def test_the_callers_own_tools_and_texts_add_nothing(made: Call) -> None:
    assert most_input(made, FACTS) == made.request.ByteSize()


def test_inputs_for_vectors_count_by_their_bytes_and_tokens() -> None:
    made = Call(LlmRequest(), stream=False, request_id="r")
    made.begin_embed(EmbedRequest(inputs=[EmbedInput(text="abc"), EmbedInput(tokens=TokenList(ids=[1] * 1000))]))
    assert made.embed is not None

    assert most_input(made, FACTS) == made.embed.ByteSize() + 1000
    assert output(made) == 0
