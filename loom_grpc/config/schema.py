"""The sections and keys of the configuration, each with its default and its meaning."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from loom_grpc.config.access import AccessConfig, LimitsConfig, SpendingConfig
from loom_grpc.config.audit import AuditConfig
from loom_grpc.config.error import ConfigError
from loom_grpc.config.section import Section
from loom_grpc.config.value import (
    AccountId,
    Address,
    Count,
    Endpoint,
    Filled,
    HeaderName,
    HeaderValue,
    Name,
    NameOrNothing,
    Number,
    Origin,
    Pause,
    Price,
    Seconds,
    SecretRef,
    Size,
    Status,
    Text,
    Tokens,
    Url,
)

Headers = dict[HeaderName, HeaderValue]
"""Headers to send, each of which may be a secret reference."""


class TlsConfig(Section):
    """The certificate of a listening address."""

    cert_file: Path = Field(description="PEM file with the server's certificate chain.")
    key_file: Path = Field(description="PEM file with the private key of the certificate.")
    client_ca_file: Path | None = Field(
        default=None,
        description="PEM file with the authorities of callers' certificates; callers must then show one (mutual TLS).",
    )


class GrpcConfig(Section):
    """The gRPC edge."""

    address: Address = Field(default="127.0.0.1:50051", description="Where gRPC listens; port 0 takes a free one.")
    max_message_bytes: Size = Field(default=16 * 2**20, description="The most bytes of one request.")
    keepalive_time_s: Seconds = Field(
        default=30.0, description="Silence on a connection after which the caller is pinged."
    )
    keepalive_timeout_s: Seconds = Field(
        default=10.0, description="Wait for the answer to a ping before the connection is closed."
    )
    tls: TlsConfig | None = Field(default=None, description="Serves with TLS.")
    channelz: bool = Field(default=False, description="Serves channelz, which shows connections and their counters.")
    reflection: bool = Field(
        default=True, description="Serves reflection, which lets tools such as grpcurl read the contract."
    )
    drain_grace_s: Pause = Field(
        default=30.0, description="Time that calls in flight get to finish when the server is told to stop."
    )
    max_connection_age_s: Seconds | None = Field(
        default=None,
        description="Age at which a connection takes no new calls, give or take a tenth, so that its caller connects again; none: any.",
    )
    max_connection_age_grace_s: Seconds | None = Field(
        default=None,
        description="Time that calls in flight on such a connection get until they are cut; none: as long as they take.",
    )


class CorsConfig(Section):
    """Which web pages may call the HTTP edge."""

    allow_origins: list[Origin] = Field(
        default_factory=list, description="Origins whose pages may call; `*` is every origin, none is off."
    )
    allow_headers: list[Text] = Field(
        default_factory=lambda: ["*"], description="Request headers that a page may send; `*` is every header."
    )
    allow_credentials: bool = Field(default=False, description="Lets pages send cookies; not together with `*`.")
    max_age_s: Annotated[int, Number, Field(ge=0, le=86_400)] = Field(
        default=600, description="Time for which a browser may remember the answer to a preflight request."
    )

    @model_validator(mode="after")
    def _no_cookies_from_everywhere(self) -> CorsConfig:
        if self.allow_credentials and "*" in self.allow_origins:
            raise ValueError("allow_credentials needs the origins by name; * would let every page act as its visitor")
        return self


class HttpConfig(Section):
    """The HTTP edge."""

    enabled: bool = Field(default=True, description="Serves HTTP beside gRPC.")
    address: Address = Field(default="127.0.0.1:8080", description="Where HTTP listens; port 0 takes a free one.")
    max_body_bytes: Size = Field(
        default=16 * 2**20, description="The most bytes of one request's body; larger ones are answered with 413."
    )
    keepalive_comment_s: Seconds = Field(
        default=15.0, description="Silence in a stream after which a comment keeps the connection open."
    )
    cors: CorsConfig = Field(default_factory=CorsConfig, description="Which web pages may call.")
    tls: TlsConfig | None = Field(default=None, description="Serves with TLS.")


class RetryConfig(Section):
    """When and how often a provider is asked again."""

    max_attempts: Annotated[int, Number, Field(ge=1, le=100)] = Field(
        default=3, description="Attempts for a call, the first one included."
    )
    base_delay_s: Pause = Field(default=0.5, description="Wait before the second attempt.")
    max_delay_s: Pause = Field(default=30.0, description="The longest wait between two attempts.")
    backoff_factor: Annotated[float, Number, Field(ge=1, le=100)] = Field(
        default=2.0, description="How much longer each wait is than the one before."
    )
    jitter: bool = Field(default=True, description="Varies the waits, so that calls do not come back all at once.")
    statuses: tuple[Status, ...] = Field(
        default=(408, 409, 429, 500, 502, 503, 504, 529),
        description="HTTP statuses of the provider after which it is asked again.",
    )


class TimeoutsConfig(Section):
    """How long to wait for a provider."""

    connect_s: Seconds = Field(default=10.0, description="The longest wait for a connection.")
    first_token_s: Seconds = Field(
        default=120.0, description="The longest wait from the request to the first of the answer."
    )
    idle_s: Seconds = Field(default=60.0, description="The longest silence between two chunks of a stream.")
    total_s: Seconds = Field(default=600.0, description="The longest time for a whole call, retries included.")


class OAuthConfig(Section):
    """How accounts of a provider log in: authorization code with PKCE. Nothing of it is built in; all of it is the operator's."""

    authorize_url: Endpoint = Field(default="", description="The page on which a person allows the access.")
    token_url: Endpoint = Field(
        default="", description="Where a code, and later a refresh token, is exchanged for tokens."
    )
    client_id: Text = Field(default="", description="The id under which the provider knows the operator's application.")
    client_secret: SecretRef | None = Field(default=None, description="The application's secret, if it has one.")
    client_auth: Literal["none", "post", "basic"] = Field(
        default="none", description="How the application's secret is shown: not at all, in the body, or in a header."
    )
    redirect_uri: Text = Field(default="", description="Where the provider sends the person after the login.")
    scopes: list[Text] = Field(default_factory=list, description="What the access is for.")
    token_format: Literal["form", "json"] = Field(
        default="form", description="How requests to `token_url` are written."
    )
    authorize_params: dict[Text, Text] = Field(
        default_factory=dict, description="A parameter added to the address of the login page."
    )
    token_headers: Headers = Field(
        default_factory=dict, repr=False, description="A header sent to `token_url`; may be a secret reference."
    )
    headers: Headers = Field(
        default_factory=dict,
        repr=False,
        description="A header sent with every call that shows an access token; may be a secret reference.",
    )


