"""Every name that telemetry uses, in tables: metrics, attributes, and what providers are called.

The `gen_ai` names are those of OpenTelemetry's semantic conventions 1.41.1, the last release that has them
(github.com/open-telemetry/semantic-conventions/tree/v1.41.1/docs/gen-ai, seen 2026-11-21). Their new home,
github.com/open-telemetry/semantic-conventions-genai, has released nothing yet and is renaming the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.1"
SCOPE: Final = "loom_grpc"
CHAT: Final = "chat"
EMBEDDINGS: Final = "embeddings"
"""The names of what is asked for, `gen_ai.operation.name`."""

# What the labels say where there is no better word.
OK: Final = "OK"
CANCELLED: Final = "cancelled"
NONE: Final = "none"
UNKNOWN: Final = "unknown"
OTHER: Final = "other"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
STREAM: Final = "gen_ai.request.stream"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
TEMPERATURE: Final = "gen_ai.request.temperature"
TOP_P: Final = "gen_ai.request.top_p"
TOP_K: Final = "gen_ai.request.top_k"
SEED: Final = "gen_ai.request.seed"
OUTPUT_TYPE: Final = "gen_ai.output.type"
DIMENSIONS: Final = "gen_ai.embeddings.dimension.count"
CONVERSATION: Final = "gen_ai.conversation.id"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
DIRECTION: Final = "gen_ai.token.type"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
REQUEST_ID: Final = "loom.request.id"
ATTEMPT: Final = "loom.attempt"
LOOM_PROVIDER: Final = "loom.provider"
EDGE: Final = "loom.edge"
REASON: Final = "loom.reason"
ACCOUNT: Final = "loom.account"
CONDITION: Final = "loom.condition"
CACHE: Final = "loom.cache"
OUTCOME: Final = "loom.outcome"
LIMITED: Final = "loom.scope"
PART: Final = "loom.part"

SPAN_ATTRIBUTES: Final[dict[str, str]] = {
    OPERATION: "`chat`, or `embeddings` when texts are turned into vectors",
    PROVIDER: "the provider, by the conventions' name where they have one (table below)",
    REQUEST_MODEL: "the model that was asked for",
    STREAM: "`true` for a stream, else absent",
    MAX_TOKENS: "as the request has it",
    TEMPERATURE: "as the request has it",
    TOP_P: "as the request has it",
    TOP_K: "as the request has it",
    SEED: "as the request has it",
    OUTPUT_TYPE: "`json` or `text`, when the request says which",
    DIMENSIONS: "the length of the vectors, when the request says which",
    CONVERSATION: "the request's `session_id`",
    RESPONSE_ID: "the provider's id of the answer",
    RESPONSE_MODEL: "the model that answered, as the provider names it",
    FINISH_REASONS: "why the model stopped, in the provider's own word",
    FIRST_CHUNK: "seconds from the request to the first content, for streams",
    INPUT_TOKENS: "all prompt tokens, the cached ones included",
    OUTPUT_TOKENS: "all generated tokens, the reasoning ones included",
    CACHE_READ_TOKENS: "the part of the prompt that came from the provider's cache, when there is one",
    CACHE_WRITE_TOKENS: "the part of the prompt that went to the provider's cache, when there is one",
    REASONING_TOKENS: "the part of the output that was reasoning, when there is one",
    INPUT_MESSAGES: "the prompt as JSON, only with `telemetry.capture_content`; files by their size alone",
    OUTPUT_MESSAGES: "the answer as JSON, only with `telemetry.capture_content`",
    ERROR_TYPE: "on failure: the error's reason, `cancelled`, or the name of an unexpected exception",
    SERVER_ADDRESS: "the provider's host",
    SERVER_PORT: "the provider's port",
    REQUEST_ID: "the request id, as in the log and in `loom-request-id`",
    ATTEMPT: "which attempt at the provider this is, from 1",
    LOOM_PROVIDER: "the provider's name in the configuration",
    ACCOUNT: "the id of the account that was asked, for accounts of a pool",
}
"""What a span says, by attribute."""

WELL_KNOWN: Final[dict[str, str]] = {
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""Our providers that the conventions call something else; all others keep their name."""


