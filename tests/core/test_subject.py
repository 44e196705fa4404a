"""What administration is about, for the log."""

from __future__ import annotations

from typing import Any

import pytest

from loom_grpc.core.subject import is_key_text, subject
from loom_grpc.v1 import admin_service_pb2 as pb
from loom_grpc.v1.access_pb2 import ApiKey, Budget, Team

TEXT = "lk_0123456789abcdefghijABCDEFGHIJ0123456789"


@pytest.mark.parametrize(
    ("message", "about"),
    [
        (pb.CreateTeamRequest(team=Team(id="red")), "team/red"),
        (pb.UpdateTeamRequest(team=Team(id="red")), "team/red"),
        (pb.DeleteUserRequest(id="anna@acme.example"), "user/anna@acme.example"),
        (pb.RevokeKeyRequest(id="key-1"), "key/key-1"),
        (pb.GetCallRequest(id="01"), "call/01"),
        (pb.CreateKeyResponse(key=ApiKey(id="key-1"), secret=TEXT), "key/key-1"),
        (pb.CreateBudgetResponse(budget=Budget(id="budget-1", scope_id="x")), "budget/budget-1"),
        (pb.DeleteUserResponse(), ""),
        (pb.ListKeysRequest(user="anna"), ""),
        (pb.QueryUsageRequest(group_by=["user"]), ""),
        (pb.CreateKeyRequest(), ""),
        (pb.CreateKeyRequest(key=ApiKey(user="anna")), "key"),
        (pb.DeleteTeamRequest(id="x" * 500), f"team/{'x' * 128}"),
        (pb.RevokeKeyRequest(id=TEXT), "key"),
        (pb.RevokeKeyRequest(id=f" {TEXT} "), "key"),
    ],
)
def test_a_message_is_about_what_it_names(message: Any, about: str) -> None:
    assert subject(message) == about


def test_ids_are_not_taken_for_keys() -> None:
    assert [is_key_text(text) for text in (TEXT, "lk_of-a-team-with-a-rather-long-name-indeed", "lt_x", "")] == [
        True,
        False,
        False,
        False,
    ]
