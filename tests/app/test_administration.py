"""What an operator may do with the accounts, and what is kept from happening by mistake."""

from __future__ import annotations

from pathlib import Path

from loom_grpc.core.account import AccountRef, StoredKey, Tokens
from loom_grpc.core.errors import ACCOUNT_EXISTS
from loom_grpc.core.health import Condition, Counts, Record, Standing
from loom_grpc.credentials.file_store import FileStore
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_STATUS_COOLING_DOWN,
    AddAccountRequest,
    FinishLoginRequest,
    WatchHealthRequest,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub
from tests.app.test_failover import ADMIN, accounts_of
from tests.app.test_oauth_accounts import failed_finish, log_in, world
from tests.oauth_server import browse
from tests.server.serving import serving

ALICE = AccountRef("openai", "alice")


async def test_a_login_does_not_take_the_place_of_a_key_that_was_added_meanwhile(tmp_path: Path) -> None:
    async with world(tmp_path) as our, serving(our.config) as server:
        login = await log_in(server, "alice")
        code, _ = await browse(login.authorize_url)
        request = AddAccountRequest(provider="openai", id="alice", api_key="key-of-alice")
        await AdminServiceStub(server.channel).AddAccount(request, metadata=ADMIN)
        reason = await failed_finish(server, code, login.state)

    assert reason == ACCOUNT_EXISTS
    assert await FileStore(our.store).load() == {ALICE: StoredKey("key-of-alice")}


async def test_a_login_is_finished_although_its_caller_goes_away(tmp_path: Path) -> None:
    """The code is good only once, and the operator would have to begin again."""
    async with world(tmp_path) as our, serving(our.config) as server:
        login = await log_in(server, "alice")
        code, _ = await browse(login.authorize_url)
        our.oauth.go_on.clear()
        admin = AdminServiceStub(server.channel)
        request = FinishLoginRequest(provider="openai", code=code, state=login.state)
        finishing = admin.FinishLogin(request, metadata=ADMIN)
        await our.oauth.arrived.wait()
        watching = admin.WatchHealth(WatchHealthRequest(provider="openai"), metadata=ADMIN, timeout=5)
        states = aiter(watching)
        before = await anext(states)
        finishing.cancel()
        our.oauth.go_on.set()
        after = await anext(states)
        watching.cancel()

    assert [account.id for account in before.pools[0].accounts] == []
    assert [account.id for account in after.pools[0].accounts] == ["alice"]


async def test_times_beyond_the_calendar_are_shown_as_its_ends(tmp_path: Path) -> None:
    """Some write the end of a token that has none as the largest number that they can."""
    async with world(tmp_path) as our:
        store = FileStore(our.store)
        await store.save(ALICE, Tokens("access", "refresh", 2**53 / 1000))
        await store.save(AccountRef("openai", "bob"), Tokens("access-of-bob", "refresh", -(2**53) / 1000))
        paused = Standing(Condition.COOLING, 1e9, until=1e300, last_error="Why.", last_error_at=-1.5)
        await store.merge_records({ALICE: Record(paused, Counts())})
        async with serving(our.config) as server:
            accounts = await accounts_of(server)

    alice, bob = accounts["alice"], accounts["bob"]
    assert alice.status == ACCOUNT_STATUS_COOLING_DOWN
    assert alice.token_expire_time.ToJsonString() == alice.cooling_until.ToJsonString() == "9999-12-31T23:59:59Z"
    assert bob.token_expire_time.ToJsonString() == "1970-01-01T00:00:00Z"