@dataclass(frozen=True, eq=False, slots=True)
class Metric:
    """An instrument. Compared and hashed by identity, which is what makes looking one up cheap."""

    name: str
    kind: Literal["histogram", "counter", "gauge"]
    unit: str
    """By UCUM, as OpenTelemetry wants it; braces hold an annotation and no unit."""
    description: str
    attributes: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    """Upper ends of a histogram's buckets, each included in its bucket."""
    is_summed: bool = True
    """Whether the values of several processes add up; else the greatest of them counts."""


_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4.0**power for power in range(14))
_OVERHEAD: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_COMMON: Final = (OPERATION, PROVIDER, REQUEST_MODEL)

DURATION: Final = Metric(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "Time of one attempt at a provider, to the end of its answer.",
    (*_COMMON, ERROR_TYPE),
    _SECONDS,
)
TOKENS: Final = Metric(
    "gen_ai.client.token.usage",
    "histogram",
    "{token}",
    "Tokens of one attempt, `input` and `output`.",
    (*_COMMON, DIRECTION),
    _TOKENS,
)
TIME_TO_FIRST_CHUNK: Final = Metric(
    "gen_ai.client.operation.time_to_first_chunk",
    "histogram",
    "s",
    "Time from the request to the first content of a stream.",
    _COMMON,
    _SECONDS,
)
TIME_PER_CHUNK: Final = Metric(
    "gen_ai.client.operation.time_per_output_chunk",
    "histogram",
    "s",
    "Time between two pieces of content of a stream.",
    _COMMON,
    _SECONDS,
)
CALLS: Final = Metric(
    "loom.calls",
    "counter",
    "{call}",
    "Calls that have ended, by the edge that took them and the reason they ended for; `OK` is success.",
    (EDGE, LOOM_PROVIDER, REASON),
)
RETRIES: Final = Metric(
    "loom.retries",
    "counter",
    "{retry}",
    "Attempts that failed and are followed by another, by the reason.",
    (LOOM_PROVIDER, REASON),
)
FAILOVERS: Final = Metric(
    "loom.failovers",
    "counter",
    "{failover}",
    "Attempts that failed and are followed by one with another account, by the reason.",
    (LOOM_PROVIDER, REASON),
)
REROUTES: Final = Metric(
    "loom.reroutes",
    "counter",
    "{reroute}",
    "Targets of routes that failed and are followed by another one, by the reason.",
    (LOOM_PROVIDER, REASON),
)
HEDGES: Final = Metric(
    "loom.hedges",
    "counter",
    "{hedge}",
    "Targets of routes that were silent, so that the next one was asked beside them.",
    (LOOM_PROVIDER,),
)
CACHED: Final = Metric(
    "loom.cache.calls",
    "counter",
    "{call}",
    "Calls in which the response cache had a part, by what it did: `hit`, `miss` or `shared`.",
    (LOOM_PROVIDER, CACHE),
)
ACCOUNT_CHANGES: Final = Metric(
    "loom.account.changes",
    "counter",
    "{change}",
    "Changes of accounts as each worker hears of them, by the condition after: `available`, `cooling_down`, `refused` or `off`.",
    (LOOM_PROVIDER, CONDITION),
)
AUDITED: Final = Metric(
    "loom.auditor.records",
    "counter",
    "{record}",
    "Messages that the auditor has taken, by what became of them: `new` and `known` to the ledger, or `rejected`.",
    (OUTCOME,),
)
SENT: Final = Metric(
    "loom.records.sent",
    "counter",
    "{record}",
    "Records of calls that have gone on from the spool, to the database or to the broker.",
    (),
)
SET_ASIDE: Final = Metric(
    "loom.records.set_aside",
    "counter",
    "{record}",
    "Records of calls that neither the database nor the broker takes; they stay in the spool.",
    (),
)
SPOOLED: Final = Metric(
    "loom.spool.records",
    "gauge",
    "{record}",
    "Records of calls that wait in the spools of all workers.",
    (),
)
SPOOL_SIZE: Final = Metric(
    "loom.spool.size",
    "gauge",
    "By",
    "What the records in the spools of all workers take, those that were set aside included.",
    (),
)
SPOOL_AGE: Final = Metric(
    "loom.spool.age",
    "gauge",
    "s",
    "For how long the oldest record has waited; 0 when none waits.",
    (),
    is_summed=False,
)
UNAVAILABLE: Final = Metric(
    "loom.unavailable",
    "gauge",
    "1",
    "1 while a part of the server cannot do its work, else 0; absent for parts that were never in trouble (table below).",
    (PART,),
    is_summed=False,
)
ACCESS_AGE: Final = Metric(
    "loom.access.age",
    "gauge",
    "s",
    "For how long keys, users and budgets could not be looked up, because the database is away; 0 while it is there.",
    (),
    is_summed=False,
)
BLOCKS: Final = Metric(
    "loom.access.blocks",
    "counter",
    "{block}",
    "Blocks of addresses that have shown wrong credentials too often.",
    (),
)
LIMIT_REFUSALS: Final = Metric(
    "loom.limits.refusals",
    "counter",
    "{call}",
    "Calls that a limit has refused, by whose limit it is; `blocked` is an address that has shown wrong credentials too often.",
    (LIMITED,),
)
BUDGET_REFUSALS: Final = Metric(
    "loom.budgets.refusals",
    "counter",
    "{call}",
    "Calls that a budget has refused, by whose budget it is.",
    (LIMITED,),
)
COST: Final = Metric(
    "loom.cost.nanos",
    "counter",
    "{nanodollar}",
    "What recorded calls cost by our prices, in billionths of a dollar.",
    (LOOM_PROVIDER, REQUEST_MODEL),
)
UNPRICED: Final = Metric(
    "loom.cost.unpriced",
    "counter",
    "{charge}",
    "Attempts of recorded calls that used something whose price is not known.",
    (LOOM_PROVIDER, REQUEST_MODEL),
)
ACTIVE: Final = Metric(
    "loom.attempts.active",
    "gauge",
    "{attempt}",
    "Attempts at a provider that are under way.",
    (LOOM_PROVIDER,),
)
OVERHEAD: Final = Metric(
    "loom.overhead",
    "histogram",
    "s",
    "Time of a call that was not spent waiting for providers; waiting for a slow reader counts.",
    (EDGE,),
    _OVERHEAD,
)

