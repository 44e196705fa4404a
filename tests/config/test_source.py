"""Putting the configuration together: order, origins, and what is wrong with it."""

import json
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from loom_grpc.config import (
    BreakerConfig,
    Config,
    ConfigError,
    Loaded,
    ProviderConfig,
    RewriteConfig,
    RouteConfig,
    RouteTargetConfig,
    VaultConfig,
    effective,
    load,
)
from loom_grpc.config.source import VARIABLES
from loom_grpc.config.tree import leaves

NOTHING: Mapping[str, str] = {}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "loom.yaml"


def problems(
    file: Path | None, environ: Mapping[str, str] = NOTHING, flags: Mapping[str, object] = NOTHING, **more: Any
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, environ, flags, **more)
    return [line.replace(f"file {file}", "file") for line in str(caught.value).splitlines()]


def set_values(loaded: Loaded) -> dict[str, tuple[str, str]]:
    return {path: (text, origin) for path, text, origin in effective(loaded) if origin != "default"}


def test_flags_beat_the_environment_which_beats_the_file(file: Path) -> None:
    file.write_text("grpc: {address: 'a:1'}\nhttp:\n  address: 'a:2'\n  max_body_bytes: 5\nworkers: 2\n")
    environ = {"LOOM_GRPC__ADDRESS": "b:1", "LOOM_HTTP__ADDRESS": "b:2"}
    flags = {"--grpc-address": "c:1", "--http-address": None, "--no-http": False, "--workers": None}

    loaded = load(file, environ, flags)

    assert {path: value for path, value in set_values(loaded).items() if not path.startswith("providers")} == {
        "grpc.address": ("c:1", "flag --grpc-address"),
        "http.address": ("b:2", "environment LOOM_HTTP__ADDRESS"),
        "http.max_body_bytes": ("5", f"file {file}:4"),
        "workers": ("2", f"file {file}:5"),
    }


def test_a_flag_without_a_value_stands_for_one() -> None:
    loaded = load(None, {}, {"--no-http": True})

    assert not loaded.config.http.enabled
    assert loaded.origins["http.enabled"] == "flag --no-http"


def test_without_providers_the_mock_serves_and_says_why() -> None:
    loaded = load(None, {}, {})

    assert loaded.config == Config(providers={"mock": ProviderConfig()})
    assert set_values(loaded) == {"providers.mock.enabled": ("true", "default, since no provider is configured")}


def test_the_mock_serves_when_all_other_providers_are_off(file: Path) -> None:
    file.write_text("providers: {openai: {enabled: false, api_key: 'env:NOT_SET'}}")

    assert [*load(file, {}, {}).config.providers] == ["openai", "mock"]


def test_a_mock_that_is_off_does_not_serve(file: Path) -> None:
    file.write_text("providers: {mock: {enabled: false}}")

    assert problems(file) == ["providers: none is enabled (file:1)"]


@pytest.mark.parametrize("content", ["providers: {mock: {}}", "providers:\n  mock:\n", "providers: {mock: ~}"])
def test_a_provider_needs_no_keys(file: Path, content: str) -> None:
    file.write_text(content)

    loaded = load(file, {}, {})

    assert loaded.config.providers == {"mock": ProviderConfig()}
    assert set_values(loaded) == {}


def test_a_provider_whose_only_key_has_no_value_is_there_all_the_same(file: Path) -> None:
    file.write_text("providers:\n  ollama:\n    base_url:\n")

    assert load(file, {}, {}).config.providers == {"ollama": ProviderConfig()}


def test_a_key_in_the_environment_switches_its_provider_on() -> None:
    loaded = load(None, {"ANTHROPIC_API_KEY": "sk-a", "ANTHROPIC_MODEL": "m", "OPENAI_MODEL": "unused"}, {})

    assert set_values(loaded) == {
        "providers.anthropic.api_key": ("env:ANTHROPIC_API_KEY", "environment ANTHROPIC_API_KEY"),
        "providers.anthropic.default_model": ("m", "environment ANTHROPIC_MODEL"),
    }


@pytest.mark.parametrize(
    ("environ", "reference"),
    [
        (
            ("LOOM_SERVER_OPENAI_API_KEY", "LOOM_SERVER_OPENAI_API_KEY_FILE", "OPENAI_API_KEY"),
            "env:LOOM_SERVER_OPENAI_API_KEY",
        ),
        (("LOOM_SERVER_OPENAI_API_KEY_FILE", "OPENAI_API_KEY"), "file:x"),
        (("OPENAI_API_KEY",), "env:OPENAI_API_KEY"),
    ],
)
def test_looms_names_come_before_the_plain_ones(environ: tuple[str, ...], reference: str) -> None:
    loaded = load(None, dict.fromkeys(environ, "x"), {})

    assert loaded.config.providers["openai"].api_key == SecretStr(reference)


def test_well_known_variables_fill_only_what_nobody_has_set(file: Path) -> None:
    file.write_text("providers: {openai: {api_key: sk-file}}")
    environ = {"OPENAI_API_KEY": "sk-env", "OPENAI_ORGANIZATION": "org", "LOOM_PROVIDERS__OPENAI__DEFAULT_MODEL": "m"}

    provider = load(file, {**environ, "OPENAI_MODEL": "other"}, {}).config.providers["openai"]

    assert provider == ProviderConfig(api_key=SecretStr("sk-file"), organization="org", default_model="m")


def test_vertex_is_on_with_project_and_location_only() -> None:
    one = {"LOOM_SERVER_VERTEX_PROJECT": "p"}

    assert [*load(None, one, {}).config.providers] == ["mock"]
    assert load(None, {**one, "LOOM_SERVER_VERTEX_LOCATION": "l"}, {}).config.providers == {
        "vertex": ProviderConfig(project="p", location="l")
    }


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("gpu.example", "http://gpu.example:11434"),
        ("0.0.0.0:1234", "http://0.0.0.0:1234"),
        (":1234", "http://127.0.0.1:1234"),
        ("https://ollama.example", "https://ollama.example"),
    ],
)
def test_ollamas_variable_may_lack_scheme_host_or_port(host: str, url: str) -> None:
    assert load(None, {"OLLAMA_HOST": host}, {}).config.providers["ollama"].base_url == url


def test_looms_default_provider_is_read_in_any_case() -> None:
    loaded = load(None, {"LOOM_SERVER_LLM_PROVIDER": "OpenAI", "OPENAI_API_KEY": "k"}, {})

    assert loaded.config.default_provider == "openai"


def test_an_empty_variable_is_not_set() -> None:
    assert load(None, {"OPENAI_API_KEY": "", "LOOM_WORKERS": "", "LOOM_PROVIDERS__X__API_KEY": ""}, {}) == load(
        None, {}, {}
    )


