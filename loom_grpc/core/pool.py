"""A provider's accounts: which one is asked, and which one next when it fails."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from loom_grpc.core.account import AccountRef
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import (
    PROVIDER_AUTH_FAILED,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    LlmError,
)
from loom_grpc.core.health import Condition, Event, Health, event_of
from loom_grpc.v1.admin_service_pb2 import AccountKind
from loom_grpc.v1.llm_service_pb2 import Model
from loom_grpc.v1.usage_pb2 import Usage

T = TypeVar("T")


class Inquiry(Protocol):
    """What a provider can be asked beside for an answer."""

    async def count_tokens(self, call: Call) -> int | None:
        """Asks how many tokens the prompt has; None where the provider cannot tell."""

    async def models(self, call: Call) -> list[Model] | None:
        """Asks for the provider's models; None where it has no list."""


class Account:
    """One account of a provider: how to ask with it, and how it fares."""

    __slots__ = ("configured", "handler", "health", "implicit", "inquiry", "kind", "ref", "turn")

    def __init__(
        self,
        ref: AccountRef,
        kind: AccountKind.ValueType,
        handler: Handler,
        inquiry: Inquiry,
        health: Health,
        *,
        configured: bool,
        implicit: bool = False,
    ) -> None:
        self.ref = ref
        self.kind = kind
        self.handler = handler
        self.inquiry = inquiry
        self.health = health
        self.configured = configured
        self.implicit = implicit
        """Whether it comes of a provider's plain `api_key` rather than of its `accounts`."""
        self.turn = 0
        """The number of the last call that it was chosen for."""

    def __repr__(self) -> str:
        return f"Account({self.ref})"


Rank = Callable[[Account, str], Any]
"""Orders accounts for a call of a session, the one to ask first."""

STRATEGIES: Final[Mapping[str, Rank]] = {
    "round_robin": lambda account, _session: account.turn,
    "least_used": lambda account, _session: (account.health.recent_tokens(), account.health.in_flight, account.turn),
    "first_available": lambda _account, _session: 0,
    "session": lambda account, session: _place(session, account) if session else account.turn,
}
"""How an account is chosen among those that may be asked; where two are equal, the one that comes first."""


