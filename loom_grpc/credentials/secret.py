"""Fetching secrets from where the configuration says they are, and keeping them out of logs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from loom_grpc.config import REDACTED, ConfigError, split_reference

_MOST_BYTES: Final = 64 * 2**10


class Secret:
    """A text that shows itself only when asked to by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Returns the secret."""
        return self._text

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


def resolve(reference: str, environ: Mapping[str, str], *, key: str = "secret") -> Secret:
    """Fetches the secret that `env:NAME` or `file:/path` refers to, or takes the reference as the secret itself.

    `key` names the reference in errors. Raises `ConfigError` when there is no secret, or one that cannot travel in a
    header; line breaks at a file's end do not count.
    """
    try:
        source, rest = split_reference(reference)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None
    if source == "env":
        return _usable(environ.get(rest, ""), key, f"the environment variable {rest}")
    if source == "file":
        return _usable(_read(Path(rest), key), key, f"the file {rest}")
    return _usable(rest, key, "the secret")


def _read(file: Path, key: str) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ConfigError(f"{key}: cannot read the file {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: the file {file} is not text") from None
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{key}: the file {file} is too large for a secret")
    return text.rstrip("\r\n")


def _usable(text: str, key: str, where: str) -> Secret:
    if not text:
        raise ConfigError(f"{key}: {where} is not set or empty")
    if not (text.isascii() and text.isprintable()):
        raise ConfigError(
            f"{key}: {where} has line breaks, control characters or letters beyond ASCII, which no header can carry"
        )
    return Secret(text)
