"""A provider with several accounts, each of which answers, throttles, is revoked or is overloaded on command."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import orjson

from tests.server.serving import COMPLETION
from tests.stand_in import Connection, Script, StandIn, json_answer, stand_in

HEALTHY = json_answer(COMPLETION)
OVERLOADED = json_answer({"error": {"type": "overloaded_error", "message": "Overloaded"}}, status=529)
REVOKED = json_answer({"error": {"code": "invalid_api_key", "message": "Incorrect API key provided"}}, status=401)
USED_UP = json_answer(
    {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}, status=429
)


def throttled(retry_after_s: int) -> Script:
    """Refuses because of a burst of calls."""
    body = {"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached"}}
    return json_answer(body, status=429, **{"retry-after": str(retry_after_s)})


def used_up_for(retry_after_s: int) -> Script:
    """Refuses because a quota is used up that is renewed soon."""
    body = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}
    return json_answer(body, status=429, **{"retry-after": str(retry_after_s)})


class ManyAccounts:
    """Tells accounts apart by their bearer tokens."""

    def __init__(self, upstream: StandIn) -> None:
        self.url = upstream.url
        self.moods: dict[str, Script] = {}
        """How each token is answered; one that is not here is revoked."""
        self.asked: list[tuple[str, str]] = []
        """The token and the prompt of each request, in the order of their coming."""
        self.on_request: Callable[[int], None] = lambda number: None
        """Is told the number of each request before it is answered."""
        upstream.play(self._answer)

    def counts(self) -> Counter[str]:
        """Returns how often each token was shown."""
        return Counter(token for token, _ in self.asked)

    def repeated(self) -> list[tuple[str, str]]:
        """Returns the tokens that were shown more than once for the same prompt, with that prompt."""
        return [pair for pair, times in Counter(self.asked).items() if times > 1]

    async def _answer(self, connection: Connection) -> None:
        token = connection.asked.headers["authorization"].removeprefix("Bearer ")
        prompt = orjson.loads(connection.asked.body)["messages"][-1]["content"]
        self.asked.append((token, prompt))
        self.on_request(len(self.asked))
        await self.moods.get(token, REVOKED)(connection)


@asynccontextmanager
async def many_accounts() -> AsyncIterator[ManyAccounts]:
    """Runs the provider on a free port of the loopback address."""
    async with stand_in(HEALTHY) as upstream:
        yield ManyAccounts(upstream)