def test_variables_reach_lists_mappings_and_json() -> None:
    environ = {
        "LOOM_PROVIDERS": '{"a": {"dialect": "openai", "models": ["x"]}}',
        "LOOM_PROVIDERS__A__MODELS": "m1, m2",
        "LOOM_PROVIDERS__A__RETRY__STATUSES": "[429, 500]",
        "LOOM_PROVIDERS__A__HEADERS__X_TITLE": "t",
        "LOOM_PROVIDERS__A__OPTIONS": '{"n": 1, "tier": "slow"}',
        "LOOM_PROVIDERS__A__OPTIONS__TIER": "flex",
        "LOOM_PROVIDERS__A__OPTIONS__TOP": "2",
        "LOOM_ALIASES": '{"Fast": "a/m1"}',
        "LOOM_COMPAT__LOOM_RATE_LIMIT_STATUS": "503",
        "LOOM_HTTP__ENABLED": "no",
    }

    config = load(None, environ, {}).config

    assert config.providers["a"].model_dump(exclude_defaults=True) == {
        "dialect": "openai",
        "models": ["m1", "m2"],
        "retry": {"statuses": (429, 500)},
        "headers": {"x-title": "t"},
        "options": {"n": 1, "tier": "flex", "top": 2},
    }
    assert (config.aliases, config.compat.loom_rate_limit_status, config.http.enabled) == ({"Fast": "a/m1"}, 503, False)


def test_a_variable_finds_a_key_of_the_file_that_has_a_hyphen(file: Path) -> None:
    file.write_text("providers: {my-host: {dialect: openai}}")

    config = load(file, {"LOOM_PROVIDERS__MY_HOST__DEFAULT_MODEL": "m"}, {}).config

    assert config.providers == {"my-host": ProviderConfig(dialect="openai", default_model="m")}


def test_null_in_options_is_a_value_and_elsewhere_means_not_set(file: Path) -> None:
    file.write_text("workers: ~\ngrpc: {tls: ~}\nproviders: {mock: {options: {stop: ~}, api_key: ~}}")

    config = load(file, {}, {}).config

    assert config == Config(providers={"mock": ProviderConfig(options={"stop": None})})


def test_loom_variables_that_nothing_reads_are_warned_about_but_not_those_of_kubernetes() -> None:
    environ = {
        "LOOM_GRPC_ADDRESS": "x",
        "LOOM_WORKER": "3",
        "LOOM_SERVER_ANTHROPIC_OAUTH_ENABLED": "1",
        "LOOM_GRPC_SERVICE_HOST": "10.0.0.1",
        "LOOM_GRPC_PORT_50051_TCP": "tcp://10.0.0.1:50051",
    }

    assert load(None, environ, {}).warnings == (
        "the environment variable LOOM_GRPC_ADDRESS is not read; did you mean LOOM_GRPC__ADDRESS?",
        "the environment variable LOOM_SERVER_ANTHROPIC_OAUTH_ENABLED is not read",
        "the environment variable LOOM_WORKER is not read; did you mean LOOM_WORKERS?",
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("grcp: {}", "grcp: unknown key; did you mean grpc? (file:1)"),
        ("grpc:\n  adress: x", "grpc.adress: unknown key; did you mean address? (file:2)"),
        ("log: {x: 1}", "log.x: unknown key; there are level, format, prompts, access (file:1)"),
        (
            "log: {sk-ab12cd34: 1}",
            "log.(a key of 11 characters): unknown key; there are level, format, prompts, access (file:1)",
        ),
        ("- a", "all: must be a mapping of keys to values (file:1)"),
        ("workers: 0", "workers: must be greater than or equal to 1 (file:1)"),
        ("workers: true", "workers: must be a number (file:1)"),
        ("workers: two", "workers: must be a valid integer (file:1)"),
        ("grpc: {keepalive_time_s: .nan}", "grpc.keepalive_time_s: must be a finite number (file:1)"),
        ("grpc: {tls: {cert_file: c}}", "grpc.tls.key_file: must be set (file:1)"),
        ("log: {format: xml}", "log.format: must be 'auto', 'console' or 'json' (file:1)"),
        (
            "providers: {openai: {project: 12}}",
            "providers.openai.project: must be text; put quotes around a number that is meant as text (file:1)",
        ),
        (
            "providers: {a: {retry: {statuses: [429, 200]}}}",
            "providers.a.retry.statuses: must be greater than or equal to 400 (file:1)",
        ),
        ("providers: {a: {options: {x: {y: .inf}}}}", "providers.a.options.x: must be a finite number (file:1)"),
        ("providers: {a: {headers: {'b c': d}}}", "providers.a.headers.b c: is not the name of a header (file:1)"),
        (
            "providers:\n  A: {}\n",
            "providers.A: must be lower-case letters, digits, - and _, and begin with a letter or a digit (file:2)",
        ),
        (
            "providers: {a: {api_key: 'vault:x'}}",
            (
                "providers.a.api_key: must have mount/path#field after vault:, such as vault:secret/openai#api_key "
                "(file:1)"
            ),
        ),
        (
            "providers:\n  a:\n    api_key: env:NOT_SET\n",
            "providers.a.api_key: the environment variable NOT_SET is not set; set it or change the key (file:3)",
        ),
        (
            "providers: {a: {headers: {api-key: 'env:NOT_SET'}}}",
            (
                "providers.a.headers.api-key: the environment variable NOT_SET is not set; "
                "set it or change the key (file:1)"
            ),
        ),
        (
            "providers: {a: {}, b: {enabled: false}}\ndefault_provider: b",
            "default_provider: is not a provider that is on; those are a (file:2)",
        ),
        (
            "providers: {a: {}}\naliases:\n  x: a/\n",
            "aliases.x: must be provider/model, the provider one of a (file:3)",
        ),
        ("providers: {a: {}}\naliases: {x: c/d}", "aliases.x: must be provider/model, the provider one of a (file:2)"),
        ("chains: perhaps", "chains: must be a valid boolean (file:1)"),
    ],
)
def test_a_problem_says_where_it_is_and_what_to_do(file: Path, content: str, expected: str) -> None:
    file.write_text(content)

    assert problems(file) == [expected]


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("LOOM_WORKERS", "x", "workers: must be a valid integer"),
        ("LOOM_GRPC", "x", 'grpc: must be JSON, such as {"key": "value"}'),
        ("LOOM_GRPC__ADRESS", "x", "grpc.adress: unknown key; did you mean address?"),
        ("LOOM_GRPC__ADDRESS__X", "x", "grpc.address.x: unknown key"),
        ("LOOM_PROVIDERS__A__MODELS", "[1", 'providers.a.models: must be JSON, such as ["a", "b"]'),
        ("LOOM_PROVIDERS__A__OPTIONS__X", "{1", 'providers.a.options.x: must be JSON, such as {"key": "value"}'),
        ("LOOM_PROVIDERS", '{"a": {"options": {"x": NaN}}}', 'providers: must be JSON, such as {"key": "value"}'),
        ("LOOM_PROVIDERS", "[]", "providers: must be a mapping of keys to values"),
        ("LOOM_REWRITES", "a,b", 'rewrites: must be JSON, such as [{"key": "value"}]'),
        ("LOOM_REWRITES", "{}", "rewrites: must be a list, each of its items a mapping of keys to values"),
        ("LOOM_REWRITES", '[{"match": "a"}]', "rewrites.0.to: must be set"),
        ("LOOM_REWRITES__0__TO", "x", "rewrites: is a list, which LOOM_REWRITES sets as a whole, in JSON"),
        (
            "LOOM_ROUTES__SMART__TARGETS",
            '[{"modl": "a"}]',
            "routes.smart.targets.0.modl: unknown key; did you mean model?",
        ),
    ],
)
def test_a_problem_in_the_environment_names_the_variable(variable: str, text: str, expected: str) -> None:
    assert problems(None, {variable: text}) == [f"{expected} (environment {variable})"]


