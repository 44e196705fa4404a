"""A key in a header, the usual way to show a provider who is asking."""

from __future__ import annotations

from collections.abc import Mapping

from loom_grpc.credentials.secret import Secret


class ApiKey:
    """Shows a key in one header, and a new one as soon as there is one; without a key it shows nothing."""

    def __init__(self, header: str, prefix: str, secret: Secret | None) -> None:
        self._header = header
        self._prefix = prefix
        self._secret = secret
        self._headers: Mapping[str, str] | None = {} if secret is None else None
        """Made with every change, not with every call."""
        if secret is not None:
            secret.watch(self._make)
            if secret.known:
                self._make()

    def __repr__(self) -> str:
        return "ApiKey([REDACTED])"

    async def headers(self) -> Mapping[str, str]:
        """Returns the header; raises `LlmError` (PROVIDER_UNAVAILABLE) while the key cannot be fetched."""
        return self._make() if self._headers is None else self._headers

    async def renewed(self, refused: Mapping[str, str]) -> Mapping[str, str] | None:
        """Returns the header with another key than the refused one, for which it looks at once; None when there is no other."""
        if self._secret is None:
            return None
        if self._headers is None or self._headers == refused:
            await self._secret.renew()
        return self._headers if self._headers != refused else None

    def _make(self) -> Mapping[str, str]:
        text = self._secret.reveal() if self._secret is not None else ""
        self._headers = {self._header: self._prefix + text}
        return self._headers