class Pool:
    """A handler that asks one account after the other, each at most once, until one answers. Never after the first event.

    What says nothing of the account (overload, a broken connection) is tried at most `max_attempts` times in a call, whichever accounts
    it meets. An account whose quota is used up or whose credential is refused does not count; one that pauses for a burst counts only
    when the call has to wait for an account. `on_failover` is told of every change of
    account: of the call, the account that failed, and its error.
    """

    def __init__(
        self,
        provider: str,
        *,
        strategy: str = "round_robin",
        max_attempts: int = 3,
        on_failover: Callable[[Call, Account, LlmError], None] = lambda _call, _account, _error: None,
    ) -> None:
        self.provider = provider
        self.strategy = strategy
        self.accounts: list[Account] = []
        """In the order of the configuration; whoever changes it makes a new list."""
        self._rank = STRATEGIES[strategy]
        self._max_attempts = max_attempts
        self._on_failover = on_failover
        self._turn = 0

    async def __call__(self, call: Call, send: Send) -> None:
        """Answers the call; raises the `LlmError` after which an account may soonest be asked again, or else the last one."""
        await self.ask(call, lambda account: account.handler(call, send))

    async def ask(self, call: Call, question: Callable[[Account], Awaitable[T]], *, lenient: bool = False) -> T:
        """Returns the answer of the first account that has one.

        `lenient` is for questions that an account may not be allowed to ask: their failures are counted, and change nothing else.
        """
        tried: set[Account] = set()
        telling: LlmError | None = None
        spent = call.attempt - call.refusals  # of the budget, by earlier rounds
        account = self._choose(call, tried)
        while account is not None:
            try:
                return await self._ask_one(call, account, question, lenient=lenient)
            except LlmError as error:
                spent += not _is_of_the_account(error)
                if not self._may_go_on(call, error, spent):
                    raise
                if telling is None or _wait(error) <= _wait(telling):
                    telling = error
                tried.add(account)
                following = self._choose(call, tried)
                if following is not None:
                    self._on_failover(call, account, error)
                account = following
        nobody = self._nobody(tried)
        raise self._with_time(telling) if telling is not None and _wait(telling) <= _wait(nobody) else nobody

    async def _ask_one(
        self, call: Call, account: Account, question: Callable[[Account], Awaitable[T]], *, lenient: bool
    ) -> T:
        if call.before_attempt is not None:
            await call.before_attempt()
        health = account.health
        call.attempt += 1
        call.account = "" if account.implicit else account.ref.id
        call.answer = None
        health.begin()
        try:
            answer = await question(account)
        except LlmError as error:
            out_of_time = asyncio.get_running_loop().time() >= call.deadline
            fault = None if out_of_time else error  # that the caller waits no longer says nothing of the account
            health.end(fault, _usage(call), lenient=lenient or self._is_alone(account))
            raise
        except BaseException:
            health.end(usage=_usage(call))
            raise
        health.end(usage=_usage(call))
        return answer

    def _choose(self, call: Call, tried: set[Account]) -> Account | None:
        """Returns the account to ask, or None when there is none left."""
        candidates = [account for account in self.accounts if account not in tried and self._may_be_asked(account)]
        if not candidates:
            return None
        session = call.request.session_id
        chosen = candidates[0] if len(candidates) == 1 else min(candidates, key=lambda a: self._rank(a, session))
        self._turn += 1
        chosen.turn = self._turn
        return chosen

    def _may_go_on(self, call: Call, error: LlmError, spent: int) -> bool:
        """Tells whether another account may be asked after an error."""
        if call.responded or not error.row.next or asyncio.get_running_loop().time() >= call.expires:
            return False
        if error.reason == PROVIDER_TIMEOUT and not call.is_last:
            return False  # a target that is silent is left for the next one, not asked with another account
        call.refusals += error.reason in _REFUSALS
        return _is_of_the_account(error) or spent < self._max_attempts

    def _is_alone(self, account: Account) -> bool:
        """Tells whether the account is a provider's only one and of no pool: it is then asked whatever happened before."""
        return account.implicit and self.accounts == [account]

    def _may_be_asked(self, account: Account) -> bool:
        if account.health.usable():
            return True
        return self._is_alone(account) and account.health.condition is not Condition.OFF

    def _with_time(self, error: LlmError) -> LlmError:
        """Tells when the first account may be asked again, where the provider does not say how long its quota is used up."""
        if error.reason != PROVIDER_QUOTA_EXCEEDED or error.retry_after is not None:
            return error
        timed = self._nobody(set())
        return timed if timed.retry_after is not None else error

    def _nobody(self, tried: set[Account]) -> LlmError:
        """Makes the error for a call that finds no account to ask, or none beside those that it has tried."""
        others = [account for account in self.accounts if account not in tried]
        cooling = [account for account in others if account.health.condition is Condition.COOLING]
        if not cooling:
            message = f"No account of {self.provider} can be used; the operator must log in again or enable one."
            return LlmError(PROVIDER_AUTH_FAILED, message)
        first = min(cooling, key=lambda account: account.health.until)
        wait = first.health.remaining_s()
        if first.health.is_burst:
            return LlmError(
                PROVIDER_RATE_LIMITED, f"The accounts of {self.provider} are asked too often.", retry_after=wait
            )
        message = f"The quota of every account of {self.provider} is used up."
        return LlmError(PROVIDER_QUOTA_EXCEEDED, message, retry_after=wait)


_REFUSALS: Final = frozenset({PROVIDER_AUTH_FAILED, PROVIDER_QUOTA_EXCEEDED})


def _is_of_the_account(error: LlmError) -> bool:
    """Tells whether a failure is one that another account need not meet."""
    return error.reason in _REFUSALS or event_of(error) is Event.THROTTLED


def _wait(error: LlmError) -> float:
    """Returns how long to wait, in seconds, before an account may be asked again; for ever when it may not."""
    return (error.retry_after or 0.0) if error.row.retry else math.inf


def _usage(call: Call) -> Usage | None:
    return call.answer.usage if call.answer is not None and call.answer.HasField("usage") else None


def _place(session: str, account: Account) -> bytes:
    """Places an account for a session (rendezvous hashing): the same in every process, and others keep theirs when one drops out."""
    return hashlib.blake2b(f"{session}\0{account.ref.id}".encode(), digest_size=8).digest()
