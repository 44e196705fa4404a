"""Messages of the contract as JSON, for every field of what operators write."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict

from loom_grpc.frontends.body import Fields, HttpError
from loom_grpc.frontends.contract_json import fill, flag_of, write
from loom_grpc.v1 import admin_service_pb2 as pb
from loom_grpc.v1.access_pb2 import ACCESS_ROLE_ADMIN, Allowed, ApiKey, Limits

KEY: dict[str, Any] = {
    "id": "key-1",
    "prefix": "lk_abcdef",
    "display_name": "Batch \U0001f9f5",
    "user": "anna",
    "team": "red",
    "organization": "acme",
    "role": "ACCESS_ROLE_ADMIN",
    "allowed": {"providers": ["openai"], "models": ["a", "b"], "routes": [], "source_networks": ["10.0.0.0/8"]},
    "limits": {"requests_per_minute": "0", "tokens_per_minute": "9223372036854775807"},
    "create_time": "2026-11-21T10:00:00.123456Z",
    "expire_time": "2027-11-21T10:00:00Z",
    "replaced_by": "key-2",
}


def read(message: Any, value: Any) -> Any:
    fill(message, Fields(value))
    return message


def test_what_is_read_is_what_is_written() -> None:
    key = read(ApiKey(), KEY)

    assert (key.role, key.allowed.models, key.limits.HasField("requests_per_minute")) == (
        ACCESS_ROLE_ADMIN,
        ["a", "b"],
        True,
    )
    assert orjson.loads(write(key)) == KEY


def test_labels_times_and_numbers_are_read_in_both_of_their_shapes() -> None:
    filter = read(pb.CallFilter(), {"labels": {"a": "b"}, "start_time": "2026-11-21T12:00:00+02:00"})
    request = read(pb.RotateKeyRequest(), {"overlap": "1.5s"})
    numbers = [read(Limits(), {"tokens_per_minute": value}).tokens_per_minute for value in (7, "7", "-7", 2**63 - 1)]

    assert MessageToDict(filter) == {"labels": {"a": "b"}, "startTime": "2026-11-21T10:00:00Z"}
    assert request.overlap.ToMilliseconds() == 1500
    assert numbers == [7, 7, -7, 2**63 - 1]


def test_null_is_as_if_it_were_not_there_and_an_empty_object_is() -> None:
    key = read(ApiKey(), {"user": None, "limits": None, "allowed": {}})

    assert (key.HasField("limits"), key.HasField("allowed"), key.allowed) == (False, True, Allowed())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"usr": 1}, "usr: is not known here; this takes id, prefix, "),
        ({"displayName": "x"}, "displayName: is not known here; "),
        ({"x" * 500: 1}, f"{'x' * 80}: is not known here; "),
        ({"user": 5}, "user: must be a string."),
        ({"user": ["x"]}, "user: must be a string."),
        ({"user": "\ud800"}, "user: has half of a surrogate pair."),
        ({"role": 1}, "role: must be a string."),
        ({"role": "ROOT"}, "role: must be one of ACCESS_ROLE_UNSPECIFIED, ACCESS_ROLE_USER, ACCESS_ROLE_ADMIN."),
        ({"allowed": []}, "allowed: must be an object."),
        ({"allowed": {"models": "x"}}, "allowed.models: must be an array."),
        ({"allowed": {"models": [None]}}, "allowed.models[0]: must be a string."),
        ({"allowed": {"model": ["x"]}}, "allowed.model: is not known here; "),
        ({"limits": {"tokens_per_minute": 2**63}}, "limits.tokens_per_minute: must be an integer of 64 bits."),
        ({"limits": {"tokens_per_minute": "9" * 19}}, "limits.tokens_per_minute: must be an integer of 64 bits."),
        ({"limits": {"tokens_per_minute": "٣"}}, "limits.tokens_per_minute: must be an integer of 64 bits."),
        ({"limits": {"tokens_per_minute": ""}}, "limits.tokens_per_minute: must be an integer of 64 bits."),
        ({"limits": {"tokens_per_minute": 1.0}}, "limits.tokens_per_minute: must be an integer of 64 bits."),
        ({"expire_time": {"seconds": 1}}, "expire_time: must be a string."),
        ({"expire_time": "2026-13-01T00:00:00Z"}, "expire_time: must be a time such as "),
        ({"expire_time": "99999-01-01T00:00:00Z"}, "expire_time: must be a time such as "),
        ({"expire_time": ""}, "expire_time: must be a time such as "),
    ],
)
def test_what_does_not_fit_is_refused_by_its_path(value: Any, message: str) -> None:
    with pytest.raises(HttpError) as refusal:
        read(ApiKey(), value)

    assert refusal.value.status == 422
    assert refusal.value.message.startswith(message)


@pytest.mark.parametrize("text", ["soon", "1", "1e999s", "999999999999999999s", "s"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(HttpError) as refusal:
        read(pb.RotateKeyRequest(), {"overlap": text})

    assert refusal.value.message == "overlap: must be a number of seconds such as 3600s."


def test_a_label_must_be_a_text() -> None:
    with pytest.raises(HttpError) as refusal:
        read(pb.CallFilter(), {"labels": {"a": 1}})

    assert refusal.value.message == "labels.a: must be a string."


def test_a_flag_of_an_address_is_true_or_false() -> None:
    with pytest.raises(HttpError):
        flag_of("True", "x")

    assert (flag_of("true", "x"), flag_of("false", "x")) == (True, False)
