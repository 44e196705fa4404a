"""The commands of administration: keys, those they belong to, budgets, and what was called."""

from __future__ import annotations

from typing import Final

from loom_grpc.cli.grammar import JSON, SERVER, TIMEOUT, Action, Command, Flag, Word
from loom_grpc.cli.value import count, duration, future, label, names, nanos, or_nothing, past, positive, yes_or_no

_NAME: Final = Flag("--name", "a name for people", "TEXT")
_USER: Final = Flag("--user", "the user", "ID")
_TEAM: Final = Flag("--team", "the team that calls count for", "ID")
_ORGANIZATION: Final = Flag("--organization", "the organization that calls count for", "ID")
_ROLE: Final = Flag("--role", "what it may do: user or admin", "ROLE", choices=("user", "admin"))
_DISABLED: Final = Flag("--disabled", "whether all of its calls are refused: yes or no", "WORD", kind=yes_or_no)
_EXPIRES: Final = Flag(
    "--expires",
    "when it ends, such as 2027-01-31, 2027-01-31T12:00:00Z or 90d from now",
    "TIME",
    kind=or_nothing(future),
)
_LIMITS: Final = (
    Flag("--requests-per-minute", "calls in any 60 seconds", "N", kind=or_nothing(count)),
    Flag("--tokens-per-minute", "prompt and generated tokens in any 60 seconds", "N", kind=or_nothing(count)),
    Flag("--concurrent-streams", "streams under way at once", "N", kind=or_nothing(count)),
)
_ALLOWED: Final = (
    Flag("--providers", "the providers that may be asked, between commas", "NAMES", kind=names),
    Flag("--models", "the models, such as gpt-4o or 'anthropic/*', between commas", "NAMES", kind=names),
    Flag("--routes", "the routes, between commas; calls to other models are then refused", "NAMES", kind=names),
    Flag("--networks", "the networks that calls may come from, such as 10.0.0.0/8", "NAMES", kind=names),
)
_USD: Final = Flag("--usd", "the most dollars in a period, such as 12.50", "AMOUNT", kind=nanos, required=True)
_ONLY: Final = (
    _USER._replace(summary="only those of this user", default=""),
    _TEAM._replace(summary="only those of this team", default=""),
    _ORGANIZATION._replace(summary="only those of this organization", default=""),
)
_FILTERS: Final = (
    Flag(
        "--since", "calls from then on: 2026-11-21 (its beginning in UTC), a time, or 24h or 7d ago", "TIME", kind=past
    ),
    Flag("--until", "calls before then", "TIME", kind=past),
    Flag("--key", "only those with the key of this id", "ID"),
    _USER._replace(summary="only those of this user"),
    _TEAM._replace(summary="only those of this team"),
    _ORGANIZATION._replace(summary="only those of this organization"),
    Flag("-p --provider", "only those to this provider", "NAME"),
    Flag("-m --model", "only those to this model", "NAME"),
    Flag(
        "--error", "only those that failed for this reason, such as PROVIDER_TIMEOUT; ANY for all that failed", "REASON"
    ),
    Flag("--label", "only those with this label; may be given again", "NAME=VALUE", kind=label, many=True),
    Flag("--request-id", "only those of this request", "ID"),
    Flag("--session", "only those of this session", "ID"),
)
_NEW_ID: Final = Word("id", "the new id: letters, digits and . _ - @")
_ID: Final = Word("id", "the id")
_CHANGES: Final = "An empty value ('') takes back what was set."


def _kept(one: str, several: str, *fields: Flag, only: tuple[Flag, ...] = ()) -> Command:
    """Makes the command for a kind of those that keys belong to."""
    return Command(
        f"Administers {several}.",
        (*SERVER, TIMEOUT),
        actions={
            "create": Action(f"Makes {one}.", fields, (_NEW_ID,)),
            "list": Action(f"Lists {several}.", (*only, JSON)),
            "update": Action(f"Changes what is given. {_CHANGES}", fields, (_ID,)),
            "delete": Action(f"Removes {one} that nothing belongs to any more.", (), (_ID,)),
        },
        module="directory",
    )


