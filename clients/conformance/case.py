"""The table of cases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from clients.conformance.match import Loader, filled
from loom_grpc.v1.llm_service_pb2 import (
    CountTokensResponse,
    EmbedRequest,
    EmbedResponse,
    ListModelsRequest,
    ListModelsResponse,
    LlmEvent,
    LlmRequest,
    LlmResponse,
)

TABLE: Final = Path(__file__).with_name("cases.yaml")
LIMIT_S: Final = 20.0
"""How long a runner may take for a case that says nothing else."""


@dataclass(frozen=True)
class Method:
    """The messages of a method of LlmService; `sent` is what its server sends, one or many."""

    rpc: str
    request: type[Message]
    response: type[Message]
    sent: type[Message]


METHODS: Final = {
    "complete": Method("Complete", LlmRequest, LlmResponse, LlmResponse),
    "stream": Method("Stream", LlmRequest, LlmResponse, LlmEvent),
    "count_tokens": Method("CountTokens", LlmRequest, CountTokensResponse, CountTokensResponse),
    "list_models": Method("ListModels", ListModelsRequest, ListModelsResponse, ListModelsResponse),
    "embed": Method("Embed", EmbedRequest, EmbedResponse, EmbedResponse),
}


@dataclass(frozen=True)
class Case:
    """What a client is told to do, what the server does, and what has to come of it."""

    name: str
    row: str
    """The line of the matrix that the case is counted in."""
    server: str
    method: str
    expect: Mapping[str, Any]
    request: Mapping[str, Any] = field(default_factory=dict)
    odd: list[Any] | None = None
    """What the odd server does, step by step."""
    tls: str | None = None
    api_key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout_ms: int | None = None
    cancel_after_events: int | None = None
    cancel_after_ms: int | None = None
    until_s: float = 0
    """How long the case may be tried again until it is as expected."""
    limit_s: float = LIMIT_S

    @property
    def slug(self) -> str:
        """The name as it can stand in metadata."""
        return re.sub(r"[^\w-]+", "-", self.name, flags=re.ASCII)

    def message(self) -> Message:
        """Makes the request; raises `google.protobuf.json_format.ParseError` for one that is none."""
        return ParseDict(dict(self.request), METHODS[self.method].request())


def read(table: Path = TABLE) -> list[Case]:
    """Reads the cases; raises `ValueError` where two have one name, and `TypeError` for a key that no case has."""
    rows: list[dict[str, Any]] = yaml.load(table.read_text(encoding="utf-8"), Loader)["cases"]  # noqa: S506 - a SafeLoader
    cases = [_case(row, words) for row in rows for words in row.get("each", [{}])]
    names = [case.slug for case in cases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two cases have the name {', '.join(twice)}")
    return cases


def _case(row: dict[str, Any], words: Mapping[str, Any]) -> Case:
    keys = {name: filled(value, words) for name, value in row.items() if name not in ("each", "row")}
    return Case(row=row.get("row", row["name"]), **keys)
