"""`loom-grpc audit` at a running server, and exports at one that breaks off."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from loom_grpc.cli.output import harmless
from loom_grpc.v1.admin_service_pb2 import ExportCallsRequest, ExportCallsResponse
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceServicer, add_AdminServiceServicer_to_server
from loom_grpc.v1.audit_pb2 import CallRecord
from tests.operated import CALLS, MANY, NASTY, Operated
from tests.program import COMMAND, Result, at_terminal, run
from tests.scripted import Context

OLD = ("--until", "2026-11-06")


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def test_records_are_a_table_the_newest_first(operator: Operated) -> None:
    result = await operator("audit", "list", "--until", "2026-11-05")

    assert result == Result(
        0,
        "TIME                  ID  USER  KEY      MODEL          INPUT  OUTPUT       COST $  SECONDS  OUTCOME\n"
        "2026-11-04 12:00:00Z  04  ann   key-ann  openai/gpt-4o      7       0   1.23456789    1.234  cancelled, estimated\n"
        "2026-11-04 12:00:00Z  03  ann   key-ann  openai/gpt-4o      5       0                 1.234  PROVIDER_TIMEOUT\n"
        "2026-11-03 12:00:00Z  02  bob   key-bob  openai/gpt-4o  1,000      20  0.000000001    1.234  ok\n"
        "2026-11-03 12:00:00Z  01  ann   key-ann  openai/gpt-4o  1,000      20   1.23456789    1.234  ok\n",
        "",
    )


async def test_so_many_records_are_listed_as_are_asked_for(operator: Operated) -> None:
    few = await operator.json("audit", "list", "--limit", "2", "--json", "--user", "many")
    pages = await operator("audit", "list", "--limit", "1001", "--user", "many")

    assert [call["id"] for call in few] == [f"1{MANY - 1:04}", f"1{MANY - 2:04}"]
    assert pages.out.count("\n") == 1002


async def test_one_record_is_shown_whole(operator: Operated) -> None:
    call = await operator.json("audit", "show", "04")

    assert (call["prompt_json"], call["cost"]["nanos"], call["cancelled"]) == ('{"text":"hello"}', "1234567890", True)


async def test_a_record_that_is_not_there(operator: Operated) -> None:
    result = await operator("audit", "show", "99")

    assert (result.code, result.out) == (1, "")
    assert result.err.endswith("(NOT_FOUND)\n")


async def test_what_others_wrote_commands_no_terminal(operator: Operated) -> None:
    for words in (("list",), ("list", "--json"), ("export",), ("export", "--format", "csv")):
        arguments = ("audit", *words, *OLD, "--since", "2026-11-05")
        async with at_terminal(*arguments, env=operator.env(), cwd=operator.cwd) as terminal:
            assert await terminal.ends() == 0

        assert "DROP TABLE" in terminal.seen
        assert harmless(terminal.seen) == terminal.seen


async def test_an_export_as_json_lines_is_what_was_kept(operator: Operated) -> None:
    result = await operator("audit", "export", *OLD)

    lines = [json.loads(line) for line in result.out.splitlines()]
    assert (result.code, result.err) == (0, "")
    assert [(line["id"], line["caller"]["user"], line["labels"]) for line in lines] == [
        (call.id, call.caller.user, dict(call.labels)) for call in CALLS
    ]


async def test_an_export_as_csv_to_a_file(operator: Operated, tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    file.write_text("what was there before")

    result = await operator("audit", "export", "--format", "csv", "--output", str(file))

    assert (result.code, result.err) == (0, "")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["id"] for row in rows[: len(CALLS)]] == [call.id for call in CALLS]
    assert sum(row["user"] == "many" for row in rows) == MANY
    assert (rows[4]["user"], rows[4]["session_id"]) == (f"'{NASTY}", f"'{NASTY}")
    assert result.out == f"wrote {len(rows)} records to {file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert files(tmp_path) == ["calls.csv"]


async def test_a_terminal_sees_how_far_an_export_is(operator: Operated, tmp_path: Path) -> None:
    words = ("audit", "export", "--user", "many", "--output", str(tmp_path / "calls"))
    async with at_terminal(*words, env=operator.env(), cwd=operator.cwd) as terminal:
        assert await terminal.ends() == 0

    assert "100%|" in terminal.seen
    assert f"{MANY}/{MANY}" in terminal.seen
    assert len((tmp_path / "calls").read_text().splitlines()) == MANY


async def test_a_link_to_a_file_stays_one(operator: Operated, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "calls")

    result = await operator("audit", "export", *OLD, "-o", str(tmp_path / "link"))

    assert result.code == 0
    assert (tmp_path / "link").is_symlink()
    assert len((tmp_path / "calls").read_text().splitlines()) == len(CALLS)


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [
        ("/dev/null", 2, "/dev/null: is no file; without --output the export goes to standard output"),
        ("/dev", 2, "/dev: is no file; without --output the export goes to standard output"),
        ("/no such folder/x", 1, "/no such folder/x: No such file or directory"),
    ],
)
async def test_where_no_file_can_be_there_is_none(operator: Operated, output: str, code: int, message: str) -> None:
    result = await operator("audit", "export", "--output", output)

    assert result == Result(code, "", f"error: {message}\n")


async def test_a_full_disk_is_no_success(operator: Operated) -> None:
    command = ("sh", "-c", 'exec "$@" >/dev/full', "sh", *COMMAND)
    result = await run("audit", "export", command=command, env=operator.env(), cwd=operator.cwd)

    assert result == Result(1, "", "error: standard output: No space left on device\n")


async def test_an_export_that_nobody_reads_on_ends_quietly(operator: Operated) -> None:
    script = '{ "$@"; echo "code $?" >&2; } | head -n 1'
    command = ("sh", "-c", script, "sh", *COMMAND)
    result = await run("audit", "export", "--user", "many", command=command, env=operator.env(), cwd=operator.cwd)

    assert (json.loads(result.out)["id"], result.err) == ("10000", "code 141\n")


class Breaking(AdminServiceServicer):
    """Sends some of three records and then does what a test says."""

    def __init__(self) -> None:
        self.target = ""
        self.end = "whole"
        self.sent = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def ExportCalls(self, request: ExportCallsRequest, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        """Sends a total, and fewer records than that."""
        await context.write(ExportCallsResponse(total=3))
        await context.write(ExportCallsResponse(calls=[CallRecord(id="1"), CallRecord(id="2")]))
        self.sent.set()
        if self.end == "abort":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The database is gone.")
        if self.end == "hang":
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()


@pytest.fixture
async def breaking() -> AsyncIterator[Breaking]:
    servicer = Breaking()  # type: ignore[abstract]  # no test here asks for what is left out
    server = grpc.aio.server()
    add_AdminServiceServicer_to_server(servicer, server)
    servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield servicer
    await server.stop(None)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (
            "abort",
            "the export broke off after 2 of 3 records; {file} is as it was\nerror: There is no connection to the server at ",
        ),
        ("short", "error: the export ended after 2 of 3 records; {file} is as it was\n"),
    ],
)
async def test_an_export_that_breaks_off_leaves_what_was_there(
    breaking: Breaking, tmp_path: Path, end: str, words: str
) -> None:
    breaking.end = end
    file = tmp_path / "calls"
    file.write_text("what was there before")

    result = await run("audit", "export", "-o", str(file), "--target", breaking.target, cwd=tmp_path)

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(words.format(file=file))
    assert file.read_text() == "what was there before"
    assert files(tmp_path) == ["calls"]


async def test_an_export_to_standard_output_that_breaks_off_says_so(breaking: Breaking, tmp_path: Path) -> None:
    breaking.end = "abort"

    result = await run("audit", "export", "--target", breaking.target, cwd=tmp_path)

    assert (result.code, result.out.count("\n")) == (1, 2)
    assert result.err.startswith("the export broke off after 2 of 3 records\nerror: ")


async def test_an_export_that_takes_too_long_breaks_off(breaking: Breaking, tmp_path: Path) -> None:
    breaking.end = "hang"

    words = ("--timeout", "0.5", "--target", breaking.target)
    result = await run("audit", "export", "-o", "calls", *words, cwd=tmp_path)

    assert (result.code, result.out, files(tmp_path)) == (1, "", [])
    assert result.err.endswith("error: The answer did not come within the time limit (PROVIDER_TIMEOUT)\n")


async def test_ctrl_c_ends_an_export_and_leaves_no_file(breaking: Breaking, tmp_path: Path) -> None:
    breaking.end = "hang"

    words = ("audit", "export", "-o", "calls", "--target", breaking.target)
    async with at_terminal(*words, cwd=tmp_path) as terminal:
        await terminal.until("2/3")
        terminal.type("\x03")
        code = await terminal.ends()
        await breaking.cancelled.wait()

    assert code == 130
    assert terminal.seen.endswith("cancelled\n")
    assert files(tmp_path) == []
