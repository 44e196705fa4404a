"""The tree of sections, and which addresses it may be served on."""

import pytest
from pydantic import SecretStr, ValidationError

from loom_grpc.config import (
    AccountConfig,
    BreakerConfig,
    Config,
    ConfigError,
    CorsConfig,
    GrpcConfig,
    HttpConfig,
    OAuthConfig,
    ProviderConfig,
    RetryConfig,
    RouteConfig,
    RouteTargetConfig,
    TlsConfig,
    check_exposure,
    oauth_of,
)
from loom_grpc.config.tree import dotted, leaves, where


def test_the_defaults_are_those_of_the_contract() -> None:
    config = Config()
    provider = ProviderConfig()

    assert (config.grpc.address, config.http.address) == ("127.0.0.1:50051", "127.0.0.1:8080")
    assert (config.grpc.max_message_bytes, config.http.max_body_bytes) == (16_777_216, 16_777_216)
    assert provider.retry == RetryConfig(
        max_attempts=3,
        base_delay_s=0.5,
        max_delay_s=30,
        backoff_factor=2,
        jitter=True,
        statuses=(408, 409, 429, 500, 502, 503, 504, 529),
    )
    assert provider.timeouts.model_dump() == {"connect_s": 10, "first_token_s": 120, "idle_s": 60, "total_s": 600}
    assert BreakerConfig().model_dump() == {
        "enabled": True,
        "consecutive_failures": 5,
        "failure_rate": 0.5,
        "window_s": 30,
        "min_calls": 10,
        "open_s": 15,
    }
    assert RouteConfig(targets=[RouteTargetConfig(model="a/b")]).model_dump(exclude={"breaker"}) == {
        "policy": "fallback",
        "sticky": False,
        "targets": [
            {
                "model": "a/b",
                "weight": 1,
                "first_token_s": None,
                "total_s": None,
                "max_calls": None,
                "queue": 0,
                "wait_s": 0,
                "options": {},
            }
        ],
        "retry_budget": 0.2,
        "hedge_after_s": None,
        "hold_back": {"tokens": 0, "seconds": 1},
    }
    assert (config.log.prompts, config.telemetry.capture_content, config.telemetry.otlp_endpoint) == (False, False, "")


def test_every_default_is_a_value_that_can_be_set() -> None:
    assert Config.model_validate(Config().model_dump()) == Config()


def test_a_value_does_not_change_once_read() -> None:
    config = Config()

    with pytest.raises(ValidationError):
        config.workers = 2


def test_credentials_of_a_provider_do_not_show() -> None:
    provider = ProviderConfig(
        api_key=SecretStr("sk-one"), access_token=SecretStr("sk-two"), headers={"authorization": "sk-three"}
    )

    assert "sk-" not in f"{provider} {provider!r}"


WHOLE = OAuthConfig(
    authorize_url="https://login.example/authorize",
    token_url="https://login.example/token/",
    client_id="ours",
    redirect_uri="https://us.example/done",
    scopes=["all"],
    headers={"x-beta": "one"},
)


def test_an_account_logs_in_as_it_says_itself_and_else_as_its_provider_says() -> None:
    provider = ProviderConfig(oauth=WHOLE)
    own = OAuthConfig(client_id="theirs", scopes=[], headers={"x-beta": "two"})

    assert oauth_of(provider, AccountConfig(oauth=own)) == WHOLE.model_copy(
        update={"client_id": "theirs", "scopes": [], "headers": {"x-beta": "two"}}
    )
    assert oauth_of(provider, AccountConfig(oauth=OAuthConfig())) == WHOLE
    assert oauth_of(ProviderConfig(), AccountConfig(oauth=own)) == own


def test_an_account_with_a_key_does_not_log_in() -> None:
    assert oauth_of(ProviderConfig(oauth=WHOLE), AccountConfig(api_key=SecretStr("k"))) is None


def test_accounts_that_are_added_later_log_in_where_the_provider_says_all_that_is_needed() -> None:
    part = WHOLE.model_copy(update={"client_id": ""})

    assert oauth_of(ProviderConfig(oauth=WHOLE)) == WHOLE
    assert (oauth_of(ProviderConfig(oauth=part)), oauth_of(ProviderConfig())) == (None, None)


def test_an_address_of_a_login_keeps_the_slash_at_its_end() -> None:
    assert WHOLE.token_url == "https://login.example/token/"


def test_credentials_of_accounts_do_not_show() -> None:
    oauth = OAuthConfig(client_secret=SecretStr("sk-1"), headers={"a": "sk-2"}, token_headers={"b": "sk-3"})
    provider = ProviderConfig(accounts={"a": AccountConfig(api_key=SecretStr("sk-4")), "b": AccountConfig(oauth=oauth)})

    assert "sk-" not in f"{provider} {provider!r}"


def test_cookies_from_every_origin_are_refused() -> None:
    assert CorsConfig(allow_origins=["https://a.example"], allow_credentials=True).allow_credentials

    with pytest.raises(ValidationError, match="needs the origins by name"):
        CorsConfig(allow_origins=["*"], allow_credentials=True)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/run/loom"])
def test_addresses_of_this_machine_need_no_access_control(address: str) -> None:
    check_exposure(Config(grpc=GrpcConfig(address=address), http=HttpConfig(address=address)))


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "example.org:1", "localhost.example:1"])
def test_other_addresses_are_refused_with_a_way_out(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_exposure(Config(grpc=GrpcConfig(address=address), http=HttpConfig(address=address)))

    assert caught.value.problems == tuple(
        f"{edge}.address: {address} can be reached from other machines and nothing controls who calls; "
        f"listen on 127.0.0.1, set access.enabled, or set {edge}.tls with client_ca_file (mutual TLS)"
        for edge in ("grpc", "http")
    )


def test_mutual_tls_is_access_control_and_plain_tls_is_not() -> None:
    plain = TlsConfig.model_validate({"cert_file": "c.pem", "key_file": "k.pem"})
    mutual = TlsConfig.model_validate({"cert_file": "c.pem", "key_file": "k.pem", "client_ca_file": "ca.pem"})

    check_exposure(Config(grpc=GrpcConfig(address="0.0.0.0:1", tls=mutual)))
    with pytest.raises(ConfigError):
        check_exposure(Config(grpc=GrpcConfig(address="0.0.0.0:1", tls=plain)))


def test_http_that_is_off_is_not_exposed() -> None:
    check_exposure(Config(http=HttpConfig(address="0.0.0.0:80", enabled=False)))


def test_leaves_are_the_values_in_the_order_of_the_sections() -> None:
    config = Config(providers={"a": ProviderConfig(options={"n": {"deep": 1}})}, aliases={"x": "a/b"})

    paths = [dotted(path) for path, _ in leaves(config)]

    assert paths[:2] == ["grpc.address", "grpc.max_message_bytes"]
    assert {"grpc.tls", "providers.a.options.n", "providers.a.headers", "aliases.x"} < set(paths)
    assert len(paths) == len(set(paths))


def test_a_key_that_looks_like_a_lost_secret_is_not_repeated() -> None:
    assert where(("providers", "k" * 41, "x\ny")) == "providers.(a key of 41 characters).(a key of 3 characters)"
