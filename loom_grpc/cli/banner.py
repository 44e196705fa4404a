"""What the server tells a person once it serves."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from loom_grpc import __version__
from loom_grpc.client import DEFAULT_TARGET
from loom_grpc.config import Config, Loaded, ProviderConfig, TlsConfig
from loom_grpc.providers.registry import row_of

_HELLO: Final = "Say hello"
_KEYS: Final = "ANTHROPIC_API_KEY, OPENAI_API_KEY, GEMINI_API_KEY or ZAI_API_KEY"


def banner(loaded: Loaded, file: Path | None, grpc_address: str, http_address: str, *, command: str) -> str:
    """Writes where the server is, which providers it has, and lines to try it with; `command` is how one calls it."""
    config = loaded.config
    return "\n".join(
        [
            f"loom-grpc {__version__} serves",
            *_facts(loaded, file, grpc_address, http_address),
            "",
            "Try it:",
            *(f"  {line}" for line in _lines_to_try(config, grpc_address, http_address, command)),
        ]
    )


def command_name() -> str:
    """Returns what to type for this program: its name where that finds it, else its path."""
    called = Path(sys.argv[0])
    if called.name != "loom-grpc":
        return "loom-grpc"
    found = shutil.which("loom-grpc")
    if found and called.is_file() and Path(found).samefile(called):
        return "loom-grpc"
    return shlex.quote(sys.argv[0])


def _facts(loaded: Loaded, file: Path | None, grpc_address: str, http_address: str) -> Iterator[str]:
    config = loaded.config
    if file is not None:
        yield f"  config     {file}"
    yield f"  gRPC       {grpc_address}{_tls_words(config.grpc.tls)}"
    if http_address:
        yield f"  HTTP       {http_url(config.http.tls, http_address)}{_tls_words(config.http.tls)}"
    names = [_provider_words(name, provider) for name, provider in _on(config)]
    yield f"  providers  {', '.join(names)}"
    if loaded.origins.get("providers.mock.enabled", "").startswith("default,"):
        yield f"             No key was found, so answers are made up. Set {_KEYS}"
        yield "             in the environment, or list providers in loom.yaml, and start again."


def _lines_to_try(config: Config, grpc_address: str, http_address: str, command: str) -> Iterator[str]:
    provider, model = _first_choice(config)
    shown = _shown(config)
    if shown:
        yield f"export LOOM_API_KEY=$({command} keys create{_to_server(config, grpc_address)})  # with the admin key in LOOM_ADMIN_KEY"
    yield _grpcurl(config, grpc_address, provider, model)
    if http_address:
        yield shlex.join(curl(config.http.tls, http_address, provider, model)) + shown
    yield _chat(config, grpc_address, command, provider, model)


def _shown(config: Config) -> str:
    """Returns the flag with which a caller shows a key, where callers have to."""
    return ' -H "authorization: Bearer $LOOM_API_KEY"' if config.access.is_on else ""


def _grpcurl(config: Config, address: str, provider: str, model: str) -> str:
    body = _named(config, provider, model) | {"messages": [{"role": "ROLE_USER", "content": _HELLO}]}
    words = _grpcurl_tls(config.grpc.tls)
    if not config.grpc.reflection:
        words += ["-import-path", "proto", "-proto", "loom_grpc/v1/llm_service.proto"]
    words += ["-d", _json(body)]
    if address.startswith("unix:"):
        words += ["-unix", address.removeprefix("unix:")]
    else:
        words += [_reachable(address)]
    return f"grpcurl{_shown(config)} {shlex.join([*words, 'loom_grpc.v1.LlmService/Stream'])}"


def curl(tls: TlsConfig | None, address: str, provider: str, model: str) -> list[str]:
    """Returns the words of a command that streams an answer over HTTP; an empty model is the provider's default."""
    body = {"model": model or "default", "messages": [{"role": "user", "content": _HELLO}], "tools": []}
    words = ["curl", "-N", *_curl_tls(tls)]
    if address.startswith("unix:"):
        words += ["--unix-socket", address.removeprefix("unix:")]
        address = "localhost"
    url = f"{http_url(tls, _reachable(address))}/proxy/{provider}/stream"
    return [*words, url, "-H", "content-type: application/json", "-d", _json(body)]


def _chat(config: Config, address: str, command: str, provider: str, model: str) -> str:
    words = ["chat", _HELLO]
    for flag, value in (("--provider", _named(config, provider, model).get("provider")), ("--model", model)):
        words += [flag, value] if value else []
    return f"{command} {shlex.join(words)}{_to_server(config, address)}"


def _to_server(config: Config, address: str) -> str:
    """Returns the flags by which the command line finds the server."""
    target = _reachable(address)
    words = ["--target", target] if target != DEFAULT_TARGET else []
    tls = config.grpc.tls
    if tls:
        words += ["--ca-file", "CA.pem"]
        words += ["--cert-file", "CERT.pem", "--key-file", "KEY.pem"] if tls.client_ca_file else []
    return f" {shlex.join(words)}" if words else ""


def _first_choice(config: Config) -> tuple[str, str]:
    """Returns the provider to try, and a model where the provider's default does not do."""
    on = dict(_on(config))
    names = [config.default_provider] if config.default_provider else list(on)
    for name in names:
        if _default_model(name, on[name]):
            return name, ""
    return names[0], next(iter(on[names[0]].models), "MODEL")


def _named(config: Config, provider: str, model: str) -> dict[str, Any]:
    """Returns the fields that a request needs to reach a provider and model."""
    fields = {"model": model} if model else {}
    if config.default_provider == provider or len(list(_on(config))) == 1:
        return fields
    return {"provider": provider} | fields


def _on(config: Config) -> Iterator[tuple[str, ProviderConfig]]:
    return ((name, provider) for name, provider in config.providers.items() if provider.enabled)


def _provider_words(name: str, provider: ProviderConfig) -> str:
    accounts = len(provider.accounts)
    pool = f"{accounts} account{'s' if accounts > 1 else ''}" if accounts else ""
    words = ", ".join(filter(None, (_default_model(name, provider), pool)))
    return f"{name} ({words})" if words else name


def _default_model(name: str, provider: ProviderConfig) -> str:
    return provider.default_model or row_of(name, provider).default_model


def _reachable(address: str) -> str:
    """Returns an address that one can connect to, where the server listens on every one."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return address
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}.get(host, host) + colon + port  # noqa: S104


def http_url(tls: TlsConfig | None, address: str) -> str:
    """Returns the URL of an HTTP address; a Unix socket has none and stays as it is."""
    if address.startswith("unix:"):
        return address
    return f"{'https' if tls else 'http'}://{address}"


def _tls_words(tls: TlsConfig | None) -> str:
    if tls is None:
        return ""
    return " (TLS, callers show a certificate)" if tls.client_ca_file else " (TLS)"


def _grpcurl_tls(tls: TlsConfig | None) -> list[str]:
    if tls is None:
        return ["-plaintext"]
    own = ["-cert", "CERT.pem", "-key", "KEY.pem"] if tls.client_ca_file else []
    return ["-cacert", "CA.pem", *own]


def _curl_tls(tls: TlsConfig | None) -> list[str]:
    if tls is None:
        return []
    own = ["--cert", "CERT.pem", "--key", "KEY.pem"] if tls.client_ca_file else []
    return ["--cacert", "CA.pem", *own]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
