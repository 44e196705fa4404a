"""What is shown of the configuration: its reference, and the effective values."""

from pathlib import Path

from pydantic import SecretStr

from loom_grpc.config import Config, Loaded, ProviderConfig, TelemetryConfig, effective, reference_markdown
from loom_grpc.config.schema import dotted, leaves
from loom_grpc.config.source import VARIABLES


def test_the_page_is_in_step_with_the_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "config.md"

    assert page.read_text() == reference_markdown()


def test_the_reference_lists_every_key_with_its_variable_and_meaning() -> None:
    text = reference_markdown()

    for path, _ in leaves(Config()):
        assert f"| `{dotted(path)}" in text
    assert "`providers.<name>.retry.max_attempts`<br>`LOOM_PROVIDERS__<NAME>__RETRY__MAX_ATTEMPTS`" in text
    assert all(f"`{name}`" in text for names in VARIABLES.values() for name in names)
    assert "None" not in text


def test_a_row_of_the_reference_tells_type_range_default_and_meaning() -> None:
    cells = [
        "`workers`<br>`LOOM_WORKERS`",
        "whole number, at least 1, at most 1024",
        "`1`",
        "Processes that share the addresses.",
    ]

    assert f"| {' | '.join(cells)} |" in reference_markdown().splitlines()


def test_effective_values_come_with_their_origins_and_without_secrets() -> None:
    provider = ProviderConfig(
        api_key=SecretStr("sk-abc"),
        access_token=SecretStr("env:TOKEN"),
        headers={"x-key": "sk-def", "y-key": "file:/key"},
        models=["a", "b"],
    )
    telemetry = TelemetryConfig(otlp_headers={"authorization": SecretStr("sk-ghi")})
    config = Config(providers={"p": provider}, telemetry=telemetry)
    origins = {dotted(path): "default" for path, _ in leaves(config)} | {"workers": "flag --workers"}

    shown = {path: (text, origin) for path, text, origin in effective(Loaded(config, origins))}

    assert shown.keys() == origins.keys()
    assert shown["workers"] == ("1", "flag --workers")
    assert {
        path: shown[path][0] for path in shown if path.endswith(("key", "token", "_token_s", "headers.authorization"))
    } == {
        "providers.p.api_key": "[REDACTED]",
        "providers.p.access_token": "env:TOKEN",
        "providers.p.headers.x-key": "[REDACTED]",
        "providers.p.headers.y-key": "file:/key",
        "providers.p.timeouts.first_token_s": "120.0",
        "telemetry.otlp_headers.authorization": "[REDACTED]",
    }
    assert (shown["providers.p.models"][0], shown["grpc.tls"][0]) == ('["a", "b"]', "null")