class AccountConfig(Section):
    """One account of a pool: a key, an OAuth login, or a Google key file."""

    api_key: SecretRef | None = Field(default=None, description="The account's key.")
    oauth: OAuthConfig | None = Field(
        default=None, description="Logs in with OAuth; what is left out is as in the provider's `oauth`."
    )
    credentials_file: Path | None = Field(default=None, description="The account's Google key file (Vertex AI).")


Accounts = dict[AccountId, AccountConfig]
"""Accounts by id, in the order given; a file may also write them as a list of items with an `id`."""


class ProviderConfig(Section):
    """One provider: where it is, what it is shown and how patient we are."""

    enabled: bool = Field(default=True, description="Serves this provider.")
    dialect: NameOrNothing = Field(
        default="",
        description="The provider whose wire format this one speaks, such as `openai`; empty is its own.",
    )
    api_key: SecretRef | None = Field(default=None, description="The provider's key.")
    access_token: SecretRef | None = Field(
        default=None, description="A bearer token for Vertex AI instead of Google's application default credentials."
    )
    credentials_file: Path | None = Field(
        default=None, description="A Google key file instead of application default credentials (Vertex AI)."
    )
    accounts: Accounts = Field(
        default_factory=dict,
        description="The accounts of a pool instead of one key: a list of items with an `id`, or a mapping by id.",
    )
    strategy: Literal["round_robin", "least_used", "first_available", "session"] = Field(
        default="round_robin",
        description="Which account is asked: each in turn; the one with the fewest tokens lately; the first that may be asked; "
        "for calls with a `session_id` always the same, so that the provider's prompt cache hits.",
    )
    cooldown_s: Seconds = Field(
        default=7200.0,
        description="How long an account of a pool is left alone when its quota is used up and the provider names no time.",
    )
    usage_window_s: Seconds = Field(default=3600.0, description="What `least_used` looks back.")
    oauth: OAuthConfig | None = Field(
        default=None, description="How accounts log in that are added while the server runs."
    )
    base_url: Url = Field(
        default="",
        description="Replaces scheme, host and path prefix of the provider's address; empty is the usual one.",
    )
    default_model: Text = Field(
        default="", description="What the model name `default` means; empty is the provider's usual one."
    )
    models: list[Text] = Field(default_factory=list, description="Models that the provider is known to have.")
    organization: Text = Field(default="", description="Organization that calls are billed to (OpenAI).")
    project: Text = Field(default="", description="Project that calls belong to (Vertex AI, OpenAI).")
    location: Text = Field(default="", description="Region that answers (Vertex AI).")
    headers: Headers = Field(
        default_factory=dict,
        repr=False,
        description="A header sent with every request; may be a secret reference.",
    )
    options: dict[Text, JsonValue] = Field(
        default_factory=dict, description="A field merged into the JSON body of every request."
    )
    raw: bool = Field(
        default=False,
        description="Passes requests to `/{provider}/raw/...` on to all of the provider's own API, with its credentials.",
    )
    responses: bool | None = Field(
        default=None,
        description="Whether a host of the dialect `openai` has the Responses API too; none: as is known of the provider's usual address.",
    )
    retry: RetryConfig = Field(
        default_factory=RetryConfig, description="When and how often the provider is asked again."
    )
    timeouts: TimeoutsConfig = Field(default_factory=TimeoutsConfig, description="How long to wait for the provider.")
    max_connections: Count = Field(
        default=1000, description="The most connections to the provider at once, in each worker process."
    )


