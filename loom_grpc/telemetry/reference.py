"""The page about telemetry, for docs/telemetry.md."""

from __future__ import annotations

from typing import Final

from loom_grpc.telemetry.metrics import MOST_MODELS
from loom_grpc.telemetry.names import METRICS, PARTS, SPAN_ATTRIBUTES, WELL_KNOWN, prometheus_name


def reference_markdown() -> str:
    """Writes the page."""
    metrics = (_metrics(), _METRICS_NOTES, _parts(), _buckets())
    return "\n".join((_INTRODUCTION, *metrics, _SPANS, _attributes(), _providers(), _LOG))


def _metrics() -> str:
    lines = ["| OpenTelemetry | Prometheus | kind | unit | meaning | attributes |", "|---|---|---|---|---|---|"]
    for metric in METRICS:
        attributes = ", ".join(f"`{name}`" for name in metric.attributes)
        cells = (
            f"`{metric.name}`",
            f"`{prometheus_name(metric)}`",
            metric.kind,
            f"`{metric.unit}`",
            metric.description,
            attributes,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _parts() -> str:
    lines = ["| `loom.part` | in trouble when |", "|---|---|"]
    lines += [f"| `{part}` | {meaning} |" for part, meaning in PARTS.items()]
    return "\n".join([*lines, ""])


def _buckets() -> str:
    lines = ["| histogram | buckets, up to and including |", "|---|---|"]
    lines += [
        f"| `{metric.name}` | {', '.join(f'{end:.10g}' for end in metric.bounds)} |"
        for metric in METRICS
        if metric.bounds
    ]
    return "\n".join([*lines, ""])


def _attributes() -> str:
    lines = ["| attribute | value |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in SPAN_ATTRIBUTES.items()]
    return "\n".join([*lines, ""])


def _providers() -> str:
    lines = ["| provider | `gen_ai.provider.name` |", "|---|---|"]
    lines += [f"| `{ours}` | `{theirs}` |" for ours, theirs in WELL_KNOWN.items()]
    return "\n".join([*lines, "| any other | its name in the configuration |", ""])


_INTRODUCTION: Final = """\
# Telemetry

<!-- Generated from loom_grpc/telemetry by `make docs`; do not edit. -->

Metrics and spans carry the names of OpenTelemetry's semantic conventions for generative AI, version 1.41.1, the last
release that has them. (Their new home, open-telemetry/semantic-conventions-genai, has not released anything yet and is
renaming `gen_ai.client.operation.*`; seen 2026-11-21.) What the conventions have no name for begins with `loom.`.

- `/metrics` on the HTTP address is Prometheus text.
- `telemetry.otlp_endpoint` sends metrics, every 30 seconds, and spans, every 5 seconds or 512 spans, by OTLP over gRPC.
  `telemetry.otlp_headers` go with them. An `https` endpoint has to be trusted by an authority that gRPC knows;
  `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH` names a file with others. `OTEL_RESOURCE_ATTRIBUTES` adds attributes of the resource.
- Callers never wait for an export. An endpoint that is down is logged once; up to 4,096 spans wait for it, then the oldest
  are lost.
- No prompt, no answer and no secret is in any of it, unless `telemetry.capture_content` or `log.prompts` says so.

## Metrics
"""

_METRICS_NOTES: Final = f"""\
An attempt is one request to a provider; a call that is retried has several. Labels in Prometheus are the attributes with
`_` for `.`; an attribute that does not apply is absent. `error.type` is the reason of the error, `cancelled`, or the name of
an unexpected exception.

Model names come from callers, so not every one becomes a label: a model gets its own series once its provider has accepted
a call for it, or when it is configured (`models`, `default_model`). Before that it is `unknown`; after the first
{MOST_MODELS} models of a provider, and when its name has more than 128 characters, it is `other`. `gen_ai.response.model`
is left to spans for the same reason.

With several workers the one that is asked for `/metrics` adds up what all of them have written down within the last second;
of ages and of `loom.unavailable` it tells the greatest.
By OTLP each worker sends its own, told apart by `service.instance.id`. Memory, time and open files of the process
(`process_*`) are on `/metrics` of a single process only.

`/health` has `warnings` while a part of the server is in trouble, a record has waited in the spool for more than a minute, or
the spool is more than half full: each with its `component` and a `message`. They are those of the worker that answers, and
change no status: calls go on.
"""

_SPANS: Final = """\
## Spans

Each attempt is a span `chat {model}` or `embeddings {model}` of kind CLIENT, under the caller's span when the call carries a
`traceparent` (gRPC metadata or HTTP header). A caller's trace is kept when the caller keeps it, one that begins here with the
probability `telemetry.trace_ratio`. Status is ERROR after a failure. Attributes that do not apply are absent.
"""

_LOG: Final = """\
## The log

One line each on standard error, as JSON or, on a terminal, for people (`log.format`): `time` in UTC, `level`, `event`, then
what belongs to the event. Every line about a call has its `request_id`, also those of libraries, whose warnings and errors
are here too with their `logger`. With several workers `worker` says which one writes.

Where a provider's words repeat the conversation, `[PROMPT]` stands instead, for runs of 15 characters and more and for whole
texts; where they repeat a configured secret or anything that looks like a key, `[REDACTED]`. Exceptions are written as places
in the code, without their messages, which may repeat anything.

| event | level | what it says |
|---|---|---|
| `call` | info | A call has ended (`log.access`): see below |
| `call_failed` | info for a caller's mistake, else warning | See below |
| `retrying` | warning | An attempt has failed and another follows: as `call_failed`, with `attempt` and `delay_s` |
| `failing_over` | warning | An account has failed a call and the next one is asked: as `call_failed`, with `account` and `attempt` |
| `rerouting` | warning | A target of a route failed and the next one is asked: as `call_failed`, with `target`, `next`, `restarts` |
| `hedging` | info | A target of a route is silent and the next one is asked beside it: `target`, `next`, `attempt` |
| `skipping` | debug | A target of a route cannot serve a call, as far as its model is known: `target`, `obstacle` |
| `breaker` | info when it closes, else warning | A target of a route is left alone from now on, or no longer: `target`, `state`, `before` |
| `account` | info when it is available, else warning | An account's condition changes: `status`, `before`, `cooling_s`, `last_error` |
| `account_unusable` | warning | The store has an account that makes no sense |
| `refresh_failed` | warning | An access token could not be renewed ahead of time |
| `tokens_unsaved` | error | An account's new tokens are only in this process; saving them is tried again |
| `store_unavailable`, `store_works_again` | error, info | A `store` (`accounts`; `access`: keys, budgets) cannot be used, or can again |
| `issuer_unavailable` | error | The keys of the tokens' issuer cannot be fetched; those that the server has stay in use |
| `address_blocked` | warning | An `address` has shown wrong credentials too often and is refused for `block_s` seconds |
| `records_wait`, `records_go_on` | error, info | Records of calls wait in the spool for the database or the broker, or go on again |
| `record_unreadable` | error | The database or the broker takes other records but not this one, by its `id`; it is set aside in the spool |
| `records_pruned` | info | Old `records`, and `contents` (prompts and answers) of others, were deleted |
| `pruning_failed` | error | Old records cannot be deleted; it is tried again |
| `spool_unusable`, `spool_works_again` | error, info | No records can be kept, so that calls are refused, or they can again |
| `spool_damaged` | error | A file of the spool makes no sense; it has another name now, and records may be missing |
| `cache_unavailable`, `cache_works_again` | error, info | Redis does not keep or give answers, or does again; calls go on without it |
| `limits_unavailable`, `limits_work_again` | error, info | Redis does not count limits and budgets (`spending.without_redis`), or does |
| `response_not_kept` | error | A response was answered and could not be kept: nobody can come back to it |
| `secret_unavailable` | error | A secret, named by its `key` in the configuration, cannot be read; what was read before stays in use |
| `secret_rotated` | info | A secret has another text |
| `config_reloaded` | info | The server serves by another configuration: the first 50 `keys` that it changes, their number `changed` |
| `config_unchanged` | info | The configuration was read again and is as it was |
| `config_refused` | error | A configuration cannot be served and the one before stays; `problems` has a line for each reason |
| `config_doubtful` | warning | Something in a configuration that was read again is probably not meant so |
| `worker_missing` | error | Why (`problems`) no worker takes a dead one's place (`number`); it is tried again, and the others serve |
| `listing_failed` | warning | A provider would not say which models it has |
| `auditing` | info | The auditor has begun: `queue`, `metrics_port` |
| `auditor_unavailable`, `auditor_works_again` | error, info | The auditor does not reach the broker or the database, or does again |
| `record_rejected` | warning | The auditor has found a message that is no record, and put it to the dead letters |
| `admin` | info; warning when refused or failed by us | An operator's act, or an attempt at one, has ended, whatever `log.access` says |
| `asyncio` | error | A task has failed that nobody waited for; `exception` says where |
| `crashed` | error | A mistake of this program; `exception` says where |
| `serving`, `draining`, `stopped` | info | The life of the server |
| `otlp_failed`, `otlp_works_again` | warning, info | The OTLP endpoint has begun to refuse, or takes again |
| `otlp_not_flushed` | warning | The OTLP endpoint did not take the last spans in time when the server stopped |
| `background_work_failed` | error | Exporting or writing metrics down has begun to fail for a reason nobody expected |
| `content` | info | The prompt and the answer, only with `log.prompts` |

`call` has `request_id`, `provider`, `model`, `edge` (`grpc` or `http`), `stream`, `reason` (`OK`, `CANCELLED` or an error's),
`attempts`, `account` (of a pool), `cache` (`hit`, `miss` or `shared`), `finish_reason`, `input_tokens`, `output_tokens`,
`first_content_ms` (of a stream's last attempt), `duration_ms`, `upstream_ms` (waiting for providers) and `overhead_ms` (the
rest). `call_failed` has `reason`, `message` (what the caller was told), `detail` (what the provider said), `metadata` and
`retry_after_s`. `admin` has `method` (as AdminService names it, also over HTTP), `account` (`provider/id`), `edge`, `peer` (the
caller's address), `reason`, `message` and `duration_ms`.
"""
