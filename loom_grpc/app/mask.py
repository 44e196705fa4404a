"""What an update changes of a thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from loom_grpc.app.check import wrong
from loom_grpc.core.directory import T, Thing
from loom_grpc.v1.access_pb2 import ApiKey, Organization, Team, User

_MAY_CHANGE: Final[dict[type[Thing], tuple[str, ...]]] = {
    Organization: ("display_name", "limits", "disabled"),
    Team: ("organization", "display_name", "limits", "disabled"),
    User: ("organization", "team", "display_name", "role", "limits", "disabled"),
    ApiKey: ("display_name", "expire_time", "allowed", "limits"),
}
SET_BY_SERVER: Final = ("prefix", "create_time", "revoke_time", "replaced_by")
"""What an operator may send back as it was, without a mask, and cannot change."""
_SHOWN: Final = 80


def merged(old: T, new: T, mask: FieldMask, at: str) -> tuple[T, list[str]]:
    """Returns a thing with what an update changes of it, and the names of those fields; raises `LlmError`.

    The mask may name a field within a field, such as `limits.requests_per_minute`.
    """
    paths = _checked(old, mask.paths) if mask.paths else _set(old, new, at)
    source, target = type(new)(), type(old)()
    source.CopyFrom(new)
    target.CopyFrom(old)
    for path in paths:
        name, _, within = path.partition(".")
        if within:  # of a message that is not set nothing would be taken
            getattr(source, name).SetInParent()
    FieldMask(paths=paths).MergeMessage(source, target, True, True)
    return target, [path.partition(".")[0] for path in paths]


def _checked(old: Thing, paths: Sequence[str]) -> list[str]:
    for path in paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(old.DESCRIPTOR):
            raise wrong("update_mask", f"{path[:_SHOWN]!r} is no field of {old.DESCRIPTOR.name}")
        if path.partition(".")[0] not in _MAY_CHANGE[type(old)]:
            raise wrong("update_mask", f"{path} cannot be changed; {_takes(old)}")
    return list(paths)


def _set(old: T, new: T, at: str) -> list[str]:
    """Returns the fields that are set; those that cannot be changed may be there as they were."""
    paths = []
    for descriptor, value in new.ListFields():
        name = descriptor.name
        if name in _MAY_CHANGE[type(old)]:
            paths.append(name)
        elif name not in SET_BY_SERVER and value != getattr(old, name):
            raise wrong(f"{at}.{name}", f"cannot be changed; {_takes(old)}")
    return paths


def _takes(old: Thing) -> str:
    return f"what can be is {', '.join(_MAY_CHANGE[type(old)])}"
