"""Administration of organizations, teams, users, keys, budgets and records over HTTP: AdminService in JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from google.protobuf.message import Message
from starlette.routing import Route

from loom_grpc.client.export import csv_header, csv_row, json_line
from loom_grpc.core.subject import subject
from loom_grpc.frontends.body import Fields, HttpError
from loom_grpc.frontends.contract_json import fill, flag_of, write
from loom_grpc.shim.desk import Errand, Visit, headers_of, routes_of
from loom_grpc.shim.edge import Site
from loom_grpc.shim.exchange import Exchange
from loom_grpc.shim.watch import Watch
from loom_grpc.v1 import admin_service_pb2 as pb
from loom_grpc.v1.audit_pb2 import CallRecord

_ROOT: Final = "/api/admin/"
_LABEL: Final = "label:"
_MASK: Final = "update_mask"
_MANY: Final = 100
_LARGE: Final = 64 * 1024
"""So many bytes of an answer are written at once; more take their time, in which other calls go on."""


class _Row(NamedTuple):
    """A request of AdminService, as HTTP has it: the query holds what neither the path nor the body does."""

    http: str
    path: str
    request: type[Any]
    body: str = ""
    """Where the body goes: into a field, or with `*` into the request itself."""
    needs: tuple[str, ...] = ()
    """What the body must have, although the contract could not tell whether it is there."""


_ROWS: Final = (
    _Row("POST", "organizations", pb.CreateOrganizationRequest, "organization"),
    _Row("GET", "organizations", pb.ListOrganizationsRequest),
    _Row("PATCH", "organizations/{id}", pb.UpdateOrganizationRequest, "organization"),
    _Row("DELETE", "organizations/{id}", pb.DeleteOrganizationRequest),
    _Row("POST", "teams", pb.CreateTeamRequest, "team"),
    _Row("GET", "teams", pb.ListTeamsRequest),
    _Row("PATCH", "teams/{id}", pb.UpdateTeamRequest, "team"),
    _Row("DELETE", "teams/{id}", pb.DeleteTeamRequest),
    _Row("POST", "users", pb.CreateUserRequest, "user"),
    _Row("GET", "users", pb.ListUsersRequest),
    _Row("PATCH", "users/{id}", pb.UpdateUserRequest, "user"),
    _Row("DELETE", "users/{id}", pb.DeleteUserRequest),
    _Row("POST", "keys", pb.CreateKeyRequest, "key"),
    _Row("GET", "keys", pb.ListKeysRequest),
    _Row("PATCH", "keys/{id}", pb.UpdateKeyRequest, "key"),
    _Row("POST", "keys/{id}/rotate", pb.RotateKeyRequest, "*"),
    _Row("POST", "keys/{id}/revoke", pb.RevokeKeyRequest, "*"),
    _Row("POST", "budgets", pb.CreateBudgetRequest, "budget", needs=("cap_nanos",)),
    _Row("GET", "budgets", pb.ListBudgetsRequest),
    _Row("PATCH", "budgets/{id:path}", pb.UpdateBudgetRequest, "*", needs=("cap_nanos",)),
    _Row("DELETE", "budgets/{id:path}", pb.DeleteBudgetRequest),
    _Row("GET", "usage", pb.QueryUsageRequest),
    _Row("GET", "calls", pb.ListCallsRequest),
    _Row("GET", "calls/export", pb.ExportCallsRequest),
    _Row("GET", "calls/{id}", pb.GetCallRequest),
)
_MAY_BE_EMPTY: Final = (pb.RotateKeyRequest, pb.RevokeKeyRequest)
"""The requests whose body need not be there."""


def routes(site: Site) -> list[Route]:
    """Returns what is served below `/api/admin/` beside the accounts."""
    return routes_of(site, map(_errand, _ROWS))


def _errand(row: _Row) -> Errand:
    async def run(visit: Visit) -> None:
        if row.request is pb.ExportCallsRequest:
            await _export(visit)
            return
        office = visit.gateway.office(visit.shown)
        request = await _request(row, visit)
        visit.act.account = subject(request)
        response = await office.perform(request)
        visit.act.account = subject(response) or visit.act.account
        await visit.reply(await _written(response))

    return Errand(row.http, f"{_ROOT}{row.path}", row.request.DESCRIPTOR.name.removesuffix("Request"), run)


async def _request(row: _Row, visit: Visit) -> Message:
    """Reads a request; raises `HttpError`."""
    request = row.request()
    asked = _Query(visit.query)
    if row.body:
        fields = await _body(row, visit)
        into = request if row.body == "*" else getattr(request, row.body)
        if row.body != "*":
            into.SetInParent()
        fill(into, fields)
        if row.http == "PATCH" and row.body != "*":
            request.update_mask.paths.extend(asked.mask() or _named(fields))
    else:
        into = request
        asked.fill(request)
    asked.finish()
    if id := visit.path.get("id", ""):
        if into.id not in ("", id):
            raise HttpError(422, "id: is another one than in the address.", "id")
        into.id = id
    return request  # type: ignore[no-any-return] # of one of many classes


async def _body(row: _Row, visit: Visit) -> Fields:
    if row.request in _MAY_BE_EMPTY and _is_empty(visit.exchange):
        return Fields({})
    fields = await visit.fields()
    for name in row.needs:
        fields.need(name)
    return fields


def _is_empty(exchange: Exchange) -> bool:
    """Tells whether there is no body (RFC 9112, 6.3)."""
    return exchange.header(b"content-length") in ("", "0") and not exchange.header(b"transfer-encoding")


def _named(fields: Fields) -> list[str]:
    """Returns the fields that a body has: what is null is emptied."""
    return [name for name in fields.names() if name != "id"]


async def _written(response: Message) -> bytes:
    if response.ByteSize() < _LARGE:
        return write(response)
    return await asyncio.to_thread(write, response)


class _Query:
    """The parameters of an address; every method raises `HttpError`."""

    def __init__(self, text: str) -> None:
        try:
            self._left = parse_qsl(text, keep_blank_values=True, max_num_fields=_MANY)
        except ValueError:
            raise HttpError(400, f"The address has more than {_MANY} parameters.") from None
        self._takes: list[str] = []

    def take(self, name: str) -> str:
        """Returns a parameter that may be there once; a missing one is empty."""
        values = self._all(name)
        if len(values) > 1:
            raise HttpError(400, f"{name}: is there more than once.", name)
        return values[0] if values else ""

    def mask(self) -> list[str]:
        """Returns which fields are to be changed, if the address says so."""
        text = self.take(_MASK)
        return text.split(",") if text else []

    def fill(self, request: Any) -> None:
        """Puts parameters into a request, and into its filter."""
        descriptor = request.DESCRIPTOR.fields_by_name
        for name, field in descriptor.items():
            if name == "filter":
                self._fill_filter(request.filter)
            elif name != "id":
                self._put(request, field)

    def finish(self) -> None:
        """Refuses what nobody took."""
        if self._left:
            name = self._left[0][0][:_MANY]
            known = f"; this takes {', '.join(self._takes)}" if self._takes else ""
            raise HttpError(400, f"{name}: is no parameter of this address{known}.", name)

    def _fill_filter(self, filter: Any) -> None:
        for name, field in filter.DESCRIPTOR.fields_by_name.items():
            if name != "labels":
                self._put(filter, field)
        self._takes.append(f"{_LABEL}NAME")
        for name in dict.fromkeys(name for name, _ in self._left if name.startswith(_LABEL)):
            filter.labels[name.removeprefix(_LABEL)] = self.take(name)

    def _put(self, message: Any, field: Any) -> None:
        name = field.name
        if field.is_repeated:
            getattr(message, name).extend(self._all(name))
        elif text := self.take(name):
            is_flag = field.cpp_type == field.CPPTYPE_BOOL
            fill(message, Fields({name: flag_of(text, name) if is_flag else text}))

    def _all(self, name: str) -> list[str]:
        if not name.startswith(_LABEL):
            self._takes.append(name)
        values = [value for key, value in self._left if key == name]
        self._left = [pair for pair in self._left if pair[0] != name]
        return values


class _Format(NamedTuple):
    media_type: bytes
    file: bytes
    line: Callable[[CallRecord], str]
    head: str


_FORMATS: Final = {
    "jsonl": _Format(b"application/x-ndjson", b"calls.jsonl", json_line, ""),
    "csv": _Format(b"text/csv; charset=utf-8; header=present", b"calls.csv", csv_row, csv_header()),
}


async def _export(visit: Visit) -> None:
    """Sends records as fast as the caller takes them."""
    asked, request = _Query(visit.query), pb.ExportCallsRequest()
    format = _FORMATS.get(word := asked.take("format") or "jsonl")
    if format is None:
        raise HttpError(400, f"format: must be jsonl or csv, and is {word[:_MANY]!r}.", "format")
    asked.fill(request)
    asked.finish()
    async with Watch(visit.exchange), aclosing(visit.gateway.office(visit.shown).export_calls(request)) as responses:
        async for response in responses:
            if not visit.exchange.started:
                await _open(visit, format, response.total)
            if response.calls:
                await visit.exchange.write(await asyncio.to_thread(_lines, format, response))
    await visit.exchange.close()


async def _open(visit: Visit, format: _Format, total: int) -> None:
    headers = [
        (b"content-type", format.media_type),
        (b"content-disposition", b'attachment; filename="%s"' % format.file),
        (b"loom-total", b"%d" % total),
        (b"x-accel-buffering", b"no"),
    ]
    await visit.exchange.open(200, [*headers, *headers_of(visit.exchange)])
    await visit.exchange.write(format.head.encode())


def _lines(format: _Format, response: pb.ExportCallsResponse) -> bytes:
    return "".join(map(format.line, response.calls)).encode()
