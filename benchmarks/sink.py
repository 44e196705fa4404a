"""A collector that takes every OTLP export and forgets it: `python -m benchmarks.sink PORT`."""

from __future__ import annotations

import sys

import grpc.aio
import uvloop


async def _forget(_request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """Answers with the empty message, which is "everything taken" in OTLP."""
    return b""


class Sink(grpc.GenericRpcHandler):
    """Knows every method there is."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Takes the call, whatever its name."""
        return grpc.unary_unary_rpc_method_handler(_forget)


async def main(port: int) -> None:
    """Serves until it is stopped."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Sink(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
