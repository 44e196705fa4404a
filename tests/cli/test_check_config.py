"""`loom-grpc check-config` as a process of its own."""

from __future__ import annotations

from pathlib import Path

from tests.program import Result, run


def columns(out: str) -> dict[str, tuple[str, str]]:
    """Reads the table: what each path is and where that is from."""
    rows = (line.split(maxsplit=1) for line in out.splitlines())
    return {path: tuple(part.strip() for part in rest.split("  # ")) for path, rest in rows}  # type: ignore[misc]


async def test_values_are_shown_with_where_they_are_from(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text("grpc: {address: '127.0.0.1:1'}\nproviders: {openai: {api_key: sk-secret}}\n")

    result = await run(
        "check-config", "--workers", "2", env={"LOOM_LOG__LEVEL": "debug", "LOOM_TARGET": "x:1"}, cwd=tmp_path
    )

    shown = columns(result.out)
    assert (result.code, result.err) == (0, "")
    assert shown["grpc.address"] == ("127.0.0.1:1", "file loom.yaml:1")
    assert shown["log.level"] == ("debug", "environment LOOM_LOG__LEVEL")
    assert shown["workers"] == ("2", "flag --workers")
    assert shown["http.address"] == ("127.0.0.1:8080", "default")
    assert shown["providers.openai.api_key"][1] == "file loom.yaml:2"
    assert "sk-secret" not in result.out


async def test_warnings_do_not_fail(tmp_path: Path) -> None:
    result = await run("check-config", env={"LOOM_WORKER": "2"}, cwd=tmp_path)

    assert result.code == 0
    assert result.err == "warning: the environment variable LOOM_WORKER is not read; did you mean LOOM_WORKERS?\n"


async def test_what_cannot_be_read_fails(tmp_path: Path) -> None:
    result = await run("check-config", "--config", "none.yaml", cwd=tmp_path)

    assert result == Result(1, "", "error: none.yaml: there is no such file; name another one with --config\n")


async def test_an_open_address_fails(tmp_path: Path) -> None:
    result = await run("check-config", "--grpc-address", "0.0.0.0:1", "--no-http", cwd=tmp_path)

    assert result.code == 1
    assert result.err.startswith("error: grpc.address: 0.0.0.0:1 can be reached from other machines")


def written(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text("access: {enabled: true}\naudit: {enabled: true, spool_dir: spool}\n")
    key = {"LOOM_ADMIN__API_KEY": "EgNVbTqRZXz3L0fBwC7yHk9sJdPa5vMu"}

    result = await run("check-config", env=key | {"XDG_STATE_HOME": str(tmp_path / "state")}, cwd=tmp_path)

    assert (result.code, result.err) == (0, "")
    assert written(tmp_path) == ["loom.yaml"]


async def test_a_provider_that_cannot_be_set_up_fails(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text("providers: {vertex: {access_token: t}}\n")

    result = await run("check-config", cwd=tmp_path)

    assert result.code == 1
    assert result.err.startswith("error: providers.vertex: project and location are needed")
    assert result.err.count("\n") == 1