class RouteTargetConfig(Section):
    """What a route may ask, and how patient it is there."""

    model: Filled = Field(description="`provider/model`, an alias, or another route.")
    weight: Annotated[float, Number, Field(ge=0, le=1_000_000)] = Field(
        default=1.0, description="The target's share of calls beside the others' (policy: weighted); 0 is asked last."
    )
    first_token_s: Seconds | None = Field(
        default=None, description="The longest wait here for the first of the answer; none is the provider's."
    )
    total_s: Seconds | None = Field(
        default=None, description="The longest time here for the whole answer; none is the provider's."
    )
    max_calls: Count | None = Field(
        default=None, description="The most calls to this target at once, in each worker process; none is no limit."
    )
    queue: Annotated[int, Number, Field(ge=0, le=100_000)] = Field(
        default=0,
        description="Calls that wait for their turn while `max_calls` are under way; more go to the next target.",
    )
    wait_s: Pause = Field(
        default=0.0,
        description="The longest that a call waits here for a target that says when to ask again; else it goes to the next at once.",
    )
    options: dict[Text, JsonValue] = Field(
        default_factory=dict, description="A field merged into the JSON body of every request to this target."
    )


class BreakerConfig(Section):
    """When a target that fails is left alone for a while."""

    enabled: bool = Field(
        default=True, description="Leaves targets alone that fail; the last one left is always asked."
    )
    consecutive_failures: Count = Field(default=5, description="Failures in a row after which a target is left alone.")
    failure_rate: Annotated[float, Number, Field(gt=0, le=1)] = Field(
        default=0.5, description="The share of failures in `window_s` from which a target is left alone."
    )
    window_s: Seconds = Field(default=30.0, description="What `failure_rate` looks back.")
    min_calls: Count = Field(default=10, description="Calls in `window_s` below which `failure_rate` says nothing.")
    open_s: Seconds = Field(default=15.0, description="How long a target is left alone, until one call tries it again.")


class HoldBackConfig(Section):
    """How much of a stream is held back, so that a target that dies early is replaced unseen."""

    tokens: Annotated[int, Number, Field(ge=0, le=100_000)] = Field(
        default=0, description="Holds the first of every streamed answer back until it has so many tokens; 0 is off."
    )
    seconds: Seconds = Field(
        default=1.0, description="Holds nothing back for longer than this, from the first of the answer on."
    )


class RouteConfig(Section):
    """A model name that stands for several targets."""

    policy: Literal["fallback", "weighted", "latency", "least_busy", "cheapest"] = Field(
        default="fallback",
        description="Which target is asked first: the first; one by chance, by weight; the one that begins to answer soonest; "
        "the one with the fewest calls under way; the one with the lowest price. When it fails, the others follow.",
    )
    sticky: bool = Field(
        default=False, description="Keeps the calls of a `session_id` at one target (policy: weighted)."
    )
    targets: Annotated[list[RouteTargetConfig], Field(min_length=1)] = Field(
        description="What may be asked, at least one target."
    )
    breaker: BreakerConfig = Field(
        default_factory=BreakerConfig, description="When a target that fails is left alone for a while."
    )
    retry_budget: Annotated[float, Number, Field(ge=0, le=1)] = Field(
        default=0.2,
        description="The largest share of the route's attempts that may be repetitions, so that an outage is not multiplied; "
        "a few are always allowed.",
    )
    hedge_after_s: Seconds | None = Field(
        default=None,
        description="Silence of a target after which the next one is asked beside it; who begins to answer first is kept. "
        "Without it they are asked one at a time.",
    )
    hold_back: HoldBackConfig = Field(
        default_factory=HoldBackConfig,
        description="What is held back of a stream, for callers who cannot begin anew.",
    )


