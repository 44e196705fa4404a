"""Secrets in HashiCorp Vault or OpenBao, in a KV engine of version 2 (docs/decisions/0010-vault.md)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from loom_grpc.config import VaultConfig
from loom_grpc.credentials.secret_text import SecretError, usable

_TIMEOUT_S: Final = 4
"""How long Vault is waited for: to connect, and between two pieces of its answer."""
_LOGIN_PAUSE_S: Final = 30.0
"""How long a login that did not help is not tried again: Vault may lock those out who try too often, and keeps a lease for each success."""
_SHORTEST_RENEWAL_S: Final = 1.0


class VaultOutError(SecretError):
    """Nothing can be had from Vault at present: it is sealed, not to be reached, or refuses the login."""


class Vault:
    """Reads secrets from Vault, logs in before and keeps the login alive.

    Its methods block, for seconds when Vault does not answer, and are called by one thread at a time. `token` and `secret_id` are asked
    for with every login, and the Kubernetes token is read anew, because all of them may have been replaced.
    """

    def __init__(
        self, config: VaultConfig, *, token: Callable[[], str] | None = None, secret_id: Callable[[], str] | None = None
    ) -> None:
        self._config = config
        self._token = token
        self._secret_id = secret_id
        self._client: Any = None
        self._lease_s = 0.0
        self._renewable = False
        self._renew_at = math.inf
        """When half of the login's time is over, by `time.monotonic`."""
        self._refused: Mapping[str, str] = {}
        """What was shown at the last login that failed."""
        self._pause_until = -math.inf
        """When the same may be shown again."""
        self._doubt_from = -math.inf
        """From when on a refusal may mean that the login has ended: not soon after a new one did not help."""

    def __repr__(self) -> str:
        return f"Vault({self._config.address})"

    @property
    def renewal_in_s(self) -> float:
        """How many seconds are left until the login should be renewed."""
        return self._renew_at - time.monotonic()

    def read(self, mount: str, path: str) -> Mapping[str, object]:
        """Returns the fields of a secret's newest version; raises `SecretError`, and `VaultOutError` when it is not about this secret."""
        from hvac.exceptions import VaultError
        from requests import RequestException

        # The causes of these errors carry requests with tokens in their headers, hence `from None`.
        try:
            self._keep_login()
            return self._fields(mount, path)
        except (RequestException, VaultError) as error:
            raise _explain(error, f"{mount}/{path}") from None

    def close(self) -> None:
        """Closes the connections. The login is left to end by itself."""
        if self._client is not None:
            self._client.adapter.close()
            self._client = None

    def _keep_login(self) -> None:
        if self._client is None:
            self._client = _connect(self._config)
        if self._token is not None:
            self._adopt(self._token())
        elif not self._client.token:
            self._log_in()
        if time.monotonic() >= self._renew_at:
            self._renew()

    def _fields(self, mount: str, path: str) -> Mapping[str, object]:
        from hvac.exceptions import Forbidden

        try:
            return _read(self._client, mount, path)
        except Forbidden:
            if time.monotonic() < self._doubt_from or self._is_accepted():
                raise
        self._log_in_again()
        try:
            return _read(self._client, mount, path)
        except Forbidden:
            self._doubt_from = time.monotonic() + _LOGIN_PAUSE_S
            raise

    def _is_accepted(self) -> bool:
        """Tells whether Vault still knows the login, which tells a refusal by a policy from the login's end."""
        from hvac.exceptions import Forbidden

        try:
            self._client.auth.token.lookup_self()
        except Forbidden:
            return False
        return True

    def _adopt(self, token: str) -> None:
        """Shows the configured token, and learns for how long."""
        from hvac.exceptions import Forbidden

        if token == self._client.token:
            return
        self._client.token = token
        try:
            data = _part(self._client.auth.token.lookup_self(), "data")
        except Forbidden:  # a policy may keep a token from looking at itself
            data = {}
        except BaseException:
            self._client.token = ""
            raise
        self._hold(data.get("ttl"), renewable=data.get("renewable") is True)

    def _log_in(self) -> None:
        from hvac.exceptions import Forbidden, InvalidRequest, Unauthorized

        shown = self._shown()
        if shown == self._refused and time.monotonic() < self._pause_until:
            raise self._login_refused()
        self._client.token = ""
        mount = self._config.auth_mount.strip("/") or self._config.auth
        login = getattr(self._client.auth, self._config.auth).login
        try:
            auth = _part(login(**shown, mount_point=mount, use_token=False), "auth")
        except (Forbidden, InvalidRequest, Unauthorized):
            self._refused, self._pause_until = shown, time.monotonic() + _LOGIN_PAUSE_S
            raise self._login_refused() from None
        self._client.token = str(auth.get("client_token", ""))
        self._hold(auth.get("lease_duration"), renewable=auth.get("renewable") is True)

    def _log_in_again(self) -> None:
        if self._token is not None:
            raise VaultOutError("Vault does not accept the token; put a valid one where vault.token says")
        self._log_in()

    def _shown(self) -> dict[str, str]:
        if self._config.auth == "kubernetes":
            return {"role": self._config.role, "jwt": self._jwt()}
        return {"role_id": self._config.role_id, "secret_id": self._secret_id() if self._secret_id is not None else ""}

    def _jwt(self) -> str:
        file = self._config.jwt_file
        try:
            return usable(file.read_text(encoding="utf-8").strip(), f"vault.jwt_file {file}")
        except (OSError, UnicodeDecodeError) as error:
            raise VaultOutError(f"cannot read vault.jwt_file {file} ({type(error).__name__})") from None

    def _login_refused(self) -> VaultOutError:
        keys = {"approle": "vault.role_id and vault.secret_id", "kubernetes": "vault.role, and the role in Vault"}
        return VaultOutError(f"Vault refuses the login by {self._config.auth}; check {keys[self._config.auth]}")

    def _hold(self, lease_s: object, *, renewable: bool) -> None:
        """Notes when to renew a login; one of 0 s never ends, and a token that cannot be renewed has to be replaced by the operator."""
        self._lease_s = float(lease_s) if isinstance(lease_s, int | float) else 0.0
        self._renewable = renewable
        lasting = not self._lease_s or (self._token is not None and not renewable)
        self._renew_at = math.inf if lasting else time.monotonic() + max(self._lease_s / 2, _SHORTEST_RENEWAL_S)

    def _renew(self) -> None:
        """Renews the login, or logs in anew where it cannot be renewed or has nearly reached its longest time."""
        from hvac.exceptions import Forbidden, InvalidRequest

        before = self._lease_s
        try:
            if self._renewable:
                auth = _part(self._client.auth.token.renew_self(), "auth")
                self._hold(auth.get("lease_duration"), renewable=auth.get("renewable") is True)
                if self._lease_s > before / 2 or self._token is not None:
                    return
        except (Forbidden, InvalidRequest):
            self._renew_at = math.inf  # a token of the operator's: reading tells once it has ended
        if self._token is None:
            self._log_in()