def test_all_problems_are_told_at_once(file: Path) -> None:
    file.write_text("wrkers: 1\nlog: {level: loud}\n")

    assert problems(file, {"LOOM_HTTP__ADDRESS": "x"}, {"--workers": 0}) == [
        "wrkers: unknown key; did you mean workers? (file:1)",
        "http.address: must be host:port, [ipv6]:port or unix:path (environment LOOM_HTTP__ADDRESS)",
        "workers: must be greater than or equal to 1 (flag --workers)",
        "log.level: must be 'debug', 'info', 'warning', 'error' or 'critical' (file:2)",
    ]


def test_names_of_providers_are_checked_against_the_registry(file: Path) -> None:
    file.write_text("providers:\n  opnai: {}\n  mine: {dialect: opnai}\n  other: {dialect: openai}\n  mock: {}\n")

    assert problems(file, registry=["openai", "mock"]) == [
        "providers.opnai: unknown provider, and no dialect says how it speaks; did you mean openai? (file:2)",
        "providers.mine.dialect: unknown provider; did you mean openai? (file:3)",
    ]


def test_the_example_is_complete() -> None:
    example = Path(__file__).parents[2] / "loom.example.yaml"
    environ = {f"{name}_API_KEY": "k" for name in ("ANTHROPIC", "OPENAI", "ZAI", "GEMINI", "GROQ")}

    loaded = load(example, environ, {})

    assert [*loaded.config.providers] == ["anthropic", "openai", "zai", "vertex", "gemini", "ollama", "mock", "groq"]


def test_what_the_example_only_suggests_can_be_taken_too(file: Path) -> None:
    example = (Path(__file__).parents[2] / "loom.example.yaml").read_text()
    file.write_text(re.sub(r"^( *)# (?= *(- |[a-z_]+:))", r"\1", example, flags=re.MULTILINE))
    names = ("ANTHROPIC", "OPENAI", "ZAI", "GEMINI", "GROQ", "MISTRAL")
    environ = {f"{name}_API_KEY": "k" for name in names} | {
        "LOOM_DATABASE_URL": "sqlite:////a.db",
        "LOOM_ENCRYPTION_KEY": "k",
        "LOOM_ADMIN_KEY": "la_BXq7cVn2Lr9TzKp4Wm6Yd1",
    }

    loaded = load(file, environ, {})

    assert loaded.warnings == ()
    assert loaded.config.rewrites == [RewriteConfig(match="gpt-4(.*)", to=r"openai/gpt-4\1")]
    assert [*accounts_of(loaded, "mistral")] == ["team", "spare", "person"]
    assert loaded.config.vault.role == "loom-grpc"


def accounts_of(loaded: Loaded, provider: str = "anthropic") -> dict[str, dict[str, Any]]:
    accounts = loaded.config.providers[provider].accounts
    return {id_: account.model_dump(exclude_defaults=True) for id_, account in accounts.items()}


def test_accounts_are_a_list_whose_order_is_kept(file: Path) -> None:
    file.write_text(
        "providers:\n  anthropic:\n    accounts:\n"
        "      - id: z.1@x\n        api_key: file:/z\n"
        "      - {id: b, api_key: 'file:/b'}\n"
        "      - id: a\n        oauth:\n          client_id: c\n"
        "    oauth: {authorize_url: 'http://a', token_url: 'http://t', redirect_uri: 'http://r'}\n"
    )

    loaded = load(file, {}, {})

    assert [*accounts_of(loaded)] == ["z.1@x", "b", "a"]
    assert {path: value for path, value in set_values(loaded).items() if ".accounts." in path} == {
        "providers.anthropic.accounts.z.1@x.api_key": ("file:/z", f"file {file}:5"),
        "providers.anthropic.accounts.b.api_key": ("file:/b", f"file {file}:6"),
        "providers.anthropic.accounts.a.oauth.client_id": ("c", f"file {file}:9"),
    }


def test_accounts_may_also_be_a_mapping(file: Path) -> None:
    file.write_text("providers: {anthropic: {accounts: {b: {api_key: 'file:/b'}, a: {api_key: 'file:/a'}}}}")

    assert accounts_of(load(file, {}, {})) == {
        "b": {"api_key": SecretStr("file:/b")},
        "a": {"api_key": SecretStr("file:/a")},
    }


def test_variables_add_accounts_and_change_those_of_the_file(file: Path) -> None:
    file.write_text("providers: {anthropic: {accounts: [{id: Team.A-1, api_key: 'file:/a'}]}}")
    environ = {
        "LOOM_PROVIDERS__ANTHROPIC__ACCOUNTS__TEAM_A_1__API_KEY": "file:/other",
        "LOOM_PROVIDERS__ANTHROPIC__ACCOUNTS": '[{"id": "c", "api_key": "file:/c"}]',
        "LOOM_PROVIDERS__ANTHROPIC__ACCOUNTS__X_HEADERS__API_KEY": "file:/d",
    }

    assert accounts_of(load(file, environ, {})) == {
        "Team.A-1": {"api_key": SecretStr("file:/other")},
        "c": {"api_key": SecretStr("file:/c")},
        "x_headers": {"api_key": SecretStr("file:/d")},
    }


def test_an_account_switches_its_provider_on_and_keeps_a_well_known_key_out() -> None:
    environ = {
        "LOOM_PROVIDERS__ANTHROPIC__ACCOUNTS__A__API_KEY": "file:/a",
        "ANTHROPIC_API_KEY": "sk",
        "ANTHROPIC_MODEL": "m",
    }

    assert set_values(load(None, environ, {})) == {
        "providers.anthropic.accounts.a.api_key": (
            "file:/a",
            "environment LOOM_PROVIDERS__ANTHROPIC__ACCOUNTS__A__API_KEY",
        ),
        "providers.anthropic.default_model": ("m", "environment ANTHROPIC_MODEL"),
    }


