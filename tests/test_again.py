"""`scripts/again.sh`, by which everything is fetched that its own program asks for only once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.program import ROOT

_COMMAND = 'echo tried >>"$1"; [ "$(grep -c tried "$1")" -ge "$2" ] && echo well'


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Makes an environment in which nobody sleeps, but notes for how long."""
    sleep = tmp_path / "sleep"
    sleep.write_text('#!/bin/sh\necho "$1" >>"$0.log"\n')
    sleep.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("succeeds_at", "code", "out", "pauses"),
    [
        (1, 0, "well\n", []),
        (3, 0, "well\n", ["1", "5"]),
        (4, 0, "well\n", ["1", "5", "15"]),
        (9, 1, "", ["1", "5", "15"]),
    ],
)
def test_a_command_is_run_again_until_it_succeeds_or_has_failed_four_times(
    tmp_path: Path, environ: dict[str, str], succeeds_at: int, code: int, out: str, pauses: list[str]
) -> None:
    command = ["sh", "-c", _COMMAND, "sh", str(tmp_path / "tries"), str(succeeds_at)]
    done = subprocess.run(  # noqa: S603
        [str(ROOT / "scripts" / "again.sh"), *command], check=False, capture_output=True, text=True, env=environ
    )

    log = tmp_path / "sleep.log"
    assert (done.returncode, done.stdout) == (code, out)
    assert (log.read_text().split() if log.exists() else []) == pauses
    assert done.stderr.count("loom-grpc: failed, again in ") == len(pauses)
