"""The store that tests use is a store like any other."""

from __future__ import annotations

import pytest

from loom_grpc.core.account import CredentialStore
from tests.memory_store import MemoryStore
from tests.store_contract import Clock, Open, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def open_store(self, clock: Clock) -> Open:
        store = MemoryStore(clock=clock)

        async def opened() -> CredentialStore:
            return store

        return opened