def test_an_empty_list_of_accounts_leaves_room_for_a_key(file: Path) -> None:
    file.write_text("providers: {anthropic: {accounts: []}}")

    assert load(file, {"ANTHROPIC_API_KEY": "sk"}, {}).config.providers == {
        "anthropic": ProviderConfig(api_key=SecretStr("env:ANTHROPIC_API_KEY"))
    }


def test_how_a_pool_is_used_may_be_said_before_it_has_accounts(file: Path) -> None:
    file.write_text("providers: {zai: {strategy: least_used, cooldown_s: 60, usage_window_s: 120}}")

    provider = load(file, {}, {}).config.providers["zai"]

    assert (provider.strategy, provider.cooldown_s, provider.usage_window_s) == ("least_used", 60, 120)


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [
        ("- {api_key: 'file:/k'}", "accounts: item 1 has no id; give each account one of its own (file:4)"),
        (
            "- {id: a, api_key: x}\n- sk-1",
            "accounts: item 2 must be a mapping of keys to values, one of them its id (file:5)",
        ),
        ("- {id: 7, api_key: x}", "accounts: the id of item 1 must be text; put quotes around a number (file:4)"),
        ("- {id: a, api_key: x}\n-\n  id: a", "accounts.a: two accounts have this id; rename one (file:6)"),
        (
            "- {id: 'a/b', api_key: x}",
            "accounts.a/b: must be letters, digits and . _ - @, beginning with a letter or a digit, at most 128 (file:4)",
        ),
        ("- {id: a, apikey: x}", "accounts.a.apikey: unknown key; did you mean api_key? (file:4)"),
        ("- {id: a}", "accounts.a: must have one of api_key, oauth, credentials_file (file:4)"),
        (
            "- {id: a, api_key: x, credentials_file: y}",
            "accounts.a: has api_key and credentials_file; an account has one of them (file:4)",
        ),
        ("a: {id: a, api_key: x}", "accounts.a.id: unknown key; there are api_key, oauth, credentials_file (file:4)"),
        ("a:", "accounts.a: must have one of api_key, oauth, credentials_file (file:4)"),
        ("text", "accounts: must be a list of accounts, each with an id (file:3)"),
        (
            "- {id: a, api_key: 'env:NOT_SET'}",
            "accounts.a.api_key: the environment variable NOT_SET is not set; set it or change the key (file:4)",
        ),
        (
            "- id: a\n  api_key: 'env:'",
            "accounts.a.api_key: must have the name of an environment variable after env: (file:5)",
        ),
    ],
)
def test_what_is_wrong_with_an_account_names_it_and_its_line(file: Path, accounts: str, expected: str) -> None:
    indented = "".join(f"      {line}\n" for line in accounts.splitlines())
    file.write_text(f"providers:\n  vertex:\n    accounts:\n{indented}")

    assert expected in [line.removeprefix("providers.vertex.") for line in problems(file)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "providers: {a: {api_key: x, accounts: [{id: b, api_key: y}]}}",
            "providers.a.api_key: is not used beside accounts; leave it out, or make an account of it",
        ),
        (
            "providers: {vertex: {access_token: x, accounts: [{id: b, credentials_file: y}]}}",
            "providers.vertex.access_token: is not used beside accounts; leave it out, or make an account of it",
        ),
        (
            "providers: {vertex: {access_token: x, credentials_file: y}}",
            "providers.vertex.access_token: is not used beside credentials_file; keep one of them",
        ),
        (
            "providers: {a: {credentials_file: x}}",
            "providers.a.credentials_file: is for Vertex AI only; set api_key, or the dialect vertex",
        ),
        (
            "providers: {a: {dialect: openai, accounts: [{id: b, credentials_file: x}]}}",
            "providers.a.accounts.b.credentials_file: is for Vertex AI only; set api_key, or the dialect vertex",
        ),
        (
            "providers: {a: {strategy: round-robin}}",
            (
                "providers.a.strategy: must be 'round_robin', 'least_used', 'first_available' or 'session'; "
                "did you mean round_robin?"
            ),
        ),
        (
            "cache: {redis_url: 'http://u:p@h/0'}",
            "cache.redis_url: must begin with one of redis://, rediss://, unix://",
        ),
        (
            "database: {url: 'mysql://u:p@h/d'}\ncredentials: {encryption_key: k}",
            "database.url: must begin with one of sqlite:///, postgresql://, postgres://",
        ),
        (
            "database: {url: 'sqlite:////a.db'}",
            (
                "database.url: needs credentials.encryption_key, because credentials in a database are encrypted; "
                "`loom-grpc encryption-key` prints one"
            ),
        ),
        (
            "providers: {a: {headers: {x-a: 'vault:kv/a#b'}}}\nvault: {token: t}",
            "providers.a.headers.x-a: is in Vault, but vault.address (or VAULT_ADDR) is not set",
        ),
        (
            "vault: {address: 'http://v'}\nproviders: {a: {accounts: [{id: b, api_key: 'vault:kv/a#b'}]}}",
            "vault.token: must be set, because vault.auth is token",
        ),
        (
            "vault: {address: 'http://v', token: 'vault:kv/a#b'}",
            "vault.token: cannot be in Vault; use env:NAME or file:/path",
        ),
        (
            "vault: {address: 'http://v', token: t}\ntelemetry: {otlp_headers: {x-a: 'vault:kv/a#b'}}",
            "telemetry.otlp_headers.x-a: cannot be in Vault; use env:NAME or file:/path",
        ),
        (
            "vault: {address: 'http://v', token: t}\ncredentials: {encryption_key: k}\ndatabase: {url: 'vault:kv/a#b'}",
            "database.url: cannot be in Vault; use env:NAME or file:/path",
        ),
        ("vault: {auth: approle}", "vault.role_id: must be set, because vault.auth is approle"),
        ("vault: {auth: kubernetes}", "vault.role: must be set, because vault.auth is kubernetes"),
        ("credentials: {refresh_interval_s: 0}", "credentials.refresh_interval_s: must be greater than 0"),
    ],
)
def test_keys_that_do_not_fit_together_are_told(file: Path, content: str, expected: str) -> None:
    file.write_text(content)

    assert [line.rpartition(" (file:")[0] for line in problems(file)] == [expected]


OAUTH = "authorize_url: 'http://a', token_url: 'http://t', client_id: c, redirect_uri: 'http://r'"