ADMINISTRATION: Final[dict[str, Command]] = {
    "keys": Command(
        "Administers the keys that callers show.",
        (*SERVER, TIMEOUT),
        actions={
            "create": Action(
                "Makes a key and prints its text, this once.",
                (
                    _NAME,
                    _USER._replace(summary="the user whose key it is; without one it is a key of the organization"),
                    _TEAM,
                    _ORGANIZATION,
                    _ROLE,
                    _EXPIRES,
                    *_ALLOWED,
                    *_LIMITS,
                    JSON,
                ),
            ),
            "list": Action(
                "Lists keys, the newest first.",
                (*_ONLY, Flag("--all", "also those that are revoked or have expired"), JSON),
            ),
            "update": Action(f"Changes what is given. {_CHANGES}", (_NAME, _EXPIRES, *_ALLOWED, *_LIMITS), (_ID,)),
            "rotate": Action(
                "Makes a key that takes another one's place, and prints its text, this once.",
                (
                    Flag(
                        "--overlap",
                        "how long the old key is still taken, such as 1h; 24h by default",
                        "SPAN",
                        kind=duration,
                    ),
                    JSON,
                ),
                (_ID,),
            ),
            "revoke": Action("Ends a key; within 2 seconds no server takes it any more.", (), (_ID,)),
        },
    ),
    "users": _kept("a user", "users", _NAME, _ORGANIZATION, _TEAM, _ROLE, _DISABLED, *_LIMITS, only=_ONLY[2:]),
    "teams": _kept("a team", "teams", _NAME, _ORGANIZATION, _DISABLED, *_LIMITS, only=_ONLY[2:]),
    "organizations": _kept("an organization", "organizations", _NAME, _DISABLED, *_LIMITS),
    "budgets": Command(
        "Administers what keys, users, teams and organizations may spend.",
        (*SERVER, TIMEOUT),
        actions={
            "create": Action(
                "Makes a budget for one key, user, team or organization.",
                (
                    Flag("--key", "the id of the key", "ID", default=""),
                    _USER._replace(default=""),
                    _TEAM._replace(summary="the team", default=""),
                    _ORGANIZATION._replace(summary="the organization", default=""),
                    Flag(
                        "--period",
                        "day, month or total; days and months are those of UTC",
                        "PERIOD",
                        default="month",
                        choices=("day", "month", "total"),
                    ),
                    _USD,
                ),
            ),
            "list": Action(
                "Lists budgets, with what was spent and is reserved.",
                (Flag("--key", "only those of the key with this id", "ID", default=""), *_ONLY, JSON),
            ),
            "update": Action("Changes how much may be spent.", (_USD,), (_ID,)),
            "delete": Action("Removes a budget.", (), (_ID,)),
        },
    ),
    "usage": Command(
        "Adds up what was called and what it cost.",
        (
            Flag(
                "--by",
                "hour, day, month, key, user, team, organization, provider, model or label:NAME, between commas; '' for one sum",
                "NAMES",
                default="day",
                kind=names,
            ),
            *_FILTERS,
            Flag("--format", "table, csv or json", "FORMAT", default="table", choices=("table", "csv", "json")),
            *SERVER,
            TIMEOUT,
        ),
    ),
    "audit": Command(
        "Shows the records of calls.",
        (*SERVER, TIMEOUT),
        actions={
            "list": Action(
                "Lists records, the newest first.",
                (*_FILTERS, Flag("--limit", "the most to list; 50 by default", "N", default="50", kind=positive), JSON),
            ),
            "show": Action("Prints one record as JSON, with prompt and answer where they are kept.", (), (_ID,)),
            "export": Action(
                "Writes records, the oldest first.",
                (
                    *_FILTERS,
                    Flag("--format", "jsonl or csv", "FORMAT", default="jsonl", choices=("jsonl", "csv")),
                    Flag(
                        "-o --output",
                        "the file, which is there once it is complete; standard output without it",
                        "FILE",
                    ),
                ),
            ),
        },
    ),
}
