"""Where, when and of what results were measured."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("aiohttp", "grpcio", "llmock", "protobuf", "uvloop")


def about() -> dict[str, str]:
    """Describes the machine, the versions and the commit; a commit with changes that are not in it ends in `+`."""
    load, *_ = os.getloadavg()
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores, {_processor()}, Linux {platform.release()}, load {load:.1f} before the run",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
        ),
    }


def _commit() -> str:
    """Names the commit; the page and its raw results do not count as changes."""
    changes = _git("status", "--porcelain", "--", ".", ":!docs/proof", ":!docs/proof.md")
    return (_git("rev-parse", "--short=12", "HEAD") or "no commit") + ("+" if changes else "")


def _git(*arguments: str) -> str:
    command = ("git", *arguments)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found[1] if found else platform.machine()
