"""Servers for programs that are not ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.let_in import LetIn
from tests.program import Server, served

ADMIN_KEY = "an-admin-key-that-nobody-guesses-4711"


@dataclass(frozen=True)
class Guarded:
    """A server that wants a key and speaks TLS, and what its callers need."""

    address: str
    ca: Path
    caller: LetIn


@contextmanager
def for_everybody(folder: Path) -> Iterator[Server]:
    """Serves everybody, with the mock and with a pool of one account."""
    accounts = {"accounts": [{"id": "a", "api_key": "sk-a"}]}
    file = configuration(folder, providers={"mock": {}, "openai": accounts}, admin={"api_key": ADMIN_KEY})
    with served("serve", "--config", str(file), cwd=folder) as server:
        yield server


def configuration(folder: Path, **settings: Any) -> Path:
    """Writes a configuration that takes free ports."""
    file = folder / "loom.json"
    file.write_text(json.dumps({"grpc": {"address": "127.0.0.1:0"}, "http": {"enabled": False}} | settings))
    return file
