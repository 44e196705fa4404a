"""What every credential store does, as tests; each store's test file subclasses them and says how one is opened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from loom_grpc.core.account import (
    AccountExistsError,
    AccountRef,
    CredentialStore,
    Login,
    Stored,
    StoredKey,
    Tokens,
)
from loom_grpc.core.health import Condition, Counts, Record, Standing

NOW = 1_800_000_000.0
ALPHA = AccountRef("anthropic", "alpha")
BETA = AccountRef("openai", "beta")
KEY = StoredKey("key-of-alpha")
OTHER_KEY = StoredKey("key-of-beta")
TOKENS = Tokens("access-1", "refresh-1", NOW + 3600.25)
LOGIN = Login(ALPHA, "verifier-1", NOW + 600)


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


Open = Callable[[], Awaitable[CredentialStore]]
"""Opens the store of a test: twice called, two stores that share what they keep, as two processes do."""


def record(
    since: float = NOW,
    condition: Condition = Condition.AVAILABLE,
    *,
    until: float = 0.0,
    error: tuple[str, float] = ("", 0.0),
    counts: Counts = Counts(),  # noqa: B008 - it cannot change
) -> Record:
    return Record(Standing(condition, since, until, *error), counts)


async def number(store: CredentialStore, ref: AccountRef) -> None:
    """Counts on in an account's access token, in many steps that others must not come between."""
    async with store.hold(ref) as stored:
        assert isinstance(stored, Tokens)
        await asyncio.sleep(0)
        await store.save(ref, Tokens(str(int(stored.access) + 1), "refresh", None))


