"""The providers: a row each, and how a row and its configuration become a handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from loom_grpc.config import ConfigError, ProviderConfig
from loom_grpc.providers.dialect import Dialect


class Row(NamedTuple):
    """A provider that is known by name."""

    title: str
    dialect: str
    base_url: str = ""
    default_model: str = ""
    host: Mapping[str, Any] = {}
    """Where the host differs from the rule of Chat Completions: fields of `providers.openai.Host`."""


# Addresses and names as each provider's documentation gives them, seen 2026-11-21.
PROVIDERS: Final[dict[str, Row]] = {
    "anthropic": Row("Anthropic", "anthropic", "https://api.anthropic.com", "claude-sonnet-4-5"),
    "openai": Row(
        "OpenAI",
        "openai",
        "https://api.openai.com/v1",
        "gpt-4o",
        {"max_tokens_field": "max_completion_tokens", "responses": True},
    ),
    "vertex": Row("Vertex", "vertex", "", "gemini-2.5-flash"),
    "gemini": Row("Gemini", "gemini", "https://generativelanguage.googleapis.com", "gemini-2.5-flash"),
    "zai": Row(
        "Z.ai",
        "openai",
        "https://api.z.ai/api/paas/v4",
        "glm-4.7",
        {"reasoning_field": "reasoning_content", "thinking_switch": True, "most_embeddings": 64},
    ),
    "ollama": Row("Ollama", "ollama", "http://127.0.0.1:11434"),
    "mock": Row("Mock", "mock", "http://mock.invalid", "mock-words"),
    "cerebras": Row("Cerebras", "openai", "https://api.cerebras.ai/v1"),
    "deepseek": Row(
        "DeepSeek", "openai", "https://api.deepseek.com", "deepseek-chat", {"reasoning_field": "reasoning_content"}
    ),
    "groq": Row("Groq", "openai", "https://api.groq.com/openai/v1", host={"responses": True}),
    "mistral": Row("Mistral", "openai", "https://api.mistral.ai/v1"),
    "openrouter": Row("OpenRouter", "openai", "https://openrouter.ai/api/v1", host={"responses": True}),
    "perplexity": Row("Perplexity", "openai", "https://api.perplexity.ai"),
    "together": Row("Together", "openai", "https://api.together.xyz/v1"),
    "xai": Row("xAI", "openai", "https://api.x.ai/v1", host={"responses": True}),
}


class DialectRow(NamedTuple):
    """A wire format, and how its hosts want to be shown a key."""

    make: Callable[[Row, ProviderConfig], Dialect]
    key_header: str = "authorization"
    key_prefix: str = "Bearer "


def row_of(name: str, config: ProviderConfig) -> Row:
    """Returns the row of a configured provider; one that is not in the table is a host of the dialect that it names.

    Raises `ConfigError` when there is neither a row nor a dialect.
    """
    row = PROVIDERS.get(name)
    if row is not None and config.dialect in ("", row.dialect):
        return row
    if config.dialect not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise ConfigError(f"providers.{name}.dialect: set one of {known}; {name} is not among the built-in providers")
    return Row(name, config.dialect)


def make_dialect(name: str, config: ProviderConfig) -> Dialect:
    """Makes the codec of a configured provider; raises `ConfigError`."""
    row = row_of(name, config)
    return DIALECTS[row.dialect].make(row, config)


def base_url(name: str, config: ProviderConfig) -> str:
    """Returns where a configured provider is; raises `ConfigError` when nobody says."""
    row = row_of(name, config)
    url = config.base_url or row.base_url
    if not url and row.dialect == "vertex":
        from loom_grpc.providers.vertex import base_url as vertex_base_url

        url = vertex_base_url(config.location)
    if not url:
        raise ConfigError(f"providers.{name}.base_url: is needed, such as https://api.example.com/v1")
    return url


# Each dialect is imported only when a provider speaks it.


def _anthropic(_row: Row, _config: ProviderConfig) -> Dialect:
    from loom_grpc.providers.anthropic import Anthropic

    return Anthropic()


def _openai(row: Row, config: ProviderConfig) -> Dialect:
    from loom_grpc.providers.openai import Host, OpenAI

    headers = {"openai-organization": config.organization, "openai-project": config.project}
    host = dict(row.host)
    if config.responses is not None:
        host["responses"] = config.responses
    elif config.base_url not in ("", row.base_url):
        host["responses"] = False  # what stands in for a provider may have less than it
    return OpenAI(Host(**host), {name: value for name, value in headers.items() if value})


def _gemini(_row: Row, _config: ProviderConfig) -> Dialect:
    from loom_grpc.providers.gemini import Gemini

    return Gemini()


def _vertex(_row: Row, config: ProviderConfig) -> Dialect:
    from loom_grpc.providers.vertex import Vertex

    if not config.project or not config.location:
        raise ConfigError("providers.vertex: project and location are needed, such as my-project and us-central1")
    return Vertex(config.project, config.location)


def _ollama(_row: Row, _config: ProviderConfig) -> Dialect:
    from loom_grpc.providers.ollama import Ollama

    return Ollama()


DIALECTS: Final[dict[str, DialectRow]] = {
    "anthropic": DialectRow(_anthropic, "x-api-key", ""),
    "openai": DialectRow(_openai),
    "gemini": DialectRow(_gemini, "x-goog-api-key", ""),
    "vertex": DialectRow(_vertex),
    "ollama": DialectRow(_ollama),
    "mock": DialectRow(_openai),
}
