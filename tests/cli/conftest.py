"""One server for all tests of what an operator does at the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.operated import Operated, operated_server


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """Runs commands as the operator of a server."""
    with operated_server(tmp_path_factory.mktemp("operated")) as operated:
        yield operated
