"""What an operator may do with budgets, and how they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.app.check import check_id, wrong
from loom_grpc.app.keys import new_id
from loom_grpc.app.page import page_of
from loom_grpc.config import BudgetConfig, Config
from loom_grpc.core.directory import PERIOD_OF, PERIODS, SCOPE_OF, SCOPES, Directory
from loom_grpc.core.errors import storage_unavailable
from loom_grpc.core.moment import timestamp
from loom_grpc.core.period import Period, budget_slot, period_of
from loom_grpc.core.quota import SHARED_MOST, Cap, Meter, MeterError, Scope
from loom_grpc.v1.access_pb2 import Budget, BudgetPeriod, ScopeKind
from loom_grpc.v1.admin_service_pb2 import (
    CreateBudgetRequest,
    CreateBudgetResponse,
    DeleteBudgetRequest,
    DeleteBudgetResponse,
    ListBudgetsRequest,
    ListBudgetsResponse,
    UpdateBudgetRequest,
    UpdateBudgetResponse,
)

_MOST: Final = 2**63 - 1
"""What a field of the contract holds; what a provider that makes its numbers up has cost may be more."""


class Budgets:
    """Makes, changes and removes budgets in a directory, and tells how they and those of the configuration stand.

    `config` gives the configuration as it is at present, `caps` all budgets that count, `clock` seconds since 1970.
    """

    def __init__(
        self,
        directory: Directory,
        meter: Meter,
        config: Callable[[], Config],
        caps: Callable[[], Iterable[Cap]],
        clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._meter = meter
        self._config = config
        self._caps = caps
        self._clock = clock

    async def create(self, request: CreateBudgetRequest) -> CreateBudgetResponse:
        """Makes a budget."""
        wanted = request.budget
        if wanted.scope not in SCOPES:
            raise wrong("budget.scope", f"must be one of {_names(ScopeKind.Name(scope) for scope in SCOPES)}")
        check_id(wanted.scope_id, "budget.scope_id")
        if wanted.period not in PERIODS:
            raise wrong("budget.period", f"must be one of {_names(BudgetPeriod.Name(period) for period in PERIODS)}")
        self._check_cap(wanted.cap_nanos, "budget.cap_nanos")
        budget = Budget(
            id=new_id("budget"),
            scope=wanted.scope,
            scope_id=wanted.scope_id,
            period=wanted.period,
            cap_nanos=wanted.cap_nanos,
            create_time=timestamp(self._clock()),
        )
        await self._directory.create(budget)
        return CreateBudgetResponse(budget=budget)

    async def list(self, request: ListBudgetsRequest) -> ListBudgetsResponse:
        """Lists budgets by their ids, those of the configuration too."""
        if request.scope and request.scope not in SCOPES:
            raise wrong("scope", f"must be one of {_names(ScopeKind.Name(scope) for scope in SCOPES)}")
        budgets = [
            budget
            for budget in (*await self._directory.list(Budget), *map(_configured, self._config().spending.budgets))
            if request.scope in (0, budget.scope) and request.scope_id in ("", budget.scope_id)
        ]
        page, more = page_of(request, sorted(budgets, key=_id), _id)
        await self.tell(page)
        return ListBudgetsResponse(budgets=page, next_page_token=more)

    async def update(self, request: UpdateBudgetRequest) -> UpdateBudgetResponse:
        """Changes how much may be spent."""
        self._check_id(request.id)
        self._check_cap(request.cap_nanos, "cap_nanos")
        budget = await self._directory.get(Budget, request.id)
        budget.cap_nanos = request.cap_nanos
        await self._directory.update(budget)
        return UpdateBudgetResponse(budget=budget)

    async def delete(self, request: DeleteBudgetRequest) -> DeleteBudgetResponse:
        """Removes a budget."""
        self._check_id(request.id)
        await self._directory.delete(Budget, request.id)
        return DeleteBudgetResponse()

    async def tell(self, budgets: Sequence[Budget]) -> None:
        """Writes into budgets how they stand; raises `LlmError`."""
        now = self._clock()
        counted = {(cap.scope, cap.period): cap for cap in self._caps()}
        caps = [counted.get((cap.scope, cap.period), cap) for cap in map(_cap, budgets)]
        periods = [period_of(cap.period, now) for cap in caps]
        slots = [budget_slot(cap, period.name) for cap, period in zip(caps, periods, strict=True)]
        try:
            sums = await self._meter.spent(slots)
        except MeterError as error:
            raise storage_unavailable(f"What was spent cannot be told at present: {error}") from error
        for budget, period, (spent, reserved) in zip(budgets, periods, sums, strict=True):
            budget.spent_nanos, budget.reserved_nanos = min(spent, _MOST), min(reserved, _MOST)
            _tell_period(budget, period)

    def _check_id(self, id: str) -> None:
        if any(budget.name == id for budget in self._config().spending.budgets):
            raise wrong("id", f"{id} stands in the configuration (spending.budgets); change it there")
        check_id(id)

    def _check_cap(self, nanos: int, field: str) -> None:
        if nanos < 0:
            raise wrong(field, "must not be negative")
        if nanos > SHARED_MOST and self._config().limits.redis_url is not None:
            raise wrong(field, f"must not be more than {SHARED_MOST}, to which Redis counts exactly (limits.redis_url)")


def _id(budget: Budget) -> str:
    return budget.id


def _configured(budget: BudgetConfig) -> Budget:
    return Budget(
        id=budget.name,
        scope=SCOPE_OF[budget.scope],
        scope_id=budget.id,
        period=PERIOD_OF[budget.period],
        cap_nanos=budget.nanos,
    )


def _cap(budget: Budget) -> Cap:
    scope = Scope(SCOPES[budget.scope], budget.scope_id)
    return Cap(budget.id, scope, PERIODS[budget.period], budget.cap_nanos)


def _tell_period(budget: Budget, period: Period) -> None:
    if not period.name:
        return
    budget.period_start_time.CopyFrom(Timestamp(seconds=int(period.begins_s)))
    budget.period_end_time.CopyFrom(Timestamp(seconds=int(period.ends_s)))


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)
