"""The example of the Python client as somebody runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.program import ROOT, Server, environment

CHAT = [sys.executable, str(ROOT / "clients" / "python" / "examples" / "chat.py")]


def start(server: Server, model: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [*CHAT, "--target", server.grpc_address, "--provider", "mock", "--model", model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(),
    )


def test_each_line_is_answered(live_server: Server, tmp_path: Path) -> None:
    with start(live_server, "mock-echo", tmp_path) as chat:
        out, err = chat.communicate("Hello there\nAnd now?\n", timeout=20)

    assert (out, err, chat.returncode) == ("> Hello there\n> And now?\n> ", "", 0)


def test_ctrl_c_stops_an_answer_and_not_the_conversation(live_server: Server, tmp_path: Path) -> None:
    with start(live_server, "mock-slow", tmp_path) as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        chat.stdin.write("Hi\n")
        chat.stdin.flush()
        begun = chat.stdout.read(len("> Hello! "))
        chat.send_signal(signal.SIGINT)
        out, err = chat.communicate(timeout=20)

    assert (begun, out, err, chat.returncode) == ("> Hello! ", "\n(stopped)\n> ", "", 0)


def test_an_error_is_said_and_the_conversation_goes_on(live_server: Server, tmp_path: Path) -> None:
    with start(live_server, "mock-quota", tmp_path) as chat:
        out, err = chat.communicate("Hi\n", timeout=20)

    assert (out, chat.returncode) == ("> > ", 0)
    assert err.startswith("\nPROVIDER_QUOTA_EXCEEDED: ")
