"""A key in a header, the usual way to show a provider who is asking."""

from __future__ import annotations

from collections.abc import Mapping


class ApiKey:
    """Shows a key in one header; without a key it shows nothing."""

    def __init__(self, header: str, prefix: str, key: str) -> None:
        self._headers = {header: prefix + key} if key else {}

    def __repr__(self) -> str:
        return "ApiKey([REDACTED])"

    async def headers(self) -> Mapping[str, str]:
        """Returns the header."""
        return self._headers