METRICS: Final = (
    DURATION,
    TOKENS,
    TIME_TO_FIRST_CHUNK,
    TIME_PER_CHUNK,
    CALLS,
    RETRIES,
    FAILOVERS,
    REROUTES,
    HEDGES,
    CACHED,
    ACCOUNT_CHANGES,
    AUDITED,
    SENT,
    SET_ASIDE,
    SPOOLED,
    SPOOL_SIZE,
    SPOOL_AGE,
    UNAVAILABLE,
    ACCESS_AGE,
    BLOCKS,
    LIMIT_REFUSALS,
    BUDGET_REFUSALS,
    COST,
    UNPRICED,
    ACTIVE,
    OVERHEAD,
)

SCOPES: Final = frozenset({"key", "user", "team", "organization", "model", "address"})
"""Whose limits and budgets there are."""
BLOCKED: Final = "blocked"

ACCOUNTS_PART: Final = "accounts"
ACCESS_PART: Final = "access"
ISSUER_PART: Final = "issuer"
CACHE_PART: Final = "cache"
LIMITS_PART: Final = "limits"
SPOOL_PART: Final = "spool"
RECORDS_PART: Final = "records"
PRUNING_PART: Final = "pruning"
AUDITOR_PART: Final = "auditor"

PARTS: Final[dict[str, str]] = {
    ACCOUNTS_PART: "accounts cannot be read or written",
    ACCESS_PART: "keys, users and budgets cannot be read; the latest known are in use",
    ISSUER_PART: "the keys of the tokens' issuer cannot be fetched; those that are known are in use",
    CACHE_PART: "kept answers cannot be read or written",
    LIMITS_PART: "limits and budgets cannot be counted for all hosts together",
    SPOOL_PART: "no records can be kept, and calls are refused",
    RECORDS_PART: "records of calls do not go on; they wait in the spool",
    PRUNING_PART: "records that are old enough cannot be deleted",
    AUDITOR_PART: "the auditor does not reach the broker or the database",
}
"""The parts of the server that may be in trouble while it goes on, and what that means."""


def well_known(provider: str) -> str:
    """Returns what the conventions call one of our providers."""
    return WELL_KNOWN.get(provider, provider)


def prometheus_label(attribute: str) -> str:
    """Returns the Prometheus label of an attribute."""
    return attribute.replace(".", "_")


def prometheus_name(metric: Metric) -> str:
    """Returns the Prometheus name of a metric.

    The rules are opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics, seen 2026-11-21.
    """
    unit = "_seconds" if metric.unit == "s" else ""
    return prometheus_label(metric.name) + unit + ("_total" if metric.kind == "counter" else "")
