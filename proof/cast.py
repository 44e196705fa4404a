"""The processes of the fault run, each of which can be killed by SIGKILL and started again."""

from __future__ import annotations

import os
import secrets
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
from cryptography.fernet import Fernet

from loom_grpc.access.key import digest, new_key, shown_prefix
from loom_grpc.storage.database import Database
from loom_grpc.storage.directory import DatabaseDirectory
from loom_grpc.v1.access_pb2 import ApiKey, HashedKey, Organization, User
from tests.ports import free_ports
from tests.postgres import Postgres, children_of, postgres_server
from tests.program import COMMAND, WAIT_S, environment
from tests.rabbitmq_server import RabbitServer
from tests.redis_server import RedisServer, redis_server

MODELS: Final = ("mock/mock-echo", "mock/mock-words")
PRICES: Final = {"input": 1.25, "output": 10}
WORKERS: Final = 2
SERVES: Final = " chat "
"""What the last line of a server's greeting holds."""


class Victim(Protocol):
    """What is killed."""

    def kill(self) -> None:
        """Ends it by SIGKILL."""

    def start(self) -> None:
        """Starts it again and waits until it serves."""


class Program:
    """A command of `loom-grpc`, with the processes that it begins; what it says goes to a file."""

    def __init__(self, folder: Path, *arguments: str, greeting: str = "") -> None:
        self.log = folder / f"{arguments[0]}.log"
        self._folder = folder
        self._arguments = arguments
        self._greeting = greeting
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The first of its processes."""
        assert self._process is not None, self._arguments  # noqa: S101 - it was started
        return self._process.pid

    def start(self) -> None:
        """Starts it, and waits for its greeting if it has one."""
        with self.log.open("a") as log:
            process = self._process = subprocess.Popen(
                [*COMMAND, *self._arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment({"XDG_STATE_HOME": str(self._folder)}),
                cwd=self._folder,
                start_new_session=True,
            )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while self._greeting and self._greeting not in (line := process.stdout.readline()):
            if not line:
                raise RuntimeError(f"{self._arguments[0]} did not start: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """Ends it and all that it has begun."""
        process = self._process
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            self._ended(process)

    def stop(self) -> int:
        """Asks it to end, and returns its exit code."""
        assert self._process is not None, self._arguments  # noqa: S101 - it was started
        self._process.terminate()
        return self._ended(self._process)

    def _ended(self, process: subprocess.Popen[str]) -> int:
        self._process = None
        with process:
            return process.wait(WAIT_S)


class OneWorker:
    """One of the workers of a server, which starts another in its place."""

    def __init__(self, server: Program) -> None:
        self._server = server
        self._killed = 0

    def kill(self) -> None:
        """Ends one worker, each time the next."""
        workers = [pid for pid in children_of(self._server.pid) if b"spawn_main" in _command(pid)]
        if workers:
            self._killed += 1
            os.kill(workers[self._killed % len(workers)], signal.SIGKILL)

    def start(self) -> None:
        """Leaves that to the server."""


class RedisVictim:
    """A Redis, which comes back empty."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def kill(self) -> None:
        """Ends it."""
        self._server.stop()

    def start(self) -> None:
        """Starts it, and waits until it serves."""
        self._server.start()


@dataclass
class Cast:
    """All of them, and how to reach what callers and judges need."""

    folder: Path
    key: str
    grpc_address: str
    http_url: str
    database_url: str
    broker_url: str
    names: Mapping[str, str]
    """Of the exchanges and queues."""
    server: Program
    auditor: Program
    postgres: Postgres
    redis: RedisServer
    victims: Mapping[str, Victim]

    def spooled(self) -> int:
        """Counts the records that wait in the files of the spool."""
        return sum(map(_records_in, (self.folder / "spool").glob("spool-*.db")))

    def crashes(self) -> int:
        """Counts the failures in the logs that nobody had foreseen."""
        logs = "".join(program.log.read_text() for program in (self.server, self.auditor))
        return logs.count("Traceback") + logs.count('"event":"crashed"')


@contextmanager
def cast(folder: Path, rabbitmq: RabbitServer) -> Iterator[Cast]:
    """Starts them all, with a key, and ends them."""
    with postgres_server() as postgres, redis_server() as redis:
        key, url = new_key("lt"), postgres.new_database()
        ports = free_ports(2)
        names = _names()
        settings = _configuration(folder, url, redis.url, {"url": rabbitmq.url, **names}, ports)
        file = folder / "loom.json"
        file.write_bytes(orjson.dumps(settings))
        server = Program(folder, "serve", "--config", str(file), greeting=SERVES)
        auditor = Program(folder, "auditor", "--config", str(file))
        victims: dict[str, Victim] = {
            "server": server,
            "one of its workers": OneWorker(server),
            "auditor": auditor,
            "PostgreSQL": postgres,
            "RabbitMQ": rabbitmq,
            "Redis": RedisVictim(redis),
        }
        addresses = f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        found = Cast(folder, key, *addresses, url, rabbitmq.url, names, server, auditor, postgres, redis, victims)
        try:
            yield found
        finally:
            server.kill()
            auditor.kill()


async def let_in(key: str, database_url: str) -> None:
    """Makes the key known, as one of a user of an organization."""
    directory = DatabaseDirectory(Database(database_url))
    await directory.create(Organization(id="acme"))
    await directory.create(User(id="ann", organization="acme"))
    kept = ApiKey(id="key-1", prefix=shown_prefix(key), user="ann", organization="acme")
    await directory.create_key(HashedKey(key=kept, sha256=digest(key)))
    await directory.close()


def _names() -> dict[str, str]:
    own = f"proof-{secrets.token_hex(8)}"
    dead = f"{own}.dead"
    return {"exchange": own, "queue": own, "dead_letter_exchange": dead, "dead_letter_queue": dead}


def _configuration(
    folder: Path, database_url: str, redis_url: str, bus: Mapping[str, str], ports: Sequence[int]
) -> dict[str, Any]:
    return {
        "grpc": {"address": f"127.0.0.1:{ports[0]}", "drain_grace_s": 5},
        "http": {"address": f"127.0.0.1:{ports[1]}"},
        "workers": WORKERS,
        "log": {"level": "info", "access": False, "format": "json"},
        "access": {"enabled": True},
        "limits": {"key": {"requests_per_minute": 1_000_000, "concurrent_streams": 1000}, "redis_url": redis_url},
        "spending": {"budgets": [{"scope": "organization", "id": "acme", "period": "total", "usd": 1000}]},
        "audit": {"bus": dict(bus), "spool_dir": str(folder / "spool"), "flush_s": 0.2},
        "database": {"url": database_url},
        "credentials": {"encryption_key": Fernet.generate_key().decode()},
        "providers": {"mock": {}},
        "models": {model: {"prices": PRICES, "max_output_tokens": 1000} for model in MODELS},
    }


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just died
        return b""


def _records_in(file: Path) -> int:
    try:
        # A living process keeps its file locked, so it is looked at without locks, and without the memory that they are in.
        with closing(sqlite3.connect(f"file:{file}?mode=ro&vfs=unix-none", uri=True)) as database:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            found = database.execute("SELECT count(*) FROM record").fetchone()
    except sqlite3.Error:  # it is being made, or taken away
        return 0
    return int(found[0])
