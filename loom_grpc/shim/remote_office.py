"""The office of a loom-grpc server somewhere else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from loom_grpc.client import LoomClient, llm_error
from loom_grpc.v1.admin_service_pb2 import ExportCallsRequest, ExportCallsResponse
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub


class RemoteOffice:
    """Passes what an operator asks for on to a server, which decides; cancelling cancels there too."""

    def __init__(self, client: LoomClient, metadata: list[tuple[str, str]]) -> None:
        self._stub: Any = AdminServiceStub(client.channel)
        self._target = client.target
        self._metadata = metadata

    async def perform(self, request: Message) -> Message:
        """Has the server do what a request asks for."""
        method = getattr(self._stub, request.DESCRIPTOR.name.removesuffix("Request"))
        try:
            response: Message = await method(request, metadata=self._metadata)
        except grpc.aio.AioRpcError as failure:
            raise llm_error(failure, self._target) from failure
        return response

    async def export_calls(self, request: ExportCallsRequest) -> AsyncGenerator[ExportCallsResponse, None]:
        """Yields what the server sends."""
        rpc = self._stub.ExportCalls(request, metadata=self._metadata)
        try:
            async for response in rpc:
                yield response
        except grpc.aio.AioRpcError as failure:
            raise llm_error(failure, self._target) from failure
        finally:
            rpc.cancel()
