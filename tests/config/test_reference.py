"""What is shown of the configuration: its reference, and the effective values."""

from pathlib import Path

from pydantic import SecretStr

from loom_grpc.config import (
    AccountConfig,
    AdminConfig,
    Config,
    CredentialsConfig,
    DatabaseConfig,
    Loaded,
    OAuthConfig,
    ProviderConfig,
    TelemetryConfig,
    VaultConfig,
    effective,
    reference_markdown,
)
from loom_grpc.config.source import VARIABLES
from loom_grpc.config.tree import dotted, leaves


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


def test_the_items_of_a_list_share_the_variable_of_the_list_and_a_bar_does_not_end_a_cell() -> None:
    lines = reference_markdown().splitlines()

    assert [line.partition(" | ")[0] for line in lines if "`LOOM_REWRITES" in line] == [
        "| `rewrites.<number>.match`<br>`LOOM_REWRITES`",
        "| `rewrites.<number>.to`<br>`LOOM_REWRITES`",
    ]
    assert [line.count("|") - line.count(r"\|") for line in lines if "`LOOM_CHAINS`" in line] == [5]


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
    names = ("key", "token", "_token_s", "headers.authorization")
    assert {path: text for path, (text, _) in shown.items() if path.endswith(names) and text != "null"} == {
        "providers.p.api_key": "[REDACTED]",
        "providers.p.access_token": "env:TOKEN",
        "providers.p.headers.x-key": "[REDACTED]",
        "providers.p.headers.y-key": "file:/key",
        "providers.p.timeouts.first_token_s": "120.0",
        "telemetry.otlp_headers.authorization": "[REDACTED]",
    }
    assert (shown["providers.p.models"][0], shown["grpc.tls"][0]) == ('["a", "b"]', "null")


def test_secrets_of_accounts_logins_vault_and_the_database_are_masked() -> None:
    oauth = OAuthConfig(
        client_secret=SecretStr("s3"),
        token_headers={"x-a": "s3"},
        headers={"x-b": "s3"},
        authorize_params={"p": "shown"},
    )
    accounts = {"a": AccountConfig(api_key=SecretStr("s3")), "headers": AccountConfig(oauth=oauth)}
    config = Config(
        providers={"headers": ProviderConfig(accounts=accounts, oauth=oauth)},
        credentials=CredentialsConfig(encryption_key=SecretStr("s3"), file=Path("/shown")),
        database=DatabaseConfig(url=SecretStr("postgresql://u:s3@h/d")),
        vault=VaultConfig(token=SecretStr("s3"), secret_id=SecretStr("env:SHOWN"), role_id="shown"),
        admin=AdminConfig(api_key=SecretStr("s3")),
    )
    origins = {dotted(path): "default" for path, _ in leaves(config)}

    shown = {path: text for path, text, _ in effective(Loaded(config, origins))}

    assert "s3" not in "".join(shown.values())
    assert [path for path, text in shown.items() if text == "[REDACTED]"] == [
        "providers.headers.accounts.a.api_key",
        "providers.headers.accounts.headers.oauth.client_secret",
        "providers.headers.accounts.headers.oauth.token_headers.x-a",
        "providers.headers.accounts.headers.oauth.headers.x-b",
        "providers.headers.oauth.client_secret",
        "providers.headers.oauth.token_headers.x-a",
        "providers.headers.oauth.headers.x-b",
        "credentials.encryption_key",
        "database.url",
        "vault.token",
        "admin.api_key",
    ]
    assert (shown["vault.secret_id"], shown["vault.role_id"], shown["credentials.file"]) == (
        "env:SHOWN",
        "shown",
        "/shown",
    )
    assert shown["providers.headers.accounts.a.oauth"] == "null"
