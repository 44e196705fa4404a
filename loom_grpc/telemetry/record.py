"""The one object that everything else tells what happens, and which makes metrics, spans and log lines of it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from structlog.typing import FilteringBoundLogger

from loom_grpc import __version__
from loom_grpc.config import Config
from loom_grpc.core.account import AccountRef
from loom_grpc.core.breaker import Breaker
from loom_grpc.core.breaker import State as BreakerState
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import BUDGET_EXCEEDED, RATE_LIMITED, LlmError
from loom_grpc.core.health import Condition
from loom_grpc.core.leg import Leg
from loom_grpc.core.pool import Account
from loom_grpc.telemetry import content, names, redact
from loom_grpc.telemetry.attempt import Attempt, error_type, server_of
from loom_grpc.telemetry.log import REQUEST_ID, LibraryLines, frames, level_of, make_log
from loom_grpc.telemetry.metrics import Metrics, Models, State, prometheus_text
from loom_grpc.telemetry.sharing import Sharing
from loom_grpc.telemetry.trouble import Troubles
from loom_grpc.v1.access_pb2 import Charge

if TYPE_CHECKING:  # both are loaded only when something is sent by OTLP
    from loom_grpc.telemetry.otlp import Otlp
    from loom_grpc.telemetry.traces import Traces

_CANCELLED: Final = "CANCELLED"
_MOST_PROVIDERS: Final = 100
_REFUSALS: Final = {RATE_LIMITED: names.LIMIT_REFUSALS, BUDGET_EXCEEDED: names.BUDGET_REFUSALS}
_SCOPES: Final = names.SCOPES | {names.BLOCKED}
_MOST_KEYS: Final = 50
"""So many changed keys are written to the log."""


class Telemetry:
    """Metrics, spans and the log of one process.

    `otlp_headers` are the headers of `config.telemetry.otlp_headers` with their secrets fetched. Several workers of one
    server are told apart by `worker` and have a `shared` folder for their metrics, which nobody else can write to. The log
    goes to `stream`, or to standard error.
    """

    def __init__(
        self,
        config: Config,
        *,
        otlp_headers: Mapping[str, str] | None = None,
        worker: int | None = None,
        shared: Path | None = None,
        stream: BinaryIO | None = None,
    ) -> None:
        self._config = config
        self._otlp_headers = otlp_headers or {}
        self._worker = worker
        self._stream = stream
        self._blackener = redact.Blackener([*redact.secrets(config, os.environ), *self._otlp_headers.values()])
        self.log: FilteringBoundLogger
        """Takes lines about the life of the server: `log.info("event", field=value)`."""
        self._make_log(config)
        self._metrics = Metrics()
        self.troubles = Troubles(self._metrics)
        """What is in trouble at present."""
        self._models = Models({name: {*row.models, row.default_model} - {""} for name, row in config.providers.items()})
        self._providers = {"", *config.providers}
        self._sharing = Sharing(shared, worker or 0, self._metrics.state, self.log) if shared else None
        self._otlp: Otlp | None = None
        self._traces: Traces | None = None

    async def start(self) -> None:
        """Takes over the lines of libraries and begins to export."""
        logging.getLogger().addHandler(self._libraries)
        asyncio.get_running_loop().set_exception_handler(self._on_loop_exception)
        if self._sharing is not None:
            self._sharing.start()
        if self._config.telemetry.otlp_endpoint:
            self._start_otlp()

    async def close(self) -> None:
        """Sends what is left, for a few seconds at most, and gives the lines of libraries back."""
        if self._otlp is not None:
            await self._otlp.close()
        if self._sharing is not None:
            await self._sharing.close()
        asyncio.get_running_loop().set_exception_handler(None)
        logging.getLogger().removeHandler(self._libraries)

    def reconfigure(self, config: Config) -> None:
        """Goes on with another configuration, whose section `telemetry` is as before."""
        for name, row in config.providers.items():
            self._models.know(name, {*row.models, row.default_model} - {""})
        self._providers |= config.providers.keys()
        self._blackener.begin_with([*redact.secrets(config, os.environ), *self._otlp_headers.values()])
        if config.log != self._config.log:
            before = self._libraries
            self._make_log(config)
            if before in logging.getLogger().handlers:
                logging.getLogger().removeHandler(before)
                logging.getLogger().addHandler(self._libraries)
        self._config = config

    def hide(self, secret: str) -> None:
        """Keeps a secret that came up only now, such as a rotated key or a token, out of the log from here on."""
        self._blackener.hide(secret)

    def blacken(self, text: bytes) -> bytes:
        """Returns a text without the secrets that are kept out of the log."""
        return self._blackener.blacken(text)

    def attempt(self, handler: Handler, base_url: str = "") -> Handler:
        """Wraps one attempt at the provider at `base_url`: it is measured, and a span where spans are made."""
        server = server_of(base_url)

        async def measured(call: Call, send: Send) -> None:
            outside = REQUEST_ID.set(call.request_id)
            attempt = Attempt(call, send, self._metrics, self._models)
            failure: BaseException | None = None
            try:
                await handler(call, attempt.send_chunk if call.stream else attempt.send)
            except BaseException as error:
                failure = error
                raise
            finally:
                REQUEST_ID.reset(outside)
                duration_s = attempt.end(failure)
                if self._traces is not None:
                    self._traces.record(call, duration_s, error_type(failure), server)
                del failure  # its traceback holds this frame, which holds it

        return measured

    def retrying(self, call: Call, error: LlmError, delay: float) -> None:
        """Tells that an attempt failed and another follows in `delay` seconds."""
        self._metrics.add(names.RETRIES, (call.provider, error.name))
        fields = {"attempt": call.attempt, "delay_s": round(delay, 3)}
        self.log.warning("retrying", **_about(call), **fields, **self._failure(error, call))

    def failing_over(self, call: Call, account: Account, error: LlmError) -> None:
        """Tells that an account failed a call and another one is looked for."""
        self._metrics.add(names.FAILOVERS, (call.provider, error.name))
        fields = {"account": account.ref.id, "attempt": call.attempt}
        self.log.warning("failing_over", **_about(call), **fields, **self._failure(error, call))

    def rerouting(self, call: Call, leg: Leg, error: LlmError, following: Leg) -> None:
        """Tells that a target of a route failed a call and the next one is asked."""
        self._metrics.add(names.REROUTES, (call.provider, error.name))
        fields = {"target": leg.name, "next": following.name, "attempt": call.attempt, "restarts": call.responded}
        self.log.warning("rerouting", **_about(call), **fields, **self._failure(error, call))

    def hedging(self, call: Call, leg: Leg, beside: Leg) -> None:
        """Tells that a target of a route is silent and the next one is asked beside it."""
        self._metrics.add(names.HEDGES, (call.provider,))
        fields = {"target": leg.name, "next": beside.name, "attempt": call.attempt}
        self.log.info("hedging", **_about(call), **fields)

    def skipping(self, call: Call, leg: Leg, obstacle: str) -> None:
        """Tells that a target of a route is left out of a call that it is known not to be able to serve."""
        self.log.debug("skipping", **_about(call), target=leg.name, obstacle=obstacle)

    def breaker_changed(self, target: str, breaker: Breaker, before: BreakerState) -> None:
        """Tells that a target of a route is left alone from now on, or no longer."""
        gravity = logging.INFO if breaker.state is BreakerState.CLOSED else logging.WARNING
        self.log.log(gravity, "breaker", target=target, state=breaker.state.value, before=before.value)

    def account_changed(self, account: Account, before: Condition) -> None:
        """Tells that an account may now be asked, or no longer."""
        health = account.health
        self._metrics.add(names.ACCOUNT_CHANGES, (account.ref.provider, health.condition.value))
        fields: dict[str, Any] = {"provider": account.ref.provider, "account": account.ref.id, "before": before.value}
        if health.condition is Condition.COOLING:
            fields["cooling_s"] = round(health.remaining_s(), 1)
        if health.last_error:
            fields["last_error"] = redact.line(health.last_error)
        gravity = logging.INFO if health.condition is Condition.AVAILABLE else logging.WARNING
        self.log.log(gravity, "account", status=health.condition.value, **fields)

    def refresh_failed(self, ref: AccountRef, error: LlmError) -> None:
        """Tells that an account's access token could not be renewed ahead of time."""
        self.log.warning("refresh_failed", provider=ref.provider, account=ref.id, **self._failure(error, None))

    def tokens_unsaved(self, ref: AccountRef, trouble: str) -> None:
        """Tells that an account's new tokens are nowhere but in this process."""
        self.log.error("tokens_unsaved", provider=ref.provider, account=ref.id, message=redact.line(trouble))

    def store_unavailable(self, trouble: str, part: str = names.ACCOUNTS_PART) -> None:
        """Tells that accounts, or keys and budgets, cannot be read or written; the server goes on with what it knows."""
        self.troubles.tell(part, is_there=True)
        self.log.error("store_unavailable", store=part, message=redact.line(trouble))

    def store_works_again(self, part: str = names.ACCOUNTS_PART) -> None:
        """Tells that they can be read and written as before."""
        self.troubles.tell(part, is_there=False)
        self.log.info("store_works_again", store=part)

    def cache_unavailable(self, trouble: str) -> None:
        """Tells that kept answers cannot be read or written; calls go on without them."""
        self.troubles.tell(names.CACHE_PART, is_there=True)
        self.log.error("cache_unavailable", message=redact.line(trouble))

    def cache_works_again(self) -> None:
        """Tells that answers are kept as before."""
        self.troubles.tell(names.CACHE_PART, is_there=False)
        self.log.info("cache_works_again")

    def limits_unavailable(self, trouble: str) -> None:
        """Tells that limits and budgets cannot be counted for all hosts together."""
        self.troubles.tell(names.LIMITS_PART, is_there=True)
        self.log.error("limits_unavailable", message=redact.line(trouble))

    def limits_work_again(self) -> None:
        """Tells that limits and budgets are counted for all hosts together again."""
        self.troubles.tell(names.LIMITS_PART, is_there=False)
        self.log.info("limits_work_again")

    def response_not_kept(self, trouble: str) -> None:
        """Tells that a response was answered and not kept, so that nobody can come back to it."""
        self.log.error("response_not_kept", message=redact.line(trouble))

    def issuer_unavailable(self, trouble: str) -> None:
        """Tells that the keys of the tokens' issuer cannot be fetched; the server goes on with those that it has."""
        self.log.error("issuer_unavailable", message=redact.line(trouble))

    def watch_access(self, age_s: Callable[[], float], issuer_fails: Callable[[], bool]) -> None:
        """Asks whenever somebody wants to know for how long keys could not be looked up, and whether the tokens' issuer is away."""
        self._metrics.watch(names.ACCESS_AGE, (), lambda: round(age_s(), 1))
        self.troubles.watch(names.ISSUER_PART, issuer_fails)

    def address_blocked(self, address: str, block_s: float) -> None:
        """Tells that an address has shown wrong credentials so often that it is refused for some time."""
        self._metrics.add(names.BLOCKS, ())
        self.log.warning("address_blocked", address=redact.line(address), block_s=round(block_s))

    def charged(self, charges: Iterable[Charge]) -> None:
        """Counts what a call cost whose record is made."""
        for charge in charges:
            provider = self._provider_label(charge.provider)
            labels = (provider, self._models.label(provider, charge.model, accepted=True))
            if charge.HasField("cost"):
                self._metrics.add(names.COST, labels, charge.cost.nanos)
            else:
                self._metrics.add(names.UNPRICED, labels)

    def records_sent(self, number: int) -> None:
        """Counts records of calls that were handed on."""
        self._metrics.add(names.SENT, (), number)

    def records_pruned(self, counts: Mapping[str, int]) -> None:
        """Tells how many records, and prompts and answers of others, were deleted because they are old enough."""
        self.troubles.tell(names.PRUNING_PART, is_there=False)
        if any(counts.values()):
            self.log.info("records_pruned", **counts)

    def pruning_failed(self, trouble: str) -> None:
        """Tells that old records cannot be deleted; it is tried again."""
        self.troubles.tell(names.PRUNING_PART, is_there=True)
        self.log.error("pruning_failed", message=redact.line(trouble))

    def records_wait(self, trouble: str) -> None:
        """Tells that records of calls cannot be handed on; they wait in the spool."""
        self.troubles.tell(names.RECORDS_PART, is_there=True)
        self.log.error("records_wait", message=redact.line(trouble))

    def records_go_on(self) -> None:
        """Tells that records of calls are handed on as before."""
        self.troubles.tell(names.RECORDS_PART, is_there=False)
        self.log.info("records_go_on")

    def record_unreadable(self, id: str, trouble: str) -> None:
        """Tells of a record that nobody takes; it stays in the spool, set aside."""
        self._metrics.add(names.SET_ASIDE, ())
        self.log.error("record_unreadable", id=id, message=redact.line(trouble))

    def spool_unusable(self, trouble: str) -> None:
        """Tells that no records can be kept, so that no calls are answered."""
        self.troubles.tell(names.SPOOL_PART, is_there=True)
        self.log.error("spool_unusable", message=redact.line(trouble))

    def spool_works_again(self) -> None:
        """Tells that records are kept as before."""
        self.troubles.tell(names.SPOOL_PART, is_there=False)
        self.log.info("spool_works_again")

    def spool_damaged(self, trouble: str) -> None:
        """Tells of a file of the spool that cannot be read; it was set aside."""
        self.log.error("spool_damaged", message=redact.line(trouble))

    def account_unusable(self, trouble: str) -> None:
        """Tells of an account in the store that makes no sense."""
        self.log.warning("account_unusable", message=redact.line(trouble))

    def secret_unavailable(self, key: str, trouble: str) -> None:
        """Tells that a secret cannot be read; the server goes on with the one that it has."""
        self.log.error("secret_unavailable", key=key, message=redact.line(trouble))

    def secret_rotated(self, key: str) -> None:
        """Tells that a secret has another text from now on."""
        self.log.info("secret_rotated", key=key)

    def config_reloaded(self, keys: Sequence[str], duration_s: float) -> None:
        """Tells which keys have other values from now on."""
        shown = list(keys[:_MOST_KEYS])
        self.log.info("config_reloaded", keys=shown, changed=len(keys), duration_ms=round(duration_s * 1000, 1))

    def config_unchanged(self) -> None:
        """Tells that the configuration was read again and is as it was."""
        self.log.info("config_unchanged")

    def config_refused(self, problems: Sequence[str]) -> None:
        """Tells what keeps a configuration from being used; the one before stays."""
        self.log.error("config_refused", problems=[redact.line(problem) for problem in problems])

    def config_doubtful(self, warning: str) -> None:
        """Tells of something in a configuration that can be used and is probably not meant so."""
        self.log.warning("config_doubtful", message=redact.line(warning))

    def worker_missing(self, number: int, problems: Sequence[str]) -> None:
        """Tells what keeps a worker from taking the place of one that died; the others serve."""
        self.log.error("worker_missing", number=number, problems=[redact.line(problem) for problem in problems])

    def listing_failed(self, provider: str, error: LlmError) -> None:
        """Tells that a provider would not say which models it has."""
        self.log.warning("listing_failed", provider=provider, **self._failure(error, None))

    def records_audited(self, new: int, known: int) -> None:
        """Counts what the auditor has taken into the ledger."""
        for outcome, number in (("new", new), ("known", known)):
            if number:
                self._metrics.add(names.AUDITED, (outcome,), number)

    def record_rejected(self, why: str) -> None:
        """Tells of a message that went to the dead letters."""
        self._metrics.add(names.AUDITED, ("rejected",))
        self.log.warning("record_rejected", message=redact.line(why))

    def auditor_unavailable(self, trouble: str) -> None:
        """Tells what keeps records from coming out of the broker or from getting into the database."""
        self.troubles.tell(names.AUDITOR_PART, is_there=True)
        self.log.error("auditor_unavailable", message=redact.line(trouble))

    def auditor_works_again(self) -> None:
        """Tells that records are taken as before."""
        self.troubles.tell(names.AUDITOR_PART, is_there=False)
        self.log.info("auditor_works_again")

    def finished(
        self, call: Call, error: LlmError | None, duration_s: float, edge: str, *, cancelled: bool = False
    ) -> None:
        """Records the end of a call, once: with an `error`, `cancelled` by its caller, or well. `edge` is `grpc` or `http`."""
        reason = _CANCELLED if cancelled else error.name if error is not None else names.OK
        self._metrics.add(names.CALLS, (edge, self._provider_label(call.provider), reason))
        if call.cache:
            self._metrics.add(names.CACHED, (self._provider_label(call.provider), call.cache))
        self._metrics.observe(names.OVERHEAD, (edge,), duration_s - call.upstream_s)
        if error is not None and error.reason in _REFUSALS:
            scope = error.metadata.get("scope", names.BLOCKED)
            self._metrics.add(_REFUSALS[error.reason], (scope if scope in _SCOPES else names.OTHER,))
        if self._access:
            self.log.info("call", **_access(call, reason, duration_s, edge))
        if error is not None:
            self.log.log(_gravity(error), "call_failed", **_about(call), **self._failure(error, call))
        if self._config.log.prompts:
            self.log.info("content", **_content(call))

    def crashed(self, call: Call | None, error: BaseException) -> None:
        """Writes down where an exception comes from that nobody expected."""
        fields: dict[str, Any] = _about(call) if call is not None else {}
        if call is not None and call.request.messages:  # else nobody knows what of it callers sent
            fields["message"] = self._redacted(str(error), call)
        self.log.error("crashed", **fields, exception=frames(error, messages=self._config.log.prompts))

    def prometheus(self) -> bytes:
        """Returns the metrics of this process, or of all workers, as Prometheus text."""
        state: State = {}
        if self._config.telemetry.metrics:
            state = self._sharing.total() if self._sharing is not None else self._metrics.state()
        target = {names.prometheus_label(name): value for name, value in self._target().items()}
        return prometheus_text(state, target, process=self._sharing is None)

    def _make_log(self, config: Config) -> None:
        log = make_log(config.log, self._blackener, self._stream)
        self.log = log if self._worker is None else log.bind(worker=self._worker)
        self._access = config.log.access and level_of(config.log) <= logging.INFO
        self._libraries = LibraryLines(self.log, prompts=config.log.prompts)

    def _start_otlp(self) -> None:
        from loom_grpc.telemetry.otlp import Otlp
        from loom_grpc.telemetry.traces import Traces

        config = self._config.telemetry
        self._otlp = Otlp(config.otlp_endpoint, self._otlp_headers, self._target(), self.log)
        self._otlp.start(self._metrics.state if config.metrics else None)
        if config.traces:
            self._traces = Traces(self._otlp.keep, ratio=config.trace_ratio, capture_content=config.capture_content)

    def _target(self) -> dict[str, str]:
        return {"service.name": self._config.telemetry.service_name, "service.version": __version__}

    def _provider_label(self, provider: str) -> str:
        """A server behind this one may have any providers, but not any number of them."""
        if provider not in self._providers:
            if len(self._providers) >= _MOST_PROVIDERS:
                return names.OTHER
            self._providers.add(provider)
        return provider or names.NONE

    def _failure(self, error: LlmError, call: Call | None) -> dict[str, Any]:
        fields: dict[str, Any] = {"reason": error.name, "message": self._redacted(error.message, call, error)}
        if error.detail and error.detail != error.message:
            fields["detail"] = self._redacted(error.detail, call, error)
        if error.retry_after is not None:
            fields["retry_after_s"] = error.retry_after
        if error.metadata:
            fields["metadata"] = {name: self._redacted(value, call, error) for name, value in error.metadata.items()}
        return fields

    def _redacted(self, text: str, call: Call | None, error: LlmError | None = None) -> str:
        if self._config.log.prompts:
            return redact.line(text)
        told = [call.request, call.embed, call.answer] if call is not None else []
        return redact.without_conversation(text, *told, error.partial if error is not None else None)

    def _on_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Takes what asyncio would write together with the exception's words."""
        error = context.get("exception")
        if isinstance(error, BlockingIOError) and "PollerCompletionQueue" in context["message"]:
            return  # grpc.aio reads its wake-up socket once too often where several loops share it; nothing is lost
        fields = {"exception": frames(error, messages=self._config.log.prompts)} if error is not None else {}
        self.log.error("asyncio", message=redact.line(context["message"]), **fields)