@pytest.mark.parametrize(
    "provider",
    [
        f"oauth: {{{OAUTH}}}",
        f"accounts: [{{id: b, oauth: {{{OAUTH}}}}}]",
        f"oauth: {{{OAUTH}, client_auth: post, client_secret: s}}, accounts: [{{id: b, oauth: {{}}}}]",
        "oauth: {authorize_url: 'http://a', token_url: 'http://t'}, accounts: [{id: b, oauth: {client_id: c, redirect_uri: r}}]",
        f"oauth: {{{OAUTH}}}, accounts: [{{id: b, api_key: k}}]",
    ],
)
def test_a_login_needs_the_settings_of_provider_and_account_together(file: Path, provider: str) -> None:
    file.write_text(f"providers: {{a: {{{provider}}}}}")

    assert not load(file, {}, {}).warnings


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (
            "oauth: {client_id: c, redirect_uri: 'http://r'}",
            ["oauth.authorize_url: must be set", "oauth.token_url: must be set"],
        ),
        (
            "oauth: {client_id: c, token_url: 'http://t', authorize_url: 'http://a'}, accounts: [{id: b, oauth: {}}]",
            ["accounts.b.oauth.redirect_uri: must be set here or in providers.a.oauth"],
        ),
        (
            f"oauth: {{{OAUTH}, client_auth: basic}}",
            ["oauth.client_secret: must be set, because client_auth is basic"],
        ),
        (
            f"accounts: [{{id: b, oauth: {{{OAUTH}, client_auth: post}}}}]",
            [("accounts.b.oauth.client_secret: must be set here or in providers.a.oauth, because client_auth is post")],
        ),
        (
            "oauth: {token_url: 'http://t?x=1'}",
            ["oauth.token_url: must be an http:// or https:// address with no user name, query or fragment"],
        ),
    ],
)
def test_a_login_that_cannot_work_is_told(file: Path, provider: str, expected: list[str]) -> None:
    file.write_text(f"providers: {{a: {{{provider}}}}}")

    assert problems(file) == [f"providers.a.{line} (file:1)" for line in expected]


def test_a_provider_that_is_off_may_be_unfinished(file: Path) -> None:
    file.write_text("providers: {a: {enabled: false, api_key: x, accounts: [{id: b}], oauth: {}}}")

    assert [*load(file, {}, {}).config.providers] == ["a", "mock"]


def test_what_is_not_meant_so_is_warned_about(file: Path) -> None:
    file.write_text(f"workers: 1\nproviders: {{a: {{oauth: {{{OAUTH}, client_secret: s}}}}}}")

    warnings = [line.replace(f"file {file}", "file") for line in load(file, {}, {}).warnings]

    assert warnings == [
        (
            "providers.a.oauth.client_secret: is not shown to anybody while client_auth is none; "
            "set it to post or basic (file:2)"
        ),
    ]


@pytest.mark.parametrize("key", ["changeme", "env:KEY", "example-password"])
def test_an_admin_key_that_may_be_guessed_is_refused(file: Path, key: str) -> None:
    file.write_text(f"admin: {{api_key: '{key}'}}")

    with pytest.raises(ConfigError) as caught:
        load(file, {"KEY": "admin"}, {})

    (problem,) = caught.value.problems
    assert problem.startswith("admin.api_key: ")
    assert problem.endswith("`loom-grpc admin-key` prints a good one (file " + f"{file}:1)")


@pytest.mark.parametrize("key", ["la_BXq7cVn2Lr9TzKp4Wm6Yd1", "file:/x"])
def test_a_good_admin_key_and_one_that_is_not_known_yet_are_taken(file: Path, key: str) -> None:
    file.write_text(f"admin: {{api_key: '{key}'}}")

    assert load(file, {}, {}).config.admin.api_key == SecretStr(key)


def test_well_known_variables_for_accounts_the_database_vault_and_administration() -> None:
    environ = {
        "ANTHROPIC_API_KEY": "k",
        "LOOM_ADMIN_KEY": "la_BXq7cVn2Lr9TzKp4Wm6Yd1",
        "LOOM_DATABASE_URL": "sqlite:////var/lib/loom.db",
        "LOOM_ENCRYPTION_KEY": "k",
        "LOOM_SERVER_ANTHROPIC_OAUTH_CREDENTIAL_FILE": "/var/lib/accounts.json",
        "LOOM_SERVER_ANTHROPIC_POOL_COOLDOWN_SECS": "60",
        "LOOM_SERVER_ANTHROPIC_REFRESH_INTERVAL_SECS": "30",
        "LOOM_SERVER_ANTHROPIC_REFRESH_THRESHOLD_SECS": "90.5",
        "VAULT_ADDR": "https://vault.example:8200",
        "VAULT_NAMESPACE": "team",
        "VAULT_TOKEN": "t",
    }

    loaded = load(None, environ, {})

    assert loaded.warnings == ()
    assert {path: text for path, (text, _) in set_values(loaded).items()} == {
        "providers.anthropic.api_key": "env:ANTHROPIC_API_KEY",
        "providers.anthropic.cooldown_s": "60.0",
        "credentials.file": "/var/lib/accounts.json",
        "credentials.encryption_key": "env:LOOM_ENCRYPTION_KEY",
        "credentials.refresh_interval_s": "30.0",
        "credentials.refresh_before_s": "90.5",
        "database.url": "env:LOOM_DATABASE_URL",
        "vault.address": "https://vault.example:8200",
        "vault.namespace": "team",
        "vault.token": "env:VAULT_TOKEN",
        "admin.api_key": "env:LOOM_ADMIN_KEY",
    }


def test_files_of_well_known_variables_are_references() -> None:
    names = ("LOOM_ADMIN_KEY_FILE", "LOOM_DATABASE_URL_FILE", "LOOM_ENCRYPTION_KEY_FILE")

    config = load(None, dict.fromkeys(names, "/run/x"), {}).config

    assert config.admin.api_key == config.database.url == config.credentials.encryption_key == SecretStr("file:/run/x")


def test_a_cooldown_from_the_environment_switches_nothing_on() -> None:
    assert [*load(None, {"LOOM_SERVER_ANTHROPIC_POOL_COOLDOWN_SECS": "60"}, {}).config.providers] == ["mock"]


def test_the_database_that_a_variable_names_is_checked_too() -> None:
    environ = {"LOOM_DATABASE_URL": "mysql://u:p@h/d", "LOOM_ENCRYPTION_KEY": "k"}

    assert problems(None, environ) == [
        "database.url: must begin with one of sqlite:///, postgresql://, postgres:// (environment LOOM_DATABASE_URL)"
    ]


@pytest.mark.parametrize("login", ["token: t", "auth: approle, role_id: r, secret_id: s", "auth: kubernetes, role: r"])
def test_secrets_may_be_in_vault(file: Path, login: str) -> None:
    file.write_text(f"vault: {{address: 'http://v', {login}}}\nproviders: {{a: {{api_key: 'vault:kv/a#b'}}}}")

    assert set_values(load(file, {}, {}))["providers.a.api_key"] == ("vault:kv/a#b", f"file {file}:2")


