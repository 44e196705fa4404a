"""Fetching secrets and keeping them to ourselves."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.config import ConfigError
from loom_grpc.credentials.secret import Secret, resolve


def test_a_secret_shows_itself_only_on_request() -> None:
    secret = Secret("sk-abc")

    assert (repr(secret), str(secret), f"{secret}", f"{[secret]}") == ("[REDACTED]",) * 3 + ("[[REDACTED]]",)
    assert secret.reveal() == "sk-abc"


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_secret_comes_from_the_environment_a_file_or_the_reference(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"sk-file\r\n\n")
    environ = {"KEY": "sk-env"}

    found = [resolve(reference, environ).reveal() for reference in ("env:KEY", f"file:{file}", "sk-literal", "a:b")]

    assert found == ["sk-env", "sk-file", "sk-literal", "a:b"]


def test_a_variable_may_hold_what_looks_like_a_reference() -> None:
    assert resolve("env:KEY", {"KEY": "file:/nowhere"}).reveal() == "file:/nowhere"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("env:NO_KEY", "the environment variable NO_KEY is not set or empty"),
        ("env:EMPTY", "the environment variable EMPTY is not set or empty"),
        ("env:", "must have the name of an environment variable after env:"),
        ("env:sk-abc", "must have the name of an environment variable after env:"),
        ("vault:kv/x", "vault references are not available in this version; use env:NAME or file:/path"),
        ("file:", "must have the path of a file after file:"),
        ("file:{}/none", "cannot read the file {}/none: No such file or directory"),
        ("file:{}", "cannot read the file {}: Is a directory"),
        ("file:{}/empty", "the file {}/empty is not set or empty"),
        ("file:{}/binary", "the file {}/binary is not text"),
        ("file:{}/large", "the file {}/large is too large for a secret"),
        ("", "the secret is not set or empty"),
        (
            "env:BROKEN",
            (
                "the environment variable BROKEN has line breaks, control characters or letters beyond ASCII, "
                "which no header can carry"
            ),
        ),
        (
            "file:{}/lines",
            "the file {}/lines has line breaks, control characters or letters beyond ASCII, which no header can carry",
        ),
    ],
)
def test_a_secret_that_cannot_be_had_gets_one_line_with_its_key(tmp_path: Path, reference: str, expected: str) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"k" * 70_000)
    (tmp_path / "lines").write_bytes(b"sk-1\nsk-2\n")
    environ = {"EMPTY": "", "BROKEN": "sk-abc\r\nx-evil: 1"}

    with pytest.raises(ConfigError) as caught:
        resolve(reference.replace("{}", str(tmp_path)), environ, key="providers.a.api_key")

    assert str(caught.value) == f"providers.a.api_key: {expected.replace('{}', str(tmp_path))}"


@given(text=st.text(min_size=11))
def test_any_text_is_either_kept_whole_or_refused_without_repeating_it(text: str) -> None:
    if text.isascii() and text.isprintable():
        secret = resolve("env:KEY", {"KEY": text})

        assert (secret.reveal(), repr(secret)) == (text, "[REDACTED]")
    else:
        with pytest.raises(ConfigError) as caught:
            resolve("env:KEY", {"KEY": text})

        assert text not in repr(caught.value)
