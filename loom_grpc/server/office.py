"""The methods of AdminService about organizations, teams, users, keys, budgets, usage and the records of calls."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message_factory import GetMessageClass

from loom_grpc.v1.admin_service_pb2 import DESCRIPTOR

CHANGES: Final = (
    "CreateOrganization",
    "UpdateOrganization",
    "DeleteOrganization",
    "CreateTeam",
    "UpdateTeam",
    "DeleteTeam",
    "CreateUser",
    "UpdateUser",
    "DeleteUser",
    "CreateKey",
    "UpdateKey",
    "RotateKey",
    "RevokeKey",
    "CreateBudget",
    "UpdateBudget",
    "DeleteBudget",
)
"""What is done to its end even if the caller goes away meanwhile."""
QUESTIONS: Final = (
    "ListOrganizations",
    "ListTeams",
    "ListUsers",
    "ListKeys",
    "ListBudgets",
    "QueryUsage",
    "ListCalls",
    "GetCall",
)
REQUESTS: Final[dict[str, type[Any]]] = {
    name: GetMessageClass(DESCRIPTOR.services_by_name["AdminService"].methods_by_name[name].input_type)
    for name in (*CHANGES, *QUESTIONS)
}
"""What each method takes, as the contract has it."""