def test_vaults_address_and_token_may_be_there_for_other_programs() -> None:
    assert load(None, {"VAULT_ADDR": "http://v"}, {}).config.vault == VaultConfig(address="http://v")


# ---- routes

ROUTES = """\
providers: {mock: {}}
routes:
  smart:
    policy: weighted
    sticky: true
    targets:
      - {model: mock/a, weight: 3, first_token_s: 10, total_s: 120, options: {temperature: 0}}
      - model: mock/b
        weight: 0
    breaker: {consecutive_failures: 2}
    retry_budget: 0.5
  wide: {targets: [{model: smart}, {model: quick}]}
default_route: smart
rewrites:
  - {match: "gpt-(4|5)(.*)", to: "mock/gpt-\\\\1"}
  - {match: "(?P<size>small|big)", to: "mock/\\\\g<size>"}
aliases: {quick: mock/c}
chains: true
"""


def test_routes_are_read_in_their_order_and_each_value_knows_its_line(file: Path) -> None:
    file.write_text(ROUTES)

    loaded = load(file, {}, {}, registry=["mock"])

    assert loaded.warnings == ()
    assert loaded.config.routes == {
        "smart": RouteConfig(
            policy="weighted",
            sticky=True,
            targets=[
                RouteTargetConfig(model="mock/a", weight=3, first_token_s=10, total_s=120, options={"temperature": 0}),
                RouteTargetConfig(model="mock/b", weight=0),
            ],
            breaker=BreakerConfig(consecutive_failures=2),
            retry_budget=0.5,
        ),
        "wide": RouteConfig(targets=[RouteTargetConfig(model="smart"), RouteTargetConfig(model="quick")]),
    }
    assert loaded.config.rewrites == [
        RewriteConfig(match="gpt-(4|5)(.*)", to=r"mock/gpt-\1"),
        RewriteConfig(match="(?P<size>small|big)", to=r"mock/\g<size>"),
    ]
    assert (loaded.config.default_route, loaded.config.chains) == ("smart", True)
    shown = set_values(loaded)
    assert shown["routes.smart.targets.0.options.temperature"] == ("0", f"file {file}:7")
    assert shown["routes.smart.targets.1.weight"] == ("0.0", f"file {file}:9")
    assert shown["rewrites.1.to"] == (r"mock/\g<size>", f"file {file}:16")
    assert loaded.origins["routes.smart.targets.1.first_token_s"] == "default"


def test_there_are_more_than_nine_targets_in_their_order(file: Path) -> None:
    names = [f"mock/{number}" for number in range(12)]
    file.write_text(yaml.safe_dump({"routes": {"many": {"targets": [{"model": name} for name in names]}}}))

    assert [target.model for target in load(file, {}, {}).config.routes["many"].targets] == names


def test_a_variable_replaces_all_targets_of_a_route_of_the_file_and_nothing_else(file: Path) -> None:
    file.write_text(ROUTES.replace("smart", "smart-1"))
    name = "LOOM_ROUTES__SMART_1__TARGETS"

    loaded = load(file, {name: '[{"model": "mock/z"}]'}, {})

    route = loaded.config.routes["smart-1"]
    assert (route.targets, route.policy) == ([RouteTargetConfig(model="mock/z")], "weighted")
    assert {path: value for path, value in set_values(loaded).items() if "smart-1.targets" in path} == {
        "routes.smart-1.targets.0.model": ("mock/z", f"environment {name}")
    }


def test_an_empty_list_of_rewrites_takes_those_of_the_file_away(file: Path) -> None:
    file.write_text(ROUTES)

    loaded = load(file, {"LOOM_REWRITES": "[]"}, {})

    assert loaded.config.rewrites == []
    assert set_values(loaded)["rewrites"] == ("[]", "environment LOOM_REWRITES")


@pytest.mark.parametrize("content", ["rewrites:\n", "routes:\n", "rewrites: []\nroutes: {}\n"])
def test_no_routes_and_no_rewrites_may_be_written_too(file: Path, content: str) -> None:
    file.write_text(content)

    assert load(file, {}, {}).config == Config(providers={"mock": ProviderConfig()})


TARGET = "must be provider/model, the provider one of a, or a route or an alias"


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("", ["targets: must be set (file:4)"]),
        ("policy:", ["targets: must be set (file:4)"]),
        ("targets:", ["targets: must have at least one item (file:5)"]),
        ("targets: []", ["targets: must have at least one item (file:5)"]),
        ("targets: text", ["targets: must be a list, each of its items a mapping of keys to values (file:5)"]),
        ("targets: {model: a/x}", ["targets: must be a list, each of its items a mapping of keys to values (file:5)"]),
        ("targets:\n- a/x", ["targets.0: must be a mapping of keys to values (file:6)"]),
        ("targets:\n- {model: a/x}\n-", ["targets.1.model: must be set (file:7)"]),
        ("targets:\n- {model: a/x}\n- modle: a/x", ["targets.1.modle: unknown key; did you mean model? (file:7)"]),
        ("targets:\n- model: ''", ["targets.0.model: must not be empty (file:6)"]),
        ("targets:\n- model: b/x", [f"targets.0.model: {TARGET} (file:6)"]),
        ("targets:\n- model: a/", [f"targets.0.model: {TARGET} (file:6)"]),
        ("targets:\n- model: off/x", [f"targets.0.model: {TARGET} (file:6)"]),
        ("targets:\n- model: qick", [f"targets.0.model: {TARGET}; did you mean quick? (file:6)"]),
        (
            "targets:\n- model: a/x\n  weight: .nan",
            ["targets.0.weight: must be a finite number (file:7)"],
        ),
        (
            "targets:\n- model: a/x\n  weight: .inf",
            ["targets.0.weight: must be a finite number (file:7)"],
        ),
        ("targets:\n- {model: a/x, weight: -1}", ["targets.0.weight: must be greater than or equal to 0 (file:6)"]),
        ("targets:\n- {model: a/x, first_token_s: 0}", ["targets.0.first_token_s: must be greater than 0 (file:6)"]),
        (
            "targets:\n- {model: a/x, options: {y: .nan}}",
            ["targets.0.options.y: must be a finite number (file:6)"],
        ),
        (
            "policy: weighted\ntargets:\n- {model: a/x, weight: 0}\n- {model: a/y, weight: 0}",
            ["targets: have no weight but 0, so none would be chosen; give one of them more (file:7)"],
        ),
        (
            "policy: random\ntargets: [{model: a/x}]",
            ["policy: must be 'fallback', 'weighted', 'latency', 'least_busy' or 'cheapest' (file:5)"],
        ),
        (
            "targets: [{model: a/x}]\nbreaker:\n  failure_rate: 1.5",
            ["breaker.failure_rate: must be less than or equal to 1 (file:7)"],
        ),
        (
            "targets: [{model: a/x}]\nretry_budget: 2",
            ["retry_budget: must be less than or equal to 1 (file:6)"],
        ),
    ],
)
def test_what_is_wrong_with_a_route_names_the_target_and_its_line(file: Path, route: str, expected: list[str]) -> None:
    indented = "".join(f"    {line}\n" for line in route.splitlines())
    providers = "providers: {a: {}, off: {enabled: false}}\naliases: {quick: a/x}\n"
    file.write_text(f"{providers}routes:\n  smart:\n{indented}")

    assert problems(file) == [f"routes.smart.{line}" for line in expected]


