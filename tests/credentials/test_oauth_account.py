"""What an OAuth account shows, against a stand-in server: one refresh for all who need it, and no tokens lost."""

from __future__ import annotations

import asyncio
import math
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loom_grpc.core.account import AccountRef, StoredKey, Tokens
from loom_grpc.core.errors import PROVIDER_AUTH_FAILED, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.credentials.file_store import FileStore
from loom_grpc.credentials.oauth import OAuthApp, OAuthSettings
from loom_grpc.credentials.oauth_account import OAuthCredential
from tests.memory_store import MemoryStore
from tests.oauth_server import OAuthServer, cut, oauth_server, refusal
from tests.stand_in import json_answer

REF = AccountRef("acme", "a")
HOW_TO = "run `loom-grpc accounts login --provider acme a`."


@dataclass
class Scene:
    """One account at the stand-in, a store, and a clock that a test moves."""

    now: float = 1_800_000_000.0
    extra: dict[str, str] = field(default_factory=dict)
    seen: list[Tokens] = field(default_factory=list)
    unsaved: list[tuple[AccountRef, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryStore(clock=self.clock)

    def clock(self) -> float:
        return self.now

    def set(self, server: OAuthServer) -> None:
        self.server = server
        settings = OAuthSettings(
            authorize_url=server.authorize_url,
            token_url=server.token_url,
            client_id=server.client_id,
            client_secret=None,
            client_auth="none",
            redirect_uri=server.redirect_uri,
            scopes=(),
            token_format="form",
            authorize_params={},
            token_headers=dict,
        )
        self.app = OAuthApp("acme", settings, clock=self.clock, timeout_s=10)

    def login(self) -> Tokens:
        """Logs the account in, and puts the tokens into the store."""
        tokens = self.server.login()
        self.store.accounts[REF] = tokens
        return tokens

    def process(self, tokens: Tokens | None) -> OAuthCredential:
        """Makes what one process has of the account."""
        return OAuthCredential(
            REF,
            self.app,
            self.store,
            tokens=tokens,
            headers=lambda: dict(self.extra),
            clock=self.clock,
            on_tokens=self.seen.append,
            on_unsaved=lambda ref, words: self.unsaved.append((ref, words)),
        )

    @property
    def stored(self) -> Tokens:
        tokens = self.store.accounts[REF]
        assert isinstance(tokens, Tokens)
        return tokens


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Scene()
    async with oauth_server(clock=made.clock) as server:
        made.set(server)
        yield made


def shown(tokens: Tokens) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.access}"}


async def failure_of(credential: OAuthCredential) -> LlmError:
    with pytest.raises(LlmError) as caught:
        await credential.headers()
    return caught.value


async def test_a_token_that_is_good_is_shown_without_asking_anyone(scene: Scene) -> None:
    tokens = scene.login()
    credential = scene.process(tokens)

    first, second = await credential.headers(), await credential.headers()

    assert first == shown(tokens)
    assert first is second
    assert (scene.store.held, scene.server.asked, credential.expires) == (0, [], scene.now + 3600)


async def test_the_operator_s_headers_go_with_the_token_and_may_change(scene: Scene) -> None:
    scene.extra = {"x-beta": "1"}
    tokens = scene.login()
    credential = scene.process(tokens)

    before = await credential.headers()
    scene.extra = {"x-beta": "2", "authorization": "not this"}

    assert before == {"x-beta": "1", **shown(tokens)}
    assert await credential.headers() == {"x-beta": "2", **shown(tokens)}


@pytest.mark.parametrize(("left_s", "refreshes"), [(61, 0), (60, 1), (1, 1), (-5000, 1)])
async def test_a_token_is_renewed_in_its_last_minute(scene: Scene, left_s: float, refreshes: int) -> None:
    credential = scene.process(scene.login())
    scene.now += 3600 - left_s

    headers = await credential.headers()

    assert scene.server.refreshes == refreshes
    assert headers == shown(scene.stored)


async def test_a_token_without_an_end_is_never_renewed_by_time(scene: Scene) -> None:
    scene.server.expires_in = None
    tokens = scene.login()
    credential = scene.process(tokens)
    scene.now += 1e9

    await credential.refresh_if_due(900)

    assert await credential.headers() == shown(tokens)
    assert (credential.expires, scene.server.asked) == (None, [])


async def test_tokens_that_last_less_than_two_minutes_are_not_renewed_with_every_call(scene: Scene) -> None:
    scene.server.expires_in = 50
    credential = scene.process(scene.login())
    scene.now += 45

    calls = await asyncio.gather(*(credential.headers() for _ in range(20)))
    again = await credential.headers()

    assert [*calls, again] == [shown(scene.stored)] * 21
    assert scene.server.refreshes == 1


async def test_fifty_calls_at_the_end_of_a_token_make_one_refresh(scene: Scene) -> None:
    old = scene.login()
    credential = scene.process(old)
    scene.now += 3600

    calls = await asyncio.gather(*(credential.headers() for _ in range(50)))

    assert calls == [shown(scene.stored)] * 50
    assert (scene.server.refreshes, scene.server.reused) == (1, [])
    assert scene.server.valid(scene.stored.access)
    assert scene.seen == [old, scene.stored]


async def test_two_processes_never_use_a_refresh_token_twice(scene: Scene) -> None:
    tokens = scene.login()
    one, other = scene.process(tokens), scene.process(tokens)

    for refreshes in range(1, 6):
        scene.now += 3600
        calls = await asyncio.gather(*(process.headers() for process in [one, other] * 25))

        assert calls == [shown(scene.stored)] * 50
        assert (scene.server.refreshes, scene.server.reused) == (refreshes, [])


_PROCESS = """
import asyncio, sys
from pathlib import Path
from loom_grpc.core.account import AccountRef
from loom_grpc.credentials.file_store import FileStore
from loom_grpc.credentials.file_store import FileStore
from loom_grpc.credentials.oauth import OAuthApp, OAuthSettings
from loom_grpc.credentials.oauth_account import OAuthCredential

async def main(file, token_url):
    ref, store = AccountRef("acme", "a"), FileStore(Path(file))
    settings = OAuthSettings("", token_url, "operator-app", None, "none", "", (), "form", {}, dict)
    stored = await store.load()
    credential = OAuthCredential(ref, OAuthApp("acme", settings), store, tokens=stored[ref], headers=dict,
                                 on_tokens=lambda tokens: None, on_unsaved=lambda ref, words: None)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(15):
        await credential.refresh_if_due(1e9)
    await credential.headers()
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_real_processes_never_use_a_refresh_token_twice(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    store = FileStore(file)
    await store.add(REF, scene.server.login())

    program = [sys.executable, "-c", _PROCESS, str(file), scene.server.token_url]
    processes = [await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        await process.stdout.readline()
    await asyncio.gather(*(process.communicate(b"go\n") for process in processes))

    kept = (await store.load())[REF]
    assert [process.returncode for process in processes] == [0, 0]
    assert (15 <= scene.server.refreshes <= 30, scene.server.reused) == (True, [])
    assert isinstance(kept, Tokens)
    assert scene.server.valid(kept.access)


async def test_a_process_that_slept_takes_what_another_has_renewed(scene: Scene) -> None:
    tokens = scene.login()
    awake, asleep = scene.process(tokens), scene.process(tokens)
    for _ in range(3):
        scene.now += 3600
        await awake.headers()
    scene.now += 3590

    headers = await asleep.headers()

    assert (headers, scene.server.refreshes, scene.server.reused) == (shown(scene.stored), 4, [])


async def test_rotated_tokens_are_saved_before_they_are_used(scene: Scene) -> None:
    credential = scene.process(scene.login())
    scene.now += 3600
    reached, go_on = asyncio.Event(), asyncio.Event()
    save = scene.store.save

    class SlowStore(MemoryStore):
        async def save(self, ref: AccountRef, stored: object) -> None:
            reached.set()
            await go_on.wait()
            assert isinstance(stored, Tokens)
            await save(ref, stored)

    slow = SlowStore(clock=scene.clock)
    slow.accounts = scene.store.accounts
    scene.store = slow
    credential = scene.process(scene.stored)

    call = asyncio.create_task(credential.headers())
    await reached.wait()
    used_before = (call.done(), credential.tokens == scene.stored)
    go_on.set()

    assert used_before == (False, True)
    assert await call == shown(scene.stored)
    assert scene.server.refreshes == 1


async def test_a_login_that_is_over_says_so_and_is_not_forgotten(scene: Scene) -> None:
    tokens = scene.login()
    credential = scene.process(tokens)
    scene.server.revoke(tokens.refresh)
    scene.now += 3600

    error = await failure_of(credential)

    assert error.reason == PROVIDER_AUTH_FAILED
    assert error.message == "The token server of acme no longer accepts the account's login; log in again."
    assert error.metadata == {"provider_status": "400", "provider_code": "invalid_grant"}
    assert scene.stored == tokens


async def test_a_token_server_that_knows_us_no_more_disables(scene: Scene) -> None:
    credential = scene.process(scene.login())
    scene.server.always = refusal("access_denied", status=403)
    scene.now += 3600

    assert (await failure_of(credential)).reason == PROVIDER_AUTH_FAILED


@pytest.mark.parametrize("script", [cut, refusal("server_error", status=500), json_answer({}, status=429)])
async def test_passing_trouble_loses_nothing(scene: Scene, script: object) -> None:
    credential = scene.process(scene.login())
    scene.server.scripts = [script]  # type: ignore[list-item]
    scene.now += 3600

    error = await failure_of(credential)
    headers = await credential.headers()

    assert error.reason == PROVIDER_UNAVAILABLE
    assert (headers, scene.server.refreshes, scene.server.reused) == (shown(scene.stored), 1, [])


async def test_in_passing_trouble_a_token_is_used_to_its_end(scene: Scene) -> None:
    tokens = scene.login()
    credential = scene.process(tokens)
    scene.server.always = cut
    scene.now += 3550

    early = [await credential.headers() for _ in range(5)]
    asked_early = len(scene.server.asked)
    scene.now += 49
    late = await credential.headers()
    scene.now += 1
    error = await failure_of(credential)

    assert [*early, late] == [shown(tokens)] * 6
    assert (asked_early, len(scene.server.asked)) == (1, 3)
    assert error.reason == PROVIDER_UNAVAILABLE


async def test_a_renewal_that_hangs_does_not_keep_callers_from_other_accounts(scene: Scene) -> None:
    credential = scene.process(scene.login())
    credential.longest_wait_s = 0.05
    scene.server.go_on.clear()
    scene.now += 3600

    first, second = await failure_of(credential), await failure_of(credential)
    scene.server.go_on.set()
    await credential.close()
    headers = await credential.headers()

    assert first.reason == second.reason == PROVIDER_UNAVAILABLE
    assert first.message == "The login of acme/a is still being renewed; try again later."
    assert headers == shown(scene.stored)
    assert (scene.server.refreshes, scene.server.reused) == (1, [])


async def test_callers_who_go_away_do_not_stop_the_refresh(scene: Scene) -> None:
    credential = scene.process(scene.login())
    scene.server.go_on.clear()
    scene.now += 3600
    calls = [asyncio.create_task(credential.headers()) for _ in range(3)]
    await scene.server.arrived.wait()

    for call in calls[:2]:
        call.cancel()
    gone = await asyncio.gather(*calls[:2], return_exceptions=True)
    scene.server.go_on.set()

    assert [type(error) for error in gone] == [asyncio.CancelledError] * 2
    assert await calls[2] == shown(scene.stored)
    assert scene.server.refreshes == 1


async def test_closing_waits_for_tokens_that_are_on_their_way(scene: Scene) -> None:
    old = scene.login()
    credential = scene.process(old)
    scene.server.go_on.clear()
    scene.now += 3600
    call = asyncio.create_task(credential.headers())
    await scene.server.arrived.wait()
    call.cancel()

    closing = asyncio.create_task(credential.close())
    scene.server.go_on.set()
    await closing

    assert (scene.stored == old, credential.tokens) == (False, scene.stored)


async def test_closing_saves_tokens_that_could_not_be_saved_before(scene: Scene) -> None:
    credential = scene.process(scene.login())
    scene.store.full = "The disk is full."
    scene.now += 3600
    headers = await credential.headers()
    scene.store.full = ""

    scene.now += 3600
    await credential.close()

    assert headers == shown(scene.stored)
    assert scene.server.refreshes == 1


async def test_closing_when_nothing_is_on_its_way_is_done_at_once(scene: Scene) -> None:
    await scene.process(scene.login()).close()


async def test_a_failure_that_nobody_waits_for_is_not_reported_by_the_event_loop(scene: Scene) -> None:
    reports: list[Mapping[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reports.append(context))
    credential = scene.process(scene.login())
    scene.server.always = cut
    scene.server.go_on.clear()
    scene.now += 3600
    call = asyncio.create_task(credential.headers())
    await scene.server.arrived.wait()
    call.cancel()
    scene.server.go_on.set()
    await credential.close()
    del credential, call

    assert reports == []


async def test_tokens_that_cannot_be_saved_are_used_and_saved_later(scene: Scene) -> None:
    old = scene.login()
    credential = scene.process(old)
    scene.store.full = "The disk is full."
    scene.now += 3600

    headers = await credential.headers()
    kept = scene.stored
    scene.store.full = ""
    await credential.refresh_if_due(900)

    assert headers == shown(scene.stored)
    assert (kept, scene.stored == old, scene.unsaved) == (old, False, [(REF, "The disk is full.")])
    assert scene.server.refreshes == 1


async def test_tokens_that_cannot_be_saved_for_long_go_on_being_renewed(scene: Scene) -> None:
    credential = scene.process(scene.login())
    scene.store.full = "The disk is full."

    for _ in range(3):
        scene.now += 3600
        await credential.headers()
    scene.store.full = ""
    scene.now += 11
    headers = await credential.headers()
    await credential.close()

    assert headers == shown(scene.stored)
    assert (scene.server.refreshes, scene.server.reused) == (3, [])


async def test_a_call_does_not_wait_for_tokens_to_be_saved_at_last(scene: Scene) -> None:
    credential = scene.process(scene.login())
    scene.store.full = "The disk is full."
    scene.now += 3600
    headers = await credential.headers()
    scene.store.full = ""
    scene.now += 11

    async with scene.store.hold(REF):
        at_once = await credential.headers()
    await credential.close()

    assert at_once == headers == shown(scene.stored)


async def test_what_the_store_still_has_of_old_tokens_does_not_take_the_place_of_new_ones(scene: Scene) -> None:
    old = scene.login()
    credential = scene.process(old)
    scene.now += 3600
    headers = await credential.headers()

    assert (credential.adopt(old), credential.adopt(scene.stored)) == (False, False)
    assert await credential.headers() == headers


async def test_a_new_login_takes_the_place_of_tokens_that_could_not_be_saved(scene: Scene) -> None:
    credential = scene.process(scene.login())
    scene.store.full = "The disk is full."
    scene.now += 3600
    await credential.headers()
    scene.store.full = ""
    new = scene.login()

    await credential.refresh_if_due(900)

    assert (await credential.headers(), scene.stored) == (shown(new), new)


@pytest.mark.parametrize("has_new_login", [True, False])
async def test_tokens_on_their_way_do_not_undo_a_new_login_or_a_removal(scene: Scene, has_new_login: bool) -> None:
    credential = scene.process(scene.login())
    scene.server.go_on.clear()
    scene.now += 3600
    call = asyncio.create_task(credential.headers())
    await scene.server.arrived.wait()
    new = scene.server.login() if has_new_login else None

    credential.adopt(new)
    scene.server.go_on.set()
    (outcome,) = await asyncio.gather(call, return_exceptions=True)

    if new is not None:
        assert outcome == shown(new)
    else:
        assert isinstance(outcome, LlmError)
        assert outcome.reason == PROVIDER_AUTH_FAILED
    assert (credential.tokens, scene.store.saved) == (new, [])


async def test_without_the_store_a_token_is_used_to_its_end_and_not_renewed(scene: Scene) -> None:
    tokens = scene.login()
    credential = scene.process(tokens)
    scene.store.broken = "/var/lib/x is not readable."
    scene.now += 3590

    headers = await credential.headers()
    scene.now += 10
    error = await failure_of(credential)
    scene.store.broken = ""

    assert headers == shown(tokens)
    assert (error.reason, error.detail) == (PROVIDER_UNAVAILABLE, "/var/lib/x is not readable.")
    assert "/var" not in error.message
    assert scene.server.asked == []
    assert await credential.headers() == shown(scene.stored)


async def test_an_account_without_a_login_says_how_to_log_in_and_notices_when_someone_does(scene: Scene) -> None:
    credential = scene.process(None)

    error = await failure_of(credential)
    await credential.refresh_if_due(900)
    tokens = scene.login()

    assert (error.reason, error.message) == (PROVIDER_AUTH_FAILED, f"acme/a has no login yet; {HOW_TO}")
    assert await credential.headers() == shown(tokens)
    assert scene.seen == [tokens]


@pytest.mark.parametrize("put", [None, StoredKey("sk-1")])
async def test_an_account_that_was_removed_is_not_renewed(scene: Scene, put: StoredKey | None) -> None:
    credential = scene.process(scene.login())
    del scene.store.accounts[REF]
    if put is not None:
        scene.store.accounts[REF] = put
    scene.now += 3590

    error = await failure_of(credential)

    assert (error.reason, error.message) == (PROVIDER_AUTH_FAILED, f"acme/a was removed; {HOW_TO}")
    assert (scene.server.asked, scene.store.saved, credential.tokens) == ([], [], None)


async def test_a_login_without_a_refresh_token_is_used_to_its_end(scene: Scene) -> None:
    login = scene.server.login()
    tokens = scene.store.accounts[REF] = Tokens(login.access, "", login.expires)
    credential = scene.process(tokens)
    scene.now += 3000
    await credential.refresh_if_due(900)
    early = await credential.headers()
    scene.now += 600

    error = await failure_of(credential)

    assert (early, scene.server.asked) == (shown(tokens), [])
    assert (error.reason, error.message) == (
        PROVIDER_AUTH_FAILED,
        f"The login of acme/a has ended and cannot be renewed; {HOW_TO}",
    )


async def test_a_login_without_a_refresh_token_is_shown_in_its_last_minute_too(scene: Scene) -> None:
    login = scene.server.login()
    tokens = scene.store.accounts[REF] = Tokens(login.access, "", login.expires)
    credential = scene.process(tokens)
    scene.now += 3590

    assert await credential.headers() == shown(tokens)


async def test_a_refused_token_is_renewed_once_for_all_who_were_refused(scene: Scene) -> None:
    old = scene.login()
    credential = scene.process(old)
    refused = await credential.headers()
    scene.server.forget(old.access)

    renewed = await asyncio.gather(*(credential.renewed(refused) for _ in range(20)))
    late = await credential.renewed(refused)

    assert [*renewed, late] == [shown(scene.stored)] * 21
    assert (scene.server.refreshes, scene.server.valid(scene.stored.access)) == (1, True)


async def test_a_young_token_that_is_refused_is_not_renewed(scene: Scene) -> None:
    credential = scene.process(scene.login())
    scene.now += 3600
    refused = await credential.headers()
    scene.now += 59

    young = await credential.renewed(refused)
    scene.now += 1
    older = await credential.renewed(refused)

    assert (young, older) == (None, shown(scene.stored))
    assert scene.server.refreshes == 2


async def test_a_refused_token_gives_way_to_one_that_another_process_has(scene: Scene) -> None:
    tokens = scene.login()
    one, other = scene.process(tokens), scene.process(tokens)
    scene.now += 120
    refused = await one.headers()
    await other.renewed(refused)

    renewed = await one.renewed(refused)

    assert (renewed, scene.server.refreshes, scene.server.reused) == (shown(scene.stored), 1, [])


async def test_a_refused_token_is_not_shown_again_while_the_token_server_is_away(scene: Scene) -> None:
    credential = scene.process(scene.login())
    scene.server.always = cut
    refused = await credential.headers()

    with pytest.raises(LlmError) as caught:
        await credential.renewed(refused)
    error = await failure_of(credential)
    scene.server.always = None

    assert [caught.value.reason, error.reason] == [PROVIDER_UNAVAILABLE] * 2
    assert await credential.headers() == shown(scene.stored)


async def test_a_refused_token_of_a_login_that_is_over_is_tried_again_by_an_operator_who_enables_it(
    scene: Scene,
) -> None:
    tokens = scene.login()
    credential = scene.process(tokens)
    scene.server.revoke(tokens.access)
    refused = await credential.headers()

    with pytest.raises(LlmError) as caught:
        await credential.renewed(refused)

    assert caught.value.reason == PROVIDER_AUTH_FAILED
    assert [await credential.headers() for _ in range(3)] == [refused] * 3
    assert (len(scene.server.asked), scene.store.held) == (1, 2)


@pytest.mark.parametrize(("left_s", "refreshes"), [(901, 0), (900, 1), (-10, 1)])
async def test_the_background_renews_what_ends_soon(scene: Scene, left_s: float, refreshes: int) -> None:
    tokens = scene.login()
    one, other = scene.process(tokens), scene.process(tokens)
    scene.now += 3600 - left_s

    await asyncio.gather(one.refresh_if_due(900), other.refresh_if_due(900))

    assert (scene.server.refreshes, scene.server.reused) == (refreshes, [])
    assert one.tokens == other.tokens == scene.stored


async def test_the_background_is_told_of_trouble_also_while_the_token_is_good(scene: Scene) -> None:
    tokens = scene.login()
    credential = scene.process(tokens)
    scene.server.always = cut
    scene.now += 3000

    with pytest.raises(LlmError) as caught:
        await credential.refresh_if_due(900)

    assert caught.value.reason == PROVIDER_UNAVAILABLE
    assert await credential.headers() == shown(tokens)
    assert len(scene.server.asked) == 1


async def test_tokens_of_the_store_are_adopted_when_they_are_new(scene: Scene) -> None:
    first = scene.login()
    credential = scene.process(None)
    second = scene.server.login()
    rounded = Tokens(second.access, second.refresh, math.floor((second.expires or 0) * 1000) / 1000)

    adopted = [credential.adopt(tokens) for tokens in (None, first, first, second, rounded, None, None)]

    assert adopted == [False, True, False, True, False, True, False]
    assert (credential.tokens, credential.expires, scene.seen) == (None, None, [first, second])


async def test_an_account_does_not_show_its_tokens(scene: Scene) -> None:
    assert repr(scene.process(scene.login())) == "OAuthCredential(acme/a, [REDACTED])"


async def test_a_renewal_that_hangs_is_not_waited_for_while_the_token_is_good(scene: Scene) -> None:
    tokens = scene.login()
    one = scene.process(tokens)
    assert tokens.expires is not None
    scene.now = tokens.expires - 30
    scene.server.go_on.clear()

    async with asyncio.timeout(5):
        meanwhile = await one.headers()
        again = await one.headers()
    scene.server.go_on.set()
    await one.close()

    assert meanwhile == again == {"authorization": f"Bearer {tokens.access}"}
    assert await one.headers() == {"authorization": f"Bearer {scene.stored.access}"}
    assert scene.server.refreshes == 1
