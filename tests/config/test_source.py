"""Putting the configuration together: order, origins, and what is wrong with it."""

import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from loom_grpc.config import Config, ConfigError, Loaded, ProviderConfig, effective, load
from loom_grpc.config.schema import leaves
from loom_grpc.config.source import VARIABLES

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
                "providers.a.api_key: vault references are not available in this version; "
                "use env:NAME or file:/path (file:1)"
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
    },
)
TREES = st.fixed_dictionaries(
    {
        "providers": st.dictionaries(
            st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True), PROVIDERS, min_size=1, max_size=3
        )
    },
    optional={
        "workers": st.integers(1, 64),
        "http": st.fixed_dictionaries({"enabled": st.booleans()}),
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


SECRETS = st.text(string.ascii_letters + string.digits, min_size=16, max_size=32)
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
    "LOOM_TELEMETRY__OTLP_HEADERS__AUTHORIZATION",
]
WRONG_VARIABLES = [
    "LOOM_" + "__".join(path).upper()
    for path, value in leaves(Config())
    if not isinstance(value, str) or "address" in path
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

    # The names of headers that pages may send are no place for a secret, and shown.
    assert secret not in shown or name == "LOOM_HTTP__CORS__ALLOW_HEADERS"


def test_the_well_known_variables_lead_to_keys_that_exist() -> None:
    for path, names in VARIABLES.items():
        providers = {path[1]: ProviderConfig()} if path[0] == "providers" else {}
        existing = {known for known, _ in leaves(Config(providers=providers))}

        assert path in existing, names