@pytest.mark.parametrize("name", ["a/x", "a|b", "''", "default"])
def test_a_route_has_a_name_that_callers_can_use(file: Path, name: str) -> None:
    file.write_text(f"routes: {{{name}: {{targets: [{{model: mock/x}}]}}}}")

    assert problems(file) == [
        f"routes.{name.strip(chr(39))}: must have another name: one without / and |, not empty, and not default (file:1)"
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "aliases: {b: mock/x}\nroutes:\n  b: {targets: [{model: mock/y}]}",
            ["routes.b: is also the name of an alias; rename one (file:3)"],
        ),
        (
            "providers: {mock: {}}\nroutes:\n  mock: {targets: [{model: mock/y}]}",
            ["routes.mock: is also the name of a provider; rename the route (file:3)"],
        ),
        (
            "routes:\n  b: {targets: [{model: mock/y}]}\ndefault_route: c",
            ["default_route: is not a route; there are b (file:3)"],
        ),
        ("default_route: c", ["default_route: is not a route; there are none (file:1)"]),
        (
            "routes:\n  b: {targets: [{model: mock/y}]}\ndefault_route: b\ndefault_provider: mock",
            ["default_route: is not used beside default_provider; keep one of them (file:3)"],
        ),
        (
            "rewrites:\n- {match: a, to: b}\n- {match: 'a(', to: b}",
            ["rewrites.1.match: is not a regular expression; put a \\ before characters that mean themselves (file:3)"],
        ),
        (
            "rewrites: [{match: 'a{9999999999}', to: b}]",
            ["rewrites.0.match: is not a regular expression; put a \\ before characters that mean themselves (file:1)"],
        ),
        (
            "rewrites:\n- match: a(.)(?P<n>.)\n  to: \\3",
            [
                "rewrites.0.to: may refer to groups of match, as \\1 or \\g<name>, and to no others; match has 1, n (file:3)"
            ],
        ),
        (
            "rewrites: [{match: a, to: '\\g<x>'}]",
            [
                "rewrites.0.to: may refer to groups of match, as \\1 or \\g<name>, and to no others; match has no groups (file:1)"
            ],
        ),
        ("rewrites: [{match: '', to: x}]", ["rewrites.0.match: must not be empty (file:1)"]),
    ],
)
def test_routes_and_rewrites_that_cannot_work_are_told(file: Path, content: str, expected: list[str]) -> None:
    file.write_text(content)

    assert problems(file, {"LOOM_PROVIDERS__MOCK__ENABLED": "true"}) == expected


@pytest.mark.parametrize(
    ("ways", "expected"),
    [
        ({"a": "a"}, ["routes.a: leads back to itself: a -> a; leave one of these targets out"]),
        (
            {"x": "ab", "a": "b", "b": "c", "c": "a"},
            ["routes.a: leads back to itself: a -> b -> c -> a; leave one of these targets out"],
        ),
        (
            {"a": "b", "b": "a", "c": "d", "d": "dc"},
            [
                "routes.a: leads back to itself: a -> b -> a; leave one of these targets out",
                "routes.d: leads back to itself: d -> d; leave one of these targets out",
            ],
        ),
        ({"a": "bc", "b": "d", "c": "d", "d": ""}, []),
    ],
)
def test_a_circle_of_routes_is_named_and_a_route_on_two_ways_is_none(
    file: Path, ways: dict[str, str], expected: list[str]
) -> None:
    routes = {
        name: {"targets": [*({"model": other} for other in others), {"model": "mock/x"}]}
        for name, others in ways.items()
    }
    file.write_text(yaml.safe_dump({"providers": {"mock": {}}, "routes": routes}, sort_keys=False))

    found = (
        [line.rpartition(" (file:")[0] for line in problems(file)] if expected else list(load(file, {}, {}).warnings)
    )
    assert found == expected


def test_a_route_that_keeps_sessions_without_weights_is_warned_about(file: Path) -> None:
    file.write_text("routes: {smart: {sticky: true, targets: [{model: mock/x}]}}")

    assert load(file, {}, {}).warnings == (
        f"routes.smart.sticky: does nothing while policy is fallback; it is for weighted (file {file}:1)",
    )


# ---- properties

TEXTS = st.text(min_size=1, max_size=20).filter(str.isprintable)
NUMBERS = st.floats(min_value=0.001, max_value=1000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
PROVIDERS = st.fixed_dictionaries(
    {"dialect": st.just("openai")},
    optional={
        "base_url": st.sampled_from(["http://a", "https://b.example/v1"]),
        "default_model": TEXTS,
        "models": st.lists(TEXTS, max_size=3),
        "max_connections": st.integers(1, 1000),
        "options": st.dictionaries(st.text(string.ascii_lowercase, min_size=1), JSON, min_size=1, max_size=3),
        "retry": st.fixed_dictionaries({"jitter": st.booleans(), "max_delay_s": NUMBERS}),
        "timeouts": st.fixed_dictionaries({}, optional={"idle_s": NUMBERS, "total_s": NUMBERS}).filter(bool),
        "strategy": st.sampled_from(["session", "least_used"]),
        "accounts": st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9_]?[a-z0-9]", fullmatch=True),
            st.fixed_dictionaries({"api_key": st.sampled_from(["file:/a", "sk-b"])}),
            min_size=1,
            max_size=3,
        ),
    },
)
ROUTE_TREES = st.fixed_dictionaries(
    {
        "targets": st.lists(
            st.fixed_dictionaries(
                {"model": st.just("mock/a")},
                optional={"weight": NUMBERS, "options": st.dictionaries(TEXTS, JSON, min_size=1, max_size=2)},
            ),
            min_size=1,
            max_size=12,
        )
    },
    optional={
        "policy": st.sampled_from(["weighted", "latency"]),
        "breaker": st.fixed_dictionaries({"window_s": NUMBERS}),
        "retry_budget": st.floats(0, 1),
    },
)
TREES = st.fixed_dictionaries(
    {
        "providers": st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True), PROVIDERS, min_size=1, max_size=3
        ).map(lambda providers: {**providers, "mock": {"dialect": "openai"}})
    },
    optional={
        "workers": st.integers(1, 64),
        "http": st.fixed_dictionaries({"enabled": st.booleans()}),
        "routes": st.dictionaries(st.from_regex(r"[0-9][a-c]", fullmatch=True), ROUTE_TREES, min_size=1, max_size=3),
        "rewrites": st.lists(
            st.fixed_dictionaries({"match": TEXTS.map(re.escape), "to": st.just("mock/a")}), max_size=3
        ),
        "telemetry": st.fixed_dictionaries({"service_name": TEXTS}),
        "log": st.fixed_dictionaries({"level": st.sampled_from(["debug", "error"])}),
    },
)


