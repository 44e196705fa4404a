"""The yardstick: a gRPC handler that answers from memory, with nothing behind it.

`python -m benchmarks.bare PORT` serves LlmService's Complete and Stream.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc.aio
import uvloop

from benchmarks.script import ANSWER, WORD, read_model
from loom_grpc.v1 import llm_service_pb2 as pb
from loom_grpc.v1 import message_pb2, usage_pb2

_RESPONSE = pb.LlmResponse(
    message=message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, content=ANSWER),
    usage=usage_pb2.Usage(input_tokens=24, output_tokens=48),
    finish_reason="stop",
    stop_reason=pb.STOP_REASON_STOP,
    id="chatcmpl-BxQ7aUqJ0w1",
    provider="openai",
    model="bench",
)
_STARTED = pb.LlmEvent(started=pb.Started(id="chatcmpl-BxQ7aUqJ0w1", provider="openai", model="bench", attempt=1))
_WORD = pb.LlmEvent(text_delta=pb.TextDelta(content=WORD))
_COMPLETED = pb.LlmEvent(completed=pb.Completed(response=_RESPONSE))


async def _complete(_request: pb.LlmRequest, _context: grpc.aio.ServicerContext[Any, Any]) -> pb.LlmResponse:
    return _RESPONSE


async def _stream(request: pb.LlmRequest, context: grpc.aio.ServicerContext[pb.LlmRequest, pb.LlmEvent]) -> None:
    """Writes the words that the model's name asks for, at its pace."""
    chunks, pace_s = read_model(request.model.encode())
    now = asyncio.get_running_loop().time
    due = now()
    await context.write(_STARTED)
    for _ in range(chunks):
        if pace_s:
            due += pace_s
            await asyncio.sleep(due - now())
        await context.write(_WORD)
    await context.write(_COMPLETED)


_METHODS = {
    "Complete": grpc.unary_unary_rpc_method_handler(
        _complete,
        request_deserializer=pb.LlmRequest.FromString,
        response_serializer=pb.LlmResponse.SerializeToString,
    ),
    "Stream": grpc.unary_stream_rpc_method_handler(
        _stream,
        request_deserializer=pb.LlmRequest.FromString,
        response_serializer=pb.LlmEvent.SerializeToString,
    ),
}


async def main(port: int) -> None:
    """Serves until it is stopped."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("loom_grpc.v1.LlmService", _METHODS),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
