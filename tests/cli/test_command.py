"""The commands and flags as a user meets them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import loom_grpc
from loom_grpc.cli import command, grammar
from loom_grpc.cli.reference import reference_markdown
from loom_grpc.client import DEFAULT_TARGET
from loom_grpc.config.weak_key import weakness
from tests.program import ROOT, Result, run
from tests.scripted import ANSWER, COMPLETED, STARTED, plays, serving, text

SERVERS_OWN = (
    "aio_pika",
    "aiohttp",
    "alembic",
    "authlib",
    "cryptography",
    "filelock",
    "google.auth",
    "grpc_health",
    "hvac",
    "joserfc",
    "opentelemetry",
    "orjson",
    "pydantic",
    "redis",
    "sqlalchemy",
    "starlette",
    "tqdm",
    "uvicorn",
    "uvloop",
)
CLIENT_ONLY = (
    sys.executable,
    "-c",
    f"import sys; sys.modules.update(dict.fromkeys({SERVERS_OWN})); from loom_grpc.cli import main; sys.exit(main())",
)


async def test_the_version_is_printed(tmp_path: Path) -> None:
    result = await run("--version", cwd=tmp_path)

    assert result == Result(0, f"loom-grpc {loom_grpc.__version__}\n", "")


async def test_nothing_to_do_shows_the_commands(tmp_path: Path) -> None:
    result = await run(cwd=tmp_path)

    assert (result.code, result.out) == (2, "")
    assert "commands:" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serv",), "argument command: invalid choice: 'serv' (choose from"),
        (("chat", "--modell", "m", "hi"), "unrecognized arguments: --modell"),
        (
            ("chat", "--timeout", "soon", "hi"),
            "argument --timeout: invalid number of seconds value: 'soon'; see loom-grpc chat --help",
        ),
        (
            ("chat", "--timeout", "-1", "hi"),
            "argument --timeout: invalid number of seconds value: '-1'; see loom-grpc chat --help",
        ),
        (("chat", "--model"), "argument -m/--model: expected one argument; see loom-grpc chat --help"),
        (("serve", "--tls"), "unrecognized arguments: --tls; see loom-grpc --help"),
    ],
)
async def test_wrong_usage_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = await run(*arguments, cwd=tmp_path)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("name", ["serve", "check-config", "health", "shim", "migrate", "encryption-key"])
async def test_without_the_server_parts_one_line_says_how_to_get_them(tmp_path: Path, name: str) -> None:
    result = await run(name, cwd=tmp_path, command=CLIENT_ONLY)

    message = "loom-grpc: the server parts are not installed; pip install 'loom-grpc[server]'\n"
    assert result == Result(1, "", message)


async def test_chat_needs_nothing_but_the_client(tmp_path: Path) -> None:
    async with serving() as server:
        server.play = plays(STARTED, text("hi"), COMPLETED)

        result = await run("chat", "Hi", "--target", server.target, cwd=tmp_path, command=CLIENT_ONLY)

    assert (result.code, result.out) == (0, f"{ANSWER.message.content}\n")


@pytest.mark.parametrize(
    "words",
    [
        ("accounts", "list"),
        ("keys", "list"),
        ("users", "list"),
        ("budgets", "list"),
        ("usage",),
        ("audit", "export", "--output", "calls"),
    ],
)
async def test_administration_needs_nothing_but_the_client(
    tmp_path: Path, unused_tcp_port: int, words: tuple[str, ...]
) -> None:
    target = f"127.0.0.1:{unused_tcp_port}"

    result = await run(*words, "--target", target, cwd=tmp_path, command=CLIENT_ONLY)

    assert result.code == 1
    assert result.err.endswith(f"error: no server at {target}; start one with `loom-grpc serve`\n")


async def test_an_admin_key_is_printed_that_a_server_takes(tmp_path: Path) -> None:
    first, second = [await run("admin-key", cwd=tmp_path, command=CLIENT_ONLY) for _ in range(2)]

    assert re.fullmatch(r"la_[0-9A-Za-z]{38}\n", first.out)
    assert (first.code, first.err, first.out != second.out) == (0, "", True)
    assert weakness(first.out.strip()) == ""


def test_the_usual_target_is_the_clients() -> None:
    assert grammar.DEFAULT_TARGET == DEFAULT_TARGET


def test_the_page_is_what_the_commands_are() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    assert page == reference_markdown()


def test_the_page_tells_of_every_variable() -> None:
    assert set(re.findall(r"LOOM_[A-Z_]+", reference_markdown())) == command.VARIABLES | {command.ADMIN_KEY}


def test_the_server_reads_its_admin_key_from_the_environment_as_well() -> None:
    assert command.ADMIN_KEY not in command.VARIABLES