def variables(tree: dict[str, Any], prefix: str = "LOOM", *, words: bool = True) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        name = f"{prefix}{'_' if prefix == 'LOOM' else '__'}{key.upper()}"
        if isinstance(value, dict) and words:
            found |= variables(value, name, words=key != "options")
        else:
            found[name] = value if words and isinstance(value, str) else json.dumps(value)
    return found


@given(tree=TREES)
def test_the_environment_says_the_same_as_a_file(
    tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "same.yaml"
    file.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")

    from_file, from_environment = load(file, {}, {}), load(None, variables(tree), {})

    assert from_file.config == from_environment.config == Config.model_validate(tree)
    assert from_file.origins.keys() == from_environment.origins.keys()


@given(
    content=st.text("ab:01-? []{},&*!|>'\"%@`#\\\n\t\r\x00é.~<=", max_size=40).map(str.encode) | st.binary(max_size=40)
)
def test_any_file_is_read_or_refused_in_lines(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content)

    try:
        lines = [origin for _, _, origin in effective(load(file, {}, {}))]
    except ConfigError as error:
        lines = list(error.problems)

    assert all(line.isprintable() for line in lines)


# Without the beginning, a name out of the code would be tried as a secret, and found.
SECRETS = st.text(string.ascii_letters + string.digits, min_size=16, max_size=32).map("q7".__add__)
BEFORE = [
    "",
    "*",
    "&",
    "!",
    "!<",
    "!!int ",
    "%",
    "@",
    "`",
    "{",
    "[",
    '"',
    "'",
    "|",
    ">",
    "- ",
    "? ",
    ": ",
    "#",
    "env:-",
    "\t",
]
AFTER = ["", ":", ": x", "}", "]", '"', "'", " #", "\t", "\x07", ",", "\\", "\x85", "é"]
PLACES = [
    "providers:\n  openai:\n    api_key: {}\n",
    "providers:\n  openai:\n    access_token: {}\n    max_connections: -1\n",
    "providers:\n  openai:\n    headers:\n      authorization: {}\n    base_url: {}\n",
    "telemetry:\n  otlp_headers:\n    authorization: {}\nworkers: {}\n",
    "providers:\n  openai: {}\n",
    "telemetry: {}\nlog:\n  level: {}\n",
    "grpc:\n  address: {}\n  tls: {}\nhttp: {{cors: {{allow_origins: [{}]}}}}\n",
    "aliases: {}\ndefault_provider: {}\n",
    "providers:\n  openai:\n    accounts:\n      - {}\n      - id: a\n        api_key: {}\n",
    "providers:\n  openai:\n    accounts: {}\n    strategy: {}\n",
    "providers:\n  openai:\n    accounts:\n      a:\n        oauth: {headers: {x-a: {}}, client_secret: {}}\n",
    "database:\n  url: {}\nadmin:\n  api_key: {}\ncredentials:\n  encryption_key: {}\n",
    "vault:\n  token: {}\n  secret_id: {}\n  auth: {}\n",
    "routes:\n  smart:\n    targets:\n      - {}\n      - model: {}\n        weight: {}\n",
    "routes:\n  smart:\n    targets: {}\n    policy: {}\n",
    "rewrites:\n  - match: ({}\n    to: x\n  - {}\ndefault_route: {}\nchains: {}\n",
]


def everything_shown(file: Path | None, environ: Mapping[str, str]) -> str:
    try:
        loaded = load(file, environ, {})
    except ConfigError as error:
        return f"{error} {error!r}"
    providers = list(loaded.config.providers.values())
    return f"{loaded} {loaded!r} {providers} {effective(loaded)} {loaded.warnings}"


@example(place="providers:\n  openai: {}\n", before="{", secret="sk-abcdefgh-ijklmnop1", after="}")
@given(place=st.sampled_from(PLACES), before=st.sampled_from(BEFORE), secret=SECRETS, after=st.sampled_from(AFTER))
def test_a_file_never_shows_a_secret_however_it_is_broken(
    place: str, before: str, secret: str, after: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "secret.yaml"
    file.write_text(place.replace("{}", before + secret + after), encoding="utf-8")

    assert secret not in everything_shown(file, {})


SECRET_VARIABLES = [
    "OPENAI_API_KEY",
    "LOOM_PROVIDERS__OPENAI__API_KEY",
    "LOOM_PROVIDERS__OPENAI__ACCESS_TOKEN",
    "LOOM_PROVIDERS__OPENAI__HEADERS__AUTHORIZATION",
    "LOOM_PROVIDERS__OPENAI__ACCOUNTS",
    "LOOM_PROVIDERS__OPENAI__ACCOUNTS__A",
    "LOOM_PROVIDERS__OPENAI__ACCOUNTS__A__API_KEY",
    "LOOM_PROVIDERS__OPENAI__ACCOUNTS__A__OAUTH__HEADERS__X_A",
    "LOOM_PROVIDERS__OPENAI__STRATEGY",
    "LOOM_DATABASE__URL",
    "LOOM_DATABASE_URL",
    "LOOM_ENCRYPTION_KEY",
    "LOOM_ADMIN_KEY",
    "LOOM_VAULT__SECRET_ID",
    "VAULT_TOKEN",
    "LOOM_TELEMETRY__OTLP_HEADERS__AUTHORIZATION",
]
# The paths of files and the names of headers that pages may send are no place for a secret, and shown.
WRONG_VARIABLES = [
    "LOOM_" + "__".join(path).upper()
    for path, value in leaves(Config())
    if (not isinstance(value, str) or path[-1:] == ("address",))
    and path[-1] not in {"file", "ca_file", "jwt_file", "allow_headers", "spool_dir"}
]


@given(
    name=st.sampled_from(SECRET_VARIABLES + WRONG_VARIABLES),
    secret=SECRETS,
    after=st.sampled_from(AFTER),
    bad=st.booleans(),
)
def test_the_environment_never_shows_a_secret(name: str, secret: str, after: str, bad: bool) -> None:
    environ = {name: secret + after, **({"LOOM_WORKERS": "0"} if bad else {})}
    shown = everything_shown(None, environ)

    assert secret not in shown


def test_the_well_known_variables_lead_to_keys_that_exist() -> None:
    for path, names in VARIABLES.items():
        providers = {path[1]: ProviderConfig()} if path[0] == "providers" else {}
        existing = {known for known, _ in leaves(Config(providers=providers))}

        assert path in existing, names
