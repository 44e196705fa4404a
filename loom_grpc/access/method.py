"""Everything that can be called, and what each wants of its caller. What is not here is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loom_grpc.config.access import AccessConfig
from loom_grpc.core.principal import Need

NOTHING, USER, ADMIN = Need.NOTHING, Need.USER, Need.ADMIN

METRICS: Final = "/metrics"
CHANNELZ: Final = tuple(
    f"/grpc.channelz.v1.Channelz/{name}"
    for name in (
        "GetTopChannels",
        "GetServers",
        "GetServer",
        "GetServerSockets",
        "GetChannel",
        "GetSubchannel",
        "GetSocket",
    )
)
REFLECTION: Final = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)

METHODS: Final[dict[str, Need]] = {
    # gRPC, by the names of the wire.
    "/loom_grpc.v1.LlmService/Complete": USER,
    "/loom_grpc.v1.LlmService/Stream": USER,
    "/loom_grpc.v1.LlmService/ListModels": USER,
    "/loom_grpc.v1.LlmService/CountTokens": USER,
    "/loom_grpc.v1.LlmService/Embed": USER,
    "/loom_grpc.v1.AdminService/ListAccounts": ADMIN,
    "/loom_grpc.v1.AdminService/AddAccount": ADMIN,
    "/loom_grpc.v1.AdminService/RemoveAccount": ADMIN,
    "/loom_grpc.v1.AdminService/EnableAccount": ADMIN,
    "/loom_grpc.v1.AdminService/DisableAccount": ADMIN,
    "/loom_grpc.v1.AdminService/StartLogin": ADMIN,
    "/loom_grpc.v1.AdminService/FinishLogin": ADMIN,
    "/loom_grpc.v1.AdminService/WatchHealth": ADMIN,
    "/loom_grpc.v1.AdminService/ReloadConfig": ADMIN,
    "/loom_grpc.v1.AdminService/CreateOrganization": ADMIN,
    "/loom_grpc.v1.AdminService/ListOrganizations": ADMIN,
    "/loom_grpc.v1.AdminService/UpdateOrganization": ADMIN,
    "/loom_grpc.v1.AdminService/DeleteOrganization": ADMIN,
    "/loom_grpc.v1.AdminService/CreateTeam": ADMIN,
    "/loom_grpc.v1.AdminService/ListTeams": ADMIN,
    "/loom_grpc.v1.AdminService/UpdateTeam": ADMIN,
    "/loom_grpc.v1.AdminService/DeleteTeam": ADMIN,
    "/loom_grpc.v1.AdminService/CreateUser": ADMIN,
    "/loom_grpc.v1.AdminService/ListUsers": ADMIN,
    "/loom_grpc.v1.AdminService/UpdateUser": ADMIN,
    "/loom_grpc.v1.AdminService/DeleteUser": ADMIN,
    "/loom_grpc.v1.AdminService/CreateKey": ADMIN,
    "/loom_grpc.v1.AdminService/ListKeys": ADMIN,
    "/loom_grpc.v1.AdminService/UpdateKey": ADMIN,
    "/loom_grpc.v1.AdminService/RotateKey": ADMIN,
    "/loom_grpc.v1.AdminService/RevokeKey": ADMIN,
    "/loom_grpc.v1.AdminService/CreateBudget": ADMIN,
    "/loom_grpc.v1.AdminService/ListBudgets": ADMIN,
    "/loom_grpc.v1.AdminService/UpdateBudget": ADMIN,
    "/loom_grpc.v1.AdminService/DeleteBudget": ADMIN,
    "/loom_grpc.v1.AdminService/QueryUsage": ADMIN,
    "/loom_grpc.v1.AdminService/ListCalls": ADMIN,
    "/loom_grpc.v1.AdminService/GetCall": ADMIN,
    "/loom_grpc.v1.AdminService/ExportCalls": ADMIN,
    "/grpc.health.v1.Health/Check": NOTHING,
    "/grpc.health.v1.Health/List": NOTHING,
    "/grpc.health.v1.Health/Watch": NOTHING,
    **dict.fromkeys(CHANNELZ, ADMIN),
    **dict.fromkeys(REFLECTION, USER),  # or as `access.reflection` has it
    # HTTP, by the templates of the paths; whatever the HTTP method, a path wants the same.
    "/proxy/{provider}/complete": USER,
    "/proxy/{provider}/stream": USER,
    "/v1/chat/completions": USER,
    "/v1/embeddings": USER,
    "/v1/messages": USER,
    "/anthropic/v1/messages": USER,
    "/v1/messages/count_tokens": USER,
    "/anthropic/v1/messages/count_tokens": USER,
    "/v1beta/{model:path}:generateContent": USER,
    "/v1beta/{model:path}:streamGenerateContent": USER,
    "/v1beta/{model:path}:countTokens": USER,
    "/v1/{model:path}:generateContent": USER,
    "/v1/{model:path}:streamGenerateContent": USER,
    "/v1/{model:path}:countTokens": USER,
    "/v1alpha/{model:path}:generateContent": USER,
    "/v1alpha/{model:path}:streamGenerateContent": USER,
    "/v1alpha/{model:path}:countTokens": USER,
    "/v1beta/{model:path}:embedContent": USER,
    "/v1beta/{model:path}:batchEmbedContents": USER,
    "/v1/{model:path}:embedContent": USER,
    "/v1/{model:path}:batchEmbedContents": USER,
    "/v1alpha/{model:path}:embedContent": USER,
    "/v1alpha/{model:path}:batchEmbedContents": USER,
    "/v1/models": USER,
    "/v1/models/{name:path}": USER,
    "/v1beta/models": USER,
    "/v1beta/models/{name:path}": USER,
    "/v1/responses/input_tokens": USER,
    "/v1/responses": USER,
    "/v1/responses/{id}": USER,
    "/v1/responses/{id}/cancel": USER,
    "/v1/responses/{id}/input_items": USER,
    "/{provider}/raw/{path:path}": USER,
    "/api/admin/{provider}/accounts": ADMIN,
    "/api/admin/{provider}/accounts/{id}": ADMIN,
    "/api/admin/{provider}/accounts/{id}/enable": ADMIN,
    "/api/admin/{provider}/accounts/{id}/disable": ADMIN,
    "/api/admin/{provider}/oauth/initiate": ADMIN,
    "/api/admin/{provider}/oauth/complete": ADMIN,
    "/api/admin/organizations": ADMIN,
    "/api/admin/organizations/{id}": ADMIN,
    "/api/admin/teams": ADMIN,
    "/api/admin/teams/{id}": ADMIN,
    "/api/admin/users": ADMIN,
    "/api/admin/users/{id}": ADMIN,
    "/api/admin/keys": ADMIN,
    "/api/admin/keys/{id}": ADMIN,
    "/api/admin/keys/{id}/rotate": ADMIN,
    "/api/admin/keys/{id}/revoke": ADMIN,
    "/api/admin/budgets": ADMIN,
    "/api/admin/budgets/{id:path}": ADMIN,
    "/api/admin/usage": ADMIN,
    "/api/admin/calls": ADMIN,
    "/api/admin/calls/export": ADMIN,
    "/api/admin/calls/{id}": ADMIN,
    "/health": NOTHING,
    "/livez": NOTHING,
    "/readyz": NOTHING,
    METRICS: ADMIN,  # or as `access.metrics` has it
}

_WORDS: Final = {"anybody": NOTHING, "user": USER, "admin": ADMIN}


def needs(config: AccessConfig) -> Mapping[str, Need]:
    """Returns the table as a configuration wants it: where nobody has to show anything, metrics, reflection and channelz are too."""
    if not config.is_on:
        return METHODS | dict.fromkeys((METRICS, *REFLECTION, *CHANNELZ), NOTHING)
    return METHODS | {METRICS: _WORDS[config.metrics]} | dict.fromkeys(REFLECTION, _WORDS[config.reflection])
