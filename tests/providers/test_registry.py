"""A row and its configuration become a provider, or an error that says what is missing."""

from __future__ import annotations

from dataclasses import fields
from urllib.parse import urlsplit

import pytest

from loom_grpc.config import ConfigError, ProviderConfig
from loom_grpc.core.call import Call
from loom_grpc.providers.anthropic import Anthropic
from loom_grpc.providers.dialect import Dialect
from loom_grpc.providers.gemini import Gemini
from loom_grpc.providers.ollama import Ollama
from loom_grpc.providers.openai import Host, OpenAI
from loom_grpc.providers.registry import DIALECTS, PROVIDERS, Row, base_url, make_dialect, row_of
from loom_grpc.providers.vertex import Vertex
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message, Reasoning

HELLO = LlmRequest(messages=[Message(role=ROLE_USER, content="Hello")], max_tokens=7, reasoning=Reasoning(effort="low"))
NO_SUCH_PROVIDER = (
    "providers.my-host.dialect: set one of anthropic, openai, gemini, vertex, ollama, mock; "
    "my-host is not among the built-in providers"
)
VERTEX = ProviderConfig(project="p", location="us-central1")


def body(name: str) -> bytes:
    return make_dialect(name, ProviderConfig()).encode(Call(HELLO, False, "r", model="m")).body


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_row_is_fit_to_serve(name: str) -> None:
    row = PROVIDERS[name]
    config = VERTEX if name == "vertex" else ProviderConfig()
    url = urlsplit(base_url(name, config))

    assert row.title
    assert row.dialect in DIALECTS
    assert set(row.host) <= {field.name for field in fields(Host)}
    assert make_dialect(name, config).encode(Call(HELLO, False, "r", model="m")).body
    assert url.scheme == "https" or url.hostname in ("127.0.0.1", "mock.invalid")
    assert not url.path.endswith("/")


def test_the_providers_that_the_contract_names_are_there() -> None:
    assert {"anthropic", "openai", "vertex", "gemini", "zai", "ollama", "mock"} <= set(PROVIDERS)


@pytest.mark.parametrize(
    ("name", "config", "dialect"),
    [
        ("anthropic", ProviderConfig(), Anthropic),
        ("openai", ProviderConfig(), OpenAI),
        ("zai", ProviderConfig(), OpenAI),
        ("gemini", ProviderConfig(), Gemini),
        ("ollama", ProviderConfig(), Ollama),
        ("mock", ProviderConfig(), OpenAI),
        ("vertex", VERTEX, Vertex),
        ("my-host", ProviderConfig(dialect="anthropic", base_url="http://127.0.0.1:1"), Anthropic),
        ("openai", ProviderConfig(dialect="openai"), OpenAI),
        ("zai", ProviderConfig(dialect="anthropic"), Anthropic),
    ],
)
def test_a_provider_speaks_its_dialect(name: str, config: ProviderConfig, dialect: type[Dialect]) -> None:
    assert isinstance(make_dialect(name, config), dialect)


def test_a_host_differs_where_its_row_says() -> None:
    assert b'"max_completion_tokens":7' in body("openai")
    assert b'"max_tokens":7' in body("groq")
    assert b'"thinking":{"type":"enabled"}' in body("zai")
    assert b'"reasoning_effort":"low"' in body("openai")


def test_the_account_s_organization_and_project_go_along() -> None:
    config = ProviderConfig(organization="org-1", project="proj-1")
    call = Call(HELLO, False, "r", model="m")

    assert make_dialect("openai", config).encode(call).headers == {
        "openai-organization": "org-1",
        "openai-project": "proj-1",
    }
    assert make_dialect("openai", ProviderConfig()).encode(call).headers == {}


@pytest.mark.parametrize(
    ("name", "config", "url"),
    [
        ("openai", ProviderConfig(), "https://api.openai.com/v1"),
        ("openai", ProviderConfig(base_url="http://127.0.0.1:9/x"), "http://127.0.0.1:9/x"),
        ("vertex", VERTEX, "https://us-central1-aiplatform.googleapis.com"),
        ("vertex", ProviderConfig(base_url="http://127.0.0.1:9", project="p", location="l"), "http://127.0.0.1:9"),
        ("my-host", ProviderConfig(dialect="openai", base_url="https://a.example/v1"), "https://a.example/v1"),
    ],
)
def test_a_provider_is_where_its_row_or_its_configuration_says(name: str, config: ProviderConfig, url: str) -> None:
    assert base_url(name, config) == url


def test_another_dialect_makes_a_known_name_a_host_of_its_own() -> None:
    config = ProviderConfig(dialect="anthropic", base_url="https://api.z.ai/api/anthropic")

    assert row_of("zai", config) == Row("zai", "anthropic")
    assert base_url("zai", config) == "https://api.z.ai/api/anthropic"


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        (
            "my-host",
            ProviderConfig(),
            NO_SUCH_PROVIDER,
        ),
        (
            "my-host",
            ProviderConfig(dialect="openia"),
            NO_SUCH_PROVIDER,
        ),
        (
            "my-host",
            ProviderConfig(dialect="openai"),
            "providers.my-host.base_url: is needed, such as https://api.example.com/v1",
        ),
        (
            "vertex",
            ProviderConfig(),
            "providers.vertex: project and location are needed, such as my-project and us-central1",
        ),
    ],
)
def test_what_is_missing_is_said(name: str, config: ProviderConfig, message: str) -> None:
    make = base_url if "base_url" in message else make_dialect
    with pytest.raises(ConfigError) as caught:
        make(name, config)

    assert str(caught.value) == message
