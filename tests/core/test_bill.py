from __future__ import annotations

from loom_grpc.core.bill import total
from loom_grpc.v1.access_pb2 import Charge
from loom_grpc.v1.usage_pb2 import Usage

COUNTS = [name for name in Usage.DESCRIPTOR.fields_by_name if name.endswith("_tokens")]


def counted(*numbers: int) -> Usage:
    """Returns usage with a number of tokens of each kind."""
    usage = Usage()
    for name, number in zip(COUNTS, numbers, strict=True):
        setattr(usage, name, number)
    return usage


def test_charges_are_added_up_kind_by_kind() -> None:
    first, second = counted(*range(11)), counted(*[100] * 11)
    first.provider_usage_json, second.estimated = "{}", True
    both = counted(*range(100, 111))
    both.estimated = True

    assert total([Charge(usage=first)]) == first
    assert total([Charge(usage=first), Charge(usage=second)]) == both


def test_what_no_provider_can_mean_adds_up_to_the_most_that_the_contract_holds() -> None:
    absurd = Charge(usage=counted(*[2**62] * 11))

    assert total([absurd] * 3) == counted(*[2**63 - 1] * 11)
