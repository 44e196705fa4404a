"""Tells of addresses that are blocked."""

from __future__ import annotations

from collections.abc import Callable

from loom_grpc.quota.throttle import Throttle


class ToldThrottle:
    """A throttle; `on_block` is told each address that it blocks, and for how many seconds."""

    def __init__(self, throttle: Throttle, on_block: Callable[[str, float], object]) -> None:
        self._throttle = throttle
        self._on_block = on_block

    def blocked_s(self, address: str, now: float) -> float:
        """Returns for how many more seconds an address is blocked, 0 when it is not; `now` is seconds since 1970."""
        return self._throttle.blocked_s(address, now)

    def failed(self, address: str, now: float) -> None:
        """Counts a failure of an address."""
        if self._throttle.blocked_s(address, now) > 0:
            return  # others of its failures were under way when it was blocked
        self._throttle.failed(address, now)
        block_s = self._throttle.blocked_s(address, now)
        if block_s > 0:
            self._on_block(address, block_s)