def _connect(config: VaultConfig) -> Any:
    import hvac

    verify = str(config.ca_file) if config.ca_file is not None else True
    # An empty token, because without one hvac takes whatever is in VAULT_TOKEN or ~/.vault-token.
    return hvac.Client(
        config.address, token="", verify=verify, timeout=_TIMEOUT_S, namespace=config.namespace.strip("/") or None
    )


def _read(client: Any, mount: str, path: str) -> Mapping[str, object]:
    answer = client.secrets.kv.v2.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)
    return _part(_part(answer, "data"), "data")


def _part(answer: object, name: str) -> Mapping[str, object]:
    """Takes an object out of Vault's answer; raises `VaultOutError` when it is not there, because something else than Vault answers."""
    part = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(part, dict):
        raise VaultOutError("what answers at vault.address does not speak as Vault does; check the address")
    return part


def _explain(error: Exception, place: str) -> SecretError:
    import requests
    from hvac import exceptions

    mount, _, path = place.partition("/")
    if isinstance(error, exceptions.Forbidden):
        return SecretError(f"Vault does not let this server read {place}; give its policy read on {mount}/data/{path}")
    if isinstance(error, exceptions.InvalidPath):
        return SecretError(f"Vault has no secret {place}; check the path, and that {mount} is a KV engine of version 2")
    if isinstance(error, exceptions.VaultDown) and "sealed" in str(error.errors):
        return VaultOutError("Vault is sealed; unseal it")
    if isinstance(error, exceptions.VaultError):
        return VaultOutError(f"Vault is out of order ({type(error).__name__})")
    if isinstance(error, requests.exceptions.SSLError):
        return VaultOutError("Vault's certificate is not trusted; set vault.ca_file to its authority")
    if isinstance(error, requests.Timeout):
        return VaultOutError("Vault does not answer in time")
    return VaultOutError(f"Vault cannot be reached ({type(error).__name__}); check vault.address, and that it runs")
