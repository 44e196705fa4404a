"""Records of calls as rows of the ledger's tables, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.core.tariff import CURRENCY
from loom_grpc.v1.access_pb2 import Caller
from loom_grpc.v1.audit_pb2 import OPERATION_RAW, CallRecord
from loom_grpc.v1.usage_pb2 import Cost, Usage

MOST: Final = 2**54
"""The most that one call counts for, and that counts as spent on one day: a provider that says more is wrong, and sums have to fit into
64 bits. The record keeps what was said."""
_SCOPES: Final = ("key", "user", "team", "organization")
_LONGEST_WORD: Final = 256
"""Characters, of which an index of PostgreSQL takes 2,700 bytes for all its columns."""
_LAST_US: Final = 253_402_300_799_999_999
"""The end of the year 9999."""
_DAY_US: Final = 86_400_000_000
_DAMAGED: Final = "The record is damaged; this is what the other columns of its row say."
_COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_tokens")


def row_of(record: CallRecord) -> tuple[object, ...]:
    """Returns the row of a call, in the order of the columns."""
    usage = record.usage
    others = (record.provider, record.model, record.session_id, record.request_id, record.error_reason)
    return (
        record.id,
        us_of(record.start_time),
        record.operation,
        *_words(*_caller(record), *others),
        record.cancelled,
        *(_within(getattr(usage, name)) for name in _COUNTS),
        _within(_cost(record)),
        _within(record.reported_cost.nanos) if record.HasField("reported_cost") else None,
        us_of(record.duration),
        _without_content(record).SerializeToString(),
    )


def content_of(record: CallRecord) -> tuple[object, ...]:
    """Returns the row of what was said in a call."""
    content = (record.prompt_json.replace("\0", ""), record.answer_json.replace("\0", ""))
    return record.id, us_of(record.start_time), *content


def labels_of(records: Iterable[CallRecord]) -> list[tuple[str, ...]]:
    """Returns the rows of what calls are attributed to."""
    labels = {}  # by what is left of a name that was cut, too
    for record in records:
        for label in record.labels.items():
            name, value = _words(*label)
            labels[record.id, name] = value
    return [(*key, value) for key, value in labels.items()]


def spends_of(records: Iterable[CallRecord]) -> list[tuple[str, str, int, int]]:
    """Returns the rows of what the records add to what was spent."""
    by_caller: Counter[tuple[tuple[str, ...], int]] = Counter()
    for record in records:
        by_caller[_caller(record), us_of(record.start_time) // _DAY_US] += _spent(record)
    spent: Counter[tuple[str, str, int]] = Counter()
    for (caller, day), nanos in by_caller.items():
        for kind, id in zip(_SCOPES, _words(*caller), strict=True):
            spent[kind, id, day] += nanos
    return [(kind, id, day, min(nanos, MOST)) for (kind, id, day), nanos in sorted(spent.items()) if id and nanos]


def _caller(record: CallRecord) -> tuple[str, ...]:
    """Returns whose money is spent, in the order of `_SCOPES`."""
    caller = record.caller
    return caller.key_id, caller.user, caller.team, caller.organization


def _cost(record: CallRecord) -> int | None:
    """Returns what a call cost, which is nothing when it used nothing, and None when that is not known."""
    if record.HasField("cost"):
        return record.cost.nanos
    if record.operation == OPERATION_RAW and record.attempts:
        return None  # nobody has read what it used
    used_nothing = not record.charges and not record.usage.input_tokens and not record.usage.output_tokens
    return 0 if used_nothing else None


def _spent(record: CallRecord) -> int:
    """Returns what is known of a call's cost: a budget is not the larger because one of several attempts has no price."""
    if record.HasField("cost"):
        return record.cost.nanos
    return sum(charge.cost.nanos for charge in record.charges)


def _within(number: int | None) -> int | None:
    return None if number is None else max(0, min(number, MOST))


def _without_content(record: CallRecord) -> CallRecord:
    if not record.prompt_json and not record.answer_json:
        return record
    copy = CallRecord()
    copy.CopyFrom(record)
    copy.ClearField("prompt_json")
    copy.ClearField("answer_json")
    return copy


def us_of(time: Timestamp | Duration) -> int:
    """Returns microseconds, within what the databases know of time."""
    return min(max(time.seconds * 1_000_000 + time.nanos // 1000, 0), _LAST_US)


def _words(*some: str) -> tuple[str, ...]:
    """Returns texts as they can be compared: PostgreSQL keeps no NUL, and one too long for an index would keep all records out."""
    everything = "".join(some)
    if len(everything) <= _LONGEST_WORD and "\0" not in everything:
        return some  # as nearly always
    return tuple(text.replace("\0", "")[:_LONGEST_WORD] for text in some)


def word(text: str) -> str:
    """Returns a text as it can be compared."""
    return _words(text)[0]


def opened(row: Any) -> CallRecord:
    """Returns the call of a row of both tables, with what was said in it."""
    record = parsed(row)
    record.prompt_json = row.prompt_json or ""
    record.answer_json = row.answer_json or ""
    return record


def parsed(row: Any) -> CallRecord:
    """Returns the call of a row; what is left of it where the record is damaged, for that must not hide all others."""
    try:
        record = CallRecord.FromString(row.record)
    except DecodeError:
        return _left(row)
    return record if record.id == row.id else _left(row)


def _left(row: Any) -> CallRecord:
    record = CallRecord(
        id=row.id,
        request_id=row.request_id,
        operation=row.operation,
        caller=Caller(key_id=row.key_id, user=row.person, team=row.team, organization=row.organization),
        session_id=row.session_id,
        provider=row.provider,
        model=row.model,
        usage=Usage(**{name: getattr(row, name) for name in _COUNTS}),
        cost=_dollars(row.cost_nanos),
        reported_cost=_dollars(row.reported_cost_nanos),
        error_reason=row.error_reason,
        error_message=_DAMAGED,
        cancelled=row.cancelled,
    )
    record.start_time.FromMicroseconds(row.started_us)
    record.duration.FromMicroseconds(row.duration_us)
    return record


def _dollars(nanos: int | None) -> Cost | None:
    return None if nanos is None else Cost(nanos=nanos, currency_code=CURRENCY)
