"""`loom-grpc chat`: an answer as it comes, or a conversation."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable

from loom_grpc.cli.output import FAILED, UsageError, note
from loom_grpc.cli.screen import EventLines, Screen
from loom_grpc.cli.server import make_client, report
from loom_grpc.client import LlmError, LlmRequest, LlmResponse, LoomClient, Message, system, user


def run(arguments: argparse.Namespace) -> int:
    """Answers one prompt, or holds a conversation when there is none and a person is there."""
    client = make_client(arguments)
    if not arguments.prompt and sys.stdin.isatty():
        if not sys.stdout.isatty() or arguments.json:
            raise UsageError("prompt: say what to ask, or - to read it from standard input")
        return _Conversation(client, arguments).hold()
    prompt = _prompt(arguments.prompt)
    with asyncio.Runner() as runner:
        try:
            runner.run(_answer(client, _request(arguments, [user(prompt)]), arguments))
        except LlmError as failure:
            report(failure, arguments.target)
            return FAILED
        finally:
            runner.run(client.close())
    return 0


def _prompt(words: Iterable[str]) -> str:
    text = " ".join(words)
    if text in ("", "-"):
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError:
            raise UsageError("standard input: is not UTF-8 text") from None
    if not text.strip():
        raise UsageError("prompt: is empty")
    return _checked(text, "prompt")


def _checked(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of the command line that were no UTF-8
        raise UsageError(f"{name}: is not UTF-8 text") from None
    return text


def _request(arguments: argparse.Namespace, messages: Iterable[Message]) -> LlmRequest:
    instructions = [system(_checked(arguments.system, "--system"))] if arguments.system else []
    return LlmRequest(
        provider=_checked(arguments.provider, "--provider"),
        model=_checked(arguments.model, "--model"),
        messages=[*instructions, *messages],
    )


async def _answer(client: LoomClient, request: LlmRequest, arguments: argparse.Namespace) -> LlmResponse:
    """Shows an answer event by event and returns it whole; cancelling cancels the call."""
    display = EventLines(sys.stdout) if arguments.json else Screen(sys.stdout, sys.stderr)
    began = time.monotonic()
    async with client.stream(request, timeout_s=arguments.timeout) as stream:
        try:
            async for event in stream:
                display.show(event)
        finally:
            display.end()
    if stream.response is None:
        raise AssertionError("a stream ends with an answer or an error")
    display.sum_up(stream.response, time.monotonic() - began)
    return stream.response


class _Conversation:
    """Prompts and answers in turn; each request carries the turns before."""

    def __init__(self, client: LoomClient, arguments: argparse.Namespace) -> None:
        self._client = client
        self._arguments = arguments
        self._messages: list[Message] = []

    def hold(self) -> int:
        """Goes on until the end of the input (Ctrl-D) or Ctrl-C at the prompt."""
        import readline  # noqa: F401 # gives input() line editing and history

        note("Ctrl-C stops an answer, Ctrl-D ends.")
        with asyncio.Runner() as runner:
            try:
                while True:
                    self._turn(runner, input("> "))
            except EOFError:
                note("")
                return 0
            finally:
                runner.run(self._client.close())

    def _turn(self, runner: asyncio.Runner, prompt: str) -> None:
        """Answers one prompt; one that got no answer is forgotten."""
        if not prompt.strip():
            return
        messages = [*self._messages, user(prompt)]
        try:
            answer = runner.run(_answer(self._client, _request(self._arguments, messages), self._arguments))
        except LlmError as failure:
            report(failure, self._arguments.target)
        except KeyboardInterrupt:
            note("cancelled")
        else:
            self._messages = [*messages, answer.message]
