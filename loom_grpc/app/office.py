"""What an operator may do with organizations, teams, users, keys and budgets, and ask of the records of calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

from google.protobuf.message import Message

from loom_grpc.app.budgets import Budgets
from loom_grpc.app.calls import Calls
from loom_grpc.app.doors import Doors
from loom_grpc.app.keys import Keys
from loom_grpc.app.people import People
from loom_grpc.config import Config
from loom_grpc.core.account import StoreError
from loom_grpc.core.directory import ConflictError, Directory, NotFoundError
from loom_grpc.core.errors import CONFLICT, INVALID_REQUEST, NOT_FOUND, LlmError, storage_unavailable
from loom_grpc.core.ledger import Ledger
from loom_grpc.core.quota import Cap, Meter
from loom_grpc.v1 import admin_service_pb2 as pb

Works = dict[type[Message], Callable[[Any], Awaitable[Message]]]


class Office:
    """Implements `core.ports.Office` for this server.

    Without a directory nobody has to show who they are, and there is nothing to administer. `make_ledger` gives the ledger when it is asked
    for the first time, or raises `LlmError` where no records are kept. `config` gives the configuration as it is at present.
    """

    def __init__(
        self,
        directory: Directory | None,
        make_ledger: Callable[[], Ledger],
        doors: Doors,
        meter: Meter,
        config: Callable[[], Config],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._make_ledger = make_ledger
        self._ledger: Ledger | None = None
        self._doors = doors
        self._changing = asyncio.Lock()
        self._calls = Calls(self._opened)
        self._changes: Works = {}
        self._questions: Works = {
            pb.QueryUsageRequest: self._calls.usage,
            pb.ListCallsRequest: self._calls.list,
            pb.GetCallRequest: self._calls.get,
        }
        if directory is not None:
            people = People(directory, clock)
            keys = Keys(directory, self._caps, clock)
            budgets = self._budgets = Budgets(directory, meter, config, self._caps, clock)
            self._changes = _changes(people, keys, budgets)
            self._questions |= _questions(people, keys, budgets)

    async def perform(self, request: Message) -> Message:
        """Does what a request asks for; a change holds here at once, and wherever else the database is shared within 2 seconds."""
        kind = type(request)
        with _explained():
            if kind in self._questions:
                return await self._questions[kind](request)
            if kind not in self._changes:
                raise _no_directory()
            # One after the other: what a change is made of is read first.
            async with self._changing:
                response = await self._changes[kind](request)
        if kind is not pb.CreateKeyRequest:  # a key that nobody knows yet is looked for when it is first shown
            await self._take_over(response)
        return response

    async def export_calls(self, request: pb.ExportCallsRequest) -> AsyncGenerator[pb.ExportCallsResponse, None]:
        """Yields records, some at a time; waits for whoever takes them."""
        with _explained():
            async with aclosing(self._calls.export(request)) as responses:
                async for response in responses:
                    yield response

    async def _take_over(self, response: Message) -> None:
        """Has a change hold here at once, and tells how a budget stands then."""
        with suppress(StoreError, LlmError):  # it is done, and whoever looks for changes tells what is gone
            await self._doors.refresh()
            if isinstance(response, pb.CreateBudgetResponse | pb.UpdateBudgetResponse):
                await self._budgets.tell([response.budget])

    def _caps(self) -> Iterator[Cap]:
        """Yields the budgets that count at present."""
        return self._doors.authority.book.caps()

    def _opened(self) -> Ledger:
        if self._ledger is None:
            self._ledger = self._make_ledger()
        return self._ledger


def _changes(people: People, keys: Keys, budgets: Budgets) -> Works:
    return {
        pb.CreateOrganizationRequest: people.create,
        pb.UpdateOrganizationRequest: people.update,
        pb.DeleteOrganizationRequest: people.delete,
        pb.CreateTeamRequest: people.create,
        pb.UpdateTeamRequest: people.update,
        pb.DeleteTeamRequest: people.delete,
        pb.CreateUserRequest: people.create,
        pb.UpdateUserRequest: people.update,
        pb.DeleteUserRequest: people.delete,
        pb.CreateKeyRequest: keys.create,
        pb.UpdateKeyRequest: keys.update,
        pb.RotateKeyRequest: keys.rotate,
        pb.RevokeKeyRequest: keys.revoke,
        pb.CreateBudgetRequest: budgets.create,
        pb.UpdateBudgetRequest: budgets.update,
        pb.DeleteBudgetRequest: budgets.delete,
    }


def _questions(people: People, keys: Keys, budgets: Budgets) -> Works:
    return {
        pb.ListOrganizationsRequest: people.list,
        pb.ListTeamsRequest: people.list,
        pb.ListUsersRequest: people.list,
        pb.ListKeysRequest: keys.list,
        pb.ListBudgetsRequest: budgets.list,
    }


def _no_directory() -> LlmError:
    message = "This server lets everybody call, and so has no keys, users and budgets; set access.enabled: true."
    return LlmError(INVALID_REQUEST, message, not_implemented="access")


@contextmanager
def _explained() -> Iterator[None]:
    """Raises `LlmError` for what the stores raise."""
    try:
        yield
    except NotFoundError as error:
        raise LlmError(NOT_FOUND, _sentence(error)) from None
    except ConflictError as error:
        raise LlmError(CONFLICT, _sentence(error)) from None
    except StoreError as error:
        raise storage_unavailable(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