class StoreContract:
    """Subclass it as `Test...`, with a fixture `open_store` that takes `clock` and returns an `Open`."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    async def store(self, open_store: Open) -> CredentialStore:
        return await open_store()

    @pytest.fixture
    async def other(self, open_store: Open) -> CredentialStore:
        """What another process sees."""
        return await open_store()

    async def test_a_new_store_is_empty(self, store: CredentialStore) -> None:
        assert await store.load() == {}
        assert await store.load_records() == {}
        assert await store.take_login("state") is None
        assert await store.remove(ALPHA) is False

    @pytest.mark.parametrize(
        "stored",
        [KEY, TOKENS, Tokens("access", "", None), Tokens("access", "refresh", 0.0), StoredKey("key \\ \"'%")],
    )
    async def test_what_is_added_is_loaded_elsewhere(
        self, store: CredentialStore, other: CredentialStore, stored: Stored
    ) -> None:
        await store.add(ALPHA, stored)

        assert await other.load() == {ALPHA: stored}

    async def test_an_account_is_added_once(self, store: CredentialStore, other: CredentialStore) -> None:
        await store.add(ALPHA, KEY)

        with pytest.raises(AccountExistsError):
            await other.add(ALPHA, OTHER_KEY)
        assert await store.load() == {ALPHA: KEY}

    async def test_one_of_many_who_add_an_account_at_once_succeeds(
        self, store: CredentialStore, other: CredentialStore
    ) -> None:
        keys = [StoredKey(f"key-{n}") for n in range(10)]
        adds = [(store, other)[n % 2].add(ALPHA, key) for n, key in enumerate(keys)]

        outcomes = await asyncio.gather(*adds, return_exceptions=True)

        assert [type(outcome) for outcome in outcomes if outcome is not None] == [AccountExistsError] * 9
        assert await store.load() == {ALPHA: keys[outcomes.index(None)]}

    async def test_saving_replaces_or_begins_an_account(self, store: CredentialStore, other: CredentialStore) -> None:
        await store.add(ALPHA, KEY)
        await store.save(ALPHA, TOKENS)
        await other.save(BETA, OTHER_KEY)

        assert await store.load() == await other.load() == {ALPHA: TOKENS, BETA: OTHER_KEY}

    async def test_saves_at_once_lose_nothing(self, store: CredentialStore, other: CredentialStore) -> None:
        accounts: dict[AccountRef, Stored] = {AccountRef("groq", f"id-{n}"): StoredKey(f"key-{n}") for n in range(20)}

        await asyncio.gather(*((store, other)[n % 2].save(*item) for n, item in enumerate(accounts.items())))

        assert await store.load() == accounts

    async def test_removing_forgets_the_account_and_its_record_alone(
        self, store: CredentialStore, other: CredentialStore
    ) -> None:
        await store.add(ALPHA, KEY)
        await store.add(BETA, OTHER_KEY)
        await store.merge_records({ALPHA: record(), BETA: record()})

        assert await other.remove(ALPHA) is True
        assert await other.remove(ALPHA) is False
        assert await store.load() == {BETA: OTHER_KEY}
        assert await store.load_records() == {BETA: record()}

    async def test_ids_of_two_providers_and_odd_ids_are_kept_apart(self, store: CredentialStore) -> None:
        refs = [
            ALPHA,
            AccountRef("openai", "alpha"),
            AccountRef("openai", "alpha/2"),
            AccountRef("openai", "ALPHA"),
            AccountRef("openai", "zażółć '\"%_"),
        ]
        accounts: dict[AccountRef, Stored] = {ref: StoredKey(f"key {number}") for number, ref in enumerate(refs)}

        for ref, stored in accounts.items():
            await store.add(ref, stored)

        assert await store.load() == accounts

    async def test_every_change_by_anyone_changes_the_revision(
        self, store: CredentialStore, other: CredentialStore
    ) -> None:
        seen = [await store.revision()]
        changes: list[Callable[[], Awaitable[object]]] = [
            lambda: store.add(ALPHA, KEY),
            lambda: other.add(BETA, OTHER_KEY),
            lambda: other.save(ALPHA, StoredKey("key-of-gamma")),
            lambda: store.save(ALPHA, KEY),
            lambda: store.merge_records({ALPHA: record()}),
            lambda: other.merge_records({ALPHA: record(NOW + 1)}),
            lambda: other.remove(ALPHA),
        ]

        for change in changes:
            await change()
            seen.append(await store.revision())
            assert seen[-1] == await store.revision() == await other.revision()

        assert all(seen.count(revision) == 1 for revision in seen)

    async def test_reading_leaves_the_revision(self, store: CredentialStore, other: CredentialStore) -> None:
        await store.add(ALPHA, KEY)
        before = await store.revision()

        await other.load()
        await other.load_records()
        async with other.hold(ALPHA):
            pass

        assert await store.revision() == before

    async def test_holding_gives_what_is_stored_now(self, store: CredentialStore, other: CredentialStore) -> None:
        await store.add(ALPHA, Tokens("access-0", "refresh-0", None))
        await store.load()
        await other.save(ALPHA, TOKENS)

        async with store.hold(ALPHA) as stored, store.hold(BETA) as nothing:
            assert stored == TOKENS
            assert nothing is None

    async def test_one_at_a_time_holds_an_account(self, store: CredentialStore, other: CredentialStore) -> None:
        await store.add(ALPHA, Tokens("0", "refresh", None))

        await asyncio.gather(*(number((store, other)[n % 2], ALPHA) for n in range(12)))

        assert await store.load() == {ALPHA: Tokens("12", "refresh", None)}

    async def test_who_stops_waiting_for_an_account_does_not_get_it(
        self, store: CredentialStore, other: CredentialStore
    ) -> None:
        async with store.hold(ALPHA):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3), other.hold(ALPHA):
                    pytest.fail("two hold the account")
        async with asyncio.timeout(10), other.hold(ALPHA), store.hold(BETA):
            pass

    async def test_an_account_is_let_go_after_an_error(self, store: CredentialStore, other: CredentialStore) -> None:
        with pytest.raises(ZeroDivisionError):
            async with store.hold(ALPHA):
                raise ZeroDivisionError

        async with asyncio.timeout(10), other.hold(ALPHA):
            pass

    async def test_who_holds_an_account_may_save_and_remove_it(
        self, store: CredentialStore, other: CredentialStore
    ) -> None:
        async with store.hold(ALPHA):
            await store.save(ALPHA, TOKENS)
            assert await other.load() == {ALPHA: TOKENS}
        async with other.hold(ALPHA):
            assert await other.remove(ALPHA) is True

        assert await store.load() == {}

    async def test_a_login_is_taken_once(self, store: CredentialStore, other: CredentialStore) -> None:
        second = Login(BETA, "verifier-2", NOW + 600)
        await store.keep_login("state-1", LOGIN)
        await store.keep_login("state-2", second)

        assert await other.take_login("state-1") == LOGIN
        assert await other.take_login("state-1") is None
        assert await store.take_login("state-1") is None
        assert await store.take_login("state-2") == second

    async def test_one_of_many_who_take_a_login_at_once_gets_it(
        self, store: CredentialStore, other: CredentialStore
    ) -> None:
        await store.keep_login("state", LOGIN)

        taken = await asyncio.gather(*((store, other)[n % 2].take_login("state") for n in range(10)))

        assert [login for login in taken if login is not None] == [LOGIN]

    async def test_a_login_that_is_too_late_is_none(self, store: CredentialStore, clock: Clock) -> None:
        await store.keep_login("state", LOGIN)
        clock.now = LOGIN.expires

        assert await store.take_login("state") is None

    async def test_the_next_login_drops_those_that_are_too_late(self, store: CredentialStore, clock: Clock) -> None:
        await store.keep_login("late", LOGIN)
        clock.now = LOGIN.expires
        await store.keep_login("next", Login(BETA, "verifier", clock.now + 600))
        clock.now = NOW

        assert await store.take_login("late") is None
        assert await store.take_login("next") is not None

    async def test_a_login_changes_no_account(self, store: CredentialStore) -> None:
        await store.keep_login("state", LOGIN)

        assert await store.load() == {}

    async def test_counts_are_added(self, store: CredentialStore, other: CredentialStore) -> None:
        await store.merge_records({ALPHA: record(counts=Counts(1, 2, 3, 4)), BETA: record(counts=Counts(5))})
        await other.merge_records({ALPHA: record(counts=Counts(10, 20, 30, 2**40))})
        await other.merge_records({})

        assert await store.load_records() == {
            ALPHA: record(counts=Counts(11, 22, 33, 2**40 + 4)),
            BETA: record(counts=Counts(5)),
        }

    async def test_counts_added_at_once_lose_nothing(self, store: CredentialStore, other: CredentialStore) -> None:
        change = {ALPHA: record(counts=Counts(1, 2, 3, 4)), BETA: record(counts=Counts(1))}

        await asyncio.gather(*((store, other)[n % 2].merge_records(change) for n in range(20)))

        assert await store.load_records() == {
            ALPHA: record(counts=Counts(20, 40, 60, 80)),
            BETA: record(counts=Counts(20)),
        }

    @pytest.mark.parametrize("later_first", [False, True])
    async def test_the_later_condition_holds(self, store: CredentialStore, later_first: bool) -> None:
        earlier, later = record(NOW - 5, Condition.REFUSED), record(NOW, Condition.COOLING, until=NOW + 60)

        for change in (later, earlier) if later_first else (earlier, later):
            await store.merge_records({ALPHA: change})

        assert await store.load_records() == {ALPHA: later}

    @pytest.mark.parametrize("word_first", [True, False])
    async def test_the_operators_word_holds_against_what_was_noticed_without_it(
        self, store: CredentialStore, word_first: bool
    ) -> None:
        word = Record(Standing(Condition.OFF, NOW, switched_at=NOW), Counts())
        noticed = Record(Standing(Condition.COOLING, NOW + 1, NOW + 60, is_burst=True), Counts())
        for change in (word, noticed) if word_first else (noticed, word):
            await store.merge_records({ALPHA: change})

        assert (await store.load_records())[ALPHA].standing == word.standing

    async def test_what_a_pause_is_for_is_kept(self, store: CredentialStore) -> None:
        pause = Record(Standing(Condition.COOLING, NOW, NOW + 60, is_burst=True), Counts())
        await store.merge_records({ALPHA: pause})

        assert await store.load_records() == {ALPHA: pause}

    async def test_a_pause_that_became_longer_is_kept(self, store: CredentialStore) -> None:
        for until in (NOW + 60, NOW + 7200):
            await store.merge_records({ALPHA: record(NOW, Condition.COOLING, until=until)})

        assert await store.load_records() == {ALPHA: record(NOW, Condition.COOLING, until=NOW + 7200)}

    @pytest.mark.parametrize("later_first", [False, True])
    async def test_the_later_error_is_the_last(self, store: CredentialStore, later_first: bool) -> None:
        earlier = record(NOW, Condition.REFUSED, error=("überlastet", NOW - 9))
        later = record(NOW - 5, error=("refused (401)", NOW - 1))

        for change in (later, earlier) if later_first else (earlier, later):
            await store.merge_records({ALPHA: change})

        assert await store.load_records() == {ALPHA: record(NOW, Condition.REFUSED, error=("refused (401)", NOW - 1))}

    async def test_an_error_that_was_put_right_is_forgotten(self, store: CredentialStore) -> None:
        await store.merge_records({ALPHA: record(NOW, Condition.REFUSED, error=("refused", NOW))})
        await store.merge_records({ALPHA: record(NOW + 9, error=("", NOW))})

        assert await store.load_records() == {ALPHA: record(NOW + 9, error=("", NOW))}

    async def test_no_secret_is_shown(self, store: CredentialStore) -> None:
        await store.add(ALPHA, KEY)
        await store.add(BETA, TOKENS)
        await store.keep_login("state", LOGIN)

        shown = f"{store!r} {await store.load()!r} {await store.revision()!r} {await store.take_login('state')!r}"

        secrets = (KEY.key, TOKENS.access, TOKENS.refresh, LOGIN.verifier)
        assert not [secret for secret in secrets if secret in shown]
