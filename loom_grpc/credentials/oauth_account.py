"""An OAuth account's credential: its tokens, renewed before they end and kept in step with the store."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from loom_grpc.core.account import AccountRef, CredentialStore, Stored, StoreError, Tokens
from loom_grpc.core.errors import PROVIDER_AUTH_FAILED, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.credentials.oauth import OAuthApp

RENEW_S: Final = 60.0
"""How many seconds before its end a token is renewed on use."""

_YOUNG_S: Final = 60.0
"""A token that is refused although it is younger than this is not the reason for the refusal."""
_PATIENCE_S: Final = 1.0
"""How long a call waits for a new token while the old one is still good."""
_LONGEST_WAIT_S: Final = 10.0
_PAUSE_S: Final = 10.0
"""How long a token that is still good is used without another try to renew or to save, after one has failed."""


class OAuthCredential:
    """Shows an account's access token. A refresh token is used once, by one task of one process, whoever shares the store.

    `headers` gives what else is to be sent; `on_tokens` is told of all tokens before they are used, `on_unsaved` of the account and the
    store's words when new tokens could not be saved.
    """

    def __init__(
        self,
        ref: AccountRef,
        app: OAuthApp,
        store: CredentialStore,
        *,
        tokens: Tokens | None,
        headers: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.time,
        on_tokens: Callable[[Tokens], object],
        on_unsaved: Callable[[AccountRef, str], object],
    ) -> None:
        self.ref = ref
        self.tokens: Tokens | None = None
        self.longest_wait_s = _LONGEST_WAIT_S
        """How long a renewal may take before callers are sent to other accounts; it goes on nevertheless."""
        self._app = app
        self._store = store
        self._extra = headers
        self._clock = clock
        self._on_tokens = on_tokens
        self._on_unsaved = on_unsaved
        self._shown: Mapping[str, str] = {}
        self._shown_extra: Mapping[str, str] = {}
        self._since = -math.inf
        """When the tokens came, as far as this process has seen it."""
        self._renew_at = -math.inf
        """When `headers` has to look after the tokens."""
        self._save_at = math.inf
        """When tokens that could not be saved are saved again."""
        self._refused = ""
        """An access token that the provider does not take, whatever it says of its end."""
        self._replaced: tuple[Tokens, ...] = ()
        """Tokens that later ones have replaced, back to those that the store may still have: where they turn up again, they are old."""
        self._work: asyncio.Task[None] | None = None
        self._waited_for_until = -math.inf
        """How long the work is waited for, in the event loop's time."""
        if tokens is not None:
            on_tokens(tokens)
            self._take(tokens, since=-math.inf)

    def __repr__(self) -> str:
        return f"OAuthCredential({self.ref}, [REDACTED])"

    @property
    def expires(self) -> float | None:
        """When the access token ends, in seconds since 1970; None when that is not known."""
        return self.tokens.expires if self.tokens is not None else None

    async def headers(self) -> Mapping[str, str]:
        """Returns the headers, with a token that is good for another minute where one can be had.

        Raises `LlmError`: PROVIDER_AUTH_FAILED when someone has to log in, PROVIDER_UNAVAILABLE when the token server or the store cannot
        be had and the token has ended. Cancelling one caller does not stop the renewal, which others may wait for.
        """
        now = self._clock()
        if now >= self._renew_at:
            await self._renew_if_possible()
        elif now >= self._save_at:
            self._start(RENEW_S)  # nobody needs to wait for that
        return self._with_extra()

    async def renewed(self, refused: Mapping[str, str]) -> Mapping[str, str] | None:
        """Returns headers with another token than the one refused, or None when the token is too young for that to help.

        Raises `LlmError` as `headers` does.
        """
        tokens = self.tokens
        if tokens is None or refused.get("authorization") != _bearer(tokens):
            return await self.headers()
        if self._clock() - self._since < _YOUNG_S:
            return None
        self._refused = tokens.access
        self._renew_at = -math.inf
        try:
            await self._renew(RENEW_S)
        except LlmError as error:
            if error.reason == PROVIDER_AUTH_FAILED:
                # An operator who enables the account again wants the token to be tried again.
                self._refused = ""
            raise
        return self._with_extra()

    async def refresh_if_due(self, within_s: float) -> None:
        """Renews a token that ends within so many seconds, and saves what could not be saved. An account without a login is left alone.

        Raises `LlmError` as `headers` does, also when the token is still good.
        """
        if self.tokens is not None and (self._is_due(within_s) or self._save_at < math.inf):
            await self._renew(within_s)

    def adopt(self, tokens: Tokens | None) -> bool:
        """Takes what the store has: tokens of another process or of a new login, or None when there are none; tells whether that is new."""
        if tokens is None:
            had = self.tokens is not None
            self._drop()
            return had
        if _same(tokens, self.tokens) or self._is_replaced(tokens):
            return False
        self._on_tokens(tokens)
        self._take(tokens, since=self._clock())
        return True

    async def close(self) -> None:
        """Waits for a renewal that is under way, so that the tokens it brings are saved, and saves what could not be saved before."""
        if self._work is not None:
            await asyncio.wait([self._work])
        if self._save_at < math.inf:
            await asyncio.wait([self._start(-math.inf)])  # also tokens that have ended: their refresh token has not

    async def _renew_if_possible(self) -> None:
        """Renews the token; while it is good, passing trouble does no harm and is not waited for long."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._renew(RENEW_S)
            return
        except TimeoutError:
            if not self._is_good(0):
                await self._renew(RENEW_S)
                return
        except LlmError as error:
            if error.reason != PROVIDER_UNAVAILABLE or not self._is_good(0):
                raise
        ends = self.expires if self.expires is not None else math.inf
        self._renew_at = min(self._clock() + _PAUSE_S, ends)

    async def _renew(self, within_s: float) -> None:
        """Sees to it that the token is good for so long. What is under way already may have had less in mind: then once more."""
        before = self.tokens
        joined = self._work is not None and not self._work.done()
        await self._wait_for(self._start(within_s))
        if joined and self.tokens is before and self._is_due(within_s):
            await self._wait_for(self._start(within_s))

    async def _wait_for(self, work: asyncio.Task[None]) -> None:
        """Waits until the work is done or has taken too long; whoever comes after that does not wait at all."""
        try:
            async with asyncio.timeout_at(self._waited_for_until):
                await asyncio.shield(work)
        except TimeoutError:
            message = f"The login of {self.ref} is still being renewed; try again later."
            raise LlmError(PROVIDER_UNAVAILABLE, message) from None

    def _start(self, within_s: float) -> asyncio.Task[None]:
        """Returns the work that is under way, or begins it: there is one at a time."""
        if self._work is None or self._work.done():
            self._waited_for_until = asyncio.get_running_loop().time() + self.longest_wait_s
            self._work = asyncio.create_task(self._hold(within_s))
            self._work.add_done_callback(_see)
        return self._work

    async def _hold(self, within_s: float) -> None:
        if self._save_at < math.inf:
            self._save_at = self._clock() + _PAUSE_S
        try:
            async with self._store.hold(self.ref) as stored:
                await self._settle(stored, within_s)
        except StoreError as error:
            message = (
                "The server's store of accounts cannot be read or written; the operator finds the reason in the log."
            )
            raise LlmError(PROVIDER_UNAVAILABLE, message, detail=str(error)) from error

    async def _settle(self, stored: Stored | None, within_s: float) -> None:
        """Brings what is stored now and what is known here together, and refreshes what is the newest of it."""
        if not isinstance(stored, Tokens):
            raise self._logged_out()
        if self.tokens is not None and self._is_replaced(stored):
            await self._save(self.tokens)
        elif self.adopt(stored):
            within_s = min(within_s, RENEW_S)
        else:
            self._save_at = math.inf
        if self._is_due(within_s):
            await self._refresh()
        elif self.tokens is not None:
            self._renew_at = _renewal(self.tokens, self._since)

    async def _refresh(self) -> None:
        before = self.tokens
        if before is None or not before.refresh:
            message = f"The login of {self.ref} has ended and cannot be renewed; {self._how_to_log_in()}."
            raise LlmError(PROVIDER_AUTH_FAILED, message)
        tokens = await self._app.refresh(before.refresh)
        self._on_tokens(tokens)
        if self.tokens is not before:
            return  # someone has logged in anew or removed the account, which counts for more
        self._replaced += (before,)
        try:
            await self._save(tokens)
        finally:
            # The old refresh token is spent: whatever happened, these are what is left.
            self._take(tokens, since=self._clock())

    async def _save(self, tokens: Tokens) -> None:
        """Saves tokens, or remembers to do it later."""
        self._save_at = self._clock() + _PAUSE_S
        try:
            await self._store.save(self.ref, tokens)
        except StoreError as error:
            self._on_unsaved(self.ref, str(error))
        else:
            self._save_at = math.inf
            self._replaced = self._replaced[-1:]

    def _take(self, tokens: Tokens, *, since: float) -> None:
        self.tokens = tokens
        self._since = since
        self._refused = ""
        self._renew_at = _renewal(tokens, since)
        self._shown_extra = self._extra()
        self._shown = {**self._shown_extra, "authorization": _bearer(tokens)}

    def _drop(self) -> None:
        self.tokens = None
        self._replaced = ()
        self._shown = {}
        self._renew_at = -math.inf
        self._save_at = math.inf

    def _with_extra(self) -> Mapping[str, str]:
        """Returns the headers, made anew only when the operator's have changed; raises `LlmError` when the login has just gone."""
        if self.tokens is None:
            raise self._logged_out()
        if self._extra() != self._shown_extra:
            self._shown_extra = self._extra()
            self._shown = {**self._shown_extra, "authorization": _bearer(self.tokens)}
        return self._shown

    def _is_good(self, for_s: float) -> bool:
        """Tells whether the token may be shown, and for more than so many seconds."""
        tokens = self.tokens
        if tokens is None or tokens.access == self._refused:
            return False
        return tokens.expires is None or tokens.expires - self._clock() > for_s

    def _is_due(self, within_s: float) -> bool:
        """Tells whether the token has to be renewed; one that cannot be is used to its end."""
        return not self._is_good(within_s if self.tokens is not None and self.tokens.refresh else 0)

    def _is_replaced(self, tokens: Tokens) -> bool:
        return any(_same(tokens, old) for old in self._replaced)

    def _logged_out(self) -> LlmError:
        """Makes the error for an account of which the store has no login, and forgets the one that is known here."""
        had = self.adopt(None)
        state = "was removed" if had else "has no login yet"
        return LlmError(PROVIDER_AUTH_FAILED, f"{self.ref} {state}; {self._how_to_log_in()}.")

    def _how_to_log_in(self) -> str:
        return f"run `loom-grpc accounts login --provider {self.ref.provider} {self.ref.id}`"


def _bearer(tokens: Tokens) -> str:
    return f"Bearer {tokens.access}"


def _renewal(tokens: Tokens, since: float) -> float:
    """Returns when tokens are due to be renewed: a minute before the end, half-way where they last less than two, or when it is over."""
    if tokens.expires is None:
        return math.inf
    return tokens.expires - (min(RENEW_S, (tokens.expires - since) / 2) if tokens.refresh else 0)


def _same(tokens: Tokens, other: Tokens | None) -> bool:
    """Compares without the end, which a store may keep less exactly."""
    return other is not None and (tokens.access, tokens.refresh) == (other.access, other.refresh)


def _see(work: asyncio.Task[None]) -> None:
    """Looks at the outcome, which nobody else does when every caller has been cancelled."""
    if not work.cancelled():
        work.exception()
