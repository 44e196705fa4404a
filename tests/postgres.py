"""A PostgreSQL server of the tests' own: a cluster in a temporary folder, on a free port of 127.0.0.1, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

PASSWORD = "pass-of-the-tests"
_MISSING = (
    "PostgreSQL is not installed, and these tests need it: `apt-get install postgresql` (Debian, Ubuntu)"
    " or `brew install postgresql` (macOS). Its programs are looked for in the PATH and in /usr/lib/postgresql."
)
# What a crash of the machine would lose is not worth the time.
_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=60")


@dataclass(frozen=True)
class Postgres:
    """A server, and how to reach it as its owner."""

    folder: Path
    port: int

    def url(self, database: str = "postgres") -> str:
        """Returns a database's URL."""
        return f"postgresql://loom:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Makes an empty database and returns its URL."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, url: str = "") -> list[tuple[object, ...]]:
        """Runs a statement beside the code under test and returns its rows."""
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Starts the server and waits until it serves."""
        settings = (*_SETTINGS, "listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=")
        options = " ".join(f"-c {setting}" for setting in settings)
        _run("pg_ctl", "start", "--wait", f"--pgdata={self.folder}", f"--log={self.folder}/log", f"--options={options}")

    def stop(self) -> None:
        """Stops the server as a crash would; the pid is the one in its folder."""
        if (self.folder / "postmaster.pid").exists():
            _run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={self.folder}")


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Runs a server; without PostgreSQL on the machine the test fails and says what to install."""
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
        server = Postgres(cluster, _free_port())
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _run(program: str, *arguments: str) -> None:
    """Runs one of PostgreSQL's programs, which refuse to be run by root."""
    # What the server inherits it keeps open: with a pipe for its output, waiting for its end would last as long as the server.
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.run(  # noqa: S603
            [_find(program), *arguments], stdout=output, stderr=output, user=_owner(), cwd="/", check=False
        ).returncode
        output.seek(0)
        assert code == 0, output.read()


def _find(program: str) -> str:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    found = shutil.which(program, path=os.pathsep.join([*map(str, debian), os.environ.get("PATH", "")]))
    assert found, _MISSING
    return found


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