class RewriteConfig(Section):
    """A rule that replaces the model name of a call."""

    match: Filled = Field(description="A regular expression for the whole model name (Python's `re.fullmatch`).")
    to: Filled = Field(description=r"The name instead of it; `\1` or `\g<name>` is what a group of `match` found.")


class PricesConfig(Section):
    """What a model costs, in dollars for a million tokens."""

    input: Price = Field(description="Prompt tokens.")
    output: Price = Field(description="Generated tokens.")
    cache_read: Price | None = Field(default=None, description="Prompt tokens read from the provider's cache.")
    cache_write: Price | None = Field(default=None, description="Prompt tokens written to the provider's cache.")
    cache_write_1h: Price | None = Field(
        default=None, description="Prompt tokens written to the provider's cache for an hour; none: as `cache_write`."
    )
    reasoning: Price | None = Field(default=None, description="Generated tokens of reasoning; none: as `output`.")
    input_audio: Price | None = Field(default=None, description="Prompt tokens of audio; none: as `input`.")
    cache_read_audio: Price | None = Field(
        default=None, description="Prompt tokens of audio read from the cache; none: as `cache_read`."
    )
    output_audio: Price | None = Field(default=None, description="Generated tokens of audio; none: as `output`.")
    input_image: Price | None = Field(default=None, description="Prompt tokens of images; none: as `input`.")
    output_image: Price | None = Field(default=None, description="Generated tokens of images; none: as `output`.")


class ModelConfig(Section):
    """What is known of a model; what is left out is as the catalogue has it."""

    context_tokens: Tokens | None = Field(default=None, description="The most tokens of prompt and answer together.")
    max_output_tokens: Tokens | None = Field(default=None, description="The most tokens that it generates.")
    tools: bool | None = Field(default=None, description="Calls tools.")
    images: bool | None = Field(default=None, description="Sees images.")
    documents: bool | None = Field(default=None, description="Reads documents, such as PDF files.")
    audio: bool | None = Field(default=None, description="Hears audio.")
    reasoning: bool | None = Field(default=None, description="Thinks before it answers.")
    json_schema: bool | None = Field(default=None, description="Answers by a JSON schema.")
    prefill: bool | None = Field(
        default=None, description="Goes on with an assistant message at the end of the prompt."
    )
    prices: PricesConfig | None = Field(default=None, description="What it costs.")


class CacheConfig(Section):
    """Answers that are kept, for requests that are the same to the last byte of meaning."""

    enabled: bool = Field(
        default=False,
        description="Answers repeated requests of temperature 0, and those that ask for it with `loom-cache: yes`, from the cache.",
    )
    redis_url: SecretRef | None = Field(
        default=None, description="Such as `redis://host:6379/0`; without it each process keeps answers in its memory."
    )
    ttl_s: Seconds = Field(default=300.0, description="How long an answer is kept.")
    max_bytes: Size = Field(default=64 * 2**20, description="The most bytes of all answers in a process's memory.")
    max_entry_bytes: Size = Field(default=2**20, description="The most bytes of an answer that is kept.")
    share: bool = Field(
        default=True, description="Lets requests wait for the answer to an equal one that is under way in the process."
    )


class ResponsesConfig(Section):
    """The responses that callers of OpenAI's Responses API may come back to."""

    ttl_s: Annotated[float, Number, Field(gt=0, le=366 * 86400)] = Field(
        default=30 * 86400.0, description="How long each is kept."
    )
    max_bytes: Size = Field(
        default=64 * 2**20,
        description="The most bytes of all where no database keeps them: in the process's memory, or in a file of several workers.",
    )


class ReloadConfig(Section):
    """When the configuration is read again while the server runs."""

    watch: bool = Field(default=True, description="Reads the configuration file again when it changes.")
    poll_s: Seconds = Field(default=2.0, description="How often to look whether it has.")
    timeout_s: Seconds = Field(
        default=30.0,
        description="How long one of several workers may take to try a new configuration before it is refused.",
    )


