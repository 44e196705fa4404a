"""The sections and keys that say who may call, how much, and for how much money."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from loom_grpc.config.section import Section
from loom_grpc.config.value import (
    Amount,
    Count,
    Dollars,
    Endpoint,
    Filled,
    Network,
    Number,
    Pause,
    Seconds,
    SecretRef,
    Text,
    Tokens,
)

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class JwtConfig(Section):
    """Callers who show a JSON web token of an OpenID Connect provider."""

    issuer: Endpoint = Field(
        description="Who issues the tokens, as their claim `iss` has it; its discovery document says where the keys are."
    )
    audience: Annotated[list[Filled], Field(min_length=1)] = Field(
        description="Whom the tokens are for: their claim `aud` has at least one of these."
    )
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = Field(
        default=("RS256", "ES256"),
        description="The algorithms of signatures that are taken; never `none`, and none with a shared secret.",
    )
    jwks_url: Endpoint = Field(
        default="", description="Where the keys are, where the issuer has no discovery document."
    )
    user_claim: Filled = Field(default="sub", description="The claim that names the user.")
    team_claim: Text = Field(
        default="", description="The claim that names the team; a list counts by its first. Empty: none does."
    )
    organization_claim: Text = Field(default="", description="The claim that names the organization. Empty: none does.")
    role_claim: Text = Field(default="", description="The claim, text or list, that may name admins. Empty: none does.")
    admin_roles: list[Filled] = Field(
        default_factory=lambda: ["admin"], description="What `role_claim` holds for an admin."
    )
    leeway_s: Pause = Field(default=30.0, description="How far the clocks of the issuer and this server may differ.")
    refresh_s: Seconds = Field(
        default=3600.0, description="How often the keys are fetched again; one that is not known is looked for at once."
    )


class CertificateConfig(Section):
    """Whom a client certificate stands for."""

    user: Text = Field(default="", description="The user; empty is the certificate's own name.")
    team: Text = Field(default="", description="The team.")
    organization: Text = Field(default="", description="The organization.")
    role: Literal["user", "admin"] = Field(default="user", description="What the caller may do.")


class ThrottleConfig(Section):
    """How long an address is refused that shows wrong credentials again and again."""

    failures: Count = Field(default=5, description="Failures in `window_s` after which an address is refused.")
    window_s: Seconds = Field(default=900.0, description="What `failures` looks back.")
    block_s: Seconds = Field(
        default=30.0, description="How long it is refused the first time; each time twice as long."
    )
    max_block_s: Seconds = Field(default=3600.0, description="The longest that it is refused.")


class AccessConfig(Section):
    """Who may call."""

    enabled: bool | None = Field(
        default=None,
        description="Wants every caller to show a key, a token or a certificate; none: where `jwt` or `certificates` is set.",
    )
    jwt: JwtConfig | None = Field(default=None, description="Takes tokens of an OpenID Connect provider.")
    certificates: dict[Text, CertificateConfig] = Field(
        default_factory=dict,
        description="Whom a client certificate stands for, by its URI, DNS or common name (mutual TLS); others are users of their name.",
    )
    trusted_proxies: list[Network] = Field(
        default_factory=list,
        description="Networks of proxies that are believed where a call came from (`X-Forwarded-For`).",
    )
    throttle: ThrottleConfig = Field(
        default_factory=ThrottleConfig, description="Refuses addresses that show wrong credentials again and again."
    )
    metrics: Literal["anybody", "user", "admin"] = Field(
        default="admin", description="Who may read `/metrics` where callers have to show who they are."
    )
    reflection: Literal["anybody", "user", "admin"] = Field(
        default="user", description="Who may use gRPC reflection where callers have to show who they are."
    )
    poll_s: Annotated[float, Number, Field(gt=0, le=2)] = Field(
        default=1.0, description="How often changes of keys, limits and budgets by other processes are looked for."
    )

    @property
    def is_on(self) -> bool:
        """Whether callers have to show who they are."""
        return self.enabled if self.enabled is not None else bool(self.jwt or self.certificates)


class LimitConfig(Section):
    """How much may be called; what is not set is no limit."""

    requests_per_minute: Amount | None = Field(default=None, description="Calls in any 60 seconds.")
    tokens_per_minute: Amount | None = Field(
        default=None,
        description="Prompt and generated tokens in any 60 seconds, guessed before each call and corrected after it.",
    )
    concurrent_streams: Amount | None = Field(default=None, description="Streams under way at once.")


class LimitsConfig(Section):
    """How much may be called, and where it is counted: by the processes of one host together, or by all that share a Redis."""

    key: LimitConfig = Field(default_factory=LimitConfig, description="Each key that has no limits of its own.")
    user: LimitConfig = Field(default_factory=LimitConfig, description="Each user that has no limits of its own.")
    team: LimitConfig = Field(default_factory=LimitConfig, description="Each team that has no limits of its own.")
    organization: LimitConfig = Field(
        default_factory=LimitConfig, description="Each organization that has no limits of its own."
    )
    address: LimitConfig = Field(default_factory=LimitConfig, description="Each address that calls come from.")
    models: dict[Text, LimitConfig] = Field(
        default_factory=dict, description="A model, as `provider/model`, for all callers together."
    )
    assumed_output_tokens: Tokens = Field(
        default=1000,
        description="What a call is guessed to generate that does not say how much it may (`tokens_per_minute`).",
    )
    redis_url: SecretRef | None = Field(
        default=None,
        description="Such as `redis://host:6379/0`; counts limits and budgets for all hosts together."
        " Read at the start alone.",
    )


class BudgetConfig(Section):
    """What may be spent. Others are made while the server runs, with `loom-grpc budgets`."""

    scope: Literal["key", "user", "team", "organization"] = Field(description="What it is for.")
    id: Filled = Field(description="The id of that.")
    period: Literal["day", "month", "total"] = Field(default="month", description="How long it lasts, in UTC.")
    usd: Dollars = Field(description="The most dollars that may be spent in a period.")

    @property
    def name(self) -> str:
        """The id by which operators and counters know it."""
        return f"{self.scope}/{self.id}/{self.period}"

    @property
    def nanos(self) -> int:
        """The same in billionths of a dollar."""
        return int(self.usd * 10**9)


class SpendingConfig(Section):
    """How budgets treat calls whose cost is not known beforehand."""

    budgets: list[BudgetConfig] = Field(default_factory=list, description="Budgets that stand in the configuration.")
    unpriced: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="What becomes of calls under a budget to models whose prices are not known; allowed ones cost nothing.",
    )
    max_output_tokens: Tokens = Field(
        default=32_000,
        description="What a call under a budget may generate at most that does not say so, where the model's own limit is not known.",
    )
    without_redis: Literal["refuse", "local"] = Field(
        default="refuse",
        description="What becomes of calls under a budget while `limits.redis_url` cannot be reached: refused, or counted by each host."
        " Read at the start alone.",
    )
