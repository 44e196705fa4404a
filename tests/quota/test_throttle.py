"""Who shows wrong credentials again and again is blocked, for longer each time, and nobody else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.quota.throttle import Throttle

NOW = 1_800_000_000.0
MAKE = Callable[..., Throttle]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MAKE]:
    made: list[Throttle] = []

    def make(failures: int = 5, *, rows: int = 1024, path: Path | None = None) -> Throttle:
        made.append(Throttle(path, failures, 900.0, 30.0, 3600.0, rows=rows))
        return made[-1]

    yield make
    for throttle in made:
        throttle.close()


def fail(throttle: Throttle, address: str, times: int, now: float) -> float:
    for _ in range(times):
        throttle.failed(address, now)
    return throttle.blocked_s(address, now)


def test_five_failures_block_for_30_seconds(make: MAKE) -> None:
    throttle = make()

    assert fail(throttle, "192.0.2.1", 4, NOW) == 0
    assert fail(throttle, "192.0.2.1", 1, NOW + 899) == 30
    assert throttle.blocked_s("192.0.2.1", NOW + 928.5) == 0.5
    assert throttle.blocked_s("192.0.2.1", NOW + 929) == 0


def test_failures_of_more_than_a_window_ago_do_not_count(make: MAKE) -> None:
    throttle = make()

    fail(throttle, "192.0.2.1", 4, NOW)

    assert fail(throttle, "192.0.2.1", 4, NOW + 900) == 0
    assert fail(throttle, "192.0.2.1", 1, NOW + 901) == 30


def test_each_further_block_is_twice_as_long_up_to_an_hour(make: MAKE) -> None:
    throttle, now, blocks = make(), NOW, []

    for _ in range(10):
        blocks.append(fail(throttle, "192.0.2.1", 5, now))
        now += blocks[-1]

    assert blocks == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_after_a_quiet_while_all_is_forgotten(make: MAKE) -> None:
    throttle = make()
    fail(throttle, "192.0.2.1", 5, NOW)
    fail(throttle, "192.0.2.1", 5, NOW + 30)
    over = NOW + 30 + 60

    assert fail(throttle, "192.0.2.1", 5, over + 3599) == 120
    assert fail(throttle, "192.0.2.1", 5, over + 3599 + 120 + 3600) == 30


def test_failures_while_blocked_make_a_block_no_longer(make: MAKE) -> None:
    throttle = make()

    fail(throttle, "192.0.2.1", 5, NOW)

    assert fail(throttle, "192.0.2.1", 50, NOW + 10) == 20


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:0DB8:0:0:9::", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "192.0.2.1", False),
        ("no address", "no address", True),
        ("\ud800", "\ud801", False),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(make: MAKE, one: str, other: str, is_same: bool) -> None:
    throttle = make()

    fail(throttle, one, 5, NOW)

    assert throttle.blocked_s(one, NOW) == 30
    assert throttle.blocked_s(other, NOW) == (30 if is_same else 0)


def test_all_processes_of_a_host_block_together(make: MAKE, tmp_path: Path) -> None:
    one, other = make(path=tmp_path / "throttle"), make(path=tmp_path / "throttle")
    fail(one, "192.0.2.1", 3, NOW)

    fail(other, "192.0.2.1", 2, NOW)

    assert one.blocked_s("192.0.2.1", NOW) == 30


def test_a_million_addresses_push_out_no_block(make: MAKE) -> None:
    throttle = make(rows=64)
    for host in range(8):
        fail(throttle, f"192.0.2.{host}", 5, NOW)

    for number in range(5000):  # each is one of a million to the 64 rows
        throttle.failed(f"2001:db8:{number:x}::", NOW + 1)

    assert [throttle.blocked_s(f"192.0.2.{host}", NOW + 1) for host in range(8)] == [29] * 8


def test_where_all_are_blocked_the_one_whose_block_ends_first_makes_room(make: MAKE) -> None:
    throttle = make(rows=16)
    for host in range(17):
        fail(throttle, f"192.0.2.{host}", 5, NOW + host)

    left = [throttle.blocked_s(f"192.0.2.{host}", NOW + 17) for host in range(17)]

    assert left == [0] + [13 + host for host in range(1, 17)]


@pytest.mark.parametrize(("failures", "enough"), [(1, 1), (2, 2), (16, 16), (17, 16), (33, 33), (1000, 945)])
def test_many_failures_are_counted_in_groups(make: MAKE, failures: int, enough: int) -> None:
    throttle = make(failures)

    assert fail(throttle, "192.0.2.1", enough - 1, NOW) == 0
    assert fail(throttle, "192.0.2.1", 1, NOW) == 30


def test_another_number_of_failures_goes_on_with_the_same_file(make: MAKE, tmp_path: Path) -> None:
    fail(make(5, path=tmp_path / "throttle"), "192.0.2.1", 4, NOW)

    assert fail(make(3, path=tmp_path / "throttle"), "192.0.2.1", 1, NOW) == 30


def test_a_clock_that_is_set_back_blocks_nobody_for_longer_than_the_longest_block(make: MAKE) -> None:
    throttle = make()
    fail(throttle, "192.0.2.1", 5, NOW)

    assert throttle.blocked_s("192.0.2.1", NOW - 86_400) == 0
    assert fail(throttle, "192.0.2.1", 5, NOW - 86_400) == 60


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 29, 30, 200, 899, 900, 4000])), max_size=60))
def test_an_address_is_blocked_by_its_own_fifth_failure_in_900_seconds_and_by_nothing_else(
    steps: list[tuple[int, int]],
) -> None:
    throttle = Throttle(None, 5, 900.0, 30.0, 3600.0, rows=16)
    now, recent = NOW, {host: list[float]() for host in range(3)}
    for host, pause in steps:
        now += pause
        address = f"192.0.2.{host}"
        if throttle.blocked_s(address, now):
            continue
        throttle.failed(address, now)
        recent[host] = [*(then for then in recent[host] if now - then < 900), now]
        is_fifth = len(recent[host]) == 5
        if is_fifth:
            recent[host] = []
        assert (throttle.blocked_s(address, now) >= 30) is is_fifth
    throttle.close()
