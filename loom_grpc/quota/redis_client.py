"""The way to the Redis that has the counters, and the words for what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from loom_grpc.core.errors import LlmError

CONNECTIONS: Final = 8
"""A process is busy with so many, and a burst of calls need not wait until more are opened."""
_OWN_CONNECTIONS: Final = 4
"""More of them, so that what happens in the background waits for none."""
PATIENCE_S: Final = 0.8
"""How long a call waits for Redis, a second try included."""
_WRONG_URL: Final = (
    "must be an address such as redis://user:password@host:6379/0, or one that begins with rediss:// or unix://; "
    "the characters @, / and : in a password are written %40, %2F and %3A"
)
TROUBLES: Final = (RedisError, OSError, TimeoutError, ValueError, LlmError)
"""What going to Redis raises; the last two are a URL that has become wrong, or cannot be had."""
_REFUSALS: Final[dict[type[Exception], str]] = {
    AuthenticationError: "does not take the user name and password of limits.redis_url",
    NoPermissionError: "does not let this user run scripts and what they call on keys that begin with loom:quota:",
    OutOfMemoryError: "has no memory left for counters; give it more (maxmemory) and let it drop none (maxmemory-policy noeviction)",
    ReadOnlyError: "may only be read from; name the one that may be written to in limits.redis_url",
    ResponseError: "refuses scripts; see its log",
}


def make_client(url: str) -> Redis:
    """Returns a client that is not connected yet; raises ValueError, in words without the URL's secrets, when the URL is none of Redis."""
    try:
        # Nothing is sent twice unseen: a script that was carried out although its answer was lost would count twice.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS + _OWN_CONNECTIONS,
            timeout=PATIENCE_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        make: Callable[[], object] = pool.make_connection
        make()  # which looks at the settings behind the question mark
    except (ValueError, TypeError, AttributeError, RedisError):  # whose words may hold the password
        raise ValueError(_WRONG_URL) from None
    return Redis.from_pool(pool)


def place(url: str) -> str:
    """Says where Redis is, and nothing else that the URL says."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


def explain(where: str, error: Exception) -> str:
    """Says what is wrong with the Redis at a place, in words for the operator and without the URL's secrets."""
    if isinstance(error, LlmError):
        return error.message
    if isinstance(error, ValueError):  # whose own words may hold the password
        return f"limits.redis_url {_WRONG_URL}"
    for kind, words in _REFUSALS.items():
        if isinstance(error, kind):
            return f"the Redis at {where} {words}"
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return f"the Redis at {where} does not answer within {PATIENCE_S:g} s"
    return f"the Redis at {where} cannot be reached; see that it runs and that limits.redis_url is right"
