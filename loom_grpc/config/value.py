"""The types of single values and what they accept; their errors never repeat the value."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

REDACTED: Final = "[REDACTED]"
"""What stands in for a secret wherever the configuration is shown."""

_ADDRESS: Final = re.compile(r"unix:\S+|(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\d{1,5})", re.ASCII)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.1
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_ORIGIN: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/]+")
_ACCOUNT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_VAULT: Final = re.compile(r"[^\s/#]+(?:/[^\s/#]+)+#[^\s#]+")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def split_reference(reference: str) -> tuple[Literal["env", "file", "vault", "literal"], str]:
    """Splits a secret reference into where the secret is and the variable's name, the path or the secret itself.

    In Vault the path is the KV engine's mount and the secret's path, and after `#` follows the field. Raises `ValueError` when the
    reference cannot be followed.
    """
    source, _, rest = reference.partition(":")
    if source == "vault":
        if not _VAULT.fullmatch(rest) or not rest.isprintable():
            raise ValueError("must have mount/path#field after vault:, such as vault:secret/openai#api_key")
        return "vault", rest
    if source == "env":
        if not _VARIABLE.fullmatch(rest):
            raise ValueError("must have the name of an environment variable after env:")
        return "env", rest
    if source == "file":
        if not rest or not rest.isprintable():
            raise ValueError("must have the path of a file after file:")
        return "file", rest
    return "literal", reference


def masked(reference: str) -> str:
    """Shows where a secret is, but not the secret itself."""
    return REDACTED if split_reference(reference)[0] == "literal" else reference


def _number(value: object) -> object:
    if isinstance(value, bool):  # pydantic would take true as 1
        raise ValueError("must be a number")
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _text(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain line breaks or control characters")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be lower-case letters, digits, - and _, and begin with a letter or a digit")
    return value


def account_id(value: str) -> str:
    """Returns the value if it can be an account's id; raises `ValueError`."""
    if not _ACCOUNT_ID.fullmatch(value):
        raise ValueError("must be letters, digits and . _ - @, beginning with a letter or a digit, at most 128")
    return value


def _name_or_nothing(value: str) -> str:
    return value and _name(value)


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or int(match[1] or 0) > 65_535:
        raise ValueError("must be host:port, [ipv6]:port or unix:path")
    return value


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise ValueError("must be * or an origin such as https://app.example.org, with no path and no / at the end")
    return value


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("must be a network such as 10.0.0.0/8 or 2001:db8::/32, with no bits set behind it") from None


def _url(value: str) -> str:
    return _endpoint(value).rstrip("/")


def _endpoint(value: str) -> str:
    if value and not _is_plain_url(value):
        raise ValueError("must be an http:// or https:// address with no user name, query or fragment")
    return value


def _is_plain_url(value: str) -> bool:
    if not value.isprintable() or any(mark in value for mark in "?#@\\ "):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, or brackets that hold no IPv6 address
        return False


def _secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise ValueError("must not be empty; leave the key out instead")
    split_reference(value.get_secret_value())
    return value


def _header_name(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError("is not the name of a header")
    return value


def _header_value(value: str) -> str:
    split_reference(value)
    return _text(value)


Text = Annotated[str, AfterValidator(_text)]
Filled = Annotated[str, Field(min_length=1), AfterValidator(_text)]
"""Text that must not be empty."""
Name = Annotated[str, AfterValidator(_name)]
NameOrNothing = Annotated[str, AfterValidator(_name_or_nothing)]
AccountId = Annotated[str, AfterValidator(account_id)]
Address = Annotated[str, AfterValidator(_address)]
Url = Annotated[str, AfterValidator(_url)]
"""An address to which paths are added."""
Endpoint = Annotated[str, AfterValidator(_endpoint)]
"""An address that is used as it is."""
Origin = Annotated[str, AfterValidator(_origin)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
SecretRef = Annotated[SecretStr, AfterValidator(_secret)]
Number = BeforeValidator(_number)
"""Keeps `true` from being a number; goes in front of every numeric type."""
Network = Annotated[str, AfterValidator(_network)]
"""Such as `10.0.0.0/8`; a single address is a network of one."""
Amount = Annotated[int, Number, Field(ge=0, le=10**15)]
"""How much may be called; 0 allows nothing."""
Dollars = Annotated[Decimal, Number, Field(ge=0, le=1_000_000_000)]
"""Exact."""
Status = Annotated[int, Number, Field(ge=400, le=599)]
Count = Annotated[int, Number, Field(ge=1, le=100_000)]
# gRPC keeps sizes and milliseconds in 32 bits with a sign, hence the upper ends.
Size = Annotated[int, Number, Field(ge=1, le=2**31 - 1)]
Seconds = Annotated[float, Number, Field(gt=0, le=2_147_483)]
Pause = Annotated[float, Number, Field(ge=0, le=2_147_483)]
Tokens = Annotated[int, Number, Field(ge=1, le=1_000_000_000)]
Price = Annotated[Decimal, Number, Field(ge=0, le=1_000_000)]
"""Dollars for a million tokens, exact."""
