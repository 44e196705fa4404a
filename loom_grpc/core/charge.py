"""What one attempt is charged for: what the provider says that it used, and a guess where it does not say."""

from __future__ import annotations

from collections.abc import Iterable

from loom_grpc.core.call import Call
from loom_grpc.core.estimate import estimate_inputs, estimate_text, estimate_tokens
from loom_grpc.core.tariff import CURRENCY, Tariffs
from loom_grpc.v1.access_pb2 import Charge
from loom_grpc.v1.llm_service_pb2 import EmbedInput, LlmResponse
from loom_grpc.v1.usage_pb2 import Usage


def charge_answer(call: Call, response: LlmResponse) -> None:
    """Charges a call for an answer that came whole; one without usage is guessed."""
    charge = _charge(call, response.usage if response.HasField("usage") else _guess(call, response))
    if response.HasField("reported_cost"):
        charge.reported_cost.CopyFrom(response.reported_cost)
    call.bill.add(charge)


def charge_fragment(call: Call, response: LlmResponse | None) -> None:
    """Charges a call for what came of an answer before it broke off, which is a guess.

    The prompt counts also when nothing came: who has been asked has read it.
    """
    call.bill.add(_charge(call, _guess(call, response)))


def charge_vectors(call: Call, usage: Usage) -> None:
    """Charges a call for vectors."""
    call.bill.add(_charge(call, usage))


def charge_inputs(call: Call, inputs: Iterable[EmbedInput]) -> None:
    """Charges a call for inputs of which no vectors came, which is a guess."""
    call.bill.add(_charge(call, Usage(input_tokens=estimate_inputs(inputs), estimated=True)))


def price(charge: Charge, tariffs: Tariffs) -> None:
    """Writes into a charge what it cost, unless that is written or not known."""
    if charge.HasField("cost"):
        return
    tariff = tariffs(charge.provider, charge.model)
    if tariff is not None:
        charge.cost.nanos, charge.cost.currency_code = tariff.cost(charge.usage), CURRENCY


def _charge(call: Call, usage: Usage) -> Charge:
    return Charge(provider=call.provider, model=call.model, account=call.account, usage=usage)


def _guess(call: Call, response: LlmResponse | None) -> Usage:
    usage = Usage()
    if response is not None:
        usage.CopyFrom(response.usage)
        usage.output_tokens = max(usage.output_tokens, estimate_text(response.message))
    usage.input_tokens = usage.input_tokens or estimate_tokens(call.request)
    usage.estimated = True
    return usage
