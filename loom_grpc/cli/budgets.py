"""`loom-grpc budgets`: what keys, users, teams and organizations may spend."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import Final

from loom_grpc.cli.act import Act, perform
from loom_grpc.cli.output import UsageError, note, one_line, say
from loom_grpc.cli.table import as_json, table
from loom_grpc.cli.value import moment, number_of, word_of
from loom_grpc.client import AdminClient, Budget, BudgetPeriod, ScopeKind
from loom_grpc.core.money import dollars

_SCOPES: Final = {
    "key": ScopeKind.SCOPE_KIND_KEY,
    "user": ScopeKind.SCOPE_KIND_USER,
    "team": ScopeKind.SCOPE_KIND_TEAM,
    "organization": ScopeKind.SCOPE_KIND_ORGANIZATION,
}
"""What a budget may be for, by the flags."""


def run(arguments: argparse.Namespace) -> int:
    """Does what the arguments say."""
    return perform(_ACTIONS[arguments.action], arguments)


def _create(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    scope, id = _scope(arguments)
    if not scope:
        raise UsageError(f"nothing says whose budget it is; give one of {_FLAGS}")
    budget = Budget(scope=scope, scope_id=id, cap_nanos=arguments.usd)
    budget.period = number_of(BudgetPeriod.DESCRIPTOR, arguments.period)  # type: ignore[assignment]
    say(f"made {_name(runner.run(admin.create_budget(budget)))}")


def _list(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    budgets = runner.run(admin.list_budgets(*_scope(arguments)))
    say(as_json(budgets) if arguments.json else table(budgets, _COLUMNS, always=_ALWAYS, numbers=_NUMBERS))
    if not budgets:
        note("there are no such budgets; `loom-grpc budgets create` makes one")


def _update(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    say(f"changed {_name(runner.run(admin.update_budget(arguments.id, arguments.usd)))}")


def _delete(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    runner.run(admin.delete_budget(arguments.id))
    say(one_line(f"removed budget {arguments.id}"))


_ACTIONS: Final[dict[str, Act]] = {"create": _create, "list": _list, "update": _update, "delete": _delete}
_FLAGS: Final = ", ".join(f"--{flag}" for flag in _SCOPES)


def _scope(arguments: argparse.Namespace) -> tuple[ScopeKind.ValueType, str]:
    """Returns whose budgets are meant; unspecified where no flag says so. Raises `UsageError` for several."""
    given = [(scope, getattr(arguments, flag)) for flag, scope in _SCOPES.items() if getattr(arguments, flag)]
    if len(given) > 1:
        raise UsageError(f"a budget is for one thing; give one of {_FLAGS}")
    return given[0] if given else (ScopeKind.SCOPE_KIND_UNSPECIFIED, "")


def _name(budget: Budget) -> str:
    period = word_of(BudgetPeriod.DESCRIPTOR, budget.period)
    return one_line(f"budget {budget.id}: {_whose(budget)}, {period}, {dollars(budget.cap_nanos)} dollars")


def _whose(budget: Budget) -> str:
    return f"{word_of(ScopeKind.DESCRIPTOR, budget.scope)} {budget.scope_id}"


def _until(budget: Budget) -> str:
    return moment(budget.period_end_time) if budget.HasField("period_end_time") else ""


_COLUMNS: Final[dict[str, Callable[[Budget], str]]] = {
    "ID": lambda budget: budget.id,
    "FOR": _whose,
    "PERIOD": lambda budget: word_of(BudgetPeriod.DESCRIPTOR, budget.period),
    "CAP $": lambda budget: dollars(budget.cap_nanos),
    "SPENT $": lambda budget: dollars(budget.spent_nanos),
    "RESERVED $": lambda budget: dollars(budget.reserved_nanos),
    "LEFT $": lambda budget: dollars(budget.cap_nanos - budget.spent_nanos - budget.reserved_nanos),
    "UNTIL": _until,
}
_NUMBERS: Final = ("CAP $", "SPENT $", "RESERVED $", "LEFT $")
_ALWAYS: Final = tuple(_COLUMNS)
