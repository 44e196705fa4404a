"""A client of the first contract, with nothing but the stubs generated from it: calls every method and prints what it understood."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from loom_grpc.v1 import llm_service_pb2 as pb
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub


def told(message: Message) -> dict[str, Any]:
    """Writes a message as it is seen by this contract."""
    seen: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return seen


def failure(error: grpc.RpcError) -> dict[str, Any]:
    """Writes a failed call as it is seen by this contract."""
    trailers: dict[str, Any] = {item.key: item.value for item in error.trailing_metadata()}
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return {"code": error.code().name, "reason": info.reason, "domain": info.domain}


def tried(call: Callable[[], Any]) -> Any:
    """Returns what came of a call."""
    try:
        return call()
    except grpc.RpcError as error:
        return failure(error)


def until_the_end(events: Any) -> list[dict[str, Any]]:
    """Returns the events that came, and last the failure where there was one."""
    seen = []
    try:
        for event in events:
            seen.append(told(event))  # noqa: PERF401 # what came before an error counts too
    except grpc.RpcError as error:
        seen.append(failure(error))
    return seen


def main(target: str, requests: dict[str, Any]) -> None:
    """Calls every method."""
    made = {name: ParseDict(request, pb.LlmRequest()) for name, request in requests.items()}
    with grpc.insecure_channel(target) as channel:
        stub = LlmServiceStub(channel)
        outcome = {
            "complete": tried(lambda: told(stub.Complete(made["good"], timeout=10))),
            "stream": until_the_end(stub.Stream(made["good"], timeout=10)),
            "count_tokens": tried(lambda: told(stub.CountTokens(made["good"], timeout=10))),
            "list_models": tried(lambda: told(stub.ListModels(pb.ListModelsRequest(page_size=2), timeout=10))),
            "wrong": tried(lambda: told(stub.Complete(made["wrong"], timeout=10))),
            "cut": until_the_end(stub.Stream(made["cut"], timeout=10)),
            "full": base64.b64encode(made["full"].SerializeToString()).decode(),
        }
    print(
        json.dumps(
            {**outcome, "methods": [method.name for method in pb.DESCRIPTOR.services_by_name["LlmService"].methods]}
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], json.load(sys.stdin))
