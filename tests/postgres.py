"""A PostgreSQL of the tests' own on a free port of 127.0.0.1, gone afterwards; or the one that `LOOM_TEST_POSTGRES_URL` names."""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.needed import needed
from tests.ports import free_ports

PASSWORD = "pass-of-the-tests"
_MISSING = (
    "PostgreSQL is not installed, and these tests need it: `apt-get install postgresql` (Debian, Ubuntu)"
    " or `brew install postgresql` (macOS), or name a server in LOOM_TEST_POSTGRES_URL, whose user may make databases."
)
_RUN_AS = "import os, sys; os.setuid(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
# What a crash of the machine would lose is not worth the time.
_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=60")


@dataclass(frozen=True)
class Databases:
    """A server on which tests make databases of their own, by the URL of one that is there."""

    first: str

    def url(self, database: str = "") -> str:
        """Returns a database's URL."""
        return urlsplit(self.first)._replace(path=f"/{database}").geturl() if database else self.first

    def new_database(self) -> str:
        """Makes an empty database and returns its URL."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, url: str = "") -> list[tuple[object, ...]]:
        """Runs a statement beside the code under test and returns its rows."""
        with psycopg.connect(url or self.first, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True)
class Postgres(Databases):
    """A server of the tests' own, which they may stop."""

    folder: Path
    port: int

    def start(self) -> None:
        """Starts the server and waits until it serves."""
        settings = (*_SETTINGS, "listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=")
        options = " ".join(f"-c {setting}" for setting in settings)
        _run("pg_ctl", "start", "--wait", f"--pgdata={self.folder}", f"--log={self.folder}/log", f"--options={options}")

    def kill(self) -> None:
        """Ends the server and all of its processes at once, by SIGKILL."""
        note = self.folder / "postmaster.pid"
        pid = int(note.read_text().split()[0])
        os.kill(pid, signal.SIGSTOP)  # or it would begin others
        ends = [os.pidfd_open(process) for process in (*children_of(pid), pid)]
        for end in ends:
            signal.pidfd_send_signal(end, signal.SIGKILL)
        for end in ends:
            select.select([end], [], [])
            os.close(end)
        note.unlink()  # where nobody buries the dead, they look alive to the next server

    def stop(self) -> None:
        """Stops the server as a crash would; the pid is the one in its folder."""
        if (self.folder / "postmaster.pid").exists():
            _run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={self.folder}")


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Runs a server; see `needed` for a machine without PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="loom-postgres-"))
    try:
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        _give_away(folder, password_file)
        cluster = folder / "cluster"
        _run(
            *("initdb", f"--pgdata={cluster}", "--username=loom", "--auth=scram-sha-256", f"--pwfile={password_file}"),
            *("--encoding=UTF8", "--locale=C", "--no-sync"),
        )
        (port,) = free_ports(1)
        server = Postgres(f"postgresql://loom:{PASSWORD}@127.0.0.1:{port}/postgres", cluster, port)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@contextmanager
def databases() -> Iterator[Databases]:
    """Gives a server for tests that do nothing to the server itself."""
    given = os.environ.get("LOOM_TEST_POSTGRES_URL")
    if given:
        yield Databases(given)
        return
    with postgres_server() as server:
        yield server


def children_of(pid: int) -> list[int]:
    """Returns the processes that a process has begun (Linux)."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _run(program: str, *arguments: str) -> None:
    """Runs one of PostgreSQL's programs, which refuse to be run by root."""
    # What the server inherits it keeps open: with a pipe for its output, waiting for its end would last as long as the server.
    with tempfile.TemporaryFile("w+") as output:
        command = [*_as_owner(), _find(program), *arguments]
        code = subprocess.run(command, stdout=output, stderr=output, cwd="/", check=False).returncode  # noqa: S603
        output.seek(0)
        assert code == 0, (code, output.read())


def _find(program: str) -> str:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    found = shutil.which(program, path=os.pathsep.join([*map(str, debian), os.environ.get("PATH", "")]))
    return needed(found, _MISSING)


def _as_owner() -> list[str]:
    """Returns how a command begins that its owner runs.

    What `subprocess` does for `user` is a fork, in which gRPC's handlers crash every other time while its threads are at work.
    """
    owner = _owner()
    return [] if owner is None else [sys.executable, "-ISc", _RUN_AS, str(owner)]


def _owner() -> int | None:
    if os.geteuid() != 0:
        return None
    users = {user.pw_name: user.pw_uid for user in pwd.getpwall()}
    return users.get("postgres", users["nobody"])


def _give_away(*paths: Path) -> None:
    owner = _owner()
    if owner is not None:
        for path in paths:
            os.chown(path, owner, -1)
