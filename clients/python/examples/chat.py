"""A conversation in the terminal: `LOOM_API_KEY=... python chat.py [--target host:port] [--model M] [--provider P]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys

from loom_grpc.client import DEFAULT_TARGET, LlmError, LlmResponse, LoomClient, Message, user


async def answer(loom: LoomClient, messages: list[Message], provider: str, model: str) -> LlmResponse | None:
    """Prints an answer as it comes and returns it whole; cancelling stops it."""
    async with loom.stream(messages=messages, provider=provider, model=model) as stream:
        async for event in stream:
            print(event.text_delta.content, end="", flush=True)
    print()
    return stream.response


def main() -> None:
    """Reads a line, answers it and keeps both, until the end of the input; Ctrl-C stops an answer."""
    parser = argparse.ArgumentParser(description="Talks to a model; Ctrl-C stops an answer, Ctrl-D ends.")
    parser.add_argument("--target", default=DEFAULT_TARGET)
    parser.add_argument("--model", default="")
    parser.add_argument("--provider", default="")
    arguments = parser.parse_args()
    loom = LoomClient(arguments.target, api_key=os.environ.get("LOOM_API_KEY") or None)
    messages: list[Message] = []
    with asyncio.Runner() as runner, contextlib.suppress(KeyboardInterrupt):
        while True:
            print("> ", end="", flush=True)
            prompt = sys.stdin.readline()
            if not prompt:
                break
            said = user(prompt.strip())
            try:
                response = runner.run(answer(loom, [*messages, said], arguments.provider, arguments.model))
            except KeyboardInterrupt:
                print("\n(stopped)")
            except LlmError as error:
                print(f"\n{error.name}: {error.message}", file=sys.stderr)
            else:
                messages += [said, *([response.message] if response else [])]


if __name__ == "__main__":
    main()