class CredentialsConfig(Section):
    """Where accounts are kept that are added or logged in while the server runs."""

    file: Path | None = Field(
        default=None,
        description="The file that keeps them where no database does; "
        "without it `loom-grpc/credentials.json` in `$XDG_STATE_HOME` or `~/.local/state`.",
    )
    encryption_key: SecretRef | None = Field(
        default=None,
        description="Encrypts them in the database: keys as `loom-grpc encryption-key` prints them, the newest first, with commas between.",
    )
    keep_records: bool = Field(
        default=True, description="Keeps how the accounts of pools fare, across restarts and between processes."
    )
    refresh_interval_s: Seconds = Field(default=300.0, description="How often access tokens are looked through.")
    refresh_before_s: Seconds = Field(
        default=900.0, description="Access tokens that end sooner than this are then renewed."
    )


class DatabaseConfig(Section):
    """The database."""

    url: SecretRef | None = Field(
        default=None,
        description="Such as `postgresql://user:password@host/name` or `sqlite:////var/lib/loom-grpc/loom.db`. Without it keys and records "
        "are kept in `loom-grpc/loom.db` in `$XDG_STATE_HOME` or `~/.local/state`, and accounts in a file.",
    )


class VaultConfig(Section):
    """HashiCorp Vault, for secrets written as `vault:mount/path#field`."""

    address: Url = Field(default="", description="Where Vault is.")
    namespace: Text = Field(default="", description="The namespace (Vault Enterprise).")
    auth: Literal["token", "approle", "kubernetes"] = Field(default="token", description="How the server logs in.")
    auth_mount: Text = Field(default="", description="Where the login method is mounted; empty is its usual place.")
    token: SecretRef | None = Field(default=None, description="The token (auth: token).")
    role_id: Text = Field(default="", description="The role's id (auth: approle).")
    secret_id: SecretRef | None = Field(default=None, description="The role's secret id (auth: approle).")
    role: Text = Field(default="", description="The role (auth: kubernetes).")
    jwt_file: Path = Field(
        default=Path("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        description="The service account's token (auth: kubernetes).",
    )
    ca_file: Path | None = Field(default=None, description="PEM file with the authorities of Vault's certificate.")
    poll_s: Seconds = Field(default=3.0, description="How often secrets are read again.")


class AdminConfig(Section):
    """The key with which everything begins."""

    api_key: SecretRef | None = Field(
        default=None,
        description="Lets whoever shows it administer the server; at least 16 characters that are not easily guessed. "
        "Without it only keys and tokens whose role is admin do.",
    )


class TelemetryConfig(Section):
    """Spans and metrics."""

    otlp_endpoint: Url = Field(
        default="",
        description="Where spans and metrics go by OTLP over gRPC, such as `http://127.0.0.1:4317`; empty is nowhere.",
    )
    otlp_headers: dict[HeaderName, SecretRef] = Field(
        default_factory=dict, description="A header sent to the OTLP endpoint."
    )
    service_name: Text = Field(default="loom-grpc", description="The name under which spans and metrics are filed.")
    traces: bool = Field(default=True, description="Makes spans.")
    trace_ratio: Annotated[float, Number, Field(ge=0, le=1)] = Field(
        default=1.0,
        description="The part of the traces beginning here that is kept; a caller's trace is the caller's choice.",
    )
    metrics: bool = Field(default=True, description="Counts and measures calls.")
    capture_content: bool = Field(default=False, description="Puts prompts and answers into spans.")


class LogConfig(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="info", description="The least grave lines to write."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="How lines look; `auto` is `console` on a terminal and `json` elsewhere."
    )
    prompts: bool = Field(default=False, description="Writes prompts and answers to the log.")
    access: bool = Field(default=True, description="Writes a line for every call.")


class CompatConfig(Section):
    """How faithful endpoints are to the APIs that they stand in for."""

    loom_rate_limit_status: Annotated[Literal[429, 503], Number] = Field(
        default=429, description="The HTTP status of a rate limit on Loom's endpoints; Loom itself sends 503."
    )
    empty_arguments: Literal["object", "null"] = Field(
        default="object",
        description="What a tool call without arguments carries on Loom's endpoints: `{}` or, as Loom does, `null`.",
    )
    untold: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What becomes of a field of another API that the provider's has no word for: the call is refused, or the field is left "
        "out and named in the header `Loom-Dropped`.",
    )


