"""What a provider repeats of a conversation does not get into the log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.config import Config
from loom_grpc.telemetry.redact import Blackener, line, secrets, without_conversation
from loom_grpc.v1.llm_service_pb2 import LlmRequest, LlmResponse
from loom_grpc.v1.message_pb2 import ROLE_USER, Media, Message, Part, ToolCall, ToolDefinition

LONGEST_RUN = 15


def prompt(*texts: str) -> LlmRequest:
    return LlmRequest(messages=[Message(role=ROLE_USER, content=text) for text in texts])


def words(text: str) -> str:
    return " ".join(text.split())


def leaks(text: str, logged: str) -> list[str]:
    """Returns the runs of a text that can be read in what was logged."""
    text = words(text)
    runs = (text[start : start + LONGEST_RUN] for start in range(len(text) - LONGEST_RUN + 1))
    return [run for run in runs if run in logged]


def as_json(text: str) -> str:
    return json.dumps({"error": {"message": f"cannot use {text}"}})


def as_ascii_bytes(text: str) -> str:
    return repr(f'{{"error": "{text}"}}'.encode())


def as_it_is(text: str) -> str:
    return f"Error 400: invalid text <<{text}>>"


def doubly_escaped(text: str) -> str:
    return repr(text)


@pytest.mark.parametrize("quote", [as_json, as_ascii_bytes, as_it_is, doubly_escaped])
@pytest.mark.parametrize(
    "text", ["Say hi to Ümit Öztürk, please.", 'He said "stop\\now"\nand went to the 东京 station.']
)
def test_quotes_of_the_prompt_are_blackened_in_every_spelling(quote: object, text: str) -> None:
    logged = without_conversation(quote(text), prompt(text))  # type: ignore[operator]

    assert leaks(text, logged) == []
    assert "[PROMPT]" in logged


@given(text=st.text(min_size=16, max_size=200), quote=st.sampled_from([as_json, as_it_is]))
def test_no_run_of_a_quoted_prompt_survives(text: str, quote: object) -> None:
    logged = without_conversation(quote(text), prompt(text))  # type: ignore[operator]

    assert leaks(text, logged) == []


@given(text=st.text(min_size=40, max_size=200), start=st.integers(0, 20), end=st.integers(20, 200))
def test_no_run_of_a_part_of_the_prompt_survives(text: str, start: int, end: int) -> None:
    logged = without_conversation(as_it_is(words(text)[start:end]), prompt("before", text, "after"))

    assert leaks(text, logged) == []


def test_what_the_provider_says_itself_can_still_be_read() -> None:
    detail = '{"error":{"message":"Invalid value: \'tell me everything\'. Supported values are: \'text\'","code":400}}'

    logged = without_conversation(detail, prompt("tell me everything"))

    assert logged == '{"error":{"message":"Invalid value: \'[PROMPT]\'. Supported values are: \'text\'","code":400}}'


def test_every_text_of_a_request_counts_as_conversation() -> None:
    request = prompt("the words of the user")
    request.messages[0].parts.extend(
        [Part(text="a part of the text"), Part(document=Media(url="https://x.example/private-file"))]
    )
    request.messages[0].tool_calls.append(
        ToolCall(id="call_12345678901234567890", arguments_json='{"city": "Reykjavik"}')
    )
    request.tools.append(ToolDefinition(name="weather", description="Tells about the weather."))
    request.provider_options_json = '{"user": "somebody-known"}'
    told = (
        "the words of the user; a part of the text; https://x.example/private-file; call_12345678901234567890; "
        '{"city": "Reykjavik"}; Tells about the weather.; {"user": "somebody-known"}'
    )

    logged = without_conversation(told, request)

    assert logged == "[PROMPT]; [PROMPT]; [PROMPT]; call_12345678901234567890; [PROMPT]; [PROMPT]; [PROMPT]"


def test_the_answer_counts_as_conversation_too() -> None:
    answer = LlmResponse(message=Message(content="The answer is forty-two."))

    logged = without_conversation("unexpected data after 'The answer is forty-two.'", prompt("hi"), answer, None)

    assert logged == "unexpected data after '[PROMPT]'"


def test_a_conversation_too_long_to_be_compared_with_hides_everything() -> None:
    logged = without_conversation("what the provider said", prompt("x" * 300_000))

    assert logged == "[22 characters, not logged: the conversation is too long to be compared with]"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abc123def456",
        "sk-ant-api03-abcdef",
        "gsk_abcdefgh1234",
        "AIzaSyA-1234567890abcdef",
        "lt_9mQx8vT2mZp4Kd9Rw3Ys7Bn5Jc",
        "la_BXq7cVn2Lr9TzKp4Wm6Yd1",
        "Bearer abcdef",
        "ya29.a0AfH6SMBx",
        "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM",
    ],
)
def test_what_looks_like_a_key_is_blackened(secret: str) -> None:
    assert (
        line(f"Incorrect key provided: {secret} (see your account)")
        == "Incorrect key provided: [REDACTED] (see your account)"
    )


def test_a_long_text_is_cut_and_put_on_one_line() -> None:
    text = line("first\nsecond " + "x" * 5000)

    assert text.startswith("first second xxx")
    assert (len(text), text[-1]) == (2000, "…")


def test_every_configured_secret_is_known_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    oauth = {
        "client_secret": "client-secret",
        "headers": {"x-token": "oauth-header", "x-beta": "not-secret"},
        "token_headers": {"authorization": "token-header"},
    }
    config = Config.model_validate(
        {
            "providers": {
                "a": {
                    "oauth": oauth,
                    "accounts": {
                        "b": {"api_key": "env:B_KEY"},
                        "c": {"oauth": {"client_secret": f"file:{tmp_path / 'key'}"}},
                        "d": {"api_key": "vault:kv/a#b"},
                    },
                }
            },
            "database": {"url": "postgresql://somebody:p%40ssword@host/name"},
            "cache": {"redis_url": "redis://:r%40dis-key@host/0"},
            "credentials": {"encryption_key": "first-key, second-key"},
            "vault": {"token": "vault-token", "secret_id": "secret-id"},
            "admin": {"api_key": "admin-key"},
            "telemetry": {"otlp_headers": {"x-team": "otlp-header"}},
        }
    )

    assert sorted(secrets(config, {"B_KEY": "from-the-environment"})) == [
        "admin-key",
        "client-secret",
        "first-key",
        "first-key, second-key",
        "from-a-file",
        "from-the-environment",
        "oauth-header",
        "otlp-header",
        "p%40ssword",
        "p@ssword",
        "postgresql://somebody:p%40ssword@host/name",
        "r%40dis-key",
        "r@dis-key",
        "redis://:r%40dis-key@host/0",
        "second-key",
        "secret-id",
        "token-header",
        "vault-token",
    ]


@pytest.mark.parametrize("url", ["sqlite:////var/lib/loom.db", "postgresql://host/name", "postgresql://user@host/name"])
def test_a_database_without_a_password_adds_only_its_address(url: str) -> None:
    assert secrets(Config.model_validate({"database": {"url": url}}), {}) == [url]


def test_a_secret_that_comes_up_later_is_blackened_from_then_on() -> None:
    blackener = Blackener(["configured"])
    text = b"configured later-token"

    before = blackener.blacken(text)
    blackener.hide("later-token")

    assert (before, blackener.blacken(text)) == (b"[REDACTED] later-token", b"[REDACTED] [REDACTED]")


def test_a_secret_within_another_does_not_leave_the_rest_of_it() -> None:
    blackener = Blackener(["token-1"])
    blackener.hide("token-1-and-more")

    assert blackener.blacken(b"token-1-and-more") == b"[REDACTED]"


def test_a_secret_is_blackened_inside_of_json_too() -> None:
    blackener = Blackener([])
    blackener.hide('quo"ted')

    assert blackener.blacken(json.dumps({"key": 'quo"ted'}).encode()) == b'{"key": "[REDACTED]"}'


def test_what_is_too_short_for_a_secret_blackens_nothing() -> None:
    blackener = Blackener([])
    blackener.hide("call")
    blackener.hide("")

    assert blackener.blacken(b"a call") == b"a call"


def test_only_the_latest_tokens_are_kept_and_the_configured_secrets() -> None:
    blackener = Blackener(["configured"])
    for number in range(1000):
        blackener.hide("often-used")
        blackener.hide(f"token-{number:04}")

    line = b"configured often-used token-0000 token-0500 token-0999 token-0650"

    assert blackener.blacken(line) == b"[REDACTED] [REDACTED] token-0000 token-0500 [REDACTED] [REDACTED]"


@given(
    secrets=st.lists(
        st.text(st.characters(min_codepoint=33, max_codepoint=0x17F), min_size=6, max_size=90), min_size=1, max_size=40
    ),
    around=st.text(max_size=60),
    data=st.data(),
)
def test_no_hidden_secret_survives_in_a_line(secrets: list[str], around: str, data: st.DataObject) -> None:
    blackener = Blackener(secrets[::2])
    for secret in secrets[1::2]:
        blackener.hide(secret)
    told = data.draw(st.sampled_from(secrets))

    blackened = blackener.blacken(f"{around}{told}{around}".encode(errors="replace"))

    assert told.encode() not in blackened.replace(b"[REDACTED]", b"\0")
