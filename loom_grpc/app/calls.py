"""What an operator may ask of the records of calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Final

from loom_grpc.app.check import check_time, wrong
from loom_grpc.app.page import place_of, size_of, token_of
from loom_grpc.core.errors import INVALID_REQUEST, NOT_FOUND, LlmError
from loom_grpc.core.ledger import Ledger
from loom_grpc.v1.admin_service_pb2 import (
    CallFilter,
    ExportCallsRequest,
    ExportCallsResponse,
    GetCallRequest,
    GetCallResponse,
    ListCallsRequest,
    ListCallsResponse,
    QueryUsageRequest,
    QueryUsageResponse,
)
from loom_grpc.v1.audit_pb2 import CallRecord

_MANY: Final = 10
"""The most labels that a filter may have: each is looked up by itself."""
_LONGEST_ID: Final = 128
_DIGITS: Final = 12
_PIECE_BYTES: Final = 2**20
"""So much of an export goes out at once, however long the prompts are."""


class Calls:
    """Asks the ledger that `ledger` gives; raises `LlmError` where there is none."""

    def __init__(self, ledger: Callable[[], Ledger]) -> None:
        self._ledger = ledger

    async def usage(self, request: QueryUsageRequest) -> QueryUsageResponse:
        """Adds calls up."""
        _check(request.filter)
        size, offset = size_of(request), _offset(request)
        try:
            rows = await self._ledger().usage(request.filter, request.group_by, offset, size + 1)
        except ValueError as error:
            raise LlmError(INVALID_REQUEST, f"{error}.", field="group_by") from None
        more = token_of(request, str(offset + size)) if len(rows) > size else ""
        return QueryUsageResponse(rows=rows[:size], next_page_token=more)

    async def list(self, request: ListCallsRequest) -> ListCallsResponse:
        """Lists records, the newest first, without prompts and answers."""
        _check(request.filter)
        size = size_of(request)
        calls = await self._ledger().calls(request.filter, place_of(request), size + 1)
        more = token_of(request, calls[size - 1].id) if len(calls) > size else ""
        return ListCallsResponse(calls=calls[:size], next_page_token=more)

    async def get(self, request: GetCallRequest) -> GetCallResponse:
        """Returns one record whole."""
        id = request.id
        if not id:
            raise wrong("id", "is missing")
        if len(id) > _LONGEST_ID or not id.isprintable():
            raise wrong("id", "is no id of a call")
        call = await self._ledger().call(id)
        if call is None:
            raise LlmError(NOT_FOUND, f"There is no call {id}; it may not be in the database yet.", field="id")
        return GetCallResponse(call=call)

    async def export(self, request: ExportCallsRequest) -> AsyncGenerator[ExportCallsResponse, None]:
        """Yields records, some at a time, and before all of them how many there are."""
        _check(request.filter)
        ledger = self._ledger()
        yield ExportCallsResponse(total=await ledger.count(request.filter))
        batches: Any = ledger.export(request.filter)
        async with aclosing(batches):
            async for batch in batches:
                for piece in _pieces(batch):
                    yield ExportCallsResponse(calls=piece)


def _check(filter: CallFilter) -> None:
    for name in ("start_time", "end_time"):
        if filter.HasField(name):
            check_time(getattr(filter, name), f"filter.{name}")
    if len(filter.labels) > _MANY:
        raise wrong("filter.labels", f"must not be more than {_MANY}")


def _offset(request: QueryUsageRequest) -> int:
    place = place_of(request) or "0"
    if not (place.isascii() and place.isdigit() and len(place) <= _DIGITS):
        raise wrong("page_token", "is not a next_page_token of this list")
    return int(place)


def _pieces(records: Sequence[CallRecord]) -> Iterator[list[CallRecord]]:
    piece: list[CallRecord] = []
    size = 0
    for record in records:
        piece.append(record)
        size += record.ByteSize()
        if size >= _PIECE_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