class Config(Section):
    """Everything that can be configured."""

    grpc: GrpcConfig = Field(default_factory=GrpcConfig, description="The gRPC edge.")
    http: HttpConfig = Field(default_factory=HttpConfig, description="The HTTP edge.")
    workers: Annotated[int, Number, Field(ge=1, le=1024)] = Field(
        default=1, description="Processes that share the addresses."
    )
    default_provider: NameOrNothing = Field(
        default="", description="The provider of a call that names neither a provider nor a model that only one has."
    )
    providers: dict[Name, ProviderConfig] = Field(
        default_factory=dict, description="The providers by name; with none, the mock provider serves."
    )
    credentials: CredentialsConfig = Field(
        default_factory=CredentialsConfig, description="Accounts that are added or logged in while the server runs."
    )
    database: DatabaseConfig = Field(default_factory=DatabaseConfig, description="The database.")
    vault: VaultConfig = Field(
        default_factory=VaultConfig, description="HashiCorp Vault, for secrets written as `vault:mount/path#field`."
    )
    admin: AdminConfig = Field(default_factory=AdminConfig, description="The key with which everything begins.")
    access: AccessConfig = Field(default_factory=AccessConfig, description="Who may call.")
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="How much may be called.")
    spending: SpendingConfig = Field(default_factory=SpendingConfig, description="What may be spent.")
    audit: AuditConfig = Field(default_factory=AuditConfig, description="The records of calls.")
    aliases: dict[Text, Text] = Field(default_factory=dict, description="The `provider/model` that a name stands for.")
    routes: dict[Text, RouteConfig] = Field(
        default_factory=dict,
        description="Model names that stand for several targets, by name, without `/` and `|`; not the name of an alias.",
    )
    default_route: Text = Field(
        default="",
        description="The route of a call that names neither provider nor model, instead of `default_provider`.",
    )
    rewrites: list[RewriteConfig] = Field(
        default_factory=list,
        description="Rules that replace model names: the first that matches the whole name applies, once.",
    )
    chains: bool = Field(
        default=False, description="Lets callers write `a|b|c` as a model: one is asked after the other."
    )
    models: dict[Text, ModelConfig] = Field(
        default_factory=dict, description="What is known of a model, by `provider/model`, beside the catalogue."
    )
    cache: CacheConfig = Field(default_factory=CacheConfig, description="The response cache.")
    responses: ResponsesConfig = Field(
        default_factory=ResponsesConfig, description="The responses of OpenAI's Responses API that are kept."
    )
    reload: ReloadConfig = Field(
        default_factory=ReloadConfig, description="When the configuration is read again while the server runs."
    )
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig, description="Spans and metrics.")
    log: LogConfig = Field(default_factory=LogConfig, description="The log.")
    compat: CompatConfig = Field(default_factory=CompatConfig, description="Faithfulness to other APIs.")


def check_exposure(config: Config) -> None:
    """Refuses addresses that other machines reach while nothing controls who calls; raises `ConfigError`.

    Keys, tokens and mutual TLS count as control.
    """
    listening: list[tuple[str, GrpcConfig | HttpConfig]] = [("grpc", config.grpc)]
    if config.http.enabled:
        listening.append(("http", config.http))
    problems = [
        f"{name}.address: {edge.address} can be reached from other machines and nothing controls who calls; "
        f"listen on 127.0.0.1, set access.enabled, or set {name}.tls with client_ca_file (mutual TLS)"
        for name, edge in listening
        if not (config.access.is_on or _is_loopback(edge.address) or (edge.tls and edge.tls.client_ca_file))
    ]
    if problems:
        raise ConfigError(*problems)


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    if address.startswith("unix:") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may mean any address
        return False


def oauth_of(provider: ProviderConfig, account: AccountConfig | None = None) -> OAuthConfig | None:
    """Returns how an account logs in: what it sets itself, and else what its provider sets; None when it does not log in.

    Without an account it is about accounts that are added while the server runs, which log in where the provider's settings are whole.
    """
    if account is None:
        return provider.oauth if provider.oauth is not None and not unset_oauth(provider.oauth) else None
    if account.oauth is None or provider.oauth is None:
        return account.oauth
    return provider.oauth.model_copy(
        update={name: getattr(account.oauth, name) for name in account.oauth.model_fields_set}
    )


def unset_oauth(oauth: OAuthConfig) -> list[str]:
    """Returns the keys without which nobody can log in, as far as they are not set."""
    return [key for key in ("authorize_url", "token_url", "client_id", "redirect_uri") if not getattr(oauth, key)]