def _about(call: Call) -> dict[str, Any]:
    return {"request_id": call.request_id, "provider": call.provider, "model": call.model}


def _gravity(error: LlmError) -> int:
    """What callers do wrong is their affair; what we or a provider do wrong is the operator's."""
    ours = error.row.http >= 500 or error.name.startswith("PROVIDER_")
    return logging.WARNING if ours else logging.INFO


def _access(call: Call, reason: str, duration_s: float, edge: str) -> dict[str, Any]:
    fields = _about(call)
    fields["edge"] = edge
    fields["stream"] = call.stream
    fields["reason"] = reason
    fields["attempts"] = call.attempt
    if call.account:
        fields["account"] = call.account
    if call.cache:
        fields["cache"] = call.cache
    if call.answer is not None:
        fields["finish_reason"] = call.answer.finish_reason
        if call.answer.HasField("usage"):
            fields["input_tokens"] = call.answer.usage.input_tokens
            fields["output_tokens"] = call.answer.usage.output_tokens
    if call.first_content_s is not None:
        fields["first_content_ms"] = round(call.first_content_s * 1000, 1)
    fields["duration_ms"] = round(duration_s * 1000, 1)
    fields["upstream_ms"] = round(call.upstream_s * 1000, 1)
    fields["overhead_ms"] = round((duration_s - call.upstream_s) * 1000, 3)
    return fields


def _content(call: Call) -> dict[str, Any]:
    answer = content.output_messages(call.answer) if call.answer is not None else []
    return {"request_id": call.request_id, "input": content.input_messages(call.request), "output": answer}
