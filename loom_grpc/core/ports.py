"""What the edges need of whatever answers calls: this process, or a server behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from google.protobuf.message import Message

from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import LlmError
from loom_grpc.core.principal import Principal, Shown
from loom_grpc.v1.admin_service_pb2 import (
    Account,
    ExportCallsRequest,
    ExportCallsResponse,
    PoolHealth,
    StartLoginResponse,
    WatchHealthResponse,
)
from loom_grpc.v1.llm_service_pb2 import CountTokensResponse, EmbedResponse, LlmEvent, LlmResponse, Model


@dataclass(frozen=True, slots=True)
class ProviderState:
    """What `/health` tells of a provider."""

    name: str
    title: str
    """The provider's name for people, such as `Z.ai`."""
    configured: bool
    status: Literal["healthy", "degraded", "unhealthy"] = "healthy"
    error: str = ""
    mode: Literal["api_key", "api_key_pool", "oauth_pool"] = "api_key"
    """Whether the provider is asked with one key, or with a pool of accounts, of which some may be OAuth accounts."""
    pool: PoolHealth | None = None
    """The pool, where it is one."""


class Admin(Protocol):
    """What an operator may do. Raises `LlmError`: ACCOUNT_NOT_FOUND, ACCOUNT_EXISTS, INVALID_REQUEST, PROVIDER_NOT_CONFIGURED,
    STORAGE_UNAVAILABLE, and what is said below. No answer holds a secret."""

    async def list_accounts(self, provider: str = "") -> list[Account]:
        """Returns the accounts of one provider or of all."""

    async def add_account(self, provider: str, id: str, api_key: str) -> Account:
        """Keeps a new account and lets it be asked; an empty id makes one up."""

    async def remove_account(self, provider: str, id: str) -> None:
        """Forgets an account; INVALID_REQUEST for one of the configuration."""

    async def enable_account(self, provider: str, id: str) -> Account:
        """Lets an account be asked again."""

    async def disable_account(self, provider: str, id: str) -> Account:
        """Keeps an account from being asked until it is enabled."""

    async def start_login(self, provider: str, account_id: str = "") -> StartLoginResponse:
        """Begins an OAuth login; INVALID_REQUEST where the configuration does not say how."""

    async def finish_login(self, provider: str, code: str, state: str) -> Account:
        """Ends an OAuth login; LOGIN_STATE_INVALID, LOGIN_EXCHANGE_FAILED. Whatever comes of it, the login cannot be used again."""

    async def reload_config(self) -> list[str]:
        """Reads the configuration again, serves by it from now on, and returns the keys that it changes, by dotted path.

        INVALID_REQUEST with every problem of a configuration that cannot be served; the one before then stays.
        """

    def watch_health(self, provider: str = "") -> AsyncGenerator[WatchHealthResponse, None]:
        """Yields how all accounts fare, at once and after every change."""


class Office(Protocol):
    """What an operator may do with organizations, teams, users, keys and budgets, and ask of usage and of the records of calls.

    Raises `LlmError`: INVALID_REQUEST, NOT_FOUND, CONFLICT, STORAGE_UNAVAILABLE. No answer holds a secret but the text of a key that was
    just made.
    """

    async def perform(self, request: Message) -> Message:
        """Does what a request of AdminService asks for, such as a `CreateKeyRequest`, and returns its response."""

    def export_calls(self, request: ExportCallsRequest) -> AsyncGenerator[ExportCallsResponse, None]:
        """Yields the records that are asked for, some at a time, the oldest first; the first of all says how many there are."""


class Gatekeeper(Protocol):
    """The one place that decides who may call what."""

    async def admit(self, method: str, shown: Shown) -> Principal:
        """Returns who calls, if whoever shows this may call a method.

        The method is gRPC's full name, such as `/loom_grpc.v1.LlmService/Complete`, or a route's path, such as `/proxy/{provider}/stream`.
        Raises `LlmError`: UNAUTHENTICATED, PERMISSION_DENIED, RATE_LIMITED for an address that has shown wrong credentials again and again,
        STORAGE_UNAVAILABLE where nobody can tell.
        """

    def address_of(self, shown: Shown) -> str:
        """Returns the address that a call came from, behind proxies that are trusted."""


class Gateway(Protocol):
    """Answers calls. Raises `LlmError` only; cancelling any of these stops the upstream work."""

    @property
    def gatekeeper(self) -> Gatekeeper:
        """Decides who may call what, at present."""

    async def answer(self, call: Call, send: Send) -> None:
        """Answers a call, as every `Handler` does."""

    async def list_models(self, call: Call, provider: str = "") -> list[Model]:
        """Returns the models of one provider; or the routes and aliases and the models of all, ordered by provider and id.

        Only those that whoever calls may ask.
        """

    async def count_tokens(self, call: Call) -> CountTokensResponse:
        """Counts the prompt tokens of the call's request."""

    async def embed(self, call: Call) -> EmbedResponse:
        """Turns what the call's `embed` holds into vectors."""

    async def pass_on(self, call: Call) -> None:
        """Passes the call's `raw` on to the provider that its request names; PERMISSION_DENIED where that is switched off."""

    async def providers(self) -> list[ProviderState]:
        """Returns every provider that the contract knows by name or that is configured."""

    def conclude(self, call: Call, error: LlmError | None = None, *, cancelled: bool = False) -> None:
        """Leaves the record of a call that was admitted: it failed with an error, was cancelled by its caller, or went well.

        Only the first conclusion counts, and one is drawn before the caller knows of an answer.
        """

    def admin(self, shown: Shown) -> Admin:
        """Returns what an operator may do with accounts who was admitted to a method of administration."""

    def office(self, shown: Shown) -> Office:
        """Returns what the same operator may do with keys, budgets and records."""


async def whole_answer(gateway: Gateway, call: Call) -> LlmResponse:
    """Returns what the gateway answers, collected; raises as `Gateway.answer` does."""
    answer: list[LlmResponse] = []

    async def keep(event: LlmEvent) -> None:
        if event.HasField("completed"):
            answer.append(event.completed.response)

    await gateway.answer(call, keep)
    return answer[0]
