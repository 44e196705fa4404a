"""The way to a Redis, and the words for what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from loom_grpc.core.errors import LlmError

_WRONG_URL: Final = (
    "must be an address such as redis://user:password@host:6379/0, or one that begins with rediss:// or unix://; "
    "write @, / and : in the password as %40, %2F and %3A"
)
TROUBLES: Final = (RedisError, OSError, TimeoutError, ValueError, LlmError)
"""What going to Redis raises; the last two are a URL that has become wrong, or cannot be had."""


@dataclass(frozen=True)
class RedisUse:
    """What a Redis is used for: the setting with its URL, how many connections, how long a call waits for it, and how often a command is
    repeated on a new connection when one broke. `refusals` says what Redis does, by its errors, the special ones first."""

    setting: str
    connections: int
    patience_s: float
    retries: int
    refusals: Mapping[type[Exception], str]

    def make_client(self, url: str) -> Redis:
        """Returns a client that is not connected yet; raises ValueError, without the URL's secrets, when the URL is none of Redis."""
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=self.connections,
                timeout=self.patience_s,
                retry=Retry(NoBackoff(), self.retries),
                protocol=2,
            )
            make: Callable[[], object] = pool.make_connection
            make()  # which looks at the settings behind the question mark
        except (ValueError, TypeError, AttributeError, RedisError):  # whose words may hold the password
            raise ValueError(_WRONG_URL) from None
        return Redis.from_pool(pool)

    def explain(self, where: str, error: Exception) -> str:
        """Says what is wrong with the Redis at a place, in words for the operator and without the URL's secrets."""
        if isinstance(error, LlmError):
            return error.message
        if isinstance(error, ValueError):  # whose own words may hold the password
            return f"{self.setting} {_WRONG_URL}"
        if isinstance(error, TimeoutError | RedisTimeoutError):
            return f"the Redis at {where} does not answer within {self.patience_s:g} s"
        of_all: dict[type[Exception], str] = {
            AuthenticationError: f"does not take the user name and password of {self.setting}",
            ReadOnlyError: f"may only be read from; name the one that may be written to in {self.setting}",
        }
        for kind, words in (of_all | dict(self.refusals)).items():
            if isinstance(error, kind):
                return f"the Redis at {where} {words}"
        return f"the Redis at {where} cannot be reached; see that it runs and that {self.setting} is right"


def place(url: str) -> str:
    """Says where Redis is, and nothing else that the URL says."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
