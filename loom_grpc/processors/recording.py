"""Leaves one record of every call, durable before its caller knows of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.core.bill import Bill, total
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.charge import price
from loom_grpc.core.errors import LlmError, storage_unavailable
from loom_grpc.core.ledger import Spool, SpoolError
from loom_grpc.core.tariff import CURRENCY, MOST, Tariffs
from loom_grpc.v1.access_pb2 import Caller, Charge
from loom_grpc.v1.audit_pb2 import OPERATION_RAW, OPERATION_UNSPECIFIED, CallRecord
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmResponse
from loom_grpc.v1.usage_pb2 import Cost

_LONGEST: Final = 4096
"""How much of what an error says is recorded."""

Content = Callable[[Call], tuple[str, str]]
"""Returns the prompt and the answer of a call as JSON, redacted."""


class Recorder:
    """Prices calls, makes their records and keeps them in a spool; without one they are only priced. `on_charges` is told what is recorded.

    `new_id` makes an id that sorts by the time that it is given, in seconds since 1970. `timer` is what durations are measured with.
    """

    def __init__(
        self,
        spool: Spool | None,
        tariffs: Tariffs,
        *,
        new_id: Callable[[float], str],
        timer: Callable[[], float],
        content: Content | None = None,
        on_charges: Callable[[Sequence[Charge]], object] = lambda _: None,
    ) -> None:
        self._spool = spool
        self._tariffs = tariffs
        self._new_id = new_id
        self._timer = timer
        self._content = content
        self._on_charges = on_charges

    def keep_in(self, spool: Spool) -> None:
        """Keeps the records of calls in a spool from now on."""
        self._spool = spool

    def around(self, handler: Handler) -> Handler:
        """Returns the handler for calls that are recorded: none begins for whose record there is no room."""

        async def recorded(call: Call, send: Send) -> None:
            self._check()
            response: LlmResponse | None = None

            async def watching(event: LlmEvent) -> None:
                nonlocal response
                if event.HasField("completed"):
                    response = event.completed.response
                    if call.stream:
                        self._answered(call, response)
                await send(event)

            await handler(call, watching)
            if not call.is_recorded:
                self._answered(call, response)

        return recorded

    def conclude(self, call: Call, error: LlmError | None = None, *, cancelled: bool = False) -> None:
        """Leaves the record of a call that was admitted, once; of one that failed and used nothing only where there is room for records.

        Where something is under way that the caller no longer waits for, that is when it has ended.
        """
        if call.is_recorded or not call.began_s or call.operation == OPERATION_UNSPECIFIED:
            return
        call.is_recorded = True
        if self._spool is None:
            return
        record = self._record(call, error, cancelled=cancelled)
        bill = call.bill.whole
        if error is None and not cancelled:
            self._keep(record, bill)  # all that is under way is about to end
        else:
            bill.when_closed(lambda: self._keep(record, bill))

    def _check(self) -> None:
        if self._spool is None:
            return
        try:
            self._spool.check()
        except SpoolError as error:
            message = (
                "This server cannot record calls at present, and answers none that it could not record; call again."
            )
            raise storage_unavailable(message, detail=str(error)) from None

    def _answered(self, call: Call, response: LlmResponse | None) -> None:
        """Concludes a call that went well; the answer then says what it cost."""
        bill = call.bill.whole
        self._price(bill)
        answer = response or call.embedded
        if answer is not None and (cost := _cost(bill)) is not None:
            answer.cost.CopyFrom(cost)
        self.conclude(call)

    def _keep(self, record: CallRecord, bill: Bill) -> None:
        self._price(bill)
        charges = bill.charges
        if charges:
            record.usage.CopyFrom(total(charges))
            record.charges.extend(charges)
            self._on_charges(charges)
        cost, reported = _cost(bill) if _is_known(record) else None, _reported(bill)
        if cost is not None:
            record.cost.CopyFrom(cost)
        if reported:
            record.reported_cost.nanos, record.reported_cost.currency_code = reported, CURRENCY
        if self._spool is not None and not self._is_refused(self._spool, record):
            self._spool.put(record.id, record.SerializeToString())

    def _is_refused(self, spool: Spool, record: CallRecord) -> bool:
        """Tells whether there is no room for records and the call came to nothing: or refusing calls would itself take ever more room."""
        return bool(record.error_reason) and not record.charges and bool(spool.state().trouble)

    def _price(self, bill: Bill) -> None:
        """Writes into each charge what it cost."""
        for charge in bill.charges:
            price(charge, self._tariffs)

    def _record(self, call: Call, error: LlmError | None, *, cancelled: bool) -> CallRecord:
        request, who = call.request, call.principal
        duration_s = self._timer() - call.began
        record = CallRecord(
            id=self._new_id(call.began_s),
            request_id=call.request_id,
            operation=call.operation,
            api=call.api,
            caller=Caller(
                method=who.method,
                key_id=who.key_id,
                user=who.user,
                team=who.team,
                organization=who.organization,
                address=call.address,
            ),
            session_id=request.session_id,
            requested_model=_asked(call),
            route=call.route,
            provider=call.provider,
            model=call.model,
            account=call.account,
            attempts=call.attempt,
            cancelled=cancelled,
            cache=call.cache,
        )
        _write(record.start_time, call.began_s)
        _write(record.duration, duration_s)
        _write(record.overhead, max(0.0, duration_s - call.upstream_s))
        if call.first_content_s is not None:
            _write(record.time_to_first_token, call.first_content_s)
        if request.labels:
            record.labels.update(request.labels)
        if call.answer is not None:
            record.finish_reason = call.answer.finish_reason
        if error is not None:
            record.error_reason, record.error_message = error.name, error.message[:_LONGEST]
        if self._content is not None:
            record.prompt_json, record.answer_json = self._content(call)
        return record


def _write(time: Timestamp | Duration, seconds: float) -> None:
    """Writes a number of seconds, in half the time that the message's own methods take."""
    time.seconds, time.nanos = divmod(round(seconds * 1e9), 1_000_000_000)


def _asked(call: Call) -> str:
    """Returns the model as the caller named it."""
    provider, model = call.request.provider, call.request.model
    return f"{provider}/{model}" if provider and model else model or provider


def _cost(bill: Bill) -> Cost | None:
    """Returns what all charges cost; None where nothing is known of one of them, and nothing for a call that used nothing."""
    nanos = 0
    for charge in bill.charges:
        if not charge.HasField("cost"):
            return None
        nanos += charge.cost.nanos
    return Cost(nanos=min(nanos, MOST), currency_code=CURRENCY)


def _is_known(record: CallRecord) -> bool:
    """Tells whether there are charges for all that a call used; nobody reads what is passed on as it is."""
    return record.operation != OPERATION_RAW or not record.attempts


def _reported(bill: Bill) -> int:
    return min(sum(charge.reported_cost.nanos for charge in bill.charges), MOST)
