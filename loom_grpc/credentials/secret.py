"""Fetching secrets from where the configuration says they are, again and again, and keeping them out of logs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal

from pydantic import SecretStr

from loom_grpc.config import REDACTED, ConfigError, VaultConfig, split_reference
from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.credentials.secret_file import SecretFile
from loom_grpc.credentials.secret_place import Place
from loom_grpc.credentials.secret_text import SecretError, usable
from loom_grpc.credentials.vault import Vault, VaultOutError

_START_S: Final = 5.0
"""How long a start waits for Vault."""
_FILES_S: Final = 1.0
"""How often files are looked at."""
_SHORTEST_POLL_S: Final = 0.5

_Fields = Mapping[str, object]
"""What is at a path in Vault."""


class Secret:
    """A text that may change while the server runs, and that shows itself only when asked to by name."""

    __slots__ = ("_fetch", "_text", "_watchers", "keys", "trouble")

    def __init__(self, key: str, text: str | None = None, fetch: Callable[[], Awaitable[object]] | None = None) -> None:
        self.keys = [key]
        """The places in the configuration that refer to it."""
        self._text = text
        self._fetch = fetch
        self._watchers: list[Callable[[], object]] = []
        self.trouble = ""
        """Why it could not be read at the last look."""

    @classmethod
    def literal(cls, text: str) -> Secret:
        """Makes a secret that is known and stays as it is."""
        return cls("secret", text)

    @property
    def key(self) -> str:
        """Where the configuration refers to it, for people."""
        return ", ".join(self.keys)

    @property
    def known(self) -> bool:
        """Whether there is a text."""
        return self._text is not None

    def reveal(self) -> str:
        """Returns the secret; raises `LlmError` (PROVIDER_UNAVAILABLE) while it has not been fetched."""
        if self._text is None:
            cause = self.trouble or "it has not been read yet"
            message = f"The secret {self.key} cannot be fetched at present: {cause}. Try again later."
            raise LlmError(PROVIDER_UNAVAILABLE, message)
        return self._text

    async def renew(self) -> bool:
        """Reads it again at once and tells whether that changed it; trouble with that is told to the log, not raised.

        Those who ask at one time share one look. Cancelling one of them does not stop it.
        """
        if self._fetch is None:
            return False
        before = self._text
        await self._fetch()
        return self._text != before

    def watch(self, on_change: Callable[[], object]) -> Callable[[], None]:
        """Has a function called after every change, in the event loop's thread, until what is returned is called."""
        self._watchers.append(on_change)
        return lambda: self._watchers.remove(on_change)

    def replace(self, text: str) -> None:
        """Takes another text."""
        self._text = text
        for on_change in list(self._watchers):
            on_change()

    def __repr__(self) -> str:
        return REDACTED

    __str__ = __repr__


