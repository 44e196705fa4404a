"""A call on its way through the pipeline, and the one shape that every stage has."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loom_grpc.core.bill import Bill
from loom_grpc.core.budget import RetryBudget
from loom_grpc.core.native import Native
from loom_grpc.core.principal import ANYBODY, Principal
from loom_grpc.core.quota import Standing
from loom_grpc.core.raw import Raw
from loom_grpc.v1.audit_pb2 import OPERATION_UNSPECIFIED, Operation
from loom_grpc.v1.llm_service_pb2 import EmbedRequest, EmbedResponse, LlmEvent, LlmRequest, LlmResponse

Send = Callable[[LlmEvent], Awaitable[object]]
"""Takes the next event of an answer; returns when the receiver has room for more."""


@dataclass(slots=True)
class Call:
    """One request and what the stages find out about it.

    The edge makes the call; the router fills in `provider` and `model`; the retry loop sets `expires`; the pool sets `account` and
    counts `attempt` and `refusals`; the driver sets `responded` before the first event leaves and adds up `upstream_s`. Times are
    seconds, and points in time are on the event loop's clock.
    """

    request: LlmRequest
    stream: bool
    request_id: str
    deadline: float = math.inf
    """When the caller stops waiting."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    native: Native | None = None
    """The request in the dialect of the API by which it came; None for callers of our own contract."""
    dropped: list[str] = field(default_factory=list)
    """The fields of the request that the provider was not told, because its dialect has no words for them."""
    told: dict[str, str] = field(default_factory=dict)
    """Headers of the answer that the provider, which speaks the caller's own API, has for its callers; names in lower case."""
    embed: EmbedRequest | None = None
    """What to turn into vectors; None asks for an answer. `request` then says which provider and model, and holds no messages."""
    embedded: EmbedResponse | None = None
    """The vectors."""
    raw: Raw | None = None
    """What to pass on as it is; None for everything else."""
    provider: str = ""
    model: str = ""
    tenant: str = ""
    """On whose behalf the call is made, for what callers must not share; empty for whoever showed nothing."""
    principal: Principal = ANYBODY
    """Who calls."""
    address: str = ""
    """The address that the call came from, behind trusted proxies; empty where it is not known."""
    api: str = ""
    """The API by which the call came: `grpc`, or the path of an HTTP endpoint as the method table has it."""
    operation: Operation.ValueType = OPERATION_UNSPECIFIED
    """What is asked for; the gateway sets it, unless whoever made the call has."""
    route: str = ""
    """The name of the route that answers; empty without one."""
    bill: Bill = field(default_factory=Bill)
    """What it has used; copies of the call share it."""
    guessed_tokens: int = -1
    """How many tokens it was guessed to use, of prompt and answer; -1 before anybody guessed."""
    standings: Sequence[Standing] = ()
    """How the limits stood that the call was counted for, for the caller to be told."""
    began_s: float = 0.0
    """When the call came, in seconds since 1970; 0 for one that was not admitted."""
    began: float = 0.0
    """The same on the clock that durations are measured with."""
    is_recorded: bool = False
    """Whether its record is made, of which there is one."""
    account: str = ""
    """The id of the account that is or was asked last; empty for a provider's plain key."""
    attempt: int = 0
    refusals: int = 0
    """How many of the attempts count against no budget: an account's quota was used up or its credential refused, or they were
    made at another target of the route."""
    expires: float = math.inf
    """When the provider's own limit for the whole call or the caller's deadline is reached."""
    responded: bool = False
    """Whether an event has been sent: after that nobody retries, and only a route may begin anew."""
    first_token_s: float | None = None
    """How long the route waits for the first content of a stream; None is as long as the provider's own limit."""
    total_s: float | None = None
    """How long the route waits for a whole answer; None is as long as the provider's own limit."""
    is_last: bool = True
    """Whether no other target follows: else a target that is slow or limited is left rather than waited for."""
    wait_s: float = 0.0
    """How long the route waits here for a target that says when to ask again, where another one follows."""
    held: bool = False
    """Whether all that was sent of the stream is held back, so that the answer can begin anew unseen."""
    cache: str = ""
    """What the response cache did: `hit`, `miss` or `shared`; empty when it had no part in the call."""
    budget: RetryBudget | None = None
    """What the route has left for retries; None is no limit."""
    before_attempt: Callable[[], Awaitable[None]] | None = None
    """What has to be done before each attempt; it may raise `LlmError`, and then nobody is asked."""
    upstream_s: float = 0.0
    """Seconds spent waiting for providers, the pauses between attempts included."""
    first_content_s: float | None = None
    """Seconds from the last attempt's start to its first content; None before that."""
    answer: LlmResponse | None = None
    """The last attempt's whole answer, or what came of it before it failed."""

    def begin_embed(self, embed: EmbedRequest) -> None:
        """Makes it a call for vectors."""
        self.embed = embed
        self.request = LlmRequest(
            provider=embed.provider, model=embed.model, session_id=embed.session_id, labels=embed.labels
        )

    @property
    def wants_restarts(self) -> bool:
        """Whether the caller takes `restarted` for an answer that begins anew (metadata `loom-events: restarted`)."""
        return "restarted" in self.metadata.get("loom-events", "").replace(" ", "").split(",")


Handler = Callable[[Call, Send], Awaitable[None]]
"""Answers a call by sending events, the last of them `completed`; raises `LlmError`; stops all upstream work when cancelled."""
