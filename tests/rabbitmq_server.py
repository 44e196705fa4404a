"""A RabbitMQ of the tests' own on free ports of 127.0.0.1, gone afterwards; or the one that `LOOM_TEST_RABBITMQ_URL` names."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.needed import needed
from tests.ports import free_ports

PASSWORD = "pass-of-the-tests"
_START_S = 60.0
_MISSING = (
    "RabbitMQ is not installed, and these tests need it: `apt-get install rabbitmq-server` (Debian, Ubuntu) or"
    " `brew install rabbitmq` (macOS), or name a server in LOOM_TEST_RABBITMQ_URL."
)
_GREETING = b"AMQP\x00\x00\x09\x01"
# Debian's programs in the PATH are for root alone and use the machine's own node; those behind them are for anybody.
_DEBIAN = "/usr/lib/rabbitmq/bin"
# The node does not listen to other machines, and its threads do not spin while they have nothing to do.
_ERLANG = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none"


class RabbitServer:
    """A node with a user of its own, which a test may kill and start again; what is durable is in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port, self._epmd_port, self._node_port = free_ports(3)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://loom:{PASSWORD}@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Starts it and waits until it serves, which takes some seconds."""
        with (self._folder / "out").open("ab") as out:
            if self._epmd is None:  # else the node would start one that outlives it
                epmd = [_find("epmd"), "-port", str(self._epmd_port), "-address", "127.0.0.1"]
                self._epmd = subprocess.Popen(epmd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)  # noqa: S603
            self._node = subprocess.Popen(  # noqa: S603
                [_find("rabbitmq-server"), "-noinput"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment(),
                cwd=self._folder,
            )
        deadline = time.monotonic() + _START_S
        while not self._serves():
            assert self._node.poll() is None, (self._folder / "out").read_text()
            assert time.monotonic() < deadline, (self._folder / "out").read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._node is not None:
            self._node.kill()
            self._node.wait()
            self._node = None

    def close(self) -> None:
        """Ends it, and the program by which nodes find each other."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def _environment(self) -> dict[str, str]:
        settings = self._folder / "rabbitmq.conf"
        settings.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\ndefault_user = loom\ndefault_pass = {PASSWORD}\n"
        )
        return {
            "PATH": _path(),
            "HOME": str(self._folder),  # where Erlang keeps its cookie
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_ALLOW_INPUT": "1",  # then the node is the process that we start, and no child of it
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_NODENAME": f"loom-{self.port}@localhost",
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
        }

    def _serves(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.sendall(_GREETING)
                return bool(connection.recv(1))
        except OSError:
            return False


@contextmanager
def rabbitmq_server() -> Iterator[RabbitServer]:
    """Runs a server; see `needed` for a machine without RabbitMQ."""
    folder = Path(tempfile.mkdtemp(prefix="loom-rabbitmq-"))
    server = RabbitServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)


def given_url() -> str:
    """Returns the URL of the server that the tests shall use as long as they do nothing to the server itself; empty when there is none."""
    return os.environ.get("LOOM_TEST_RABBITMQ_URL", "")


def _path() -> str:
    return os.pathsep.join([_DEBIAN, os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])


def _find(program: str) -> str:
    found = shutil.which(program, path=_path())
    return needed(found, _MISSING)