class Secrets:
    """All secrets of a process, each read once for all that use it, and again when it changes.

    `on_text` is called with every text that a secret has; `on_trouble` with a key and a message when a secret cannot be read, once until
    the trouble is another one or over; `on_rotation` with the key of a secret that has a new text. All run in the event loop's thread.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        vault: VaultConfig | None = None,
        *,
        on_text: Callable[[str], object] = lambda _: None,
        on_trouble: Callable[[str, str], object] = lambda _, __: None,
        on_rotation: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._environ = environ
        self._vault_config = vault or VaultConfig()
        self._on_text = on_text
        self._on_trouble = on_trouble
        self._on_rotation = on_rotation
        self._found: dict[str, Secret] = {}
        self._files: dict[str, tuple[SecretFile, Place[str | None]]] = {}
        """By their paths."""
        self._vault: Vault | None = None
        self._vault_trouble = ""
        self._vault_lock = asyncio.Lock()
        self._paths: dict[str, Place[_Fields]] = {}
        self._fields: dict[str, dict[str, Secret]] = {}
        """The secrets at each path in Vault, by their fields."""
        self._wanted = asyncio.Event()
        """Set when there is something in Vault that was not asked for yet."""
        self._asked = asyncio.Event()
        """Set when Vault has been asked for everything."""
        self._watches: list[asyncio.Task[None]] = []

    def find(self, reference: str, key: str) -> Secret:
        """Returns the secret that a reference means; `key` is where the configuration has it.

        Raises `ConfigError` when it is not to be had; what is in Vault is asked for later.
        """
        source, rest = _split(reference, key)
        if source in {"env", "literal"}:
            secret = resolve(reference, self._environ, key=key)
            self._on_text(secret.reveal())
            return secret
        found = self._found.get(reference)
        if found is None:
            found = self._in_file(rest, key) if source == "file" else self._in_vault(rest, key)
            self._found[reference] = found
        elif key not in found.keys:
            found.keys.append(key)
        return found

    async def start(self) -> None:
        """Fetches what is in Vault, for which it waits at most 5 s, and begins to watch; trouble is told, not raised."""
        self._watches = [asyncio.create_task(self._watch_files()), asyncio.create_task(self._watch_vault())]
        if self._paths:
            with suppress(TimeoutError):
                async with asyncio.timeout(_START_S):
                    await self._asked.wait()

    async def settle(self) -> None:
        """Fetches what has not been read yet, for which it waits at most 5 s; trouble is told, not raised."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                await asyncio.gather(*(secret.renew() for secret in self._found.values() if not secret.known))

    def retain(self, references: Collection[str]) -> None:
        """Forgets, and no longer watches, what none of these references means; who has such a secret keeps its last text."""
        for reference in [found for found in self._found if found not in references]:
            del self._found[reference]
            source, rest = split_reference(reference)
            if source == "file":
                del self._files[rest]
            else:
                self._forget_field(*rest.split("#", 1))

    async def close(self) -> None:
        """Stops watching, and waits for what is being read, which takes seconds at most."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await asyncio.gather(*(place.finish() for _, place in self._files.values()))
        await asyncio.gather(*(place.finish() for place in self._paths.values()))
        if self._vault is not None:
            self._vault.close()

    def _in_file(self, path: str, key: str) -> Secret:
        file = SecretFile(Path(path))
        text = _now(file.read, key)
        place: Place[str | None] = Place(file.read_again, lambda outcome: self._take(secret, outcome), asyncio.Lock())
        secret = Secret(key, text, place.look)
        self._files[path] = (file, place)
        self._on_text(text)
        return secret

    def _in_vault(self, reference: str, key: str) -> Secret:
        path, _, field = reference.partition("#")
        if self._vault is None:
            self._vault = self._make_vault(key)
        place = self._paths.get(path)
        if place is None:
            read = partial(self._vault.read, *path.split("/", 1))
            place = self._paths[path] = Place(read, partial(self._take_fields, path), self._vault_lock)
        secret = self._fields.setdefault(path, {})[field] = Secret(key, fetch=place.look)
        secret.trouble = self._vault_trouble
        self._wanted.set()
        return secret

    def _forget_field(self, path: str, field: str) -> None:
        del self._fields[path][field]
        if not self._fields[path]:
            del self._fields[path], self._paths[path]

    def _make_vault(self, key: str) -> Vault:
        config = self._vault_config
        needed = {"token": ["address", "token"], "approle": ["address", "role_id"], "kubernetes": ["address", "role"]}
        missing = [f"vault.{name}" for name in needed[config.auth] if not getattr(config, name)]
        if missing:
            raise ConfigError(f"{key}: is in Vault, for which {' and '.join(missing)} must be set")
        token = self._for_vault(config.token, "vault.token") if config.auth == "token" else None
        secret_id = self._for_vault(config.secret_id, "vault.secret_id") if config.auth == "approle" else None
        return Vault(config, token=token, secret_id=secret_id)

    def _for_vault(self, reference: SecretStr | None, key: str) -> Callable[[], str] | None:
        if reference is None:
            return None
        if _split(reference.get_secret_value(), key)[0] == "vault":
            raise ConfigError(f"{key}: cannot be in Vault, because it opens Vault; use env:NAME or file:/path")
        return self.find(reference.get_secret_value(), key).reveal

    async def _watch_files(self) -> None:
        while True:
            await asyncio.sleep(_FILES_S)
            changed = await asyncio.to_thread(_changed, list(self._files.values())) if self._files else []
            await asyncio.gather(*(place.look() for place in changed))

    async def _watch_vault(self) -> None:
        while True:
            self._wanted.clear()
            await self._ask_vault()
            self._asked.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wanted.wait()

    async def _ask_vault(self) -> None:
        """Asks for one path after the other; not for more when Vault does not answer at all."""
        for place in list(self._paths.values()):
            await place.look()
            if self._vault_trouble:
                return

    def _pause_s(self) -> float | None:
        if self._vault is None:
            return None
        poll_s, renewal_in_s = self._vault_config.poll_s, self._vault.renewal_in_s
        # A renewal that is overdue has failed, and waits for its next turn.
        return max(_SHORTEST_POLL_S, min(poll_s, renewal_in_s)) if renewal_in_s > 0 else poll_s

    def _take_fields(self, path: str, outcome: _Fields | SecretError) -> None:
        if isinstance(outcome, VaultOutError):
            self._vault_is_out(str(outcome))
            return
        self._vault_trouble = ""
        for field, secret in self._fields.get(path, {}).items():
            self._take(secret, outcome if isinstance(outcome, SecretError) else _pick(outcome, f"{path}#{field}"))

    def _vault_is_out(self, trouble: str) -> None:
        if trouble != self._vault_trouble:
            self._vault_trouble = trouble
            self._on_trouble(
                "vault", f"{trouble}; secrets that were read before stay in use, calls that need others fail"
            )
        for secret in (secret for fields in self._fields.values() for secret in fields.values()):
            secret.trouble = trouble

    def _take(self, secret: Secret, outcome: str | SecretError | None) -> None:
        """Takes what came of a look: a text, an error, or nothing new."""
        before, secret.trouble = secret.trouble, str(outcome) if isinstance(outcome, SecretError) else ""
        if secret.trouble and secret.trouble != before:
            rest = "what was read before stays in use" if secret.known else "calls that need it fail until then"
            self._on_trouble(secret.key, f"{secret.trouble}; {rest}")
        if isinstance(outcome, str) and not (secret.known and outcome == secret.reveal()):
            is_first = not secret.known
            self._on_text(outcome)
            secret.replace(outcome)
            if not is_first:
                self._on_rotation(secret.key)


def resolve(reference: str, environ: Mapping[str, str], *, key: str = "secret") -> Secret:
    """Fetches a secret that is needed only once: what `env:NAME` or `file:/path` refers to, or the reference itself.

    `key` names the reference in errors. Raises `ConfigError` when there is no secret, or one that cannot travel in a
    header; line breaks at a file's end do not count.
    """
    source, rest = _split(reference, key)
    if source == "vault":
        raise ConfigError(
            f"{key}: cannot be in Vault, because it is read only at the start; use env:NAME or file:/path"
        )
    if source == "env":
        return Secret(key, _now(lambda: usable(environ.get(rest, ""), f"the environment variable {rest}"), key))
    if source == "file":
        return Secret(key, _now(SecretFile(Path(rest)).read, key))
    return Secret(key, _now(lambda: usable(rest, "the secret"), key))


def _split(reference: str, key: str) -> tuple[Literal["env", "file", "vault", "literal"], str]:
    try:
        return split_reference(reference)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def _now(read: Callable[[], str], key: str) -> str:
    try:
        return read()
    except SecretError as error:
        raise ConfigError(f"{key}: {error}") from None


def _changed(files: Iterable[tuple[SecretFile, Place[str | None]]]) -> list[Place[str | None]]:
    return [place for file, place in files if file.changed()]


def _pick(fields: _Fields, reference: str) -> str | SecretError:
    path, _, field = reference.partition("#")
    text = fields.get(field)
    if field not in fields:
        return SecretError(f"Vault's secret {path} has no field {field}")
    if not isinstance(text, str):
        return SecretError(f"the field {field} of Vault's secret {path} is not text")
    try:
        return usable(text.rstrip("\r\n"), f"the field {field} of Vault's secret {path}")
    except SecretError as error:
        return error
