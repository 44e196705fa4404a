"""What single values accept."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from loom_grpc.config import value as values
from loom_grpc.config.value import masked, split_reference

_NO_PLACE_IN_VAULT = "must have mount/path#field after vault:, such as vault:secret/openai#api_key"


def accepted(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:65535", "[::1]:50051", "unix:/run/loom.sock", "a.b-c:1"])
def test_an_address_is_host_and_port_or_a_unix_socket(address: str) -> None:
    assert accepted(values.Address, address)


@pytest.mark.parametrize(
    "address",
    ["", ":50051", "localhost", "127.0.0.1:65536", "::1:50051", "http://a:1", "a:1/", "unix:", "a b:1", "a:٣"],
)
def test_other_addresses_are_refused(address: str) -> None:
    assert not accepted(values.Address, address)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:11434", "https://a.example/v1/x", "http://[::1]:80/v1"])
def test_a_base_url_is_http_or_nothing(url: str) -> None:
    assert TypeAdapter(values.Url).validate_python(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "a.example",
        "ftp://a",
        "http://",
        "http://a?b",
        "http://a#b",
        "http://u:p@a",
        "http://a:x",
        "http://a:0",
        "http://a b",
    ],
)
def test_other_base_urls_are_refused(url: str) -> None:
    assert not accepted(values.Url, url)


def test_a_slash_at_the_end_of_a_base_url_does_not_count() -> None:
    assert TypeAdapter(values.Url).validate_python("https://a.example/v1/") == "https://a.example/v1"


@pytest.mark.parametrize("origin", ["*", "https://app.example.org", "http://localhost:3000", "chrome-extension://abc"])
def test_an_origin_has_a_scheme_and_a_host(origin: str) -> None:
    assert accepted(values.Origin, origin)


@pytest.mark.parametrize("origin", ["", "app.example.org", "https://app.example.org/", "https://*/x", "null"])
def test_origins_that_no_browser_sends_are_refused(origin: str) -> None:
    assert not accepted(values.Origin, origin)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), "nan", "inf", "-1", -1, True, "x", None, [], 10**400])
@pytest.mark.parametrize("kind", [values.Seconds, values.Pause, values.Count, values.Size, values.Status])
def test_numbers_are_finite_and_in_range(kind: Any, number: object) -> None:
    assert not accepted(kind, number)


def test_only_a_pause_may_be_zero() -> None:
    kinds = (values.Pause, values.Seconds, values.Count, values.Size, values.Status)

    assert [accepted(kind, 0) for kind in kinds] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("env:OPENAI_API_KEY", ("env", "OPENAI_API_KEY")),
        ("file:/run/secrets/key", ("file", "/run/secrets/key")),
        ("vault:kv/llm/openai#api_key", ("vault", "kv/llm/openai#api_key")),
        ("sk-abc", ("literal", "sk-abc")),
        ("a:b", ("literal", "a:b")),
        ("", ("literal", "")),
    ],
)
def test_a_reference_says_where_the_secret_is(reference: str, parts: tuple[str, str]) -> None:
    assert split_reference(reference) == parts


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("vault:kv/x", _NO_PLACE_IN_VAULT),
        ("vault:kv#key", _NO_PLACE_IN_VAULT),
        ("vault:/kv/x#key", _NO_PLACE_IN_VAULT),
        ("vault:kv/x/#key", _NO_PLACE_IN_VAULT),
        ("vault:kv/x#", _NO_PLACE_IN_VAULT),
        ("vault:kv/x\0#key", _NO_PLACE_IN_VAULT),
        ("env:", "must have the name of an environment variable after env:"),
        ("env:sk-abc", "must have the name of an environment variable after env:"),
        ("file:", "must have the path of a file after file:"),
        ("file:/a\0b", "must have the path of a file after file:"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused_without_repeating_it(reference: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        split_reference(reference)

    assert str(caught.value) == message


def test_masking_shows_the_place_of_a_secret_but_not_the_secret() -> None:
    shown = [masked(reference) for reference in ("env:NAME", "file:/key", "vault:kv/x#key", "sk-abc")]

    assert shown == ["env:NAME", "file:/key", "vault:kv/x#key", "[REDACTED]"]
